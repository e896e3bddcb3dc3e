//! A head or trailers (RFC 9113, section 8.1), from the fields that come: with the checks that make a
//! message malformed, and a limit on what is kept.

use http::{
    HeaderMap, Method, Request, StatusCode, Uri, Version, header, request,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::hpack::{Decoder, Field, Undecodable};
use crate::proxy::head::content_length;

/// A peer that sends more than so many times what we take wants to keep us busy.
const ABUSE: usize = 4;
/// Fields that are added to a head on its way, for which there is room.
const ADDED: usize = 3;

/// The message is malformed (section 8.1.1): an error of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Why a block ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBlock {
    Undecodable,
    /// Far more than was allowed.
    Abuse,
}

impl From<Undecodable> for BadBlock {
    fn from(_: Undecodable) -> Self {
        BadBlock::Undecodable
    }
}

/// What came in one block.
#[derive(Default)]
pub struct Section {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    /// What `Content-Length` says, in bytes.
    length: Option<u64>,
    /// What all fields count (section 6.5.2), in bytes.
    size: usize,
    has_pseudo: bool,
    malformed: bool,
}

/// Of a request or a response.
pub struct Message<H> {
    pub head: H,
    /// What `Content-Length` says, in bytes.
    pub length: Option<u64>,
}

impl Section {
    /// Decodes a block. `fields` is how many there may be; more than `max` bytes of them are not
    /// kept.
    ///
    /// # Errors
    /// When the connection cannot go on after it.
    pub fn decode(
        decoder: &mut Decoder,
        block: &[u8],
        fields: usize,
        max: usize,
    ) -> Result<Self, BadBlock> {
        let mut section = Self {
            headers: HeaderMap::with_capacity(fields + ADDED),
            ..Self::default()
        };
        decoder.decode(block, |field, size| {
            section.size += size;
            if section.size <= max {
                section.add(field);
            }
            section.size <= ABUSE * max
        })?;
        if section.size > ABUSE * max {
            return Err(BadBlock::Abuse);
        }
        Ok(section)
    }

    pub fn is_larger_than(&self, max: usize) -> bool {
        self.size > max
    }

    /// How many fields it has, pseudo-headers not counted.
    pub fn fields(&self) -> usize {
        self.headers.len()
    }

    fn add(&mut self, field: Field) {
        match field {
            Field::Method(method) => pseudo(self, |this| &mut this.method, method),
            Field::Scheme(scheme) => pseudo(self, |this| &mut this.scheme, scheme),
            Field::Authority(authority) => pseudo(self, |this| &mut this.authority, authority),
            Field::Path(path) => pseudo(self, |this| &mut this.path, path),
            Field::Status(status) => pseudo(self, |this| &mut this.status, status),
            Field::Header(name, value) => {
                if name == header::CONTENT_LENGTH {
                    let length = content_length(value.as_bytes());
                    let agrees = self.length.is_none() || self.length == length;
                    self.malformed |= length.is_none() || !agrees;
                    self.length = length;
                }
                // It fails with more fields than the limit of their size lets in.
                self.malformed |= self.headers.try_append(name, value).is_err();
            }
            Field::Protocol | Field::Malformed(_) => self.malformed = true,
        }
    }

    /// # Errors
    /// When it is no request's head.
    pub fn into_request(self) -> Result<Message<request::Parts>, Malformed> {
        let method = self.method.ok_or(Malformed)?;
        let tunnel = method == Method::CONNECT;
        // Section 8.3.1, and 8.5 for CONNECT.
        let whole = self.scheme.is_some() && self.path.is_some();
        let none = self.scheme.is_none() && self.path.is_none();
        let complete = if tunnel { none } else { whole };
        if self.malformed || !complete || self.status.is_some() {
            return Err(Malformed);
        }
        let mut uri = http::uri::Parts::default();
        // A scheme without an authority is none for the `http` crate.
        uri.scheme = self.scheme.filter(|_| self.authority.is_some());
        uri.authority = self.authority;
        uri.path_and_query = self.path;
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = method;
        head.uri = Uri::from_parts(uri).map_err(|_| Malformed)?;
        head.version = Version::HTTP_2;
        head.headers = self.headers;
        Ok(Message {
            head,
            length: self.length,
        })
    }

    /// # Errors
    /// When it is no response's head.
    pub fn into_response(self) -> Result<Message<(StatusCode, HeaderMap)>, Malformed> {
        let of_request = self.method.is_some()
            || self.scheme.is_some()
            || self.authority.is_some()
            || self.path.is_some();
        let status = self.status.filter(|_| !self.malformed && !of_request);
        Ok(Message {
            head: (status.ok_or(Malformed)?, self.headers),
            length: self.length,
        })
    }

    /// # Errors
    /// When it has what trailers have not.
    pub fn into_trailers(self) -> Result<HeaderMap, Malformed> {
        if self.malformed || self.has_pseudo {
            return Err(Malformed);
        }
        Ok(self.headers)
    }
}

/// Once, and before all regular fields (section 8.3).
fn pseudo<T>(section: &mut Section, slot: impl Fn(&mut Section) -> &mut Option<T>, value: T) {
    section.has_pseudo = true;
    let repeated = slot(section).replace(value).is_some();
    section.malformed |= repeated || !section.headers.is_empty();
}
