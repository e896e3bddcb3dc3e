//! A pod that calls a service and is itself the endpoint that is picked. What a pod sends to its
//! own address never passes the interception, so behind that address is the application, and not
//! its proxy: it is dialled in plaintext, which never leaves the pod.

use std::{borrow::Cow, net::IpAddr};

use crate::discovery::model::{Endpoint, Endpoints};

/// The endpoints as a pod with the addresses `own` must dial them.
pub fn as_dialled<'a>(endpoints: &'a Endpoints, own: &[IpAddr]) -> Cow<'a, Endpoints> {
    let mine =
        |endpoint: &Endpoint| endpoint.identity.is_some() && own.contains(&endpoint.addr.ip());
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
            endpoints: vec![
                endpoint("198.18.1.1:8080"),
                endpoint("198.18.1.2:8080"),
                endpoint("[fd00:18::1]:8080"),
                endpoint("[fd00:18::2]:8080"),
            ],
        };
        let own = ["198.18.1.2", "fd00:18::2"].map(|ip| ip.parse().unwrap());
        let dialled = as_dialled(&endpoints, &own);
        let meshed: Vec<_> = dialled
            .endpoints
            .iter()
            .map(|endpoint| endpoint.identity.is_some())
            .collect();
        assert_eq!(meshed, [true, false, true, false]);
        assert!(matches!(as_dialled(&endpoints, &[]), Cow::Borrowed(_)));
    }
}
