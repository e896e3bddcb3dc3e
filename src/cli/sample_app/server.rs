//! The sample service's answers.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::Semaphore};

use super::{
    downstream::{Call, call},
    fault::Fault,
};

/// What the service says of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub service: String,
    /// Who called, as the mesh told the service.
    pub caller: Option<String>,
    /// The trace that the request is part of.
    pub trace: Option<String>,
    pub calls: Vec<Call>,
}

pub struct App {
    name: String,
    downstreams: Vec<Uri>,
    places: Semaphore,
    fault: Mutex<Fault>,
}

impl App {
    pub fn new(name: String, downstreams: Vec<Uri>, capacity: u32) -> Self {
        Self {
            name,
            downstreams,
            places: Semaphore::new(capacity as usize),
            fault: Mutex::default(),
        }
    }

    fn fault(&self) -> std::sync::MutexGuard<'_, Fault> {
        self.fault.lock().expect("nothing panics with the lock")
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/fault" && request.method() == Method::POST {
            return match Fault::parse(request.uri().query().unwrap_or_default()) {
                Ok(fault) => {
                    *self.fault() = fault;
                    text(StatusCode::OK, format!("{fault}\n"))
                }
                Err(why) => text(StatusCode::BAD_REQUEST, why),
            };
        }
        let _place = self.places.acquire().await.expect("it is never closed");
        let fault = *self.fault();
        if !fault.delay.is_zero() {
            tokio::time::sleep(fault.delay).await;
        }
        if let Some(status) = fault.status {
            return text(status, format!("{} was told to fail\n", self.name));
        }
        self.answer(&request).await
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let mut calls = Vec::new();
        for downstream in &self.downstreams {
            calls.push(call(downstream, path, request.headers()).await);
        }
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        let answer = Answer {
            service: self.name.clone(),
            caller: header("outrigger-client-id").map(str::to_owned),
            // version-trace-span-flags (W3C Trace Context).
            trace: header("traceparent").and_then(|text| Some(text.split('-').nth(1)?.to_owned())),
            calls,
        };
        let body = serde_json::to_string(&answer).expect("an answer is plain data");
        let mut response = text(StatusCode::OK, body + "\n");
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

/// Answers for as long as the process lives.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, app: App) -> anyhow::Result<()> {
    let app = Arc::new(app);
    loop {
        let (stream, _) = listener.accept().await?;
        let app = app.clone();
        tokio::spawn(async move {
            let service =
                service_fn(|request| async { Ok::<_, Infallible>(app.respond(request).await) });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}
