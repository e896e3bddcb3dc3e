//! Wall clocks that differ, and that jump.

use crate::harness::{
    Response, apps,
    mesh::{Around, Plan},
    wait,
};

fn own_clocks() -> Around {
    Around {
        own_clock: true,
        ..Around::default()
    }
}

/// Each handshake is a new one: HTTP/1.0 has a connection of its own between the proxies.
fn ask(mesh: &crate::harness::Mesh) -> Response {
    let mut wire = mesh.connect();
    wire.send("GET /echo HTTP/1.0\r\nHost: a.test\r\n\r\n");
    wire.response("GET")
}

#[test]
fn clocks_two_minutes_apart_are_tolerated() {
    let app = apps::go();
    let mut mesh = Plan::new(app.addr)
        .protocol("http")
        .around(own_clocks())
        .start();
    for (server, client) in [("-110s", "+110s"), ("+110s", "-110s")] {
        mesh.set_clock("server", server);
        mesh.set_clock("client", client);
        mesh.client.restart();
        assert_eq!(ask(&mesh).status, 200, "server {server}, client {client}");
    }
}

/// What runs goes on; who is met anew is refused, with a reason on both sides, and is met again
/// once the clock is right.
#[test]
fn a_clock_that_jumps_is_noticed_and_forgiven() {
    let app = apps::go();
    let mesh = Plan::new(app.addr)
        .protocol("http")
        .around(own_clocks())
        .start();
    let mut kept = mesh.connect();
    assert_eq!(kept.get("/echo").status, 200);
    for (offset, servers, clients) in [
        ("-10m", "not_yet_valid", "peer_says_expired"),
        ("+26h", "expired", "peer_says_expired"),
    ] {
        mesh.set_clock("server", offset);
        let answer = ask(&mesh);
        assert_eq!(answer.status, 502, "{offset}: {answer:?}");
        assert_eq!(
            kept.get("/echo").status,
            200,
            "{offset}: what is open stays"
        );
        wait::until("both logs have the reason", || {
            mesh.server.process.log().contains(servers)
                && (mesh.client.process.log().contains(clients) || answer.text().contains(clients))
        });
        mesh.set_clock("server", "+0s");
        wait::until("it recovers by itself", || ask(&mesh).status == 200);
    }
}
