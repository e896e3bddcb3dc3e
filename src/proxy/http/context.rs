//! What all exchanges of one accepted connection have in common.

use std::{net::SocketAddr, rc::Rc};

use crate::{
    identity::SpiffeId,
    proxy::{upstream::Upstream, worker::Worker},
    telemetry::Direction,
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
