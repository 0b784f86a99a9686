use serde_json::json;

use super::Template;
use crate::clock::rfc3339;
use crate::health::{Event, Status, Subject};

/// What there is to tell of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News<'a> {
    event: &'a Event,
    /// A group in place of a check.
    pub(super) is_group: bool,
    /// Which check or group.
    pub(super) name: &'a str,
    from: Status,
    to: Status,
}

impl<'a> News<'a> {
    /// What an event is to those who are told, who hear of groups by their checks alone: that a process is stopping is
    /// known to whoever stops it. A beginning is no news: neither that nothing is known yet, nor that all is well then.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        let (is_group, name, from, to) = match &event.subject {
            Subject::Check { built_in: true, .. } | Subject::Plan => return None,
            Subject::Check { name, .. } => (false, &**name, event.from, event.to),
            Subject::Group { group, checks } => (true, group.name(), checks.0, checks.1),
        };
        let is_news = from != to && !(event.is_first && to == Status::Healthy);
        is_news.then_some(Self { event, is_group, name, from, to })
    }

    /// The body of a message. The public sentence of the reason: whoever is told is not trusted.
    pub(super) fn body(&self, template: Template, service: &str) -> String {
        let Self { event, is_group, name, from, to } = self;
        let (from, to) = (from.word(), to.word());
        let sentence = event.reason.as_ref().map(|reason| &*reason.public);
        match template {
            Template::Json => {
                let what = if *is_group { "group" } else { "check" };
                let reason = event.reason.as_ref().map(|reason| reason.code);
                json!({
                    "event": "transition", "id": event.id, "service": service, what: name, "from": from, "to": to,
                    "reason": reason, "message": sentence, "at": rfc3339(event.at.unix.as_secs()),
                })
                .to_string()
            }
            Template::Slack => {
                let because = sentence.map_or(String::new(), |sentence| format!(": {sentence}"));
                let text = format!("{service}: {name} is {to} (was {from}){because}");
                // The three characters that mean something to Slack.
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({ "text": text }).to_string()
            }
        }
    }
}
