//! TLS: certificates and keys from files, by rustls with ring.

mod certificate;
mod error;
mod pem;
mod server;
mod settings;

pub use self::error::TlsError;
pub use self::server::Server;
pub use self::settings::{ClientAuth, TlsSettings};
