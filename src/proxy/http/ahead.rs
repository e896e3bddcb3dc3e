//! What an upstream says ahead of its answer: interim answers (1xx; RFC 9110, section 15.2), above
//! all `103 Early Hints`.

use std::cell::Cell;

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use crate::proxy::head::{self, Upgrade};

/// A client that is told ahead of its answer, as far as it can be told at once: nothing waits for
/// it, and what there is no room for is left out.
pub trait Ahead {
    fn say(&self, status: StatusCode, headers: HeaderMap);
}

/// Nobody is told.
pub struct Untold;

impl Ahead for Untold {
    fn say(&self, _: StatusCode, _: HeaderMap) {}
}

/// How often a client is told, whatever its upstreams say: some count, and break off.
const MOST: u32 = 4;

/// Passes on what concerns more than one connection, and of that what an application may say.
pub struct PassedOn<'a> {
    to: &'a dyn Ahead,
    said: Cell<u32>,
}

impl<'a> PassedOn<'a> {
    pub fn new(to: &'a dyn Ahead) -> Self {
        Self {
            to,
            said: Cell::new(0),
        }
    }
}

impl Ahead for PassedOn<'_> {
    fn say(&self, status: StatusCode, mut headers: HeaderMap) {
        // These are a connection's own.
        if matches!(
            status,
            StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS
        ) {
            return;
        }
        let said = self.said.get();
        if said == MOST {
            return;
        }
        self.said.set(said + 1);
        head::strip_hop_by_hop(&mut headers, Upgrade::Strip);
        let unfit = |name: &&HeaderName| {
            let framing = [CONTENT_LENGTH, TRANSFER_ENCODING].contains(name);
            framing || name.as_str().starts_with("outrigger-")
        };
        let unfit: Vec<_> = headers.keys().filter(unfit).cloned().collect();
        for name in unfit {
            headers.remove(name);
        }
        self.to.say(status, headers);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Heard(RefCell<Vec<(u16, Vec<String>)>>);

    impl Ahead for Heard {
        fn say(&self, status: StatusCode, headers: HeaderMap) {
            let names = headers.keys().map(ToString::to_string).collect();
            self.0.borrow_mut().push((status.as_u16(), names));
        }
    }

    fn passed_on(status: u16, names: &[&'static str]) -> Vec<(u16, Vec<String>)> {
        let heard = Heard::default();
        let headers = names.iter().map(|name| {
            let name = HeaderName::from_static(name);
            (name, "other".parse().expect("a value"))
        });
        let status = StatusCode::from_u16(status).expect("a status");
        PassedOn::new(&heard).say(status, headers.collect());
        heard.0.into_inner()
    }

    #[test]
    fn hints_are_passed_on_without_what_concerns_a_connection_or_is_the_meshs() {
        let names = [
            "link",
            "connection",
            "content-length",
            "keep-alive",
            "outrigger-unsent",
            "outrigger-reason",
            "transfer-encoding",
        ];
        assert_eq!(passed_on(103, &names), [(103, vec!["link".to_owned()])]);
        assert_eq!(passed_on(102, &[]), [(102, vec![])]);
    }

    /// Go's client gives an exchange up at the sixth.
    #[test]
    fn an_exchange_has_few_hints() {
        let heard = Heard::default();
        let passed_on = PassedOn::new(&heard);
        for _ in 0..100 {
            passed_on.say(StatusCode::EARLY_HINTS, HeaderMap::new());
        }
        assert_eq!(heard.0.borrow().len(), MOST as usize);
    }

    #[test]
    fn what_is_said_of_a_connection_goes_no_further() {
        for status in [100, 101] {
            assert_eq!(passed_on(status, &["link"]), []);
        }
    }
}
