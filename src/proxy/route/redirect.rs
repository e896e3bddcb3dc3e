//! Redirects, by the Gateway API's rules for scheme and port (HTTPRequestRedirectFilter).

use http::{HeaderValue, Response, StatusCode, header::LOCATION, request::Parts, uri::Authority};

use super::{
    error::{Faults, Problem},
    rewrite::{self, PathRule},
};
use crate::{discovery::model::Redirect, proxy::head};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What a request came in by: a Gateway's listener, or the service port that was dialled.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub scheme: Scheme,
    pub port: u16,
}

#[derive(Debug)]
pub struct RedirectRule {
    scheme: Option<Scheme>,
    hostname: Option<Authority>,
    port: Option<u16>,
    path: Option<PathRule>,
    status: StatusCode,
}

impl RedirectRule {
    pub(super) fn compile(field: &str, redirect: &Redirect, faults: &mut Faults<'_>) -> Self {
        let scheme = |text: &String| match text.as_str() {
            "http" => Ok(Scheme::Http),
            "https" => Ok(Scheme::Https),
            _ => Err(Problem::RedirectScheme(text.clone())),
        };
        let status = match redirect.status.unwrap_or(302) {
            status @ (301 | 302 | 303 | 307 | 308) => {
                StatusCode::from_u16(status).expect("a valid status")
            }
            other => {
                faults.add(format!("{field}.status"), Problem::RedirectStatus(other));
                StatusCode::FOUND
            }
        };
        if redirect.port == Some(0) {
            faults.add(format!("{field}.port"), Problem::PortZero);
        }
        let part = |name: &str| format!("{field}.{name}");
        let scheme = redirect.scheme.as_ref().map(scheme);
        let hostname = redirect.hostname.as_deref().map(rewrite::hostname);
        let path = redirect.path.as_ref().map(PathRule::compile);
        Self {
            scheme: scheme.and_then(|scheme| faults.note(part("scheme"), scheme)),
            hostname: hostname.and_then(|hostname| faults.note(part("hostname"), hostname)),
            port: redirect.port,
            path: path.and_then(|path| faults.note(part("path"), path)),
            status,
        }
    }

    pub(super) fn response(
        &self,
        request: &Parts,
        prefix: usize,
        listener: Listener,
    ) -> Response<()> {
        let scheme = self.scheme.unwrap_or(listener.scheme);
        let given = || head::host(request).map(head::without_port).unwrap_or("");
        let host = self.hostname.as_ref().map_or_else(given, Authority::as_str);
        let port = self.port.unwrap_or(match self.scheme {
            Some(scheme) => scheme.default_port(),
            None => listener.port,
        });
        let path = match &self.path {
            Some(rule) => rule.rewrite(request.uri.path(), prefix),
            None => request.uri.path().to_owned(),
        };
        let path = rewrite::with_query(path, &request.uri);
        // Without a host (HTTP/1.0) all that can be said is where on this one.
        let location = match (host, port == scheme.default_port()) {
            // One slash: after two, a reader would look for a host.
            ("", _) => format!("/{}", path.trim_start_matches('/')),
            (host, true) => format!("{}://{host}{path}", scheme.as_str()),
            (host, false) => format!("{}://{host}:{port}{path}", scheme.as_str()),
        };
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        let location = HeaderValue::try_from(visible_ascii(location)).expect("visible ASCII");
        response.headers_mut().insert(LOCATION, location);
        response
    }
}

/// A path that came in may have other bytes, raw UTF-8 for example; a URI has not (RFC 3986 2.1).
fn visible_ascii(text: String) -> String {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return text;
    }
    let escape = |byte: u8| match byte.is_ascii_graphic() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
