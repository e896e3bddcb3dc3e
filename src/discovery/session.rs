//! One connection's side of the incremental xDS protocol: pure, responses and wishes in,
//! requests and updates out. It ends with its connection; what is known outlives it elsewhere.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::{
    proto::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource as WireResource, Status,
    },
    resource::{Kind, Resource, ResourceName},
};

/// Names in one request: keeps every message far below gRPC's usual limit of 4 MiB.
const MAX_NAMES_PER_REQUEST: usize = 500;

/// How much of why one resource is refused is said, in bytes: a reason may quote a value of any
/// length, and a NACK that is longer than the controller reads would break the stream off. Names
/// have at most 2,048.
const MAX_REASON: usize = 4 * 1024;

/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;

/// What a response changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    Present {
        name: ResourceName,
        version: String,
        resource: Resource,
    },
    Absent(ResourceName),
}

/// A wish about one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// With the version that is at hand, if any, so that it is not sent again.
    Subscribe(Option<String>),
    Unsubscribe,
}

/// What came of a response.
#[derive(Debug)]
pub struct Received {
    pub updates: Vec<Update>,
    /// To be sent: the ACK, or the NACK when `refused` is not empty.
    pub reply: DeltaDiscoveryRequest,
    /// What was refused, and why; the last good values stay.
    pub refused: Vec<String>,
}

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    /// Sent with the first request only, as the protocol has it.
    node: Option<Node>,
    waiting: BTreeMap<Kind, Waiting>,
}

/// Wishes not sent yet, oldest first; a name's last wish counts.
#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Arc<str>>,
    wishes: HashMap<Arc<str>, Change>,
}

impl Session {
    /// `node_id` is how the controller calls this proxy in its log.
    pub fn new(node_id: &str) -> Self {
        Self {
            node: Some(Node { id: node_id.into() }),
            waiting: BTreeMap::new(),
        }
    }

    /// Takes a wish; [`next_request`](Self::next_request) sends it.
    pub fn change(&mut self, name: ResourceName, change: Change) {
        let waiting = self.waiting.entry(name.kind).or_default();
        if waiting.wishes.insert(name.name.clone(), change).is_none() {
            waiting.order.push_back(name.name);
        }
    }

    /// Whether [`next_request`](Self::next_request) has one.
    pub fn has_request(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next batch of wishes, of one kind. Versions at hand travel with the names they belong
    /// to, not all in the stream's first request: no message grows with the number of resources.
    pub fn next_request(&mut self) -> Option<DeltaDiscoveryRequest> {
        let mut entry = self.waiting.first_entry()?;
        let mut request = DeltaDiscoveryRequest {
            type_url: entry.key().type_url().into(),
            ..Default::default()
        };
        let Waiting { order, wishes } = entry.get_mut();
        for name in order.drain(..order.len().min(MAX_NAMES_PER_REQUEST)) {
            let text = name.to_string();
            match wishes.remove(&name) {
                Some(Change::Subscribe(version)) => {
                    if let Some(version) = version {
                        request
                            .initial_resource_versions
                            .insert(text.clone(), version);
                    }
                    request.resource_names_subscribe.push(text);
                }
                Some(Change::Unsubscribe) => request.resource_names_unsubscribe.push(text),
                None => unreachable!("every name in the order has a wish"),
            }
        }
        if order.is_empty() {
            entry.remove();
        }
        request.node = self.node.take();
        Some(request)
    }

    /// Reads a response. A resource that cannot be used refuses the response, as the protocol
    /// knows no smaller unit; the others in it take effect all the same.
    pub fn received(&mut self, response: DeltaDiscoveryResponse) -> Received {
        let mut updates = Vec::new();
        let mut refused = Vec::new();
        match Kind::from_type_url(&response.type_url) {
            Some(kind) => {
                for resource in response.resources {
                    match read(kind, resource) {
                        Ok(update) => updates.push(update),
                        Err(reason) => refused.push(shortened(reason)),
                    }
                }
                let removed = response.removed_resources.into_iter();
                updates.extend(removed.map(|name| Update::Absent(ResourceName::new(kind, name))));
            }
            None => refused.push(format!(
                "unknown resource type {:?}: is the controller newer than this proxy?",
                shortened(response.type_url.clone())
            )),
        }
        let error_detail = (!refused.is_empty()).then(|| Status {
            code: INVALID_ARGUMENT,
            message: refused.join("; "),
        });
        let reply = DeltaDiscoveryRequest {
            node: self.node.take(),
            type_url: response.type_url,
            response_nonce: response.nonce,
            error_detail,
            ..Default::default()
        };
        Received {
            updates,
            reply,
            refused,
        }
    }
}

fn shortened(mut reason: String) -> String {
    if reason.len() > MAX_REASON {
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        reason.push('…');
    }
    reason
}

fn read(kind: Kind, resource: WireResource) -> Result<Update, String> {
    let name = ResourceName::new(kind, resource.name);
    let any = resource
        .resource
        .ok_or_else(|| format!("{name}: the resource has no value"))?;
    if any.type_url != kind.type_url() {
        return Err(format!("{name}: the value is a {:?}", any.type_url));
    }
    let value = Resource::from_json(&name, &any.value).map_err(|error| error.to_string())?;
    Ok(Update::Present {
        name,
        version: resource.version,
        resource: value,
    })
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
