use std::sync::Arc;

use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs};

use super::*;

/// What rustls sends first: a hybrid key share makes it longer than a packet.
pub(crate) fn real_hello(alpns: &[&[u8]], server: &str) -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpns.iter().map(|name| name.to_vec()).collect();
    let server = server.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), server).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same hello in records of at most `size` bytes.
pub(crate) fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    hello[RECORD_HEADER..]
        .chunks(size)
        .flat_map(|part| {
            let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1, high, low], part].concat()
        })
        .collect()
}

#[test]
fn tells_the_mesh_from_an_application() {
    let ours = |alpn| {
        Peek::Hello(ClientHello {
            mesh: Some(alpn),
            sni: None,
        })
    };
    for alpn in Alpn::ALL {
        assert_eq!(
            peek(&real_hello(&[alpn.as_bytes()], "10.0.0.1")),
            ours(alpn)
        );
    }
    assert_eq!(
        peek(&real_hello(&[b"h2", b"http/1.1"], "Cart.Shop.Example")),
        Peek::Hello(ClientHello {
            mesh: None,
            sni: Some("cart.shop.example".into())
        })
    );
    assert_eq!(
        peek(&real_hello(&[], "10.0.0.1")),
        Peek::Hello(ClientHello::default())
    );
}

#[test]
fn every_beginning_is_incomplete_in_any_division_into_records() {
    let hello = real_hello(&[b"or-h2"], "cart.shop");
    assert!(hello.len() > 1_300, "the hybrid key share is missing");
    let whole = peek(&hello);
    assert!(matches!(whole, Peek::Hello(_)));
    for size in [1, 2, 3, 4, 5, 100, 1_000, 16_384] {
        let bytes = in_records(&hello, size);
        for len in 0..bytes.len() {
            assert_eq!(
                peek(&bytes[..len]),
                Peek::Incomplete,
                "{len} bytes of {size}"
            );
        }
        assert_eq!(peek(&bytes), whole, "records of {size}");
        assert_eq!(peek(&[&bytes[..], b"more"].concat()), whole);
    }
}

#[test]
fn other_protocols_are_known_by_their_first_byte_that_differs() {
    for bytes in [
        &b"G"[..],
        b"SSH-2.0",
        b"PRI * HTTP/2.0",
        b"\x00",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x05\x02",
    ] {
        assert_eq!(peek(bytes), Peek::NotTls, "{bytes:?}");
    }
    assert_eq!(peek(b""), Peek::Incomplete);
}

#[test]
fn what_would_need_more_than_the_bound_is_not_waited_for() {
    let too_long = (MAX_LEN - HANDSHAKE_HEADER + 1) as u32;
    let [_, a, b, c] = too_long.to_be_bytes();
    assert_eq!(peek(&[22, 3, 1, 0x40, 0, 1, a, b, c]), Peek::NotTls);

    let [_, a, b, c] = (too_long - 1).to_be_bytes();
    let endless: Vec<u8> = in_records(&[&[0; 5], &[1, a, b, c][..], &[0; 4_000]].concat(), 1);
    assert_eq!(peek(&endless[..MAX_LEN - 1]), Peek::Incomplete);
    assert_eq!(peek(&endless[..MAX_LEN]), Peek::NotTls);
}

#[test]
fn a_server_name_that_is_no_host_name_is_absent() {
    let hello = real_hello(&[b"or-tcp"], "cart.shop");
    let at = hello
        .windows(9)
        .position(|bytes| bytes == b"cart.shop")
        .unwrap();
    for name in [
        b"ca\nt.shop",
        b"cart\0shop",
        b"*art.shop",
        b"10.0.0.10",
        b"cart..hop",
    ] {
        let mut forged = hello.clone();
        forged[at..at + 9].copy_from_slice(name);
        assert_eq!(
            peek(&forged),
            Peek::Hello(ClientHello {
                mesh: Some(Alpn::Tcp),
                sni: None
            }),
            "{name:?}"
        );
    }
}

proptest! {
    #[test]
    fn never_panics_on_anything(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        peek(&bytes);
        let [high, low] = (bytes.len() as u16 + 4).to_be_bytes();
        let [_, a, b, c] = (bytes.len() as u32).to_be_bytes();
        peek(&[&[22, 3, 1, high, low, 1, a, b, c], &bytes[..]].concat());
    }

    #[test]
    fn never_panics_on_a_damaged_hello(
        at in 0usize..400,
        value in any::<u8>(),
        cut in 0usize..1_500,
        size in 1usize..2_000,
    ) {
        let mut hello = real_hello(&[b"or-h2", b"h2"], "cart.shop");
        hello[at] = value;
        let bytes = in_records(&hello, size);
        peek(&bytes);
        peek(&bytes[..cut.min(bytes.len())]);
    }
}
