//! Fields as they are decoded: read once, and kept so in the table, so that a reference to an entry
//! costs neither a look at its bytes nor an allocation.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, StatusCode, header,
    uri::{Authority, PathAndQuery, Scheme},
};

/// What a field is called.
#[derive(Clone, Debug, PartialEq)]
pub enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    /// Of an extended CONNECT (RFC 8441), which nobody here offers.
    Protocol,
    Status,
    Field(HeaderName),
    /// No name in HTTP/2: in upper case, with characters that no name has, or an unknown
    /// pseudo-header.
    Invalid,
}

/// A field with its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Method(Method),
    Scheme(Scheme),
    Authority(Authority),
    Path(PathAndQuery),
    Protocol,
    Status(StatusCode),
    Header(HeaderName, HeaderValue),
    /// One that makes its message malformed (RFC 9113, section 8.1.1). The name may be used again
    /// for one that does not.
    Malformed(Name),
}

impl Name {
    pub fn read(name: &[u8]) -> Self {
        match name {
            b":method" => Name::Method,
            b":scheme" => Name::Scheme,
            b":authority" => Name::Authority,
            b":path" => Name::Path,
            b":status" => Name::Status,
            b":protocol" => Name::Protocol,
            // Upper case is none here.
            _ => HeaderName::from_lowercase(name).map_or(Name::Invalid, Name::Field),
        }
    }
}

impl Field {
    /// `copy` is of the value, for the fields that keep it.
    pub fn new(name: Name, value: &[u8], copy: impl FnOnce() -> Bytes) -> Self {
        let read = match &name {
            Name::Method => Method::from_bytes(value).ok().map(Field::Method),
            Name::Scheme => Scheme::try_from(value).ok().map(Field::Scheme),
            Name::Authority => {
                let authority = Authority::from_maybe_shared(copy());
                authority.ok().map(Field::Authority)
            }
            // An empty one must not be (RFC 9113, section 8.3.1).
            Name::Path if value.is_empty() => None,
            Name::Path => {
                let path = PathAndQuery::from_maybe_shared(copy());
                path.ok().map(Field::Path)
            }
            Name::Protocol => Some(Field::Protocol),
            Name::Status => StatusCode::from_bytes(value).ok().map(Field::Status),
            Name::Field(name) if is_of_connection(name, value) => None,
            Name::Field(name) => {
                let value = HeaderValue::from_maybe_shared(copy()).ok();
                value.map(|value| Field::Header(name.clone(), value))
            }
            Name::Invalid => None,
        };
        read.unwrap_or(Field::Malformed(name))
    }

    pub fn name(&self) -> Name {
        match self {
            Field::Method(_) => Name::Method,
            Field::Scheme(_) => Name::Scheme,
            Field::Authority(_) => Name::Authority,
            Field::Path(_) => Name::Path,
            Field::Protocol => Name::Protocol,
            Field::Status(_) => Name::Status,
            Field::Header(name, _) => Name::Field(name.clone()),
            Field::Malformed(name) => name.clone(),
        }
    }
}

/// Fields that only HTTP/1 has (RFC 9113, section 8.2.2).
fn is_of_connection(name: &HeaderName, value: &[u8]) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => true,
        header::TE => value != b"trailers",
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}
