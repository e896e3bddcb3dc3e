//! A request's body that can be sent once more, as long as little of it has gone by: what was
//! sent is kept until somebody answers, or until it is too much.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
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
            turn: 0,
        })))
    }

    /// Whether another try would still send all of it.
    pub fn repeatable(&self) -> bool {
        self.0.borrow().keeps
    }

    /// The whole body for one try. The body of the try before ends with an error.
    pub fn next(&self) -> ReplayBody<B> {
        let mut source = self.0.borrow_mut();
        source.turn += 1;
        ReplayBody {
            turn: source.turn,
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
        let frame = ready!(Pin::new(&mut source.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                source.note(frame);
                this.at = source.sent.len();
            }
            Some(Err(_)) => {}
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
    use std::collections::VecDeque;

    use http_body_util::BodyExt;

    use super::*;

    /// Gives these frames, one for each poll.
    struct Frames(VecDeque<Frame<Bytes>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn body<const N: usize>(data: [&'static str; N]) -> Frames {
        let mut frames: VecDeque<_> = data
            .into_iter()
            .map(|data| Frame::data(Bytes::from_static(data.as_bytes())))
            .collect();
        let mut trailers = HeaderMap::new();
        trailers.insert("end", http::HeaderValue::from_static("yes"));
        frames.push_back(Frame::trailers(trailers));
        Frames(frames)
    }

    async fn text(body: ReplayBody<Frames>) -> Result<String, BoxError> {
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
