//! HTTP/1 as bytes, without I/O (RFC 9112): heads and bodies, read and written.
//!
//! There is one reading of a client's bytes, and it is strict: what another reader could understand
//! differently is refused and not repaired. An upstream's are read as a client has to read them.

mod decode;
mod encode;
mod error;
mod head;
mod output;
mod spelling;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Piece};
pub use encode::{Encoder, Fields, Line};
pub use error::Error;
pub use head::{
    Found, Length, RequestHead, ResponseHead, Search, check_request, check_response, request,
    response,
};
pub use output::{Output, SLICES};
pub use spelling::Spelling;

use crate::proxy::http::pool::MAX_HEADER_LIST;

/// A head, or a trailer section, with everything in it, in bytes.
const MAX_HEAD: usize = MAX_HEADER_LIST as usize;
/// Its fields.
const MAX_FIELDS: usize = 100;
