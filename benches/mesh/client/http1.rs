//! HTTP/1.1 on one keep-alive connection.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Http1 {
    stream: TcpStream,
    request: String,
    body: usize,
    buf: Vec<u8>,
}

impl Http1 {
    /// Each of its requests asks for `body` bytes.
    pub async fn connect(addr: SocketAddr, body: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: format!(
                "GET /{body} HTTP/1.1\r\nhost: bench.shop\r\nuser-agent: bench\r\naccept: */*\r\n\r\n"
            ),
            body,
            buf: Vec::with_capacity(4096),
        })
    }

    pub async fn request(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(self.request.as_bytes()).await?;
        self.buf.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.buf.len() < whole) {
            let read = self.stream.read_buf(&mut self.buf).await?;
            ensure!(read > 0, "closed before the answer was whole");
            if whole.is_none() {
                whole = response_len(&self.buf, self.body)?;
            }
        }
        Ok(())
    }
}

/// How many bytes the first response in `buf` takes, once its head is whole.
fn response_len(buf: &[u8], body: usize) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(buf)? else {
        return Ok(None);
    };
    ensure!(
        response.code == Some(200),
        "answered {}",
        String::from_utf8_lossy(buf)
    );
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize =
        std::str::from_utf8(length.context("an answer without content-length")?.value)?.parse()?;
    ensure!(length == body, "an answer of {length} bytes");
    Ok(Some(head + length))
}
