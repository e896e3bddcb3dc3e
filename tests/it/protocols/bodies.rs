//! Large bodies: streamed, never kept, and no faster than the reader.

use std::{
    io::{Seek, Write},
    thread,
};

use crate::harness::{MIB, Mesh, apps, run, wait};

/// How much more memory than at rest a proxy may ever have used: windows and buffers of one
/// stream and of its connection, on both sides, with room for the allocator.
const BOUND: u64 = 48 * MIB;
const LARGE: u64 = 256 * MIB;

/// What may be under way between two ends of which one does not read: kernel buffers of three
/// connections and the windows between the proxies.
const UNDER_WAY: u64 = 64 * MIB;

#[test]
fn a_large_download_is_streamed() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    mesh.get("/echo");
    let rest = mesh.peak_memory();
    for framing in ["", "&length=1"] {
        let path = format!("/download?n={LARGE}{framing}");
        let got =
            run(&mut mesh.curl(&["-o", "/dev/null", "-w", "%{size_download}"], &path)).success();
        assert_eq!(got.text(), LARGE.to_string());
    }
    let grown = mesh.peak_memory() - rest;
    assert!(grown < BOUND, "a proxy grew by {} MiB", grown / MIB);
}

#[test]
fn a_large_upload_is_streamed() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    mesh.get("/echo");
    let rest = mesh.peak_memory();
    let mut file = tempfile::NamedTempFile::new().expect("a place for a file");
    let block: Vec<u8> = (0..MIB as u32).map(|i| (i % 253) as u8).collect();
    for _ in 0..LARGE / MIB {
        file.write_all(&block)
            .and_then(|()| file.flush())
            .expect("room for the file");
    }
    file.rewind().expect("a file");
    let name = file.path().display().to_string();
    let expected = run(crate::harness::tools::command("sha256sum").arg(&name))
        .success()
        .text();
    let expected = format!("{LARGE} {}\n", &expected[..64]);
    for framing in ["Expect:", "Transfer-Encoding: chunked"] {
        let got = run(&mut mesh.curl(&["-T", &name, "-H", framing], "/upload")).success();
        assert_eq!(got.text(), expected, "{framing}");
    }
    let grown = mesh.peak_memory() - rest;
    assert!(grown < BOUND, "a proxy grew by {} MiB", grown / MIB);
}

#[test]
fn a_client_that_does_not_read_holds_the_application_back() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    mesh.get("/echo");
    let rest = mesh.peak_memory();
    let mut slow = mesh.connect();
    slow.send(format!(
        "GET /download?n={LARGE}&length=1 HTTP/1.1\r\nHost: app.test\r\n\r\n"
    ));
    let sent = wait::until_still("the application stops sending", || app.count("sent"));
    assert!(sent < UNDER_WAY, "{} MiB went into nowhere", sent / MIB);
    assert_eq!(mesh.get("/echo").status, 200, "others are served");
    let answer = slow.response("GET");
    assert_eq!(
        answer.body.len() as u64,
        LARGE,
        "all of it arrives once it is read"
    );
    let grown = mesh.peak_memory() - rest;
    assert!(grown < BOUND, "a proxy grew by {} MiB", grown / MIB);
}

#[test]
fn an_application_that_does_not_read_holds_the_client_back() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    mesh.get("/echo");
    let rest = mesh.peak_memory();
    let mut client = mesh.connect();
    client.send(format!(
        "POST /upload?gate=up HTTP/1.1\r\nHost: app.test\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    let taken = std::sync::atomic::AtomicU64::new(0);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let block = vec![7; MIB as usize];
            for _ in 0..LARGE / MIB {
                client.send(&block);
                taken.fetch_add(MIB, std::sync::atomic::Ordering::Relaxed);
            }
            client.response("POST").text()
        });
        let look = || taken.load(std::sync::atomic::Ordering::Relaxed);
        wait::until("the upload begins", || app.count("waiting?gate=up") == 1);
        let sent = wait::until_still("the client is held back", look);
        assert!(sent < UNDER_WAY, "{} MiB went into nowhere", sent / MIB);
        assert_eq!(mesh.get("/echo").status, 200, "others are served");
        app.control("open?gate=up");
        let answer = sender.join().expect("the client sends everything");
        assert!(answer.starts_with(&format!("{LARGE} ")), "{answer}");
    });
    let grown = mesh.peak_memory() - rest;
    assert!(grown < BOUND, "a proxy grew by {} MiB", grown / MIB);
}
