//! Windows, and whose turn it is.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use super::*;

#[test]
fn windows_are_given_back_by_halves_and_what_nobody_reads_at_once() {
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
    let key = pair.accepted().key;
    let data = [0; 16_384];
    for _ in 0..32 {
        assert_eq!(pair.written(), []);
        pair.frame(kind::DATA, 0, 1, &data);
        assert!(pair.read(key).is_ready());
    }
    let half = Written {
        kind: kind::WINDOW_UPDATE,
        flags: 0,
        stream: 1,
        payload: number(1 << 19).to_vec(),
    };
    assert_eq!(pair.written(), [half]);
    pair.0.drop_reader(key);
    // The stream's window stays closed; the connection's belongs to others too.
    for _ in 0..64 {
        pair.frame(kind::DATA, 0, 1, &data);
    }
    assert_eq!(pair.written(), []);
    pair.frame(kind::HEADERS, flag::END_HEADERS, 3, POST);
    let other = pair.accepted().key;
    pair.0.drop_reader(other);
    for _ in 0..32 {
        pair.frame(kind::DATA, 0, 3, &data);
    }
    let open: Vec<_> = pair.written().into_iter().map(|f| f.stream).collect();
    assert_eq!(open, [0]);
    pair.frame(kind::DATA, 0, 1, &data);
    pair.assert_reset(1, Reason::FLOW_CONTROL_ERROR);
}

/// Half of the connection's window may never be read: that must not hold up who reads.
#[test]
fn readers_that_stall_do_not_keep_the_window_from_who_reads() {
    let mut pair = Pair::server();
    let data = [0; 16_384];
    for stream in [1, 3, 5] {
        pair.frame(kind::HEADERS, flag::END_HEADERS, stream, POST);
        pair.accepted();
        for _ in 0..64 {
            pair.frame(kind::DATA, 0, stream, &data);
        }
    }
    pair.frame(kind::HEADERS, flag::END_HEADERS, 7, POST);
    let key = pair.accepted().key;
    for _ in 0..256 {
        pair.frame(kind::DATA, 0, 7, &data);
        assert!(pair.read(key).is_ready());
    }
    assert!(!pair.0.has_failed());
}

/// The task that waits has the connection: neither would ever go.
#[test]
fn an_answer_that_waits_for_room_hears_of_the_connections_end() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let mut pair = Pair::server();
    pair.frame(kind::HEADERS, END, 1, GET);
    let key = pair.accepted().key;
    while pair.0.poll_head_room(key, &waits()).is_ready() {
        pair.0.out.buffer().extend_from_slice(&[0; 16_384]);
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let context = Context::from_waker(&waker);
    assert!(pair.0.poll_head_room(key, &context).is_pending());
    pair.0.lose(io::ErrorKind::ConnectionReset.into());
    assert!(woken.0.load(Ordering::Relaxed));
    assert!(matches!(
        pair.0.poll_head_room(key, &context),
        Poll::Ready(Err(_))
    ));
}

#[test]
fn nobody_takes_more_than_the_connections_window() {
    let mut pair = Pair::server();
    for stream in [1, 3, 5, 7] {
        pair.frame(kind::HEADERS, flag::END_HEADERS, stream, POST);
        for _ in 0..64 {
            pair.frame(kind::DATA, 0, stream, &[0; 16_384]);
        }
    }
    assert!(!pair.0.has_failed());
    pair.frame(kind::DATA, 0, 1, &[0]);
    pair.assert_failed(Reason::FLOW_CONTROL_ERROR);
}

#[test]
fn bodies_go_on_as_windows_allow_and_take_turns() {
    let mut pair = Pair::server();
    pair.bytes(&set(setting::INITIAL_WINDOW_SIZE, 5));
    pair.frame(kind::HEADERS, END, 1, GET);
    pair.frame(kind::HEADERS, END, 3, GET);
    let keys = [pair.accepted().key, pair.accepted().key];
    for key in keys {
        pair.0
            .respond(key, StatusCode::OK, &HeaderMap::new(), false)
            .unwrap();
    }
    // The stream's window.
    assert_eq!(pair.send(keys[0], b"hello, world", true), 7);
    pair.bytes(&set(setting::INITIAL_WINDOW_SIZE, 3));
    pair.frame(kind::WINDOW_UPDATE, 0, 1, &number(2));
    assert_eq!(
        pair.send(keys[0], b", world", true),
        7,
        "it shrank below zero"
    );
    pair.frame(kind::WINDOW_UPDATE, 0, 1, &number(1 << 20));
    pair.frame(kind::WINDOW_UPDATE, 0, 3, &number(1 << 20));
    pair.written();
    // The connection's.
    static LARGE: [u8; 100_000] = [0; 100_000];
    assert!(pair.send(keys[0], &LARGE, true) > 0);
    assert_eq!(
        pair.send(keys[1], &LARGE, true),
        100_000,
        "behind the other"
    );
    pair.written();
    pair.frame(kind::WINDOW_UPDATE, 0, 0, &number(20_000));
    assert!(pair.send(keys[1], &LARGE, true) == 100_000, "not its turn");
    assert!(pair.send(keys[0], &LARGE, true) < 100_000);
    pair.frame(kind::WINDOW_UPDATE, 0, 0, &number(1 << 20));
    pair.written();
    assert!(pair.send(keys[1], &LARGE, true) < 100_000);
    for key in keys {
        pair.0.drop_reader(key);
        pair.0.drop_writer(key);
    }
    assert!(!pair.0.is_busy());
    assert_eq!((pair.0.turns, pair.0.waiting.len()), (0, 0));
}

#[test]
fn heads_wait_while_nobody_reads() {
    let mut pair = Pair::server();
    let mut headers = HeaderMap::new();
    headers.insert("x-large", "v".repeat(60_000).try_into().unwrap());
    for stream in [1, 3, 5, 7] {
        pair.frame(kind::HEADERS, END, stream, GET);
    }
    let mut keys = Vec::new();
    while let Some(accepted) = pair.0.accept() {
        keys.push(accepted.key);
    }
    // Each takes frames of its own, and the buffer is over full with the fifth.
    for key in &keys {
        assert!(pair.0.poll_head_room(*key, &waits()).is_ready());
        pair.0
            .respond(*key, StatusCode::OK, &headers, true)
            .unwrap();
    }
    for (key, stream) in keys.into_iter().zip([9, 11]) {
        pair.0.drop_reader(key);
        pair.0.drop_writer(key);
        pair.frame(kind::HEADERS, END, stream, GET);
    }
    let [fifth, sixth] = [pair.accepted().key, pair.accepted().key];
    assert!(pair.0.poll_head_room(fifth, &waits()).is_ready());
    pair.0
        .respond(fifth, StatusCode::OK, &headers, true)
        .unwrap();
    assert!(pair.0.poll_head_room(sixth, &waits()).is_pending());
    pair.written();
    assert!(pair.0.poll_head_room(sixth, &waits()).is_ready());
}
