//! A client that writes exactly the bytes it is told to, which no polite client does.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use super::wait::DEADLINE;

pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An HTTP/1 response as it came.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The head, verbatim.
    pub head: String,
    pub body: Vec<u8>,
    /// Names and values after the last chunk.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// All values of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let named = fields(&self.head).filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let values: Vec<_> = named.map(|(_, value)| value.to_owned()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Why a proxy answered by itself; empty where it did not.
    pub fn reason(&self) -> String {
        self.header("outrigger-reason").unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
}

impl Wire {
    /// # Panics
    /// When nothing listens there.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("{addr}: {error}"))
    }

    /// Waits longer than others for what it reads.
    pub fn connect_for(addr: SocketAddr, patience: Duration) -> Self {
        let wire = Self::connect(addr);
        wire.patience(patience);
        wire
    }

    pub fn patience(&self, patience: Duration) {
        let set = self.stream.set_read_timeout(Some(patience));
        set.expect("a timeout above zero");
    }

    pub fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the peer takes it");
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Each byte in a packet of its own.
    pub fn send_slowly(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
            std::thread::yield_now();
        }
    }

    /// Says that nothing more comes, and still listens.
    pub fn finish(&mut self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("an open connection can be half closed");
    }

    /// More bytes; none at the end of the stream, in order or not.
    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let n = match self.stream.read(&mut chunk) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        self.read.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Exactly `n` bytes.
    pub fn try_take(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < n {
            self.fill_some()?;
        }
        Ok(self.read.drain(..n).collect())
    }

    fn fill_some(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                format!("closed after {:?}", self.seen()),
            )),
            _ => Ok(()),
        }
    }

    /// All up to and including `end`.
    pub fn take_until(&mut self, end: &str) -> String {
        self.try_take_until(end)
            .unwrap_or_else(|error| panic!("waiting for {end:?}: {error}"))
    }

    fn try_take_until(&mut self, end: &str) -> io::Result<String> {
        loop {
            if let Some(at) = self
                .read
                .windows(end.len())
                .position(|w| w == end.as_bytes())
            {
                let taken = self.try_take(at + end.len())?;
                return Ok(String::from_utf8_lossy(&taken).into_owned());
            }
            self.fill_some()?;
        }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.read[..self.read.len().min(2000)]).into_owned()
    }

    /// Everything until the peer closes.
    pub fn take_all(&mut self) -> Vec<u8> {
        self.try_take_all()
            .unwrap_or_else(|error| panic!("not closed: {error}; read {:?}", self.seen()))
    }

    pub fn try_take_all(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.read))
    }

    /// The next response to a request by `method`.
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method)
            .unwrap_or_else(|error| panic!("no response: {error}"))
    }

    pub fn try_response(&mut self, method: &str) -> io::Result<Response> {
        let head = self.try_take_until("\r\n\r\n")?;
        let bad = |head: &str| {
            io::Error::new(ErrorKind::InvalidData, format!("not a response: {head:?}"))
        };
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.get(..3)?.parse().ok())
            .ok_or_else(|| bad(&head))?;
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        if response
            .header("transfer-encoding")
            .is_some_and(|te| te.contains("chunked"))
        {
            self.chunks(&mut response)?;
        } else if let Some(length) = response.header("content-length") {
            response.body = self.try_take(length.parse().map_err(|_| bad(&response.head))?)?;
        } else {
            response.body = self.take_all();
        }
        Ok(response)
    }

    fn chunks(&mut self, response: &mut Response) -> io::Result<()> {
        loop {
            let line = self.try_take_until("\r\n")?;
            let size = line.trim().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| {
                io::Error::new(ErrorKind::InvalidData, format!("not a chunk: {line:?}"))
            })?;
            if size == 0 {
                break;
            }
            response.body.extend(self.try_take(size)?);
            self.try_take_until("\r\n")?;
        }
        loop {
            let line = self.try_take_until("\r\n")?;
            match fields(&line).next() {
                Some((name, value)) => response.trailers.push((name.to_owned(), value.to_owned())),
                None => return Ok(()),
            }
        }
    }

    /// A GET on this connection, kept open.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        self.response("GET")
    }
}
