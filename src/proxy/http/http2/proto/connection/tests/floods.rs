//! Peers that want to keep a server busy: each is sent away, and what it costs is bounded.

use super::*;

#[test]
fn requests_taken_back_at_once_are_counted_by_the_second() {
    let mut pair = Pair::server();
    let cancel = |pair: &mut Pair, stream| {
        pair.frame(kind::HEADERS, END, stream, GET);
        pair.frame(kind::RST_STREAM, 0, stream, &number(Reason::CANCEL.0));
        assert!(pair.0.accept().is_none(), "nobody begins with it");
        assert!(!pair.0.is_busy());
    };
    for stream in (1..=19).step_by(2) {
        cancel(&mut pair, stream);
    }
    advance(Duration::from_secs(1));
    for stream in (21..=39).step_by(2) {
        cancel(&mut pair, stream);
    }
    assert!(!pair.0.has_failed());
    cancel(&mut pair, 41);
    pair.assert_failed(Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn resets_of_what_was_answered_are_not() {
    let mut pair = Pair::server();
    for stream in (1..100).step_by(2) {
        pair.frame(kind::HEADERS, END, stream, GET);
        let key = pair.accepted().key;
        pair.0
            .respond(key, StatusCode::OK, &HeaderMap::new(), false)
            .unwrap();
        pair.frame(kind::RST_STREAM, 0, stream, &number(Reason::CANCEL.0));
        pair.0.drop_reader(key);
        pair.0.drop_writer(key);
    }
    assert!(!pair.0.has_failed());
}

#[test]
fn provoked_resets_are_counted_each_second() {
    let mut pair = Pair::server();
    for stream in (1..=61).step_by(2) {
        assert!(!pair.0.has_failed());
        // A connection may live for months, and each error would bring its end nearer.
        if stream % 20 == 1 && stream < 60 {
            advance(Duration::from_secs(1));
        }
        pair.frame(kind::HEADERS, flag::END_HEADERS, stream, POST);
        pair.frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4]);
        assert!(pair.0.accept().is_none());
    }
    pair.assert_failed(Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut pair = Pair::server();
    for stream in [1, 3, 5, 7] {
        pair.frame(kind::HEADERS, END, stream, GET);
    }
    pair.frame(kind::HEADERS, END, 9, GET);
    pair.assert_reset(9, Reason::REFUSED_STREAM);
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    for flood in [
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(kind::SETTINGS, 0, 0, &[]),
    ] {
        let mut pair = Pair::server();
        let mut most = 0;
        for _ in 0..=MAX_ANSWERS {
            assert!(!pair.0.has_failed());
            pair.bytes(&flood);
            most = pair.0.pending().len();
        }
        assert!(pair.0.has_failed() && most < 200_000, "{most} bytes");
        let mut reading = Pair::server();
        for _ in 0..=MAX_ANSWERS {
            reading.bytes(&flood);
            reading.written();
        }
        assert!(!reading.0.has_failed(), "who reads them may ask");
    }
}

#[test]
fn empty_frames_have_an_end() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
    for _ in 0..MAX_EMPTY {
        pair.frame(kind::DATA, 0, 1, &[]);
    }
    pair.frame(kind::DATA, 0, 1, b"a");
    for _ in 0..MAX_EMPTY {
        pair.frame(kind::DATA, 0, 1, &[]);
    }
    assert!(!pair.0.has_failed());
    pair.frame(kind::DATA, 0, 1, &[]);
    pair.assert_failed(Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn a_head_without_an_end_is_cut() {
    for part in [&[][..], &[0; 16_384]] {
        let mut pair = Pair::server();
        pair.frame(kind::HEADERS, 0, 1, GET);
        let mut parts = 0;
        while !pair.0.has_failed() {
            pair.frame(kind::CONTINUATION, 0, 1, part);
            parts += 1;
        }
        assert!(parts < 20, "{parts} frames");
        pair.assert_failed(Reason::ENHANCE_YOUR_CALM);
    }
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, 0, 1, GET);
    pair.frame(kind::PING, 0, 0, &[0; 8]);
    pair.assert_failed(Reason::PROTOCOL_ERROR);
}

#[test]
fn a_block_that_unfolds_to_very_much_is_no_more_read() {
    let mut pair = Pair::server();
    let entry = [b"\x40\x01x\x7f\xa1\x1e", &[b'a'; 4000][..]].concat();
    let block = [GET, &entry, &[0xbe; 10_000]].concat();
    pair.frame(kind::HEADERS, END, 1, &block);
    pair.assert_failed(Reason::ENHANCE_YOUR_CALM);
}

/// A byte of the window must not cost more than a few of memory.
#[test]
fn small_frames_are_put_together() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
    let key = pair.accepted().key;
    for _ in 0..10_000 {
        pair.frame(kind::DATA, 0, 1, b"a");
    }
    let (mut pieces, mut bytes) = (0, 0);
    while let Poll::Ready(Some(Ok(data))) = pair.read(key) {
        pieces += 1;
        bytes += data.len();
    }
    assert_eq!((pieces, bytes), (3, 10_000));
}

#[test]
fn what_means_nothing_costs_nothing() {
    let mut pair = Pair::server();
    for stream in 1..1000 {
        pair.frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 1]);
        pair.frame(0xfa, 0xff, stream, b"unknown");
        pair.frame(kind::WINDOW_UPDATE, 0, 0, &number(1));
        pair.frame(kind::PING, flag::ACK, 0, b"not ours");
    }
    assert_eq!(pair.written(), []);
    assert!(!pair.0.has_failed());
}

/// The places of many streams that were open once are given back.
#[test]
fn a_quiet_connection_holds_little() {
    let mut config = config(Role::Server);
    config.max_streams = 1000;
    let mut pair = Pair(Connection::new(config));
    pair.bytes(PREFACE);
    pair.frame(kind::SETTINGS, 0, 0, &[]);
    let streams = || (1..2000).step_by(2);
    for stream in streams() {
        pair.frame(kind::HEADERS, END, stream, GET);
    }
    for _ in streams() {
        let key = pair.accepted().key;
        pair.0
            .respond(key, StatusCode::OK, &HeaderMap::new(), true)
            .unwrap();
        pair.0.drop_reader(key);
        pair.0.drop_writer(key);
    }
    pair.written();
    assert_eq!(pair.0.streams.places(), 0);
    assert_eq!(pair.0.out.kept(), 0);
}
