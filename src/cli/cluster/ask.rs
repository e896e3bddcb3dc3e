//! Asking proxies: their admin port, through the API server's port-forward, a bounded number at
//! a time and each for a bounded time. It needs the permissions on `pods/portforward` to `get` it,
//! which a WebSocket is by its method, and to `create` it, which newer API servers ask for too.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::Portforwarder};

use super::{Progress, explain};

/// The proxy's admin port.
pub const ADMIN_PORT: u16 = 14020;
/// Port-forwards open at once: each is a connection through the API server and a kubelet.
const AT_ONCE: usize = 16;
/// For one pod, from the port-forward to the last byte.
const PER_POD: Duration = Duration::from_secs(10);
/// Of one answer.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why a proxy said nothing.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no port-forward to the pod: {0}")]
    PortForward(String),
    #[error("the proxy does not answer on port {ADMIN_PORT}: {0}")]
    Http(String),
    #[error("no answer within {} s", PER_POD.as_secs())]
    TooSlow,
    #[error("the proxy refused {path} with {status}: {text}")]
    Refused {
        path: String,
        status: StatusCode,
        text: String,
    },
    #[error("the pod is {0}, not running")]
    NotRunning(String),
}

/// A connection to the admin port of one pod's proxy.
pub struct Proxy {
    send: SendRequest<Empty<Bytes>>,
    _forward: Portforwarder,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Proxy {
    /// # Errors
    /// When the pod cannot be forwarded to, or nothing listens there.
    pub async fn connect(client: &Client, namespace: &str, pod: &str) -> Result<Self, AskError> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let refused = |error| AskError::PortForward(explain(&error));
        let mut forward = pods
            .portforward(pod, &[ADMIN_PORT])
            .await
            .map_err(refused)?;
        let stream = forward
            .take_stream(ADMIN_PORT)
            .expect("the port was asked for just now");
        let broken = forward.take_error(ADMIN_PORT);
        let (send, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| AskError::Http(error.to_string()))?;
        let connection = tokio::spawn(async move {
            // What goes wrong here, the request that waits for it says.
            let _ = connection.await;
            drop(broken);
        });
        Ok(Self {
            send,
            _forward: forward,
            connection,
        })
    }

    /// The beginning of an answer whose body may have no end.
    ///
    /// # Errors
    /// When there is none, or when it is not 200.
    pub async fn open(&mut self, path: &str) -> Result<Incoming, AskError> {
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Empty::new())
            .map_err(|error| AskError::Http(error.to_string()))?;
        let http = |error: hyper::Error| AskError::Http(error.to_string());
        let response = self.send.send_request(request).await.map_err(http)?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response.into_body());
        }
        let text = read(response.into_body()).await.unwrap_or_default();
        Err(AskError::Refused {
            path: path.to_owned(),
            status,
            text: text.trim().to_owned(),
        })
    }

    /// # Errors
    /// When there is no answer, or when it is not 200.
    pub async fn get(&mut self, path: &str) -> Result<String, AskError> {
        read(self.open(path).await?).await
    }
}

async fn read(body: Incoming) -> Result<String, AskError> {
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| AskError::Http(error.to_string()))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// What a pod's proxy said.
pub struct Asked<const N: usize> {
    pub pod: Pod,
    /// When the answer had come.
    pub at: Instant,
    pub pages: Result<[String; N], AskError>,
}

/// Asks the proxies of these pods for some pages, each pod once and on its own time. The answers
/// come in the order of the pods, those that could not be had with the reason.
pub async fn ask_all<const N: usize>(
    client: &Client,
    pods: Vec<Pod>,
    paths: [&'static str; N],
    progress: &Progress,
) -> Vec<Asked<N>> {
    let total = pods.len();
    let asked = futures_util::stream::iter(pods).map(|pod| async {
        let pages = tokio::time::timeout(PER_POD, ask(client, &pod, paths)).await;
        Asked {
            pod,
            at: Instant::now(),
            pages: pages.unwrap_or(Err(AskError::TooSlow)),
        }
    });
    let mut asked = asked.buffered(AT_ONCE);
    let mut answers = Vec::with_capacity(total);
    while let Some(answer) = asked.next().await {
        answers.push(answer);
        progress.step(&format!("asking proxies, {} of {total}", answers.len()));
    }
    answers
}

async fn ask<const N: usize>(
    client: &Client,
    pod: &Pod,
    paths: [&'static str; N],
) -> Result<[String; N], AskError> {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if phase != Some("Running") && phase != Some("Pending") {
        return Err(AskError::NotRunning(phase.unwrap_or("unknown").to_owned()));
    }
    let namespace = pod.namespace().unwrap_or_default();
    let mut proxy = Proxy::connect(client, &namespace, &pod.name_any()).await?;
    let mut pages = [const { String::new() }; N];
    for (page, path) in pages.iter_mut().zip(paths) {
        *page = proxy.get(path).await?;
    }
    Ok(pages)
}
