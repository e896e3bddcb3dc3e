//! A request's body that can be sent once more, as long as little of it has gone by: what was
//! sent is kept until somebody answers, or until it is too much.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::BoxError;

/// The body, and what of it was sent already.
pub struct Replay<B>(Rc<RefCell<Source<B>>>);

struct Source<B> {
    body: B,
    /// From the body's start, in order; empty once nothing is kept any more.
    sent: Vec<Sent>,
    /// Of what was sent, in bytes.
    size: usize,
    max: usize,
    keeps: bool,
    ended: bool,
    /// It broke off: no try may take what came for the whole.
    failed: bool,
    /// Whoever waits for more of it.
    waiting: Option<Waker>,
    /// Counts the tries: only the latest one reads on.
    turn: u32,
}

#[derive(Clone)]
enum Sent {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Replay<B> {
    /// Keeps up to `max` bytes.
    pub fn new(body: B, max: usize) -> Self {
        Self(Rc::new(RefCell::new(Source {
            body,
            sent: Vec::new(),
            size: 0,
            max,
            keeps: true,
            ended: false,
            failed: false,
            waiting: None,
            turn: 0,
        })))
    }

    /// Whether another try would still send all of it.
    pub fn repeatable(&self) -> bool {
        let source = self.0.borrow();
        source.keeps && !source.failed
    }

    /// Another try will send it: from now on the one before takes no more of it, which would be
    /// missing. Its body ends with an error.
    pub fn claim(&self) {
        let mut source = self.0.borrow_mut();
        source.turn += 1;
        if let Some(waiting) = source.waiting.take() {
            waiting.wake();
        }
    }

    /// The whole body for one try.
    pub fn next(&self) -> ReplayBody<B> {
        self.claim();
        ReplayBody {
            turn: self.0.borrow().turn,
            at: 0,
            source: self.0.clone(),
        }
    }

    /// Somebody answers: what was sent needs to be kept no more.
    pub fn settle(&self) {
        self.0.borrow_mut().forget();
    }
}

impl<B> Source<B> {
    fn forget(&mut self) {
        self.keeps = false;
        self.sent = Vec::new();
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        if !self.keeps {
            return;
        }
        let sent = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => {
                self.size += data.len();
                Sent::Data(data.clone())
            }
            (None, Some(trailers)) => Sent::Trailers(trailers.clone()),
            (None, None) => return,
        };
        match self.size > self.max {
            true => self.forget(),
            false => self.sent.push(sent),
        }
    }
}

/// One try's view of the body: what was sent before, then the rest as it comes.
pub struct ReplayBody<B> {
    source: Rc<RefCell<Source<B>>>,
    turn: u32,
    /// How many of the kept frames this try has sent.
    at: usize,
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for ReplayBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut source = this.source.borrow_mut();
        if this.turn != source.turn {
            return Poll::Ready(Some(Err("another try has taken the body over".into())));
        }
        if let Some(sent) = source.sent.get(this.at) {
            this.at += 1;
            return Poll::Ready(Some(Ok(match sent.clone() {
                Sent::Data(data) => Frame::data(data),
                Sent::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if source.ended {
            return Poll::Ready(None);
        }
        if source.failed {
            return Poll::Ready(Some(Err("the body broke off in another try".into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut source.body).poll_frame(cx) else {
            source.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        match &frame {
            Some(Ok(frame)) => {
                source.note(frame);
                this.at = source.sent.len();
            }
            Some(Err(_)) => source.failed = true,
            None => source.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.borrow();
        self.at >= source.sent.len() && (source.ended || source.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.borrow();
        let again: usize = source.sent.iter().skip(self.at).map(Sent::len).sum();
        let again = again as u64;
        let rest = source.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + again);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again);
        }
        hint
    }
}

impl Sent {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::proxy::http::fed::{Fed, data};

    fn body<const N: usize>(parts: [&'static str; N]) -> Fed {
        let (feed, body) = Fed::new();
        for part in parts {
            feed.send(data(part)).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("end", http::HeaderValue::from_static("yes"));
        feed.send(Ok(Frame::trailers(trailers))).unwrap();
        body
    }

    async fn text(body: ReplayBody<Fed>) -> Result<String, BoxError> {
        let whole = body.collect().await?;
        assert!(whole.trailers().is_some());
        Ok(String::from_utf8(whole.to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_try_sends_the_whole_body() {
        let replay = Replay::new(body(["one ", "two ", "three"]), 100);
        let mut first = replay.next();
        first.frame().await.unwrap().unwrap();
        first.frame().await.unwrap().unwrap();
        assert!(replay.repeatable());
        assert_eq!(text(replay.next()).await.unwrap(), "one two three");
        assert_eq!(text(replay.next()).await.unwrap(), "one two three");
        assert!(first.frame().await.unwrap().is_err(), "its turn is over");
    }

    /// It read on while the next one was dialling, and what it took was missing there; or it
    /// waited for ever for what the next one got.
    #[tokio::test]
    async fn a_try_takes_nothing_more_once_another_is_decided_on() {
        let (feed, coming) = Fed::new();
        let replay = Replay::new(coming, 100);
        let mut first = replay.next();
        let waiting = async { first.frame().await.unwrap().is_err() };
        let deciding = async { replay.claim() };
        // The first is polled first, and would never be again if nobody woke it.
        let (is_told, ()) = tokio::join!(biased; waiting, deciding);
        assert!(is_told);
        let mut second = replay.next();
        feed.send(data("all of it")).unwrap();
        let frame = second.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "all of it");
    }

    #[tokio::test]
    async fn a_body_that_broke_off_is_whole_for_nobody() {
        let (feed, coming) = Fed::new();
        let replay = Replay::new(coming, 100);
        feed.send(Err("gone".into())).unwrap();
        drop(feed);
        assert!(replay.next().frame().await.unwrap().is_err());
        assert!(!replay.repeatable());
        assert!(replay.next().frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn keeps_no_more_than_it_may() {
        let replay = Replay::new(body(["1234", "5678", "9"]), 7);
        let mut first = replay.next();
        first.frame().await.unwrap().unwrap();
        assert!(replay.repeatable());
        assert_eq!(text(first).await.unwrap(), "56789");
        assert!(!replay.repeatable());
        assert!(replay.0.borrow().sent.is_empty());
    }

    #[tokio::test]
    async fn keeps_nothing_once_there_is_an_answer() {
        let replay = Replay::new(body(["1234", "5678"]), 100);
        let mut first = replay.next();
        first.frame().await.unwrap().unwrap();
        replay.settle();
        assert!(!replay.repeatable());
        assert_eq!(text(first).await.unwrap(), "5678");
        assert!(replay.0.borrow().sent.is_empty());
    }
}
