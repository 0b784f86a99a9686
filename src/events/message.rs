use std::sync::Arc;

use serde_json::json;

use super::Template;
use crate::clock::rfc3339;
use crate::health::Status;

/// A status that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts the events of this process from 1.
    pub id: u64,
    /// A group in place of a check.
    pub is_group: bool,
    /// Which check or group.
    pub name: Arc<str>,
    /// Before.
    pub from: Status,
    /// After.
    pub to: Status,
    /// The stable code of the reason.
    pub reason: Option<&'static str>,
    /// The public sentence of the reason: whoever is told is not trusted.
    pub sentence: Option<Arc<str>>,
    /// In seconds since 1970.
    pub at: u64,
}

impl Event {
    /// The body of a message.
    #[must_use]
    pub fn body(&self, template: Template, service: &str) -> String {
        let Self { id, is_group, name, from, to, reason, sentence, at } = self;
        let (from, to) = (from.word(), to.word());
        match template {
            Template::Json => {
                let what = if *is_group { "group" } else { "check" };
                json!({
                    "event": "transition", "id": id, "service": service, what: &**name, "from": from, "to": to,
                    "reason": reason, "message": sentence.as_deref(), "at": rfc3339(*at),
                })
                .to_string()
            }
            Template::Slack => {
                let because = sentence.as_deref().map_or(String::new(), |sentence| format!(": {sentence}"));
                let text = format!("{service}: {name} is {to} (was {from}){because}");
                // The three characters that mean something to Slack.
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({ "text": text }).to_string()
            }
        }
    }
}
