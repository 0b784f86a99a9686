use hyper::header::{HeaderMap, HeaderName};
use subtle::{Choice, ConstantTimeEq as _};

use super::bearer;
use crate::settings::{Environment, Secret, SecretError};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A shorter key could be guessed. 16 characters of random hexadecimal digits are 64 bits.
const SHORTEST: usize = 16;

/// The API keys that admit. Several at once, so that one can be replaced while the other still works.
#[derive(Default, PartialEq, Eq)]
pub struct Keys(Vec<String>);

impl std::fmt::Debug for Keys {
    /// Never the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// Reads the keys from their files and variables.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn resolve(secrets: &[Secret], environment: &Environment) -> Result<Self, SecretError> {
        secrets.iter().map(|secret| secret.resolve(environment)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn short(&self) -> usize {
        self.0.iter().filter(|key| key.len() < SHORTEST).count()
    }

    /// Whether one of the fields that can hold a key holds one: `X-API-Key`, or `Authorization: Bearer`.
    pub(super) fn admit_any_of(&self, headers: &HeaderMap) -> bool {
        let own = headers.get(X_API_KEY).map(|value| value.as_bytes().trim_ascii());
        own.is_some_and(|given| self.admit(given)) || bearer(headers).is_some_and(|given| self.admit(given))
    }

    /// Compares with every key, each in a time that does not depend on where they differ.
    fn admit(&self, given: &[u8]) -> bool {
        let none = Choice::from(0);
        self.0.iter().fold(none, |admitted, key| admitted | key.as_bytes().ct_eq(given)).into()
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderMap;

    use super::Keys;

    #[test]
    fn either_field_admits_with_any_of_the_keys() {
        let keys = Keys(vec!["old".into(), "new".into()]);
        let admits = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, value.parse().expect("a value"));
            }
            keys.admit_any_of(&headers)
        };
        for (name, value) in [("x-api-key", "old"), ("x-api-key", "new"), ("authorization", "bearer  new")] {
            assert!(admits(&[(name, value)]), "{name}: {value}");
        }
        for (name, value) in
            [("x-api-key", ""), ("x-api-key", "olde"), ("authorization", "Basic new"), ("authorization", "new")]
        {
            assert!(!admits(&[(name, value)]), "{name}: {value}");
        }
        assert!(admits(&[("x-api-key", "for the app"), ("authorization", "Bearer new")]));
        assert!(admits(&[("x-api-key", "old"), ("authorization", "Bearer for the app")]));
        assert!(!Keys::default().admit_any_of(&HeaderMap::new()));
        assert_eq!(keys.short(), 2);
    }
}
