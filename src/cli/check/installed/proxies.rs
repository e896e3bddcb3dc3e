//! What follows from what the proxies say.

use std::time::{Duration, SystemTime};

use crate::{
    cli::{
        check::line::{Check, Line, some_of},
        cluster::Fact,
    },
    proxy::belief::{Belief, unix_seconds},
};

/// A proxy renews at 80 % of a certificate's life at the latest: with less left than this,
/// renewals fail.
const CERTIFICATE_MARGIN: Duration = Duration::from_secs(1_800);

type Answers = [(String, Fact<Belief>)];

/// `controller` is its version.
pub fn conclude(answers: &Answers, controller: Option<&str>, now: SystemTime) -> Vec<Line> {
    let told: Vec<_> = answers
        .iter()
        .filter_map(|(pod, answer)| Some((pod.as_str(), answer.as_ref().ok()?)))
        .collect();
    let mut lines = vec![answer(answers)];
    if !told.is_empty() {
        lines.extend([
            versions(&told, controller),
            discovery(&told),
            certificates(&told, unix_seconds(now)),
            configuration(&told),
        ]);
    }
    lines
}

fn answer(answers: &Answers) -> Line {
    let check = Check::ProxyAnswers;
    let silent = answers.iter().filter_map(|(pod, answer)| {
        let why = answer.as_ref().err()?;
        Some(format!("{pod}: {why}"))
    });
    let silent: Vec<_> = silent.collect();
    match (silent.len(), answers.len()) {
        (0, all) => Line::good(check, format!("all {all} answer")),
        (some, all) if some < all => Line::warning(
            check,
            format!("{some} of {all} do not answer: {}", some_of(&silent)),
            "`outrigger diagnose POD` looks at one of them.",
        ),
        _ => Line::failed(
            check,
            format!("none answers: {}", some_of(&silent)),
            "Asking a proxy needs the rights to get and to create pods/portforward.",
        ),
    }
}

fn versions(told: &[(&str, &Belief)], controller: Option<&str>) -> Line {
    let check = Check::ProxyVersions;
    let Some(version) = controller else {
        return Line::unknown(check, "the controller's version is not known");
    };
    let others = told.iter().filter(|(_, belief)| belief.version != version);
    let others: Vec<_> = others
        .map(|(pod, belief)| format!("{pod} ({})", belief.version))
        .collect();
    match others.len() {
        0 => Line::good(check, format!("all have the controller's, {version}")),
        n => Line::warning(
            check,
            format!(
                "{n} differ from the controller's {version}: {}",
                some_of(&others)
            ),
            "Proxies are upgraded with their pods: `kubectl rollout restart` these workloads when it suits you.",
        ),
    }
}

fn discovery(told: &[(&str, &Belief)]) -> Line {
    let check = Check::ProxyDiscovery;
    let lost = told
        .iter()
        .filter(|(_, belief)| !belief.discovery.connected);
    let lost: Vec<_> = lost.map(|(pod, _)| (*pod).to_owned()).collect();
    match lost.len() {
        0 => Line::good(check, "all are connected to the controller"),
        n => Line::failed(
            check,
            format!("{n} have lost the controller: {}", some_of(&lost)),
            "They go on with what they know. Look at their logs, and for a NetworkPolicy that blocks port 14030 of the controller.",
        ),
    }
}

fn certificates(told: &[(&str, &Belief)], now: u64) -> Line {
    let check = Check::ProxyCertificates;
    let soon = now + CERTIFICATE_MARGIN.as_secs();
    let pods = |ends: &dyn Fn(Option<u64>) -> bool| {
        let those = told.iter().filter(|(_, b)| ends(b.certificate_not_after));
        those.map(|(pod, _)| (*pod).to_owned()).collect::<Vec<_>>()
    };
    let bad = pods(&|end| end.is_none_or(|end| end <= now));
    let ending = pods(&|end| end.is_some_and(|end| now < end && end <= soon));
    let next = "The proxy's log says why the controller refuses it a new one.";
    if !bad.is_empty() {
        let found = format!("without a valid certificate: {}", some_of(&bad));
        return Line::failed(check, found, next);
    }
    if !ending.is_empty() {
        let found = format!("not renewed in time: {}", some_of(&ending));
        return Line::warning(check, found, next);
    }
    Line::good(check, "all are valid")
}

fn configuration(told: &[(&str, &Belief)]) -> Line {
    let check = Check::ProxyConfiguration;
    let refusals = told.iter().filter(|(_, belief)| belief.discovery.nacks > 0);
    let refusals: Vec<_> = refusals
        .map(|(pod, belief)| {
            let why = belief
                .discovery
                .last_refusal
                .as_deref()
                .unwrap_or("no reason kept");
            format!("{pod} ({why})")
        })
        .collect();
    match refusals.len() {
        0 => Line::good(check, "none has refused an update"),
        _ => Line::warning(
            check,
            format!(
                "refused an update since they started: {}",
                some_of(&refusals)
            ),
            "The last good configuration stays in force. Correct the object that the reason names; proxies of another version than the controller's may refuse what they do not know.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::check::line::Verdict::{self, Failed, Good, Warning},
        proxy::belief::Discovery,
    };

    const NOW: u64 = 1_800_000_000;

    fn good() -> Belief {
        Belief {
            version: "1.0.0".into(),
            certificate_not_after: Some(NOW + 86_400),
            discovery: Discovery {
                connected: true,
                ..Discovery::default()
            },
            ..Belief::default()
        }
    }

    fn lines(answers: &[Fact<Belief>]) -> Vec<Line> {
        let named = |(n, answer): (usize, &Fact<Belief>)| (format!("shop/p{n}"), answer.clone());
        let answers: Vec<_> = answers.iter().enumerate().map(named).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        conclude(&answers, Some("1.0.0"), now)
    }

    /// The verdict of one check on a good proxy and a changed one.
    fn beside_a_good_one(check: Check, change: impl FnOnce(&mut Belief)) -> (Verdict, String) {
        let mut changed = good();
        change(&mut changed);
        let lines = lines(&[Ok(good()), Ok(changed)]);
        let line = lines.iter().find(|line| line.check == check).unwrap();
        assert_eq!(line.verdict == Good, line.next.is_none());
        (line.verdict, line.found.clone())
    }

    #[test]
    fn good_proxies_fail_nothing() {
        for line in lines(&[Ok(good()), Ok(good())]) {
            assert_eq!(line.verdict, Good, "{line}");
        }
    }

    #[test]
    fn some_silent_proxies_are_a_warning_and_all_a_failure() {
        let silent = || Err("no answer".to_owned());
        let some = lines(&[Ok(good()), silent()]);
        assert_eq!((some[0].verdict, some.len()), (Warning, 5));
        assert!(some[0].found.contains("shop/p1: no answer"), "{}", some[0]);
        let all = lines(&[silent(), silent()]);
        assert_eq!((all[0].verdict, all.len()), (Failed, 1));
    }

    #[test]
    fn what_a_proxy_says_is_judged() {
        let (verdict, found) = beside_a_good_one(Check::ProxyVersions, |belief| {
            belief.version = "0.9.0".into()
        });
        assert_eq!(verdict, Warning);
        assert!(found.contains("shop/p1 (0.9.0)"), "{found}");

        let lost = beside_a_good_one(Check::ProxyDiscovery, |b| b.discovery.connected = false);
        assert_eq!(lost.0, Failed);

        let check = Check::ProxyCertificates;
        for (end, expected) in [
            (None, Failed),
            (Some(NOW), Failed),
            (Some(NOW + 60), Warning),
            (Some(NOW + 7_200), Good),
        ] {
            let found = beside_a_good_one(check, |belief| belief.certificate_not_after = end);
            assert_eq!(found.0, expected, "{end:?}");
        }

        let refused = beside_a_good_one(Check::ProxyConfiguration, |belief| {
            belief.discovery.nacks = 2;
            belief.discovery.last_refusal = Some("route 1 has no name".into());
        });
        assert_eq!(refused.0, Warning);
        assert!(refused.1.contains("route 1 has no name"));
    }
}
