//! The health API of an Avalanche node: JSON-RPC 2.0 by POST, in the shape of 2020 and in today's, and plain GET.

mod results;
mod rpc;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use self::results::{Shape, results};
use self::rpc::{Fault, serve};
use super::{Answer, Call, Dialect, Part, View};
use crate::health::{Group, Report};

/// The health API of an Avalanche node.
#[derive(Debug)]
pub(super) struct Avalanche;

/// Of a GET.
const JSON: &str = "application/json";

/// Of a call, as the node says it.
const JSON_RPC: &str = "application/json; charset=utf-8";

/// At most so many tags select checks.
const MOST_TAGS: usize = 100;

impl Dialect for Avalanche {
    fn name(&self) -> &'static str {
        "avalanche"
    }

    fn doc(&self) -> &'static str {
        "The health API of an Avalanche node: JSON-RPC 2.0 by POST (health.getLiveness as of 2020; health.health, \
         health.readiness, health.liveness with tags), and GET with ?tag=."
    }

    fn is_called(&self) -> bool {
        true
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/health", "/readiness", "/liveness"]
    }

    fn below<'a>(&self, _: &Report, group: &Group, rest: &'a str) -> Option<Part<'a>> {
        let group = match rest {
            "health" => group.clone(),
            "readiness" => Group::Readiness,
            "liveness" => Group::Liveness,
            _ => return None,
        };
        Some(Part::Group(group, None))
    }

    fn has_tags(&self) -> bool {
        true
    }

    fn call(&self, view: &View<'_>, call: &Call<'_>) -> Answer {
        if !is_json(call.media_type) {
            let body = "a call must be application/json: say so in Content-Type\n";
            return Answer { code: 415, media_type: "text/plain; charset=utf-8", body: body.into() };
        }
        match serve(call.body, |method, params| answer(view, method, params)) {
            Some(body) => Answer { code: 200, media_type: JSON_RPC, body: body.into() },
            None => Answer { code: 204, media_type: "", body: Default::default() },
        }
    }

    fn render(&self, view: &View<'_>) -> Answer {
        if view.query.tags.len() > MOST_TAGS {
            let body = "{\"error\":{\"code\":\"too_many_tags\",\"message\":\"at most 100 tags select checks\"}}";
            return Answer { code: 400, media_type: JSON, body: body.into() };
        }
        let (status, body) = results(view, &view.query.tags, Shape::Today);
        Answer { code: view.codes.of(status), media_type: JSON, body: body.to_string().into() }
    }
}

/// Whether a body is said to be JSON, with any or no parameter. What is not said is no JSON either: the node has it so,
/// and a page of another origin cannot send this type without asking.
fn is_json(media_type: Option<&[u8]>) -> bool {
    let essence = media_type.unwrap_or_default().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}

/// Answers one call.
fn answer(view: &View<'_>, method: &str, params: Option<&RawValue>) -> Result<Value, Fault> {
    let liveness = Group::Liveness;
    let readiness = Group::Readiness;
    let (group, shape) = match Method::of(method)? {
        Method::GetLiveness => (&liveness, Shape::Of2020),
        Method::Liveness => (&liveness, Shape::Today),
        Method::Readiness => (&readiness, Shape::Today),
        Method::Health => (view.group, Shape::Today),
    };
    let tags = tags(params)?;
    // The method of 2020 had no tags.
    let tags = if shape == Shape::Of2020 { &[] } else { tags.as_slice() };
    Ok(results(&View { group, ..view.clone() }, tags, shape).1)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    GetLiveness,
    Health,
    Readiness,
    Liveness,
}

impl Method {
    /// The method of that name, read as the node reads it: the letter after the dot is made a capital, and must not be
    /// one before.
    fn of(name: &str) -> Result<Self, Fault> {
        let name = capital(name)?;
        let mut parts = name.split('.');
        let (Some(service), Some(method), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Fault::server(format!("rpc: service/method request ill-formed: {}", quoted(&name))));
        };
        match (service, method) {
            ("health", "GetLiveness") => Ok(Self::GetLiveness),
            ("health", "Health") => Ok(Self::Health),
            ("health", "Readiness") => Ok(Self::Readiness),
            ("health", "Liveness") => Ok(Self::Liveness),
            ("health", _) => Err(Fault::server(format!("rpc: can't find method {}", quoted(&name)))),
            _ => Err(Fault::server(format!("rpc: can't find service {}", quoted(&name)))),
        }
    }
}

fn capital(name: &str) -> Result<Cow<'_, str>, Fault> {
    let Some((service, method)) = name.split_once('.') else { return Ok(name.into()) };
    let mut rest = method.chars();
    let Some(first) = rest.next() else { return Ok(name.into()) };
    if first.is_uppercase() {
        return Err(Fault::server("method must start with a non-uppercase letter".into()));
    }
    let capital = first.to_uppercase();
    Ok(format!("{service}.{capital}{}", rest.as_str()).into())
}

/// A name that a caller wrote, in an error: no longer than any that there is.
fn quoted(name: &str) -> String {
    const LONGEST: usize = 64;
    format!("{:?}", name.chars().take(LONGEST).collect::<String>())
}

/// What a method is called with. Other members are ignored, as the node does.
#[derive(Debug, Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// `params.tags`.
fn tags(params: Option<&RawValue>) -> Result<Vec<String>, Fault> {
    let Some(arguments) = arguments(params) else {
        return Err(Fault::params("params must be an object, and its tags a list of texts"));
    };
    let tags = arguments.tags.unwrap_or_default();
    if tags.len() > MOST_TAGS {
        return Err(Fault::params("at most 100 tags select checks"));
    }
    Ok(tags)
}

/// An object, or a list of one.
fn arguments(params: Option<&RawValue>) -> Option<Arguments> {
    let text = params.map_or("null", RawValue::get);
    match text.as_bytes().first() {
        Some(b'n') => Some(Arguments::default()),
        Some(b'{') => serde_json::from_str(text).ok(),
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text).ok()?.as_slice() {
            [] => Some(Arguments::default()),
            [one] if one.get().starts_with('{') => serde_json::from_str(one.get()).ok(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
