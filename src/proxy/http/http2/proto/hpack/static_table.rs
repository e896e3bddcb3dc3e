//! The static table (RFC 7541, Appendix A).

use bytes::Bytes;
use http::{
    HeaderName, Method, StatusCode, header,
    uri::{PathAndQuery, Scheme},
};

use super::{
    OVERHEAD,
    field::{Field, Name},
};

/// Entries, counted from 1.
pub const LEN: usize = 61;

// The entries that are written whole.
pub const GET: usize = 2;
pub const POST: usize = 3;
pub const ROOT: usize = 4;
pub const HTTP: usize = 6;
pub const HTTPS: usize = 7;

// Those whose name is used.
pub const AUTHORITY: usize = 1;
pub const METHOD: usize = 2;
pub const PATH: usize = 4;
pub const SCHEME: usize = 6;
pub const STATUS: usize = 8;

/// The only value of a regular field.
const GZIP: &[u8] = b"gzip, deflate";

/// The first name that is not a pseudo-header's.
const FIRST: usize = 15;

/// Names from the first regular one on.
static NAMES: [HeaderName; LEN + 1 - FIRST] = [
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::ACCEPT_RANGES,
    header::ACCEPT,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::AGE,
    header::ALLOW,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::ETAG,
    header::EXPECT,
    header::EXPIRES,
    header::FROM,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::REFRESH,
    header::RETRY_AFTER,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
    header::VARY,
    header::VIA,
    header::WWW_AUTHENTICATE,
];

const SLOTS: usize = 128;

/// Where a name is: its length and three of its bytes tell all of them apart.
const fn slot(name: &[u8]) -> usize {
    let (first, last, middle) = (name[0], name[name.len() - 1], name[name.len() / 2]);
    (name.len() * 15 + first as usize * 9 + last as usize + middle as usize * 2) % SLOTS
}

/// Indexes of [`NAMES`] by [`slot`]; beyond its end where none is.
static BY_SLOT: std::sync::LazyLock<[u8; SLOTS]> = std::sync::LazyLock::new(|| {
    let mut slots = [u8::MAX; SLOTS];
    for (index, name) in (0..).zip(&NAMES) {
        slots[slot(name.as_str().as_bytes())] = index;
    }
    slots
});

/// The entry of this name.
pub fn index_of(name: &str) -> Option<usize> {
    let at = usize::from(BY_SLOT[slot(name.as_bytes())]);
    let found = NAMES.get(at)?;
    (found.as_str() == name).then_some(at + FIRST)
}

/// The entry of this status.
pub fn index_of_status(status: StatusCode) -> Option<usize> {
    Some(match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => return None,
    })
}

/// The name of the entry at `index`, which is one of the table's.
pub fn name(index: usize) -> Name {
    match index {
        1 => Name::Authority,
        2 | 3 => Name::Method,
        4 | 5 => Name::Path,
        6 | 7 => Name::Scheme,
        8..=14 => Name::Status,
        _ => Name::Field(NAMES[index - FIRST].clone()),
    }
}

/// How long the name of the entry at `index` is, in bytes.
pub fn name_len(index: usize) -> usize {
    match index {
        1 => ":authority".len(),
        2 | 3 | 6..FIRST => ":method".len(),
        4 | 5 => ":path".len(),
        _ => NAMES[index - FIRST].as_str().len(),
    }
}

/// What the entry at `index` counts, in bytes.
pub fn size(index: usize) -> usize {
    let value = match index {
        2 => "GET",
        3 => "POST",
        4 => "/",
        5 => "/index.html",
        6 => "http",
        7 => "https",
        8..=14 => "200",
        16 => return name_len(index) + GZIP.len() + OVERHEAD,
        _ => "",
    };
    name_len(index) + value.len() + OVERHEAD
}

/// The whole entry at `index`, which is one of the table's.
pub fn field(index: usize) -> Field {
    match index {
        2 => Field::Method(Method::GET),
        3 => Field::Method(Method::POST),
        4 => Field::Path(PathAndQuery::from_static("/")),
        5 => Field::Path(PathAndQuery::from_static("/index.html")),
        6 => Field::Scheme(Scheme::HTTP),
        7 => Field::Scheme(Scheme::HTTPS),
        8 => Field::Status(StatusCode::OK),
        9 => Field::Status(StatusCode::NO_CONTENT),
        10 => Field::Status(StatusCode::PARTIAL_CONTENT),
        11 => Field::Status(StatusCode::NOT_MODIFIED),
        12 => Field::Status(StatusCode::BAD_REQUEST),
        13 => Field::Status(StatusCode::NOT_FOUND),
        14 => Field::Status(StatusCode::INTERNAL_SERVER_ERROR),
        16 => Field::new(name(index), GZIP, || Bytes::from_static(GZIP)),
        _ => Field::new(name(index), b"", Bytes::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for (index, name) in (FIRST..).zip(&NAMES) {
            assert_eq!(index_of(name.as_str()), Some(index), "{name}");
        }
        assert_eq!(index_of("x"), None);
        assert_eq!(index_of("content-lengths"), None);
    }
}
