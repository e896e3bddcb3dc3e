use std::{
    task::{Context, Poll, Waker},
    time::Instant,
};

use http::{HeaderMap, Method, StatusCode, header::HOST, request::Parts, uri::Authority};

use crate::proxy::{
    head::{Http2Target, validate},
    http::http2::proto::{Config, Connection, Error, Key, RequestHead, Role},
};

/// What came, and how it ended.
#[derive(Debug, PartialEq)]
struct Heard {
    requests: Vec<(Method, String, HeaderMap)>,
    answers: Vec<StatusCode>,
    bodies: Vec<(Vec<u8>, Option<HeaderMap>)>,
    failed: Option<String>,
}

/// Bytes of a connection, after the preface and settings, as a server and as a client reads them.
/// The first byte says which, and in what pieces they come. The same comes of them however they are
/// cut; what is written is frames, and not many times what came; and a request that goes on is read
/// by the next proxy as it was here.
pub fn http2(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let role = match first & 1 {
        0 => Role::Server,
        _ => Role::Client,
    };
    let step = 1 + usize::from(first >> 1);
    let whole = hear(role, bytes, bytes.len().max(1));
    let cut = hear(role, bytes, step);
    assert_eq!(whole, cut);
}

fn config(role: Role, max_header_list: u32) -> Config {
    Config {
        role,
        stream_window: 1 << 20,
        connection_window: 4 << 20,
        max_streams: 8,
        first_streams: 8,
        max_header_list,
        resets: 16,
        errors: 16,
        clock: Instant::now,
    }
}

/// Without errors of the connection there are no more streams than this that a client opens.
const STREAMS: usize = 3;
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fn begin(role: Role, max_header_list: u32) -> Connection {
    let mut connection = Connection::new(config(role, max_header_list));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let greeting = match role {
        Role::Server => [&preface[..], SETTINGS].concat(),
        Role::Client => SETTINGS.to_vec(),
    };
    assert_eq!(connection.receive(&greeting), greeting.len());
    if role == Role::Client {
        assert!(connection.pending().starts_with(preface));
        connection.wrote(preface.len());
    }
    connection
}

fn hear(role: Role, bytes: &[u8], step: usize) -> Heard {
    let mut connection = begin(role, 4096);
    let mut heard = Heard {
        requests: Vec::new(),
        answers: Vec::new(),
        bodies: Vec::new(),
        failed: None,
    };
    let mut keys = Vec::new();
    if role == Role::Client {
        keys.extend((0..STREAMS).map(|_| open(&mut connection)));
    }
    let mut kept = Vec::new();
    for piece in bytes.chunks(step) {
        kept.extend_from_slice(piece);
        let taken = connection.receive(&kept);
        kept.drain(..taken);
    }
    while let Some(accepted) = connection.accept() {
        keys.push(accepted.key);
        passes_on(&accepted.head);
        let head = accepted.head;
        heard
            .requests
            .push((head.method, head.uri.to_string(), head.headers));
    }
    assert!(keys.len() <= 8, "{} streams at a time", keys.len());
    for key in keys {
        while let Poll::Ready(Ok((status, _))) = connection.poll_answer(key, &waits()) {
            // Of the interim ones the other reader says nothing.
            if !status.is_informational() {
                heard.answers.push(status);
            }
        }
        heard.bodies.push(read(&mut connection, key));
        connection.drop_reader(key);
        connection.drop_writer(key);
    }
    assert!(!connection.is_busy());
    let failed = connection.outcome().err();
    heard.failed = failed.as_ref().map(Error::to_string);
    check_written(connection.pending(), bytes.len());
    heard
}

fn open(connection: &mut Connection) -> Key {
    let head = RequestHead {
        method: &Method::GET,
        scheme: "http",
        authority: "a",
        path: "/",
    };
    let opened = connection.request(&head, std::iter::empty(), true);
    opened.expect("a new connection")
}

fn waits() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn read(connection: &mut Connection, key: Key) -> (Vec<u8>, Option<HeaderMap>) {
    let mut whole = Vec::new();
    while let Poll::Ready(Some(Ok(data))) = connection.poll_data(key, &waits()) {
        assert!(!data.is_empty());
        whole.extend_from_slice(&data);
    }
    (whole, connection.take_trailers(key))
}

fn check_written(mut written: &[u8], came: usize) {
    // Of nine bytes that came no more than an answer of 17, or two of 13.
    assert!(
        written.len() <= 400 + 3 * came,
        "{} of {came}",
        written.len()
    );
    while let [l0, l1, l2, _kind, _flags, _, _, _, _, rest @ ..] = written {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
        assert!(length <= 16_384);
        written = rest.get(length..).expect("a whole frame");
    }
    assert!(written.is_empty(), "half a frame's head");
}

/// The next proxy reads the request as this one did.
fn passes_on(parts: &Parts) {
    if validate(parts).is_err() {
        return;
    }
    let default = Authority::from_static("default.test");
    let target = Http2Target::of(parts, &default);
    let mut near = begin(Role::Client, 8192);
    let head = RequestHead {
        method: &parts.method,
        scheme: "http",
        authority: target.authority,
        path: &target.path,
    };
    let fields = parts.headers.iter().filter(|(name, _)| *name != HOST);
    let length = parts.headers.contains_key("content-length");
    near.request(&head, fields, !length)
        .expect("a new connection");
    let mut far = begin(Role::Server, 8192);
    assert_eq!(far.receive(near.pending()), near.pending().len());
    let read = far.accept().expect("the same request").head;
    assert_eq!(read.method, parts.method);
    assert_eq!(
        read.uri.authority().map(Authority::as_str),
        Some(target.authority)
    );
    let path = read.uri.path_and_query().map(|path| path.as_str());
    assert_eq!(path, Some(&*target.path));
    let mut headers = parts.headers.clone();
    headers.remove(HOST);
    assert_eq!(read.headers, headers);
}
