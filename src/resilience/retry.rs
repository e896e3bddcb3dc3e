//! Which tries may be repeated, how long to wait before, and the budget that keeps retries from
//! multiplying an overload. Keeping the body for another try is left to the proxy.

use std::time::{Duration, Instant};

use super::{policy::RetryPolicy, window::Buckets};

/// Requests and retries are set against each other over this long, in ten buckets.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BACKOFF_BASE: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Tries of a request that nobody has begun to work on, and how long they may go on: by then every
/// proxy knows of an endpoint that is gone.
const UNSENT_TRIES: u32 = 6;
const UNSENT_FOR: Duration = Duration::from_secs(1);

/// How one try failed before any of its response was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryFailure {
    /// No connection, neither from here nor from the endpoint's own proxy: the application saw
    /// nothing of the request.
    Connect,
    /// The peer says it did not process the stream: REFUSED_STREAM, or above GOAWAY's last one.
    RefusedStream,
    /// A connection from the pool was closed before any of the response: as a rule the peer's
    /// idle timeout, or its shutdown, crossed the request (RFC 9112, section 9.3.1).
    StaleConnection,
    Status(u16),
    /// The connection or stream broke after the upstream may have begun its work.
    Reset,
    Timeout,
}

/// Whether a request may be repeated without another effect (RFC 9110, section 9.2.2).
pub fn is_idempotent(method: &http::Method) -> bool {
    method.is_idempotent()
}

impl TryFailure {
    /// Whether the application certainly did not begin with the request.
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::Connect | Self::RefusedStream)
    }
}

/// A request whose last try failed.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    pub idempotent: bool,
    pub failure: TryFailure,
    /// So far, from 1.
    pub tries: u32,
    /// How many endpoints there were at the first.
    pub endpoints: usize,
    /// Since the request began.
    pub after: Duration,
}

/// Whether it may be tried once more, if the [`RetryBudget`] allows. A request that nobody has
/// begun to work on may be repeated whatever its method, and as often as there are endpoints: some
/// may be going away. Where an application may have begun, only idempotent ones are, or those of
/// which the policy says so.
pub fn may_repeat(policy: &RetryPolicy, tried: Tried) -> bool {
    let within_attempts = tried.tries <= policy.attempts;
    let safe = tried.idempotent || policy.non_idempotent;
    match tried.failure {
        TryFailure::Connect | TryFailure::RefusedStream => {
            let endpoints = u32::try_from(tried.endpoints).unwrap_or(u32::MAX);
            let more = tried.tries < endpoints.min(UNSENT_TRIES) && tried.after < UNSENT_FOR;
            policy.attempts > 0 && (within_attempts || more)
        }
        TryFailure::StaleConnection => safe && within_attempts,
        TryFailure::Status(status) => safe && within_attempts && policy.statuses.contains(&status),
        TryFailure::Reset | TryFailure::Timeout => false,
    }
}

/// The wait before the retry that follows the `tries`-th try (from 1): exponential from 25 ms up
/// to 1 s with full jitter, see
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
pub fn backoff(tries: u32, rng: &mut fastrand::Rng) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let most = (BACKOFF_BASE * (1 << doublings)).min(BACKOFF_MAX);
    most.mul_f64(rng.f64())
}

/// Allows retries up to a share of the requests of the last ten seconds. Beyond that, a few in
/// each second are free, so that a quiet service has retries at all.
#[derive(Debug)]
pub struct RetryBudget {
    ratio: f64,
    min_per_second: u32,
    buckets: Buckets<Spent>,
    total: Spent,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    requests: u32,
    /// Retries paid for by requests.
    paid: u32,
    /// Retries on the minimum.
    free: u32,
}

impl RetryBudget {
    pub fn new(policy: &RetryPolicy) -> Self {
        Self {
            ratio: policy.budget_ratio,
            min_per_second: policy.budget_min_per_second,
            buckets: Buckets::new(BUDGET_WINDOW),
            total: Spent::default(),
        }
    }

    /// Takes on a changed policy, and keeps what was deposited and spent.
    pub fn update(&mut self, policy: &RetryPolicy) {
        self.ratio = policy.budget_ratio;
        self.min_per_second = policy.budget_min_per_second;
    }

    /// Counts a request; its retries do not count as requests.
    pub fn deposit(&mut self, now: Instant) {
        self.bucket(now).requests += 1;
        self.total.requests += 1;
    }

    /// Spends one retry, if there is one left.
    #[must_use]
    pub fn withdraw(&mut self, now: Instant) -> bool {
        let (ratio, min) = (self.ratio, self.min_per_second);
        self.bucket(now);
        let total = self.total;
        let affordable = f64::from(total.paid + 1) <= ratio * f64::from(total.requests);
        let bucket = self.bucket(now);
        if affordable {
            bucket.paid += 1;
            self.total.paid += 1;
        } else if bucket.free < min {
            bucket.free += 1;
        } else {
            return false;
        }
        true
    }

    /// Retries that requests have paid for and nobody has taken, for the metric.
    pub fn remaining(&mut self, now: Instant) -> u32 {
        self.bucket(now);
        let allowed = (self.ratio * f64::from(self.total.requests)) as u32;
        allowed.saturating_sub(self.total.paid)
    }

    fn bucket(&mut self, now: Instant) -> &mut Spent {
        let total = &mut self.total;
        self.buckets.at(now, |gone| {
            total.requests -= gone.requests;
            total.paid -= gone.paid;
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;

    fn tried(idempotent: bool, failure: TryFailure, tries: u32) -> Tried {
        Tried {
            idempotent,
            failure,
            tries,
            endpoints: 9,
            after: Duration::ZERO,
        }
    }

    #[test]
    fn repeats_what_the_table_says() {
        let policy = RetryPolicy::default();
        let repeat = |failure, tries| may_repeat(&policy, tried(true, failure, tries));
        let idempotent = |failure| repeat(failure, 1);
        assert!(idempotent(TryFailure::Connect));
        assert!(idempotent(TryFailure::RefusedStream));
        assert!(idempotent(TryFailure::StaleConnection));
        for status in [502, 503, 504] {
            assert!(idempotent(TryFailure::Status(status)));
        }
        for status in [500, 501, 404, 429] {
            assert!(!idempotent(TryFailure::Status(status)));
        }
        assert!(!idempotent(TryFailure::Reset));
        assert!(!idempotent(TryFailure::Timeout));
        assert!(!repeat(TryFailure::StaleConnection, 2));
        assert!(!repeat(TryFailure::Status(503), 2));
    }

    #[test]
    fn what_nobody_has_begun_is_repeated_more_often_but_not_for_long() {
        let mut policy = RetryPolicy::default();
        let refused = |tries| tried(false, TryFailure::Connect, tries);
        assert!(may_repeat(&policy, refused(5)));
        assert!(!may_repeat(&policy, refused(6)));
        let late = |tries| Tried {
            after: UNSENT_FOR,
            ..refused(tries)
        };
        assert!(may_repeat(&policy, late(1)) && !may_repeat(&policy, late(2)));
        let among = |endpoints, tries| Tried {
            endpoints,
            ..refused(tries)
        };
        assert!(may_repeat(&policy, among(1, 1)) && !may_repeat(&policy, among(1, 2)));
        assert!(may_repeat(&policy, among(3, 2)) && !may_repeat(&policy, among(3, 3)));
        policy.attempts = 0;
        assert!(!may_repeat(&policy, refused(1)));
    }

    #[test]
    fn others_only_where_the_policy_says_so() {
        let mut policy = RetryPolicy::default();
        let stale = TryFailure::StaleConnection;
        let repeat = |policy: &RetryPolicy, failure| may_repeat(policy, tried(false, failure, 1));
        assert!(!repeat(&policy, stale) && !repeat(&policy, TryFailure::Status(503)));
        assert!(repeat(&policy, TryFailure::Connect));
        assert!(repeat(&policy, TryFailure::RefusedStream));
        policy.non_idempotent = true;
        assert!(repeat(&policy, stale));
        assert!(is_idempotent(&Method::PUT) && is_idempotent(&Method::GET));
        assert!(!is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH));
    }

    #[test]
    fn budget_is_a_fifth_of_the_requests_and_three_a_second() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(&RetryPolicy::default());
        let take =
            |budget: &mut RetryBudget, now| (0..200).filter(|_| budget.withdraw(now)).count();
        assert_eq!(take(&mut budget, start), 3);
        (0..100).for_each(|_| budget.deposit(start));
        assert_eq!(budget.remaining(start), 20);
        assert_eq!(take(&mut budget, start), 20);
        assert_eq!(take(&mut budget, start + Duration::from_secs(1)), 3);
        let later = start + Duration::from_secs(20);
        assert_eq!(budget.remaining(later), 0);
        assert_eq!(take(&mut budget, later), 3);
    }

    #[test]
    fn backoff_doubles_up_to_a_second() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut longest = |tries| (0..500).map(|_| backoff(tries, &mut rng)).max().unwrap();
        for (tries, most) in [
            (1, 25),
            (2, 50),
            (3, 100),
            (6, 800),
            (7, 1_000),
            (99, 1_000),
        ] {
            let most = Duration::from_millis(most);
            let longest = longest(tries);
            assert!(
                longest <= most && longest > most.mul_f64(0.9),
                "{tries}: {longest:?}"
            );
        }
    }

    proptest! {
        /// However its tries fail, a request ends.
        #[test]
        fn tries_are_bounded(
            failures in proptest::collection::vec(0usize..6, 20),
            attempts in 0u32..5,
            endpoints in 0usize..1_000,
            idempotent: bool,
            non_idempotent: bool,
        ) {
            let policy = RetryPolicy { attempts, non_idempotent, ..RetryPolicy::default() };
            let kinds = [
                TryFailure::Connect,
                TryFailure::RefusedStream,
                TryFailure::StaleConnection,
                TryFailure::Status(503),
                TryFailure::Reset,
                TryFailure::Timeout,
            ];
            let again = |(tries, kind): (u32, &usize)| {
                let tried = Tried { endpoints, ..tried(idempotent, kinds[*kind], tries) };
                may_repeat(&policy, tried)
            };
            let repeated = (1..).zip(&failures).take_while(|one| again(*one)).count();
            let most = if attempts == 0 { 0 } else { attempts.max(UNSENT_TRIES - 1) };
            prop_assert!(repeated <= most as usize, "{} of {}", repeated, most);
        }

        /// Each paid retry has its own part of a request at most ten seconds older, and nine
        /// seconds touch ten buckets with free ones.
        #[test]
        fn never_more_than_ratio_and_minimum(
            steps in proptest::collection::vec((0u64..3_000, 0u32..20, 0u32..20), 0..60),
            budget_ratio in 0.0..=1.0f64,
            budget_min_per_second in 0u32..5,
        ) {
            let policy = RetryPolicy { budget_ratio, budget_min_per_second, ..RetryPolicy::default() };
            let mut budget = RetryBudget::new(&policy);
            let mut now = Instant::now();
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for (ms, deposits, withdrawals) in steps {
                now += Duration::from_millis(ms);
                for _ in 0..deposits {
                    budget.deposit(now);
                    requests.push(now);
                }
                let taken = (0..withdrawals).filter(|_| budget.withdraw(now)).count();
                retries.extend(std::iter::repeat_n(now, taken));
                let recent = |times: &[Instant], seconds| {
                    let length = Duration::from_secs(seconds);
                    times.iter().filter(|time| now - **time < length).count() as f64
                };
                let most = budget_ratio * recent(&requests, 19) + f64::from(budget_min_per_second) * 10.0;
                prop_assert!(recent(&retries, 9) <= most);
            }
        }
    }
}
