use std::{fmt::Display, net::IpAddr, str::FromStr};

use crate::{
    controller::{injection::Quantity, token::TokenDigest},
    discovery::model::ServiceKey,
    identity::SpiffeId,
    ranges::{PortRange, Subnet},
    units::duration,
};

/// The small languages that people write: what is read is written as it is read back, and stands
/// for what it says.
pub fn texts(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Some(range) = read_back::<PortRange>(text) {
        assert!(0 < range.first() && range.first() <= range.last());
        assert!(range.contains(range.first()) && range.contains(range.last()));
    }
    if let Some(subnet) = read_back::<Subnet>(text) {
        check_subnet(subnet);
    }
    if let Some(id) = read_back::<SpiffeId>(text) {
        let parts = (id.trust_domain(), id.namespace(), id.service_account());
        assert_eq!(id.as_str(), text);
        assert_eq!(
            SpiffeId::new(parts.0, parts.1, parts.2).ok().as_ref(),
            Some(&id)
        );
    }
    if let Some(key) = read_back::<ServiceKey>(text) {
        assert_ne!(key.port, 0);
    }
    if let Some(amount) = read_back::<Quantity>(text) {
        assert!(amount.value().is_finite() && amount.value() >= 0.0);
    }
    read_back::<TokenDigest>(text);
    if let Ok(time) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(time)), Ok(time));
    }
}

fn read_back<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let read: T = text.parse().ok()?;
    let again = read.to_string().parse().ok();
    assert!(again.as_ref() == Some(&read), "{text:?} became {read}");
    Some(read)
}

fn check_subnet(subnet: Subnet) {
    let bytes = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let (network, mask) = (bytes(subnet.network()), subnet.mask());
    assert_eq!(
        mask.iter().map(|byte| byte.count_ones()).sum::<u32>(),
        u32::from(subnet.prefix())
    );
    assert!(
        network
            .iter()
            .zip(&mask)
            .all(|(byte, mask)| byte & !mask == 0)
    );
    assert!(subnet.contains(subnet.network()) && subnet.overlaps(subnet));
}
