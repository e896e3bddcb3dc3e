//! Both ends, each against bytes.

mod client;
mod server;

use tokio::{
    io::{AsyncReadExt, DuplexStream},
    task::LocalSet,
};

/// More than any test writes at a time.
const ROOM: usize = 1 << 20;

async fn local<T>(work: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(work).await
}

/// Reads until this was read, and nothing before or behind it.
async fn expect(near: &mut DuplexStream, text: &str) {
    let mut read = vec![0; text.len()];
    near.read_exact(&mut read).await.expect("all of it");
    assert_eq!(String::from_utf8_lossy(&read), text);
}

async fn rest(near: &mut DuplexStream) -> String {
    let mut read = String::new();
    near.read_to_string(&mut read).await.expect("text");
    read
}
