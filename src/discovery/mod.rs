//! The model that both planes share, and the stream between them.

pub mod model;
