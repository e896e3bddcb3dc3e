//! Certificates that must not pass, shown to the real proxies by openssl: as a caller and as an
//! endpoint. The reason is in the proxy's log, in its metric and in what the other side is told.

use tempfile::tempdir;

use crate::harness::{
    Mesh, Process, apps,
    forge::{DNS, Forgery, OTHER_NAME, URI, tlv},
    mesh::Plan,
    run, wait,
};

const SERVER: &[u8] = b"spiffe://mesh.test/ns/it/sa/server";
const CLIENT: &str = "spiffe://mesh.test/ns/it/sa/client";

/// Each with the log's word for it and the metric's.
fn forgeries() -> Vec<(&'static str, Forgery, &'static str, &'static str)> {
    let good = || Forgery::of(&[(URI, SERVER)]);
    let bad = "bad-certificate";
    let other_name = [
        &tlv(0x06, &[0x2a, 0x03])[..],
        &tlv(0xa0, &tlv(0x0c, SERVER)),
    ]
    .concat();
    let uri = |uri: &str| Forgery::uri(uri);
    vec![
        (
            "a NUL",
            uri("spiffe://mesh.test/ns/it/sa/server\0"),
            "not_spiffe",
            bad,
        ),
        (
            "a NUL and more",
            uri("spiffe://mesh.test/ns/it/sa/server\0x"),
            "not_spiffe",
            bad,
        ),
        (
            "otherName",
            Forgery::of(&[(OTHER_NAME, &other_name)]),
            "no_uri",
            bad,
        ),
        ("a DNS name", Forgery::of(&[(DNS, SERVER)]), "no_uri", bad),
        (
            "two URIs",
            Forgery::of(&[(URI, SERVER), (URI, CLIENT.as_bytes())]),
            "many_uris",
            bad,
        ),
        (
            "a wildcard",
            uri("spiffe://mesh.test/ns/it/sa/*"),
            "not_spiffe",
            bad,
        ),
        (
            "capitals",
            uri("SPIFFE://MESH.test/ns/it/sa/server"),
            "not_spiffe",
            bad,
        ),
        (
            "a CN only",
            Forgery::of(&[]).common_name(CLIENT),
            "no_uri",
            bad,
        ),
        ("expired", good().expired(), "expired", "expired"),
        (
            "not yet valid",
            good().not_yet_valid(),
            "not_yet_valid",
            "not-yet-valid",
        ),
        (
            "self-signed",
            good().self_signed(),
            "unknown_issuer",
            "unknown-issuer",
        ),
        (
            "another mesh",
            uri("spiffe://evil.test/ns/it/sa/server"),
            "wrong_trust_domain",
            "wrong-trust-domain",
        ),
    ]
}

fn handshakes(page: &str, direction: &str, result: &str) -> u64 {
    let series =
        format!("outrigger_tls_handshakes_total{{direction=\"{direction}\",result=\"{result}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0, |n| n.parse().expect("a number"))
}

#[test]
fn a_caller_with_a_forged_certificate_is_refused() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let dir = tempdir().expect("a place for files");
    for (what, forgery, reason, result) in forgeries() {
        let shown = forgery.write(&mesh.file("ca"), dir.path());
        let before = handshakes(&mesh.server.metrics(), "inbound", result);
        let logged = mesh.server.process.log().len();
        let told = run(&mut shown.client(mesh.inbound));
        assert!(told.stderr.contains("alert"), "{what}: {told}");
        wait::until("the server's proxy logs the reason", || {
            mesh.server.process.log()[logged..].contains(reason)
        });
        let after = handshakes(&mesh.server.metrics(), "inbound", result);
        assert_eq!(after, before + 1, "{what}: {result}");
    }
    assert_eq!(app.count("requests"), 0);
    // What is forged in no way passes: it was the certificates that were refused.
    let shown = Forgery::uri(CLIENT).write(&mesh.file("ca"), dir.path());
    let _client = Process::start("openssl s_client", &mut shown.client(mesh.inbound));
    wait::until("the good one passes", || {
        handshakes(&mesh.server.metrics(), "inbound", "ok") == 1
    });
}

/// The client's proxy meets `shown` where the registry says that the server is.
fn meet(app: &apps::App, forgery: &Forgery, reason: &str, result: &str, what: &str) {
    let dir = tempdir().expect("a place for files");
    let mesh = Plan::new(app.addr).protocol("http").start();
    let (addr, openssl) = forgery.write(&mesh.file("ca"), dir.path()).server();
    let inbound = mesh.inbound.to_string();
    mesh.edit_registry(&inbound, &addr.to_string());
    wait::until("the edit arrives", || openssl_was_met(&mesh, result));
    let answer = mesh.get("/");
    assert_eq!(
        (answer.status, &*answer.reason()),
        (502, "tls-failed"),
        "{what}: {answer:?}"
    );
    assert!(answer.text().contains(reason), "{what}: {answer:?}");
    wait::until("openssl is told", || openssl.log().contains("alert"));
    wait::until(&format!("{what}: {reason} is logged"), || {
        mesh.client.process.log().contains(reason)
    });
}

fn openssl_was_met(mesh: &Mesh, result: &str) -> bool {
    mesh.get("/");
    handshakes(&mesh.client.metrics(), "outbound", result) > 0
}

#[test]
fn an_endpoint_with_a_forged_certificate_is_refused() {
    let app = apps::go();
    let account = Forgery::uri("spiffe://mesh.test/ns/it/sa/other");
    let wrong = (
        "another account",
        account,
        "wrong_identity",
        "wrong-identity",
    );
    // All of them were shown by a caller: here one of each way to be wrong.
    let ways = [
        "expired",
        "not yet valid",
        "self-signed",
        "a NUL",
        "another mesh",
    ];
    let chosen = forgeries()
        .into_iter()
        .filter(|(what, ..)| ways.contains(what));
    for (what, forgery, reason, result) in chosen.chain([wrong]) {
        meet(&app, &forgery, reason, result, what);
    }
}
