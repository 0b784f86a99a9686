//! The charts below `helm`, with the real programs: Helm 4 and 3, the schemas of ten versions of Kubernetes, linters, and
//! pulsegate itself, which reads every configuration that they make.
//!
//! `UPDATE_GOLDEN=1 cargo test --test helm` writes what is made from other files anew: rendered output, and tables of values.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first surprise, and reads UPDATE_GOLDEN"
)]

mod cluster;
mod configuration;
mod documented;
mod library;
mod linters;
mod manifest;
mod monitoring;
mod names;
mod notes;
mod outside;
mod rendering;
mod support;
mod values;
