//! A small OTLP/HTTP collector: keeps the last spans for the demo to show, and passes all of
//! them on where somebody named another collector.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};

use super::otlp::{ExportTraces, SpanRecord};
use crate::{
    failure,
    netns::{NODE_V4, World},
};

/// Spans that are kept.
const KEPT: usize = 5_000;
/// The largest batch of spans, in bytes.
const MAX_BATCH: usize = 8 << 20;
/// Nanoseconds after a trace's end within which every proxy has sent its spans.
const LINGER: u64 = 1_000_000_000;
/// Traces that are looked at for one whose spans have all come.
const RECENT: usize = 100;
const PORT: u16 = 4318;

#[derive(Clone)]
pub struct Collector(Arc<Inner>);

struct Inner {
    spans: Mutex<VecDeque<SpanRecord>>,
    forward: Option<Uri>,
    /// Why spans could not be passed on, the last time that they could not.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Collector {
    /// Serves the pods from the node, on the calling runtime.
    pub fn start(world: &World, forward: Option<Uri>) -> anyhow::Result<Self> {
        let listener = world
            .within(|| std::net::TcpListener::bind((NODE_V4, PORT)))
            .context("cannot listen for spans on the node")?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let collector = Self(Arc::new(Inner {
            spans: Mutex::default(),
            forward,
            failure: Mutex::default(),
        }));
        tokio::spawn(collector.clone().serve(listener));
        Ok(collector)
    }

    /// Where the proxies send their spans.
    pub fn url() -> String {
        format!("http://{NODE_V4}:{PORT}/v1/traces")
    }

    /// The spans of a trace that have come so far.
    pub fn trace(&self, id: &str) -> Vec<SpanRecord> {
        let spans = self.spans();
        spans
            .iter()
            .filter(|span| span.trace == id)
            .cloned()
            .collect()
    }

    /// The spans of the last trace that all these services have a part in, or of the last one
    /// where there is none such, by their begin.
    pub fn last_trace(&self, services: &[&str]) -> Vec<SpanRecord> {
        let roots: Vec<String> = {
            let spans = self.spans();
            let newest = spans.iter().map(|span| span.end).max().unwrap_or(0);
            let settled = |span: &&SpanRecord| span.parent.is_empty() && span.end + LINGER < newest;
            let roots = spans.iter().rev().filter(settled);
            roots.take(RECENT).map(|span| span.trace.clone()).collect()
        };
        let mut traces = roots.iter().map(|id| self.trace(id)).collect::<Vec<_>>();
        let whole = |trace: &Vec<SpanRecord>| {
            let has = |name: &&str| trace.iter().any(|span| span.service == *name);
            services.iter().all(has)
        };
        let last = traces.iter().position(whole).unwrap_or(0);
        let mut trace = match traces.is_empty() {
            true => Vec::new(),
            false => traces.swap_remove(last),
        };
        trace.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
        trace
    }

    fn spans(&self) -> MutexGuard<'_, VecDeque<SpanRecord>> {
        self.0.spans.lock().expect("nothing panics with the lock")
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(self.clone().serve_connection(stream));
                }
                Err(error) => return eprintln!("the demo's collector ends: {error}"),
            }
        }
    }

    async fn serve_connection(self, stream: TcpStream) {
        let service = service_fn(|request| async {
            Ok::<_, Infallible>(match self.take(request).await {
                Ok(()) => Response::new(Full::<Bytes>::default()),
                Err(error) => {
                    let mut refusal =
                        Response::new(Full::from(format!("{}\n", failure::in_full(&error))));
                    *refusal.status_mut() = StatusCode::BAD_REQUEST;
                    refusal
                }
            })
        });
        // A proxy that goes away is no news.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn take(&self, request: Request<Incoming>) -> anyhow::Result<()> {
        let body = Limited::new(request.into_body(), MAX_BATCH).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        let batch = ExportTraces::decode(body.clone())?;
        {
            let mut spans = self.spans();
            spans.extend(batch.records());
            let surplus = spans.len().saturating_sub(KEPT);
            spans.drain(..surplus);
        }
        // Not the proxies' affair: they would send what is here already once more.
        tokio::spawn(self.clone().pass_on(body));
        Ok(())
    }

    async fn pass_on(self, body: Bytes) {
        if let Some(url) = &self.0.forward
            && let Err(error) = forward(url, body).await
        {
            *self.failure() = Some(error.context(format!("cannot pass spans on to {url}")));
        }
    }

    /// Why the other collector lacks spans.
    pub fn take_failure(&self) -> Option<anyhow::Error> {
        self.failure().take()
    }

    fn failure(&self) -> MutexGuard<'_, Option<anyhow::Error>> {
        self.0.failure.lock().expect("nothing panics with the lock")
    }
}

/// From this program's own network, where the other collector is.
async fn forward(url: &Uri, body: Bytes) -> anyhow::Result<()> {
    let host = url.host().context("the URL names no host")?;
    let addr = format!("{host}:{}", url.port_u16().unwrap_or(4318));
    let stream = TcpStream::connect(addr).await?.into_std()?;
    let path = match url.path() {
        "/" | "" => "/v1/traces",
        path => path,
    };
    let request = Request::post(path)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(body)?;
    let reply = super::http::send(stream, request).await?;
    anyhow::ensure!(reply.status.is_success(), "it answered {}", reply.status);
    Ok(())
}
