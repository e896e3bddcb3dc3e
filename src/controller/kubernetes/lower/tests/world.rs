//! A cluster for tests: objects in as the API writes them, resources out as short texts.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::{core::v1 as core, discovery::v1::EndpointSlice};
use serde_json::{Value, json};

use crate::{
    controller::{
        Host,
        kubernetes::lower::{
            Cluster,
            object::{Kind, Name},
            read::{Read, name},
        },
    },
    discovery::{
        model::{Destination, Endpoint, Endpoints, Protocol, Service, Workload},
        resource::{Discovered, Resource, ResourceName},
    },
};

pub struct World {
    pub cluster: Cluster,
    resources: BTreeMap<ResourceName, Resource>,
    hosts: BTreeMap<IpAddr, Host>,
}

/// A world with these objects.
pub fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let mut world = World {
        cluster: Cluster::new("cluster.local").unwrap(),
        resources: BTreeMap::new(),
        hosts: BTreeMap::new(),
    };
    world.apply(objects);
    world
}

fn put<K: Read + kube::Resource + serde::de::DeserializeOwned>(
    cluster: &mut Cluster,
    kind: Kind,
    object: Value,
) {
    let object: K = serde_json::from_value(object).unwrap();
    match object.read() {
        Some(read) => cluster.put(&name(&object), read),
        None => cluster.remove(kind, &name(&object)),
    }
}

impl World {
    /// Returns the names of the resources that were lowered again.
    pub fn apply(&mut self, objects: impl IntoIterator<Item = Value>) -> Vec<String> {
        for object in objects {
            let cluster = &mut self.cluster;
            match object["kind"].as_str().unwrap() {
                "Namespace" => put::<core::Namespace>(cluster, Kind::Namespace, object),
                "Node" => put::<core::Node>(cluster, Kind::Node, object),
                "Pod" => put::<core::Pod>(cluster, Kind::Pod, object),
                "Service" => put::<core::Service>(cluster, Kind::Service, object),
                "EndpointSlice" => put::<EndpointSlice>(cluster, Kind::EndpointSlice, object),
                other => panic!("{other}?"),
            }
        }
        self.flush()
    }

    pub fn delete(&mut self, kind: Kind, name: &str) -> Vec<String> {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        self.cluster.remove(kind, &Name::new(namespace, name));
        self.flush()
    }

    fn flush(&mut self) -> Vec<String> {
        let update = self.cluster.flush();
        for (ip, host) in update.hosts {
            match host {
                Some(host) => self.hosts.insert(ip, host),
                None => self.hosts.remove(&ip),
            };
        }
        let touched = update.resources.iter().map(|(name, _)| name.to_string());
        let touched = touched.collect();
        for (name, resource) in update.resources {
            if let Some(resource) = &resource {
                Resource::from_json(&name, &resource.to_json()).expect("a valid resource");
            }
            match resource {
                Some(resource) => self.resources.insert(name, resource),
                None => self.resources.remove(&name),
            };
        }
        touched
    }

    pub fn names(&self) -> Vec<String> {
        self.resources.keys().map(ToString::to_string).collect()
    }

    fn get<T: Discovered + Clone>(&self, name: &str) -> Option<T> {
        let resource = self.resources.get(&ResourceName::new(T::KIND, name))?;
        T::from_resource(resource).map(|value| T::clone(value))
    }

    /// `198.18.64.1:8080 account@zone`, without what is not known.
    pub fn endpoints(&self, service: &str) -> Vec<String> {
        let endpoints: Endpoints = self.get(service).expect("the service port exists");
        endpoints.endpoints.iter().map(short).collect()
    }

    /// `service shop/cart:80`, or `[service ]endpoint`, or nothing.
    pub fn destination(&self, addr: &str) -> String {
        let socket: SocketAddr = addr.parse().unwrap();
        match self.get(addr) {
            Some(Destination::Service(key)) => format!("service {key}"),
            Some(Destination::Endpoint { service, endpoint }) => {
                let service = service.map_or(String::new(), |key| format!("{key} "));
                service + &short(&endpoint)
            }
            Some(Destination::Unknown) => "unknown".into(),
            None => match self.hosts.get(&socket.ip()) {
                Some(host) => format!("host {}", host.identity.service_account()),
                None => String::new(),
            },
        }
    }

    pub fn host(&self, ip: &str) -> Option<&Host> {
        self.hosts.get(&ip.parse().unwrap())
    }

    pub fn service(&self, key: &str) -> Service {
        self.get(key).expect("the service port exists")
    }

    pub fn protocol(&self, key: &str) -> Protocol {
        self.service(key).protocol
    }

    /// By `namespace/account`.
    pub fn workload(&self, account: &str) -> Option<Workload> {
        let (namespace, account) = account.split_once('/').unwrap();
        self.get(&format!(
            "spiffe://cluster.local/ns/{namespace}/sa/{account}"
        ))
    }
}

fn short(endpoint: &Endpoint) -> String {
    let mut text = endpoint.addr.to_string();
    if let Some(identity) = &endpoint.identity {
        text += &format!(" {}", identity.service_account());
    }
    if let Some(zone) = &endpoint.zone {
        text += &format!("@{zone}");
    }
    text
}

/// Merges objects field by field: what a test adds to the plain object.
pub fn with(mut object: Value, patch: Value) -> Value {
    fn merge(into: &mut Value, patch: Value) {
        match (into, patch) {
            (Value::Object(into), Value::Object(patch)) => {
                for (key, value) in patch {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, patch) => *into = patch,
        }
    }
    merge(&mut object, patch);
    object
}

/// A meshed pod in `shop`, on `node-a`.
pub fn pod(name: &str, ip: &str, account: &str) -> Value {
    json!({
        "kind": "Pod",
        "metadata": {
            "namespace": "shop", "name": name,
            "labels": { "outrigger.dev/injected": "true" },
        },
        "spec": { "serviceAccountName": account, "nodeName": "node-a", "containers": [] },
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] },
    })
}

/// A pod in `shop` without a sidecar.
pub fn bare_pod(name: &str, ip: &str) -> Value {
    with(
        pod(name, ip, "bare"),
        json!({ "metadata": { "labels": null } }),
    )
}

/// A service in `shop` with ports as `name:port`.
pub fn service(name: &str, ip: &str, ports: &[&str]) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|port| {
            let (name, port) = port.split_once(':').unwrap();
            json!({ "name": name, "port": port.parse::<u16>().unwrap(), "protocol": "TCP" })
        })
        .collect();
    json!({
        "kind": "Service",
        "metadata": { "namespace": "shop", "name": name },
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip],
            "ipFamilies": [if ip.contains(':') { "IPv6" } else { "IPv4" }],
            "ports": ports,
        },
    })
}

/// A slice of a service in `shop`, with ports as `name:port`.
pub fn slice(name: &str, service: &str, ports: &[&str], endpoints: Vec<Value>) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|port| {
            let (name, port) = port.split_once(':').unwrap();
            json!({ "name": name, "port": port.parse::<u16>().unwrap(), "protocol": "TCP" })
        })
        .collect();
    let v6 = |endpoint: &Value| endpoint["addresses"][0].as_str().unwrap().contains(':');
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "shop", "name": name,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": if endpoints.first().is_some_and(v6) { "IPv6" } else { "IPv4" },
        "ports": ports,
        "endpoints": endpoints,
    })
}

/// A ready endpoint, backed by a pod of `shop`.
pub fn ready(ip: &str, pod: &str) -> Value {
    json!({
        "addresses": [ip],
        "conditions": { "ready": true, "serving": true, "terminating": false },
        "targetRef": { "kind": "Pod", "namespace": "shop", "name": pod },
    })
}

pub fn conditions(ready: bool, serving: bool, terminating: bool) -> Value {
    json!({ "conditions": { "ready": ready, "serving": serving, "terminating": terminating } })
}

/// `cart` with one port on two meshed pods: the least that is of interest.
pub fn cart() -> Vec<Value> {
    vec![
        service("cart", "198.19.0.10", &["http:80"]),
        pod("cart-1", "198.18.64.1", "cart"),
        pod("cart-2", "198.18.64.2", "cart"),
        slice(
            "cart-a",
            "cart",
            &["http:8080"],
            vec![
                ready("198.18.64.1", "cart-1"),
                ready("198.18.64.2", "cart-2"),
            ],
        ),
    ]
}
