//! Opaque bytes, both ways, with each direction's end passed on by itself.

use std::io;

use tokio::io::copy_bidirectional_with_sizes;

use super::io::Stream;

/// Bytes in flight per direction: four full TLS records.
const BUFFER: usize = 64 * 1024;

/// How much a byte stream carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    pub from_client: u64,
    pub from_upstream: u64,
}

/// Copies until both sides have ended. A FIN from one side becomes a FIN to the other while the
/// opposite direction goes on.
pub async fn splice(client: &mut Stream, upstream: &mut Stream) -> io::Result<Carried> {
    let (from_client, from_upstream) =
        copy_bidirectional_with_sizes(client, upstream, BUFFER, BUFFER).await?;
    Ok(Carried {
        from_client,
        from_upstream,
    })
}
