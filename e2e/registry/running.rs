//! A registry that runs in the test.

use std::{collections::HashMap, time::Duration};

use kube::Client;
use outrigger::{
    controller::{
        Store, View,
        kubernetes::{
            config::MeshConfig,
            registry::{Handle, Registry},
        },
    },
    discovery::{
        model::Endpoints,
        resource::{Discovered, Resource, ResourceName},
    },
};

use crate::harness::wait;

pub const WITHIN: Duration = Duration::from_secs(60);

/// A registry that runs, and what a proxy would be told.
pub struct Running {
    pub handle: Handle,
    view: View,
    told: HashMap<ResourceName, Vec<u8>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub fn start(client: Client) -> Self {
        let store = Store::new();
        let registry = Registry::new(client, store.clone(), &MeshConfig::default());
        let registry = registry.expect("the default trust domain is valid");
        Self {
            handle: registry.handle(),
            view: store.open("shop"),
            told: Default::default(),
            task: tokio::spawn(registry.run()),
        }
    }

    /// What is said of a name now.
    pub fn look<T: Discovered + Clone>(&mut self, name: &str) -> Option<T> {
        let name = ResourceName::new(T::KIND, name);
        self.view.subscribe(name.clone(), None);
        while let Some((kind, deltas)) = self.view.take(100, 1 << 20) {
            for (name, value) in deltas {
                let name = ResourceName::new(kind, name);
                match value {
                    Some(value) => self.told.insert(name, value.json.clone()),
                    None => self.told.remove(&name),
                };
            }
        }
        let json = self.told.get(&name)?;
        let resource = Resource::from_json(&name, json).expect("a valid resource");
        T::from_resource(&resource).map(|value| T::clone(value))
    }

    /// Waits until a service port has so many endpoints, or is gone.
    pub async fn endpoints(&mut self, key: &str, expected: Option<usize>) {
        wait::until(
            &format!("{expected:?} endpoints of {key}"),
            WITHIN,
            async || {
                let found: Option<Endpoints> = self.look(key);
                let found = found.map(|endpoints| endpoints.endpoints.len());
                (found == expected)
                    .then_some(())
                    .ok_or(format!("{found:?}"))
            },
        )
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
