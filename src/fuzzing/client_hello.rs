use rustls::server::Acceptor;

use crate::{
    identity::Alpn,
    proxy::client_hello::{ClientHello, MAX_LEN, Peek, peek},
};

/// An answer stays when more bytes come, and whatever rustls takes for a ClientHello says the same
/// to us as to rustls.
pub fn client_hello(data: &[u8]) {
    let bytes = &data[..data.len().min(MAX_LEN)];
    let whole = peek(bytes);
    for cut in (0..bytes.len()).step_by(bytes.len() / 256 + 1) {
        let part = peek(&bytes[..cut]);
        assert!(
            part == Peek::Incomplete || part == whole,
            "changed at {cut}"
        );
    }
    if let Peek::Hello(hello) = &whole {
        assert!(hello.sni.as_ref().is_none_or(|name| name.len() <= 253));
    }
    if let Some(read) = by_rustls(bytes) {
        assert_eq!(whole, Peek::Hello(read));
    }
}

/// `None` where rustls refuses the bytes or wants more, and for record versions that nobody sends:
/// rustls ignores them (RFC 8446, 5.1), and we take such bytes for another protocol's.
fn by_rustls(mut bytes: &[u8]) -> Option<ClientHello> {
    let mut records = bytes;
    while let [_, _, minor, high, low, ..] = *records {
        if minor > 4 {
            return None;
        }
        let end = 5 + usize::from(u16::from_be_bytes([high, low]));
        records = records.get(end..).unwrap_or_default();
    }
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let mut protocols = hello.alpn().into_iter().flatten();
            return Some(ClientHello {
                mesh: protocols.find_map(Alpn::from_bytes),
                sni: hello.server_name().map(str::to_ascii_lowercase),
            });
        }
    }
    None
}
