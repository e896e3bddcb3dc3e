//! The examples of RFC 7541, Appendix C, and both ends against each other.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use proptest::{collection::vec, prelude::*};

use super::{field::Name, *};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(Field, usize)>, Undecodable> {
    let mut fields = Vec::new();
    decoder.decode(block, |field, size| {
        fields.push((field, size));
        true
    })?;
    Ok(fields)
}

/// As the RFC writes them: `name: value`.
fn lines(fields: Vec<(Field, usize)>) -> Vec<String> {
    fields.into_iter().map(|(field, _)| line(field)).collect()
}

fn line(field: Field) -> String {
    match field {
        Field::Method(method) => format!(":method: {method}"),
        Field::Scheme(scheme) => format!(":scheme: {scheme}"),
        Field::Authority(authority) => format!(":authority: {authority}"),
        Field::Path(path) => format!(":path: {path}"),
        Field::Protocol => ":protocol".to_owned(),
        Field::Status(status) => format!(":status: {}", status.as_str()),
        Field::Header(name, value) => format!("{name}: {}", value.to_str().unwrap()),
        Field::Malformed(name) => format!("malformed {name:?}"),
    }
}

/// Appendices C.3 and C.4: three requests on one connection, without and with Huffman's code.
#[test]
fn requests_of_the_rfc() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        let first = [
            ":method: GET",
            ":scheme: http",
            ":path: /",
            ":authority: www.example.com",
        ];
        let second = [&first[..], &["cache-control: no-cache"]].concat();
        let third = [
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ];
        for (block, expected) in blocks.iter().zip([&first[..], &second, &third]) {
            assert_eq!(lines(decode(&mut decoder, &hex(block)).unwrap()), expected);
        }
    }
}

/// Appendices C.5 and C.6, where entries are evicted: with a table of 256 bytes.
#[test]
fn responses_of_the_rfc() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032
         303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0
         5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745
         4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed
         4ee5 b106 3d50 07",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        // A size update to 256.
        let mut first = hex("3fe101");
        first.extend(hex(blocks[0]));
        let common = [
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:21 GMT",
            "location: https://www.example.com",
        ];
        let expected = [&[":status: 302"], &common[..]].concat();
        assert_eq!(lines(decode(&mut decoder, &first).unwrap()), expected);
        let expected = [&[":status: 307"], &common[..]].concat();
        assert_eq!(
            lines(decode(&mut decoder, &hex(blocks[1])).unwrap()),
            expected
        );
        let expected = [
            ":status: 200",
            "cache-control: private",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
            "location: https://www.example.com",
            "content-encoding: gzip",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ];
        assert_eq!(
            lines(decode(&mut decoder, &hex(blocks[2])).unwrap()),
            expected
        );
    }
}

#[test]
fn what_no_block_is_is_refused() {
    for block in [
        &b"\x80"[..],                // index 0
        b"\xbe",                     // an entry that there is not
        b"\x7f\xff\xff\xff\xff\x0f", // an index without end
        b"\x3f\xe2\x1f",             // a table of 4097 bytes
        b"\x82\x20",                 // a size update after a field
        b"\x40\x01a",                // no value
        b"\x40\x03ab",               // a name that is cut
        b"\x00\x81\xff\x00",         // false padding
        b"\x0f\x2f",                 // a name and no value
    ] {
        let decoded = decode(&mut Decoder::default(), block);
        assert_eq!(decoded, Err(Undecodable), "{block:x?}");
    }
}

/// A malformed field spoils its message, and nothing after it.
#[test]
fn a_malformed_field_enters_the_table_as_others_do() {
    let mut decoder = Decoder::default();
    let upper = decode(&mut decoder, b"\x40\x01A\x01b\x40\x01c\x02d\n\xbe\xbf").unwrap();
    let name = || Name::Field(HeaderName::from_static("c"));
    assert_eq!(
        upper,
        [
            (Field::Malformed(Name::Invalid), 34),
            (Field::Malformed(name()), 35),
            (Field::Malformed(name()), 35),
            (Field::Malformed(Name::Invalid), 34),
        ]
    );
    assert_eq!(
        lines(decode(&mut decoder, b"\x7e\x01e\xbe").unwrap()),
        ["c: e", "c: e"]
    );
    for bad in [
        "\x00\x0aconnection\x01a",
        "\x00\x02te\x04gzip",
        "\x00\x05:path\x00",
        "\x00\x02:a\x00",
    ] {
        let fields = decode(&mut decoder, bad.as_bytes()).unwrap();
        assert!(
            matches!(fields[..], [(Field::Malformed(_), _)]),
            "{fields:?}"
        );
    }
    let te = decode(&mut decoder, b"\x00\x02te\x08trailers").unwrap();
    assert_eq!(lines(te), ["te: trailers"]);
}

#[test]
fn decoding_ends_where_it_is_told() {
    let mut entry = b"\x40\x01x\x7f\xa1\x1e".to_vec();
    entry.extend([b'a'; 4000]);
    entry.extend([0xbe; 10_000]);
    let (mut size, mut count) = (0, 0);
    let decoded = Decoder::default().decode(&entry, |_, of_field| {
        (size, count) = (size + of_field, count + 1);
        size < 65_536
    });
    assert_eq!((decoded, count), (Ok(()), 17));
}

fn pair(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )
}

fn encode(encoder: &mut Encoder, fields: &[(HeaderName, HeaderValue)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.trailers(fields.iter().map(|(name, value)| (name, value)), &mut out);
    out
}

#[test]
fn what_repeats_becomes_a_byte_and_what_differs_enters_no_table() {
    let mut encoder = Encoder::default();
    let accept = [pair("accept", "a/b")];
    // A name of the static table, then an entry, then a reference.
    assert_eq!(encode(&mut encoder, &accept), b"\x0f\x04\x03a/b");
    assert_eq!(encode(&mut encoder, &accept), b"\x53\x03a/b");
    assert_eq!(encode(&mut encoder, &accept), b"\xbe");
    // A name that is in no table enters with its first value.
    let trace = |value| [pair("x-trace", value)];
    assert_eq!(encode(&mut encoder, &trace("1")), b"\x40\x07x-trace\x011");
    for value in ["2", "3", "4"] {
        let expected = [b"\x0f\x2f\x01", value.as_bytes()].concat();
        assert_eq!(encode(&mut encoder, &trace(value)), expected);
    }
    assert_eq!(encode(&mut encoder, &accept), b"\xbf");
}

#[test]
fn secrets_enter_no_table() {
    let mut encoder = Encoder::default();
    let mut marked = pair("x-key", "secret");
    marked.1.set_sensitive(true);
    let fields = [
        pair("authorization", "Bearer a"),
        pair("cookie", "a=b"),
        pair("cookie", "a=0123456789012345678"),
        marked,
    ];
    let first = encode(&mut encoder, &fields);
    assert_eq!(encode(&mut encoder, &fields), first);
    let decoded = decode(&mut Decoder::default(), &first).unwrap();
    let sensitive: Vec<_> = decoded
        .iter()
        .map(|(field, _)| matches!(field, Field::Header(_, value) if value.is_sensitive()))
        .collect();
    assert_eq!(sensitive, [true, true, false, true]);
    let query = |encoder: &mut Encoder| {
        let mut out = Vec::new();
        let head = RequestHead {
            method: &Method::GET,
            scheme: "http",
            authority: "a",
            path: "/?token=1",
        };
        encoder.request(&head, std::iter::empty(), &mut out);
        out
    };
    query(&mut encoder);
    assert!(query(&mut encoder).ends_with(b"\x04\x09/?token=1"));
}

#[test]
fn the_peers_limits_are_kept_and_told() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let fields = [pair("x-a", "1"), pair("x-b", "2")];
    encode(&mut encoder, &fields);
    // Down to nothing and up again, before the next block.
    encoder.set_limit(0);
    encoder.set_limit(64);
    let block = encode(&mut encoder, &fields);
    assert!(block.starts_with(b"\x20\x3f\x21"), "{block:x?}");
    assert_eq!(
        lines(decode(&mut decoder, &block).unwrap()),
        ["x-a: 1", "x-b: 2"]
    );
    encoder.set_limit(1 << 20);
    let block = encode(&mut encoder, &fields);
    assert!(block.starts_with(b"\x3f\xe1\x1f"), "{block:x?}");
}

fn a_field() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let names = prop_oneof![
        Just(header::ACCEPT),
        Just(header::COOKIE),
        Just(header::CONTENT_TYPE),
        Just(HeaderName::from_static("x-a")),
        Just(HeaderName::from_static("traceparent")),
        "[a-z]{1,12}-".prop_map(|name| HeaderName::try_from(name).unwrap()),
    ];
    let values = prop_oneof!["[a-c]{0,2}", "[ -~]{0,40}", "[a-z]{500,700}"];
    (names, values, any::<bool>()).prop_map(|(name, value, sensitive)| {
        let mut value = HeaderValue::try_from(value).unwrap();
        value.set_sensitive(sensitive);
        (name, value)
    })
}

proptest! {
    #[test]
    fn a_block_means_what_was_encoded(
        blocks in vec((vec(a_field(), 0..20), proptest::option::of(0_usize..5000)), 1..20),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (fields, limit) in blocks {
            if let Some(limit) = limit {
                encoder.set_limit(limit);
            }
            let block = encode(&mut encoder, &fields);
            let decoded = decode(&mut decoder, &block).unwrap();
            prop_assert_eq!(decoded.len(), fields.len());
            for ((field, size), (name, value)) in decoded.into_iter().zip(fields) {
                prop_assert_eq!(size, name.as_str().len() + value.len() + OVERHEAD);
                prop_assert_eq!(field, Field::Header(name, value));
            }
        }
    }

    #[test]
    fn heads_come_as_they_were(
        method in "(GET|POST|PUT|BREW)",
        authority in "[a-z]{1,8}(:80)?",
        path in "/[a-z]{0,8}(\\?[a-z=]{1,8})?",
        status in 100_u16..1000,
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for _ in 0..4 {
            let mut out = Vec::new();
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let head = RequestHead { method: &method, scheme: "http", authority: &authority, path: &path };
            encoder.request(&head, HeaderMap::new().iter(), &mut out);
            let fields = decode(&mut decoder, &out).unwrap();
            let fields: Vec<_> = fields.into_iter().map(|(field, _)| field).collect();
            prop_assert_eq!(fields, [
                Field::Method(method),
                Field::Scheme(Scheme::HTTP),
                Field::Authority(Authority::try_from(authority.as_str()).unwrap()),
                Field::Path(PathAndQuery::try_from(path.as_str()).unwrap()),
            ]);
            let mut out = Vec::new();
            let status = StatusCode::from_u16(status).unwrap();
            encoder.response(status, HeaderMap::new().iter(), &mut out);
            let fields = decode(&mut decoder, &out).unwrap();
            prop_assert_eq!(&fields[0].0, &Field::Status(status));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(blocks in vec(vec(any::<u8>(), 0..200), 1..4)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            if decode(&mut decoder, &block).is_err() {
                break;
            }
        }
    }
}
