//! From a head, which is only looked at, to a block.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, BuildHasherDefault, Hasher},
};

use foldhash::fast::FixedState;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::{OVERHEAD, TABLE_SIZE, integer, static_table};

/// Shorter cookies could be guessed one by one by whoever sees how long a block is (section 7.1.3).
const GUESSABLE: usize = 20;
/// Values that were seen and did not enter the table, by a part of their hash.
const SEEN: usize = 64;

/// What is sent of a request before its fields.
pub struct RequestHead<'a> {
    pub method: &'a Method,
    pub scheme: &'a str,
    pub authority: &'a str,
    /// With its query.
    pub path: &'a str,
}

/// Writes the blocks of one connection, to be sent all of them and in order.
///
/// A field enters the table when it is sent a second time, or when its name is in neither table.
/// So what differs in each request, as the identifier of a trace does, takes no place in it and
/// costs the peer none, and still its name is written once.
pub struct Encoder {
    /// The oldest first. Entries are numbered as they enter.
    table: VecDeque<Entry>,
    entered: u64,
    size: usize,
    limit: usize,
    /// The lowest limit since the last block, which the peer must hear of before the present one
    /// (section 4.2).
    lowest: Option<usize>,
    /// The newest entry of each field, and of each name, by their hashes.
    fields: Index,
    names: Index,
    seen: [u32; SEEN],
    hashes: FixedState,
}

struct Entry {
    text: Box<[u8]>,
    name_len: usize,
    field_hash: u64,
    name_hash: u64,
}

impl Entry {
    fn name(&self) -> &[u8] {
        &self.text[..self.name_len]
    }

    fn value(&self) -> &[u8] {
        &self.text[self.name_len..]
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

type Index = HashMap<u64, u64, BuildHasherDefault<Itself>>;

/// The hash of what is one.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are looked up");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Whether a field may enter a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexing {
    May,
    /// Not in ours.
    Not,
    /// Neither in ours nor in that of anybody on the way (section 7.1.3).
    Never,
}

impl Indexing {
    fn of(name: &HeaderName, value: &HeaderValue) -> Self {
        match *name {
            _ if value.is_sensitive() => Indexing::Never,
            header::AUTHORIZATION | header::PROXY_AUTHORIZATION => Indexing::Never,
            header::COOKIE if value.len() < GUESSABLE => Indexing::Never,
            header::COOKIE | header::SET_COOKIE => Indexing::Not,
            _ => Indexing::May,
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: VecDeque::new(),
            entered: 0,
            size: 0,
            limit: TABLE_SIZE,
            lowest: None,
            fields: Index::default(),
            names: Index::default(),
            seen: [0; SEEN],
            hashes: FixedState::default(),
        }
    }
}

impl Encoder {
    /// The peer says how much its table may hold, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        let limit = limit.min(TABLE_SIZE);
        if limit == self.limit {
            return;
        }
        self.lowest = Some(self.lowest.map_or(limit, |lowest| lowest.min(limit)));
        self.limit = limit;
        self.evict(0);
    }

    pub fn request<'a>(
        &mut self,
        head: &RequestHead<'_>,
        fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        out: &mut Vec<u8>,
    ) {
        self.begin(out);
        match *head.method {
            Method::GET => indexed(out, static_table::GET),
            Method::POST => indexed(out, static_table::POST),
            _ => self.pseudo(static_table::METHOD, ":method", head.method.as_str(), out),
        }
        match head.scheme {
            "http" => indexed(out, static_table::HTTP),
            "https" => indexed(out, static_table::HTTPS),
            other => self.pseudo(static_table::SCHEME, ":scheme", other, out),
        }
        self.pseudo(static_table::AUTHORITY, ":authority", head.authority, out);
        match head.path {
            "/" => indexed(out, static_table::ROOT),
            path => self.pseudo(static_table::PATH, ":path", path, out),
        }
        self.fields(fields, out);
    }

    pub fn response<'a>(
        &mut self,
        status: StatusCode,
        fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        out: &mut Vec<u8>,
    ) {
        self.begin(out);
        match static_table::index_of_status(status) {
            Some(index) => indexed(out, index),
            None => self.pseudo(static_table::STATUS, ":status", status.as_str(), out),
        }
        self.fields(fields, out);
    }

    pub fn trailers<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        out: &mut Vec<u8>,
    ) {
        self.begin(out);
        self.fields(fields, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(lowest) = self.lowest.take() else {
            return;
        };
        if lowest < self.limit {
            integer::write(out, 0x20, 5, lowest);
        }
        integer::write(out, 0x20, 5, self.limit);
    }

    fn fields<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        out: &mut Vec<u8>,
    ) {
        for (name, value) in fields {
            let indexing = Indexing::of(name, value);
            let name = name.as_str();
            let known = static_table::index_of(name);
            self.field(known, name.as_bytes(), value.as_bytes(), indexing, out);
        }
    }

    fn pseudo(&mut self, name: usize, text: &str, value: &str, out: &mut Vec<u8>) {
        // What is secret in a path is in its query.
        let indexing = if name == static_table::PATH && value.contains('?') {
            Indexing::Not
        } else {
            Indexing::May
        };
        self.field(Some(name), text.as_bytes(), value.as_bytes(), indexing, out);
    }

    fn field(
        &mut self,
        known: Option<usize>,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        out: &mut Vec<u8>,
    ) {
        let mut hasher = self.hashes.build_hasher();
        hasher.write(name);
        let name_hash = hasher.finish();
        hasher.write(value);
        let field_hash = hasher.finish();
        if indexing == Indexing::May
            && let Some((number, entry)) = self.entry(&self.fields, field_hash)
            && entry.name() == name
            && entry.value() == value
        {
            return indexed(out, self.index(number));
        }
        let known = known.or_else(|| {
            let (number, entry) = self.entry(&self.names, name_hash)?;
            (entry.name() == name).then(|| self.index(number))
        });
        // A large one would push out all others.
        let size = name.len() + value.len() + OVERHEAD;
        let enters = indexing == Indexing::May
            && size <= self.limit / 2
            && (known.is_none() || self.was_seen(field_hash));
        let (first, prefix) = match indexing {
            _ if enters => (0x40, 6),
            Indexing::Never => (0x10, 4),
            Indexing::May | Indexing::Not => (0, 4),
        };
        integer::write(out, first, prefix, known.unwrap_or(0));
        if known.is_none() {
            text(out, name);
        }
        text(out, value);
        if enters {
            self.enter(Entry {
                text: [name, value].concat().into(),
                name_len: name.len(),
                field_hash,
                name_hash,
            });
        }
    }

    /// Whether it was lately; from now on it was.
    fn was_seen(&mut self, field_hash: u64) -> bool {
        let slot = &mut self.seen[field_hash as usize % SEEN];
        let tag = (field_hash >> 32) as u32;
        std::mem::replace(slot, tag) == tag
    }

    fn entry(&self, index: &Index, hash: u64) -> Option<(u64, &Entry)> {
        let number = *index.get(&hash)?;
        let oldest = self.entered - self.table.len() as u64;
        let entry = self.table.get((number - oldest) as usize)?;
        Some((number, entry))
    }

    /// How the peer counts: the newest is the first.
    fn index(&self, number: u64) -> usize {
        static_table::LEN + (self.entered - number) as usize
    }

    fn enter(&mut self, entry: Entry) {
        self.evict(entry.size());
        self.size += entry.size();
        self.fields.insert(entry.field_hash, self.entered);
        self.names.insert(entry.name_hash, self.entered);
        self.table.push_back(entry);
        self.entered += 1;
    }

    /// Makes room for `size`.
    fn evict(&mut self, size: usize) {
        while self.size + size > self.limit {
            let number = self.entered - self.table.len() as u64;
            let Some(oldest) = self.table.pop_front() else {
                return;
            };
            self.size -= oldest.size();
            for (index, hash) in [
                (&mut self.fields, oldest.field_hash),
                (&mut self.names, oldest.name_hash),
            ] {
                if index.get(&hash) == Some(&number) {
                    index.remove(&hash);
                }
            }
        }
    }
}

fn indexed(out: &mut Vec<u8>, index: usize) {
    integer::write(out, 0x80, 7, index);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    integer::write(out, 0, 7, text.len());
    out.extend_from_slice(text);
}
