//! Dialects: the wire formats of a report. Pure functions from a [`View`] to an [`Answer`].
//!
//! A dialect is one file here and one line in [`DIALECTS`].

mod claude_proxy;
mod json;
mod kubernetes;
mod view;

pub use self::view::{Answer, Call, Query, Service, StatusCodes, View};

/// One wire format.
pub trait Dialect: Sync + std::fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// What it is for, in a sentence.
    fn doc(&self) -> &'static str;

    /// Whether `PATH/NAME` asks for one check, as kube-apiserver has it.
    fn has_check_paths(&self) -> bool {
        false
    }

    /// Whether it is called by POST too, with a body that says what is asked.
    fn is_called(&self) -> bool {
        false
    }

    /// Answers a call, if it is one that is called.
    fn call(&self, view: &View<'_>, _call: &Call<'_>) -> Answer {
        self.render(view)
    }

    /// Renders.
    fn render(&self, view: &View<'_>) -> Answer;
}

/// Every dialect, in the order of the reference documentation.
pub const DIALECTS: &[&dyn Dialect] = &[&claude_proxy::ClaudeProxy, &kubernetes::Kubernetes];

/// The dialect of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.iter().copied().find(|dialect| dialect.name() == name)
}
