//! Signed tokens: JWT (RFC 7519) in the compact form of JWS (RFC 7515), by the rules of RFC 8725.
//!
//! Everything that a token says of itself is believed only as far as the configuration has said it before: the algorithm
//! and the keys are ours, the header may only pick among them.

mod jwks;
mod key;
mod refused;
mod settings;
mod token;

use std::time::Duration;

use self::jwks::KeySet;
use self::key::Key;
pub(in crate::admin) use self::refused::Refused;
use self::settings::{Algorithm, HS256_KEY};
pub use self::settings::{JwtError, JwtSettings};
use self::token::Token;
use crate::settings::Environment;
use crate::tls::PublicKey;

/// What is asked of a token.
#[derive(Debug)]
pub(in crate::admin) struct Jwt {
    algorithm: Algorithm,
    keys: KeySet,
    audience: Option<String>,
    issuer: Option<String>,
    require_exp: bool,
}

/// The clocks of two machines may differ by so much.
const LEEWAY: Duration = Duration::from_secs(30);

/// Longer tokens are refused unread. A head of the management port is not larger than twice this.
const LONGEST_TOKEN: usize = 8 * 1024;

impl Jwt {
    /// Reads the keys.
    ///
    /// # Errors
    /// A key cannot be read, or does not belong to the algorithm.
    pub(in crate::admin) fn load(settings: &JwtSettings, environment: &Environment) -> Result<Self, JwtError> {
        let JwtSettings { algorithm, public_key_file, secret, jwks_file, audience, issuer, require_exp } = settings;
        let algorithm = *algorithm;
        let keys = match (public_key_file, secret, jwks_file) {
            (Some(path), None, None) => {
                let key = PublicKey::load(path).map_err(JwtError::PublicKey)?;
                KeySet::Only(Key::public(algorithm, key)?)
            }
            (None, Some(secret), None) => {
                let secret = secret.resolve(environment).map_err(JwtError::Secret)?;
                KeySet::Only(Key::secret(algorithm, secret.as_bytes())?)
            }
            (None, None, Some(path)) => KeySet::load(path, algorithm)?,
            _ => return Err(JwtError::Source),
        };
        let (audience, issuer) = (audience.clone(), issuer.clone());
        Ok(Self { algorithm, keys, audience, issuer, require_exp: *require_exp })
    }

    /// Verifies a token at a time since 1970.
    pub(in crate::admin) fn verify(&self, token: &[u8], now: Duration) -> Result<(), Refused> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refused::TooLong);
        }
        let token = Token::split(token).ok_or(Refused::Malformed)?;
        let header = token.header().ok_or(Refused::Malformed)?;
        // Extensions that must be understood; we understand none (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        if !self.algorithm.is(&header.alg) {
            return Err(Refused::Algorithm);
        }
        let key = self.keys.find(header.kid.as_deref()).ok_or(Refused::Key)?;
        let signature = token.signature().ok_or(Refused::Malformed)?;
        if !key.verifies(token.signed, &signature) {
            return Err(Refused::Signature);
        }
        let claims = token.claims().ok_or(Refused::Claims)?;
        let (now, leeway) = (now.as_secs_f64(), LEEWAY.as_secs_f64());
        match claims.exp {
            // RFC 7519 section 4.1.4: not on or after it.
            Some(exp) if now >= exp.0 + leeway => return Err(Refused::Expired),
            None if self.require_exp => return Err(Refused::NoExpiry),
            Some(_) | None => {}
        }
        if claims.nbf.is_some_and(|nbf| now + leeway < nbf.0) {
            return Err(Refused::TooEarly);
        }
        // RFC 7519 section 4.1.3: a token for somebody else is refused, also by who does not know its own name.
        let for_us = |audience: &Option<String>| audience.as_ref().is_some_and(|name| claims.is_for(name));
        if claims.has_audience() || self.audience.is_some() {
            for_us(&self.audience).then_some(()).ok_or(Refused::Audience)?;
        }
        match &self.issuer {
            Some(issuer) if claims.iss.as_deref() != Some(issuer) => Err(Refused::Issuer),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
