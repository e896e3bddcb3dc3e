//! One line of a check: what was looked at, what was found, and what to do about it.

use std::fmt;

use serde::Serialize;

use crate::cli::cluster::Fact;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// Worth knowing, but nothing stops at it.
    Warning,
    Failed,
}

/// Declares the checks and their names in one place.
macro_rules! checks {
    ($($name:ident = $text:literal,)*) => {
        /// What can be checked. Its name is also its heading in docs/cli.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check { $($name,)* }

        impl Check {
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

checks! {
    Cluster = "cluster",
    KubernetesVersion = "kubernetes-version",
    Nodes = "nodes",
    NativeSidecars = "native-sidecars",
    GatewayApi = "gateway-api",
    Rights = "rights",
    SkippedSubnets = "skipped-subnets",
    PodSecurity = "pod-security",
    OtherMeshes = "other-meshes",
    OtherOutrigger = "other-outrigger",
    Installed = "installed",
    Controller = "controller",
    Issuer = "issuer",
    TrustAnchors = "trust-anchors",
    Webhook = "webhook",
    CustomResources = "custom-resources",
    Policies = "policies",
    InjectedPods = "injected-pods",
    ProxyAnswers = "proxy-answers",
    ProxyVersions = "proxy-versions",
    ProxyDiscovery = "proxy-discovery",
    ProxyCertificates = "proxy-certificates",
    ProxyConfiguration = "proxy-configuration",
}

impl Serialize for Check {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub check: Check,
    pub verdict: Verdict,
    pub found: String,
    /// What to do next; present when it is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Where the documentation says more.
    pub docs: String,
}

impl Line {
    pub fn good(check: Check, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Good, found.into(), None)
    }

    pub fn warning(check: Check, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, found.into(), Some(next.into()))
    }

    pub fn failed(check: Check, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(check, Verdict::Failed, found.into(), Some(next.into()))
    }

    /// For facts that could not be had: that alone proves nothing broken.
    pub fn unknown(check: Check, why: &str) -> Self {
        Self::warning(
            check,
            format!("cannot be checked: {why}"),
            "Run this as somebody who may read it.",
        )
    }

    fn new(check: Check, verdict: Verdict, found: String, next: Option<String>) -> Self {
        Self {
            check,
            verdict,
            found,
            next,
            docs: format!("docs/cli.md#{}", check.as_str()),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => "✓",
            Verdict::Warning => "!",
            Verdict::Failed => "✗",
        };
        writeln!(f, "{mark} {:<20} {}", self.check.as_str(), self.found)?;
        if let Some(next) = &self.next {
            writeln!(f, "{:23}→ {next}", "")?;
            writeln!(f, "{:25}{}", "", self.docs)?;
        }
        Ok(())
    }
}

/// What follows from a fact, or that it could not be had.
pub fn or_unknown<T>(check: Check, fact: &Fact<T>, conclude: impl FnOnce(&T) -> Line) -> Line {
    match fact {
        Ok(known) => conclude(known),
        Err(why) => Line::unknown(check, why),
    }
}

/// The first few of many, for one line.
pub fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_a_heading_for_every_check() {
        let page = include_str!("../../../docs/cli.md");
        for check in Check::ALL {
            let heading = format!("### {}", check.as_str());
            assert!(
                page.lines().any(|line| line == heading),
                "docs/cli.md lacks {heading:?}"
            );
        }
    }

    #[test]
    fn many_names_are_cut_short() {
        let names: Vec<_> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(some_of(&names), "0, 1, 2, 3, 4 and 2 more");
        assert_eq!(some_of(&names[..2]), "0, 1");
    }
}
