//! How the results call what was measured.

pub const MTLS: &str = "mTLS";
pub const PLAIN: &str = "plain";
pub const CLIENTS: &str = "8 clients";

pub const IDLE: &str = "idle";
pub const AFTER_BURST: &str = "after the burst";

/// Nothing that a configuration can take away.
pub const BARE: &str = "no traces, no breakers";
pub const DEFAULT: &str = "as users have it (traces at 1 %)";
pub const ONE_ROUTE: &str = "1 route";
pub const MANY_ROUTES: &str = "1,000 routes";

/// Requests of a protocol on some connections, with answers of `body` bytes.
pub fn load(protocol: &str, connections: usize, body: usize) -> String {
    let s = if connections == 1 { "" } else { "s" };
    format!(
        "{protocol}, {connections} connection{s}, {} KiB",
        body / 1024
    )
}

pub fn connections(count: usize) -> String {
    format!("{} connections", thousands(count))
}

/// With a comma before the last three digits; below a million.
pub fn thousands(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        _ => format!("{},{:03}", count / 1000, count % 1000),
    }
}
