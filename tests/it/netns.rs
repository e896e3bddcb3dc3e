//! Pods can talk, their processes live in them and die with them, and captures see the wire.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};

use outrigger::netns::World;
use tokio::net::{TcpListener, TcpStream};

use crate::inside::{accept, both, dial, inside, listen};

#[test]
fn two_pods_connect_to_each_other_by_both_families() {
    inside(|| {
        let mut world = World::new().unwrap();
        let (one, two) = (world.pod("one").unwrap(), world.pod("two").unwrap());
        for (client, server) in [(&one, &two), (&two, &one)] {
            let listener = listen(server, 80);
            for addr in both(server, 80) {
                let mut sent = dial(client, addr).unwrap();
                let mut received = accept(&listener);
                sent.write_all(b"hello").unwrap();
                drop(sent);
                let mut text = String::new();
                received.read_to_string(&mut text).unwrap();
                assert_eq!(text, "hello");
            }
        }
    });
}

#[test]
fn futures_run_in_the_pod() {
    inside(|| {
        let mut world = World::new().unwrap();
        let (one, two) = (world.pod("one").unwrap(), world.pod("two").unwrap());
        let (bound, is_bound) = std::sync::mpsc::channel();
        let server = two
            .start(move || async move {
                let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
                bound.send(()).unwrap();
                listener.accept().await.unwrap().1.ip()
            })
            .unwrap();
        is_bound.recv().unwrap();
        let addr = (two.v4, 80);
        one.run(|| async move { TcpStream::connect(addr).await.map(drop) })
            .unwrap();
        assert_eq!(server.join().unwrap(), one.v4);
    });
}

#[test]
fn processes_live_in_the_pod_and_die_with_it() {
    inside(|| {
        let mut world = World::new().unwrap();
        let pod = world.pod("one").unwrap();
        let mut cat = Command::new("cat");
        cat.args(["/proc/net/if_inet6", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut cat = pod.spawn(cat).unwrap();
        let mut stdout = cat.stdout.take().unwrap();
        let mut devices = [0; 32];
        stdout.read_exact(&mut devices).unwrap();
        drop(pod);
        // Its standard input is still open: only being killed ends it.
        assert!(!cat.wait().unwrap().success());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let devices = String::from_utf8_lossy(&devices).into_owned() + &rest;
        assert!(
            devices.contains("fd000198001800000000000000010001"),
            "{devices}"
        );
    });
}

#[test]
fn a_capture_sees_the_wire_and_not_the_loopback_device() {
    inside(|| {
        let mut world = World::new().unwrap();
        let (one, two) = (world.pod("one").unwrap(), world.pod("two").unwrap());
        let mut capture = two.capture().unwrap();
        let listener = listen(&two, 80);
        for (client, text) in [(&one, "across"), (&two, "within")] {
            let mut sent = dial(client, (two.v4, 80).into()).unwrap();
            sent.write_all(text.as_bytes()).unwrap();
            let mut received = [0; 6];
            accept(&listener).read_exact(&mut received).unwrap();
            assert_eq!(received, text.as_bytes());
        }
        let frames = capture.take().unwrap();
        let seen = |text: &str| {
            frames.iter().any(|frame| {
                frame
                    .windows(text.len())
                    .any(|part| part == text.as_bytes())
            })
        };
        assert!(seen("across"));
        assert!(!seen("within"));
        assert!(capture.take().unwrap().is_empty());
    });
}

#[test]
fn the_printed_line_leads_into_the_pod() {
    inside(|| {
        let mut world = World::new().unwrap();
        let pod = world.pod("one").unwrap();
        // Already inside the user namespace, which cannot be entered twice.
        let line = pod.nsenter().replace("--user --preserve-credentials ", "");
        let output = Command::new("sh")
            .args(["-c", &format!("{line} cat /proc/net/if_inet6")])
            .output()
            .unwrap();
        let devices = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            devices.contains("fd000198001800000000000000010001"),
            "{output:?}"
        );
    });
}
