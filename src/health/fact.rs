use std::borrow::Cow;
use std::sync::Arc;

/// A typed value that a check found out, by name: `version`, `latency_ms`, `searched_paths`.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Not known, or not applicable.
    Null,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Count(u64),
    /// A number.
    Number(f64),
    /// Text.
    Text(Arc<str>),
    /// An instant, in seconds since 1970.
    Time(u64),
    /// Several texts.
    Texts(Arc<[String]>),
    /// Several values, such as the rows of a query. Whoever makes one bounds it.
    List(Arc<[Self]>),
    /// Values by name, such as one row.
    Record(Arc<[(String, Self)]>),
}

/// Who may read a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Everybody who may read the endpoint.
    Public,
    /// Callers who showed a credential, and the logs.
    Trusted,
}

/// Facts in the order in which the check states them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts(Vec<(Cow<'static, str>, Fact, Audience)>);

impl Facts {
    /// Adds a fact that everybody may read.
    pub fn public(&mut self, name: impl Into<Cow<'static, str>>, fact: impl Into<Fact>) {
        self.0.push((name.into(), fact.into(), Audience::Public));
    }

    /// Adds a fact for trusted callers and logs.
    pub fn trusted(&mut self, name: impl Into<Cow<'static, str>>, fact: impl Into<Fact>) {
        self.0.push((name.into(), fact.into(), Audience::Trusted));
    }

    /// The fact of that name, whoever may read it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.iter().find(|(known, ..)| *known == name).map(|(_, fact, _)| fact)
    }

    /// The facts that this audience may read.
    pub fn readable_by(&self, audience: Audience) -> impl Iterator<Item = (&str, &Fact)> {
        self.0.iter().filter(move |(.., who)| *who <= audience).map(|(name, fact, _)| (&**name, fact))
    }
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Fact {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Fact {
    fn from(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Null }
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<String>> for Fact {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for Fact {
    fn from(fact: Option<T>) -> Self {
        fact.map_or(Self::Null, Into::into)
    }
}
