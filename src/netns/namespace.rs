//! One network namespace: entering it, and starting processes in it.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    process::{Child, Command},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{NetnsError, sys};

/// A network namespace, and a thread in it that starts processes: they inherit the namespace
/// from it, and the kernel kills them when it ends.
pub(super) struct Namespace {
    link: File,
    commands: Option<mpsc::Sender<Start>>,
    starter: Option<JoinHandle<()>>,
}

type Start = (Command, mpsc::Sender<io::Result<Child>>);

impl Namespace {
    pub fn new(name: &str) -> Result<Self, NetnsError> {
        let (made, made_here) = mpsc::channel();
        let (commands, to_start) = mpsc::channel();
        let create = || {
            sys::new_network()?;
            File::open("/proc/thread-self/ns/net")
        };
        let starter = thread::Builder::new()
            .name(format!("pod {name}"))
            .spawn(move || {
                let created = create();
                let go_on = created.is_ok();
                if made.send(created).is_ok() && go_on {
                    start_all(&to_start);
                }
            });
        let failed = |source| NetnsError::Namespace {
            name: name.to_owned(),
            source,
        };
        let starter = starter.map_err(failed)?;
        let link = made_here
            .recv()
            .expect("the thread answers before it ends")
            .map_err(failed)?;
        Ok(Self {
            link,
            commands: Some(commands),
            starter: Some(starter),
        })
    }

    pub fn link(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        sys::die_with_thread(&mut command);
        let (started, answer) = mpsc::channel();
        self.commands
            .as_ref()
            .expect("taken only by drop")
            .send((command, started))
            .expect("the thread lives as long as the namespace");
        answer.recv().expect("the thread answers every command")
    }

    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                join(self.link());
                work()
            });
            match thread.join() {
                Ok(output) => output,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(starter) = self.starter.take() {
            // It panics only if starting a process does; then there is nothing left to wait for.
            let _ = starter.join();
        }
    }
}

fn start_all(commands: &mpsc::Receiver<Start>) {
    for (mut command, started) in commands {
        // Nobody waits for the answer only if the asking thread panicked; the process is then
        // killed with the others.
        let _ = started.send(command.spawn());
    }
}

/// Moves the calling thread into the namespace.
pub(super) fn join(link: BorrowedFd<'_>) {
    move_into_link_name_space(link, Some(LinkNameSpaceType::Network))
        .expect("whoever made the namespace may enter it");
}
