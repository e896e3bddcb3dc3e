//! A resource as its readers get it: the same for all, but for the routes of a service.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Stored;
use crate::discovery::{
    model::{Route, Service},
    resource::Resource,
};

/// What everyone gets, and what those get instead whose namespace has routes of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Value {
    common: Arc<Stored>,
    own: BTreeMap<Arc<str>, Arc<Stored>>,
}

impl Value {
    pub fn new(resource: &Resource) -> Self {
        let Resource::Service(service) = resource else {
            return Self::common(resource);
        };
        let consumers = service.routes.iter().filter_map(|r| r.consumers.clone());
        let consumers: BTreeSet<_> = consumers.collect();
        if consumers.is_empty() {
            return Self::common(resource);
        }
        let own = consumers.into_iter().map(|namespace| {
            let stored = only(service, |r| r.consumers.as_ref() == Some(&namespace));
            (namespace, stored)
        });
        Self {
            own: own.collect(),
            common: only(service, |route| route.consumers.is_none()),
        }
    }

    fn common(resource: &Resource) -> Self {
        Self {
            common: Stored::new(resource),
            own: BTreeMap::new(),
        }
    }

    /// What workloads of a namespace are told.
    pub fn of(&self, namespace: &str) -> &Arc<Stored> {
        self.own.get(namespace).unwrap_or(&self.common)
    }
}

fn only(service: &Service, counts: impl Fn(&Route) -> bool) -> Arc<Stored> {
    let routes = service.routes.iter().filter(|route| counts(route));
    let service = Service {
        key: service.key.clone(),
        protocol: service.protocol,
        routes: routes.cloned().collect(),
        policy: service.policy.clone(),
    };
    Stored::new(&Resource::Service(service.into()))
}
