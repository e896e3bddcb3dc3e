//! The demo's cast: three services in a row, and a noisy neighbour of the last.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    identity::SpiffeId,
    netns::{VIRTUAL_V4, VIRTUAL_V6},
};

pub const TRUST_DOMAIN: &str = "demo.local";
pub const NAMESPACE: &str = "shop";
/// Where services are dialled.
pub const SERVICE_PORT: u16 = 80;
/// Where their applications listen.
pub const APP_PORT: u16 = 8080;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    Web,
    Orders,
    Stock,
    /// Calls `stock` too, and more than is good for it.
    Batch,
}

pub const SERVICES: [Service; 4] = [
    Service::Web,
    Service::Orders,
    Service::Stock,
    Service::Batch,
];

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Orders => "orders",
            Self::Stock => "stock",
            Self::Batch => "batch",
        }
    }

    pub fn replicas(self) -> u8 {
        match self {
            Self::Web => 2,
            Self::Orders | Self::Stock => 3,
            Self::Batch => 1,
        }
    }

    pub fn calls(self) -> Option<Self> {
        match self {
            Self::Web => Some(Self::Orders),
            Self::Orders | Self::Batch => Some(Self::Stock),
            Self::Stock => None,
        }
    }

    /// `namespace/name:port`, as metrics have it.
    pub fn key(self) -> String {
        format!("{NAMESPACE}/{}:{SERVICE_PORT}", self.name())
    }

    pub fn identity(self) -> SpiffeId {
        SpiffeId::new(TRUST_DOMAIN, NAMESPACE, self.name()).expect("the parts are names")
    }

    /// The virtual address.
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(VIRTUAL_V4.to_bits() | self.number())
    }

    /// The virtual address.
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(VIRTUAL_V6.to_bits() | u128::from(self.number()))
    }

    fn number(self) -> u32 {
        match self {
            Self::Web => 1,
            Self::Orders => 2,
            Self::Stock => 3,
            Self::Batch => 4,
        }
    }

    /// Where the application finds the service that it calls. By IPv6 from `orders`: both
    /// families take part.
    pub fn downstream(self) -> Option<String> {
        let called = self.calls()?;
        Some(match self {
            Self::Orders => format!("http://[{}]:{SERVICE_PORT}", called.v6()),
            _ => format!("http://{}:{SERVICE_PORT}", called.v4()),
        })
    }

    /// Requests that its application answers at a time.
    pub fn capacity(self) -> u32 {
        match self {
            Self::Stock => 8,
            _ => 1_000,
        }
    }
}

/// A replica.
#[derive(Clone, Debug)]
pub struct PodPlan {
    pub service: Service,
    pub name: String,
}

pub fn pods() -> Vec<PodPlan> {
    let of = |service: Service| {
        (1..=service.replicas()).map(move |number| PodPlan {
            service,
            name: format!("{}-{number}", service.name()),
        })
    };
    SERVICES.into_iter().flat_map(of).collect()
}
