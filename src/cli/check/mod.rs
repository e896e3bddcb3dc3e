//! `outrigger check`: whether a cluster can take Outrigger, or whether the one in it is well.
//!
//! What is true is gathered first; what follows from it is decided by pure functions.

mod installed;
mod line;
mod pre;

use std::path::PathBuf;

use serde::Serialize;

use super::cluster::{self, ClusterArgs, Progress, Report, Scope};
use crate::{failure, ranges::Subnet};
use line::{Check, Line, Verdict};

/// Check the cluster and the Outrigger in it. Exits with 1 when a line failed.
///
/// With -n NAMESPACE, --pre tries a pod in that namespace too; without --pre, only the policies,
/// pods and proxies of that namespace are looked at.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// Before an install: whether this cluster can take it.
    #[arg(long)]
    pre: bool,
    /// With --pre: the values file that you will give to Helm, for the subnets that it skips.
    #[arg(long, value_name = "FILE", requires = "pre")]
    values: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Checked {
    version: &'static str,
    failed: usize,
    warnings: usize,
    lines: Vec<Line>,
}

impl Checked {
    fn new(lines: Vec<Line>) -> Self {
        let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            failed: count(Verdict::Failed),
            warnings: count(Verdict::Warning),
            lines,
        }
    }
}

impl Report for Checked {
    fn text(&self) -> String {
        let lines: String = self.lines.iter().map(Line::to_string).collect();
        let plural = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let summary = match (self.failed, self.warnings) {
            (0, 0) => "Everything is well.".to_owned(),
            (0, warnings) => format!("Nothing failed; {}.", plural(warnings, "warning")),
            (failed, warnings) => format!(
                "{}, {}.",
                plural(failed, "failure"),
                plural(warnings, "warning")
            ),
        };
        format!("{lines}\n{summary}\n")
    }
}

impl CheckArgs {
    /// Whether nothing failed.
    ///
    /// # Errors
    /// When the file of `--values` cannot be used.
    pub fn run(self) -> anyhow::Result<bool> {
        let skipped = match &self.values {
            Some(file) => pre::skipped_subnets(file)?,
            None => Vec::new(),
        };
        let checked = self.checked(&skipped);
        self.cluster.output.print(&checked)?;
        Ok(checked.failed == 0)
    }

    fn checked(&self, skipped: &[Subnet]) -> Checked {
        let lines = cluster::block_on(self.lines(skipped));
        Checked::new(lines.unwrap_or_else(|error| vec![unreachable(&error)]))
    }

    /// The context's namespace is not meant: without -n the whole mesh is.
    fn scope(&self) -> Scope {
        let named = self.cluster.namespace.clone();
        named.map_or(Scope::All, Scope::Namespace)
    }

    async fn lines(&self, skipped: &[Subnet]) -> anyhow::Result<Vec<Line>> {
        let cluster = self.cluster.connect().await?;
        let progress = Progress::new();
        if self.pre {
            let facts = pre::gather(&cluster, &self.cluster, &progress).await?;
            return Ok(pre::conclude(&facts, skipped));
        }
        let facts = installed::gather(&cluster, &self.scope(), &progress).await?;
        Ok(installed::conclude(&facts, std::time::SystemTime::now()))
    }
}

/// In place of all the lines, where nothing could be checked.
fn unreachable(error: &anyhow::Error) -> Line {
    let next = "Name a cluster that answers, with --kubeconfig and --context.";
    Line::failed(Check::Cluster, failure::in_full(error), next)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        check: CheckArgs,
    }

    #[test]
    fn only_a_namespace_that_was_named_narrows_the_look() {
        let scope = |typed: &[&str]| Typed::parse_from(typed).check.scope();
        assert_eq!(scope(&["check"]), Scope::All);
        let shop = scope(&["check", "-n", "shop"]);
        assert!(shop.contains("shop") && !shop.contains("other"));
    }

    #[test]
    fn where_there_is_no_cluster_one_line_fails() {
        for more in [&["--pre"][..], &[]] {
            let typed = ["check", "--kubeconfig", "/nowhere/kubeconfig"];
            let typed = Typed::parse_from(typed.iter().chain(more));
            let checked = serde_json::to_value(typed.check.checked(&[])).unwrap();
            assert_eq!(checked["failed"], 1);
            let line = &checked["lines"][0];
            assert_eq!(
                (&line["check"], &line["verdict"]),
                (&"cluster".into(), &"failed".into())
            );
            let found = line["found"].as_str().unwrap();
            assert!(found.contains("/nowhere/kubeconfig"), "{found}");
            assert_eq!(found.matches("No such file").count(), 1, "{found}");
        }
    }

    #[test]
    fn counts_and_shows_what_was_found() {
        let checked = Checked::new(vec![
            Line::good(Check::KubernetesVersion, "Kubernetes v1.37.2"),
            Line::warning(Check::OtherMeshes, "Istio is here", "Keep them apart."),
            Line::failed(Check::Rights, "you may not create secrets", "Ask for it."),
        ]);
        insta::assert_snapshot!(checked.text(), @r#"
        ✓ kubernetes-version   Kubernetes v1.37.2
        ! other-meshes         Istio is here
                               → Keep them apart.
                                 docs/cli.md#other-meshes
        ✗ rights               you may not create secrets
                               → Ask for it.
                                 docs/cli.md#rights

        1 failure, 1 warning.
        "#);
        assert_eq!((checked.failed, checked.warnings), (1, 1));
    }
}
