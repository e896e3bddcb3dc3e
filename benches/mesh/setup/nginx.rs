//! nginx as the hops. To an upstream it speaks HTTP/2 for gRPC alone: between the hops and to the
//! origin it is HTTP/1.1 for everything else. Opaque
//! TCP needs a module that is a package of its own, and is not measured.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Instant};

use super::{Hops, NotStarted, Place, Topology, Traffic, Way, find, version};
use crate::{
    certificates::NAME,
    process::{Process, free_address},
};

pub fn start(place: &Place, topology: &Topology) -> Result<Hops, NotStarted> {
    let nginx = find("nginx")?;
    let (entry, between) = (free_address()?, free_address()?);
    let origin = match topology.traffic {
        Traffic::Grpc => place.origin(Traffic::Grpc),
        _ => place.origin(Traffic::Http1),
    };
    let http2 = if topology.traffic.is_http2() {
        " http2"
    } else {
        ""
    };
    let tls = topology.way == Way::TwoHops;
    let began = Instant::now();
    let to_origin = location(place, topology.traffic, false);
    let mut processes = Vec::new();
    if topology.way == Way::OneHop {
        let server = server(&format!("{entry}{http2}"), "", &to_origin);
        processes.push(hop(place, &nginx, "gateway", origin, &server)?);
    } else {
        let to_peer = location(place, topology.traffic, tls);
        let client = server(&format!("{entry}{http2}"), "", &to_peer);
        processes.push(hop(place, &nginx, "client", between, &client)?);
        let (ssl, files) = if tls {
            (" ssl", accept(place))
        } else {
            ("", String::new())
        };
        let http2 = if topology.traffic == Traffic::Grpc {
            " http2"
        } else {
            ""
        };
        let server = server(&format!("{between}{ssl}{http2}"), &files, &to_origin);
        processes.push(hop(place, &nginx, "server", origin, &server)?);
    }
    Ok(Hops {
        version: version(&nginx, "-v")?,
        entry,
        processes,
        others: Vec::new(),
        began,
    })
}

fn hop(
    place: &Place,
    nginx: &Path,
    name: &str,
    to: SocketAddr,
    server: &str,
) -> anyhow::Result<Process> {
    let dir = place.path(name);
    fs::create_dir(&dir)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {kind};\n"))
        .concat();
    let config = format!(
        "\
daemon off;
master_process off;
pid pid;
error_log stderr error;
events {{ worker_connections 12000; }}
http {{
    access_log off;
    keepalive_timeout 5m;
    keepalive_requests 1000000000;
{temporary}    upstream next {{
        server {to};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
{server}}}
"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(nginx);
    command
        .args(["-e", "stderr", "-p"])
        .arg(&dir)
        .arg("-c")
        .arg(&file);
    place.run(name, &mut command)
}

fn server(listen: &str, tls: &str, location: &str) -> String {
    format!(
        "    server {{\n        listen {listen};\n{tls}        location / {{\n{location}        }}\n    }}\n"
    )
}

/// What a hop does with what it takes.
fn location(place: &Place, traffic: Traffic, tls: bool) -> String {
    let (module, pass) = match (traffic, tls) {
        (Traffic::Grpc, true) => ("grpc", "grpc_pass grpcs://next;"),
        (Traffic::Grpc, false) => ("grpc", "grpc_pass grpc://next;"),
        (_, true) => ("proxy", "proxy_pass https://next;"),
        (_, false) => ("proxy", "proxy_pass http://next;"),
    };
    let mut lines = format!("            {pass}\n");
    if module == "proxy" {
        lines +=
            "            proxy_http_version 1.1;\n            proxy_set_header Connection \"\";\n";
    }
    if tls {
        let file = |name: &str| place.certificate(name).display().to_string();
        for (option, value) in [
            ("certificate", file("cert.pem")),
            ("certificate_key", file("key.pem")),
            ("trusted_certificate", file("ca.pem")),
            ("verify", "on".into()),
            ("name", NAME.into()),
            ("server_name", "on".into()),
            ("protocols", "TLSv1.3".into()),
        ] {
            lines += &format!("            {module}_ssl_{option} {value};\n");
        }
    }
    lines
}

fn accept(place: &Place) -> String {
    let file = |name: &str| place.certificate(name).display().to_string();
    [
        format!("ssl_certificate {}", file("cert.pem")),
        format!("ssl_certificate_key {}", file("key.pem")),
        format!("ssl_client_certificate {}", file("ca.pem")),
        "ssl_verify_client on".into(),
        "ssl_protocols TLSv1.3".into(),
    ]
    .map(|line| format!("        {line};\n"))
    .concat()
}
