use std::collections::BTreeSet;

use prost::Message;

use super::resource;
use crate::discovery::{
    proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    resource::{Kind, ResourceName},
    session::{Change, Session, Update},
};

/// The longest reason for one refused resource, its name included, in bytes.
const MAX_REASON: usize = 5 * 1024;

/// A response of the control stream. Each resource in it is taken or refused, what is taken the
/// proxy can use, and the answer is an ACK exactly if nothing was refused. A request is read as it
/// was written, and nobody is asked for more than was wished for.
pub fn discovery(data: &[u8]) {
    if let Ok(response) = DeltaDiscoveryResponse::decode(data) {
        check_response(response);
    }
    if let Ok(request) = DeltaDiscoveryRequest::decode(data) {
        let again = DeltaDiscoveryRequest::decode(&*request.encode_to_vec());
        assert_eq!(again.as_ref(), Ok(&request));
        check_wishes(&request);
    }
}

fn check_response(response: DeltaDiscoveryResponse) {
    let kind = Kind::from_type_url(&response.type_url);
    let (sent, removed) = (response.resources.len(), response.removed_resources.len());
    let nonce = response.nonce.clone();
    let received = Session::new("fuzz").received(response);
    assert_eq!(received.reply.response_nonce, nonce);
    assert_eq!(
        received.reply.error_detail.is_some(),
        !received.refused.is_empty()
    );
    for reason in &received.refused {
        assert!(reason.len() <= MAX_REASON, "{}", reason.len());
    }
    let Some(kind) = kind else {
        assert!(received.updates.is_empty() && received.refused.len() == 1);
        return;
    };
    assert_eq!(
        received.updates.len() + received.refused.len(),
        sent + removed
    );
    for update in &received.updates {
        match update {
            Update::Present { name, resource, .. } => {
                assert_eq!(name.kind, kind);
                resource::check(name, resource);
            }
            Update::Absent(name) => assert_eq!(name.kind, kind),
        }
    }
}

/// The last wish for each name, once, in requests of a bounded size.
fn check_wishes(request: &DeltaDiscoveryRequest) {
    let mut session = Session::new("fuzz");
    let (mut wanted, mut unwanted) = (BTreeSet::new(), BTreeSet::new());
    for name in &request.resource_names_subscribe {
        session.change(
            ResourceName::new(Kind::Service, &**name),
            Change::Subscribe(None),
        );
        wanted.insert(name.clone());
    }
    for name in &request.resource_names_unsubscribe {
        session.change(
            ResourceName::new(Kind::Service, &**name),
            Change::Unsubscribe,
        );
        wanted.remove(name);
        unwanted.insert(name.clone());
    }
    while let Some(request) = session.next_request() {
        let (more, fewer) = (
            request.resource_names_subscribe,
            request.resource_names_unsubscribe,
        );
        assert!((1..=500).contains(&(more.len() + fewer.len())));
        assert!(more.iter().all(|name| wanted.remove(name)));
        assert!(fewer.iter().all(|name| unwanted.remove(name)));
    }
    assert!(wanted.is_empty() && unwanted.is_empty());
}
