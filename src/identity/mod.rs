//! Who a workload is, and how it proves it.

use std::time::Duration;

pub mod ca;
mod failure;
mod names;
pub(crate) mod pem_fault;
mod proven;
pub mod renew;
mod spiffe;
pub mod store;
mod svid;
mod tls;
mod trust;
mod verify;

#[cfg(test)]
pub(crate) mod testing;

pub use failure::{TlsFailure, describe_tls_failure, tls_failure_reason};
pub use names::{NameError, certificate_id, peer_id, peer_not_after};
pub use spiffe::{InvalidSpiffeId, NO_TRUST_DOMAIN, SpiffeId, is_trust_domain};
pub use store::{Credentials, IdentityStore};
pub use svid::{CertificateRequest, InvalidSvid, Svid};
pub use tls::{Alpn, bootstrap_client_config, peer_name, public_server_config};
pub use trust::{InvalidTrustBundle, TrustAnchors};
pub use verify::{PeerRefused, Refusal};

/// How far apart the clocks of two nodes may be: certificates are valid from this long before
/// they were made. The other direction is covered by renewing well before the end.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);
