//! Metrics, traces, access log, and the admin port that shows them.
