//! HPACK (RFC 7541): how HTTP/2 writes the fields of a head.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod integer;
mod static_table;

#[cfg(test)]
mod tests;

pub use decoder::Decoder;
pub use encoder::{Encoder, RequestHead};
pub use field::Field;

/// What both tables may hold before a peer says otherwise, in bytes (section 4.2, and RFC 9113
/// 6.5.2). Ours never hold more.
pub const TABLE_SIZE: usize = 4096;

/// What an entry of a table, and a field of a list, counts beside its name and value, in bytes
/// (section 4.1, and RFC 9113 6.5.2).
pub const OVERHEAD: usize = 32;

/// The block cannot be decoded, and so none after it on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;
