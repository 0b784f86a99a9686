use std::fmt;
use std::path::PathBuf;

use crate::settings::{Node, Problems, Reader, Secret, SecretError, Setting};
use crate::tls::TlsError;

crate::settings! {
    /// Signed tokens that admit, with access = ["jwt"]. One of `public_key_file`, `secret` and `jwks_file` holds the key.
    pub struct JwtSettings {
        /// The algorithm of the signature, whatever a token says: "HS256", "RS256", "ES256" or "EdDSA".
        algorithm: Algorithm,
        /// A public key in PEM form: for RS256, ES256 and EdDSA.
        public_key_file: Option<PathBuf>,
        /// For HS256: { env = "…" } or { file = "…" }, of at least 32 bytes.
        secret: Option<Secret>,
        /// A set of keys (JWKS, RFC 7517), of which a token names one by its `kid`.
        jwks_file: Option<PathBuf>,
        /// Who the token must be for (`aud`).
        audience: Option<String>,
        /// Who must have issued it (`iss`).
        issuer: Option<String>,
        /// Whether a token without `exp`, which is valid for ever, is refused.
        require_exp: bool = "true",
    }
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

/// RFC 7518 section 3.2: a key of the size of the hash, or larger.
pub(super) const HS256_KEY: usize = 32;

impl Algorithm {
    /// Whether a token names this one. RFC 9864 calls EdDSA with this curve by the curve's name.
    pub(super) fn is(self, name: &str) -> bool {
        name == self.name() || (self == Self::EdDsa && name == "Ed25519")
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl Setting for Algorithm {
    const EXPECTS: &'static str = "one of HS256, RS256, ES256, EdDSA";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Words(&["HS256", "RS256", "ES256", "EdDSA"]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let all = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];
        Reader::word(node, path, problems, &all.map(|algorithm| (algorithm.name(), algorithm)))
    }
}

/// Why tokens cannot be verified: what to do, never what is in a file.
#[derive(Debug)]
pub enum JwtError {
    /// None of the three places of a key is named, or more than one.
    Source,
    /// The key is not one of the algorithm's.
    Kind(Algorithm),
    /// The secret is too short for the algorithm.
    Short,
    /// The secret cannot be read.
    Secret(SecretError),
    /// The public key cannot be read or used.
    PublicKey(TlsError),
    /// The set of keys cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// The set of keys is none, or has a key that is none.
    KeySet(PathBuf, &'static str),
}

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("set exactly one of `public_key_file`, `secret` and `jwks_file`"),
            Self::Kind(Algorithm::Hs256) => {
                f.write_str("HS256 is verified with a `secret`; a public key is known to everybody")
            }
            Self::Kind(algorithm) => {
                let (name, key) = match algorithm {
                    Algorithm::Rs256 => ("RS256", "an RSA key"),
                    Algorithm::Es256 => ("ES256", "an ECDSA key on P-256"),
                    Algorithm::Hs256 | Algorithm::EdDsa => ("EdDSA", "an Ed25519 key"),
                };
                write!(f, "{name} is verified with {key} in `public_key_file` or `jwks_file`")
            }
            Self::Short => write!(f, "the secret of HS256 must have at least {HS256_KEY} bytes (RFC 7518 section 3.2)"),
            Self::Secret(error) => error.fmt(f),
            Self::PublicKey(error) => error.fmt(f),
            Self::Unreadable(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::KeySet(path, what) => write!(f, "{} {what}", path.display()),
        }
    }
}

impl std::error::Error for JwtError {}
