//! What a peer may make us do for nothing.

use std::time::{Duration, Instant};

/// The time that a [`Rate`] is counted over.
const WINDOW: Duration = Duration::from_secs(1);

/// How many events there may be in a second.
#[derive(Debug)]
pub struct Rate {
    max: u32,
    count: u32,
    since: Option<Instant>,
}

/// There are more of them than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Rate {
    pub fn new(max: u32) -> Self {
        Self {
            max,
            count: 0,
            since: None,
        }
    }

    /// # Errors
    /// When this event is one too many.
    pub fn count(&mut self, now: Instant) -> Result<(), TooMany> {
        let goes_on = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) < WINDOW);
        if !goes_on {
            self.since = Some(now);
            self.count = 0;
        }
        self.count += 1;
        (self.count <= self.max).then_some(()).ok_or(TooMany)
    }
}

/// How many events there may be until they are forgiven.
#[derive(Debug)]
pub struct Count {
    max: u32,
    count: u32,
}

impl Count {
    pub fn new(max: u32) -> Self {
        Self { max, count: 0 }
    }

    /// # Errors
    /// When this event is one too many.
    pub fn count(&mut self) -> Result<(), TooMany> {
        self.count = self.count.saturating_add(1);
        (self.count <= self.max).then_some(()).ok_or(TooMany)
    }

    pub fn forgive(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_counted_anew_each_second() {
        let (mut rate, start) = (Rate::new(2), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(rate.count(start), Ok(()));
        assert_eq!(rate.count(after(999)), Ok(()));
        assert_eq!(rate.count(after(999)), Err(TooMany));
        assert_eq!(rate.count(after(1000)), Ok(()));
    }

    #[test]
    fn a_count_stays_until_it_is_forgiven() {
        let mut count = Count::new(1);
        assert_eq!(count.count(), Ok(()));
        assert_eq!(count.count(), Err(TooMany));
        count.forgive();
        assert_eq!(count.count(), Ok(()));
    }
}
