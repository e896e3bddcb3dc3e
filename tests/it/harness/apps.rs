//! Applications that no one here wrote, each on a port of its own.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::{
    Process, Wire, free_addr, run,
    tools::{command, go_origin, python, tool},
    wait,
};

/// A running application.
pub struct App {
    pub addr: SocketAddr,
    pub process: Process,
    files: Option<TempDir>,
}

impl App {
    /// Starts it, and waits until it listens.
    pub fn start(name: &str, addr: SocketAddr, command: &mut Command) -> Self {
        let mut process = Process::start(name, command);
        wait::until(&format!("{name} listens on {addr}"), || {
            assert!(
                process.exited().is_none(),
                "{name} ended: {}",
                process.log()
            );
            TcpStream::connect(addr).is_ok()
        });
        Self {
            addr,
            process,
            files: None,
        }
    }

    /// The files live as long as the application does.
    pub fn with_files(self, files: TempDir) -> Self {
        Self {
            files: Some(files),
            ..self
        }
    }

    /// A file that the application was started with.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files
            .as_ref()
            .expect("started with files")
            .path()
            .join(name)
    }

    /// Asks the Go origin itself, past the mesh.
    pub fn control(&self, path: &str) -> String {
        Wire::connect(self.addr)
            .get(&format!("/control/{path}"))
            .text()
    }

    pub fn count(&self, path: &str) -> u64 {
        self.control(path).parse().expect("a number")
    }
}

/// Go's net/http: see apps/origin.go for what it answers.
pub fn go() -> App {
    go_at(free_addr())
}

/// As [`go`], where another was.
pub fn go_at(addr: SocketAddr) -> App {
    App::start("go origin", addr, go_origin().arg(addr.to_string()))
}

/// A script that takes its port.
pub fn python_app(script: &str) -> App {
    let addr = free_addr();
    App::start(script, addr, python(script).arg(addr.port().to_string()))
}

/// nginx with the given content of its server block, and files to serve under `www/`.
pub fn nginx(server: &str, www: &[(&str, &[u8])]) -> App {
    nginx_listening("", server, www)
}

/// nginx that speaks TLS with a certificate of its own, which is the file `app.crt`.
pub fn nginx_tls(server: &str) -> App {
    let tls = format!("ssl_certificate app.crt; ssl_certificate_key app.key; {server}");
    nginx_listening(
        " ssl http2",
        &tls,
        &[("index.html", b"over the app's own TLS\n")],
    )
}

fn nginx_listening(options: &str, server: &str, www: &[(&str, &[u8])]) -> App {
    let (addr, files) = (free_addr(), folder());
    let dir = files.path();
    if !options.is_empty() {
        certificate(dir);
    }
    fs::create_dir(dir.join("www")).expect("a new folder");
    for (name, content) in www {
        fs::write(dir.join("www").join(name), content).expect("a writable folder");
    }
    let dir_name = dir.display();
    let config = format!(
        "daemon off; master_process off; pid {dir_name}/pid; error_log stderr warn;
         events {{ worker_connections 2048; }}
         http {{
           access_log off; default_type text/plain;
           client_body_temp_path {dir_name}/body; proxy_temp_path {dir_name}/proxy;
           fastcgi_temp_path {dir_name}/f; uwsgi_temp_path {dir_name}/u; scgi_temp_path {dir_name}/s;
           server {{ listen {addr}{options}; root {dir_name}/www; {server} }}
         }}"
    );
    fs::write(dir.join("nginx.conf"), config).expect("a writable folder");
    let mut nginx = command("nginx");
    nginx
        .arg("-p")
        .arg(dir)
        .args(["-e", "stderr", "-c", "nginx.conf"]);
    App::start("nginx", addr, &mut nginx).with_files(files)
}

/// nghttp2's own server, HTTP/2 alone, serving `www/`.
pub fn nghttpd(www: &[(&str, &[u8])]) -> App {
    let (addr, files) = (free_addr(), folder());
    for (name, content) in www {
        fs::write(files.path().join(name), content).expect("a writable folder");
    }
    let mut nghttpd = command("nghttpd");
    nghttpd
        .args(["--no-tls", "--address=127.0.0.1"])
        .arg("-d")
        .arg(files.path());
    App::start("nghttpd", addr, nghttpd.arg(addr.port().to_string())).with_files(files)
}

pub fn grpc_interop() -> App {
    let addr = free_addr();
    let mut server = command("grpc-interop-server");
    App::start(
        "grpc interop server",
        addr,
        server.arg(format!("--port={}", addr.port())),
    )
}

/// gRPC's own server for its health protocol: see apps/grpc_health.go for what is how.
pub fn grpc_health() -> App {
    let addr = free_addr();
    let mut server = command("grpc-health-server");
    App::start("grpc health server", addr, server.arg(addr.to_string()))
}

pub fn redis() -> App {
    let addr = free_addr();
    let mut redis = command("redis-server");
    redis.args([
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--port",
    ]);
    App::start("redis", addr, redis.arg(addr.port().to_string()))
}

/// PostgreSQL with a user `postgres` that needs no password; with `tls`, it also takes TLS with
/// the certificate in the file `app.crt`.
pub fn postgres(tls: bool) -> App {
    let (addr, files) = (free_addr(), folder());
    let data = files.path().join("data");
    run(as_postgres("initdb", files.path())
        .args(["-N", "-A", "trust", "-U", "postgres", "-D"])
        .arg(&data))
    .success();
    let mut server = as_postgres("postgres", files.path());
    server
        .arg("-D")
        .arg(&data)
        .args(["-F", "-h", "127.0.0.1", "-k", "", "-p"])
        .arg(addr.port().to_string());
    if tls {
        certificate(files.path());
        let setting =
            |name: &str, file: &str| format!("{name}={}", files.path().join(file).display());
        server.args(["-c", "ssl=on", "-c", &setting("ssl_cert_file", "app.crt")]);
        server.args(["-c", &setting("ssl_key_file", "app.key")]);
    }
    give_to_postgres(files.path());
    let mut app = App::start("postgres", addr, &mut server).with_files(files);
    app.process = app.process.ended_by(Signal::QUIT);
    app
}

/// PostgreSQL refuses to run as root: Debian's package made a user for it.
fn as_postgres(program: &str, dir: &Path) -> Command {
    let program = tool(program);
    if !geteuid().is_root() {
        return Command::new(program);
    }
    give_to_postgres(dir);
    let mut command = command("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program)
        .current_dir("/");
    command
}

fn give_to_postgres(dir: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let id = |kind| {
        run(command("id").args([kind, "postgres"]))
            .success()
            .text()
            .trim()
            .parse()
            .expect("a number")
    };
    let (user, group) = (Some(id("-u")), Some(id("-g")));
    let content = fs::read_dir(dir)
        .expect("an own folder")
        .flatten()
        .map(|entry| entry.path());
    let files = content.filter(|path| path.is_file());
    for path in files.chain([dir.to_owned()]) {
        chown(&path, user, group).expect("root may give files away");
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a place for files")
}

/// The application's own certificate, self-signed, for `app.test`.
fn certificate(dir: &Path) {
    let mut openssl = command("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args([
        "-subj",
        "/CN=app.test",
        "-addext",
        "subjectAltName=DNS:app.test",
    ]);
    openssl
        .arg("-keyout")
        .arg(dir.join("app.key"))
        .arg("-out")
        .arg(dir.join("app.crt"));
    run(&mut openssl).success();
}
