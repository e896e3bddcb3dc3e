//! Tests inside user and network namespaces of their own, as root and as anybody else.

use std::{
    env,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use outrigger::netns::{Entry, Pod, enter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Runs the calling test inside namespaces where a `World` can be made. To be called as the
/// test's only statement, with a closure written there: its path names the test.
pub fn inside<F: FnOnce()>(test: F) {
    let path = std::any::type_name::<F>();
    let name = path
        .split_once("::")
        .and_then(|(_crate, path)| path.strip_suffix("::{{closure}}"))
        .expect("a closure in a test's function");
    let alone = || {
        let mut command = Command::new(env::current_exe().expect("this test has a path"));
        command
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .stdout(Stdio::null());
        command
    };
    match enter(alone) {
        Ok(Entry::Inside) => {
            test();
            // Tells the process outside that a test of this name was there to be run.
            std::process::exit(PASSED);
        }
        Ok(Entry::Outside(status)) => assert_eq!(status.code(), Some(PASSED), "{name}: {status}"),
        Err(error) => panic!("{error}"),
    }
}

const PASSED: i32 = 42;

/// Longer than any answer takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens in the pod, for IPv4 and IPv6.
pub fn listen(pod: &Pod, port: u16) -> TcpListener {
    pod.within(|| TcpListener::bind(("::", port)))
        .expect("the port is free in a fresh pod")
}

/// Connects from the pod.
pub fn dial(pod: &Pod, addr: SocketAddr) -> std::io::Result<TcpStream> {
    pod.within(|| TcpStream::connect_timeout(&addr, PATIENCE))
}

/// The next connection that arrives.
pub fn accept(listener: &TcpListener) -> TcpStream {
    assert!(arrives(listener, PATIENCE), "nothing arrived");
    listener.accept().expect("a connection waits").0
}

/// Whether no connection waits: to be asked when one has arrived elsewhere.
pub fn is_idle(listener: &TcpListener) -> bool {
    !arrives(listener, Duration::ZERO)
}

fn arrives(listener: &TcpListener, within: Duration) -> bool {
    let timeout = Timespec::try_from(within).expect("seconds");
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).expect("poll") > 0
}

/// The pod's two addresses with a port.
pub fn both(pod: &Pod, port: u16) -> [SocketAddr; 2] {
    [(pod.v4, port).into(), (pod.v6, port).into()]
}
