use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use proptest::prelude::*;

use super::{head::trailers, *};
use crate::proxy::head::BadRequest;

/// Reads heads as they come, in pieces of this size.
fn first_head<T>(
    bytes: &[u8],
    size: usize,
    read: impl Fn(Bytes, &Search) -> Result<T, Error>,
) -> Option<Result<T, Error>> {
    let mut search = Search::default();
    let mut come = Vec::new();
    for piece in bytes.chunks(size) {
        come.extend_from_slice(piece);
        match search.go_on(&come) {
            Ok(Found::Head(end)) => {
                return Some(read(Bytes::copy_from_slice(&come[..end]), &search));
            }
            Ok(Found::Line | Found::Nothing) => {}
            Err(error) => return Some(Err(error)),
        }
    }
    None
}

/// The same in pieces of every size.
fn request_of(bytes: &[u8]) -> RequestHead {
    let read = |size| first_head(bytes, size, request).expect("a whole head");
    let whole = read(bytes.len()).expect("a request");
    for size in 1..bytes.len() {
        let cut = read(size).expect("a request");
        assert_eq!(
            (cut.fault, cut.length, cut.persists),
            (whole.fault, whole.length, whole.persists),
            "{size} at a time"
        );
    }
    whole
}

fn response_of(text: &str, to_head: bool) -> Result<ResponseHead, Error> {
    let read = |bytes, search: &Search| response(bytes, search, to_head);
    first_head(text.as_bytes(), text.len(), read).expect("a whole head")
}

#[test]
fn a_request_says_how_long_its_body_is() {
    let cases: [(&str, Length); 6] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Length::Empty),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Length::Empty),
        (
            "POST / HTTP/1.1\r\ncontent-LENGTH:\t 4 \r\n\r\n\n\n\n\n",
            Length::Exact(4),
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            Length::Empty,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n",
            Length::Chunked,
        ),
        (
            "GET /content-length:1 HTTP/1.1\r\nX-Content-Length: 7\r\n\r\n",
            Length::Empty,
        ),
    ];
    for (text, length) in cases {
        let head = request_of(text.as_bytes());
        assert_eq!((head.length, head.fault), (length, None), "{text:?}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_a_fault() {
    use BadRequest::*;
    let cases = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", BareLineFeed),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLineFeed),
        ("GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", Fragment),
        (
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            TwoLengths,
        ),
        (
            "POST / HTTP/1.1\r\nTRANSFER-encoding: gzip\r\nX: y\r\ncontent-length: 0\r\n\r\n",
            TwoLengths,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            SeveralLengths,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", Unreadable),
        (
            "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
            Unreadable,
        ),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Unreadable),
        (
            "POST / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n",
            Unreadable,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            TransferEncoding,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransferEncoding,
        ),
    ];
    for (text, fault) in cases {
        let head = request_of(text.as_bytes());
        assert_eq!(head.fault, Some(fault), "{text:?}");
        assert!(!head.persists, "nothing behind it is read: {text:?}");
    }
}

#[test]
fn a_connection_persists_as_its_version_and_its_peer_say() {
    let cases = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, field, persists) in cases {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n");
        let head = request_of(text.as_bytes());
        assert_eq!(head.persists, persists, "{text:?}");
        let answer = format!("HTTP/{version} 200 OK\r\n{field}Content-Length: 1\r\n\r\n");
        let head = response_of(&answer, false).expect("a response");
        assert_eq!(head.persists, persists, "{answer:?}");
    }
}

#[test]
fn what_is_no_request_is_known_by_its_first_bad_line() {
    for text in [
        "GET / HTTP/1.1\r\nno colon\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n",
        "GET / HTTP/2.0\r\n",
        "GET  / HTTP/1.1\r\n",
    ] {
        assert!(check_request(text.as_bytes()).is_err(), "{text:?}");
    }
    let begun = "GET / HTTP/1.1\r\nHost: a\r\nB";
    check_request(begun.as_bytes()).expect("a request may become of it");
}

#[test]
fn a_head_has_a_largest_size_and_a_largest_number_of_fields() {
    let read = |text: &str| first_head(text.as_bytes(), 1000, request);
    let fields = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
    assert!(matches!(read(&fields(MAX_FIELDS)), Some(Ok(_))));
    assert!(matches!(
        read(&fields(MAX_FIELDS + 1)),
        Some(Err(Error::HeadTooLarge))
    ));
    let long = |n: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(n));
    let beside = long(0).len();
    assert!(matches!(read(&long(MAX_HEAD - beside)), Some(Ok(_))));
    assert!(matches!(
        read(&long(MAX_HEAD - beside + 1)),
        Some(Err(Error::HeadTooLarge))
    ));
    let endless = "\r\n".repeat(MAX_HEAD);
    assert!(matches!(read(&endless), Some(Err(Error::HeadTooLarge))));
}

/// An empty line behind a body is none of the next head's.
#[test]
fn what_stands_before_a_head_is_forgotten_but_for_its_faults() {
    let mut search = Search::default();
    for lines in [&b"\r\n"[..], b"\n"] {
        assert_eq!(search.go_on(lines).unwrap(), Found::Nothing);
        assert!(search.skips(lines.len()));
    }
    let head = b"GET / HTTP/1.1\r\n\r\n";
    assert_eq!(search.go_on(head).unwrap(), Found::Head(head.len()));
    assert!(search.had_bare_lf());
    let mut search = Search::default();
    assert_eq!(search.go_on(b"GET").unwrap(), Found::Nothing);
    assert!(!search.skips(3));
}

#[test]
fn a_response_says_how_long_its_body_is() {
    let cases = [
        ("HTTP/1.1 200 OK", "", Length::UntilClose),
        (
            "HTTP/1.1 204 No Content",
            "Content-Length: 5\r\n",
            Length::Empty,
        ),
        (
            "HTTP/1.1 304 Not Modified",
            "Content-Length: 5\r\n",
            Length::Empty,
        ),
        ("HTTP/1.1 200 OK", "Content-Length: 5\r\n", Length::Exact(5)),
        (
            "HTTP/1.1 200 OK",
            "Content-Length: 5, 5\r\nContent-Length: 5\r\n",
            Length::Exact(5),
        ),
        (
            "HTTP/1.1 200 OK",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Length::Chunked,
        ),
        (
            "HTTP/1.1 200 OK",
            "Transfer-Encoding: gzip, Chunked\r\n",
            Length::Chunked,
        ),
        (
            "HTTP/1.1 200 OK",
            "Transfer-Encoding: chunked, gzip\r\n",
            Length::UntilClose,
        ),
    ];
    for (line, fields, length) in cases {
        let head = response_of(&format!("{line}\r\n{fields}\r\n"), false).expect("a response");
        assert_eq!(head.length, length, "{line} {fields:?}");
        let lengths = head.parts.headers.get_all(header::CONTENT_LENGTH);
        assert!(lengths.iter().count() <= 1, "{line} {fields:?}");
        let head = response_of(&format!("{line}\r\n{fields}\r\n"), true).expect("a response");
        assert_eq!(head.length, Length::Empty, "HEAD: {line} {fields:?}");
    }
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/3 200 OK\r\n\r\n",
    ] {
        assert!(response_of(text, false).is_err(), "{text:?}");
    }
}

/// What a body is in the bytes of a connection, and what is left of them.
fn decode(length: Length, bytes: &[u8], size: usize) -> Result<Decoded, Error> {
    let mut decoder = Decoder::new(length);
    let mut read = BytesMut::new();
    let mut decoded = Decoded::default();
    let mut pieces = bytes.chunks(size);
    while !decoder.is_done() {
        match decoder.next(&mut read)? {
            Piece::Data(data) => decoded.data.extend_from_slice(&data),
            Piece::Trailers(trailers) => decoded.trailers = trailers,
            Piece::End => {}
            Piece::Missing => match pieces.next() {
                Some(piece) => read.extend_from_slice(piece),
                None => decoder.close()?,
            },
        }
    }
    decoded.left = read.to_vec();
    decoded.left.extend(pieces.flatten());
    Ok(decoded)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    trailers: HeaderMap,
    left: Vec<u8>,
}

#[test]
fn chunks_are_read_however_they_come() {
    let zeros = "0".repeat(70);
    let texts = [
        "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n".to_owned(),
        "2;a=b\r\nab\r\n1 ;\"c\"\r\nc\r\n000\r\n\r\n".to_owned(),
        format!("{zeros}3;{zeros}\r\nabc\r\n{zeros}\r\n\r\n"),
        "3\r\nabc\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n".to_owned(),
    ];
    for text in texts {
        let text = text + "GET ";
        for size in 1..text.len() {
            let decoded = decode(Length::Chunked, text.as_bytes(), size).expect("chunks");
            assert_eq!(decoded.data, b"abc", "{text:?}, {size} at a time");
            assert_eq!(decoded.left, b"GET ", "{text:?}, {size} at a time");
            let sum = decoded.trailers.get("x-sum").map(HeaderValue::as_bytes);
            assert_eq!(sum, text.contains("X-Sum").then_some(&b"1"[..]));
        }
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    for text in [
        "",
        ";a\r\n",
        " 5\r\nabcde\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "1 a\r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1;\r\r\na\r\n0\r\n\r\n",
        "1\r\r\na\r\n0\r\n\r\n",
        "1\r;a\r\na\r\n0\r\n\r\n",
        "1\x0c\r\na\r\n0\r\n\r\n",
        "0\r\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r\n0\r\n\n",
        "1\r\na\r\n0\r\nA: b\nC: d\r\n\r\n",
        "1\r\na\r\n0\r\nA b\r\n\r\n",
        "1\r\na\r\n0\r\n",
        "5\r\nabc",
    ] {
        for size in 1..=text.len().max(1) {
            let decoded = decode(Length::Chunked, text.as_bytes(), size);
            assert!(decoded.is_err(), "{text:?}, {size} at a time: {decoded:?}");
        }
    }
}

#[test]
fn what_stands_beside_the_sizes_of_chunks_is_bounded() {
    let line = format!("1;{}\r\na\r\n", "x".repeat(4000));
    let few = line.repeat(4) + "0\r\n\r\n";
    assert!(decode(Length::Chunked, few.as_bytes(), 100).is_ok());
    let many = line.repeat(5) + "0\r\n\r\n";
    assert!(decode(Length::Chunked, many.as_bytes(), 100).is_err());
    let long = format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(5000));
    assert!(decode(Length::Chunked, long.as_bytes(), 100).is_err());
}

#[test]
fn a_body_that_ends_with_its_connection_is_all_there_is() {
    let decoded = decode(Length::UntilClose, b"abc", 1).expect("a body");
    assert_eq!(decoded.data, b"abc");
    let cut = decode(Length::Exact(4), b"abc", 1);
    assert!(matches!(cut, Err(Error::Incomplete)));
}

fn written(out: &mut Output) -> Vec<u8> {
    let mut all = Vec::new();
    while !out.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); SLICES];
        let filled = out.slices(&mut slices);
        // Not at the borders of the parts.
        let n = slices[0].len().div_ceil(2).max(1);
        all.extend(slices[..filled].iter().flat_map(|it| it.iter()).take(n));
        out.advance(n);
    }
    all
}

#[test]
fn a_head_is_written_as_its_names_were_spelled() {
    let text = "HTTP/1.1 200 Fine with me\r\nX-ONE: 1\r\nx-Two: 2\r\nX-one: 3\r\n\r\n";
    let mut head = response_of(text, false).expect("a response");
    let three = HeaderValue::from_static("3");
    head.parts.headers.insert("x-three", three);
    let mut out = Output::default();
    let line = Line::Response {
        status: head.parts.status,
        version: Version::HTTP_11,
    };
    let mut fields = Fields {
        headers: &head.parts.headers,
        without: &[],
        with: None,
        spelling: Some(&head.spelling),
    };
    fields.write(&line, &Encoder::None(None), &mut out);
    let expected =
        "HTTP/1.1 200 Fine with me\r\nX-ONE: 1\r\nX-one: 3\r\nx-Two: 2\r\nx-three: 3\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&written(&mut out)), expected);

    // Another status has another phrase.
    let line = Line::Response {
        status: StatusCode::NOT_FOUND,
        version: Version::HTTP_10,
    };
    let without = [HeaderName::from_static("x-one")];
    fields.without = &without;
    fields.write(&line, &Encoder::None(None), &mut out);
    let expected = "HTTP/1.0 404 Not Found\r\nx-Two: 2\r\nx-three: 3\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&written(&mut out)), expected);
}

#[test]
fn a_body_is_held_to_its_length() {
    let mut out = Output::default();
    let data = |text: &'static str| Bytes::from_static(text.as_bytes());
    let mut encoder = Encoder::Exact(3);
    encoder.data(data("ab"), &mut out).expect("it fits");
    assert!(encoder.end(None, &mut out).is_err(), "one is missing");
    assert!(encoder.data(data("cd"), &mut out).is_err(), "one too many");
    assert_eq!(written(&mut out), b"ab");
}

/// In HTTP/2 they would break the stream, and a breaker would hold that against the upstream.
#[test]
fn trailers_are_read_without_what_a_head_decides() {
    let text =
        b"Connection: x\r\nX-Sum: 1\r\nouTrigger-reason: y\r\nTE: gzip\r\nUpgrade: z\r\n\r\n";
    let read = trailers(&Bytes::from_static(text)).expect("trailers");
    assert_eq!(
        read.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
        ["x-sum"]
    );
}

#[test]
fn cookies_are_one_line_where_they_began() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("a", "1"), ("cookie", "b=2"), ("c", "3"), ("cookie", "d=4")] {
        let name = HeaderName::from_static(name);
        headers.append(name, HeaderValue::from_static(value));
    }
    let line = Line::Request {
        method: "GET",
        target: "/",
        version: Version::HTTP_11,
    };
    let mut out = Output::default();
    let fields = Fields {
        headers: &headers,
        without: &[],
        with: None,
        spelling: None,
    };
    fields.write(&line, &Encoder::None(None), &mut out);
    let expected = "GET / HTTP/1.1\r\na: 1\r\ncookie: b=2; d=4\r\nc: 3\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&written(&mut out)), expected);
}

#[test]
fn a_length_is_said_once_where_it_stood_and_as_it_was_understood() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-length", "05"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("a", "1"),
    ] {
        let name = HeaderName::from_static(name);
        headers.append(name, HeaderValue::from_static(value));
    }
    let line = Line::Response {
        status: StatusCode::OK,
        version: Version::HTTP_11,
    };
    let fields = Fields {
        headers: &headers,
        without: &[],
        with: Some((&header::CONNECTION, b"close")),
        spelling: None,
    };
    for (encoder, before, behind) in [
        (Encoder::Exact(5), "content-length: 5\r\n", ""),
        (Encoder::None(Some(0)), "content-length: 0\r\n", ""),
        (Encoder::None(None), "", ""),
        (Encoder::UntilClose, "", ""),
        (Encoder::Chunked, "", "transfer-encoding: chunked\r\n"),
    ] {
        let mut out = Output::default();
        fields.write(&line, &encoder, &mut out);
        let expected =
            format!("HTTP/1.1 200 OK\r\n{before}a: 1\r\n{behind}connection: close\r\n\r\n");
        assert_eq!(String::from_utf8_lossy(&written(&mut out)), expected);
    }
}

#[test]
fn what_a_head_decides_stays_out_of_trailers() {
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "content-length", "transfer-encoding", "host"] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let mut out = Output::default();
    Encoder::Chunked
        .end(Some(&trailers), &mut out)
        .expect("nothing is missing");
    assert_eq!(written(&mut out), b"0\r\nx-sum: 1\r\n\r\n");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        parts in prop::collection::vec(0usize..20_000, 0..8),
        trailer in any::<bool>(),
        size in 1usize..9000,
        exact in any::<bool>(),
    ) {
        let mut out = Output::default();
        let body: Vec<Bytes> = parts.iter().map(|n| vec![b'x'; *n].into()).collect();
        let whole = body.concat();
        let (mut encoder, length) = match exact {
            true if whole.is_empty() => (Encoder::Exact(0), Length::Empty),
            true => {
                let length = whole.len() as u64;
                (Encoder::Exact(length), Length::Exact(length))
            }
            false => (Encoder::Chunked, Length::Chunked),
        };
        for part in body {
            encoder.data(part, &mut out).unwrap();
        }
        let mut trailers = HeaderMap::new();
        if trailer && !exact {
            trailers.insert("x-sum", HeaderValue::from_static("1"));
        }
        encoder.end(Some(&trailers), &mut out).unwrap();
        let sent = written(&mut out);
        let decoded = decode(length, &sent, size).unwrap();
        prop_assert_eq!(decoded, Decoded { data: whole, trailers, left: Vec::new() });
    }

    #[test]
    fn no_bytes_are_a_danger(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
        let _ = first_head(&bytes, size, request);
        let _ = first_head(&bytes, size, |bytes, search| response(bytes, search, false));
        let _ = decode(Length::Chunked, &bytes, size);
        let _ = trailers(&Bytes::from(bytes));
    }
}

#[test]
fn a_method_may_be_any_token() {
    let head = request_of(b"A#B /a HTTP/1.1\r\nX: #\r\n\r\n");
    assert_eq!(head.parts.method, Method::from_bytes(b"A#B").unwrap());
    assert_eq!(head.fault, None);
}
