//! `outrigger get proxies`.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Answer, Report, Scope, Silent, ending, silent};
use crate::{
    cli::cluster::{Table, age},
    proxy::belief::{Belief, unix_seconds},
};

#[derive(Serialize)]
pub struct Proxies {
    proxies: Vec<Proxy>,
    silent: Vec<Silent>,
    #[serde(skip)]
    now: u64,
    #[serde(skip)]
    ending: String,
}

#[derive(Serialize)]
struct Proxy {
    pod: String,
    workload: String,
    #[serde(flatten)]
    belief: Belief,
}

impl Proxies {
    pub fn new(answers: &[Answer], scope: &Scope, now: SystemTime) -> Self {
        let proxies = answers.iter().filter_map(|answer| {
            Some(Proxy {
                pod: answer.pod.clone(),
                workload: answer.workload.clone(),
                belief: answer.belief.clone().ok()?,
            })
        });
        let proxies: Vec<_> = proxies.collect();
        let silent = silent(answers);
        Self {
            ending: ending(&silent, proxies.len(), scope),
            proxies,
            silent,
            now: unix_seconds(now),
        }
    }
}

impl Report for Proxies {
    fn text(&self) -> String {
        let mut table = Table::new(&[
            "POD",
            "WORKLOAD",
            "VERSION",
            "DISCOVERY",
            "CERTIFICATE",
            "SERVICES",
            "REFUSED",
        ]);
        for Proxy {
            pod,
            workload,
            belief,
        } in &self.proxies
        {
            let discovery = match belief.discovery.connected {
                true => "connected",
                false => "lost",
            };
            table.row([
                pod.clone(),
                workload.clone(),
                belief.version.clone(),
                discovery.to_owned(),
                certificate(belief.certificate_not_after, self.now),
                belief.services.len().to_string(),
                belief.discovery.nacks.to_string(),
            ]);
        }
        match table.is_empty() {
            true => self.ending.clone(),
            false => format!("{table}{}", self.ending),
        }
    }
}

fn certificate(not_after: Option<u64>, now: u64) -> String {
    match not_after {
        None => "none yet".to_owned(),
        Some(end) if end <= now => "expired".to_owned(),
        Some(end) => format!("{} left", age(Duration::from_secs(end - now))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::proxy::belief::{Discovery, Service};

    #[test]
    fn shows_every_proxy_and_who_could_not_be_asked() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let belief = Belief {
            version: "0.1.0".into(),
            identity: "spiffe://cluster.local/ns/shop/sa/cart".into(),
            certificate_not_after: Some(1_800_000_000 + 43_200),
            discovery: Discovery {
                connected: true,
                nacks: 2,
                ..Discovery::default()
            },
            services: vec![Service::default()],
            ..Belief::default()
        };
        let answers = [
            testing::answer("shop/cart-1", belief),
            testing::answer("shop/cart-22", Belief::default()),
            testing::silent("shop/cart-3"),
        ];
        let shown = Proxies::new(&answers, &testing::shop(), now);
        insta::assert_snapshot!(shown.text(), @r#"
        POD            WORKLOAD      VERSION   DISCOVERY   CERTIFICATE   SERVICES   REFUSED
        shop/cart-1    deploy/cart   0.1.0     connected   12 h left     1          2
        shop/cart-22   deploy/cart             lost        none yet      0          0
        shop/cart-3: not asked: no answer within 10 s
        "#);
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(json["proxies"][0]["discovery"]["nacks"], 2);
        assert_eq!(json["silent"][0]["pod"], "shop/cart-3");
    }

    #[test]
    fn says_that_there_is_none() {
        let none = Proxies::new(&[], &testing::shop(), SystemTime::UNIX_EPOCH);
        assert!(none.text().contains("No pod in namespace shop has a proxy"));
    }
}
