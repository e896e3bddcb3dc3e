//! go-spiffe at either end of mesh TLS, with certificates of the mesh's authority, and sslyze's
//! findings on the port that it is spoken at.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use outrigger::identity::{CertificateRequest, SpiffeId, ca::CaDirectory};
use tempfile::TempDir;

use super::report;
use crate::harness::{
    Mesh, Process, Ran,
    apps::{self, App},
    free_addr,
    mesh::{Plan, TRUST_DOMAIN},
    run,
    tools::command,
};

fn id(service_account: &str) -> SpiffeId {
    SpiffeId::new(TRUST_DOMAIN, "it", service_account).expect("a valid name")
}

/// An identity in files.
struct Identity {
    dir: TempDir,
}

impl Identity {
    /// What the authority in `ca` certifies.
    fn from(ca: PathBuf, id: &SpiffeId) -> Self {
        let dir = tempfile::tempdir().expect("a place for files");
        let ca = CaDirectory::load_or_create(&ca, TRUST_DOMAIN).expect("a usable authority");
        let request = CertificateRequest::generate();
        let (lifetime, now) = (Duration::from_secs(3600), SystemTime::now());
        let signed = ca.authority().sign(id, &request.csr_der, lifetime, now);
        let chain = signed.expect("a good request");
        let certificates = chain
            .iter()
            .map(|der| pem::Pem::new("CERTIFICATE", der.to_vec()));
        let key = pem::Pem::new("PRIVATE KEY", request.key.secret_der());
        let write = |name: &str, text: String| {
            fs::write(dir.path().join(name), text).expect("an own folder");
        };
        write(
            "svid.pem",
            certificates.map(|part| part.to_string()).collect(),
        );
        write("svid.key", key.to_string());
        write("roots.pem", ca.authority().roots_pem());
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// go-spiffe in a role, for a peer that must be `peer`.
    fn peer(&self, role: &str, addr: SocketAddr, peer: &SpiffeId) -> Command {
        let mut program = command("spiffe-peer");
        program.arg(role).arg(addr.to_string());
        program.args(["svid.pem", "svid.key", "roots.pem"].map(|name| self.file(name)));
        program.arg(peer.as_str());
        program
    }
}

fn calls(mesh: &Mesh, identity: &Identity, expected: &SpiffeId) -> Ran {
    run(&mut identity.peer("client", mesh.inbound, expected))
}

#[test]
fn go_spiffe_calls_through_a_proxy_and_each_knows_the_other() {
    let app = apps::go();
    let mesh: Mesh = Plan::new(app.addr).protocol("http").start();
    let client = Identity::from(mesh.ca_dir(), &id("gopher"));
    let text = calls(&mesh, &client, &id("server")).success().text();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let named = "\nOutrigger-Client-Id: spiffe://mesh.test/ns/it/sa/gopher\n";
    assert!(text.contains(named), "{text}");

    let refused = calls(&mesh, &client, &id("other"));
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(
        refused.stderr.contains("sa/server"),
        "it says whom it met: {refused}"
    );

    let elsewhere = tempfile::tempdir().expect("a place for another authority");
    let stranger = Identity::from(elsewhere.path().to_owned(), &id("gopher"));
    fs::copy(client.file("roots.pem"), stranger.file("roots.pem")).expect("own folders");
    let refused = calls(&mesh, &stranger, &id("server"));
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(!refused.text().contains("HTTP/1.1 200"), "{refused}");
    let text = "go-spiffe v2.9.0, with certificates of the mesh's authority. As a client at the mesh port it reaches \
                the application, which is told its SPIFFE ID. It refuses a proxy that is not whom it expects, and \
                with a certificate of another authority it is refused.";
    report::write("50-spiffe", "SPIFFE: go-spiffe", text);
}

#[test]
fn go_spiffe_serves_a_proxy_and_each_knows_the_other() {
    let addr = free_addr();
    let app = apps::go();
    let mesh: Mesh = Plan::new(app.addr).protocol("http").detour(addr).start();
    let identity = Identity::from(mesh.ca_dir(), &id("server"));
    let mut server = identity.peer("server", addr, &id("client"));
    let _server = App::start("go-spiffe", addr, &mut server);
    let answer = mesh.get("/");
    let expected = "hello spiffe://mesh.test/ns/it/sa/client <nil> over";
    assert_eq!(answer.text(), format!("{expected} or-h2\n"), "{answer:?}");

    let mut old = mesh.connect();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.response("GET").text(), format!("{expected} or-h1\n"));
    let text = "As a server it is called over `or-h2` and `or-h1`, and knows the proxy that calls.";
    report::add("51-spiffe", text);
}

#[test]
fn go_spiffe_with_the_identity_of_another_is_not_called() {
    let addr = free_addr();
    let app = apps::go();
    let mesh: Mesh = Plan::new(app.addr).protocol("http").detour(addr).start();
    let identity = Identity::from(mesh.ca_dir(), &id("other"));
    let mut server = identity.peer("server", addr, &id("client"));
    let _server: Process = App::start("go-spiffe", addr, &mut server).process;
    let answer = mesh.get("/");
    assert_eq!(
        (answer.status, &*answer.reason()),
        (502, "tls-failed"),
        "{answer:?}"
    );
    let text = "A server on go-spiffe with the identity of another is not called.";
    report::add("52-spiffe", text);
}
