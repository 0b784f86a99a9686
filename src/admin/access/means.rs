use crate::settings::{Node, Problems, Reader, Setting, Value};

/// A way to show who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// An API key.
    ApiKey,
    /// A signed token.
    Jwt,
    /// A session of the app: only where it is asked for, as every user of the app may have one.
    Session,
    /// A client certificate, at the management port.
    Certificate,
}

impl Means {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ApiKey, Self::Jwt, Self::Session, Self::Certificate];

    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Session => "session",
            Self::Certificate => "mtls",
        }
    }

    /// What a caller is told to show.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::ApiKey => "an API key (X-API-Key, or Authorization: Bearer)",
            Self::Jwt => "a token (Authorization: Bearer)",
            Self::Session => "a session (Cookie)",
            Self::Certificate => "a client certificate (at the management port)",
        }
    }
}

/// What an endpoint asks of its callers: nothing, or any one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Everybody may read it.
    pub const PUBLIC: Self = Self(0);

    /// One of these admits.
    #[must_use]
    pub fn of(means: &[Means]) -> Self {
        Self(means.iter().fold(0, |bits, means| bits | 1 << *means as u8))
    }

    /// Whether everybody may read it.
    #[must_use]
    pub fn is_public(self) -> bool {
        self == Self::PUBLIC
    }

    /// Whether this admits.
    #[must_use]
    pub fn admits(self, means: Means) -> bool {
        self.0 & 1 << means as u8 != 0
    }

    /// What admits.
    pub fn means(self) -> impl Iterator<Item = Means> {
        Means::ALL.into_iter().filter(move |means| self.admits(*means))
    }
}

impl Setting for Access {
    const EXPECTS: &'static str = "\"public\", or a list of what admits: [\"api_key\", \"jwt\", \"session\", \"mtls\"]";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::List(&crate::settings::Shape::Text);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let words = || Means::ALL.iter().map(|means| (means.word(), Some(*means)));
        let words: Vec<(&str, Option<Means>)> = std::iter::once(("public", None)).chain(words()).collect();
        let read: Option<Vec<_>> = items.iter().map(|item| Reader::word(item, path, problems, &words)).collect();
        match read?.as_slice() {
            [None] => Some(Self::PUBLIC),
            means if !means.is_empty() && means.iter().all(Option::is_some) => {
                Some(Self::of(&means.iter().flatten().copied().collect::<Vec<_>>()))
            }
            _ => {
                problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
                None
            }
        }
    }
}
