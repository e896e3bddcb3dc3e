//! TCP, as the data path and the control stream use it: the operating system's, and in tests that
//! or a simulated network's.

#[cfg(not(test))]
pub use super::os::{
    Bound, TcpListener, TcpStream, connect, listen, listen_any, lookup, original_dst,
    reset_on_close, tune,
};
#[cfg(test)]
pub use crate::simulation::socket::{
    Bound, TcpListener, TcpStream, connect, listen, listen_any, lookup, original_dst,
    reset_on_close, tune,
};
