//! Which link of a fallback chain answers when the upstream cannot. Fetching that answer is left
//! to the proxy.

use std::time::Duration;

use http::Method;

use super::policy::Fallback;

/// Exchanges that may be under way with fallback services at once, per chain. What answers from
/// memory needs no place.
pub const MAX_IN_FLIGHT: u32 = 10;
/// The oldest response that is ever served, whatever a policy says.
pub const MAX_STALE: Duration = Duration::from_secs(300);

/// What is known of the request that needs another answer.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub method: &'a Method,
    /// The age of the last good response to the same request, if one is kept.
    pub stale_age: Option<Duration>,
    /// Exchanges under way with this chain's fallback services.
    pub in_use: u32,
}

/// The first link from number `from` on that can answer, with its number: where it fails, ask
/// again from the next. Methods that are not idempotent get only static responses.
pub fn choose<'a>(
    chain: &'a [Fallback],
    from: usize,
    situation: &Situation<'_>,
) -> Option<(usize, &'a Fallback)> {
    let mut links = chain.iter().enumerate().skip(from);
    links.find(|(_, link)| can_answer(link, situation))
}

/// The value of the response header `outrigger-fallback`, and of the metric label.
pub fn label(link: &Fallback) -> &'static str {
    match link {
        Fallback::Stale(_) => "stale",
        Fallback::Service(_) => "service",
        Fallback::Static(_) => "static",
    }
}

fn can_answer(link: &Fallback, situation: &Situation<'_>) -> bool {
    let method = situation.method;
    match link {
        Fallback::Stale(oldest) => {
            let young = |age| age <= (*oldest).min(MAX_STALE);
            matches!(*method, Method::GET | Method::HEAD) && situation.stale_age.is_some_and(young)
        }
        Fallback::Service(_) => method.is_idempotent() && situation.in_use < MAX_IN_FLIGHT,
        Fallback::Static(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::StaticResponse;

    fn chain() -> Vec<Fallback> {
        vec![
            Fallback::Stale(Duration::from_secs(60)),
            Fallback::Service("shop/cart-backup:80".parse().unwrap()),
            Fallback::Static(StaticResponse {
                status: 503,
                headers: Vec::new(),
                body: "later".into(),
            }),
        ]
    }

    fn which(from: usize, method: Method, age: Option<u64>, in_use: u32) -> Option<&'static str> {
        let situation = Situation {
            method: &method,
            stale_age: age.map(Duration::from_secs),
            in_use,
        };
        choose(&chain(), from, &situation).map(|(_, link)| label(link))
    }

    #[test]
    fn goes_down_the_chain() {
        assert_eq!(which(0, Method::GET, Some(60), 0), Some("stale"));
        assert_eq!(which(0, Method::GET, Some(61), 0), Some("service"));
        assert_eq!(which(0, Method::GET, None, 0), Some("service"));
        assert_eq!(which(1, Method::GET, Some(1), 0), Some("service"));
        assert_eq!(which(2, Method::GET, Some(1), 0), Some("static"));
        assert_eq!(which(3, Method::GET, Some(1), 0), None);
    }

    #[test]
    fn ten_at_a_time_at_the_fallback_service() {
        assert_eq!(which(1, Method::GET, None, 9), Some("service"));
        assert_eq!(which(1, Method::GET, None, 10), Some("static"));
    }

    #[test]
    fn unsafe_to_repeat_means_static_only() {
        assert_eq!(which(0, Method::POST, Some(1), 0), Some("static"));
        assert_eq!(which(0, Method::PUT, Some(1), 0), Some("service"));
    }

    #[test]
    fn never_older_than_five_minutes() {
        let chain = [Fallback::Stale(Duration::from_secs(3_600))];
        let at = |age| Situation {
            method: &Method::GET,
            stale_age: Some(Duration::from_secs(age)),
            in_use: 0,
        };
        assert!(choose(&chain, 0, &at(300)).is_some());
        assert!(choose(&chain, 0, &at(301)).is_none());
    }
}
