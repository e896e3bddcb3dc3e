//! A pod that calls a service and is itself the endpoint that is picked. What a pod sends to its
//! own address never passes the interception, so behind that address is the application, and not
//! its proxy: it is dialled in plaintext, which never leaves the pod.

use std::{
    borrow::Cow,
    net::{IpAddr, UdpSocket},
};

use crate::discovery::model::{Endpoint, Endpoints};

/// The endpoints as this pod must dial them.
pub fn as_dialled(endpoints: &Endpoints, is_own: impl Fn(IpAddr) -> bool) -> Cow<'_, Endpoints> {
    let mine = |endpoint: &Endpoint| endpoint.identity.is_some() && is_own(endpoint.addr.ip());
    if !endpoints.endpoints.iter().any(mine) {
        return Cow::Borrowed(endpoints);
    }
    let mut endpoints = endpoints.clone();
    for endpoint in &mut endpoints.endpoints {
        if mine(endpoint) {
            endpoint.identity = None;
        }
    }
    Cow::Owned(endpoints)
}

/// Whether an address belongs to this network namespace, as the kernel sees it: only such an
/// address can be bound.
pub fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_endpoint_loses_its_mesh_tls() {
        let endpoint = |addr: &str| Endpoint {
            addr: addr.parse().unwrap(),
            weight: 1,
            zone: None,
            identity: Some("spiffe://c/ns/shop/sa/cart".parse().unwrap()),
        };
        let endpoints = Endpoints {
            service: "shop/cart:80".parse().unwrap(),
            endpoints: vec![endpoint("198.18.1.1:8080"), endpoint("198.18.1.2:8080")],
        };
        let own: IpAddr = "198.18.1.2".parse().unwrap();
        let dialled = as_dialled(&endpoints, |ip| ip == own);
        let meshed: Vec<_> = dialled
            .endpoints
            .iter()
            .map(|endpoint| endpoint.identity.is_some())
            .collect();
        assert_eq!(meshed, [true, false]);
        assert!(matches!(
            as_dialled(&endpoints, |_| false),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn the_kernel_knows_its_own_addresses() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        // The network that documentation uses (RFC 5737).
        assert!(!is_own("192.0.2.1".parse().unwrap()));
    }
}
