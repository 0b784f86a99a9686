use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use subtle::{Choice, ConstantTimeEq as _};

use crate::health::Audience;
use crate::settings::{Environment, Secret, SecretError};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What an endpoint asks of its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    Public,
    /// An API key.
    ApiKey,
}

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

    /// Who the caller is: trusted with a valid key, public with none, nobody with a wrong one.
    ///
    /// `X-API-Key` or `Authorization: Bearer` (RFC 6750 section 2.1). A wrong key on a public endpoint is no error: the
    /// caller may mean the app with it.
    #[must_use]
    pub fn audience(&self, headers: &HeaderMap) -> Audience {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
        });
        let given = headers.get(X_API_KEY).map(|value| value.as_bytes().trim_ascii()).or(bearer);
        match given {
            Some(given) if self.admit(given) => Audience::Trusted,
            _ => Audience::Public,
        }
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
    use crate::health::Audience;

    #[test]
    fn either_field_admits_with_any_of_the_keys() {
        let keys = Keys(vec!["old".into(), "new".into()]);
        let audience = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            keys.audience(&headers)
        };
        for (name, value) in [("x-api-key", "old"), ("x-api-key", "new"), ("authorization", "bearer  new")] {
            assert_eq!(audience(name, value), Audience::Trusted, "{name}: {value}");
        }
        for (name, value) in
            [("x-api-key", ""), ("x-api-key", "olde"), ("authorization", "Basic new"), ("authorization", "new")]
        {
            assert_eq!(audience(name, value), Audience::Public, "{name}: {value}");
        }
        assert_eq!(Keys::default().audience(&HeaderMap::new()), Audience::Public);
    }
}
