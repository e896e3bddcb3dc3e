//! `outrigger get breakers`: breakers, bulkheads and retry budgets as each proxy holds them.

use serde::Serialize;

use super::{Answer, Report, Scope, Silent, ending, silent};
use crate::{
    cli::cluster::{Table, age},
    proxy::belief::{Breaker, Bulkhead, Upstream},
};

#[derive(Serialize)]
pub struct Breakers {
    upstreams: Vec<Held>,
    silent: Vec<Silent>,
    #[serde(skip)]
    ending: String,
}

#[derive(Serialize)]
struct Held {
    pod: String,
    #[serde(flatten)]
    upstream: Upstream,
}

impl Breakers {
    pub fn new(answers: &[Answer], scope: &Scope) -> Self {
        let held = answers.iter().flat_map(|answer| {
            let upstreams = answer.belief.iter().flat_map(|belief| &belief.upstreams);
            upstreams.map(|upstream| Held {
                pod: answer.pod.clone(),
                upstream: upstream.clone(),
            })
        });
        let silent = silent(answers);
        Self {
            upstreams: held.collect(),
            ending: ending(&silent, answers.len() - silent.len(), scope),
            silent,
        }
    }
}

impl Report for Breakers {
    fn text(&self) -> String {
        let mut table = Table::new(&[
            "POD",
            "UPSTREAM",
            "BREAKER",
            "ENDPOINTS OUT",
            "IN USE",
            "QUEUED",
            "RETRIES LEFT",
        ]);
        for Held { pod, upstream } in &self.upstreams {
            table.row([
                pod.clone(),
                upstream.title(),
                state(&upstream.breaker),
                upstream.out(),
                places(upstream.bulkhead),
                upstream.bulkhead.queued.to_string(),
                upstream.retry_budget.to_string(),
            ]);
            let busy = upstream.routes.iter();
            for (route, bulkhead) in busy.filter(|(_, b)| b.in_use + b.queued > 0) {
                table.row([
                    String::new(),
                    format!("  route {route}"),
                    String::new(),
                    String::new(),
                    places(*bulkhead),
                    bulkhead.queued.to_string(),
                    String::new(),
                ]);
            }
            for (addr, breaker) in upstream
                .endpoints
                .iter()
                .filter(|(_, b)| b.state != "closed")
            {
                table.row([
                    String::new(),
                    format!("  {addr}"),
                    state(breaker),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
            }
        }
        let text = match (table.is_empty(), self.ending.is_empty()) {
            (true, true) => "The proxies send nothing anywhere just now.\n".to_owned(),
            (true, false) => String::new(),
            (false, _) => table.to_string(),
        };
        text + &self.ending
    }
}

fn places(bulkhead: Bulkhead) -> String {
    format!("{} of {}", bulkhead.in_use, bulkhead.limit)
}

fn state(breaker: &Breaker) -> String {
    // Its time is up; it changes when the next request comes.
    let due = breaker.is_open() && breaker.changes_in_ms == Some(0);
    let until = breaker.changes_in_ms.map(|ms| {
        let left = age(std::time::Duration::from_millis(ms));
        if due {
            ", probe due".to_owned()
        } else {
            format!(" for {left}")
        }
    });
    let spared = if breaker.spared { ", in use" } else { "" };
    format!("{}{}{spared}", breaker.state, until.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::proxy::belief::Belief;

    #[test]
    fn shows_services_routes_and_the_endpoints_that_are_not_closed() {
        let breaker = |state: &str, left, spared| Breaker {
            state: state.into(),
            changes_in_ms: left,
            spared,
        };
        let bulkhead = Bulkhead {
            in_use: 250,
            queued: 3,
            limit: 256,
        };
        let closed = || breaker("closed", None, false);
        let endpoint = |n: u8, breaker| (([198, 18, 0, n], 80).into(), breaker);
        let cart = Upstream {
            upstream: "shop/cart:80".into(),
            address: None,
            route: None,
            breaker: closed(),
            bulkhead,
            routes: [
                ("shop/cart".to_owned(), bulkhead),
                ("shop/idle".to_owned(), Bulkhead::default()),
            ]
            .into(),
            retry_budget: 12,
            endpoints: [
                endpoint(1, closed()),
                endpoint(2, breaker("open", Some(4_100), false)),
                endpoint(3, breaker("open", Some(9_000), true)),
                endpoint(4, breaker("open", Some(0), false)),
            ]
            .into(),
        };
        let local = Upstream {
            upstream: "local".into(),
            address: Some(([198, 18, 0, 9], 8080).into()),
            breaker: closed(),
            ..Upstream::default()
        };
        let belief = Belief {
            upstreams: vec![local, cart],
            ..Belief::default()
        };
        let answers = [
            testing::answer("shop/web-1", belief),
            testing::silent("shop/web-2"),
        ];
        let shown = Breakers::new(&answers, &testing::shop());
        insta::assert_snapshot!(shown.text(), @r#"
        POD          UPSTREAM                BREAKER                ENDPOINTS OUT   IN USE       QUEUED   RETRIES LEFT
        shop/web-1   local 198.18.0.9:8080   closed                 0 of 0          0 of 0       0        0
        shop/web-1   shop/cart:80            closed                 2 of 4          250 of 256   3        12
                       route shop/cart                                              250 of 256   3
                       198.18.0.2:80         open for 4 s
                       198.18.0.3:80         open for 9 s, in use
                       198.18.0.4:80         open, probe due
        shop/web-2: not asked: no answer within 10 s
        "#);
    }
}
