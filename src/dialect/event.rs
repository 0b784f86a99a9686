use serde_json::{Map, Value};

use crate::clock::rfc3339;
use crate::health::{Audience, Event, Status, Subject};

/// What a caller may read of something that has happened: of a check as watchers and `/NAME` show it, of a group as watchers
/// do. Empty where it is neither.
#[must_use]
pub fn event(event: &Event, audience: Audience) -> Map<String, Value> {
    let mut body = Map::new();
    match &event.subject {
        Subject::Check { name, .. } => body.insert("check".into(), (&**name).into()),
        Subject::Group { group, .. } => body.insert("group".into(), group.name().into()),
        Subject::Plan => return body,
    };
    body.extend(change(event, audience));
    body
}

/// The same without its name.
pub(super) fn change(event: &Event, audience: Audience) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("id".into(), event.id.into());
    body.insert("from".into(), event.from.word().into());
    body.insert("to".into(), event.to.word().into());
    let reason = event.reason.as_ref().filter(|_| event.to != Status::Healthy);
    body.insert("reason".into(), reason.map(|reason| reason.code).into());
    body.insert("message".into(), reason.map(|reason| &*reason.public).into());
    if let Some(private) = reason.and_then(|reason| reason.private.as_deref()).filter(|_| audience == Audience::Trusted)
    {
        body.insert("detail".into(), private.into());
    }
    body.insert("at".into(), rfc3339(event.at.unix.as_secs()).into());
    body
}
