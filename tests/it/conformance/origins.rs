//! Five HTTP servers that no one here wrote, each of which writes down how it read a request.

use std::{fs, fs::Permissions, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::Signal;
use tempfile::TempDir;

use super::table::Reading;
use crate::harness::{
    Wire,
    apps::App,
    free_addr, run,
    tools::{command, go_reading, python, source},
    wait,
};

pub struct Origin {
    pub name: &'static str,
    /// What it says it is, with its version.
    pub version: String,
    pub app: App,
    /// How its text stands in what it writes.
    text: Text,
    /// Bytes of its readings that were looked at.
    seen: usize,
    marks: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    /// A character for each byte.
    Utf8,
    /// The bytes as they came.
    Raw,
}

/// Where an origin writes.
const READINGS: &str = "readings.jsonl";

impl Origin {
    pub fn all() -> Vec<Self> {
        vec![nginx(), apache(), node(), go(), python_http_server()]
    }

    fn new(name: &'static str, version: &str, app: App) -> Self {
        Self {
            name,
            version: version.trim().to_owned(),
            app,
            text: Text::Utf8,
            seen: 0,
            marks: 0,
        }
    }

    fn decode(&self, bytes: &[u8]) -> Option<String> {
        match self.text {
            Text::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Text::Raw => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        }
    }

    /// What was read since the last look, by method, target and body.
    pub fn readings(&mut self) -> Vec<Reading> {
        // What an origin was sent before, it has written down before this.
        let mark = format!("/mark/{}", self.marks);
        self.marks += 1;
        let mut wire = Wire::connect(self.app.addr);
        wire.send(format!(
            "GET {mark} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(wire.response("GET").status, 200, "{}", self.name);
        let path = self.app.file(READINGS);
        let quoted = format!("\"{mark}\"");
        let new = wait::until_some(&format!("{} has read {mark}", self.name), || {
            let bytes = fs::read(&path).ok()?;
            let new = &bytes[self.seen..];
            let text = self.decode(new)?;
            let done = text.contains(&quoted) && text.ends_with('\n');
            done.then_some((text, new.len()))
        });
        let (new, length) = new;
        self.seen += length;
        let readings = new.lines().map(|line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{}: {error}: {line}", self.name))
        });
        readings
            .filter(|reading: &Reading| reading.target != mark)
            .collect()
    }
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a place for files");
    // Apache's workers are another user.
    for (path, mode) in [
        (dir.path().to_owned(), 0o777),
        (dir.path().join(READINGS), 0o666),
    ] {
        if !path.exists() {
            fs::write(&path, "").expect("an own folder");
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("an own file");
    }
    dir
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).expect("an own folder");
}

/// A body is read by nginx for an upstream only: one of its own takes that part.
fn nginx() -> Origin {
    let (addr, files) = (free_addr(), folder());
    let dir = files.path().display();
    let config = format!(
        r#"daemon off; master_process off; pid {dir}/pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  log_format reading escape=json '{{"method":"$request_method","target":"$request_uri","host":"$http_host","x_a":"$http_x_a","body":"$request_body"}}';
  map $status $is_read {{ ~^2 1; default 0; }}
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  client_body_buffer_size 64k; client_body_in_single_buffer on;
  server {{ listen unix:{dir}/inner; access_log off; location / {{ return 200 "read\n"; }} }}
  server {{
    listen {addr}; access_log {dir}/{READINGS} reading if=$is_read;
    location / {{ proxy_pass http://unix:{dir}/inner; proxy_ignore_client_abort on; }}
  }}
}}"#
    );
    write(files.path(), "nginx.conf", &config);
    let mut nginx = command("nginx");
    nginx
        .arg("-p")
        .arg(files.path())
        .args(["-e", "stderr", "-c", "nginx.conf"]);
    let app = App::start("nginx", addr, &mut nginx).with_files(files);
    let version = run(command("nginx").arg("-v")).stderr;
    Origin {
        text: Text::Raw,
        ..Origin::new("nginx", version.trim_start_matches("nginx version: "), app)
    }
}

/// Requests go to a CGI program, as only a program sees how a body was read.
fn apache() -> Origin {
    let (addr, files) = (free_addr(), folder());
    let (dir, program) = (files.path().display(), go_reading());
    fs::copy(program, files.path().join("reading")).expect("a program can be copied");
    let modules = ["mpm_event", "authz_core", "cgid", "alias", "env"];
    let modules: String = modules
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    let config = format!(
        r#"{modules}
ServerRoot {dir}
ServerName app.test
PidFile {dir}/pid
Mutex file:{dir} default
ScriptSock {dir}/cgi
ErrorLog {dir}/error.log
User nobody
Group nogroup
Listen {addr}
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
AllowEncodedSlashes NoDecode
MergeSlashes Off
TraceEnable Off
SetEnv READINGS {dir}/{READINGS}
ScriptAliasMatch "^" {dir}/reading
<Directory {dir}>
  Require all granted
  Options ExecCGI
</Directory>
"#
    );
    write(files.path(), "apache.conf", &config);
    let mut apache = command("apache2");
    apache
        .arg("-DFOREGROUND")
        .arg("-f")
        .arg(files.path().join("apache.conf"));
    let mut app = App::start("apache", addr, &mut apache).with_files(files);
    app.process = app.process.ended_by(Signal::TERM);
    let version = run(command("apache2").arg("-v")).text();
    let version = version.lines().next().unwrap_or_default().to_owned();
    Origin::new(
        "apache",
        version.trim_start_matches("Server version: "),
        app,
    )
}

fn node() -> Origin {
    let (addr, files) = (free_addr(), folder());
    let mut node = command("node");
    node.arg(source("reading.js"))
        .arg(addr.port().to_string())
        .arg(files.path().join(READINGS));
    let app = App::start("node", addr, &mut node).with_files(files);
    let version = run(command("node").arg("--version")).text();
    Origin::new("node", &format!("Node {version}"), app)
}

fn go() -> Origin {
    let (addr, files) = (free_addr(), folder());
    let mut go = std::process::Command::new(go_reading());
    go.arg(addr.to_string()).arg(files.path().join(READINGS));
    let app = App::start("go", addr, &mut go).with_files(files);
    let version = run(command("go").arg("version")).text();
    let version = version.split(' ').nth(2).unwrap_or_default().to_owned();
    Origin::new("go", &format!("{version} net/http"), app)
}

fn python_http_server() -> Origin {
    let (addr, files) = (free_addr(), folder());
    let mut server = python("reading.py");
    server
        .arg(addr.port().to_string())
        .arg(files.path().join(READINGS));
    let app = App::start("python", addr, &mut server).with_files(files);
    let answer = Wire::connect(app.addr).get("/version");
    let version = answer.header("server").unwrap_or_default();
    let mut origin = Origin::new("python", &format!("{version} http.server"), app);
    origin.readings();
    origin
}
