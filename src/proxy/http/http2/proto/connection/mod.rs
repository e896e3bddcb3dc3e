//! One connection: its streams, and what is true of it as a whole.

mod end;
mod heads;
mod receive;
mod send;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use foldhash::{HashSet, HashSetExt};
use http::{HeaderMap, StatusCode, request};

use super::{
    error::{Error, Reason, Side},
    flow::{DEFAULT_WINDOW, Inflow, Outflow},
    frame,
    hpack::{Decoder, Encoder},
    limits::{Count, Rate},
    output::{OVERFULL, Output},
    streams::{Half, Key, Streams},
};
use settings::PeerSettings;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// What a connection allows its peer.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub role: Role,
    /// Each stream's window, in bytes.
    pub stream_window: u32,
    /// The window of all of them together.
    pub connection_window: u32,
    /// Streams that the peer may have open at a time.
    pub max_streams: u32,
    /// Streams that we open before the peer's settings have come.
    pub first_streams: u32,
    /// What all fields of a head may count, in bytes.
    pub max_header_list: u32,
    /// Requests that the peer may reset in a second before they were answered.
    pub resets: u32,
    /// Streams that may end in a second with an error that we find.
    pub errors: u32,
    pub clock: fn() -> Instant,
}

/// Answers to pings, settings and refused streams that may wait to be written.
const MAX_ANSWERS: u32 = 10_000;
/// DATA frames without data that may come one after the other.
const MAX_EMPTY: u32 = 100;
/// Streams that we reset and may still be heard of.
const RESET_STREAMS: usize = 1024;

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// The peer was told to open no more streams, and what it opened before it heard that is still
    /// taken.
    Announced,
    /// It is told which streams were the last.
    Told,
}

pub struct Connection {
    config: Config,
    decoder: Decoder,
    encoder: Encoder,
    out: Output,
    streams: Streams,
    /// Those we reset: frames for them are ignored.
    reset: HashSet<u32>,
    reset_order: VecDeque<u32>,
    greeting: Greeting,
    /// A head that goes on in CONTINUATION frames.
    block: Option<heads::Block>,
    /// The last stream that the peer opened.
    last_peer: u32,
    /// The next one of ours.
    next_id: u32,
    inflow: Inflow,
    outflow: Outflow,
    peer: PeerSettings,
    /// Fields of the last head, for how much room the next one needs.
    fields: usize,
    accepted: VecDeque<Accepted>,
    /// Who waits for room in the connection, in order; and to how many there is room for a turn.
    waiting: VecDeque<Key>,
    turns: usize,
    /// Who waits until a head may be written.
    heads: Vec<Waker>,
    /// How many wait to open a stream.
    blocked: usize,
    ending: Ending,
    /// Why no stream can be opened any more.
    gone: Option<Error>,
    /// Why everything ended.
    failed: Option<Error>,
    /// Nobody will open a stream.
    abandoned: bool,
    resets: Rate,
    errors: Rate,
    answers: Count,
    empty: Count,
    pong: bool,
    /// Whoever reads and writes.
    driver: Option<Waker>,
    /// It is about to look, or does.
    driven: bool,
}

/// What must come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    /// The client's preface.
    Preface,
    Settings,
    Done,
}

/// A request that a client sent.
pub struct Accepted {
    pub key: Key,
    pub head: request::Parts,
}

impl Connection {
    /// One whose first frames are ready to be written.
    pub fn new(config: Config) -> Self {
        let server = config.role == Role::Server;
        let mut connection = Self {
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            out: Output::default(),
            streams: Streams::default(),
            reset: HashSet::new(),
            reset_order: VecDeque::new(),
            greeting: if server {
                Greeting::Preface
            } else {
                Greeting::Settings
            },
            block: None,
            last_peer: 0,
            next_id: if server { 2 } else { 1 },
            inflow: Inflow::new(config.connection_window),
            outflow: Outflow::new(DEFAULT_WINDOW),
            peer: PeerSettings::new(config.first_streams),
            fields: 0,
            accepted: VecDeque::new(),
            waiting: VecDeque::new(),
            turns: 0,
            heads: Vec::new(),
            blocked: 0,
            ending: Ending::No,
            gone: None,
            failed: None,
            abandoned: false,
            resets: Rate::new(config.resets),
            errors: Rate::new(config.errors),
            answers: Count::new(MAX_ANSWERS),
            empty: Count::new(MAX_EMPTY),
            pong: false,
            driver: None,
            driven: false,
            config,
        };
        connection.greet();
        connection
    }

    /// What is to be written.
    pub fn pending(&self) -> &[u8] {
        self.out.pending()
    }

    /// `bytes` of what was pending are written.
    pub fn wrote(&mut self, bytes: usize) {
        self.out.advance(bytes);
        if self.out.is_empty() {
            self.answers.forgive();
        }
        if self.out.len() < OVERFULL {
            self.heads.drain(..).for_each(Waker::wake);
        }
        self.give_turns();
    }

    /// Who reads and writes begins to. Until [`Connection::rests`] it need not be woken.
    pub fn drives(&mut self, cx: &Context<'_>) {
        self.driven = true;
        if !self
            .driver
            .as_ref()
            .is_some_and(|driver| driver.will_wake(cx.waker()))
        {
            self.driver = Some(cx.waker().clone());
        }
    }

    /// It has read and written what it could.
    pub fn rests(&mut self) {
        self.driven = false;
    }

    fn wake_driver(&mut self) {
        if !std::mem::replace(&mut self.driven, true)
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }

    /// It broke, or the peer broke the rules: nothing more is to be read.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Nothing more is to be done than to write what is pending.
    pub fn is_over(&self) -> bool {
        let idle = self.streams.open() == 0;
        let ends = self.abandoned || self.gone.is_some() || self.ending == Ending::Told;
        self.failed.is_some() || (idle && ends)
    }

    /// How it ended.
    ///
    /// # Errors
    /// When that is not how it was to.
    pub fn outcome(&self) -> Result<(), Error> {
        match self.failed.as_ref().or(self.gone.as_ref()) {
            Some(error) if error.reason() != Some(Reason::NO_ERROR) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// No stream can be opened on it any more; those that are open go on.
    pub fn is_closed(&self) -> bool {
        self.failed.is_some() || self.gone.is_some() || self.ending != Ending::No
    }

    /// Exchanges are under way.
    pub fn is_busy(&self) -> bool {
        self.streams.open() > 0
    }

    /// Somebody begins to wait for a place, or has it.
    pub fn waits_for_place(&mut self, waits: bool) {
        if waits {
            self.blocked += 1;
        } else {
            self.blocked -= 1;
        }
    }

    /// To how many of those who wait for a place there is one.
    pub fn to_tell(&self) -> usize {
        if self.is_closed() {
            return self.blocked;
        }
        self.blocked.min(self.places())
    }

    /// The next request of the client that it has not taken back.
    pub fn accept(&mut self) -> Option<Accepted> {
        loop {
            let accepted = self.accepted.pop_front()?;
            if self.streams[accepted.key].error.is_none() {
                return Some(accepted);
            }
            self.drop_reader(accepted.key);
            self.drop_writer(accepted.key);
        }
    }

    /// Asks the peer whether it is there. False where there is no use in asking.
    pub fn ping(&mut self) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.pong = false;
        frame::ping(self.out.buffer(), 0, &receive::PING);
        self.wake_driver();
        true
    }

    /// Whether it has answered since.
    pub fn has_answered(&self) -> bool {
        self.pong
    }

    /// The answer's head, or one of an interim answer (1xx) before it.
    pub fn poll_answer(
        &mut self,
        key: Key,
        cx: &Context<'_>,
    ) -> Poll<Result<(StatusCode, HeaderMap), Error>> {
        let stream = &mut self.streams[key];
        if let Some(head) = stream.take_head() {
            return Poll::Ready(Ok(head));
        }
        if let Some(error) = &stream.error {
            return Poll::Ready(Err(error.clone()));
        }
        register(&mut stream.read_waker, cx);
        Poll::Pending
    }

    /// The next data of a body; nothing once it has ended.
    pub fn poll_data(&mut self, key: Key, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let stream = &mut self.streams[key];
        if let Some(data) = stream.pop() {
            self.was_read(Some(key), data.len());
            return Poll::Ready(Some(Ok(data.into())));
        }
        if stream.receiving == Half::Ended {
            return Poll::Ready(None);
        }
        if let Some(error) = &stream.error {
            return Poll::Ready(Some(Err(error.clone())));
        }
        register(&mut stream.read_waker, cx);
        Poll::Pending
    }

    /// What followed the body, once that has ended.
    pub fn take_trailers(&mut self, key: Key) -> Option<HeaderMap> {
        self.streams[key].trailers.take()
    }

    /// All of it was taken.
    pub fn is_read(&self, key: Key) -> bool {
        let stream = &self.streams[key];
        stream.receiving == Half::Ended && !stream.has_data() && stream.trailers.is_none()
    }

    /// Until the peer resets the stream, or the connection ends.
    pub fn poll_reset(&mut self, key: Key, cx: &Context<'_>) -> Poll<Error> {
        let stream = &mut self.streams[key];
        match &stream.error {
            Some(error) => Poll::Ready(error.clone()),
            None => {
                register(&mut stream.write_waker, cx);
                Poll::Pending
            }
        }
    }

    /// Readers have taken bytes, of this stream or of one that nobody reads: the windows open again.
    fn was_read(&mut self, key: Option<Key>, bytes: usize) {
        // What came in windows of 31 bits.
        let bytes = bytes as u32;
        if let Some(increment) = self.inflow.was_read(bytes) {
            frame::window_update(self.out.buffer(), 0, increment);
            self.wake_driver();
        }
        let Some(key) = key else { return };
        let stream = &mut self.streams[key];
        let goes_on = stream.open && stream.receiving != Half::Ended;
        if let Some(increment) = stream.inflow.was_read(bytes).filter(|_| goes_on) {
            frame::window_update(self.out.buffer(), stream.id, increment);
            self.wake_driver();
        }
    }
}

/// Remembers whom to wake.
fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    if !slot
        .as_ref()
        .is_some_and(|waker| waker.will_wake(cx.waker()))
    {
        *slot = Some(cx.waker().clone());
    }
}

/// What a frame is guilty of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The connection cannot go on.
    Connection(Reason),
    /// The stream cannot.
    Stream(u32, Reason),
}

/// An error that this end found and tells the peer.
fn ours(reason: Reason) -> Error {
    Error::Reset {
        reason,
        side: Side::Ours,
    }
}
