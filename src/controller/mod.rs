//! The control plane: the registry in, discovery and identities out.
