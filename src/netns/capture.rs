//! What passes a pod's network device, byte for byte.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with},
    pipe::{PipeFlags, pipe_with},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// The most that is kept between two calls of [`Capture::take`]; what comes after is let go.
const KEPT: usize = 64 << 20;

/// The frames of a pod's device since the capture began, in both directions. The pod's loopback
/// traffic is left out.
pub struct Capture {
    tap: Arc<Tap>,
    /// Its closing ends the thread.
    _stop: OwnedFd,
}

struct Tap {
    socket: OwnedFd,
    frames: Mutex<Frames>,
}

#[derive(Default)]
struct Frames {
    kept: Vec<Vec<u8>>,
    bytes: usize,
}

impl Capture {
    /// Begins to capture in the calling thread's network namespace.
    pub(super) fn start() -> io::Result<Self> {
        let tap = Arc::new(Tap {
            socket: socket_with(
                AddressFamily::PACKET,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                Some(eth::ALL),
            )?,
            frames: Mutex::default(),
        });
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        // The socket's own buffer is too short for a burst, and only root may lengthen it.
        let emptied = tap.clone();
        thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || emptied.empty_until(&stopped))?;
        Ok(Self { tap, _stop: stop })
    }

    /// Begins to capture in the network namespace that `link` opens, like a file below
    /// `/run/netns`. A frame is captured at each device that it passes.
    ///
    /// # Errors
    /// When `link` is no network namespace, or this program may not enter it or capture there.
    pub fn inside(link: BorrowedFd<'_>) -> io::Result<Self> {
        // A thread's namespace is its own, so a thread of its own goes there; the socket stays.
        let capture = thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(link, Some(LinkNameSpaceType::Network))?;
                    Self::start()
                })
                .join()
        });
        capture.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Takes the frames captured so far, Ethernet headers included.
    ///
    /// # Errors
    /// When the device went down.
    pub fn take(&mut self) -> io::Result<Vec<Vec<u8>>> {
        Ok(std::mem::take(&mut *self.tap.drain()?).kept)
    }
}

impl Tap {
    fn empty_until(&self, stopped: &OwnedFd) {
        loop {
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(stopped, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Ok(_) if fds[1].revents().is_empty() => {}
                _ => return,
            }
            // The next `take` meets the same error and returns it.
            if self.drain().is_err() {
                return;
            }
        }
    }

    fn drain(&self) -> io::Result<MutexGuard<'_, Frames>> {
        // The largest frame: veth passes segments on before they are cut.
        let mut buffer = vec![0; 1 << 17];
        let mut frames = self.frames.lock().expect("nothing panics with the lock");
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((len, _)) if is_loopback(&buffer[..len]) => {}
                Ok((len, _)) if frames.bytes + len > KEPT => {}
                Ok((len, _)) => {
                    frames.bytes += len;
                    frames.kept.push(buffer[..len].to_vec());
                }
                Err(Errno::AGAIN) => return Ok(frames),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The loopback device alone has no hardware addresses.
fn is_loopback(frame: &[u8]) -> bool {
    frame.iter().take(12).all(|byte| *byte == 0)
}
