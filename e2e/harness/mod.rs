//! What every test on the cluster needs.
//!
//! Nothing here sleeps and hopes: [`wait::until`] polls for a condition, has a deadline, and says
//! at the end of it what it saw last.

pub mod api_server;
mod cluster;
mod load;
pub mod mesh;
mod moody;
mod namespace;
mod nodes;
mod programs;
pub mod refusal;
pub mod replica;
pub mod wait;
mod wire;

pub use cluster::{Cluster, kubeconfig};
pub use load::{GRPC, Load, NODE};
pub use moody::Moody;
pub use namespace::Namespace;
pub use nodes::{kill_on_nodes, second_node};
pub use programs::{helm, kubectl, output, outrigger, shell};
pub use wire::Wire;
