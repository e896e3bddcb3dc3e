//! Recognising a connection's protocol without ever making it wait.
//!
//! The client's first bytes decide. While it is silent the upstream is dialled, and if the
//! upstream speaks first, the connection is opaque: no timeout is involved.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{
    detect::{Detected, detect, is_half_a_request, is_http2_server},
    io::Stream,
};
use crate::host::net::TcpStream;

/// Most clients speak within a round trip; dialling earlier would open connections for nothing.
const GRACE: Duration = Duration::from_millis(2);
/// A text protocol may say a word without a line end and wait for an answer. Half a request that
/// stops for so long is HTTP all the same: a pause must not lead past the policies.
const HALF_A_WORD: Duration = Duration::from_secs(2);
/// The most that is read before the protocol must be known.
const MAX_READ: usize = 16 * 1024;

/// Room for the first read, in bytes: most heads fit.
const FIRST_READ: usize = 1024;

/// How long a client may take.
#[derive(Clone, Copy)]
struct Patience {
    /// For its first byte.
    silence: Duration,
    /// From there until its protocol is certain, however it cuts its words.
    word: Duration,
}

const PATIENCE: Patience = Patience {
    silence: Duration::from_secs(300),
    word: Duration::from_secs(30),
};

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
            if is_http2_server(&early) {
                drop(upstream);
                return recognise(client, &mut read).await.map_err(client_gone);
            }
        }
        () = tokio::time::sleep(PATIENCE.silence) => {
            return Err(client_gone(io::ErrorKind::TimedOut.into()));
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

/// Reads until the client's protocol is certain, however small the pieces. A client that stops in
/// the middle of a word that begins no request is carried as it is.
///
/// # Errors
/// When the connection breaks, or the client is silent or dribbles for too long.
pub async fn recognise(
    client: &mut (impl AsyncRead + Unpin),
    read: &mut BytesMut,
) -> io::Result<Opening> {
    recognise_within(client, read, PATIENCE).await
}

async fn recognise_within(
    client: &mut (impl AsyncRead + Unpin),
    read: &mut BytesMut,
    patience: Patience,
) -> io::Result<Opening> {
    read.reserve(FIRST_READ);
    if read.is_empty() && tokio::time::timeout(patience.silence, client.read_buf(read)).await?? == 0
    {
        return Ok(Opening::Closed);
    }
    tokio::time::timeout(patience.word, until_certain(client, read)).await?
}

/// With a first byte read.
async fn until_certain(
    client: &mut (impl AsyncRead + Unpin),
    read: &mut BytesMut,
) -> io::Result<Opening> {
    loop {
        let detected = detect(read);
        let bytes = |read: &mut BytesMut| read.split().freeze();
        return Ok(match detected {
            Detected::NeedMore if read.len() < MAX_READ => {
                let more = tokio::time::timeout(HALF_A_WORD, client.read_buf(read)).await;
                match more.unwrap_or(Ok(0))? {
                    0 if is_half_a_request(read) => Opening::Http1(bytes(read)),
                    0 => Opening::Opaque(bytes(read), None),
                    _ => continue,
                }
            }
            Detected::Http1 => Opening::Http1(bytes(read)),
            Detected::Http2 => Opening::Http2(bytes(read)),
            Detected::Tls => Opening::Tls(bytes(read)),
            Detected::NeedMore | Detected::Opaque => Opening::Opaque(bytes(read), None),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::net::TcpListener, proxy::io::Rewind};

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(listener.accept(), crate::host::net::connect(addr, None));
        (near.unwrap().0, far.unwrap())
    }

    #[tokio::test]
    async fn a_silent_client_is_given_up() {
        let (mut client, _far) = pair().await;
        let patience = Patience {
            silence: SHORT,
            word: LONG,
        };
        let opening = recognise_within(&mut client, &mut BytesMut::new(), patience).await;
        assert_eq!(opening.err().unwrap().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_dribbles_is_given_up() {
        let (mut client, mut far) = pair().await;
        let patience = Patience {
            silence: LONG,
            word: SHORT,
        };
        far.write_all(b"GET /").await.unwrap();
        let mut read = BytesMut::new();
        let opening = recognise_within(&mut client, &mut read, patience).await;
        assert_eq!(opening.err().unwrap().kind(), io::ErrorKind::TimedOut);
        assert_eq!(&*read, b"GET /", "read, and waited for more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_does_not_make_half_a_request_opaque() {
        for (said, is_http) in [("GE", true), ("POST /a HT", true), ("QUI", false)] {
            let (mut client, mut far) = tokio::io::duplex(64);
            far.write_all(said.as_bytes()).await.unwrap();
            let opening = recognise(&mut client, &mut BytesMut::new()).await.unwrap();
            let found = matches!(opening, Opening::Http1(_));
            assert_eq!(found, is_http, "{said}");
            assert!(is_http || matches!(opening, Opening::Opaque(..)), "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_of_http2_does_not_speak_first() {
        let (mut client, mut far) = pair().await;
        let dial = async {
            let (near, mut server) = pair().await;
            server
                .write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9])
                .await?;
            // Only when the server has been heard does the client begin.
            tokio::spawn(async move {
                let closed = server.read(&mut [0]).await;
                far.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
                (closed, far.read(&mut [0]).await)
            });
            Ok::<_, io::Error>(Stream::Plain(Rewind::new(Bytes::new(), near)))
        };
        let opening = open(&mut client, dial).await;
        assert!(matches!(opening, Ok(Opening::Tls(_))), "the client decides");
    }

    #[tokio::test]
    async fn a_client_that_leaves_without_a_word_is_no_error() {
        let (mut client, far) = pair().await;
        drop(far);
        let opening = recognise(&mut client, &mut BytesMut::new()).await;
        assert!(matches!(opening, Ok(Opening::Closed)));
    }
}
