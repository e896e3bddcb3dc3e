//! An application whose answers the test decides and whose requests it counts.

use std::{
    convert::Infallible,
    future::Future,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    task::{Context, Poll, ready},
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

pub struct Origin {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    status: AtomicU16,
    open: watch::Sender<bool>,
    seen: Mutex<Vec<Seen>>,
}

/// A request as it arrived.
#[derive(Clone)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Origin {
    /// Answers 200 with its name as the body. Under `/hold` it answers, and under `/trickle` it
    /// ends its body, only after [`Origin::release`]. With `x-read` it reads the request's body
    /// first.
    pub fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be");
        let addr = listener.local_addr().expect("a bound listener has one");
        let shared = Arc::new(Shared {
            name,
            status: AtomicU16::new(200),
            open: watch::Sender::new(false),
            seen: Mutex::default(),
        });
        let served = shared.clone();
        // Ends with the process: nothing waits for it.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(serve(listener, served));
        });
        Self { addr, shared }
    }

    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    pub fn release(&self) {
        self.shared.open.send_replace(true);
    }

    pub fn count(&self) -> usize {
        self.seen().len()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no holder panics").clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
    loop {
        let (stream, _) = listener.accept().await.expect("connections come");
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(shared.clone(), request));
            // A client that breaks off is what some tests are about.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = match parts.headers.contains_key("x-read") {
        true => body.collect().await.map(|body| body.to_bytes()),
        false => Ok(Bytes::new()),
    };
    let path = parts.uri.path().to_owned();
    shared.seen.lock().expect("no holder panics").push(Seen {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body: body.unwrap_or_default(),
    });
    let mut open = shared.open.subscribe();
    let opened = async move {
        open.wait_for(|open| *open).await.expect("the sender lives");
    };
    let mut last: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    match &*path {
        "/hold" => opened.await,
        "/trickle" => last = Some(Box::pin(opened)),
        _ => {}
    }
    let body = Answer {
        first: Some(Bytes::from_static(shared.name.as_bytes())),
        last,
    };
    let mut response = Response::builder();
    if path == "/says-unsent" {
        response = response
            .header("outrigger-unsent", "1")
            .header("outrigger-reason", "overloaded");
    }
    Ok(response
        .status(shared.status.load(Ordering::SeqCst))
        .header("x-from", "origin")
        .body(body)
        .expect("a valid response"))
}

/// The origin's name, and where `last` is given no end before that is over.
struct Answer {
    first: Option<Bytes>,
    last: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(last) = &mut self.last {
            ready!(last.as_mut().poll(cx));
            self.last = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.last.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.last {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.first.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}
