use arbitrary::{Result, Unstructured};

use crate::proxy::{
    client_hello::{Peek, peek},
    detect::{Detected, detect},
};

/// How a protocol that is not HTTP opens a connection.
struct Opening {
    bytes: Vec<u8>,
    /// After so many bytes nothing may be waited for any more.
    known_after: usize,
}

/// Databases, brokers and mail: known as opaque as soon as their first bytes allow, never taken
/// for HTTP or TLS, and never waited on with the packet all there.
pub fn first_packet(data: &[u8]) {
    let Ok(opening) = make(&mut Unstructured::new(data)) else {
        return;
    };
    let bytes = &opening.bytes;
    for cut in 0..=bytes.len() {
        let found = detect(&bytes[..cut]);
        let waits = cut < opening.known_after && found == Detected::NeedMore;
        assert!(waits || found == Detected::Opaque, "{found:?} after {cut}");
    }
    assert_eq!(peek(bytes), Peek::NotTls);
}

fn make(u: &mut Unstructured<'_>) -> Result<Opening> {
    Ok(match u.int_in_range(0..=6)? {
        0 => postgres(u)?,
        1 => text(u, b"*", b"\r\n$4\r\nPING\r\n")?,
        2 => text(u, b"GET ", b"\r\n")?,
        3 => text(u, b"EHLO ", b"\r\n")?,
        4 => text(u, b"SSH-2.0-", b"\r\n")?,
        5 => length_prefixed(u)?,
        _ => Opening {
            bytes: [b"AMQP\0".as_slice(), u.arbitrary()?].concat(),
            known_after: 5,
        },
    })
}

/// Startup with its parameters, or a request for TLS, for GSSAPI, or to cancel.
fn postgres(u: &mut Unstructured<'_>) -> Result<Opening> {
    let codes = [196_608_u32, 196_610, 80_877_103, 80_877_104, 80_877_102];
    let mut body = u.choose(&codes)?.to_be_bytes().to_vec();
    for _ in 0..u.int_in_range(0..=4)? {
        body.extend_from_slice(
            u.choose(&["user", "database", "options", "GET / HTTP/1.1"])?
                .as_bytes(),
        );
        body.push(0);
        body.extend_from_slice(u.arbitrary()?);
        body.push(0);
    }
    // A server refuses more than 10,000 bytes, so the first byte of the length is zero.
    let said = u.int_in_range(0..=10_000_u32)?.to_be_bytes();
    Ok(Opening {
        bytes: [&said[..], &body].concat(),
        known_after: 1,
    })
}

/// A line of text that no HTTP version ends.
fn text(u: &mut Unstructured<'_>, start: &[u8], end: &[u8]) -> Result<Opening> {
    let words: Vec<u8> = u.arbitrary()?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".:_- ".contains(byte);
    let words: Vec<u8> = words.into_iter().filter(plain).take(200).collect();
    let bytes = [start, &words, end].concat();
    let line = bytes.iter().position(|byte| *byte == b'\r');
    Ok(Opening {
        known_after: line.expect("every one has an end") + 1,
        bytes,
    })
}

/// Kafka and others: four bytes of length, below 16 MiB.
fn length_prefixed(u: &mut Unstructured<'_>) -> Result<Opening> {
    let body: Vec<u8> = u.arbitrary()?;
    let said = u.int_in_range(0..=(1_u32 << 24) - 1)?.to_be_bytes();
    Ok(Opening {
        bytes: [&said[..], &body].concat(),
        known_after: 1,
    })
}
