//! A network that loses, delays and cuts.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use outrigger::netns::World;

use super::{load::Load, row::row};
use crate::{
    harness::{apps, mesh::Plan, run, tools::command},
    inside::inside,
};

const PLAIN: &str = "{breaker: {enabled: false}}";

/// The kernel drops every twentieth packet between the two proxies, by the firewall: not every
/// kernel has netem.
#[test]
fn packets_are_lost() {
    inside(|| {
        let world = World::new().expect("namespaces");
        world.within(|| {
            let app = apps::go();
            let mesh = Plan::new(app.addr).protocol("http").policy(PLAIN).start();
            let port = mesh.inbound.port();
            let rules = format!(
                "table inet loss {{ chain in {{ type filter hook input priority 0; \
                 tcp dport {port} numgen random mod 100 < 5 counter drop; \
                 tcp sport {port} numgen random mod 100 < 5 counter drop; }}\n}}"
            );
            run(command("nft").arg(&rules)).success();
            let load = Load::start(mesh.addr);
            load.more(1000);
            let got = load.stop();
            assert_eq!(got.failed(), 0, "{got}");
            row(
                "14a",
                "5 % of the packets between two proxies lost, each way",
                "network.rs::packets_are_lost",
                "slower, by what TCP needs to send again",
                &got.to_string(),
            );
        });
    });
}

/// What a relay does to a connection.
#[derive(Clone, Copy)]
enum Trouble {
    Delay(Duration),
    /// Cut after so many bytes from the server.
    CutAfter(usize),
}

fn relay(to: SocketAddr, trouble: Trouble) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    // Ends with the process: it holds nothing that anyone waits for.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || carry(&client, to, trouble));
        }
    });
    addr
}

fn carry(client: &TcpStream, to: SocketAddr, trouble: Trouble) -> Option<()> {
    let server = TcpStream::connect(to).ok()?;
    for socket in [client, &server] {
        socket.set_nodelay(true).ok()?;
    }
    thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, trouble, false));
        pump(&server, client, trouble, true);
    });
    Some(())
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, trouble: Trouble, answers: bool) {
    let (mut chunk, mut carried) = ([0; 16 * 1024], 0);
    while let Ok(n @ 1..) = from.read(&mut chunk) {
        match trouble {
            Trouble::Delay(time) => thread::sleep(time),
            Trouble::CutAfter(limit) if answers && carried + n > limit => break,
            Trouble::CutAfter(_) => {}
        }
        carried += n;
        if to.write_all(&chunk[..n]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn packets_are_late() {
    const LATE: Duration = Duration::from_millis(50);
    let app = apps::go();
    let plan = Plan::new(app.addr).protocol("http").policy(PLAIN);
    let through = relay(plan.inbound(), Trouble::Delay(LATE));
    let mesh = plan.detour(through).start();
    let load = Load::start(mesh.addr);
    load.more(100);
    let got = load.stop();
    assert_eq!(got.failed(), 0, "{got}");
    assert!(got.longest >= 2 * LATE, "{got}");
    row(
        "14b",
        "50 ms of delay between two proxies, each way",
        "network.rs::packets_are_late",
        "slower by as much",
        &got.to_string(),
    );
}

#[test]
fn connections_between_proxies_are_cut() {
    let app = apps::go();
    let retried = "{breaker: {enabled: false}, retry: {attempts: 2, budgetMinPerSecond: 100}}";
    let plan = Plan::new(app.addr).protocol("http").policy(retried);
    let through = relay(plan.inbound(), Trouble::CutAfter(60_000));
    let mesh = plan.detour(through).start();
    let load = Load::start(mesh.addr);
    load.more(2000);
    let got = load.stop();
    let ours = |kind: &String| *kind == "200" || kind.starts_with("502 upstream-reset");
    assert!(
        got.by_kind.keys().all(ours),
        "every failure has a reason: {got}"
    );
    row(
        "14c",
        "Connections between two proxies cut every 60 KB",
        "network.rs::connections_between_proxies_are_cut",
        "what can be sent again is; an answer that was cut, or a POST that was under way, is 502 `upstream-reset`",
        &got.to_string(),
    );
}
