use std::io;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use super::{Algorithm, JwtError, Key};
use crate::settings::read_ordinary;
use crate::tls::PublicKey;

/// The keys that a token may be signed with.
#[derive(Debug)]
pub(super) enum KeySet {
    /// One key, whatever a token calls it.
    Only(Key),
    /// Keys of a set, by their `kid`.
    Named(Vec<(Option<String>, Key)>),
}

/// Larger files are no sets of keys: those of the large issuers have some kilobytes.
const LARGEST_FILE: u64 = 256 * 1024;

/// At most so many keys of a set are taken: one is used, one comes, one goes.
const MOST_KEYS: usize = 64;

/// A JWK Set (RFC 7517 section 5).
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// As much of a JWK as is looked at (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl KeySet {
    /// Reads the keys of a file that belong to an algorithm; the others are for somebody else.
    pub(super) fn load(path: &Path, algorithm: Algorithm) -> Result<Self, JwtError> {
        let refused = |what| JwtError::KeySet(path.to_owned(), what);
        let text = read_ordinary(path, LARGEST_FILE).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => refused("is larger than 256 KiB: it is no set of keys"),
            _ => JwtError::Unreadable(path.to_owned(), error),
        })?;
        // What the parser says of it could quote a key.
        let set: Jwks = serde_json::from_slice(&text)
            .map_err(|_| refused("is no set of keys: it must be JSON like {\"keys\": [{\"kty\": …}]}"))?;
        let mut named: Vec<(Option<String>, Key)> = Vec::new();
        for jwk in set.keys.into_iter().filter(|jwk| jwk.is_for(algorithm)) {
            let key = jwk.key(algorithm).ok_or_else(|| {
                refused("has a key for the algorithm that cannot be used: its numbers are malformed, or too small")
            })?;
            if named.iter().any(|(known, _)| *known == jwk.kid) {
                return Err(refused("has two keys for the algorithm with the same `kid`, or without one"));
            }
            named.push((jwk.kid, key));
        }
        match named.len() {
            0 => Err(refused("has no key for the algorithm")),
            1..=MOST_KEYS => Ok(Self::Named(named)),
            _ => Err(refused("has more than 64 keys for the algorithm")),
        }
    }

    /// The key that a token names. One that names none can only mean the only one: nobody's keys are tried in turn.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (self, kid) {
            (Self::Only(key), _) => Some(key),
            (Self::Named(keys), Some(kid)) => {
                keys.iter().find(|(known, _)| known.as_deref() == Some(kid)).map(|(_, key)| key)
            }
            (Self::Named(keys), None) => keys.first().filter(|_| keys.len() == 1).map(|(_, key)| key),
        }
    }
}

impl Jwk {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let kind = match algorithm {
            Algorithm::Hs256 => ("oct", None),
            Algorithm::Rs256 => ("RSA", None),
            Algorithm::Es256 => ("EC", Some("P-256")),
            Algorithm::EdDsa => ("OKP", Some("Ed25519")),
        };
        kind == (&*self.kty, self.crv.as_deref().filter(|_| kind.1.is_some()))
            && self.alg.as_deref().is_none_or(|alg| algorithm.is(alg))
            && self.used_for.as_deref().is_none_or(|used_for| used_for == "sig")
    }

    fn key(&self, algorithm: Algorithm) -> Option<Key> {
        let bytes = |text: &Option<String>| BASE64URL_NOPAD.decode(text.as_ref()?.as_bytes()).ok();
        let public = match algorithm {
            Algorithm::Hs256 => return Key::secret(algorithm, &bytes(&self.k)?).ok(),
            Algorithm::Rs256 => PublicKey::rsa(&bytes(&self.n)?, &bytes(&self.e)?),
            Algorithm::Es256 => PublicKey::p256(&[vec![4], bytes(&self.x)?, bytes(&self.y)?].concat()),
            Algorithm::EdDsa => PublicKey::ed25519(&bytes(&self.x)?),
        };
        Key::public(algorithm, public?).ok()
    }
}
