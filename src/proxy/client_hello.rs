//! Reads a TLS ClientHello without answering it: tells mesh TLS from an application's own.
//!
//! Only as much is parsed as that needs (RFC 8446, sections 4.1.2 and 5.1). The handshake itself,
//! with all its checks, is rustls's or the application's.

use std::borrow::Cow;

use rustls::pki_types::DnsName;

use crate::identity::Alpn;

/// The longest ClientHello that is waited for, in bytes: hybrid key shares make one of about
/// 1,700; nothing known makes one of 16 KiB.
pub const MAX_LEN: usize = 16 * 1024;

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
const CONTENT_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const NAME_TYPE_HOST: u8 = 0;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// The beginning of a ClientHello, as far as can be seen: ask again with more.
    Incomplete,
    /// No ClientHello, or one longer than [`MAX_LEN`].
    NotTls,
    Hello(ClientHello),
}

/// What a ClientHello says about where it wants to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The mesh's protocol, where the peer offers one. An application's own TLS offers none.
    pub mesh: Option<Alpn>,
    /// A valid host name in lower case; a server name that is none counts as absent.
    pub sni: Option<String>,
}

/// Looks at all bytes that a connection began with. Keeps nothing between calls and never panics;
/// allocates only for a hello in several records and for its server name.
pub fn peek(bytes: &[u8]) -> Peek {
    match message(bytes) {
        Ok(body) => hello(&body).map_or(Peek::NotTls, Peek::Hello),
        Err(peek) => peek,
    }
}

/// The body of the ClientHello, put together from the records that carry it.
fn message(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Peek> {
    let mut rest = bytes;
    let mut message = Cow::Borrowed(&[][..]);
    loop {
        let fragment = record(&mut rest)?;
        if message.is_empty() {
            message = Cow::Borrowed(fragment.present);
        } else {
            message.to_mut().extend_from_slice(fragment.present);
        }
        if message
            .first()
            .is_some_and(|kind| *kind != MESSAGE_CLIENT_HELLO)
        {
            return Err(Peek::NotTls);
        }
        if let [_, a, b, c, ..] = *message {
            let end = HANDSHAKE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
            if end > MAX_LEN {
                return Err(Peek::NotTls);
            }
            if message.len() >= end {
                return Ok(match message {
                    Cow::Borrowed(all) => Cow::Borrowed(&all[HANDSHAKE_HEADER..end]),
                    Cow::Owned(all) => Cow::Owned(all[HANDSHAKE_HEADER..end].to_vec()),
                });
            }
        }
        if !fragment.complete {
            return Err(incomplete(bytes));
        }
    }
}

/// What is there of one record's payload.
struct Fragment<'a> {
    present: &'a [u8],
    complete: bool,
}

fn record<'a>(rest: &mut &'a [u8]) -> Result<Fragment<'a>, Peek> {
    let header = &rest[..rest.len().min(RECORD_HEADER)];
    // Every byte is judged as it comes: what cannot be TLS must not be waited on.
    let plausible = header.first().is_none_or(|kind| *kind == CONTENT_HANDSHAKE)
        && header.get(1).is_none_or(|major| *major == 3)
        && header.get(2).is_none_or(|minor| *minor <= 4);
    if !plausible {
        return Err(Peek::NotTls);
    }
    let Some((&[_, _, _, high, low], payload)) = rest.split_first_chunk::<RECORD_HEADER>() else {
        return Ok(Fragment {
            present: &[],
            complete: false,
        });
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446, 5.1: at most 2^14 bytes, and no empty fragments of handshake messages.
    if len == 0 || len > 1 << 14 {
        return Err(Peek::NotTls);
    }
    let (present, after) = payload.split_at(len.min(payload.len()));
    *rest = after;
    Ok(Fragment {
        present,
        complete: present.len() == len,
    })
}

/// One-byte records would carry a hello of [`MAX_LEN`] in six times as many bytes: the bound is on
/// what has to be kept, so on the records as they came.
fn incomplete(bytes: &[u8]) -> Peek {
    match bytes.len() >= MAX_LEN {
        true => Peek::NotTls,
        false => Peek::Incomplete,
    }
}

fn hello(body: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(body);
    let _version_and_random = body.take(2 + 32)?;
    let _session_id = body.vec8()?;
    let _cipher_suites = body.vec16()?;
    let _compression_methods = body.vec8()?;
    let mut hello = ClientHello::default();
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(body.vec16()?);
    if !body.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = Reader(extensions.vec16()?);
        match kind {
            EXTENSION_SERVER_NAME => hello.sni = server_name(content)?,
            EXTENSION_ALPN => hello.mesh = mesh_protocol(content)?,
            _ => {}
        }
    }
    Some(hello)
}

/// RFC 6066, section 3. The outer `None`: malformed.
fn server_name(mut extension: Reader<'_>) -> Option<Option<String>> {
    let mut names = Reader(extension.vec16()?);
    while !names.0.is_empty() {
        let kind = names.u8()?;
        let name = names.vec16()?;
        if kind == NAME_TYPE_HOST {
            let valid = DnsName::try_from(name).ok();
            return Some(valid.map(|name| name.to_lowercase_owned().as_ref().to_owned()));
        }
    }
    Some(None)
}

/// RFC 7301, section 3.1. The first name of the mesh counts. The outer `None`: malformed.
fn mesh_protocol(mut extension: Reader<'_>) -> Option<Option<Alpn>> {
    let mut names = Reader(extension.vec16()?);
    let mut mesh = None;
    while !names.0.is_empty() {
        let name = names.vec8()?;
        mesh = mesh.or_else(|| Alpn::from_bytes(name));
    }
    Some(mesh)
}

/// The bytes that are left; every read that asks for more is `None`.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
#[path = "client_hello_tests.rs"]
pub(crate) mod tests;
