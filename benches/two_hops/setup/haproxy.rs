//! HAProxy as both hops.

use std::{fs, process::Command};

use super::{Bench, Kind, NotStarted, Setup};
use crate::{
    certificates::NAME,
    process::{Process, free_address},
};

const COMMON: &str = "\
global
    nbthread 1
    maxconn 8192
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    mode http
    timeout connect 2s
    timeout client 5m
    timeout server 5m
    http-reuse always
";

pub fn start(bench: &Bench) -> Result<Setup, NotStarted> {
    let Some(haproxy) = super::find("haproxy") else {
        return Err(NotStarted::Missing(
            "not installed. On Debian: apt-get install haproxy".into(),
        ));
    };
    let (entry, between) = (free_address()?, free_address()?);
    let tls = format!(
        "ssl crt {} ca-file {} verify required",
        bench.path("both.pem").display(),
        bench.path("ca.pem").display()
    );
    let client = format!(
        "{COMMON}listen client\n    bind {entry}\n    server peer {between} {tls} sni str({NAME}) verifyhost {NAME} alpn h2\n"
    );
    let server = format!(
        "{COMMON}listen server\n    bind {between} {tls} alpn h2\n    server origin {}\n",
        bench.origin(Kind::Haproxy)
    );
    let hop = |name: &str, config: &str| {
        let file = bench.path(name);
        fs::write(&file, config)?;
        Process::start(
            Command::new(&haproxy).arg("-db").arg("-f").arg(&file),
            &file.with_extension("log"),
        )
    };
    Ok(Setup {
        kind: Kind::Haproxy,
        version: super::version(&haproxy, "-v")?,
        entry,
        hops: vec![
            hop("haproxy-client.cfg", &client)?,
            hop("haproxy-server.cfg", &server)?,
        ],
        _others: Vec::new(),
    })
}
