//! A server, and what RFC 9113 says.

use super::*;

#[test]
fn a_request_comes_with_its_body_and_trailers_and_is_answered() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
    let Accepted { key, head } = pair.accepted();
    assert_eq!(
        (head.method, head.uri.to_string()),
        (Method::POST, "http://a/".to_owned())
    );
    assert!(pair.read(key).is_pending());
    pair.frame(kind::DATA, flag::PADDED, 1, b"\x02abc\0\0");
    pair.frame(kind::HEADERS, END, 1, b"\x00\x01x\x01y");
    assert!(matches!(pair.read(key), Poll::Ready(Some(Ok(data))) if data == "abc"));
    assert!(!pair.0.is_read(key));
    assert!(matches!(pair.read(key), Poll::Ready(None)));
    assert_eq!(pair.0.take_trailers(key).expect("trailers")["x"], "y");
    assert!(pair.0.is_read(key));
    pair.0
        .respond(key, StatusCode::OK, &HeaderMap::new(), false)
        .unwrap();
    assert_eq!(pair.send(key, b"hello", true), 0);
    let written: Vec<_> = pair
        .written()
        .into_iter()
        .map(|f| (f.kind, f.flags, f.payload))
        .collect();
    let expected = [
        (kind::HEADERS, flag::END_HEADERS, b"\x88".to_vec()),
        (kind::DATA, flag::END_STREAM, b"hello".to_vec()),
    ];
    assert_eq!(written, expected);
    pair.0.drop_reader(key);
    pair.0.drop_writer(key);
    assert!(!pair.0.is_busy() && pair.written().is_empty());
}

#[test]
fn interim_answers_come_before_the_answer_or_not_at_all() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, POST);
    let key = pair.accepted().key;
    let hints = |pair: &mut Pair| {
        pair.0
            .inform(key, StatusCode::EARLY_HINTS, &HeaderMap::new());
        pair.written().len()
    };
    assert_eq!(hints(&mut pair), 1);
    assert_eq!(hints(&mut pair), 1);
    pair.0
        .respond(key, StatusCode::OK, &HeaderMap::new(), false)
        .unwrap();
    assert_eq!(pair.written()[0].payload, b"\x88");
    assert_eq!(hints(&mut pair), 0);
    pair.frame(kind::RST_STREAM, 0, 1, &number(Reason::CANCEL.0));
    assert_eq!(hints(&mut pair), 0);
}

#[test]
fn bytes_may_be_cut_anywhere() {
    let mut whole = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat();
    whole.extend(frame(kind::HEADERS, 0, 1, &POST[..3]));
    whole.extend(frame(kind::CONTINUATION, flag::END_HEADERS, 1, &POST[3..]));
    whole.extend(frame(kind::DATA, flag::END_STREAM, 1, b"abc"));
    for step in 1..40 {
        let mut connection = Connection::new(config(Role::Server));
        let mut kept = Vec::new();
        for piece in whole.chunks(step) {
            kept.extend_from_slice(piece);
            let taken = connection.receive(&kept);
            kept.drain(..taken);
        }
        assert!(kept.is_empty());
        let key = connection.accept().expect("a request").key;
        let data = connection.poll_data(key, &waits());
        assert!(matches!(data, Poll::Ready(Some(Ok(data))) if data == "abc"));
    }
}

/// Each alone, on a stream 1 that is open and a stream 3 that is not.
#[test]
fn what_breaks_a_rule_of_the_connection_ends_it() {
    use Reason as R;
    let large = [0; MAX_WINDOW_UPDATE.len()];
    let cases: &[(&str, R, Vec<u8>)] = &[
        (
            "DATA on an idle stream",
            R::PROTOCOL_ERROR,
            frame(kind::DATA, 0, 3, b"a"),
        ),
        (
            "DATA on no stream",
            R::PROTOCOL_ERROR,
            frame(kind::DATA, 0, 0, b"a"),
        ),
        (
            "more padding than data",
            R::PROTOCOL_ERROR,
            frame(kind::DATA, flag::PADDED, 1, b"\x05a"),
        ),
        (
            "HEADERS on no stream",
            R::PROTOCOL_ERROR,
            frame(kind::HEADERS, END, 0, GET),
        ),
        (
            "HEADERS on a stream of ours",
            R::PROTOCOL_ERROR,
            frame(kind::HEADERS, END, 2, GET),
        ),
        (
            "no block",
            R::COMPRESSION_ERROR,
            frame(kind::HEADERS, END, 3, b"\x80"),
        ),
        (
            "a CONTINUATION of nothing",
            R::PROTOCOL_ERROR,
            frame(kind::CONTINUATION, 4, 1, b""),
        ),
        (
            "RST_STREAM on an idle one",
            R::PROTOCOL_ERROR,
            frame(kind::RST_STREAM, 0, 3, &[0; 4]),
        ),
        (
            "RST_STREAM of 3 bytes",
            R::FRAME_SIZE_ERROR,
            frame(kind::RST_STREAM, 0, 1, &[0; 3]),
        ),
        (
            "SETTINGS on a stream",
            R::PROTOCOL_ERROR,
            frame(kind::SETTINGS, 0, 1, &[]),
        ),
        (
            "SETTINGS of 5 bytes",
            R::FRAME_SIZE_ERROR,
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
        ),
        (
            "an ACK with settings",
            R::FRAME_SIZE_ERROR,
            frame(kind::SETTINGS, 1, 0, &[0; 6]),
        ),
        (
            "a push allowed twice",
            R::PROTOCOL_ERROR,
            set(setting::ENABLE_PUSH, 2),
        ),
        (
            "a window of 2^31",
            R::FLOW_CONTROL_ERROR,
            set(setting::INITIAL_WINDOW_SIZE, 1 << 31),
        ),
        (
            "frames of 16383",
            R::PROTOCOL_ERROR,
            set(setting::MAX_FRAME_SIZE, 16_383),
        ),
        (
            "frames of 2^24",
            R::PROTOCOL_ERROR,
            set(setting::MAX_FRAME_SIZE, 1 << 24),
        ),
        (
            "a promise",
            R::PROTOCOL_ERROR,
            frame(kind::PUSH_PROMISE, 4, 1, b"\0\0\0\x02"),
        ),
        (
            "PING of 7 bytes",
            R::FRAME_SIZE_ERROR,
            frame(kind::PING, 0, 0, &[0; 7]),
        ),
        (
            "PING on a stream",
            R::PROTOCOL_ERROR,
            frame(kind::PING, 0, 1, &[0; 8]),
        ),
        (
            "GOAWAY on a stream",
            R::PROTOCOL_ERROR,
            frame(kind::GOAWAY, 0, 1, &[0; 8]),
        ),
        (
            "GOAWAY of 7 bytes",
            R::FRAME_SIZE_ERROR,
            frame(kind::GOAWAY, 0, 0, &[0; 7]),
        ),
        (
            "an increment of 0",
            R::PROTOCOL_ERROR,
            frame(kind::WINDOW_UPDATE, 0, 0, &large),
        ),
        (
            "a window too large",
            R::FLOW_CONTROL_ERROR,
            frame(kind::WINDOW_UPDATE, 0, 0, MAX_WINDOW_UPDATE),
        ),
        (
            "one of an idle stream",
            R::PROTOCOL_ERROR,
            frame(kind::WINDOW_UPDATE, 0, 3, MAX_WINDOW_UPDATE),
        ),
        (
            "a priority of no stream",
            R::PROTOCOL_ERROR,
            frame(kind::PRIORITY, 0, 0, &[0; 5]),
        ),
        (
            "a frame of 16385",
            R::FRAME_SIZE_ERROR,
            vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1],
        ),
    ];
    for (what, reason, bytes) in cases {
        let mut pair = Pair::server();
        pair.frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
        let key = pair.accepted().key;
        pair.0.receive(bytes);
        eprintln!("{what}");
        pair.assert_failed(*reason);
        let error = pair.0.poll_reset(key, &waits());
        assert!(matches!(
            error,
            Poll::Ready(Error::GoAway {
                side: Side::Ours,
                ..
            })
        ));
    }
}

const MAX_WINDOW_UPDATE: &[u8] = &[0x7f, 0xff, 0xff, 0xff];

#[test]
fn what_breaks_a_rule_of_a_stream_ends_that_one() {
    use Reason as R;
    let length = b"\x83\x86\x84\x01\x01a\x0f\x0d\x012";
    let cases: &[(&str, R, &[Vec<u8>])] = &[
        (
            "an increment of 0",
            R::PROTOCOL_ERROR,
            &[frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])],
        ),
        (
            "a window too large",
            R::FLOW_CONTROL_ERROR,
            &[frame(kind::WINDOW_UPDATE, 0, 1, MAX_WINDOW_UPDATE)],
        ),
        (
            "trailers before the end",
            R::PROTOCOL_ERROR,
            &[frame(
                kind::HEADERS,
                flag::END_HEADERS,
                1,
                b"\x00\x01x\x01y",
            )],
        ),
        (
            "pseudo-headers in trailers",
            R::PROTOCOL_ERROR,
            &[frame(kind::HEADERS, END, 1, GET)],
        ),
        (
            "more data than was said",
            R::PROTOCOL_ERROR,
            &[frame(kind::DATA, 0, 1, b"abc")],
        ),
        (
            "less",
            R::PROTOCOL_ERROR,
            &[frame(kind::DATA, flag::END_STREAM, 1, b"a")],
        ),
        (
            "none",
            R::PROTOCOL_ERROR,
            &[frame(kind::HEADERS, END, 1, b"\x00\x01x\x01y")],
        ),
        (
            "data after the end",
            R::STREAM_CLOSED,
            &[
                frame(kind::DATA, flag::END_STREAM, 1, b"ab"),
                frame(kind::DATA, 0, 1, b"c"),
            ],
        ),
        (
            "a head after the end",
            R::STREAM_CLOSED,
            &[
                frame(kind::DATA, flag::END_STREAM, 1, b"ab"),
                frame(kind::HEADERS, END, 1, GET),
            ],
        ),
        (
            "a priority of itself",
            R::PROTOCOL_ERROR,
            &[frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0])],
        ),
        (
            "a priority of 4 bytes",
            R::FRAME_SIZE_ERROR,
            &[frame(kind::PRIORITY, 0, 1, &[0; 4])],
        ),
    ];
    for (what, reason, frames) in cases {
        let mut pair = Pair::server();
        pair.frame(kind::HEADERS, flag::END_HEADERS, 1, length);
        let key = pair.accepted().key;
        frames.iter().for_each(|frame| pair.bytes(frame));
        eprintln!("{what}");
        pair.assert_reset(1, *reason);
        let error = pair.0.poll_reset(key, &waits());
        assert!(matches!(error, Poll::Ready(error) if reset(Side::Ours, *reason)(&error)));
        // What was under way is ignored.
        pair.frame(kind::DATA, 0, 1, b"abc");
        pair.frame(kind::HEADERS, END, 1, GET);
        pair.frame(kind::RST_STREAM, 0, 1, &[0; 4]);
        assert_eq!(pair.written(), []);
    }
}

#[test]
fn malformed_heads_are_refused_and_the_next_is_read() {
    let cases: [&[u8]; 14] = [
        b"\x86\x84\x01\x01a",                   // no method
        b"\x82\x84\x01\x01a",                   // no scheme
        b"\x82\x86\x01\x01a",                   // no path
        b"\x82\x82\x86\x84\x01\x01a",           // two methods
        b"\x82\x86\x84\x00\x01x\x01y\x01\x01a", // a pseudo-header after a field
        b"\x82\x86\x84\x01\x01a\x88",           // a status
        b"\x82\x86\x84\x01\x01a\x00\x02:x\x00", // an unknown pseudo-header
        b"\x82\x86\x84\x01\x01a\x00\x01X\x00",  // upper case
        b"\x82\x86\x84\x01\x01a\x00\x0aconnection\x00",
        b"\x82\x86\x84\x01\x01a\x00\x02te\x04gzip",
        b"\x82\x86\x84\x01\x01a\x0f\x0d\x02+1", // a length that is no number
        b"\x82\x86\x84\x01\x01a\x0f\x0d\x011",  // a length, and no data
        b"\x82\x86\x04\x00\x01\x01a",           // an empty path
        b"\x82\x86\x84\x01\x01a\x00\x01x\x01\n", // a line break
    ];
    let mut pair = Pair::server();
    for (head, stream) in cases.into_iter().zip((1..).step_by(2)) {
        advance(Duration::from_secs(1));
        pair.frame(kind::HEADERS, END, stream, head);
        pair.assert_reset(stream, Reason::PROTOCOL_ERROR);
        assert!(pair.0.accept().is_none(), "{head:x?}");
    }
    pair.frame(kind::HEADERS, END, 99, GET);
    pair.accepted();
}

#[test]
fn a_head_that_is_too_large_is_answered() {
    let part = [b"\x00\x01x\x7f\xa1\x1e", &[b'a'; 4000][..]].concat();
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, 0, 1, GET);
    for _ in 0..5 {
        pair.frame(kind::CONTINUATION, 0, 1, &part.repeat(4));
    }
    pair.frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]);
    let kinds: Vec<_> = pair
        .written()
        .into_iter()
        .map(|f| (f.kind, f.flags))
        .collect();
    assert_eq!(kinds, [(kind::HEADERS, END), (kind::RST_STREAM, 0)]);
    assert!(pair.0.accept().is_none() && !pair.0.has_failed());
}

#[test]
fn the_end_is_told_twice_and_what_is_under_way_finishes() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, END, 1, GET);
    let key = pair.accepted().key;
    pair.0.shut_down();
    let frames = pair.written();
    assert_eq!(
        frames[0].payload,
        [number(MAX_WINDOW).as_slice(), &number(0)].concat()
    );
    // Opened before the client could know.
    pair.frame(kind::HEADERS, END, 3, GET);
    let late = pair.accepted().key;
    pair.frame(kind::PING, flag::ACK, 0, &frames[1].payload);
    assert_eq!(pair.written()[0].payload, [number(3), number(0)].concat());
    pair.frame(kind::HEADERS, END, 5, GET);
    assert!(pair.0.accept().is_none() && pair.written().is_empty());
    // What follows was under way as well, and must not end what goes on.
    pair.frame(kind::HEADERS, flag::END_HEADERS, 7, POST);
    pair.frame(kind::DATA, 0, 7, b"late");
    pair.frame(kind::WINDOW_UPDATE, 0, 7, &number(1));
    pair.frame(kind::RST_STREAM, 0, 7, &number(8));
    assert!(pair.0.accept().is_none() && pair.written().is_empty());
    for key in [key, late] {
        assert!(!pair.0.is_over());
        pair.0
            .respond(key, StatusCode::OK, &HeaderMap::new(), true)
            .unwrap();
        pair.0.drop_reader(key);
        pair.0.drop_writer(key);
    }
    assert!(pair.0.is_over() && pair.0.outcome().is_ok());
}

const MAX_WINDOW: u32 = super::super::super::flow::MAX_WINDOW;

/// A body that is cut, by whatever code, is no whole one.
#[test]
fn a_reset_without_an_error_is_no_end_of_a_body() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
    let key = pair.accepted().key;
    pair.frame(kind::DATA, 0, 1, b"half");
    pair.frame(kind::RST_STREAM, 0, 1, &number(0));
    assert!(matches!(pair.read(key), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(pair.read(key), Poll::Ready(Some(Err(_)))));
}

#[test]
fn an_answer_that_needs_no_more_stops_the_upload() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
    let key = pair.accepted().key;
    pair.0.drop_reader(key);
    pair.0
        .respond(key, StatusCode::OK, &HeaderMap::new(), true)
        .unwrap();
    let kinds: Vec<_> = pair
        .written()
        .into_iter()
        .map(|f| (f.kind, f.payload))
        .collect();
    assert_eq!(kinds[1], (kind::RST_STREAM, number(0).to_vec()));
}

#[test]
fn a_preface_and_settings_come_first() {
    let mut connection = Connection::new(config(Role::Server));
    connection.receive(b"GET / HTTP/1.1\r\n");
    assert!(connection.has_failed());
    let mut pair = Pair(Connection::new(config(Role::Server)));
    pair.bytes(PREFACE);
    pair.written();
    pair.frame(kind::PING, 0, 0, &[0; 8]);
    pair.assert_failed(Reason::PROTOCOL_ERROR);
}
