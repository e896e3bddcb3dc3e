//! The controller's side of one discovery stream: pure, requests in, responses out.

use std::collections::HashSet;

use super::store::View;
use crate::{
    discovery::{
        proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource},
        resource::{Kind, ResourceName},
    },
    identity::SpiffeId,
};

/// Responses that may wait for their acknowledgement: a proxy that answers none is sent no more.
pub(super) const MAX_IN_FLIGHT: usize = 16;

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
pub(super) enum Refusal {
    #[error("unknown resource type {0:?}: is the proxy newer than this controller?")]
    UnknownType(String),
    #[error("a stream may subscribe to {MAX_SUBSCRIPTIONS} resources: it asked for more")]
    TooManySubscriptions,
    #[error("no resource has a name of {0} bytes")]
    LongName(usize),
}

#[derive(Debug)]
pub(super) struct Stream {
    view: View,
    peer: SpiffeId,
    node: String,
    last_nonce: u64,
    in_flight: HashSet<String>,
}

impl Stream {
    pub(super) fn new(view: View, peer: SpiffeId) -> Self {
        Self {
            view,
            peer,
            node: String::new(),
            last_nonce: 0,
            in_flight: HashSet::new(),
        }
    }

    /// Waits until there may be a response.
    pub(super) async fn changed(&self) {
        self.view.changed().await;
    }

    /// Takes a request. Returns why the proxy refused a response, if that is what it says.
    pub(super) fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
    ) -> Result<Option<String>, Refusal> {
        if let Some(node) = request.node {
            self.node = shortened(&node.id, 256).to_owned();
        }
        let kind = Kind::from_type_url(&request.type_url)
            .ok_or_else(|| Refusal::UnknownType(shortened(&request.type_url, 256).to_owned()))?;
        let answers = self.in_flight.remove(&request.response_nonce);
        let nack = request
            .error_detail
            .filter(|_| answers)
            .map(|detail| shortened(&detail.message, MAX_LOGGED).to_owned());

        let mut versions = request.initial_resource_versions;
        for name in request.resource_names_subscribe {
            if self.view.len() >= MAX_SUBSCRIPTIONS {
                return Err(Refusal::TooManySubscriptions);
            }
            if name.len() > MAX_NAME {
                return Err(Refusal::LongName(name.len()));
            }
            let version = versions.remove(&name);
            self.view.subscribe(ResourceName::new(kind, name), version);
        }
        for name in request.resource_names_unsubscribe {
            self.view.unsubscribe(&ResourceName::new(kind, name));
        }
        Ok(nack)
    }

    /// The next response, while the proxy keeps up with acknowledging them.
    pub(super) fn next_response(&mut self) -> Option<DeltaDiscoveryResponse> {
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
        self.in_flight.insert(response.nonce.clone());
        for (name, value) in deltas {
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        controller::Store,
        discovery::{
            model::TrustBundle,
            proto::{Node, Status},
            resource::Resource,
        },
    };

    fn stream(store: &Arc<Store>) -> Stream {
        let peer = "spiffe://mesh.local/ns/shop/sa/cart".parse().unwrap();
        Stream::new(store.open(), peer)
    }

    fn publish(store: &Store, roots: usize) {
        let roots = roots.to_string();
        let (name, value) = Resource::trust_bundle("mesh.local", TrustBundle { roots });
        store.apply([(name, Some(value))]);
    }

    fn request() -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: Kind::TrustBundle.type_url().into(),
            ..Default::default()
        }
    }

    fn subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: Some(Node {
                id: "cart-0".into(),
            }),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            ..request()
        }
    }

    #[test]
    fn a_subscription_is_answered_and_a_removal_is_said() {
        let store = Store::new();
        publish(&store, 1);
        let mut stream = stream(&store);
        stream.request(subscribe(&["mesh.local", "no"])).unwrap();
        let response = stream.next_response().unwrap();
        assert_eq!(response.resources[0].name, "mesh.local");
        assert_eq!(response.removed_resources, ["no"]);
        assert_eq!(stream.node(), "cart-0");
        assert_eq!(stream.next_response(), None);

        store.apply([(ResourceName::trust_bundle("mesh.local"), None)]);
        let response = stream.next_response().unwrap();
        assert_eq!(response.removed_resources, ["mesh.local"]);
    }

    #[test]
    fn a_refused_response_is_told_with_its_reason_and_not_sent_again() {
        let store = Store::new();
        publish(&store, 1);
        let mut stream = stream(&store);
        stream.request(subscribe(&["mesh.local"])).unwrap();
        let nonce = stream.next_response().unwrap().nonce;
        let nack = |nonce: &str| DeltaDiscoveryRequest {
            response_nonce: nonce.into(),
            error_detail: Some(Status {
                code: 3,
                message: "roots: no".into(),
            }),
            ..request()
        };
        assert_eq!(stream.request(nack("77")), Ok(None), "no such response");
        assert_eq!(stream.request(nack(&nonce)), Ok(Some("roots: no".into())));
        assert_eq!(stream.next_response(), None);
    }

    #[test]
    fn a_proxy_that_acknowledges_nothing_is_sent_a_bounded_number_of_responses() {
        let store = Store::new();
        let mut stream = stream(&store);
        stream.request(subscribe(&["mesh.local"])).unwrap();
        let mut nonces = Vec::new();
        for round in 0..100 {
            publish(&store, round);
            nonces.extend(stream.next_response().map(|response| response.nonce));
        }
        assert_eq!(nonces.len(), MAX_IN_FLIGHT);

        let acknowledgement = DeltaDiscoveryRequest {
            response_nonce: nonces.remove(0),
            ..request()
        };
        stream.request(acknowledgement).unwrap();
        let latest = stream.next_response().unwrap();
        let json = &latest.resources[0].resource.as_ref().unwrap().value;
        assert_eq!(json, br#"{"roots":"99"}"#);
        assert_eq!(stream.next_response(), None);
    }

    #[test]
    fn too_much_and_too_new_break_the_stream_off() {
        let store = Store::new();
        let mut stream = stream(&store);
        let names: Vec<_> = (0..=MAX_SUBSCRIPTIONS).map(|n| n.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(
            stream.request(subscribe(&names)),
            Err(Refusal::TooManySubscriptions)
        );
        let mut stream = self::stream(&store);
        assert_eq!(
            stream.request(subscribe(&[&"x".repeat(MAX_NAME + 1)])),
            Err(Refusal::LongName(MAX_NAME + 1))
        );
        let unknown = DeltaDiscoveryRequest {
            type_url: "moon".into(),
            ..Default::default()
        };
        assert_eq!(
            stream.request(unknown),
            Err(Refusal::UnknownType("moon".into()))
        );
    }
}
