//! Counts of calls over a sliding window, by time or by number. Memory is fixed when the window
//! is made; what the counts mean is left to the breaker.

use std::time::{Duration, Instant};

use super::policy::Window;

const BUCKETS: usize = 10;

/// What one call, or all calls of a window, amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub calls: u32,
    pub failures: u32,
    pub slow: u32,
}

impl Counts {
    pub fn call(failure: bool, slow: bool) -> Self {
        Self {
            calls: 1,
            failures: failure.into(),
            slow: slow.into(),
        }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
        self.slow += other.slow;
    }

    fn subtract(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failures -= other.failures;
        self.slow -= other.slow;
    }
}

/// The calls of the last so long, or the last so many.
#[derive(Debug)]
pub(super) struct CallWindow {
    total: Counts,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Time(Buckets<Counts>),
    Count { last: Box<[Counts]>, next: usize },
}

impl CallWindow {
    pub fn new(window: Window) -> Self {
        let kind = match window {
            Window::Time(length) => Kind::Time(Buckets::new(length)),
            Window::Count(calls) => Kind::Count {
                last: vec![Counts::default(); calls.max(1) as usize].into(),
                next: 0,
            },
        };
        Self {
            total: Counts::default(),
            kind,
        }
    }

    pub fn clear(&mut self) {
        self.total = Counts::default();
        match &mut self.kind {
            Kind::Time(buckets) => buckets.clear(),
            Kind::Count { last, .. } => last.fill(Counts::default()),
        }
    }

    /// Counts `call` and returns the window's total with it.
    pub fn record(&mut self, now: Instant, call: Counts) -> Counts {
        match &mut self.kind {
            Kind::Time(buckets) => {
                let total = &mut self.total;
                buckets.at(now, |gone| total.subtract(gone)).add(call);
            }
            Kind::Count { last, next } => {
                self.total
                    .subtract(std::mem::replace(&mut last[*next], call));
                *next = (*next + 1) % last.len();
            }
        }
        self.total.add(call);
        self.total
    }
}

/// A ring of ten buckets over a length of time; the oldest is reused as time passes.
#[derive(Debug)]
pub(super) struct Buckets<T> {
    ring: [T; BUCKETS],
    width: Duration,
    head: usize,
    head_since: Option<Instant>,
}

impl<T: Copy + Default> Buckets<T> {
    pub fn new(length: Duration) -> Self {
        Self {
            ring: [T::default(); BUCKETS],
            width: (length / BUCKETS as u32).max(Duration::from_nanos(1)),
            head: 0,
            head_since: None,
        }
    }

    pub fn clear(&mut self) {
        self.ring = [T::default(); BUCKETS];
        self.head_since = None;
    }

    /// The bucket of `now`; each bucket that falls out of the window goes to `gone` first.
    pub fn at(&mut self, now: Instant, mut gone: impl FnMut(T)) -> &mut T {
        let since = *self.head_since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= self.width * BUCKETS as u32 {
            self.ring.iter_mut().for_each(|b| gone(std::mem::take(b)));
            self.head_since = Some(now);
        } else if elapsed >= self.width {
            let steps = (elapsed.as_nanos() / self.width.as_nanos()) as u32;
            for _ in 0..steps {
                self.head = (self.head + 1) % BUCKETS;
                gone(std::mem::take(&mut self.ring[self.head]));
            }
            self.head_since = Some(since + self.width * steps);
        }
        &mut self.ring[self.head]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: fn() -> Counts = || Counts::call(true, false);
    const FINE: fn() -> Counts = || Counts::call(false, false);

    #[test]
    fn time_forgets_bucket_by_bucket() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut window = CallWindow::new(Window::Time(Duration::from_secs(10)));
        window.record(at(0), FAILED());
        window.record(at(1_000), FAILED());
        assert_eq!(window.record(at(9_999), FINE()).failures, 2);
        assert_eq!(window.record(at(10_000), FINE()).failures, 1);
        assert_eq!(window.record(at(11_000), FINE()).failures, 0);
        assert_eq!(window.record(at(60_000), FINE()), FINE());
    }

    #[test]
    fn count_forgets_call_by_call() {
        let now = Instant::now();
        let mut window = CallWindow::new(Window::Count(3));
        window.record(now, FAILED());
        window.record(now, FINE());
        assert_eq!(window.record(now, FINE()).failures, 1);
        assert_eq!(window.record(now, FINE()).failures, 0);
        window.clear();
        assert_eq!(window.record(now, FAILED()), FAILED());
    }
}
