//! The few calls of the system that Rust cannot prove safe, each with the reason why it is.
#![allow(unsafe_code)]

use std::{ffi::CStr, io, os::unix::process::CommandExt, process::Command};

use rustix::{
    fs::{Mode, OFlags},
    process::{Signal, set_parent_process_death_signal},
    thread::UnshareFlags,
};

/// Moves the calling thread into a new network namespace.
pub(super) fn new_network() -> io::Result<()> {
    // SAFETY: only a changed table of file descriptors (`FILES`) is unsound, and it is not asked
    // for: every descriptor stays valid on every thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Has the kernel kill the command's process when the thread that starts it ends.
pub(super) fn die_with_thread(command: &mut Command) {
    // SAFETY: between fork and exec, the closure makes one system call, and neither allocates
    // nor takes a lock.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

/// Starts the command in a new user namespace.
pub(super) fn in_new_user_namespace(command: &mut Command, ids: IdMaps) {
    // SAFETY: between fork and exec, the closure makes only system calls on memory that was
    // there before, and neither allocates nor takes a lock; the forked process has one thread,
    // and `FILES` is not asked for.
    unsafe {
        command.pre_exec(move || {
            rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER)?;
            ids.write()
        });
    }
}

/// Makes the caller's user and group the root of a new user namespace.
pub(super) struct IdMaps {
    uid: String,
    gid: String,
}

impl IdMaps {
    /// For the calling process's effective user and group.
    pub fn own() -> Self {
        Self {
            uid: format!("0 {} 1", rustix::process::geteuid().as_raw()),
            gid: format!("0 {} 1", rustix::process::getegid().as_raw()),
        }
    }

    /// Neither allocates nor takes a lock: it runs between fork and exec.
    fn write(&self) -> io::Result<()> {
        // Giving up setgroups(2) is what lets an unprivileged process map its group.
        write_file(c"/proc/self/setgroups", b"deny")?;
        write_file(c"/proc/self/uid_map", self.uid.as_bytes())?;
        write_file(c"/proc/self/gid_map", self.gid.as_bytes())
    }
}

fn write_file(path: &CStr, content: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content)?;
    Ok(())
}
