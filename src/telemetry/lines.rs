//! Lines on their way to a file or a pipe: a bounded queue, and a writer for a thread of its own.
//! Who has something to say never waits for a disk or for who reads: what does not fit is dropped
//! and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

/// What may wait for the writer, in bytes.
pub(super) const QUEUE: usize = 2 << 20;
/// Lines written at once.
pub(super) const BATCH: usize = 256;
/// The buffer for them that is kept, in bytes.
const KEPT: usize = 64 << 10;

/// Something that becomes a line when it is written.
pub(super) trait Line: Send + 'static {
    /// What it takes while it waits, in bytes.
    fn bytes(&self) -> usize;

    /// Appends the line, its end included.
    fn append(&self, out: &mut Vec<u8>);
}

#[derive(Debug)]
enum Item<L> {
    Line(L),
    /// Dropped when everything before it is written.
    Mark(Sender<()>),
}

/// The end where lines go in. Clones lead to the same writer.
#[derive(Debug)]
pub(super) struct Lines<L> {
    tx: Sender<Item<L>>,
    queued: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

impl<L> Clone for Lines<L> {
    fn clone(&self) -> Self {
        Self {
            tx: self.tx.clone(),
            queued: self.queued.clone(),
            dropped: self.dropped.clone(),
        }
    }
}

impl<L: Line> Lines<L> {
    /// A queue and its writer. `dropped` counts the lines that were lost.
    pub(super) fn new(dropped: Arc<AtomicU64>) -> (Self, Writer<L>) {
        let (tx, rx) = mpsc::channel();
        let lines = Self {
            tx,
            queued: Arc::default(),
            dropped,
        };
        let writer = Writer {
            rx,
            queued: lines.queued.clone(),
            dropped: lines.dropped.clone(),
        };
        (lines, writer)
    }

    /// Never waits.
    pub(super) fn push(&self, line: L) {
        let bytes = line.bytes();
        let fits = self.queued.fetch_add(bytes, Relaxed) + bytes <= QUEUE;
        if !fits || self.tx.send(Item::Line(line)).is_err() {
            self.queued.fetch_sub(bytes, Relaxed);
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits until what is queued is written, or cannot be; `within` at most.
    pub(super) fn flush(&self, within: Duration) {
        let (mark, written) = mpsc::channel();
        if self.tx.send(Item::Mark(mark)).is_ok() {
            // Either end of the wait is fine: nothing is ever sent.
            let _ = written.recv_timeout(within);
        }
    }
}

/// The end where they come out.
#[derive(Debug)]
pub(super) struct Writer<L> {
    rx: Receiver<Item<L>>,
    queued: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
}

impl<L: Line> Writer<L> {
    /// Writes until every [`Lines`] is dropped. Lines that cannot be written are counted as
    /// dropped; `wrote` hears how each write went.
    pub(super) fn write_to(self, mut out: impl Write, mut wrote: impl FnMut(&io::Result<()>)) {
        let mut batch = Vec::new();
        while let Ok(first) = self.rx.recv() {
            let (mut count, mut bytes, mut marks) = (0, 0, Vec::new());
            for item in std::iter::once(first).chain(self.rx.try_iter().take(BATCH - 1)) {
                match item {
                    Item::Line(line) => {
                        line.append(&mut batch);
                        bytes += line.bytes();
                        count += 1;
                    }
                    Item::Mark(mark) => marks.push(mark),
                }
            }
            let written = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(KEPT);
            self.queued.fetch_sub(bytes, Relaxed);
            if written.is_err() {
                self.dropped.fetch_add(count, Relaxed);
            }
            wrote(&written);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{PipeReader, Read, pipe},
        thread,
    };

    use super::*;

    impl Line for String {
        fn bytes(&self) -> usize {
            self.len()
        }

        fn append(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(self.as_bytes());
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    /// A queue whose writer writes into a pipe that nobody reads yet.
    fn unread() -> (Lines<String>, Arc<AtomicU64>, PipeReader) {
        let dropped = Arc::<AtomicU64>::default();
        let (lines, writer) = Lines::new(dropped.clone());
        let (reader, out) = pipe().unwrap();
        thread::spawn(move || writer.write_to(out, |_| {}));
        (lines, dropped, reader)
    }

    /// It was written from the thread that carries traffic, which stood still then.
    #[test]
    fn a_reader_that_stalls_holds_nobody_up() {
        let (lines, dropped, mut reader) = unread();
        let line = "x".repeat(1023) + "\n";
        let said = 2 * QUEUE / line.len();
        for _ in 0..said {
            lines.push(line.clone());
        }
        let lost = dropped.load(Relaxed) as usize;
        assert!((1..said).contains(&lost), "{lost} of {said}");
        lines.flush(Duration::from_millis(1));

        // Once it reads again, what was queued comes.
        let read = thread::spawn(move || {
            let mut text = Vec::new();
            reader.read_to_end(&mut text).map(|_| text.len())
        });
        lines.flush(LONG);
        lines.push(line.clone());
        assert_eq!(dropped.load(Relaxed) as usize, lost, "there is room again");
        drop(lines);
        let read = read.join().unwrap().unwrap();
        assert_eq!(read, (said - lost + 1) * line.len());
    }

    #[test]
    fn what_was_queued_is_written_when_a_flush_returns() {
        let (lines, _, mut reader) = unread();
        lines.push("one\n".to_owned());
        lines.flush(LONG);
        let mut text = [0; 4];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one\n");
    }
}
