//! `outrigger get services`: what is in use, and whether the proxies agree about it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Answer, Report, Scope, Silent, ending, silent};
use crate::{cli::cluster::Table, discovery::model::Protocol, proxy::belief};

#[derive(Serialize)]
pub struct Services {
    services: Vec<Believed>,
    silent: Vec<Silent>,
    #[serde(skip)]
    ending: String,
}

/// One belief about a service, and who shares it.
#[derive(Serialize)]
struct Believed {
    #[serde(flatten)]
    service: belief::Service,
    pods: Vec<String>,
}

impl Services {
    pub fn new(answers: &[Answer], scope: &Scope) -> Self {
        let mut by_name: BTreeMap<String, Vec<Believed>> = BTreeMap::new();
        for answer in answers {
            for service in answer.belief.iter().flat_map(|belief| &belief.services) {
                let all = by_name.entry(service.service.clone()).or_default();
                match all.iter_mut().find(|known| known.service == *service) {
                    Some(known) => known.pods.push(answer.pod.clone()),
                    None => all.push(Believed {
                        service: service.clone(),
                        pods: vec![answer.pod.clone()],
                    }),
                }
            }
        }
        let silent = silent(answers);
        let answered = answers.len() - silent.len();
        Self {
            ending: ending(&silent, answered, scope),
            services: by_name.into_values().flatten().collect(),
            silent,
        }
    }

    /// Services that proxies have different beliefs about.
    fn disputed(&self) -> Vec<&str> {
        let names = self.services.windows(2).filter_map(|pair| {
            let name = &pair[0].service.service;
            (*name == pair[1].service.service).then_some(name.as_str())
        });
        let mut names: Vec<_> = names.collect();
        names.dedup();
        names
    }
}

impl Report for Services {
    fn text(&self) -> String {
        let mut table = Table::new(&[
            "SERVICE",
            "PROTOCOL",
            "ENDPOINTS",
            "MESHED",
            "ROUTES",
            "USED BY",
        ]);
        for Believed { service, pods } in &self.services {
            table.row([
                service.service.clone(),
                protocol(service.protocol).to_owned(),
                service.endpoints.to_string(),
                service.meshed.to_string(),
                match &service.routes[..] {
                    [] => "-".to_owned(),
                    [one] => one.clone(),
                    several => format!("{} routes", several.len()),
                },
                match &pods[..] {
                    [one] => one.clone(),
                    several => format!("{} proxies", several.len()),
                },
            ]);
        }
        let mut text = match (table.is_empty(), self.ending.is_empty()) {
            (true, true) => "The proxies use no service just now.\n".to_owned(),
            (true, false) => String::new(),
            (false, _) => table.to_string(),
        };
        if let [one, ..] = self.disputed()[..] {
            text += &format!(
                "Proxies differ about {one}: one of them is behind. `outrigger get proxies` shows who lost the controller.\n"
            );
        }
        text + &self.ending
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Detect => "detected",
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Tcp => "tcp",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::proxy::belief::{Belief, Service};

    fn belief(endpoints: usize) -> Belief {
        let service = |name: &str, endpoints| Service {
            service: name.into(),
            protocol: Protocol::Http,
            routes: vec!["shop/cart".into()],
            endpoints,
            meshed: endpoints,
        };
        Belief {
            services: vec![service("shop/a:80", 1), service("shop/cart:80", endpoints)],
            ..Belief::default()
        }
    }

    #[test]
    fn shows_who_shares_a_belief_and_who_is_behind() {
        let answers = [
            testing::answer("shop/one", belief(3)),
            testing::answer("shop/two", belief(3)),
            testing::answer("shop/late", belief(2)),
            testing::silent("shop/gone"),
        ];
        let shown = Services::new(&answers, &testing::shop());
        insta::assert_snapshot!(shown.text(), @r#"
        SERVICE        PROTOCOL   ENDPOINTS   MESHED   ROUTES      USED BY
        shop/a:80      http       1           1        shop/cart   3 proxies
        shop/cart:80   http       3           3        shop/cart   2 proxies
        shop/cart:80   http       2           2        shop/cart   shop/late
        Proxies differ about shop/cart:80: one of them is behind. `outrigger get proxies` shows who lost the controller.
        shop/gone: not asked: no answer within 10 s
        "#);
        assert_eq!(shown.disputed(), ["shop/cart:80"]);
    }

    #[test]
    fn proxies_that_use_nothing_are_not_no_proxies() {
        let idle = [testing::answer("shop/one", Belief::default())];
        let shown = Services::new(&idle, &testing::shop());
        assert_eq!(shown.text(), "The proxies use no service just now.\n");
    }
}
