//! Which replica writes: the one that holds the Lease. Every replica serves proxies; only the
//! leader writes statuses, Secrets and webhook configurations.
//!
//! Nobody's clock is compared with another's: a replica takes the Lease over once it has itself
//! seen no renewal for the whole duration, and stops leading when its own renewals have failed for
//! a shorter time than that.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{Api, Client, ResourceExt, api::PostParams, core::ObjectMeta};
use tokio::sync::watch;

use crate::telemetry::metrics::Figures;

/// How long the Lease holds without a renewal.
const DURATION: Duration = Duration::from_secs(15);
/// After this long without a renewal of its own the leader stops: before anybody takes over.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks, ± 20 %.
const PERIOD: Duration = Duration::from_secs(2);
/// For one request to the API server.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Take,
    Renew,
    Wait,
}

/// One replica's view of the election: pure, the clock is passed in.
#[derive(Debug)]
struct Election {
    me: String,
    /// The Lease as last seen, and since when it has looked like that.
    seen: Option<(Lease, Instant)>,
    /// When the last renewal that succeeded was begun.
    renewed: Option<Instant>,
}

impl Election {
    fn new(me: &str) -> Self {
        Self {
            me: me.to_owned(),
            seen: None,
            renewed: None,
        }
    }

    /// Takes what was read, and says what to do.
    fn see(&mut self, lease: Option<Lease>, now: Instant) -> Step {
        let Some(lease) = lease else {
            self.lost();
            return Step::Create;
        };
        let unchanged = self
            .seen
            .as_ref()
            .is_some_and(|(seen, _)| seen.spec == lease.spec);
        if !unchanged {
            self.seen = Some((lease.clone(), now));
        }
        let holder = holder(&lease);
        if holder == self.me {
            return Step::Renew;
        }
        self.renewed = None;
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        match holder.is_empty() || now.saturating_duration_since(since) >= DURATION {
            true => Step::Take,
            false => Step::Wait,
        }
    }

    /// A write that was begun at `begun` succeeded.
    fn wrote(&mut self, lease: Lease, begun: Instant) {
        self.renewed = (holder(&lease) == self.me).then_some(begun);
        self.seen = Some((lease, begun));
    }

    /// Somebody else wrote first, or the Lease is gone.
    fn lost(&mut self) {
        self.renewed = None;
        self.seen = None;
    }

    fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + RENEW_WITHIN)
    }

    /// What the Lease has to say after a step.
    fn next_lease(&self, name: &str, current: Option<&Lease>, now: Timestamp) -> Lease {
        let mut lease = current.cloned().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..Default::default()
            },
            spec: None,
        });
        let before = lease.spec.take().unwrap_or_default();
        let mine = before.holder_identity.as_deref() == Some(&*self.me);
        let transitions = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            renew_time: Some(MicroTime(now)),
            acquire_time: match mine {
                true => before.acquire_time,
                false => Some(MicroTime(now)),
            },
            lease_transitions: Some(match mine || current.is_none() {
                true => transitions,
                false => transitions.saturating_add(1),
            }),
            ..Default::default()
        });
        lease
    }
}

fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// Whether this replica leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    async fn gained(&mut self) {
        let leads = self
            .0
            .wait_for(|until| until.is_some_and(|until| Instant::now() < until));
        // The campaign lives as long as the process.
        if leads.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn lost(&mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Runs the task whenever this replica leads, and drops it at once when it does not any more:
    /// from then on it sends nothing. A task that returns is run again at the next gain. Never
    /// returns.
    pub async fn while_leading<F: Future<Output = ()>>(mut self, mut task: impl FnMut() -> F) {
        loop {
            self.gained().await;
            let mut lost = self.clone();
            tokio::select! {
                () = task() => self.clone().lost().await,
                () = lost.lost() => {}
            }
        }
    }
}

/// Stands for election as long as it runs.
pub struct Campaign {
    api: Api<Lease>,
    name: &'static str,
    election: Election,
    leads: watch::Sender<Option<Instant>>,
    figures: Arc<Figures>,
}

impl Campaign {
    /// `me` must be another for every replica: the pod's name.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &'static str,
        me: &str,
        figures: Arc<Figures>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
            election: Election::new(me),
            leads: watch::Sender::default(),
            figures,
        }
    }

    pub fn leadership(&self) -> Leadership {
        Leadership(self.leads.subscribe())
    }

    /// Never returns.
    pub async fn run(&mut self) {
        let mut led = false;
        loop {
            match tokio::time::timeout(TIMEOUT, self.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the Lease {} cannot be kept", self.name);
                }
                Err(_) => tracing::warn!("the API server does not answer about the Lease"),
            }
            let until = self.election.leads_until();
            let until = until.filter(|until| Instant::now() < *until);
            self.leads.send_if_modified(|current| {
                let changed = *current != until;
                *current = until;
                changed
            });
            if led != until.is_some() {
                led = until.is_some();
                self.figures.leader.set(led.into());
                let me = &self.election.me;
                match led {
                    true => tracing::info!(me, "this replica leads"),
                    false => tracing::warn!(me, "this replica does not lead any more"),
                }
            }
            tokio::time::sleep(PERIOD.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        }
    }

    /// Gives the Lease up, so that the next leader need not wait for its end.
    pub async fn release(mut self) {
        self.leads.send_replace(None);
        let Some((mut lease, _)) = self.election.seen.take() else {
            return;
        };
        if holder(&lease) != self.election.me {
            return;
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        let parameters = PostParams::default();
        let write = self.api.replace(self.name, &parameters, &lease);
        if let Ok(Err(error)) = tokio::time::timeout(TIMEOUT, write).await {
            tracing::debug!(%error, "the Lease was not given up: it ends by itself");
        }
    }

    async fn look(&mut self) -> kube::Result<()> {
        let begun = Instant::now();
        let current = self.api.get_opt(self.name).await?;
        let step = self.election.see(current.clone(), begun);
        if step == Step::Wait {
            return Ok(());
        }
        let current = current.filter(|_| step != Step::Create);
        let lease = self
            .election
            .next_lease(self.name, current.as_ref(), Timestamp::now());
        let parameters = PostParams::default();
        // The resource version in it makes a write fail when another was quicker.
        debug_assert_eq!(lease.resource_version().is_some(), step != Step::Create);
        let written = match step {
            Step::Create => self.api.create(&parameters, &lease).await,
            _ => self.api.replace(self.name, &parameters, &lease).await,
        };
        match written {
            Ok(lease) => {
                self.election.wrote(lease, begun);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.election.lost();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
