//! The probe port: makes a health check of the application on behalf of a platform that speaks no
//! mesh TLS, and answers as the application does. Which checks there are, the injector said.

mod grpc;
mod http;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use ::http::{Method, Request, StatusCode, header::USER_AGENT};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    discovery::probe::{Check, Probe, Probes},
    telemetry::{
        metrics::Counter,
        port::{self, Answer, Ends, Port, text},
    },
};

/// What the application said.
#[derive(Debug, PartialEq)]
struct Verdict {
    /// What the platform is answered: from 200 to 399 where all is well.
    status: StatusCode,
    /// For the log, and for who asks by hand.
    detail: String,
}

impl Verdict {
    fn good() -> Self {
        Self {
            status: StatusCode::OK,
            detail: "good".into(),
        }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail: detail.into(),
        }
    }

    fn is_good(&self) -> bool {
        self.status.is_success() || self.status.is_redirection()
    }
}

/// The checks, and how each went last.
pub struct ProbePort {
    probes: Probes,
    last: Mutex<HashMap<String, bool>>,
    displaced: Arc<Counter>,
}

impl ProbePort {
    /// `displaced` counts the connections that were closed to let others in.
    pub fn new(probes: Probes, displaced: Arc<Counter>) -> Self {
        Self {
            probes,
            last: Mutex::default(),
            displaced,
        }
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// When the listener itself fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let port = Port {
            name: "probe",
            displaced: self.displaced.clone(),
        };
        let probes = Arc::new(self);
        let answer = move |request, ends| {
            let probes = probes.clone();
            async move { probes.answer(request, ends).await }
        };
        port::serve(listener, port, answer).await
    }

    async fn answer(&self, request: Request<Incoming>, ends: Ends) -> Answer {
        let Some((path, probe)) = self.find(request.uri().path()) else {
            return text(StatusCode::NOT_FOUND, "the pod has no such check\n");
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        }
        let asked = Asked {
            // Where the platform would have found the application: its pod's address, in the
            // family that it came by.
            ip: ends.local.ip().to_canonical(),
            user_agent: request.headers().get(USER_AGENT).cloned(),
        };
        let verdict = asked.make(probe).await;
        self.note(without_word(path), &verdict);
        text(verdict.status, verdict.detail + "\n")
    }

    /// How long it takes says nothing of how much of a path was right: that of a hook has a word
    /// that only the platform knows.
    fn find(&self, asked: &str) -> Option<(&str, &Probe)> {
        let is_asked =
            |path: &str| verify_slices_are_equal(path.as_bytes(), asked.as_bytes()).is_ok();
        let mut probes = self.probes.iter();
        let (path, probe) = probes.find(|(path, _)| is_asked(path))?;
        Some((path, probe))
    }

    /// Logs a change, so that a failing check is in the log once and not every few seconds.
    fn note(&self, path: &str, verdict: &Verdict) {
        let good = verdict.is_good();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.insert(path.to_owned(), good);
        drop(last);
        match (before, good) {
            (Some(false), true) => tracing::info!(path, "the application's check passes again"),
            (None | Some(true), false) => {
                tracing::warn!(
                    path,
                    status = verdict.status.as_u16(),
                    detail = verdict.detail,
                    "the application's check fails"
                );
            }
            _ => {}
        }
    }
}

/// `/probe/CONTAINER/KIND`, which may be in a log.
fn without_word(path: &str) -> &str {
    let end = path.match_indices('/').nth(3);
    end.map_or(path, |(at, _)| &path[..at])
}

/// How the platform asked.
struct Asked {
    ip: IpAddr,
    user_agent: Option<::http::HeaderValue>,
}

impl Asked {
    async fn make(&self, probe: &Probe) -> Verdict {
        let Some(timeout) = probe.timeout else {
            return self.check(&probe.check).await;
        };
        match tokio::time::timeout(timeout, self.check(&probe.check)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict {
                status: StatusCode::GATEWAY_TIMEOUT,
                detail: format!("no answer within {timeout:?}"),
            },
        }
    }

    async fn check(&self, check: &Check) -> Verdict {
        let result = match check {
            Check::Http(check) => http::check(self, check).await,
            Check::Tcp { port } => self.connect(*port).await.map(|_| Verdict::good()),
            Check::Grpc { port, service } => grpc::check(self, *port, service).await,
        };
        result.unwrap_or_else(Verdict::bad)
    }

    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let addr = SocketAddr::new(self.ip, port);
        let connected = TcpStream::connect(addr).await;
        connected.map_err(|error| format!("cannot connect to {addr}: {error}"))
    }
}

#[cfg(test)]
mod tests;
