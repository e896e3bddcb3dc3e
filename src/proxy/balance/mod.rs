//! Which endpoint takes a request: the power of two choices over peak-EWMA latency. One balancer
//! per service and worker, so nothing here is shared; who is broken is left to the breakers,
//! which tell by the share they let through.
//!
//! **Choice.** A first endpoint is drawn by weight and zone, a second by weight alone (and where
//! neither leaves our zone, a third from elsewhere), and a later one wins where its cost is clearly lower ([`TOLERANCE`]). Two choices are exponentially
//! better than one (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001);
//! comparing with a tolerance keeps the weights exact while endpoints differ only by noise.
//!
//! **Cost.** Finagle's peak EWMA: latency × (1 + requests in flight), see [`load`]. In flight is
//! taken relative to the endpoint's weight.
//!
//! **New endpoints** begin with their peers' typical latency, and the next pick is theirs, one
//! new endpoint at a time. Over the slow start their requests in flight count for more, up to
//! ten times: that spares a cold endpoint under load and costs an idle one nothing.
//!
//! **Zones** are a hint, see [`zone`]: as much traffic stays as the zone can carry, and an
//! overloaded or broken zone spills over by the comparison itself.
//!
//! A pick takes constant time while at least half of the endpoints let requests through (what the
//! limit on ejection guarantees), and never allocates.

mod alias;
mod load;
mod members;
#[cfg(test)]
mod tests;
mod zone;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alias::Alias;
use load::Typical;
use members::{Member, Members};

pub use load::Outcome;
pub use members::{Changes, EndpointId};

use crate::discovery::model::Endpoints;

/// The second choice wins where it costs less than the first by this factor. Above the noise of
/// latencies, below the step from no request in flight to one.
const TOLERANCE: f64 = 1.25;
/// Of another zone than ours, the other choice has to be better by this factor as well: more
/// than one request in flight against none.
const OTHER_ZONE_FACTOR: f64 = 2.0;
/// Draws before the endpoints are searched one by one; with half of them out, one pick in 256
/// comes to that (draws by zone, then draws by weight).
const DRAWS: usize = 4;
/// How long a new endpoint's first request keeps the next new endpoint waiting.
const TRIAL: Duration = Duration::from_secs(1);
/// The part of its full capacity at which a new endpoint starts.
const SLOW_START_FLOOR: f64 = 0.1;

#[derive(Clone, Debug)]
pub struct BalancerConfig {
    /// The zone that we are in, where known.
    pub zone: Option<Arc<str>>,
    /// How long a new endpoint is treated with care; zero turns that off.
    pub slow_start: Duration,
    /// The time constant of the latency averages.
    pub decay: Duration,
}

impl Default for BalancerConfig {
    fn default() -> Self {
        Self {
            zone: None,
            slow_start: Duration::from_secs(10),
            decay: Duration::from_secs(10),
        }
    }
}

/// The endpoints of one service port as one worker sees them.
#[derive(Debug)]
pub struct Balancer {
    config: BalancerConfig,
    members: Members,
    typical: Typical,
    /// By weight alone.
    fair: Alias,
    /// By weight, our own zone preferred.
    near: Alias,
    /// The other zones by weight; empty while we do not know ours.
    far: Alias,
    /// Endpoints that nobody has sent anything to; cleaned when they are drawn.
    untried: Vec<EndpointId>,
    trial: Option<(EndpointId, Instant)>,
}

impl Balancer {
    pub fn new(config: BalancerConfig) -> Self {
        Self {
            typical: Typical::new(config.decay),
            config,
            members: Members::default(),
            fair: Alias::default(),
            near: Alias::default(),
            far: Alias::default(),
            untried: Vec::new(),
            trial: None,
        }
    }

    /// Takes over the endpoints. One that stays (the same address and identity) keeps its id and
    /// what is known of it; an id that goes is never given out again.
    pub fn update(&mut self, endpoints: &Endpoints, now: Instant) -> Changes {
        // Where all are new there is nobody to spare them.
        let slow_start = !self.members.is_empty();
        let changes = self.members.update(&endpoints.endpoints, now, slow_start);
        self.untried.extend(&changes.added);
        self.rebuild();
        changes
    }

    /// Takes the zone that we are in.
    pub fn set_zone(&mut self, zone: Option<Arc<str>>) {
        self.config.zone = zone;
        self.rebuild();
    }

    fn rebuild(&mut self) {
        let own = self.config.zone.as_deref();
        self.members.set_relative_weights(own);
        let taking: Vec<_> = self
            .members
            .iter()
            .filter(|(_, m)| m.endpoint.weight > 0)
            .collect();
        let weight = |member: &Member| f64::from(member.endpoint.weight);
        let fair = taking.iter().map(|(id, member)| (*id, weight(member)));
        self.fair = Alias::new(fair.collect());
        let zones = taking
            .iter()
            .map(|(_, m)| (m.endpoint.zone.as_deref(), weight(m)));
        let factors = zone::factors(own, zones);
        let near = taking.iter().map(|(id, member)| {
            let factor = if member.other_zone {
                factors.other
            } else {
                factors.own
            };
            (*id, weight(member) * factor)
        });
        self.near = Alias::new(near.collect());
        let elsewhere = taking.iter().filter(|(_, member)| member.other_zone);
        let far = elsewhere.map(|(id, member)| (*id, weight(member)));
        self.far = Alias::new(far.collect());
    }

    /// Chooses an endpoint, to be followed by [`started`](Self::started). `share` says how much
    /// of its traffic an endpoint may take now: 1 all, 0 none, between them that part of it. A
    /// retry gives 0 for those it has tried.
    /// `None` when no endpoint has a weight and a share.
    pub fn pick(
        &mut self,
        now: Instant,
        rng: &mut fastrand::Rng,
        share: impl Fn(EndpointId) -> f64,
    ) -> Option<EndpointId> {
        if let Some(id) = self.next_trial(now, rng, &share) {
            return Some(id);
        }
        let near = draw(&self.near, rng, &share, None);
        let first = near.or_else(|| draw(&self.fair, rng, &share, None));
        let Some(first) = first else {
            return self.search(rng, &share);
        };
        let second = self.challenger(&self.fair, rng, &share, first);
        let best = second.map_or(first, |second| self.better(first, second, now));
        if self.members.get(best).is_none_or(|best| best.other_zone) {
            return Some(best);
        }
        // Else two choices of an overloaded zone would keep the request in it.
        let third = self.challenger(&self.far, rng, &share, best);
        Some(third.map_or(best, |third| self.better(best, third, now)))
    }

    /// Another endpoint to compare with; the draws fail where `first` has most of the weight, and
    /// then any other will do.
    fn challenger(
        &self,
        alias: &Alias,
        rng: &mut fastrand::Rng,
        share: impl Fn(EndpointId) -> f64,
        first: EndpointId,
    ) -> Option<EndpointId> {
        let ids = alias.ids();
        if ids.is_empty() {
            return None;
        }
        draw(alias, rng, &share, Some(first)).or_else(|| {
            let at = rng.usize(..ids.len());
            let mut two = [at, (at + 1) % ids.len()].map(|at| ids[at]).into_iter();
            two.find(|id| *id != first && (rng.f64() < share(*id)))
        })
    }

    fn better(&self, first: EndpointId, second: EndpointId, now: Instant) -> EndpointId {
        let (Some(one), Some(other)) = (self.members.get(first), self.members.get(second)) else {
            return first;
        };
        let leaves_zone = other.other_zone && !one.other_zone;
        let factor = if leaves_zone {
            TOLERANCE * OTHER_ZONE_FACTOR
        } else {
            TOLERANCE
        };
        let wins = self.cost(other, now) * factor < self.cost(one, now);
        if wins { second } else { first }
    }

    fn cost(&self, member: &Member, now: Instant) -> f64 {
        let capacity = member.relative_weight * self.slow_start(member, now);
        member.load.cost(now, &self.typical, capacity)
    }

    fn slow_start(&self, member: &Member, now: Instant) -> f64 {
        let Some(since) = member.slow_start_since else {
            return 1.0;
        };
        let window = self.config.slow_start.as_secs_f64();
        let age = now.saturating_duration_since(since).as_secs_f64();
        if age < window {
            (age / window).max(SLOW_START_FLOOR)
        } else {
            1.0
        }
    }

    /// The new endpoint whose turn it is, in random order: otherwise all the proxies of a mesh
    /// would try the same one first.
    fn next_trial(
        &mut self,
        now: Instant,
        rng: &mut fastrand::Rng,
        share: impl Fn(EndpointId) -> f64,
    ) -> Option<EndpointId> {
        let waiting = |since| now.saturating_duration_since(since) < TRIAL;
        if self.trial.is_some_and(|(_, since)| waiting(since)) {
            return None;
        }
        let mut draws = 0;
        while draws < DRAWS && !self.untried.is_empty() {
            let at = rng.usize(..self.untried.len());
            let id = self.untried[at];
            match self.members.get(id) {
                Some(member) if !member.tried => {
                    if member.endpoint.weight > 0 && share(id) > 0.0 {
                        self.trial = Some((id, now));
                        return Some(id);
                    }
                    draws += 1;
                }
                _ => {
                    self.untried.swap_remove(at);
                }
            }
        }
        None
    }

    /// Whoever lets anything through, from a random place on; better a whole share than a part.
    fn search(
        &self,
        rng: &mut fastrand::Rng,
        share: impl Fn(EndpointId) -> f64,
    ) -> Option<EndpointId> {
        let ids = self.fair.ids();
        let start = if ids.is_empty() {
            0
        } else {
            rng.usize(..ids.len())
        };
        let mut partial = None;
        for id in ids[start..].iter().chain(&ids[..start]) {
            let share = share(*id);
            if share >= 1.0 {
                return Some(*id);
            }
            if share > 0.0 {
                partial.get_or_insert(*id);
            }
        }
        partial
    }

    /// A request goes to the endpoint.
    pub fn started(&mut self, id: EndpointId) {
        if let Some(member) = self.members.get_mut(id) {
            member.tried = true;
            member.load.started();
        }
    }

    /// A request to the endpoint is over. `latency` is the time from [`started`](Self::started)
    /// to the response's head. An endpoint that has left meanwhile is ignored.
    pub fn finished(&mut self, id: EndpointId, now: Instant, latency: Duration, outcome: Outcome) {
        if self.trial.is_some_and(|(trial, _)| trial == id) {
            self.trial = None;
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.load.finished(now, latency, outcome, &self.typical);
        if outcome == Outcome::Success {
            self.typical.observe(latency, now);
        }
    }

    pub fn endpoint(&self, id: EndpointId) -> Option<&crate::discovery::model::Endpoint> {
        self.members.get(id).map(|member| &member.endpoint)
    }

    /// Requests that have started and not finished.
    pub fn in_flight(&self, id: EndpointId) -> u32 {
        self.members
            .get(id)
            .map_or(0, |member| member.load.in_flight())
    }

    /// All endpoints, those of weight 0 included.
    pub fn ids(&self) -> impl Iterator<Item = EndpointId> {
        self.members.iter().map(|(id, _)| id)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// An endpoint that lets this request through, unless `DRAWS` attempts find none.
fn draw(
    alias: &Alias,
    rng: &mut fastrand::Rng,
    share: impl Fn(EndpointId) -> f64,
    other_than: Option<EndpointId>,
) -> Option<EndpointId> {
    (0..DRAWS).find_map(|_| {
        let id = alias.draw(rng).filter(|id| Some(*id) != other_than)?;
        let share = share(id);
        (share >= 1.0 || rng.f64() < share).then_some(id)
    })
}
