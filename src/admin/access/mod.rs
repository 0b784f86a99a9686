//! Who may read: API keys, tokens, and what an endpoint asks for.

mod challenge;
mod error;
mod jwt;
mod keys;
mod means;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

pub(super) use self::challenge::answer as refuse;
pub use self::error::AccessError;
use self::jwt::{Jwt, Refused};
pub use self::jwt::{JwtError, JwtSettings};
pub use self::keys::Keys;
pub use self::means::{Access, Means};
pub(super) use self::session::Said;
use self::session::{Asked, Session, cookie, cookies};
pub use self::session::{SessionError, SessionSettings};
use super::AdminSettings;
use crate::health::Audience;
use crate::settings::{Environment, Secret};

/// Everything that admits. What is not configured admits nobody.
#[derive(Debug, Default)]
pub struct Credentials {
    keys: Keys,
    jwt: Option<Jwt>,
    session: Option<Session>,
}

/// What becomes of a caller at an endpoint.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It may read what this audience may.
    Admitted(Audience),
    /// The app says whether these cookies are a session.
    Ask(Asked, HeaderValue),
    /// It may not.
    Refused(Refusal),
}

/// Why a caller is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It showed nothing that admits; why the token that it did show is none, if it showed one.
    Unknown(Option<Refused>),
    /// What it showed is good, but not here.
    Elsewhere,
}

impl Credentials {
    /// Reads all secrets and keys.
    ///
    /// # Errors
    /// The first that cannot be read or used.
    pub fn load(settings: &AdminSettings, environment: &Environment) -> Result<Self, AccessError> {
        let keys = Keys::resolve(&settings.api_keys, environment).map_err(AccessError::Key)?;
        let jwt = settings.jwt.as_ref().map(|jwt| Jwt::load(jwt, environment)).transpose().map_err(AccessError::Jwt)?;
        let session = settings.session.as_ref().map(|session| Session::load(session, jwt.is_some()));
        Ok(Self { keys, jwt, session: session.transpose().map_err(AccessError::Session)? })
    }

    /// Whether tokens can be verified, where they admit.
    ///
    /// # Errors
    /// A key cannot be read, or does not belong to the algorithm.
    pub fn check_jwt(settings: &AdminSettings, environment: &Environment) -> Result<(), JwtError> {
        settings.jwt.as_ref().map_or(Ok(()), |jwt| Jwt::load(jwt, environment).map(drop))
    }

    /// Whether sessions can be recognized, where they admit.
    ///
    /// # Errors
    /// The settings do not fit together, or a file cannot be read.
    pub fn check_session(settings: &AdminSettings) -> Result<(), SessionError> {
        settings.session.as_ref().map_or(Ok(()), |session| Session::load(session, settings.jwt.is_some()).map(drop))
    }

    /// The files that the settings name, to be watched.
    pub fn files(settings: &AdminSettings) -> impl Iterator<Item = PathBuf> {
        let secrets = settings.api_keys.iter().chain(settings.jwt.iter().flat_map(|jwt| &jwt.secret));
        let secrets = secrets.filter_map(|secret| match secret {
            Secret::File(path) => Some(path),
            Secret::Variable(_) => None,
        });
        let keys = settings.jwt.iter().flat_map(|jwt| [&jwt.public_key_file, &jwt.jwks_file]).flatten();
        let keys = keys.chain(settings.session.iter().filter_map(|session| session.ca.as_ref()));
        secrets.chain(keys).cloned().collect::<Vec<_>>().into_iter()
    }

    /// How many API keys are so short that they could be guessed.
    #[must_use]
    pub fn short_keys(&self) -> usize {
        self.keys.short()
    }

    /// Whether the caller may have done what operators do: a key of an operator's, not a token of any user's.
    #[must_use]
    pub fn may_operate(&self, headers: &HeaderMap, certified: bool) -> bool {
        certified || self.keys.admit_any_of(headers)
    }

    /// Judges a caller by the fields of its request, and by whether it showed a certificate. A wrong credential at a public endpoint is no error: the caller may
    /// mean the app with it.
    pub(super) fn judge(&self, access: Access, headers: &HeaderMap, certified: bool, now: Duration) -> Verdict {
        // The cheap ones first; the first that is enough is enough.
        let enough = |means: Means| access.is_public() || access.admits(means);
        if certified && enough(Means::Certificate) {
            return Verdict::Admitted(Audience::Trusted);
        }
        let with_key = self.keys.admit_any_of(headers);
        if with_key && enough(Means::ApiKey) {
            return Verdict::Admitted(Audience::Trusted);
        }
        let token = bearer(headers).map(|token| match &self.jwt {
            Some(jwt) => jwt.verify(token, now),
            None => Err(Refused::Unknown),
        });
        if token == Some(Ok(())) && enough(Means::Jwt) {
            return Verdict::Admitted(Audience::Trusted);
        }
        match self.session.as_ref().filter(|_| access.admits(Means::Session)) {
            Some(Session::Ask(asked)) => {
                if let Some(cookies) = cookies(headers) {
                    return Verdict::Ask(asked.clone(), cookies);
                }
            }
            Some(Session::Cookie(name)) => {
                let held = cookie(headers, name).zip(self.jwt.as_ref());
                if held.is_some_and(|(token, jwt)| jwt.verify(token, now).is_ok()) {
                    return Verdict::Admitted(Audience::Trusted);
                }
            }
            None => {}
        }
        match token {
            _ if access.is_public() => Verdict::Admitted(Audience::Public),
            Some(Ok(())) => Verdict::Refused(Refusal::Elsewhere),
            _ if with_key || certified => Verdict::Refused(Refusal::Elsewhere),
            Some(Err(refused)) => Verdict::Refused(Refusal::Unknown(Some(refused))),
            None => Verdict::Refused(Refusal::Unknown(None)),
        }
    }
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests;
