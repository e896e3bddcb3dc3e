//! Suites that others wrote, and tables of what their RFCs demand: what the application says by
//! itself beside what it says behind two proxies. Every deviation is named with its reason; any
//! other is a failure. `make conformance` writes the results to docs/conformance.md.

mod clients;
mod grpc;
mod h2spec;
mod h2specd;
mod http1;
mod origins;
mod report;
mod spiffe;
mod sslyze;
mod table;
mod trace_context;
