//! Answers without an end in sight: WebSocket and server-sent events.

use crate::harness::{Mesh, apps, run, tools::python};

#[test]
fn websocket_messages_pass_in_both_directions() {
    let app = apps::python_app("websocket_server.py");
    let mesh = Mesh::in_front_of(app.addr);
    let mut client = python("websocket_client.py");
    assert_eq!(
        run(client.arg(mesh.addr.port().to_string()))
            .success()
            .text(),
        "ok\n"
    );
}

/// The second event is not sent before the first was read: one that waits in a buffer would
/// wait for ever.
#[test]
fn server_sent_events_arrive_at_once() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send(
        "GET /events?gate=sse HTTP/1.1\r\nHost: app.test\r\nAccept: text/event-stream\r\n\r\n",
    );
    wire.take_until("data: first\n\n");
    app.control("open?gate=sse");
    wire.take_until("data: second\n\n");
}

/// The application must learn that nobody listens any more.
#[test]
fn a_client_that_leaves_ends_its_stream() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send("GET /events?gate=never HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wire.take_until("data: first\n\n");
    drop(wire);
    crate::harness::wait::until("the application notices", || {
        app.count("left?gate=never") == 1
    });
}
