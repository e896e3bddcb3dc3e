//! Log lines that somebody else could make come without end: one in a while, and how many there
//! were between. Pure, the clock is passed in.

use std::time::{Duration, Instant};

/// One line's turn.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    last: Option<Instant>,
    kept_back: u64,
}

impl Seldom {
    /// At most one line in `every`.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            last: None,
            kept_back: 0,
        }
    }

    /// How often it has happened since the last line, this time included, where a line is due.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        let recent = |last| now.saturating_duration_since(last) < self.every;
        if self.last.is_some_and(recent) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_says_how_often() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut seldom = Seldom::new(second * 10);
        assert_eq!(seldom.due(start), Some(1));
        assert_eq!(seldom.due(start), None);
        assert_eq!(seldom.due(start + second * 9), None);
        assert_eq!(seldom.due(start + second * 10), Some(3));
        assert_eq!(seldom.due(start + second * 30), Some(1));
    }
}
