//! What a client speaks, from its first bytes. Reading them, and what to do while a client is
//! silent, are left to others; so is a closer look at TLS ([`super::client_hello`]).
//!
//! In doubt the answer is HTTP, not opaque: what a lenient server would take for a request must
//! not get past the policies because our reading was strict. The reader of HTTP/1 then refuses it
//! with 400.

/// The most that is looked at, in bytes. A request line that is longer counts as HTTP where it
/// begins like one.
pub const MAX_LOOK_AHEAD: usize = 2 * 1024;

/// Empty lines before a request are skipped (RFC 9112 2.2), up to this many bytes. What has more of
/// them is HTTP as well, for some servers skip any number.
const MAX_EMPTY_LINES: usize = 8;
/// The methods that servers know: half of one, and nothing more for a while, is HTTP that stalls.
const METHODS: [&[u8]; 9] = [
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT",
];
/// RFC 9113 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// More than one answer is possible: ask again with more bytes. Whoever waits should not
    /// wait long, for a protocol of short words may have said all it has to say.
    NeedMore,
    Http1,
    /// With prior knowledge.
    Http2,
    Tls,
    Opaque,
}

/// Recognises the protocol of a connection that begins with `bytes`. An answer other than
/// [`Detected::NeedMore`] stays the same for all that may follow.
pub fn detect(bytes: &[u8]) -> Detected {
    let bytes = &bytes[..bytes.len().min(MAX_LOOK_AHEAD)];
    if bytes.starts_with(HTTP2_PREFACE) {
        Detected::Http2
    } else if bytes.starts_with(&TLS_HANDSHAKE) {
        Detected::Tls
    } else if HTTP2_PREFACE.starts_with(bytes) || TLS_HANDSHAKE.starts_with(bytes) {
        Detected::NeedMore
    } else {
        detect_http1(bytes)
    }
}

/// Whether a server's first bytes are HTTP/2's SETTINGS: a server may send them before its client
/// has said anything (RFC 9113 3.4), and is not the one who speaks first for that.
pub fn is_http2_server(bytes: &[u8]) -> bool {
    const SETTING: u32 = 6;
    let Some(([a, b, c, kind, flags, stream @ ..], _)) = bytes.split_first_chunk::<9>() else {
        return false;
    };
    let length = u32::from_be_bytes([0, *a, *b, *c]);
    length.is_multiple_of(SETTING) && (*kind, *flags, *stream) == (0x04, 0, [0; 4])
}

/// Whether a client that has said no more for a while stopped in the middle of a request: its first
/// word is the beginning of a known method, or the whole of one and a blank after it.
pub fn is_half_a_request(bytes: &[u8]) -> bool {
    let empty_lines = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let line = &bytes[empty_lines.count()..];
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    match line.get(method) {
        None => method > 0 && METHODS.iter().any(|known| known.starts_with(line)),
        Some(b' ' | b'\t') => METHODS.contains(&&line[..method]),
        Some(_) => false,
    }
}

/// A method, a space, and `HTTP/` after another one in the same line. The method alone is no
/// sign: Redis too knows `GET key`.
fn detect_http1(bytes: &[u8]) -> Detected {
    let empty_lines = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    if empty_lines > MAX_EMPTY_LINES {
        return Detected::Http1;
    }
    let full = bytes.len() == MAX_LOOK_AHEAD;
    let line = &bytes[empty_lines..];
    let method = line.iter().take_while(|byte| is_token(**byte)).count();
    match line.get(method) {
        None if !full => Detected::NeedMore,
        Some(b' ' | b'\t') if method > 0 => detect_version(&line[method..], full),
        _ => Detected::Opaque,
    }
}

/// `rest` begins with the blank after the method; `full` when no more will be looked at.
fn detect_version(rest: &[u8], full: bool) -> Detected {
    let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=0x7e | 0x80..);
    let text = &rest[..rest.iter().take_while(|byte| is_text(byte)).count()];
    let is_version = |window: &[u8]| {
        matches!(window[0], b' ' | b'\t') && window[1..].eq_ignore_ascii_case(b"HTTP/")
    };
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let target = text.iter().find(|byte| !blank(byte));
    if text.windows(6).any(is_version) {
        Detected::Http1
    } else if text.len() < rest.len() {
        // The line, or the text, ended without a version.
        Detected::Opaque
    } else if !full {
        Detected::NeedMore
    } else if target.is_some_and(|first| matches!(first, b'/' | b'h' | b'H')) {
        Detected::Http1
    } else {
        Detected::Opaque
    }
}

/// RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first answer when the bytes come one at a time, and after how many.
    fn one_at_a_time(bytes: &[u8]) -> (Detected, usize) {
        let answers = (0..=bytes.len()).map(|len| (detect(&bytes[..len]), len));
        let mut decided = answers.filter(|(answer, _)| *answer != Detected::NeedMore);
        decided.next().unwrap_or((Detected::NeedMore, bytes.len()))
    }

    #[test]
    fn protocols_are_told_apart() {
        use Detected::*;
        let cases: &[(&[u8], Detected)] = &[
            (b"", NeedMore),
            (b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n", Http1),
            (b"OPTIONS * HTTP/1.1\r\n", Http1),
            (b"PURGE http://shop/ HTTP/1.0\r\n", Http1),
            (b"CONNECT shop:443 HTTP/1.1\r\n", Http1),
            (b"\r\nPOST / HTTP/1.1\r\n", Http1),
            // For the reader of HTTP/1 to refuse.
            (b"GET  /  HTTP/1.1\r\n", Http1),
            (b"GET\t/\tHTTP/1.1\n", Http1),
            (b"GET /a b HTTP/1.1\r\n", Http1),
            (b"get / http/1.1\r\n", Http1),
            (b"PRI * HTTP/2.0\r\nHost: shop\r\n", Http1),
            (b"GET /very/lo", NeedMore),
            (b"GET", NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", NeedMore),
            (b"\x16", NeedMore),
            (b"\x16\x03\x01\x02\x00\x01", Tls),
            (b"\x16\x02", Opaque),
            // HTTP/0.9, Redis inline and RESP, memcached, SMTP, SSH, AMQP, MQTT, PostgreSQL.
            (b"GET /\r\n", Opaque),
            (b"GET key\r\n", Opaque),
            (b"*1\r\n$4\r\nPING\r\n", Opaque),
            (b"get key\r\n", Opaque),
            (b"EHLO client.example\r\n", Opaque),
            (b"SSH-2.0-OpenSSH_9.2 Debian-2\r\n", Opaque),
            (b"AMQP\0\0\x09\x01", Opaque),
            (b"\x10\x0e\0\x04MQTT", Opaque),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Opaque),
            // Not more empty lines than every server skips.
            (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", Http1),
            (
                b"A-METHOD-OF-MORE-THAN-THIRTY-TWO-BYTES / HTTP/1.1\r\n",
                Http1,
            ),
        ];
        for (bytes, expected) in cases {
            let text = bytes.escape_ascii();
            assert_eq!(detect(bytes), *expected, "{text}");
            assert_eq!(one_at_a_time(bytes).0, *expected, "{text}, one at a time");
        }
    }

    #[test]
    fn the_look_ahead_is_bounded() {
        let long = |start: &str| [start.as_bytes(), &[b'a'; 2 * MAX_LOOK_AHEAD]].concat();
        for (start, expected, after) in [
            ("GET /", Detected::Http1, MAX_LOOK_AHEAD),
            ("GET http://shop/", Detected::Http1, MAX_LOOK_AHEAD),
            ("GET a", Detected::Opaque, MAX_LOOK_AHEAD),
            ("", Detected::Opaque, MAX_LOOK_AHEAD),
        ] {
            assert_eq!(one_at_a_time(&long(start)), (expected, after), "{start}");
        }
    }

    #[test]
    fn half_a_request_is_no_word_of_another_protocol() {
        for half in ["G", "GE", "GET", "GET ", "GET /a", "\r\nPOST", "OPTIONS\t*"] {
            assert!(is_half_a_request(half.as_bytes()), "{half:?}");
        }
        for word in [
            "", "\r\n", "QUIT", "get", "GETS", "GETS key", "GE\0", "HELO a",
        ] {
            assert!(!is_half_a_request(word.as_bytes()), "{word:?}");
        }
    }

    fn beginnings() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&[u8]> = vec![
            b"GET",
            b"PRI",
            b" ",
            b"*",
            b"/",
            b"HTTP/",
            b"HTTP/2.0",
            b"1.1",
            b"\r\n",
            b"SM",
            b"\x16",
            b"\x03",
            b"\0",
            b"\t",
            b"key",
            HTTP2_PREFACE,
        ];
        let word = prop_oneof![
            prop::sample::select(words).prop_map(<[u8]>::to_vec),
            prop::collection::vec(any::<u8>(), 0..3),
        ];
        prop::collection::vec(word, 0..10).prop_map(|words| words.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_at_a_time_gives_the_answer_of_all_at_once(bytes in beginnings()) {
            prop_assert_eq!(one_at_a_time(&bytes).0, detect(&bytes));
        }

        #[test]
        fn an_answer_stays(bytes in beginnings(), more in beginnings()) {
            let answer = detect(&bytes);
            if answer != Detected::NeedMore {
                prop_assert_eq!(detect(&[bytes, more].concat()), answer);
            }
        }
    }
}
