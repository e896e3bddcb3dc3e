//! An application that keeps every byte it gets, to show what a proxy let through.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

pub struct Recorder {
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Answers each empty line with an empty 200: a lenient reader sees the most requests.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = heard.clone();
        // Ends with the process: it holds nothing that anyone waits for.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || record(stream, &kept));
            }
        });
        Self { addr, heard }
    }

    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("no writer panics")).into_owned()
    }
}

fn record(mut stream: TcpStream, heard: &Mutex<Vec<u8>>) {
    let (mut chunk, mut line) = ([0; 4096], Vec::new());
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        heard
            .lock()
            .expect("no writer panics")
            .extend_from_slice(&chunk[..n]);
        for byte in &chunk[..n] {
            line.push(*byte);
            if line.ends_with(b"\n\r\n") || line.ends_with(b"\n\n") {
                line.clear();
                if stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}
