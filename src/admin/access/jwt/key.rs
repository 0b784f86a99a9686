use std::fmt;

use ring::hmac;

use super::{Algorithm, HS256_KEY, JwtError};
use crate::tls::PublicKey;

/// A key that belongs to the algorithm: nothing else is ever verified with it.
pub(super) enum Key {
    Secret(hmac::Key),
    Public(PublicKey),
}

impl fmt::Debug for Key {
    /// Never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret"),
            Self::Public(key) => key.fmt(f),
        }
    }
}

impl Key {
    pub(super) fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, JwtError> {
        match algorithm {
            Algorithm::Hs256 if secret.len() < HS256_KEY => Err(JwtError::Short),
            Algorithm::Hs256 => Ok(Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))),
            Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => Err(JwtError::Kind(algorithm)),
        }
    }

    pub(super) fn public(algorithm: Algorithm, key: PublicKey) -> Result<Self, JwtError> {
        let fits = matches!(
            (algorithm, &key),
            (Algorithm::Rs256, PublicKey::Rsa { .. })
                | (Algorithm::Es256, PublicKey::P256(_))
                | (Algorithm::EdDsa, PublicKey::Ed25519(_))
        );
        if fits { Ok(Self::Public(key)) } else { Err(JwtError::Kind(algorithm)) }
    }

    /// Whether the signature is this key's. HMACs are compared in a time that does not depend on where they differ.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verifies(message, signature),
        }
    }
}
