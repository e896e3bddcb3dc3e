//! Bodies that hold on to a shared connection: the last part of them went on, and nobody takes the
//! next one.
//!
//! All bodies of an HTTP/2 connection share its window. A few whose readers have stopped would stop
//! all others with them, so the pool leaves such a connection to them and dials another.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt};

/// What a body must have carried before it can be in anybody's way, in bytes.
const LARGE: u64 = 64 * 1024;
/// How long a reader that keeps up never takes for a part.
const STALLED: Duration = Duration::from_millis(100);
/// Two full windows of a stream are half of the connection's.
const ENOUGH: usize = 2;

/// The bodies of one connection.
pub struct Holders {
    /// When the last part of each large one went on.
    since: RefCell<HashMap<u64, Instant>>,
    numbers: Cell<u64>,
}

impl Holders {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            since: RefCell::new(HashMap::new()),
            numbers: Cell::new(0),
        })
    }

    /// Whether so many are held up that the connection should get no more.
    pub fn are_in_the_way(&self, now: impl FnOnce() -> Instant) -> bool {
        let since = self.since.borrow();
        if since.len() < ENOUGH {
            return false;
        }
        let now = now();
        let stalled = |at: &&Instant| now.saturating_duration_since(**at) >= STALLED;
        since.values().filter(stalled).count() >= ENOUGH
    }
}

/// One body on a shared connection.
pub struct Held {
    holders: Rc<Holders>,
    number: u64,
    carried: u64,
}

impl Held {
    pub fn by(holders: &Rc<Holders>) -> Self {
        let number = holders.numbers.get();
        holders.numbers.set(number + 1);
        Self {
            holders: holders.clone(),
            number,
            carried: 0,
        }
    }

    /// A part went on, and it is for the reader to ask for the next one.
    pub fn went_on(&mut self, bytes: u64, now: impl FnOnce() -> Instant) {
        self.carried += bytes;
        if self.carried >= LARGE {
            let mut since = self.holders.since.borrow_mut();
            since.insert(self.number, now());
        }
    }

    /// The reader asked, and there is nothing: it is the sender who is waited for.
    pub fn is_asked_for(&self) {
        if self.carried >= LARGE {
            self.holders.since.borrow_mut().remove(&self.number);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.is_asked_for();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carrying(holders: &Rc<Holders>, bytes: u64, at: Instant) -> Held {
        let mut held = Held::by(holders);
        held.went_on(bytes, || at);
        held
    }

    #[test]
    fn two_large_bodies_that_nobody_reads_are_in_the_way() {
        let (holders, start) = (Holders::new(), Instant::now());
        let in_the_way = |after| holders.are_in_the_way(|| start + after);
        let one = carrying(&holders, LARGE, start);
        assert!(!in_the_way(STALLED), "one leaves room for others");
        let mut two = carrying(&holders, LARGE, start);
        assert!(!in_the_way(STALLED / 2), "not yet");
        assert!(in_the_way(STALLED));
        two.went_on(1, || start + STALLED);
        assert!(!in_the_way(STALLED), "it is read again");
        assert!(in_the_way(2 * STALLED));
        two.is_asked_for();
        assert!(!in_the_way(3 * STALLED), "its sender has nothing more");
        drop((one, two));
        assert!(holders.since.borrow().is_empty());
    }

    #[test]
    fn small_bodies_are_never_in_the_way() {
        let (holders, start) = (Holders::new(), Instant::now());
        let many: Vec<Held> = (0..100)
            .map(|_| carrying(&holders, LARGE - 1, start))
            .collect();
        assert!(!holders.are_in_the_way(|| start + 2 * STALLED));
        drop(many);
    }
}
