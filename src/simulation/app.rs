//! The applications: servers that behave as they are told to, and clients that write down what
//! became of every request.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::http1::{self as client, SendRequest},
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use super::{
    observed::{Observed, Outcome},
    registry::{NAMESPACE, SERVICE_PORT, TRUST_DOMAIN, virtual_ip},
};
use crate::{
    host::net::{TcpListener, TcpStream, connect},
    proxy::{CLIENT_ID, REASON},
};

/// In requests: who sends it, to which service, and which of the client's it is.
const FROM: &str = "sim-from";
const TO: &str = "sim-to";
const ID: &str = "sim-id";

/// Beyond this a request counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(12);

/// How a server treats requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Well,
    Slow(Duration),
    /// Answers 503 to so many of a hundred.
    Fails(u8),
    /// Never answers.
    Hangs,
    /// Ends the connection in the middle of every answer's body.
    BreaksOff,
}

/// One server of a service.
pub struct Server {
    pub service: String,
    pub behaviour: Rc<Cell<Behaviour>>,
    pub observed: Rc<Observed>,
}

impl Server {
    pub async fn run(self: Rc<Self>, listen: SocketAddr) {
        let listener = TcpListener::bind(listen).await.expect("a free port");
        loop {
            let (tcp, _) = listener.accept().await.expect("simulated");
            let own = self.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| {
                    let own = own.clone();
                    async move { Ok::<_, Infallible>(own.answer(&request).await) }
                });
                // The client's proxy says what it thinks of a connection that breaks off.
                let _ = server::Builder::new()
                    .serve_connection(TokioIo::new(tcp), service)
                    .await;
            });
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Answer> {
        let header = |name: &str| text(request.headers(), name);
        let (from, to, id) = (header(FROM), header(TO), header(ID));
        self.observed.served(&self.service);
        if to != self.service {
            self.observed
                .violated(format!("request {id} to {to} came to {}", self.service));
        }
        let proved = header(CLIENT_ID.as_str());
        if proved != format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{from}") {
            self.observed
                .violated(format!("request {id} of {from} came as {proved:?}"));
        }
        let behaviour = self.behaviour.get();
        match behaviour {
            Behaviour::Slow(by) => tokio::time::sleep(by).await,
            Behaviour::Hangs => tokio::time::sleep(Duration::from_secs(3600)).await,
            Behaviour::Well | Behaviour::Fails(_) | Behaviour::BreaksOff => {}
        }
        let fails = matches!(behaviour, Behaviour::Fails(share) if fastrand::u8(..100) < share);
        let mut response = Response::new(Answer {
            chunks: vec![format!("{to} {id}").into(), "for ".into()],
            breaks_off: behaviour == Behaviour::BreaksOff,
            pause: None,
        });
        if fails {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let name = HeaderValue::from_str(&self.service).expect("a plain name");
        response.headers_mut().insert(TO, name);
        response
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(HeaderValue::as_bytes);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

/// A body in two pieces with a moment between them.
struct Answer {
    /// From the last to the first.
    chunks: Vec<Bytes>,
    breaks_off: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
            if self.breaks_off {
                return Poll::Ready(Some(Err(std::io::ErrorKind::BrokenPipe.into())));
            }
        }
        let Some(chunk) = self.chunks.pop() else {
            return Poll::Ready(None);
        };
        if self.chunks.len() == 1 {
            self.pause = Some(Box::pin(tokio::time::sleep(Duration::from_millis(3))));
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

type Connection = SendRequest<Empty<Bytes>>;

/// A client, which sends through its sidecar.
pub struct Client {
    pub account: String,
    pub services: Vec<String>,
    /// The mean time between two requests.
    pub every: Rc<Cell<Duration>>,
    /// Whether it now and then sends many requests at once.
    pub bursts: Rc<Cell<bool>>,
    /// No more requests once it is false.
    pub sends: Rc<Cell<bool>>,
    pub observed: Rc<Observed>,
    pub idle: RefCell<BTreeMap<usize, Vec<Connection>>>,
}

impl Client {
    pub async fn run(self: Rc<Self>) {
        while self.sends.get() {
            let pause = self.every.get().mul_f64(2.0 * fastrand::f64());
            tokio::time::sleep(pause).await;
            // For the bulkheads.
            let many = self.bursts.get() && fastrand::u8(..32) == 0;
            let burst = if many { 12 } else { 1 };
            let service = fastrand::usize(..self.services.len());
            for _ in 0..burst {
                tokio::task::spawn_local(self.clone().request(service));
            }
        }
        // The sockets stay open until the process ends.
        std::future::pending::<()>().await;
    }

    async fn request(self: Rc<Self>, service: usize) {
        let sent = self.observed.sends(&self.account, &self.services[service]);
        let id = sent.id.to_string();
        let answered = tokio::time::timeout(LOST_AFTER, self.exchange(service, &id)).await;
        let outcome = answered.unwrap_or(Outcome::Lost);
        self.observed.ended(sent, outcome);
    }

    async fn exchange(&self, service: usize, id: &str) -> Outcome {
        let mut connection = match self.connection(service).await {
            Ok(connection) => connection,
            Err(error) => return Outcome::Broken(error),
        };
        let name = &self.services[service];
        let request = Request::get("/")
            .header("host", name)
            .header(FROM, &self.account)
            .header(TO, name)
            .header(ID, id)
            .body(Empty::new())
            .expect("valid");
        let response = match connection.send_request(request).await {
            Ok(response) => response,
            Err(error) => return Outcome::Broken(format!("no answer: {error}")),
        };
        let (head, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Outcome::BrokenOff(error.to_string()),
        };
        let mut idle = self.idle.borrow_mut();
        idle.entry(service).or_default().push(connection);
        if let Some(reason) = head.headers.get(REASON) {
            let reason = String::from_utf8_lossy(reason.as_bytes()).into_owned();
            return Outcome::Refused(head.status.as_u16(), reason);
        }
        if text(&head.headers, TO) != *name || *body != *format!("for {name} {id}").as_bytes() {
            return Outcome::Wrong(format!("{:?} {:?}", head.headers.get(TO), body));
        }
        Outcome::Answered(head.status.as_u16())
    }

    async fn connection(&self, service: usize) -> Result<Connection, String> {
        let taken = {
            let mut idle = self.idle.borrow_mut();
            let idle = idle.entry(service).or_default();
            idle.retain(|connection| connection.is_ready());
            idle.pop()
        };
        if let Some(connection) = taken {
            return Ok(connection);
        }
        let addr = SocketAddr::new(virtual_ip(service), SERVICE_PORT);
        let tcp: TcpStream = connect(addr, None)
            .await
            .map_err(|error| format!("no connection: {error}"))?;
        let (sender, connection) = client::handshake(TokioIo::new(tcp))
            .await
            .map_err(|error| format!("no connection: {error}"))?;
        tokio::task::spawn_local(async move {
            // How it ends is known to the exchanges.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
