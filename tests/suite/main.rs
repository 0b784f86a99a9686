//! The program as its users meet it: the real binary, driven over real sockets with real peers.
//!
//! `tests/run` installs the peers and runs this; a test whose peer is missing fails and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test ends at the first surprise, shows what it saw, and measures real programs by the real clock"
)]

mod abandoned;
mod access;
mod answers;
mod avalanche;
mod bad_input;
mod bodies;
mod canaries;
mod ccproxy;
mod cli;
mod codes;
mod commands;
mod config;
mod control;
mod counters;
mod databases;
mod dialects;
mod endpoints;
mod events;
mod examples;
mod failures;
mod faults;
mod forwarding;
mod framing;
mod grpc;
mod grpc_health;
mod half_close;
mod haproxy;
mod healthpy;
mod hop_by_hop;
mod http2;
mod http2_delivery;
mod http2_fairness;
mod http2_hostile;
mod http2_malformed;
mod http2_memory;
mod http2_uploads;
mod lifecycle;
mod limits;
mod litellm;
mod local_checks;
mod login;
mod machine_checks;
mod management;
mod models;
mod monitoring;
mod network_checks;
mod noticing;
mod overload;
mod packaging;
mod pipes;
mod other_logins;
mod others;
mod process_table;
mod prometheus;
mod proxy_protocol;
mod pushed_checks;
mod reaching;
mod reload;
mod request_log;
mod restarts;
mod schema;
mod service_manager;
mod shells;
mod soak;
mod streaming;
mod supervise;
mod support;
mod target;
mod tls;
mod tracing;
mod upstream_faults;
mod upstream_h2;
mod upstream_h2_pauses;
mod upstream_h2_windows;
mod transparent;
mod upstream_tls;
mod watchers;
mod watching;
