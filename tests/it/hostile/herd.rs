//! A controller that is slow, gone, back, and asked by everybody at once.

use std::{sync::Arc, time::Duration};

use outrigger::{
    discovery::{Certifier, ClientOptions, Controller, DiscoveryClient, controller_id},
    identity::IdentityStore,
};
use rustix::process::Signal;

use crate::harness::{
    MIB, Mesh, apps,
    mesh::{Plan, TRUST_DOMAIN, token_file},
    wait,
};

/// Proxies that come back at the same moment: one machine holds the streams of these and of the
/// controller.
const HERD: usize = 500;

/// What the controller may grow by for each of them, in bytes: a TLS connection and a stream.
const EACH: u64 = 160 * 1024;

fn served(mesh: &Mesh) {
    let mut kept = mesh.connect();
    for _ in 0..20 {
        assert_eq!(kept.get("/echo").status, 200);
        assert_eq!(mesh.get("/echo").status, 200);
    }
}

#[test]
fn a_controller_that_hangs_is_not_missed() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    assert_eq!(mesh.get("/echo").status, 200);
    mesh.controller.signal(Signal::STOP);
    served(&mesh);
    mesh.controller.signal(Signal::CONT);
    mesh.edit_registry("198.18.0.10", "198.18.0.11");
    wait::until("what changed meanwhile arrives", || {
        mesh.get("/echo").status != 200
    });
}

async fn client(mesh: &Mesh) -> ClientOptions {
    let controller = Controller {
        address: mesh.control.to_string(),
        identity: controller_id(TRUST_DOMAIN, "outrigger-system").expect("a name"),
        mark: None,
    };
    let certifier = Certifier {
        controller: controller.clone(),
        token_file: mesh.file(&token_file("client")),
        roots_file: mesh.file("ca/root.pem"),
        identity: IdentityStore::new(),
        keep_dir: None,
    };
    certifier.certify().await.expect("a good token");
    ClientOptions::new(controller, certifier.identity, "client")
}

/// Waits until all of them are connected, or none is.
async fn all(clients: &[Arc<DiscoveryClient>], connected: bool) {
    for client in clients {
        let mut changes = client.status_changes();
        let reached = changes.wait_for(|()| client.status().connected == connected);
        let within = tokio::time::timeout(Duration::from_secs(60), reached).await;
        within.expect("in time").expect("the client lives");
    }
}

#[test]
fn a_controller_comes_back_to_a_herd() {
    let app = apps::go();
    let mut mesh = Plan::new(app.addr).protocol("http").start();
    assert_eq!(mesh.get("/echo").status, 200);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let rest = mesh.controller.peak_memory();
    let options = runtime.block_on(client(&mesh));
    let herd: Vec<_> = (0..HERD)
        .map(|_| {
            let (client, runner) = DiscoveryClient::new(options.clone());
            runtime.spawn(runner.run());
            Arc::new(client)
        })
        .collect();
    runtime.block_on(all(&herd, true));
    mesh.controller.kill();
    served(&mesh);
    runtime.block_on(all(&herd, false));
    mesh.restart_controller();
    runtime.block_on(all(&herd, true));
    served(&mesh);
    let grown = mesh.controller.peak_memory().saturating_sub(rest);
    let each = grown / HERD as u64;
    assert!(each < EACH, "the controller grew by {each} bytes for each");
    assert!(grown < 80 * MIB);
}
