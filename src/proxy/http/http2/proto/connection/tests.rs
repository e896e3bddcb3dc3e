//! What a peer may do, what it may not, and what it gets for it: frame by frame.

use std::{
    cell::Cell,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    super::{
        error::Side,
        frame::{Head, PREFACE, flag, kind, setting},
        hpack::RequestHead,
    },
    *,
};

mod client;
mod floods;
mod rules;
mod windows;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn clock() -> Instant {
    NOW.get().unwrap_or_else(|| {
        NOW.set(Some(Instant::now()));
        clock()
    })
}

/// Lets time pass.
fn advance(time: Duration) {
    NOW.set(Some(clock() + time));
}

const MAX_HEADER_LIST: u32 = 64 * 1024;

fn config(role: Role) -> Config {
    Config {
        role,
        stream_window: 1 << 20,
        connection_window: 4 << 20,
        max_streams: 4,
        first_streams: 100,
        max_header_list: MAX_HEADER_LIST,
        resets: 10,
        errors: 10,
        clock,
    }
}

/// A frame as bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::head(&mut bytes, payload.len(), kind, flags, stream);
    bytes.extend_from_slice(payload);
    bytes
}

fn set(name: u16, value: u32) -> Vec<u8> {
    let setting = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(kind::SETTINGS, 0, 0, &setting)
}

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// GET for `/` of `a`.
const GET: &[u8] = b"\x82\x86\x84\x01\x01a";
/// POST for the same.
const POST: &[u8] = b"\x83\x86\x84\x01\x01a";
const END: u8 = flag::END_HEADERS | flag::END_STREAM;

/// A frame that was written: its kind, its stream and its payload.
#[derive(Debug, PartialEq)]
struct Written {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection, and its peer by hand.
struct Pair(Connection);

impl Pair {
    /// A server that was greeted.
    fn server() -> Self {
        let mut pair = Self(Connection::new(config(Role::Server)));
        pair.bytes(PREFACE);
        pair.frame(kind::SETTINGS, 0, 0, &[]);
        pair.written();
        pair
    }

    /// A client that was.
    fn client() -> Self {
        let mut pair = Self(Connection::new(config(Role::Client)));
        pair.0.out.advance(PREFACE.len());
        pair.frame(kind::SETTINGS, 0, 0, &[]);
        pair.written();
        pair
    }

    fn bytes(&mut self, bytes: &[u8]) {
        assert_eq!(self.0.receive(bytes), bytes.len());
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.bytes(&frame(kind, flags, stream, payload));
    }

    /// What there is to write is written.
    fn written(&mut self) -> Vec<Written> {
        let bytes = self.0.pending().to_vec();
        self.0.wrote(bytes.len());
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let Some(head) = Head::read(rest) {
            let (payload, after) = rest[frame::HEAD..].split_at(head.length);
            rest = after;
            frames.push(Written {
                kind: head.kind,
                flags: head.flags,
                stream: head.stream,
                payload: payload.to_vec(),
            });
        }
        assert!(rest.is_empty(), "half a frame");
        frames
    }

    /// The next request.
    fn accepted(&mut self) -> Accepted {
        self.0.accept().expect("a request")
    }

    /// The connection was ended for this.
    fn assert_failed(&mut self, reason: Reason) {
        let last = self.written().pop().expect("a frame");
        assert_eq!(
            (last.kind, &last.payload[4..]),
            (kind::GOAWAY, &number(reason.0)[..])
        );
        assert!(self.0.has_failed());
    }

    /// The stream was reset for this, and nothing else.
    fn assert_reset(&mut self, stream: u32, reason: Reason) {
        let reset = Written {
            kind: kind::RST_STREAM,
            flags: 0,
            stream,
            payload: number(reason.0).to_vec(),
        };
        assert_eq!(self.written(), [reset]);
        assert!(!self.0.has_failed());
    }

    fn read(&mut self, key: Key) -> Poll<Option<Result<Bytes, Error>>> {
        self.0.poll_data(key, &waits())
    }

    /// Sends, and says how much of it is left.
    fn send(&mut self, key: Key, data: &'static [u8], ends: bool) -> usize {
        let mut data = Bytes::from_static(data);
        let sent = self.0.poll_send(key, &waits(), &mut data, ends);
        assert_eq!(sent.is_pending(), !data.is_empty());
        data.len()
    }

    fn request(&mut self, method: &Method, ends: bool) -> Key {
        let head = RequestHead {
            method,
            scheme: "http",
            authority: "a",
            path: "/",
        };
        let opened = self.0.request(&head, std::iter::empty(), ends);
        opened.expect("a stream")
    }
}

use http::Method;

fn waits() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// How the error of a stream is called.
fn reset(side: Side, reason: Reason) -> impl Fn(&Error) -> bool {
    move |error| matches!(error, Error::Reset { reason: r, side: s } if (*r, *s) == (reason, side))
}
