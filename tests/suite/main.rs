//! The program as its users meet it: the real binary, driven over real sockets with real peers.
//!
//! `tests/run` installs the peers and runs this; a test whose peer is missing fails and says so.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends at the first surprise")]

mod ccproxy;
mod cli;
mod endpoints;
mod failures;
mod forwarding;
mod lifecycle;
mod litellm;
mod login;
mod prometheus;
mod streaming;
mod support;
