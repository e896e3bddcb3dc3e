//! What the mesh itself reads from a head and writes into one.

use http::{HeaderMap, HeaderName, Version, request};

use crate::proxy::head::wanted_upgrade;

/// Set between proxies only: the exchange was HTTP/1.1 when it entered the mesh.
pub const ORIGINAL_VERSION: HeaderName = HeaderName::from_static("outrigger-http");
/// Set between proxies only, by the one before the application: nobody has begun to work on the
/// request, so that any other endpoint may.
pub const UNSENT: HeaderName = HeaderName::from_static("outrigger-unsent");
/// Set for the application: the verified SPIFFE ID of the caller.
pub const CLIENT_ID: HeaderName = HeaderName::from_static("outrigger-client-id");

/// Takes out what a client says it is called, and what a server that makes variables of headers (CGI,
/// WSGI) cannot tell from that: there `_` and `-` are one.
pub fn unname(headers: &mut HeaderMap) {
    let own = CLIENT_ID;
    let own = own.as_str().as_bytes();
    let is_name = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        let alike = |(one, other): (&u8, &u8)| one == other || (*one == b'_' && *other == b'-');
        name.len() == own.len() && name.iter().zip(own).all(alike)
    };
    while let Some(name) = headers.keys().find(|name| is_name(name)).cloned() {
        headers.remove(name);
    }
}

/// What a request asks of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// `Upgrade` in HTTP/1.1, WebSocket for example.
    Upgrade,
    /// HTTP/1.0: stays HTTP/1.0 all the way.
    Old,
}

pub fn kind(parts: &request::Parts) -> Kind {
    match parts.version {
        Version::HTTP_10 => Kind::Old,
        Version::HTTP_11 if wanted_upgrade(&parts.headers).is_some() => Kind::Upgrade,
        _ => Kind::Plain,
    }
}

pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The status a gRPC call ended with, where the headers or trailers say it.
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn no_spelling_of_a_name_is_left() {
        let mut headers = HeaderMap::new();
        for name in [
            "outrigger-client-id",
            "outrigger_client_id",
            "outrigger-client_id",
            "outrigger-client-ids",
            "x-outrigger-client-id",
        ] {
            headers.append(name, "spiffe://mesh.test/ns/it/sa/root".parse().unwrap());
        }
        unname(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["outrigger-client-ids", "x-outrigger-client-id"]);
    }

    fn parts(build: request::Builder) -> request::Parts {
        build.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_h2c_upgrade_is_no_upgrade() {
        let head = |to: &str| {
            parts(
                Request::get("/")
                    .header("connection", "keep-alive, Upgrade")
                    .header("upgrade", to),
            )
        };
        assert_eq!(kind(&head("websocket")), Kind::Upgrade);
        assert_eq!(kind(&head("h2c")), Kind::Plain);
        assert_eq!(
            kind(&parts(Request::get("/").header("upgrade", "websocket"))),
            Kind::Plain
        );
    }
}
