//! The streams of a connection.

use std::{
    collections::VecDeque,
    ops::{Index, IndexMut},
    task::Waker,
};

use foldhash::{HashMap, HashMapExt};
use http::{HeaderMap, StatusCode};

use super::{
    error::Error,
    flow::{Inflow, Outflow},
};

/// Data that comes in small frames is put together up to so many bytes: a byte of a window must
/// not cost more than a few of memory.
const JOINED: usize = 4096;
/// Interim answers that may wait to be taken; those beyond are left out.
const MOST_AHEAD: usize = 2;
/// So many places are kept for streams to come when there are none.
const KEPT: usize = 64;

/// Where a stream is, for as long as one of its handles exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u32);

/// How far one direction of a stream is (RFC 9113, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The head has not come, or was not sent.
    Head,
    Body,
    Ended,
}

/// Whether a stream waits for room in the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    None,
    Waits,
    /// There is room, and it is this stream's.
    Has,
}

pub struct Stream {
    pub id: u32,
    pub receiving: Half,
    pub sending: Half,
    /// Reset, or ended with the connection.
    pub error: Option<Error>,
    /// The connection knows it by its identifier. Closed otherwise: only handles know it.
    pub open: bool,
    /// Somebody takes what comes.
    pub reader: bool,
    /// Somebody sends, or will.
    pub writer: bool,
    pub inflow: Inflow,
    pub outflow: Outflow,
    /// What `Content-Length` says is still to come, in bytes.
    pub length: Option<u64>,
    /// The request was HEAD: `Content-Length` says nothing about what comes.
    pub is_head: bool,
    /// Interim answers that came before the answer.
    ahead: Vec<(StatusCode, HeaderMap)>,
    pub answer: Option<(StatusCode, HeaderMap)>,
    data: VecDeque<Vec<u8>>,
    pub trailers: Option<HeaderMap>,
    pub turn: Turn,
    pub read_waker: Option<Waker>,
    pub write_waker: Option<Waker>,
}

impl Stream {
    /// An open one, with both handles.
    pub fn new(id: u32, inflow: u32, outflow: u32) -> Self {
        Self {
            id,
            receiving: Half::Head,
            sending: Half::Head,
            error: None,
            open: true,
            reader: true,
            writer: true,
            inflow: Inflow::new(inflow),
            outflow: Outflow::new(outflow),
            length: None,
            is_head: false,
            ahead: Vec::new(),
            answer: None,
            data: VecDeque::new(),
            trailers: None,
            turn: Turn::None,
            read_waker: None,
            write_waker: None,
        }
    }

    /// Nothing more happens on it.
    pub fn is_over(&self) -> bool {
        let ended = self.receiving == Half::Ended && self.sending == Half::Ended;
        self.error.is_some() || ended
    }

    pub fn push(&mut self, data: &[u8]) {
        match self.data.back_mut() {
            Some(last) if last.len() + data.len() <= JOINED => last.extend_from_slice(data),
            _ => self.data.push_back(data.to_vec()),
        }
    }

    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.data.pop_front()
    }

    pub fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    /// An interim answer has come.
    pub fn hears_ahead(&mut self, head: (StatusCode, HeaderMap)) {
        if self.reader && self.ahead.len() < MOST_AHEAD {
            self.ahead.push(head);
            self.wake_reader();
        }
    }

    /// The next head: interim ones come before the answer's.
    pub fn take_head(&mut self) -> Option<(StatusCode, HeaderMap)> {
        if self.ahead.is_empty() {
            return self.answer.take();
        }
        Some(self.ahead.remove(0))
    }

    /// Forgets what nobody will read. How many bytes it was.
    pub fn discard(&mut self) -> u32 {
        self.trailers = None;
        self.ahead = Vec::new();
        self.answer = None;
        // No more than the stream's window.
        self.data.drain(..).map(|data| data.len() as u32).sum()
    }

    pub fn wake_reader(&mut self) {
        if let Some(waker) = self.read_waker.take() {
            waker.wake();
        }
    }

    pub fn wake_writer(&mut self) {
        if let Some(waker) = self.write_waker.take() {
            waker.wake();
        }
    }
}

/// Streams by key, and the open ones by identifier.
#[derive(Default)]
pub struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    by_id: HashMap<u32, Key>,
}

impl Streams {
    /// How many are open.
    pub fn open(&self) -> usize {
        self.by_id.len()
    }

    pub fn insert(&mut self, mut stream: Stream) -> Key {
        let id = stream.id;
        let key = match self.free.pop() {
            Some(slot) => {
                let old = &mut self.slots[slot as usize];
                std::mem::swap(&mut stream.data, &mut old.data);
                *old = stream;
                Key(slot)
            }
            None => {
                self.slots.push(stream);
                Key(self.slots.len() as u32 - 1)
            }
        };
        self.by_id.insert(id, key);
        key
    }

    /// For how many streams there is memory.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.slots.capacity()
    }

    /// The open stream of this identifier.
    pub fn find(&self, id: u32) -> Option<Key> {
        self.by_id.get(&id).copied()
    }

    /// All open ones, in the order of their identifiers.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<_> = self.by_id.values().copied().collect();
        keys.sort_unstable_by_key(|key| self[*key].id);
        keys
    }

    /// The connection knows it no more.
    pub fn close(&mut self, key: Key) {
        let stream = &mut self[key];
        stream.open = false;
        let id = stream.id;
        self.by_id.remove(&id);
    }

    /// Nobody knows it any more.
    pub fn free(&mut self, key: Key) {
        let stream = &mut self[key];
        debug_assert!(!stream.open);
        stream.discard();
        (stream.read_waker, stream.write_waker) = (None, None);
        self.free.push(key.0);
        if self.free.len() == self.slots.len() && self.slots.len() > KEPT {
            *self = Self {
                by_id: HashMap::new(),
                ..Self::default()
            };
        }
    }
}

impl Index<Key> for Streams {
    type Output = Stream;

    fn index(&self, key: Key) -> &Stream {
        &self.slots[key.0 as usize]
    }
}

impl IndexMut<Key> for Streams {
    fn index_mut(&mut self, key: Key) -> &mut Stream {
        &mut self.slots[key.0 as usize]
    }
}
