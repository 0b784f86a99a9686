//! TLS: certificates and keys from files, by rustls with ring.
//!
//! Files are read when a configuration is loaded, never while somebody waits for a handshake.

mod certificate;
mod client;
mod distrust;
mod error;
mod pem;
mod server;
mod settings;

pub use self::client::{Client, ClientTls, Name};
pub use self::distrust::Distrust;
pub use self::error::TlsError;
pub use self::server::Server;
pub use self::settings::{ClientAuth, TlsSettings};
