//! What the applications saw: the material of the checks.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::network::Network;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By the application, with this status.
    Answered(u16),
    /// By a proxy, with a reason.
    Refused(u16, String),
    /// By somebody else, or something else than was asked for.
    Wrong(String),
    /// The connection ended without an answer.
    Broken(String),
    /// The answer began, and did not end.
    BrokenOff(String),
    /// Nothing was heard of it.
    Lost,
}

/// A request under way.
pub struct Sent {
    pub id: u64,
    client: String,
    service: String,
    at: Duration,
}

pub struct Observed {
    network: Arc<Network>,
    ids: Cell<u64>,
    open: Cell<u64>,
    sent: RefCell<BTreeMap<String, u64>>,
    served: RefCell<BTreeMap<String, u64>>,
    /// From when until when the sidecars of clients were not there or not ready.
    absent: RefCell<BTreeMap<String, Vec<(Duration, Duration)>>>,
    /// From when on every request must succeed.
    quiet: Cell<Option<Duration>>,
    succeeded_in_quiet: Cell<u64>,
    violations: RefCell<Vec<String>>,
    outcomes: RefCell<BTreeMap<String, u64>>,
}

/// After a sidecar is ready again, connections of the time before may still end without a word.
const AFTERMATH: Duration = Duration::from_secs(3);

impl Observed {
    pub fn new(network: Arc<Network>) -> Rc<Self> {
        Rc::new(Self {
            network,
            ids: Cell::default(),
            open: Cell::default(),
            sent: RefCell::default(),
            served: RefCell::default(),
            absent: RefCell::default(),
            quiet: Cell::default(),
            succeeded_in_quiet: Cell::default(),
            violations: RefCell::default(),
            outcomes: RefCell::default(),
        })
    }

    pub fn note(&self, what: impl AsRef<str>) {
        self.network.trace.note(self.network.elapsed(), what);
    }

    /// Something that must never be.
    pub fn violated(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(format!("VIOLATION: {what}"));
        self.violations.borrow_mut().push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }

    pub fn sends(&self, client: &str, service: &str) -> Sent {
        self.ids.set(self.ids.get() + 1);
        self.open.set(self.open.get() + 1);
        *self
            .sent
            .borrow_mut()
            .entry(service.to_owned())
            .or_default() += 1;
        Sent {
            id: self.ids.get(),
            client: client.to_owned(),
            service: service.to_owned(),
            at: self.network.elapsed(),
        }
    }

    pub fn served(&self, service: &str) {
        *self
            .served
            .borrow_mut()
            .entry(service.to_owned())
            .or_default() += 1;
    }

    pub fn ended(&self, sent: Sent, outcome: Outcome) {
        let Sent {
            id,
            client,
            service,
            at,
        } = sent;
        self.open.set(self.open.get() - 1);
        let label = match &outcome {
            Outcome::Answered(status) => format!("{status}"),
            Outcome::Refused(status, reason) => format!("{status} {reason}"),
            Outcome::Wrong(_) => "wrong".into(),
            Outcome::Broken(_) => "broken".into(),
            Outcome::BrokenOff(_) => "broken off".into(),
            Outcome::Lost => "lost".into(),
        };
        *self.outcomes.borrow_mut().entry(label).or_default() += 1;
        let line = format!("{client} -> {service} #{id}: {outcome:?}");
        let took = self.network.elapsed() - at;
        self.note(format!("{line} after {took:?}"));
        match &outcome {
            Outcome::Wrong(_) => return self.violated(format!("{line}: a wrong answer")),
            Outcome::Lost => return self.violated(format!("{line}: no answer and no error")),
            Outcome::Broken(_) if !self.was_absent(&client, at) => {
                return self.violated(format!("{line}: ended without a reason"));
            }
            _ => {}
        }
        if self.quiet.get().is_some_and(|quiet| at >= quiet) {
            match outcome {
                Outcome::Answered(200) => {
                    self.succeeded_in_quiet
                        .set(self.succeeded_in_quiet.get() + 1);
                }
                _ => self.violated(format!("{line}: failed long after the last fault")),
            }
        }
    }

    /// A client's sidecar is gone from now on.
    pub fn sidecar_gone(&self, client: &str) {
        let mut absent = self.absent.borrow_mut();
        let now = self.network.elapsed();
        let spans = absent.entry(client.to_owned()).or_default();
        spans.push((now, Duration::MAX));
    }

    pub fn sidecar_ready(&self, client: &str) {
        let mut absent = self.absent.borrow_mut();
        let now = self.network.elapsed();
        if let Some(last) = absent.get_mut(client).and_then(|spans| spans.last_mut()) {
            last.1 = last.1.min(now + AFTERMATH);
        }
    }

    fn was_absent(&self, client: &str, since: Duration) -> bool {
        let absent = self.absent.borrow();
        let spans = absent.get(client).into_iter().flatten();
        spans.into_iter().any(|(_, until)| *until >= since)
    }

    /// From here on every request must succeed.
    pub fn quiet_begins(&self) {
        self.quiet.set(Some(self.network.elapsed()));
    }

    pub fn succeeded_in_quiet(&self) -> u64 {
        self.succeeded_in_quiet.get()
    }

    /// Requests under way.
    pub fn open(&self) -> u64 {
        self.open.get()
    }

    /// For each service what clients sent and what servers saw.
    pub fn counts(&self) -> Vec<(String, u64, u64)> {
        let served = self.served.borrow();
        let count = |service: &String| served.get(service).copied().unwrap_or_default();
        let sent = self.sent.borrow();
        sent.iter()
            .map(|(service, sent)| (service.clone(), *sent, count(service)))
            .collect()
    }

    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        self.outcomes.borrow().clone()
    }
}
