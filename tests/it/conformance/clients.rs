//! curl and nghttp2's clients at every listener, by every way that they can speak HTTP: each gets
//! what it gets from the origin itself.

use std::net::SocketAddr;

use super::report;
use crate::harness::{Mesh, apps, mesh::Plan, run, tools::command};

/// A client with its arguments, and the protocol that it needs.
const CLIENTS: &[&[&str]] = &[
    &["curl", "--http1.0"],
    &["curl", "--http1.1"],
    &["curl", "--http2"],
    &["curl", "--http2-prior-knowledge"],
    &[
        "curl",
        "--http1.1",
        "-H",
        "Transfer-Encoding: chunked",
        "-d",
        "in chunks",
    ],
    &[
        "curl",
        "--http1.1",
        "-H",
        "Expect: 100-continue",
        "-d",
        "if you want",
    ],
    &["curl", "--http2-prior-knowledge", "-d", "over two"],
    &["nghttp"],
    &["nghttp", "--upgrade"],
    &["nghttp", "--no-dep"],
    &["nghttp", "--padding=200"],
    &["nghttp", "--window-bits=10"],
    &["nghttp", "--header-table-size=0"],
    &["nghttp", "--continuation"],
    &["h2load", "-n100", "-c5", "-m20"],
    &["h2load", "-n100", "-c5", "--h1"],
];

/// What a client says of an origin at an address: its exit code, and the body or the count.
fn said(client: &[&str], addr: SocketAddr) -> String {
    let mut program = command(client[0]);
    if client[0] == "curl" {
        program.args(["-sS", "--max-time", "25"]);
    }
    program.args(&client[1..]);
    let ran = run(program.arg(format!("http://{addr}/upload")));
    let text = ran.text();
    // h2load counts; the others show the body.
    let lines = text.lines().filter(|line| {
        client[0] != "h2load" || line.starts_with("requests:") || line.starts_with("status codes:")
    });
    let code = ran
        .code()
        .map_or("no exit code".to_owned(), |code| format!("exit {code}"));
    format!("{code}: {}", lines.collect::<Vec<_>>().join(" "))
}

#[test]
fn curl_and_nghttp2_get_what_the_origin_says() {
    let app = apps::go();
    let mesh: Mesh = Plan::new(app.addr).protocol("http").start();
    let (mut wrong, mut rows) = (Vec::new(), Vec::new());
    for client in CLIENTS {
        let direct = said(client, app.addr);
        let mut row = vec![format!("`{}`", client.join(" ")), direct.clone()];
        for (listener, addr) in [("outbound", mesh.addr), ("inbound", mesh.inbound)] {
            let through = said(client, addr);
            let is_same = through == direct;
            row.push(if is_same { "the same" } else { "**otherwise**" }.to_owned());
            if !is_same {
                wrong.push(format!(
                    "{client:?}, {listener}: {through:?}; directly {direct:?}"
                ));
            }
        }
        rows.push(row);
    }
    let table = report::table(
        &[
            "client",
            "directly",
            "outbound listener",
            "inbound listener",
        ],
        rows,
    );
    report::write("30-clients", "curl and nghttp2's clients", &table);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
