//! The admin port: health, metrics and configuration to read, and, for who has the token, the
//! log level and a drain to set off.
//!
//! It runs on the telemetry thread and is bounded in connections, header bytes and time, so that
//! no scrape and no stuck reader costs traffic anything.

mod auth;

use std::{convert::Infallible, fmt::Write, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time,
};

use super::{logging::LogLevel, metrics::Metrics, readiness::Readiness};
use auth::Verdict;

/// Connections open at once; further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// A request's line and headers together.
const MAX_HEADER_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 32;
/// A log filter.
const MAX_BODY_BYTES: usize = 1024;
/// From one request's end, or the connection's start, to the next one's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The whole life of a connection: a client that reads nothing is gone after it.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// What the admin port shows and sets off.
pub struct Admin {
    /// What `/metrics` shows, in the OpenMetrics text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    pub readiness: Readiness,
    pub log_level: LogLevel,
    /// What `/config` shows: no secrets, the port has no lock on it.
    pub config: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Sets off a drain; called for each accepted request, so it must bear being called again.
    pub drain: Box<dyn Fn() + Send + Sync>,
    /// The file with the token that changes of state ask for, read each time so that it can be
    /// replaced. Without it nothing can be changed through this port.
    pub token_file: Option<PathBuf>,
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// When the listener itself fails, not when a connection does.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let admin = Arc::new(self);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "the admin port cannot accept a connection now");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::debug!("the admin port refuses a connection: {MAX_CONNECTIONS} are open");
                continue;
            };
            let admin = admin.clone();
            tokio::spawn(async move {
                let _place = place;
                admin.connection(stream).await;
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let admin = &self;
        let service =
            service_fn(|request| async move { Ok::<_, Infallible>(admin.answer(request).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        match time::timeout(CONNECTION_TIMEOUT, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin port failed"),
            Err(_) => tracing::debug!("a connection to the admin port lasted too long"),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let changes_state = matches!(path, "/log-level" | "/drain");
        let allowed = match changes_state {
            true => request.method() == Method::POST,
            false => matches!(*request.method(), Method::GET | Method::HEAD),
        };
        match path {
            "/live" | "/ready" | "/metrics" | "/config" | "/log-level" | "/drain" if !allowed => {
                method_not_allowed(changes_state)
            }
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/metrics" => page(Metrics::CONTENT_TYPE, (self.metrics)()),
            "/config" => page("application/json", format!("{:#}\n", (self.config)())),
            "/log-level" | "/drain" => self.change(request).await,
            _ => text(
                StatusCode::NOT_FOUND,
                "not found: try /live, /ready, /metrics, /config, or POST to /log-level, /drain\n",
            ),
        }
    }

    fn ready(&self) -> Answer {
        let blocks = self.readiness.blocks();
        if blocks.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        let mut lines = String::from("not ready, waiting for:\n");
        for block in blocks {
            writeln!(lines, "  {block}").expect("writing to a String does not fail");
        }
        text(StatusCode::SERVICE_UNAVAILABLE, lines)
    }

    async fn change(&self, request: Request<Incoming>) -> Answer {
        match auth::check(request.headers(), self.token_file.as_deref()).await {
            Verdict::Allowed => {}
            Verdict::Unauthorized => return unauthorized(),
            Verdict::Forbidden(why) => return text(StatusCode::FORBIDDEN, why),
        }
        if request.uri().path() == "/drain" {
            tracing::info!("a drain was asked for on the admin port");
            (self.drain)();
            return text(StatusCode::ACCEPTED, "draining\n");
        }
        let body = Limited::new(request.into_body(), MAX_BODY_BYTES);
        let Ok(Ok(body)) = time::timeout(HEADER_TIMEOUT, body.collect()).await else {
            return text(StatusCode::BAD_REQUEST, "send the log filter as the body\n");
        };
        self.set_log_level(&String::from_utf8_lossy(&body.to_bytes()))
    }

    fn set_log_level(&self, filter: &str) -> Answer {
        match self.log_level.set(filter.trim()) {
            Ok(()) => {
                tracing::info!(filter = filter.trim(), "the log level was changed");
                text(StatusCode::OK, "changed\n")
            }
            Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

/// Whether accepting may work again by itself: no descriptors left, or a client already gone.
fn is_passing(error: &io::Error) -> bool {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    let full = [
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::NOBUFS,
    ];
    gone || full
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = page("text/plain; charset=utf-8", body);
    *answer.status_mut() = status;
    answer
}

fn page(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn method_not_allowed(changes_state: bool) -> Answer {
    let allowed = if changes_state { "POST" } else { "GET, HEAD" };
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}\n"));
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn unauthorized() -> Answer {
    let mut answer = text(
        StatusCode::UNAUTHORIZED,
        "send `authorization: Bearer <token>` with the token from the admin token file\n",
    );
    let scheme = HeaderValue::from_static("Bearer");
    answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    answer
}

#[cfg(test)]
mod tests;
