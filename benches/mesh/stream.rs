//! Opaque TCP: a client that takes bytes as fast as they come, and the plain rustls copy loop that
//! it is compared with.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::ValueEnum;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificates;

/// Four TLS records: a larger buffer gains nothing, a smaller one costs system calls.
const BUF_LEN: usize = 64 * 1024;

/// Bytes received over one connection in `duration`.
pub fn drink(addr: SocketAddr, duration: Duration) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buf = vec![0; 256 * 1024];
    let end = Instant::now() + duration;
    let mut received = 0;
    while Instant::now() < end {
        let read = stream.read(&mut buf)?;
        ensure!(read > 0, "the stream ended");
        received += read as u64;
    }
    Ok(received)
}

/// Which end of the mutual TLS connection a copy loop is.
#[derive(Clone, Copy, ValueEnum)]
pub enum Hop {
    Client,
    Server,
}

/// Copies what comes to `listen` to `to` and back until it is killed.
pub fn copy_loop(
    hop: Hop,
    listen: SocketAddr,
    to: SocketAddr,
    certificates: &Path,
) -> anyhow::Result<()> {
    let (client, server) = certificates::tls(certificates)?;
    let (connector, acceptor) = (TlsConnector::from(client), TlsAcceptor::from(server));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (near, _) = listener.accept().await?;
            let (connector, acceptor) = (connector.clone(), acceptor.clone());
            tokio::spawn(async move {
                let copied = async {
                    let far = tokio::net::TcpStream::connect(to).await?;
                    near.set_nodelay(true)?;
                    far.set_nodelay(true)?;
                    match hop {
                        Hop::Client => {
                            copy(
                                near,
                                connector
                                    .connect(certificates::NAME.try_into()?, far)
                                    .await?,
                            )
                            .await
                        }
                        Hop::Server => copy(acceptor.accept(near).await?, far).await,
                    }
                };
                if let Err(error) = copied.await {
                    eprintln!("copy loop: {error}");
                }
            });
        }
    })
}

async fn copy(mut near: impl Stream, mut far: impl Stream) -> anyhow::Result<()> {
    tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUF_LEN, BUF_LEN).await?;
    Ok(())
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}
