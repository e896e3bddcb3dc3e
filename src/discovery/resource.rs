//! Resources as the stream carries them: five kinds, each by a name of its own, as JSON in an
//! `Any`. What they mean is the model's.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    model::{Destination, Endpoints, Service, ServiceKey, TrustBundle, Workload},
    validate::{self, Problem},
};
use crate::identity::SpiffeId;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Destination,
    Service,
    Endpoints,
    Workload,
    TrustBundle,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Destination,
        Self::Service,
        Self::Endpoints,
        Self::Workload,
        Self::TrustBundle,
    ];

    /// How the incremental xDS transport names it.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Destination => "type.outrigger.dev/v1.Destination",
            Self::Service => "type.outrigger.dev/v1.Service",
            Self::Endpoints => "type.outrigger.dev/v1.Endpoints",
            Self::Workload => "type.outrigger.dev/v1.Workload",
            Self::TrustBundle => "type.outrigger.dev/v1.TrustBundle",
        }
    }

    /// `None` for a type that is not one of ours.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A kind and the name within it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    pub kind: Kind,
    pub name: Arc<str>,
}

impl ResourceName {
    pub fn new(kind: Kind, name: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }

    /// An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is named as the IPv4 address it is.
    pub fn destination(addr: SocketAddr) -> Self {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        Self::new(Kind::Destination, addr.to_string())
    }

    pub fn service(key: &ServiceKey) -> Self {
        Self::new(Kind::Service, key.to_string())
    }

    pub fn endpoints(key: &ServiceKey) -> Self {
        Self::new(Kind::Endpoints, key.to_string())
    }

    pub fn workload(id: &SpiffeId) -> Self {
        Self::new(Kind::Workload, id.as_str())
    }

    pub fn trust_bundle(trust_domain: &str) -> Self {
        Self::new(Kind::TrustBundle, trust_domain)
    }

    /// Whether the name is written as the names of its kind are.
    pub fn is_well_formed(&self) -> bool {
        match self.kind {
            Kind::Destination => self.name.parse::<SocketAddr>().is_ok_and(is_canonical),
            Kind::Service | Kind::Endpoints => self.name.parse::<ServiceKey>().is_ok(),
            Kind::Workload => self.name.parse::<SpiffeId>().is_ok(),
            Kind::TrustBundle => !self.name.is_empty() && self.name.len() <= 255,
        }
    }
}

fn is_canonical(addr: SocketAddr) -> bool {
    match addr.ip() {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => ip.to_ipv4_mapped().is_none(),
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The value of a resource. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    Destination(Arc<Destination>),
    Service(Arc<Service>),
    Endpoints(Arc<Endpoints>),
    Workload(Arc<Workload>),
    TrustBundle(Arc<TrustBundle>),
}

/// A resource with its name, as a registry states it.
pub type Named = (ResourceName, Resource);

/// Why a resource cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{resource}: {problem}")]
pub struct InvalidResource {
    pub resource: ResourceName,
    pub problem: Problem,
}

impl Resource {
    pub fn destination(addr: SocketAddr, value: Destination) -> Named {
        (
            ResourceName::destination(addr),
            Self::Destination(value.into()),
        )
    }

    pub fn service(value: Service) -> Named {
        (
            ResourceName::service(&value.key),
            Self::Service(value.into()),
        )
    }

    pub fn endpoints(value: Endpoints) -> Named {
        (
            ResourceName::endpoints(&value.service),
            Self::Endpoints(value.into()),
        )
    }

    pub fn workload(id: &SpiffeId, value: Workload) -> Named {
        (ResourceName::workload(id), Self::Workload(value.into()))
    }

    pub fn trust_bundle(trust_domain: &str, value: TrustBundle) -> Named {
        (
            ResourceName::trust_bundle(trust_domain),
            Self::TrustBundle(value.into()),
        )
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Destination(_) => Kind::Destination,
            Self::Service(_) => Kind::Service,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Workload(_) => Kind::Workload,
            Self::TrustBundle(_) => Kind::TrustBundle,
        }
    }

    /// The JSON that [`from_json`](Self::from_json) reads back.
    pub fn to_json(&self) -> Vec<u8> {
        match self {
            Self::Destination(value) => serde_json::to_vec(value),
            Self::Service(value) => serde_json::to_vec(value),
            Self::Endpoints(value) => serde_json::to_vec(value),
            Self::Workload(value) => serde_json::to_vec(value),
            Self::TrustBundle(value) => serde_json::to_vec(value),
        }
        .expect("the model has string keys only, and writing to memory does not fail")
    }

    /// Reads a value and checks it.
    ///
    /// # Errors
    /// When it is not of its kind, or a field has a value that the mesh cannot act on.
    pub fn from_json(name: &ResourceName, json: &[u8]) -> Result<Self, InvalidResource> {
        let read = || {
            Ok(match name.kind {
                Kind::Destination => Self::Destination(parse(json)?),
                Kind::Service => Self::Service(parse(json)?),
                Kind::Endpoints => Self::Endpoints(parse(json)?),
                Kind::Workload => Self::Workload(parse(json)?),
                Kind::TrustBundle => Self::TrustBundle(parse(json)?),
            })
        };
        let invalid = |problem| InvalidResource {
            resource: name.clone(),
            problem,
        };
        let resource = read().map_err(invalid)?;
        match validate::resource(name, &resource).into_iter().next() {
            Some(problem) => Err(invalid(problem)),
            None => Ok(resource),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<Arc<T>, Problem> {
    let mut json = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut json)
        .map(Arc::new)
        .map_err(|error| Problem::new(error.path().to_string(), error.inner().to_string()))
}

/// The version of a value: the same value has the same version whoever made it and whenever, so a
/// restarted controller sends nothing again that a proxy still has.
pub fn version(json: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, json);
    digest.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A type of the model that is a resource.
pub trait Discovered: Sized + Send + Sync + 'static {
    const KIND: Kind;

    /// `None` where the resource is of another kind.
    fn from_resource(resource: &Resource) -> Option<&Arc<Self>>;
}

macro_rules! discovered {
    ($($kind:ident)*) => {$(
        impl Discovered for $kind {
            const KIND: Kind = Kind::$kind;

            fn from_resource(resource: &Resource) -> Option<&Arc<Self>> {
                match resource {
                    Resource::$kind(value) => Some(value),
                    _ => None,
                }
            }
        }
    )*};
}

discovered!(Destination Service Endpoints Workload TrustBundle);

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ServiceKey {
        "shop/cart:80".parse().unwrap()
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let name = ResourceName::destination("[::ffff:198.18.0.1]:80".parse().unwrap());
        assert_eq!(&*name.name, "198.18.0.1:80");
        assert!(!ResourceName::new(Kind::Destination, "[::ffff:198.18.0.1]:80").is_well_formed());
    }

    #[test]
    fn reads_what_it_writes() {
        let endpoints = Endpoints {
            service: key(),
            endpoints: vec![],
        };
        let (name, resource) = Resource::endpoints(endpoints);
        assert_eq!(
            Resource::from_json(&name, &resource.to_json()).unwrap(),
            resource
        );
    }

    #[test]
    fn an_invalid_value_is_refused_with_resource_field_and_reason() {
        let name = ResourceName::service(&key());
        let refused = |json: &str| {
            Resource::from_json(&name, json.as_bytes())
                .unwrap_err()
                .to_string()
        };
        let wrong_type = refused(r#"{"key":"shop/cart:80","policy":{"retry":{"attempts":"x"}}}"#);
        assert!(
            wrong_type.starts_with("Service shop/cart:80: policy.retry.attempts: invalid type"),
            "{wrong_type}"
        );
        let range = refused(r#"{"key":"shop/cart:80","policy":{"breaker":{"failureRate":2}}}"#);
        assert_eq!(
            range,
            "Service shop/cart:80: policy.breaker.failureRate: 2 is not between 0 and 1"
        );
        let other = refused(r#"{"key":"shop/till:80"}"#);
        assert!(other.contains("key: "), "{other}");
    }

    #[test]
    fn versions_follow_the_value() {
        assert_eq!(version(b"a"), version(b"a"));
        assert_ne!(version(b"a"), version(b"b"));
    }
}
