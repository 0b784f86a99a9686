//! Dialects: the wire formats of a report. Pure functions from a [`View`] to an [`Answer`].
//!
//! A dialect is one file here and one line in [`DIALECTS`].

mod actuator;
mod avalanche;
mod build;
mod checks;
mod claude_proxy;
mod event;
mod health_json;
mod healthchecks_ui;
mod json;
mod kubernetes;
mod microprofile;
mod ok;
mod simple;
mod template;
mod view;

pub use self::event::event;
pub use self::template::{Body, Reference, Words};
pub use self::view::{Answer, Call, Query, Service, StatusCodes, View};
use crate::health::{Group, Report};

/// One wire format.
pub trait Dialect: Sync + std::fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;

    /// What it is for, in a sentence.
    fn doc(&self) -> &'static str;

    /// The media type of its answers, which `Accept` may ask for.
    fn media_type(&self) -> &'static str {
        "application/json"
    }

    /// The group of an endpoint that names none.
    fn group(&self) -> Group {
        Group::Health
    }

    /// The settings of an endpoint that only some dialects have, and this one does.
    fn settings(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether an answer may be kept by whoever asked, for as long as the endpoint's `max_age`.
    fn may_be_kept(&self) -> bool {
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

    /// Whether the format ties codes to statuses: below 400 for what is up, from 400 for what is not.
    fn ties_codes(&self) -> bool {
        false
    }

    /// The paths below an endpoint's own, for its documentation: `/NAME`.
    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    /// What `PATH/REST` asks for; `None`: nothing of ours, the path is traffic.
    fn below<'a>(&self, _report: &Report, _group: &Group, _rest: &'a str) -> Option<Part<'a>> {
        None
    }

    /// Whether `?tag=` selects checks.
    fn has_tags(&self) -> bool {
        false
    }

    /// Renders.
    fn render(&self, view: &View<'_>) -> Answer;
}

/// What a path below an endpoint's own asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// One check of the endpoint's group.
    Check(&'a str),
    /// Another group, or one check of it.
    Group(Group, Option<&'a str>),
    /// Nothing that there is. The dialect owns all paths below its own, so that is 404.
    Nothing,
}

/// What the configuration says of an endpoint for some dialects alone.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// template: the shape of the body.
    pub body: Body,
    /// template: the words of statuses.
    pub words: Words,
}

/// Every dialect, in the order of the reference documentation.
pub const DIALECTS: &[&dyn Dialect] = &[
    &claude_proxy::ClaudeProxy,
    &ok::Ok,
    &build::Build,
    &simple::Simple,
    &template::Template,
    &health_json::HealthJson,
    &actuator::Actuator,
    &healthchecks_ui::HealthChecksUi,
    &microprofile::MicroProfile,
    &avalanche::Avalanche,
    &kubernetes::Kubernetes,
    &checks::Checks,
];

/// The report as whoever watches is told of it first, in JSON: that of the dialect `checks`.
#[must_use]
pub fn snapshot(view: &View<'_>) -> String {
    checks::list(view).to_string()
}

/// The dialect of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.iter().copied().find(|dialect| dialect.name() == name)
}
