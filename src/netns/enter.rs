//! Starting the program again as the root of its own user namespace.
//!
//! A process with several threads cannot enter a user namespace, so a fresh process does, and
//! this one waits for it.

use std::{
    env, fs, io,
    process::{Command, ExitStatus},
};

use super::{
    NetnsError,
    sys::{self, IdMaps},
};

/// Set for the process inside.
const INSIDE: &str = "OUTRIGGER_INSIDE_NAMESPACES";

/// On which side of [`enter`] the caller is.
#[derive(Debug)]
pub enum Entry {
    /// This process may make a world.
    Inside,
    /// The process inside has come to its end, with this status.
    Outside(ExitStatus),
}

/// Outside, runs `command`, which must come back to this call, inside a new user namespace, and
/// waits for its end. Inside, returns at once. The network stays the outside's: only what runs in
/// a [`World`](super::World) has another.
///
/// Root does without the user namespace where the kernel refuses one.
///
/// # Errors
/// When the kernel allows no namespaces; the text says which setting forbids them.
pub fn enter(command: impl Fn() -> Command) -> Result<Entry, NetnsError> {
    if env::var_os(INSIDE).is_some() {
        return Ok(Entry::Inside);
    }
    let start = |ids| {
        let mut command = command();
        command.env(INSIDE, "1");
        sys::die_with_thread(&mut command);
        if let Some(ids) = ids {
            sys::in_new_user_namespace(&mut command, ids);
        }
        command.spawn()
    };
    let mut started = start(Some(IdMaps::own()));
    if started.is_err() && rustix::process::geteuid().is_root() {
        started = start(None);
    }
    let mut child = started.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => NetnsError::Start(source),
        _ => NetnsError::Forbidden {
            hint: hint(),
            source,
        },
    })?;
    child.wait().map(Entry::Outside).map_err(NetnsError::Start)
}

/// What forbids unprivileged user namespaces here, and what to do about it.
fn hint() -> String {
    const SETTINGS: [(&str, &str, &str); 3] = [
        ("user.max_user_namespaces", "0", "10000"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    for (name, forbidding, allowing) in SETTINGS {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        if fs::read_to_string(path).is_ok_and(|value| value.trim() == forbidding) {
            return format!(
                "{name} is {forbidding}; allow them with `sudo sysctl {name}={allowing}`, or run \
                 this as root"
            );
        }
    }
    "no sysctl forbids it, so a container's seccomp or security profile does; run it outside the \
     container, or give the container the capability SYS_ADMIN"
        .to_owned()
}
