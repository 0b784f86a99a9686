//! pulsegate
pub mod admin;
pub mod app;
pub mod check;
pub mod clock;
pub mod commands;
pub mod config;
pub mod dialect;
pub mod drain;
pub mod fetch;
pub mod health;
pub mod monitor;
pub mod proxy;
pub mod server;
pub mod settings;
pub mod traffic;
