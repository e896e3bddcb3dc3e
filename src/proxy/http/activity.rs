//! What an HTTP/1 connection is doing: whether it may be parked, or has taken too long for a head.
//!
//! hyper does not tell. What it reads and writes, the exchanges and the bodies note it here, and
//! [`Ticks`] draws the conclusions once a second. Where anything is uncertain the connection counts
//! as busy: to park one whose request is not wholly read would take the rest for another request.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{self, Relaxed},
        },
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Fault, Framing};
use crate::proxy::head::BadRequest;

/// One connection's. Atomic only because hyper wants the stream, which writes here, to be `Send`.
#[derive(Debug)]
pub struct Activity {
    /// Requests whose answers have not ended: one, or none.
    open: AtomicU32,
    /// Requests so far.
    heads: AtomicU32,
    /// Bytes came that belong to no request yet.
    in_head: AtomicBool,
    /// The request's body has not come to its end. Stays so when nobody reads it any more.
    in_body: AtomicBool,
    /// The socket did not take all that it was given.
    unsent: AtomicBool,
    /// Writes of which the socket took something.
    writes: AtomicU32,
    /// The first head that is to be refused for bytes that hyper does not show.
    fault: OnceLock<Fault>,
}

impl Activity {
    /// Of a connection from which nothing was read yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU32::new(0),
            heads: AtomicU32::new(0),
            in_head: AtomicBool::new(false),
            in_body: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
            writes: AtomicU32::new(0),
            fault: OnceLock::new(),
        })
    }

    /// A request's head is whole. Its answer has ended when the guard is dropped.
    pub fn begin(self: &Arc<Self>, has_body: bool) -> Open {
        self.open.fetch_add(1, Relaxed);
        self.heads.fetch_add(1, Relaxed);
        self.in_head.store(false, Relaxed);
        self.in_body.store(has_body, Relaxed);
        Open(self.clone())
    }

    /// What is wrong with the bytes of the head that has begun last.
    pub fn fault(&self) -> Option<BadRequest> {
        let fault = self.fault.get()?;
        (fault.head <= self.heads.load(Relaxed)).then_some(fault.why)
    }

    /// The request's body is whole.
    pub fn body_ended(&self) {
        self.in_body.store(false, Relaxed);
        self.in_head.store(false, Relaxed);
    }

    fn load(&self, flag: fn(&Self) -> &AtomicBool) -> bool {
        flag(self).load(Ordering::Relaxed)
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.in_head.store(false, Relaxed);
    }
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Go,
    /// Nothing has happened since the last tick, and nothing is half done.
    Park,
    /// A head began and does not end.
    Cut,
    /// The client takes nothing of its answer.
    Stalled,
}

/// Looks at a connection at regular intervals.
#[derive(Debug, Default)]
pub struct Ticks {
    /// Requests at the last tick.
    heads: u32,
    /// Ticks at which the head that has begun was not whole.
    in_head: u32,
    /// Writes at the last tick.
    writes: u32,
    /// Ticks at which the client had taken nothing of what waits for it.
    unsent: u32,
}

/// How many ticks a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// For a head, from its first byte to its last.
    pub head: u32,
    /// For any part of its answer.
    pub answer: u32,
}

impl Ticks {
    pub fn tick(&mut self, activity: &Activity, allowed: Allowed) -> Next {
        let writes = activity.writes.load(Relaxed);
        let moved = writes != std::mem::replace(&mut self.writes, writes);
        let stuck = activity.load(|a| &a.unsent) && !moved;
        self.unsent = if stuck { self.unsent + 1 } else { 0 };
        if self.unsent > allowed.answer {
            return Next::Stalled;
        }
        let heads = activity.heads.load(Relaxed);
        let same = heads == std::mem::replace(&mut self.heads, heads);
        let busy = activity.open.load(Relaxed) > 0
            || activity.load(|a| &a.in_body)
            || activity.load(|a| &a.unsent);
        if busy || !same {
            self.in_head = 0;
            return Next::Go;
        }
        if activity.load(|a| &a.in_head) {
            self.in_head += 1;
            return if self.in_head < allowed.head {
                Next::Go
            } else {
                Next::Cut
            };
        }
        Next::Park
    }
}

/// A stream that notes what goes through it.
pub struct Watched<S> {
    pub stream: S,
    activity: Arc<Activity>,
    framing: Framing,
}

impl<S> Watched<S> {
    pub fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            activity,
            framing: Framing::default(),
        }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>, wanted: usize) -> Poll<io::Result<usize>> {
        let all = matches!(written, Poll::Ready(Ok(n)) if n == wanted);
        self.activity.unsent.store(!all, Relaxed);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.writes.fetch_add(1, Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.framing.check()?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            self.activity.in_head.store(true, Relaxed);
            let found = self.framing.follow(new);
            if let Some(fault) = found.fault {
                // A later one does not count: the connection ends with the first.
                self.activity.fault.get_or_init(|| fault);
            }
            buf.set_filled(before + found.sound);
            if found.sound == 0 {
                self.framing.check()?;
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written, wanted)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const HEAD_TICKS: u32 = 3;
    const ANSWER_TICKS: u32 = 40;

    struct Connection {
        activity: Arc<Activity>,
        ticks: Ticks,
    }

    impl Connection {
        fn new() -> Self {
            Self {
                activity: Activity::new(),
                ticks: Ticks::default(),
            }
        }

        /// Has answered one request, and a tick has passed.
        fn used() -> Self {
            let mut connection = Self::new();
            drop(connection.activity.begin(false));
            assert_eq!(connection.tick(), Next::Go);
            connection
        }

        fn tick(&mut self) -> Next {
            let allowed = Allowed {
                head: HEAD_TICKS,
                answer: ANSWER_TICKS,
            };
            self.ticks.tick(&self.activity, allowed)
        }
    }

    #[test]
    fn a_quiet_connection_is_parked_and_a_used_one_is_not() {
        let mut connection = Connection::used();
        drop(connection.activity.begin(false));
        assert_eq!(connection.tick(), Next::Go, "used since the last tick");
        assert_eq!(connection.tick(), Next::Park);
    }

    /// It was taken out of the park for nothing.
    #[test]
    fn a_connection_without_a_byte_is_parked_and_not_cut() {
        let mut connection = Connection::new();
        assert_eq!(connection.tick(), Next::Park);
    }

    #[test]
    fn an_exchange_may_take_its_time() {
        let mut connection = Connection::used();
        let open = connection.activity.begin(false);
        for _ in 0..10 * HEAD_TICKS {
            assert_eq!(connection.tick(), Next::Go);
        }
        drop(open);
        assert_eq!(connection.tick(), Next::Park);
    }

    #[test]
    fn a_head_that_does_not_end_is_cut() {
        let mut connection = Connection::new();
        connection.activity.in_head.store(true, Relaxed);
        let ticks: Vec<_> = (0..HEAD_TICKS).map(|_| connection.tick()).collect();
        assert_eq!(ticks, [Next::Go, Next::Go, Next::Cut]);
    }

    /// The rest would be taken for another request.
    #[test]
    fn a_body_that_nobody_reads_to_its_end_is_never_parked() {
        let mut connection = Connection::used();
        drop(connection.activity.begin(true));
        for _ in 0..10 * HEAD_TICKS {
            assert_eq!(connection.tick(), Next::Go);
        }
        connection.activity.body_ended();
        assert_eq!(connection.tick(), Next::Park);
    }

    #[tokio::test]
    async fn half_a_head_and_an_answer_that_is_not_sent_are_seen() {
        let mut connection = Connection::used();
        let (near, mut far) = duplex(64);
        let mut watched = Watched::new(near, connection.activity.clone());
        far.write_all(b"GET /").await.unwrap();
        watched.read_u8().await.unwrap();
        for expected in [Next::Go, Next::Go, Next::Cut] {
            assert_eq!(connection.tick(), expected);
        }
        let open = connection.activity.begin(false);
        assert_eq!(watched.write(&[0; 100]).await.unwrap(), 64);
        drop(open);
        for _ in 0..10 * HEAD_TICKS {
            assert_eq!(connection.tick(), Next::Go, "the client does not read");
        }
        far.read_exact(&mut [0; 64]).await.unwrap();
        watched.write_all(&[0; 36]).await.unwrap();
        assert_eq!(connection.tick(), Next::Park);
    }

    /// Its client may well send nothing more and wait for an answer.
    #[tokio::test]
    async fn a_broken_connection_ends_though_nothing_more_comes() {
        let (near, mut far) = duplex(256);
        let mut watched = Watched::new(near, Activity::new());
        let sound = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b";
        far.write_all(sound).await.unwrap();
        far.write_all(b"\nC: d\r\n\r\n").await.unwrap();
        let mut read = Vec::new();
        let ended = watched.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(
            (&*read, ended.kind()),
            (&sound[..], io::ErrorKind::InvalidData)
        );
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
        let mut connection = Connection::used();
        let (near, mut far) = duplex(64);
        let mut watched = Watched::new(near, connection.activity.clone());
        let _open = connection.activity.begin(false);
        let goes_on = |connection: &mut Connection| {
            // The first tick sees the write.
            for _ in 0..=ANSWER_TICKS {
                assert_eq!(connection.tick(), Next::Go);
            }
        };
        assert_eq!(watched.write(&[0; 100]).await.unwrap(), 64);
        goes_on(&mut connection);
        far.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(watched.write(&[0; 100]).await.unwrap(), 10);
        goes_on(&mut connection);
        assert_eq!(connection.tick(), Next::Stalled);
    }
}
