use std::fmt;

use super::{JwtError, SessionError};
use crate::settings::SecretError;

/// Why credentials cannot be checked.
#[derive(Debug)]
pub enum AccessError {
    /// An API key cannot be read.
    Key(SecretError),
    /// Tokens cannot be verified.
    Jwt(JwtError),
    /// Sessions cannot be recognized.
    Session(SessionError),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(f, "`admin.api_keys`: {error}"),
            Self::Jwt(error) => write!(f, "`admin.jwt`: {error}"),
            Self::Session(error) => write!(f, "`admin.session`: {error}"),
        }
    }
}

impl std::error::Error for AccessError {}
