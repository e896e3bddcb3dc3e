//! Recognising a connection's protocol without ever making it wait.
//!
//! The client's first bytes decide. While it is silent the upstream is dialled, and if the
//! upstream speaks first, the connection is opaque: no timeout is involved.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    detect::{Detected, detect},
    io::Stream,
};

/// Most clients speak within a round trip; dialling earlier would open connections for nothing.
const GRACE: Duration = Duration::from_millis(2);
/// A text protocol may say a word without a line end and wait for an answer: HTTP and TLS never
/// stop in the middle for so long.
const HALF_A_WORD: Duration = Duration::from_secs(2);
/// The most that is read before the protocol must be known.
const MAX_READ: usize = 16 * 1024;

/// How a connection begins.
pub enum Opening {
    Http1(Bytes),
    Http2(Bytes),
    /// A TLS ClientHello's first bytes.
    Tls(Bytes),
    /// Anything else: what the client said so far, and the upstream if it was dialled already.
    Opaque(Bytes, Option<Stream>),
    /// The client left without a word.
    Closed,
}

/// Waits for whichever side speaks first. `dial` opens the upstream as a byte stream and is
/// polled only while the client is silent.
pub async fn open<E>(
    client: &mut TcpStream,
    dial: impl Future<Output = Result<Stream, E>>,
) -> Result<Opening, OpenError<E>> {
    let mut read = BytesMut::with_capacity(1024);
    if let Ok(opening) = tokio::time::timeout(GRACE, recognise(client, &mut read)).await {
        return opening.map_err(client_gone);
    }
    // Half a word is enough to know that the client is the one who speaks first.
    if !read.is_empty() {
        return recognise(client, &mut read).await.map_err(client_gone);
    }
    let mut upstream = {
        let mut dial = std::pin::pin!(dial);
        tokio::select! {
            biased;
            ready = client.readable() => {
                ready.map_err(client_gone)?;
                return recognise(client, &mut read).await.map_err(client_gone);
            }
            upstream = dial.as_mut() => upstream.map_err(OpenError::Upstream)?,
        }
    };
    let mut early = BytesMut::with_capacity(4096);
    tokio::select! {
        biased;
        ready = client.readable() => {
            ready.map_err(client_gone)?;
            let opening = recognise(client, &mut read).await.map_err(client_gone)?;
            return Ok(match opening {
                Opening::Opaque(bytes, None) => Opening::Opaque(bytes, Some(upstream)),
                // TLS of the application: bytes as well, on the connection that is there.
                other => other,
            });
        }
        spoke = upstream.read_buf(&mut early) => {
            spoke.map_err(client_gone)?;
        }
    }
    client.write_all(&early).await.map_err(client_gone)?;
    Ok(Opening::Opaque(Bytes::new(), Some(upstream)))
}

/// Which side a connection failed on before it began.
pub enum OpenError<E> {
    Client,
    Upstream(E),
}

/// What went wrong with the client is its own business.
pub fn client_gone<E>(error: io::Error) -> OpenError<E> {
    tracing::debug!(%error, "the client left before it said what it wants");
    OpenError::Client
}

/// Reads until the client's protocol is certain, however small the pieces. Only a client that
/// stops in the middle of a word is given up on, and carried as it is.
pub async fn recognise(client: &mut TcpStream, read: &mut BytesMut) -> io::Result<Opening> {
    loop {
        let read_len = read.len();
        let detected = if read.is_empty() {
            Detected::NeedMore
        } else {
            detect(read)
        };
        let bytes = |read: &mut BytesMut| read.split().freeze();
        return Ok(match detected {
            Detected::NeedMore if read.len() < MAX_READ => {
                let more = client.read_buf(read);
                let more = match read_len {
                    0 => more.await?,
                    _ => tokio::time::timeout(HALF_A_WORD, more)
                        .await
                        .unwrap_or(Ok(0))?,
                };
                match (more, read.is_empty()) {
                    (1.., _) => continue,
                    (0, true) => Opening::Closed,
                    (0, false) => Opening::Opaque(bytes(read), None),
                }
            }
            Detected::Http1 => Opening::Http1(bytes(read)),
            Detected::Http2 => Opening::Http2(bytes(read)),
            Detected::Tls => Opening::Tls(bytes(read)),
            Detected::NeedMore | Detected::Opaque => Opening::Opaque(bytes(read), None),
        });
    }
}
