use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, Visitor};

/// What there is to say of one login in a file; the tokens themselves are looked at and forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// When what requests are made with ends, since 1970. `None`: not known, or never.
    pub(crate) access_ends: Option<Duration>,
    /// Whether there is something to get a new one with.
    pub(crate) refresh: bool,
    /// When that ends.
    pub(crate) refresh_ends: Option<Duration>,
}

/// Whether a text or a list holds anything; what it holds is not kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled(pub(super) bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list")
            }

            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.trim().is_empty()))
            }

            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Filled, A::Error> {
                let mut filled = false;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    filled = true;
                }
                Ok(Filled(filled))
            }
        }
        deserializer.deserialize_any(Look)
    }
}

/// Milliseconds since 1970, as a whole number or with a fraction.
pub(super) fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match Option::<f64>::deserialize(deserializer)? {
        None => Ok(None),
        Some(at) if (0.0..=1e16).contains(&at) => Ok(Some(Duration::from_millis(at as u64))),
        Some(_) => Err(D::Error::custom("not a time")),
    }
}
