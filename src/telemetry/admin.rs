//! The admin port: health and metrics for everybody, configuration to read from within the pod,
//! and, for who has the token as well, the log level and a drain to set off.

mod auth;

use std::{fmt::Write, io, path::PathBuf, sync::Arc};

use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{ALLOW, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::{net::TcpListener, time};

use super::{
    logging::LogLevel,
    metrics::{Counter, Metrics},
    port::{self, Answer, CONNECTION_TIMEOUT, Ends, HEADER_TIMEOUT, Port, page, text},
    readiness::Readiness,
    tap::{MAX_TAPS, MAX_TIME, Query, TapBody, Taps},
};
use auth::Verdict;

/// A log filter.
const MAX_BODY_BYTES: usize = 1024;
const _: () = assert!(
    MAX_TIME.as_secs() < CONNECTION_TIMEOUT.as_secs(),
    "a tap ends by itself"
);
/// What a client outside the pod hears.
const FROM_AFAR: &str = "from outside the pod only /live, /ready and /metrics are answered: come through kubectl port-forward, or from within\n";

/// What the admin port shows and sets off.
pub struct Admin {
    /// What `/metrics` shows, in the OpenMetrics text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    pub readiness: Readiness,
    pub log_level: LogLevel,
    /// What `/config` shows: no secrets, the pod's other containers read it.
    pub config: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    pub taps: Taps,
    /// Sets off a drain; called for each accepted request, so it must bear being called again.
    pub drain: Box<dyn Fn() + Send + Sync>,
    /// The file with the token that changes of state ask for, read each time so that it can be
    /// replaced. Without it nothing can be changed through this port.
    pub token_file: Option<PathBuf>,
    /// Counts the connections that were closed to let others in.
    pub displaced: Arc<Counter>,
}

impl Admin {
    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// When the listener itself fails, not when a connection does.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        if let Some(path) = &self.token_file {
            auth::look_at(path).await;
        }
        let port = Port {
            name: "admin",
            displaced: self.displaced.clone(),
        };
        let admin = Arc::new(self);
        let answer = move |request, ends| {
            let admin = admin.clone();
            async move { admin.answer(request, ends).await }
        };
        port::serve(listener, port, answer).await
    }

    async fn answer(&self, request: Request<Incoming>, ends: Ends) -> Answer {
        let path = request.uri().path();
        let for_everybody = matches!(path, "/live" | "/ready" | "/metrics");
        if !for_everybody && !ends.is_local() {
            return text(StatusCode::FORBIDDEN, FROM_AFAR);
        }
        let changes_state = matches!(path, "/log-level" | "/drain");
        let allowed = match changes_state {
            true => request.method() == Method::POST,
            false => matches!(*request.method(), Method::GET | Method::HEAD),
        };
        match path {
            "/live" | "/ready" | "/metrics" | "/config" | "/tap" | "/log-level" | "/drain"
                if !allowed =>
            {
                method_not_allowed(changes_state)
            }
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/metrics" => page(Metrics::CONTENT_TYPE, (self.metrics)()),
            "/config" => page("application/json", format!("{:#}\n", (self.config)())),
            "/tap" => self.tap(request.uri().query().unwrap_or_default()),
            "/log-level" | "/drain" => self.change(request).await,
            _ => text(
                StatusCode::NOT_FOUND,
                "not found: try /live, /ready, /metrics, /config, /tap, or POST to /log-level, /drain\n",
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

    fn tap(&self, query: &str) -> Answer {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let Some(tap) = self.taps.open(query.filter) else {
            let full = format!("{MAX_TAPS} taps are open already: try again when one has ended\n");
            return text(StatusCode::TOO_MANY_REQUESTS, full);
        };
        tracing::info!("a tap begins");
        let body = TapBody::new(tap, query.max, query.time);
        page("application/x-ndjson", "").map(|_| body.boxed_unsync())
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
