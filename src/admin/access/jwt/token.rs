use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::de::{DeserializeOwned, Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

/// The three parts of a token (RFC 7515 section 7.1).
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// Header and claims, as they were signed.
    pub(super) signed: &'a [u8],
    header: &'a [u8],
    claims: &'a [u8],
    signature: &'a [u8],
}

/// As much of the header as is looked at. Of what is twice in it, nothing is believed.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) crit: Option<IgnoredAny>,
}

/// As much of the claims as is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(default, deserialize_with = "present")]
    pub(super) exp: Option<Seconds>,
    #[serde(default, deserialize_with = "present")]
    pub(super) nbf: Option<Seconds>,
    #[serde(default, deserialize_with = "present")]
    pub(super) iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Audience>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, perhaps with a fraction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) f64);

/// The end of the year 9999, after which no date can be written. Who says "never" says so in the configuration.
const LAST: f64 = 253_402_300_799.0;

impl<'a> Token<'a> {
    pub(super) fn split(token: &'a [u8]) -> Option<Self> {
        let second = memchr::memrchr(b'.', token)?;
        let (signed, signature) = (&token[..second], &token[second + 1..]);
        let first = memchr::memchr(b'.', signed)?;
        let (header, claims) = (&signed[..first], &signed[first + 1..]);
        memchr::memchr(b'.', claims).is_none().then_some(Self { signed, header, claims, signature })
    }

    pub(super) fn header(&self) -> Option<Header> {
        object(self.header)
    }

    pub(super) fn claims(&self) -> Option<Claims> {
        object(self.claims)
    }

    pub(super) fn signature(&self) -> Option<Vec<u8>> {
        BASE64URL_NOPAD.decode(self.signature).ok()
    }
}

impl Claims {
    pub(super) fn has_audience(&self) -> bool {
        self.aud.is_some()
    }

    pub(super) fn is_for(&self, name: &str) -> bool {
        match &self.aud {
            None => false,
            Some(Audience::One(only)) => only == name,
            Some(Audience::Several(names)) => names.iter().any(|known| known == name),
        }
    }
}

/// A JSON object in base64url. A list of the values would be taken for one by serde.
fn object<T: DeserializeOwned>(part: &[u8]) -> Option<T> {
    let text = BASE64URL_NOPAD.decode(part).ok()?;
    let is_object = text.trim_ascii_start().first() == Some(&b'{');
    is_object.then(|| serde_json::from_slice(&text).ok())?
}

/// A member that is null is there, and of the wrong type.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Seconds, E> {
                self.visit_f64(number as f64)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Seconds, E> {
                self.visit_f64(number as f64)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Seconds, E> {
                if (0.0..=LAST).contains(&number) { Ok(Seconds(number)) } else { Err(E::custom("no date")) }
            }
        }
        deserializer.deserialize_any(Number)
    }
}
