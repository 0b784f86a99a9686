//! TLS: certificates and keys from files, by rustls with ring.
//!
//! Files are read when a configuration is loaded, never while somebody waits for a handshake.

mod certificate;
mod client;
mod client_certificate;
mod der;
mod distrust;
mod error;
mod pem;
mod pinned;
mod public_key;
mod server;
mod settings;

pub use self::certificate::{expired_at, expires};
pub use self::client::{Client, ClientTls, Name, authorities_of};
pub use self::client_certificate::ClientCertificate;
pub use self::distrust::Distrust;
pub use self::error::TlsError;
pub use self::public_key::PublicKey;
pub use self::server::Server;
pub use self::settings::{ClientAuth, TlsSettings};
