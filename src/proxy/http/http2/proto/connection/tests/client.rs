//! A client, and what servers do to it.

use super::*;

fn answer(pair: &mut Pair, key: Key) -> Poll<Result<u16, Error>> {
    let answer = pair.0.poll_answer(key, &waits());
    answer.map(|answer| answer.map(|(status, _)| status.as_u16()))
}

#[test]
fn an_answer_is_read_behind_interim_ones() {
    let mut pair = Pair::client();
    let key = pair.request(&Method::GET, true);
    assert_eq!(pair.written()[0].payload, b"\x82\x86\x01\x01a\x84");
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x08\x03100");
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x08\x03103");
    pair.frame(kind::HEADERS, END, 1, b"\x8d");
    assert!(matches!(answer(&mut pair, key), Poll::Ready(Ok(100))));
    assert!(matches!(answer(&mut pair, key), Poll::Ready(Ok(103))));
    assert!(matches!(answer(&mut pair, key), Poll::Ready(Ok(404))));
    assert!(pair.0.is_read(key) && !pair.0.is_busy());
    pair.0.drop_reader(key);
    assert_eq!(pair.written(), []);
}

#[test]
fn interim_answers_that_nobody_takes_do_not_pile_up() {
    let mut pair = Pair::client();
    let key = pair.request(&Method::GET, true);
    for _ in 0..1000 {
        pair.frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x08\x03103");
    }
    pair.frame(kind::HEADERS, END, 1, b"\x8d");
    let heads: Vec<_> = std::iter::from_fn(|| match answer(&mut pair, key) {
        Poll::Ready(Ok(status)) => Some(status),
        _ => None,
    })
    .collect();
    assert_eq!(heads, [103, 103, 404]);
}

/// It may have fitted in HTTP/1, where a field counts less.
#[test]
fn an_interim_answer_that_is_too_large_is_left_out() {
    let mut pair = Pair::client();
    let key = pair.request(&Method::GET, true);
    pair.written();
    // Each counts 34 bytes.
    let fields = b"\x00\x01x\x01y".repeat(2000);
    let hints = [b"\x08\x03103".as_slice(), &fields].concat();
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, &hints);
    pair.frame(kind::HEADERS, END, 1, b"\x8d");
    assert!(matches!(answer(&mut pair, key), Poll::Ready(Ok(404))));
}

#[test]
fn an_interim_answer_ends_no_stream_and_switches_no_protocol() {
    for (flags, status) in [(END, b"\x08\x03103"), (flag::END_HEADERS, b"\x08\x03101")] {
        let mut pair = Pair::client();
        pair.request(&Method::GET, true);
        pair.written();
        pair.frame(kind::HEADERS, flags, 1, status);
        pair.assert_reset(1, Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn the_length_of_what_has_no_body_says_nothing() {
    for (method, status) in [
        (Method::HEAD, b"\x88".as_slice()),
        (Method::GET, b"\x89"),
        (Method::GET, b"\x8b"),
    ] {
        let mut pair = Pair::client();
        let key = pair.request(&method, true);
        pair.written();
        pair.frame(kind::HEADERS, END, 1, &[status, b"\x0f\x0d\x0210"].concat());
        assert!(matches!(answer(&mut pair, key), Poll::Ready(Ok(_))));
    }
}

#[test]
fn who_is_not_waited_for_is_cancelled() {
    let mut pair = Pair::client();
    let key = pair.request(&Method::POST, false);
    pair.written();
    pair.0.drop_reader(key);
    pair.assert_reset(1, Reason::CANCEL);
    let mut data = Bytes::from_static(b"more");
    let sent = pair.0.poll_send(key, &waits(), &mut data, true);
    assert!(matches!(sent, Poll::Ready(Err(_))));
    pair.0.drop_writer(key);
    // Its answer was under way.
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x88");
    pair.frame(kind::DATA, flag::END_STREAM, 1, b"abc");
    assert_eq!(pair.written(), []);
}

#[test]
fn what_came_before_a_reset_is_read() {
    let mut pair = Pair::client();
    let key = pair.request(&Method::POST, false);
    pair.frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x88");
    pair.frame(kind::DATA, flag::END_STREAM, 1, b"abc");
    pair.frame(kind::RST_STREAM, 0, 1, &number(Reason::NO_ERROR.0));
    assert!(matches!(answer(&mut pair, key), Poll::Ready(Ok(200))));
    assert!(matches!(pair.read(key), Poll::Ready(Some(Ok(data))) if data == "abc"));
    assert!(matches!(pair.read(key), Poll::Ready(None)));
}

#[test]
fn what_a_server_has_not_begun_may_be_sent_to_another() {
    let mut pair = Pair::client();
    let keys = [(); 3].map(|()| pair.request(&Method::GET, true));
    pair.frame(kind::RST_STREAM, 0, 1, &number(Reason::REFUSED_STREAM.0));
    pair.frame(kind::GOAWAY, 0, 0, &[number(3), number(0)].concat());
    let Poll::Ready(Err(refused)) = answer(&mut pair, keys[0]) else {
        panic!("it was refused");
    };
    assert!(refused.is_refused() && !refused.is_go_away());
    assert!(answer(&mut pair, keys[1]).is_pending());
    let Poll::Ready(Err(late)) = answer(&mut pair, keys[2]) else {
        panic!("it came too late");
    };
    assert!(late.is_refused() && late.is_go_away());
    assert!(pair.0.is_closed() && !pair.0.is_over());
    pair.frame(kind::HEADERS, END, 3, b"\x88");
    assert!(matches!(answer(&mut pair, keys[1]), Poll::Ready(Ok(200))));
    assert!(pair.0.is_over());
}

#[test]
fn errors_of_the_connection_are_no_refusal() {
    let mut pair = Pair::client();
    let key = pair.request(&Method::GET, true);
    pair.frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, b"\0\0\0\x02");
    pair.assert_failed(Reason::PROTOCOL_ERROR);
    let Poll::Ready(Err(error)) = answer(&mut pair, key) else {
        panic!("it ended");
    };
    assert!(!error.is_refused() && !error.is_go_away());
}

#[test]
fn streams_wait_for_a_place() {
    let mut pair = Pair(Connection::new(config(Role::Client)));
    assert_eq!(pair.0.places(), 100, "before its settings");
    let two = [
        &setting::MAX_CONCURRENT_STREAMS.to_be_bytes()[..],
        &number(2),
    ]
    .concat();
    pair.frame(kind::SETTINGS, 0, 0, &two);
    let keys = [(); 2].map(|()| pair.request(&Method::GET, true));
    assert!(!pair.0.has_place());
    pair.0.waits_for_place(true);
    assert_eq!(pair.0.to_tell(), 0);
    pair.0.drop_reader(keys[0]);
    assert_eq!((pair.0.places(), pair.0.to_tell()), (1, 1));
    pair.0.waits_for_place(false);
}

#[test]
fn frames_of_streams_long_gone_are_told_so() {
    let mut pair = Pair::client();
    let key = pair.request(&Method::GET, true);
    pair.frame(kind::HEADERS, END, 1, b"\x88");
    pair.0.drop_reader(key);
    pair.written();
    pair.frame(kind::DATA, 0, 1, b"abc");
    pair.assert_reset(1, Reason::STREAM_CLOSED);
    pair.frame(kind::WINDOW_UPDATE, 0, 1, &number(1));
    pair.frame(kind::HEADERS, END, 3, b"\x88");
    pair.assert_failed(Reason::PROTOCOL_ERROR);
}
