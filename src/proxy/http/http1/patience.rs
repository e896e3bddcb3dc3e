//! How long a connection may take: for a head, for a body, for its answer, and for nothing at all.

use std::mem;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doing {
    /// Requests so far; wraps around.
    pub heads: u32,
    /// A request is being answered.
    pub exchanging: bool,
    /// A head has begun and is not whole, or the rest of a body that nobody takes.
    pub in_head: bool,
    /// Something waits for the client to take it.
    pub unsent: bool,
    /// How often the client took something; wraps around.
    pub writes: u32,
    /// More of the request's body is wanted, and nothing of an answer is there.
    pub awaits: bool,
    /// How often the client sent something; wraps around.
    pub reads: u32,
}

/// What is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Go,
    /// Nothing has happened since the last tick, and nothing is half done.
    Park,
    /// The client has been silent for too long, or the proxy ends.
    Close,
    /// A head began and does not end.
    Cut,
    /// The client takes nothing of its answer.
    Stalled,
    /// The client sends nothing of its request's body.
    Silent,
}

/// Looks at a connection at regular intervals.
#[derive(Debug, Default)]
pub struct Ticks {
    /// Requests at the last tick.
    heads: u32,
    /// Ticks at which the head that has begun was not whole.
    in_head: u32,
    /// What waits for the client to take it.
    unsent: Wait,
    /// What is awaited of the client.
    awaited: Wait,
}

/// For a client to do something.
#[derive(Debug, Default)]
struct Wait {
    /// How often it had done so at the last tick.
    done: u32,
    /// Ticks at which it had not.
    ticks: u32,
}

impl Wait {
    /// Whether it has waited for more ticks than are `allowed`.
    fn is_too_long(&mut self, waits: bool, done: u32, allowed: u32) -> bool {
        let moved = done != mem::replace(&mut self.done, done);
        self.ticks = if waits && !moved { self.ticks + 1 } else { 0 };
        self.ticks > allowed
    }
}

/// How many ticks a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// For a head, from its first byte to its last.
    pub head: u32,
    /// For any part of its request's body, or of its answer.
    pub pause: u32,
}

impl Ticks {
    pub fn tick(&mut self, doing: Doing, allowed: Allowed) -> Next {
        let Doing { unsent, awaits, .. } = doing;
        let pause = allowed.pause;
        if self.unsent.is_too_long(unsent, doing.writes, pause) {
            return Next::Stalled;
        }
        if self.awaited.is_too_long(awaits, doing.reads, pause) {
            return Next::Silent;
        }
        let same = doing.heads == mem::replace(&mut self.heads, doing.heads);
        if doing.exchanging || doing.unsent || !same {
            self.in_head = 0;
            return Next::Go;
        }
        if doing.in_head {
            self.in_head += 1;
            return if self.in_head < allowed.head {
                Next::Go
            } else {
                Next::Cut
            };
        }
        self.in_head = 0;
        Next::Park
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Allowed = Allowed { head: 3, pause: 40 };
    const QUIET: Doing = Doing {
        heads: 1,
        exchanging: false,
        in_head: false,
        unsent: false,
        writes: 1,
        awaits: false,
        reads: 1,
    };

    /// Has answered one request, and a tick has passed.
    fn used() -> Ticks {
        let mut ticks = Ticks::default();
        assert_eq!(ticks.tick(QUIET, ALLOWED), Next::Go);
        ticks
    }

    #[test]
    fn a_quiet_connection_is_parked_and_a_used_one_is_not() {
        let mut ticks = used();
        let again = Doing { heads: 2, ..QUIET };
        assert_eq!(ticks.tick(again, ALLOWED), Next::Go, "used since the last");
        assert_eq!(ticks.tick(again, ALLOWED), Next::Park);
    }

    /// It was taken out of the park for nothing.
    #[test]
    fn a_connection_without_a_byte_is_parked_and_not_cut() {
        let nothing = Doing::default();
        assert_eq!(Ticks::default().tick(nothing, ALLOWED), Next::Park);
    }

    #[test]
    fn an_exchange_may_take_its_time() {
        let mut ticks = used();
        let exchanging = Doing {
            exchanging: true,
            ..QUIET
        };
        for _ in 0..10 * ALLOWED.head {
            assert_eq!(ticks.tick(exchanging, ALLOWED), Next::Go);
        }
        assert_eq!(ticks.tick(QUIET, ALLOWED), Next::Park);
    }

    #[test]
    fn a_head_that_does_not_end_is_cut() {
        let mut ticks = used();
        let begun = Doing {
            in_head: true,
            ..QUIET
        };
        let seen: Vec<_> = (0..ALLOWED.head)
            .map(|_| ticks.tick(begun, ALLOWED))
            .collect();
        assert_eq!(seen, [Next::Go, Next::Go, Next::Cut]);
    }

    #[test]
    fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
        let mut ticks = used();
        let mut sending = Doing {
            exchanging: true,
            unsent: true,
            ..QUIET
        };
        for _ in 0..2 {
            // The first tick sees the write.
            sending.writes += 1;
            for _ in 0..=ALLOWED.pause {
                assert_eq!(ticks.tick(sending, ALLOWED), Next::Go);
            }
        }
        assert_eq!(ticks.tick(sending, ALLOWED), Next::Stalled);
    }

    #[test]
    fn a_client_that_sends_nothing_of_its_body_is_given_up() {
        let mut ticks = used();
        let mut awaiting = Doing {
            exchanging: true,
            awaits: true,
            ..QUIET
        };
        for _ in 0..2 {
            // The first tick sees the read.
            awaiting.reads += 1;
            for _ in 0..=ALLOWED.pause {
                assert_eq!(ticks.tick(awaiting, ALLOWED), Next::Go);
            }
        }
        assert_eq!(ticks.tick(awaiting, ALLOWED), Next::Silent);
        // Where nobody wants it, it may take its time.
        awaiting.awaits = false;
        for _ in 0..10 * ALLOWED.pause {
            assert_eq!(ticks.tick(awaiting, ALLOWED), Next::Go);
        }
    }

    #[test]
    fn an_answer_that_is_not_taken_keeps_its_connection_from_the_park() {
        let mut ticks = used();
        let unsent = Doing {
            unsent: true,
            ..QUIET
        };
        assert_eq!(ticks.tick(unsent, ALLOWED), Next::Go);
        assert_eq!(ticks.tick(QUIET, ALLOWED), Next::Park);
    }
}
