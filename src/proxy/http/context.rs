//! What all exchanges of one accepted connection have in common.

use std::{net::SocketAddr, rc::Rc};

use http::{Method, request};

use super::{reply::Refusal, settle::Exchange};
use crate::{
    access::{Call, Http, Verdict},
    identity::SpiffeId,
    proxy::{upstream::Upstream, worker::Worker},
    telemetry::{Direction, Reason},
};

pub struct Context {
    pub worker: Rc<Worker>,
    pub direction: Direction,
    /// What the connection's original destination stands for.
    pub upstream: Rc<Upstream>,
    /// Who a mesh peer proved to be; none for an application and for plaintext.
    pub caller: Option<SpiffeId>,
    pub client: SocketAddr,
}

impl Context {
    /// What a request is to the access rules.
    fn call<'a>(&'a self, method: &'a Method, path: &'a str) -> Call<'a> {
        Call {
            caller: self.caller.as_ref(),
            port: self.upstream.port(),
            http: Some(Http { method, path }),
        }
    }

    /// Returns when the rules no longer let a connection go on that a request has switched to
    /// another protocol.
    pub async fn until_denied(&self, method: &Method, path: &str) {
        match self.direction {
            Direction::Outbound => std::future::pending().await,
            Direction::Inbound => {
                let call = self.call(method, path);
                self.worker.own.until_denied(&call).await;
            }
        }
    }

    /// Whether the access rules of the own workload let a request pass, as they are now: a change
    /// holds for connections that are open.
    pub fn admit(&self, exchange: &Exchange, parts: &request::Parts) -> Result<(), Refusal> {
        if self.direction == Direction::Outbound {
            return Ok(());
        }
        if self.caller.is_none() && self.worker.own.refuses_plaintext() {
            let detail = "the workload takes mesh TLS only";
            return Err(Refusal::new(Reason::PlaintextRefused, detail));
        }
        let call = self.call(&parts.method, parts.uri.path());
        match self.worker.own.decide(&call) {
            Verdict::Allowed => Ok(()),
            Verdict::Audited => {
                exchange.series.audited();
                Ok(())
            }
            Verdict::Denied => {
                let port = call.port;
                let detail = match call.caller {
                    Some(caller) => format!("{caller} may not do this at port {port}"),
                    None => {
                        format!("a caller without mesh identity may not do this at port {port}")
                    }
                };
                Err(Refusal::new(Reason::AccessDenied, detail))
            }
        }
    }
}
