//! Ports that nobody else takes.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// All ports lie below the range from which the kernel picks those of outgoing connections, so
/// that none is taken between the look and the use.
const FIRST: u16 = 12_000;
const BLOCKS: u16 = 10;
/// Ports that one run of the tests has to itself.
const BLOCK: u16 = 2_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// This run's block of ports. Listening on its first port keeps other runs out, and ends with
/// the process.
fn block() -> u16 {
    static CLAIM: OnceLock<TcpListener> = OnceLock::new();
    let claim = CLAIM.get_or_init(|| {
        let mut firsts = (0..BLOCKS).map(|block| FIRST + block * BLOCK);
        firsts
            .find_map(|first| TcpListener::bind(loopback(first)).ok())
            .expect("fewer than ten test runs at a time")
    });
    let claimed = claim.local_addr();
    claimed.expect("a bound listener has an address").port()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A loopback address on which nothing listens; given again only after all others of the run.
pub fn free_addr() -> SocketAddr {
    let block = block();
    for _ in 0..BLOCK {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % (BLOCK - 1);
        let addr = loopback(block + 1 + step);
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("none of the {BLOCK} ports from {block} is free");
}
