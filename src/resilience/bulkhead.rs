//! How many exchanges may be under way at once: a limit, a short bounded queue before it, and
//! fairness among callers. Waiting, waking and answering are left to whoever holds the tickets.
//!
//! Each place and each ticket belongs to at most one tracked caller, and a caller without any is
//! forgotten, so there are never more tracked callers than places and queue slots.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use super::{
    adaptive::AdaptiveLimit, classify::Outcome, policy::BulkheadPolicy, priority::Priority,
};

/// Who calls, for fairness: a hash of its identity, or of its address where it shows none. Two callers
/// that collide share one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerKey(u64);

impl CallerKey {
    pub fn of(identity: &(impl Hash + ?Sized)) -> Self {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Of so many places one is out of reach for a caller that has all others: whoever comes next must not
/// wait for it, which may never end what it began.
const RESERVED: u32 = 16;

/// The answer to [`Bulkhead::enter`].
#[derive(Debug)]
#[must_use]
pub enum Entry {
    Admitted(Place),
    Queued(Ticket),
    Rejected(RejectCause),
}

/// One exchange's place. It must go back by [`Bulkhead::leave`] of the bulkhead it came from,
/// once the last byte of the response is through.
#[derive(Debug)]
#[must_use]
pub struct Place {
    caller: Option<CallerKey>,
    in_flight: u32,
}

/// A request that waits. It ends by a [`Woken`], [`Bulkhead::expire`] or [`Bulkhead::abandon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// A request that waited and now has a place.
#[derive(Debug)]
#[must_use]
pub struct Woken {
    pub ticket: Ticket,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectCause {
    /// The limit is reached and there is no queue.
    Full,
    QueueFull,
    /// It waited as long as the policy allows. Given by the owner of an expired ticket.
    QueueTimeout,
    /// The caller uses its share.
    CallerShare,
}

impl RejectCause {
    /// Every cause, in the order of their discriminants.
    pub const ALL: [Self; 4] = [
        Self::Full,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::CallerShare,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::CallerShare => "caller-share",
        }
    }
}

#[derive(Debug)]
enum Limit {
    Static(u32),
    Adaptive(AdaptiveLimit),
}

#[derive(Clone, Copy, Debug)]
enum CallerLimit {
    None,
    Fixed(u32),
    FairShare,
}

#[derive(Debug, Default)]
struct Holding {
    in_flight: u32,
    queued: u32,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    priority: Priority,
    caller: Option<CallerKey>,
    deadline: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Bulkhead {
    limit: Limit,
    caller_limit: CallerLimit,
    queue_limit: u32,
    queue_wait: Duration,
    in_use: u32,
    queue: VecDeque<Waiting>,
    tickets: u64,
    callers: HashMap<CallerKey, Holding>,
}

impl Bulkhead {
    /// The bulkhead before one upstream service, or before one's own workload.
    pub fn new(policy: &BulkheadPolicy) -> Self {
        let mut bulkhead = Self::for_route(policy);
        bulkhead.limit = Limit::Static(policy.max_in_flight);
        bulkhead.update(policy);
        bulkhead
    }

    /// The bulkhead of one route: its own limit, neither adaptive nor shared out to callers.
    pub fn for_route(policy: &BulkheadPolicy) -> Self {
        Self {
            limit: Limit::Static(policy.max_in_flight_per_route),
            caller_limit: CallerLimit::None,
            queue_limit: policy.queue,
            queue_wait: policy.queue_wait,
            in_use: 0,
            queue: VecDeque::new(),
            tickets: 0,
            callers: HashMap::new(),
        }
    }

    /// Takes on a changed policy. What is under way or waits stays; then call [`Bulkhead::wake`].
    pub fn update(&mut self, policy: &BulkheadPolicy) {
        match &self.limit {
            Limit::Adaptive(_) if policy.adaptive => {}
            _ if policy.adaptive => {
                self.limit = Limit::Adaptive(AdaptiveLimit::new(policy.max_in_flight));
            }
            _ => self.limit = Limit::Static(policy.max_in_flight),
        }
        self.caller_limit = match policy.max_in_flight_per_caller {
            Some(limit) => CallerLimit::Fixed(limit),
            None => CallerLimit::FairShare,
        };
        self.queue_limit = policy.queue;
        self.queue_wait = policy.queue_wait;
    }

    /// As [`Bulkhead::update`], for one made by [`Bulkhead::for_route`].
    pub fn update_route(&mut self, policy: &BulkheadPolicy) {
        self.limit = Limit::Static(policy.max_in_flight_per_route);
        self.queue_limit = policy.queue;
        self.queue_wait = policy.queue_wait;
    }

    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    pub fn queued(&self) -> u32 {
        self.queue.len() as u32
    }

    pub fn limit(&self) -> u32 {
        match &self.limit {
            Limit::Static(limit) => *limit,
            Limit::Adaptive(adaptive) => adaptive.limit(),
        }
    }

    /// Callers that have a request under way or waiting.
    pub fn active_callers(&self) -> usize {
        self.callers.len()
    }

    /// Asks for a place. Without a `caller` no caller's share is looked at.
    pub fn enter(&mut self, now: Instant, priority: Priority, caller: Option<CallerKey>) -> Entry {
        match self.refusal(priority, caller) {
            None => Entry::Admitted(self.occupy(caller)),
            Some(cause) => self.enqueue(now, priority, caller, cause),
        }
    }

    /// Gives a place back, and to the adaptive limit how it went (nothing, if nothing was sent).
    /// More than one may have become free: call [`Bulkhead::wake`] until it returns none.
    #[must_use = "whoever waits for the place must be told"]
    pub fn leave(
        &mut self,
        now: Instant,
        place: Place,
        outcome: Option<&Outcome>,
    ) -> Option<Woken> {
        self.in_use -= 1;
        self.change_holding(place.caller, |holding| holding.in_flight -= 1);
        if let (Limit::Adaptive(adaptive), Some(outcome)) = (&mut self.limit, outcome) {
            adaptive.record(now, place.in_flight, outcome);
        }
        self.wake(now)
    }

    /// Admits the next waiting request that can be: the most important first, among equals that
    /// of the caller with the fewest under way, then the one that has waited longest. To be called
    /// until it returns none after any place, ticket or policy changed.
    #[must_use = "whoever waits for the place must be told"]
    pub fn wake(&mut self, now: Instant) -> Option<Woken> {
        let eligible = |(_, waiting): &(usize, &Waiting)| {
            waiting.deadline > now && self.refusal(waiting.priority, waiting.caller).is_none()
        };
        let (at, _) = self
            .queue
            .iter()
            .enumerate()
            .filter(eligible)
            .min_by_key(|(_, w)| (w.priority, self.holding(w.caller).0, w.ticket.0))?;
        let waiting = self.dequeue(at)?;
        Some(Woken {
            ticket: waiting.ticket,
            place: self.occupy(waiting.caller),
        })
    }

    /// Removes one ticket whose wait is over; to be called until it returns none. Its owner
    /// answers with [`RejectCause::QueueTimeout`].
    #[must_use = "whoever waits must be told that it is in vain"]
    pub fn expire(&mut self, now: Instant) -> Option<Ticket> {
        let at = self.queue.iter().position(|w| w.deadline <= now)?;
        self.dequeue(at).map(|waiting| waiting.ticket)
    }

    /// Removes the ticket of a client that went away. False where it no longer waited: if it was
    /// woken meanwhile, its place must be given back.
    pub fn abandon(&mut self, ticket: Ticket) -> bool {
        let at = self.queue.iter().position(|w| w.ticket == ticket);
        at.and_then(|at| self.dequeue(at)).is_some()
    }

    /// When the next [`Bulkhead::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.iter().map(|w| w.deadline).min()
    }

    fn refusal(&self, priority: Priority, caller: Option<CallerKey>) -> Option<RejectCause> {
        let limit = self.limit();
        if self.in_use >= priority.part_of(limit) {
            return Some(RejectCause::Full);
        }
        let (in_flight, _) = self.holding(caller);
        let within = match (caller, self.caller_limit) {
            (None, _) | (_, CallerLimit::None) => true,
            (_, CallerLimit::Fixed(most)) => in_flight < most,
            (_, CallerLimit::FairShare) => {
                let share = limit.div_ceil(self.active_with(caller));
                let most = limit - limit / RESERVED;
                in_flight < most && may_take(in_flight, share, limit - self.in_use)
            }
        };
        (!within).then_some(RejectCause::CallerShare)
    }

    fn enqueue(
        &mut self,
        now: Instant,
        priority: Priority,
        caller: Option<CallerKey>,
        refused: RejectCause,
    ) -> Entry {
        if self.queue_limit == 0 {
            return Entry::Rejected(refused);
        }
        if self.queued() >= priority.part_of(self.queue_limit) {
            return Entry::Rejected(RejectCause::QueueFull);
        }
        if caller.is_some() && !matches!(self.caller_limit, CallerLimit::None) {
            let (_, queued) = self.holding(caller);
            // At least for two: a lone noisy caller leaves room for the next to wait.
            let share = self.queue_limit.div_ceil(self.active_with(caller).max(2));
            if !may_take(queued, share, self.queue_limit - self.queued()) {
                return Entry::Rejected(RejectCause::CallerShare);
            }
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.change_holding(caller, |holding| holding.queued += 1);
        self.queue.push_back(Waiting {
            ticket,
            priority,
            caller,
            deadline: now + self.queue_wait,
        });
        Entry::Queued(ticket)
    }

    fn dequeue(&mut self, at: usize) -> Option<Waiting> {
        let waiting = self.queue.remove(at)?;
        self.change_holding(waiting.caller, |holding| holding.queued -= 1);
        Some(waiting)
    }

    fn occupy(&mut self, caller: Option<CallerKey>) -> Place {
        self.in_use += 1;
        self.change_holding(caller, |holding| holding.in_flight += 1);
        Place {
            caller,
            in_flight: self.in_use,
        }
    }

    /// What a caller has in flight and in the queue.
    fn holding(&self, caller: Option<CallerKey>) -> (u32, u32) {
        caller
            .and_then(|caller| self.callers.get(&caller))
            .map_or((0, 0), |holding| (holding.in_flight, holding.queued))
    }

    fn change_holding(&mut self, caller: Option<CallerKey>, change: impl FnOnce(&mut Holding)) {
        let Some(caller) = caller else { return };
        let holding = self.callers.entry(caller).or_default();
        change(holding);
        if holding.in_flight + holding.queued == 0 {
            self.callers.remove(&caller);
        }
    }

    /// The number of active callers, with this one.
    fn active_with(&self, caller: Option<CallerKey>) -> u32 {
        let known = caller.is_some_and(|caller| self.callers.contains_key(&caller));
        self.callers.len() as u32 + u32::from(!known)
    }
}

/// Whether a caller that holds `held` may take one more: up to its fair share always, beyond it
/// while a whole share stays free for whoever comes next. Strict shares would waste most of a
/// limit that many callers use lightly.
fn may_take(held: u32, share: u32, free: u32) -> bool {
    held < share || free > share
}
