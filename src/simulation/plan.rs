//! What goes wrong, and when: all of it drawn from the seed before anything runs.

use std::time::Duration;

use super::{app::Behaviour, registry::Policy};

/// Faults begin and end within this time.
pub const TROUBLE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Plan {
    /// How many replicas each service has.
    pub services: Vec<usize>,
    pub clients: usize,
    pub policy: Policy,
    /// Milliseconds that each pod's clock is ahead, the controller's first.
    pub skews: Vec<i64>,
    pub steps: Vec<Step>,
}

/// What happens at a time.
#[derive(Clone, Debug)]
pub struct Step {
    pub at: Duration,
    pub event: Event,
}

/// Pods are numbered, those of services first; `None` is the controller.
#[derive(Clone, Debug)]
pub enum Event {
    Cut(usize, Option<usize>),
    Slow(usize, Option<usize>, Duration),
    /// Ends all cuts and delays.
    Heal,
    /// Each connection breaks with this likelihood.
    Break(f64),
    /// Processes are killed, or come back.
    KillApp(usize),
    StartApp(usize),
    KillProxy(usize),
    StartProxy(usize),
    KillController,
    StartController,
    /// A server's pod is gone without a word, or comes back.
    Lose(usize),
    Return(usize),
    /// A server's pod goes, and its address is a pod's of the next service at once. The registry
    /// hears of it later.
    Replace(usize),
    /// The registry's file is brought up to date with what pods there are.
    Publish,
    /// A server is taken out of the registry while it runs, or put in again.
    Withdraw(usize),
    Restore(usize),
    Behave(usize, Behaviour),
}

fn millis(luck: &mut fastrand::Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(luck.u64(from..to))
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let luck = &mut fastrand::Rng::with_seed(seed);
        let services: Vec<_> = (0..2).map(|_| luck.usize(2..4)).collect();
        let clients = luck.usize(1..3);
        let servers: usize = services.iter().sum();
        let pods = servers + clients;
        // Proxies tolerate two minutes between any two clocks.
        let skew = if luck.bool() { 58_000 } else { 0 };
        let mut plan = Self {
            services,
            clients,
            policy: Policy {
                max_in_flight: luck.u32(4..16),
                queue: luck.u32(0..8),
                strict: luck.bool(),
            },
            skews: (0..=pods).map(|_| luck.i64(-skew..=skew)).collect(),
            steps: Vec::new(),
        };
        for _ in 0..luck.usize(4..9) {
            plan.trouble(luck, servers, pods);
        }
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    /// One fault, with its end.
    fn trouble(&mut self, luck: &mut fastrand::Rng, servers: usize, pods: usize) {
        let at = millis(luck, 3_000, 22_000);
        let until = at + millis(luck, 200, 8_000);
        let (server, pod) = (luck.usize(..servers), luck.usize(..pods));
        let other = Some(luck.usize(..pods)).filter(|other| *other != pod);
        let mut span = |begin, end| {
            let ends = [(at, begin), (until, end)];
            let steps = ends.map(|(at, event)| Step { at, event });
            self.steps.extend(steps);
        };
        match luck.u8(..13) {
            0 => span(Event::Cut(pod, other), Event::Heal),
            1 => span(Event::Cut(pod, None), Event::Heal),
            2 => span(
                Event::Slow(pod, other, millis(luck, 50, 1_500)),
                Event::Heal,
            ),
            3 => span(
                Event::Slow(pod, None, millis(luck, 500, 4_000)),
                Event::Heal,
            ),
            4 => span(Event::Break(luck.f64()), Event::Break(luck.f64())),
            5 => span(Event::KillApp(server), Event::StartApp(server)),
            6 => span(Event::KillProxy(pod), Event::StartProxy(pod)),
            7 => span(Event::KillController, Event::StartController),
            8 => span(Event::Lose(server), Event::Return(server)),
            9 => span(Event::Replace(server), Event::Publish),
            10 => span(Event::Withdraw(server), Event::Restore(server)),
            11 => {
                let slowly = Behaviour::Slow(millis(luck, 200, 2_500));
                span(
                    Event::Behave(server, slowly),
                    Event::Behave(server, Behaviour::Well),
                );
            }
            _ => {
                let badly = match luck.u8(..3) {
                    0 => Behaviour::Fails(luck.u8(20..=100)),
                    1 => Behaviour::Hangs,
                    _ => Behaviour::BreaksOff,
                };
                span(
                    Event::Behave(server, badly),
                    Event::Behave(server, Behaviour::Well),
                );
            }
        }
    }
}
