//! Tokens that prove nothing, or somebody else: no certificate of the name that was hoped for.

use std::fs;

use crate::harness::{
    Process, apps, free_addr,
    mesh::{Around, Plan, Proxy, token_file},
    wait,
};

const SPIFFE: &str = "spiffe://mesh.test/ns/it/sa/";

/// Starts a proxy that calls itself the client, with another token.
fn impostor(mesh: &crate::harness::Mesh, token: &str) -> Proxy {
    let dir = mesh.file("");
    fs::write(dir.join(token_file("impostor")), token).expect("an own folder");
    let forward = format!("outbound:{}=198.18.0.10:80", free_addr());
    let identity = ["--identity".to_owned(), format!("{SPIFFE}client")];
    let around = Around::default();
    Proxy::launch("impostor", &forward, &dir, mesh.control, &identity, &around)
}

fn said(process: &Process, text: &str) {
    wait::until(text, || process.log().contains(text));
}

#[test]
fn a_token_of_nobody_gets_no_certificate() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).start();
    // Of another audience, expired, and made up: the API server's own words for the first two
    // are tested on a cluster, e2e/control.rs.
    for token in [
        "",
        "guess",
        "eyJhbGciOiJub25lIn0.eyJhdWQiOiJvdGhlciIsImV4cCI6MX0.",
    ] {
        let proxy = impostor(&mesh, token);
        said(&proxy.process, "not one of this mesh");
        assert!(!proxy.process.log().contains("certified"));
        assert!(
            proxy
                .admin("/ready")
                .is_none_or(|ready| ready.status != 200)
        );
    }
    assert_eq!(mesh.get("/echo").status, 200);
}

/// The token decides, not what its bearer says: it makes no certificate of another account.
#[test]
fn another_workloads_token_gives_no_other_name() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).start();
    let token = fs::read_to_string(mesh.file(&token_file("server"))).expect("it was written");
    let proxy = impostor(&mesh, &token);
    wait::until("the mistake is named", || {
        let log = proxy.process.log();
        log.contains(&format!("{SPIFFE}server"))
    });
    assert!(
        !proxy
            .process
            .log()
            .contains(&format!("certified id={SPIFFE}client"))
    );
}
