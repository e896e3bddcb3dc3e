use super::*;

/// The faults of a connection, read in pieces of every size: all the same.
fn faults(bytes: &[u8]) -> Vec<Fault> {
    let read = |size| {
        let mut framing = Framing::default();
        let pieces = bytes.chunks(size);
        let found = pieces.filter_map(|piece| framing.follow(piece).fault);
        found.collect::<Vec<_>>()
    };
    let one_by_one = read(1);
    for size in 2..=bytes.len() {
        assert_eq!(read(size).first(), one_by_one.first(), "{size} at a time");
    }
    one_by_one
}

fn fault(head: u32, why: BadRequest) -> Option<Fault> {
    Some(Fault { head, why })
}

#[test]
fn clean_messages_have_no_fault_whatever_their_bodies_hold() {
    let clean: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n\n\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-LENGTH:\t 4 \r\n\r\n\n\n\n\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\n\n\n\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET /content-length:1 HTTP/1.1\r\nX-Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    for bytes in clean {
        assert_eq!(faults(bytes), [], "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn a_bare_lf_is_a_fault_of_its_head_wherever_it_stands() {
    let heads: [&[u8]; 5] = [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for bytes in heads {
        let found = faults(bytes);
        assert_eq!(found.first().copied(), fault(1, BadRequest::BareLineFeed));
    }
}

#[test]
fn two_lengths_are_a_fault_in_either_order() {
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "TRANSFER-encoding: chunked\r\nX: y\r\ncontent-length: 0",
        "Transfer-Encoding: gzip\r\nContent-Length: 4",
    ] {
        let request = format!("POST / HTTP/1.1\r\n{lengths}\r\n\r\n0\r\n\r\n");
        assert_eq!(
            faults(request.as_bytes()).first().copied(),
            fault(1, BadRequest::TwoLengths)
        );
    }
}

#[test]
fn a_fragment_is_a_fault_and_a_hash_in_a_method_is_none() {
    let found = faults(b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(found.first().copied(), fault(1, BadRequest::Fragment));
    assert_eq!(faults(b"A#B /a HTTP/1.1\r\nX: #\r\n\r\n"), []);
}

#[test]
fn a_repeated_length_is_a_fault_though_both_say_the_same() {
    let bytes = b"POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        faults(bytes).first().copied(),
        fault(1, BadRequest::SeveralLengths)
    );
}

#[test]
fn the_faulty_head_is_the_one_that_is_named() {
    let bytes = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
        POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        GET / HTTP/1.1\n\r\n";
    assert_eq!(faults(bytes), [fault(3, BadRequest::BareLineFeed).unwrap()]);
}

/// Blanks before a value are endless; what is kept of a line is not.
#[test]
fn a_framing_field_that_is_cut_is_a_fault() {
    let blanks = " ".repeat(KEPT);
    let request = format!("POST / HTTP/1.1\r\nContent-Length:{blanks}5\r\n\r\n");
    assert_eq!(
        faults(request.as_bytes()).first().copied(),
        fault(1, BadRequest::Unreadable)
    );
}

/// Of the line only the beginning was looked at: a chunk was taken for the last one, and its
/// data for the next head.
#[test]
fn a_chunk_size_counts_whatever_zeros_are_before_it() {
    let zeros = "0".repeat(KEPT + 6);
    let data = "GET / HTTP/1.1\r\nX: 3456789012345678901234567\r\n\r\n";
    assert_eq!(data.len(), 0x30);
    for size in [
        format!("{zeros}30"),
        format!("{zeros}30;a=b"),
        format!("30;{zeros}"),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
             {size}\r\n{data}\r\n{zeros}\r\n\r\nGET / HTTP/1.1\n\r\n"
        );
        assert_eq!(
            faults(request.as_bytes()),
            [fault(2, BadRequest::BareLineFeed).unwrap()],
            "{size}"
        );
    }
}

#[test]
fn a_chunk_size_that_hyper_refuses_ends_the_reading() {
    for size in ["10000000000000000", "", ";a", " 5", "ffffffffffffffff"] {
        let mut framing = Framing::default();
        let request = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n");
        framing.follow(request.as_bytes());
        assert_eq!(framing.state, State::End, "{size:?}");
    }
}

/// What came before it is read on, however the bytes are cut: a request that was whole is
/// answered.
#[test]
fn a_bare_lf_in_a_trailer_breaks_the_connection_there() {
    let before = b"GET / HTTP/1.1\r\n\r\n\
        POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b";
    let bytes = [&before[..], b"\nC: d\r\n\r\n"].concat();
    for size in 1..=bytes.len() {
        let mut framing = Framing::default();
        let pieces = bytes.chunks(size);
        let sound: usize = pieces.map(|piece| framing.follow(piece).sound).sum();
        assert_eq!(sound, before.len(), "{size} at a time");
    }
}

#[test]
fn nothing_is_followed_beyond_what_hyper_refuses() {
    let mut framing = Framing::default();
    let bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET / HTTP/1.1\n\n";
    let found = framing.follow(bytes);
    assert_eq!((found.fault, found.sound), (None, bytes.len()));
    assert_eq!(framing.state, State::End);
}
