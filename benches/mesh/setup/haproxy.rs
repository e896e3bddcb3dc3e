//! HAProxy as the hops.

use std::{fs, process::Command, time::Instant};

use super::{Hops, NotStarted, Place, Topology, Way, find, version};
use crate::{certificates::NAME, process::free_address};

const GLOBAL: &str = "\
global
    nbthread 1
    maxconn 12000
    no strict-limits
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    timeout connect 2s
    timeout client 5m
    timeout server 5m
";

pub fn start(place: &Place, topology: &Topology) -> Result<Hops, NotStarted> {
    let haproxy = find("haproxy")?;
    let (entry, between) = (free_address()?, free_address()?);
    let origin = place.origin(topology.traffic);
    let file = |name: &str| place.certificate(name).display().to_string();
    let tls = match topology.way {
        Way::TwoHops => format!(
            "ssl crt {} ca-file {} verify required",
            file("both.pem"),
            file("ca.pem")
        ),
        Way::PlainTwoHops | Way::OneHop => String::new(),
    };
    let has_tls = topology.way == Way::TwoHops;
    let is_http = topology.traffic.is_http();
    let mode = if is_http {
        "    mode http\n    http-reuse always\n"
    } else {
        "    mode tcp\n"
    };
    let plain = if topology.traffic.is_http2() {
        "proto h2"
    } else {
        ""
    };
    let alpn = match (has_tls, is_http) {
        (true, true) => "alpn h2",
        (true, false) => "",
        (false, true) => "proto h2",
        (false, false) => "",
    };
    let verify = if has_tls {
        // No resumption: connections are full handshakes, as in the mesh.
        format!("sni str({NAME}) verifyhost {NAME} no-ssl-reuse")
    } else {
        String::new()
    };
    let began = Instant::now();
    let hop = |name: &str, bind: String, server: String| {
        let config =
            format!("{GLOBAL}{mode}listen {name}\n    bind {bind}\n    server next {server}\n");
        let file = place.path(&format!("{name}.cfg"));
        fs::write(&file, config)?;
        place.run(name, Command::new(&haproxy).arg("-db").arg("-f").arg(&file))
    };
    let processes = if topology.way == Way::OneHop {
        vec![hop(
            "gateway",
            format!("{entry} {plain}"),
            format!("{origin} {plain}"),
        )?]
    } else {
        vec![
            hop(
                "client",
                format!("{entry} {plain}"),
                format!("{between} {tls} {verify} {alpn}"),
            )?,
            hop(
                "server",
                format!("{between} {tls} {alpn}"),
                format!("{origin} {plain}"),
            )?,
        ]
    };
    Ok(Hops {
        version: version(&haproxy, "-v")?,
        entry,
        processes,
        others: Vec::new(),
        began,
    })
}
