//! What the registry file says, and what happens to it.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use crate::controller::token::TokenDigest;

pub const TRUST_DOMAIN: &str = "mesh.local";
pub const NAMESPACE: &str = "sim";
/// Where applications listen.
pub const APP_PORT: u16 = 8080;
/// What clients dial.
pub const SERVICE_PORT: u16 = 80;
/// Retries may add this share of the requests.
pub const BUDGET: f64 = 0.2;

/// The policies that all services have.
#[derive(Clone, Debug)]
pub struct Policy {
    pub max_in_flight: u32,
    pub queue: u32,
    pub strict: bool,
}

#[derive(Clone, Debug)]
pub struct Registry {
    pub services: Vec<Service>,
    pub clients: Vec<String>,
    pub policy: Policy,
    /// Grows with every edit.
    pub edition: u32,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub endpoints: Vec<IpAddr>,
}

pub fn virtual_ip(service: usize) -> IpAddr {
    Ipv4Addr::new(198, 18, 100, u8::try_from(service).expect("a few")).into()
}

pub fn token(account: &str) -> String {
    format!("the token of {account}")
}

impl Registry {
    pub fn text(&self) -> String {
        let mut text = format!(
            "# Edition {}.\ntrustDomain: {TRUST_DOMAIN}\nworkloads:\n",
            self.edition
        );
        let services = self.services.iter().map(|service| &service.name);
        let mtls = if self.policy.strict {
            "strict"
        } else {
            "permissive"
        };
        for account in services.chain(&self.clients) {
            let digest = TokenDigest::of(&token(account));
            let _ = writeln!(
                text,
                "  - {{namespace: {NAMESPACE}, serviceAccount: {account}, tokenSha256: \"{digest}\", mtls: {mtls}}}"
            );
        }
        text.push_str("services:\n");
        for (index, service) in self.services.iter().enumerate() {
            let endpoints: Vec<_> = service
                .endpoints
                .iter()
                .map(|ip| format!("{{ip: {ip}, serviceAccount: {}}}", service.name))
                .collect();
            let Policy {
                max_in_flight,
                queue,
                ..
            } = self.policy;
            let _ = writeln!(
                text,
                "  - {{namespace: {NAMESPACE}, name: {}, addresses: [{}],
      ports: [{{port: {SERVICE_PORT}, targetPort: {APP_PORT}, protocol: http}}],
      policy: {{timeouts: {{request: 3s, connect: 1s}},
        breaker: {{openFor: 1s, openForMax: 4s, ramp: 2s}},
        retry: {{budgetRatio: {BUDGET}, budgetMinPerSecond: 0}},
        bulkhead: {{maxInFlight: {max_in_flight}, queue: {queue}}}}},
      endpoints: [{}]}}",
                service.name,
                virtual_ip(index),
                endpoints.join(", ")
            );
        }
        text
    }

    /// # Panics
    /// When the file cannot be written.
    pub fn write(&mut self, file: &Path) {
        self.edition += 1;
        std::fs::write(file, self.text()).expect("an own file");
    }
}
