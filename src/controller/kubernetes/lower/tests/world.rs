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
        kubernetes::{
            api::{
                AccessPolicy, ResiliencePolicy, grpc_route::GrpcRoute, http_route::HttpRoute,
                reference_grant::ReferenceGrant,
            },
            config::DefaultAccess,
            findings::{Attachment, Finding, Findings, ObjectKind, ObjectRef, Verdict},
            lower::{
                Cluster,
                object::{Kind, Name},
                read::{Read, name},
            },
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
    findings: Findings,
}

/// A world with these objects.
pub fn world(objects: impl IntoIterator<Item = Value>) -> World {
    world_with_default(DefaultAccess::Allow, objects)
}

pub fn world_with_default(
    default: DefaultAccess,
    objects: impl IntoIterator<Item = Value>,
) -> World {
    let mut world = World {
        cluster: Cluster::new("cluster.local", default).unwrap(),
        resources: BTreeMap::new(),
        hosts: BTreeMap::new(),
        findings: Findings::new(),
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
                "HTTPRoute" => put::<HttpRoute>(cluster, Kind::HttpRoute, object),
                "GRPCRoute" => put::<GrpcRoute>(cluster, Kind::GrpcRoute, object),
                "ReferenceGrant" => put::<ReferenceGrant>(cluster, Kind::ReferenceGrant, object),
                "ResiliencePolicy" => {
                    put::<ResiliencePolicy>(cluster, Kind::ResiliencePolicy, object)
                }
                "AccessPolicy" => put::<AccessPolicy>(cluster, Kind::AccessPolicy, object),
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
        for (id, finding) in update.findings {
            match finding {
                Some(finding) => self.findings.insert(id, finding),
                None => self.findings.remove(&id),
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

    fn found(&self, kind: ObjectKind, name: &str) -> Option<&Finding> {
        let (namespace, name) = name.split_once('/').unwrap();
        self.findings.get(&ObjectRef {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// What became of an object.
    pub fn finding(&self, kind: ObjectKind, name: &str) -> &Finding {
        self.found(kind, name).expect("something did")
    }

    /// What became of an object at what it is attached to.
    pub fn attachments(&self, kind: ObjectKind, name: &str) -> Vec<Attachment> {
        let finding = self.found(kind, name);
        finding.map_or_else(Vec::new, |finding| finding.attachments.clone())
    }

    /// The verdicts at the only thing that an object is attached to: accepted, references
    /// resolved; empty where all is well, else the reason.
    pub fn verdicts(&self, kind: ObjectKind, name: &str) -> (&'static str, &'static str) {
        let attachments = self.attachments(kind, name);
        assert_eq!(attachments.len(), 1, "{name}");
        let reason = |verdict: &Verdict| match verdict {
            Verdict::Good | Verdict::Noted { .. } => "",
            Verdict::Bad { reason, message } => {
                assert!(!message.is_empty());
                *reason
            }
        };
        (
            reason(&attachments[0].accepted),
            reason(&attachments[0].resolved),
        )
    }

    /// The routes in force at a service port, by name.
    pub fn routes(&self, key: &str) -> Vec<String> {
        let service = self.service(key);
        service.routes.iter().map(|r| r.name.to_string()).collect()
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

/// A route in `shop` that is attached to a service there.
pub fn route(kind: &str, name: &str, parent: &str, rules: Value) -> Value {
    json!({
        "kind": kind,
        "metadata": { "namespace": "shop", "name": name, "generation": 3 },
        "spec": {
            "parentRefs": [{ "group": "", "kind": "Service", "name": parent }],
            "rules": rules,
        },
    })
}

pub fn http_route(name: &str, rules: Value) -> Value {
    route("HTTPRoute", name, "cart", rules)
}

/// A rule that sends everything to a port of a service.
pub fn to(service: &str, port: u16) -> Value {
    json!([{ "backendRefs": [{ "name": service, "port": port }] }])
}

pub fn grant(namespace: &str, group: &str, kind: &str, from: &str) -> Value {
    json!({
        "kind": "ReferenceGrant",
        "metadata": { "namespace": namespace, "name": "grant" },
        "spec": {
            "from": [{ "group": group, "kind": kind, "namespace": from }],
            "to": [{ "group": "", "kind": "Service" }],
        },
    })
}
