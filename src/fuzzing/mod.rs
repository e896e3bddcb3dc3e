//! What `cargo fuzz` searches and the tests replay: for each target a function from bytes to
//! checks, which panics where one of them does not hold.
//!
//! Compiled for tests and under cargo-fuzz's `--cfg fuzzing` only. So the targets reach what is
//! private to the crate without making it anybody's API, and a release holds nothing of them.
//! `docs/fuzzing.md` lists what each target compares.

#[cfg(test)]
mod seeds;
mod strict;
#[cfg(test)]
mod tests;

/// Declares the targets: each is a function in a module of its own name. In the tests each is
/// also a test that replays its corpus.
macro_rules! targets {
    ($($target:ident)*) => {
        $(mod $target;)*
        $(pub use $target::$target;)*

        #[cfg(test)]
        mod replay {
            /// Every target by its name.
            pub const ALL: &[&str] = &[$(stringify!($target)),*];

            $(#[test]
            fn $target() {
                super::tests::replay(stringify!($target), super::$target);
            })*
        }
    };
}

targets! {
    access_log
    access_path
    admission
    certificate
    client_hello
    control_stream
    detect
    discovery
    first_packet
    head
    http1
    http1_response
    http2
    injection
    netlink
    registry
    resource
    route
    texts
    trace_context
}
