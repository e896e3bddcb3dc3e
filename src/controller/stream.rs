//! The controller's side of one discovery stream: pure, requests in, responses out.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::store::{Delta, Refused, Store, View};
use crate::{
    discovery::{
        proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource},
        resource::{Kind, ResourceName},
    },
    identity::SpiffeId,
};

/// Responses that may wait for their acknowledgement: a proxy that answers none is sent no more.
pub(crate) const MAX_IN_FLIGHT: usize = 16;

/// Resources one stream may subscribe to: twice what a proxy asks for by default.
const MAX_SUBSCRIPTIONS: usize = 20_000;

/// The longest names, those of workloads, have at most 2,048 bytes.
const MAX_NAME: usize = 2_048;

const MAX_NAMES_PER_RESPONSE: usize = 500;
const MAX_BYTES_PER_RESPONSE: usize = 1 << 20;

/// How much of what a proxy says is put into the log.
const MAX_LOGGED: usize = 1_024;

/// Why a stream is broken off.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("unknown resource type {0:?}: is the proxy newer than this controller?")]
    UnknownType(String),
    #[error("a stream may subscribe to {MAX_SUBSCRIPTIONS} resources: it asked for more")]
    TooManySubscriptions,
    #[error("{0} is another workload: a proxy may read its own alone")]
    ForeignWorkload(String),
    #[error("no resource has a name of {0} bytes")]
    LongName(usize),
}

#[derive(Debug)]
pub(crate) struct Stream {
    view: View,
    peer: SpiffeId,
    node: String,
    last_nonce: u64,
    /// What was sent, by the nonces of responses without an answer.
    in_flight: HashMap<String, (Kind, Vec<Delta>)>,
}

impl Stream {
    /// The peer is who the proxy has proved to be.
    pub(crate) fn new(store: &Arc<Store>, peer: SpiffeId) -> Self {
        Self {
            view: store.open(peer.namespace()),
            peer,
            node: String::new(),
            last_nonce: 0,
            in_flight: HashMap::new(),
        }
    }

    /// Waits until there may be a response.
    pub(super) async fn changed(&self) {
        self.view.changed().await;
    }

    /// Takes a request. Returns what the proxy refused and why, if that is what it says.
    pub(crate) fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
        now: Instant,
    ) -> Result<Option<Refused>, Refusal> {
        if let Some(node) = request.node {
            self.node = shortened(&node.id, 256).to_owned();
        }
        let kind = Kind::from_type_url(&request.type_url)
            .ok_or_else(|| Refusal::UnknownType(shortened(&request.type_url, 256).to_owned()))?;
        let answered = self.in_flight.remove(&request.response_nonce);
        let nack = answered.and_then(|(kind, deltas)| {
            let refused = request
                .error_detail
                .map(|detail| self.refused(kind, &deltas, &detail.message));
            let names = refused.as_ref().map_or(&[][..], |refused| &refused.names);
            self.view.answered(kind, &deltas, names, now);
            refused
        });

        let mut versions = request.initial_resource_versions;
        for name in request.resource_names_subscribe {
            if self.view.len() >= MAX_SUBSCRIPTIONS {
                return Err(Refusal::TooManySubscriptions);
            }
            if name.len() > MAX_NAME {
                return Err(Refusal::LongName(name.len()));
            }
            if kind == Kind::Workload && name != self.peer.as_str() {
                return Err(Refusal::ForeignWorkload(name));
            }
            let version = versions.remove(&name);
            self.view.subscribe(ResourceName::new(kind, name), version);
        }
        for name in request.resource_names_unsubscribe {
            self.view.unsubscribe(&ResourceName::new(kind, name));
        }
        Ok(nack)
    }

    /// A reason names the resources that it is about; the others in the response were taken. One
    /// that names none is about all.
    fn refused(&self, kind: Kind, deltas: &[Delta], reason: &str) -> Refused {
        let all = deltas
            .iter()
            .map(|(name, _)| ResourceName::new(kind, name.clone()));
        let named = |name: &ResourceName| reason.contains(&format!("{name}: "));
        let mut names: Vec<_> = all.clone().filter(named).collect();
        if names.is_empty() {
            names = all.collect();
        }
        Refused {
            node: self.node.clone(),
            reason: shortened(reason, MAX_LOGGED).to_owned(),
            names,
        }
    }

    /// The next response, while the proxy keeps up with acknowledging them.
    pub(crate) fn next_response(&mut self) -> Option<DeltaDiscoveryResponse> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let (kind, deltas) = self
            .view
            .take(MAX_NAMES_PER_RESPONSE, MAX_BYTES_PER_RESPONSE)?;
        self.last_nonce += 1;
        let mut response = DeltaDiscoveryResponse {
            type_url: kind.type_url().into(),
            nonce: self.last_nonce.to_string(),
            ..Default::default()
        };
        for (name, value) in &deltas {
            match value {
                Some(value) => response.resources.push(WireResource {
                    name: name.to_string(),
                    version: value.version.clone(),
                    resource: Some(prost_types::Any {
                        type_url: kind.type_url().into(),
                        value: value.json.clone(),
                    }),
                }),
                None => response.removed_resources.push(name.to_string()),
            }
        }
        self.in_flight
            .insert(response.nonce.clone(), (kind, deltas));
        Some(response)
    }

    /// The identity that the proxy proved.
    pub(super) fn peer(&self) -> &SpiffeId {
        &self.peer
    }

    /// What the proxy calls itself.
    pub(super) fn node(&self) -> &str {
        &self.node
    }
}

fn shortened(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
