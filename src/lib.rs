//! pulsegate: a reverse proxy beside an app that makes the app's health trustworthy.
//!
//! It forwards the app's traffic, asks at its own pace whether the app and what it needs work, and answers health
//! endpoints, probes and metrics from what it found out. One process, one package: this library and a thin `main`.
//!
//! # Two planes that meet in one value
//!
//! The **data plane** ([`proxy`], [`server`]) forwards requests on one single-threaded runtime per worker. It knows
//! nothing of health except one thing that it may be told: "reject, we are not ready". The **health plane** ([`check`],
//! [`monitor`]) runs the checks on a runtime of its own and publishes one immutable, numbered
//! [`Report`](health::Report). Every endpoint and every metric reads the latest report, so no two answers can disagree;
//! a saturated data plane never delays a check, and a hung check never delays a request.
//!
//! # Modules
//!
//! A module uses only those above it in this list. `tests/tidy.rs` holds the order, and what a module must not do.
//!
//! | module | what it is | must not |
//! |---|---|---|
//! | [`settings`](mod@settings) | how every module declares and reads its part of the configuration | know any module's settings |
//! | [`health`] | the pure core: statuses, thresholds, groups, reports; one transition function | use tokio, hyper, serde, a clock or I/O |
//! | [`clock`] | the one place that reads clocks | hold state |
//! | [`journal`] | standard error as a queue: whoever logs waits for nobody | know what is logged |
//! | [`loopback`] | what a connection that never leaves the machine can do without | know what it carries |
//! | [`signs`] | what a socket shows at this moment | take anything off it |
//! | [`tcp`] | bytes from and to a TCP socket, by the kernel's own calls | know what they say |
//! | [`unsent`] | how much the kernel takes for a connection that it cannot send yet | know what it carries |
//! | [`shortage`] | errors that say nothing of what was asked for, or pass by themselves | do I/O |
//! | [`llm`] | what a model's answer says of itself, read as it passes | do I/O |
//! | [`traffic`] | counters of proxied requests | know of HTTP types beyond method and status |
//! | [`tls`] | certificates and keys from files, by rustls | do I/O on sockets |
//! | [`fetch`] | one bounded HTTP request to a configured place | keep connections |
//! | [`check`] | `trait Check`, the table of kinds, one file per kind | know of dialects or of the proxy |
//! | [`dialect`] | `trait Dialect`, the table of dialects, one file per dialect: pure functions from report to answer | do I/O |
//! | [`monitor`] | schedules checks; the only writer of health state; publishes the report | serve requests |
//! | [`events`] | tells others when a status changes, by webhooks | hold up health |
//! | [`drain`] | how far the process is on its way to the end, and who must end before it may | decide when |
//! | [`supervise`] | the app as a child of ours: started, watched, started again, told to stop | know of the proxy |
//! | [`proxy`] | HTTP forwarding: pool, header fields, upgrades, limits, errors | know of health |
//! | [`admin`] | the endpoints on both ports, and who may read them | run checks |
//! | [`server`] | listeners, accept loops, connection limits, TLS, PROXY protocol | know what is served |
//! | [`config`] | files, environment and flags to validated values; composes the modules' own settings | be used by any module above |
//! | [`app`] | wires it together: bind, run until told to stop | hold logic |
//! | [`commands`] | the command line's commands | be used by any module above |

pub mod settings;
pub mod health;
pub mod clock;
pub mod journal;
pub mod loopback;
pub mod signs;
pub mod tcp;
pub mod unsent;
pub mod shortage;
pub mod llm;
pub mod traffic;
pub mod tls;
pub mod fetch;
pub mod check;
pub mod dialect;
pub mod monitor;
pub mod events;
pub mod drain;
pub mod supervise;
pub mod proxy;
pub mod admin;
pub mod server;
pub mod config;
pub mod app;
pub mod commands;
