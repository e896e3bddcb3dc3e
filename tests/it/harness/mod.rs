//! What the whole-proxy tests stand on: foreign software, a mesh of real processes in front of
//! it, and conditions to wait for. A test reads: start an app, a mesh in front; ask; assert.

pub mod apps;
pub mod forge;
pub mod h2;
pub mod mesh;
mod ports;
mod process;
mod proxy;
pub mod recorder;
pub mod tools;
pub mod wait;
pub mod wire;

pub use mesh::Mesh;
pub use ports::free_addr;
pub use process::{Process, Ran, run};
pub use wire::{Response, Wire};

pub const MIB: u64 = 1 << 20;
