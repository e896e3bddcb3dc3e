//! What others were hit by: hostile bytes, certificates, clients and neighbours, against the real
//! binary. docs/security.md lists which test is for what.

mod forged;
mod herd;
mod http1;
mod http2;
mod own_ports;
mod paths;
mod said;
mod skew;
mod slow;
mod stalled;
mod table;
mod tokens;
mod upgrade;
