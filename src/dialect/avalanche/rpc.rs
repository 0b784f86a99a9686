use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Why a call has no result. Codes by JSON-RPC 2.0 section 5.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    code: i32,
    message: Cow<'static, str>,
}

/// At most so many calls in a batch: each is answered with a whole report.
const MOST_CALLS: usize = 32;

impl Fault {
    fn parse() -> Self {
        Self { code: -32700, message: "the body is not JSON".into() }
    }

    fn request(message: &'static str) -> Self {
        Self { code: -32600, message: message.into() }
    }

    /// What the method was called with is not what it takes.
    pub(super) fn params(message: &'static str) -> Self {
        Self { code: -32602, message: message.into() }
    }

    /// Whatever the node has no code of its own for.
    pub(super) fn server(message: String) -> Self {
        Self { code: -32000, message: message.into() }
    }
}

/// A request object, its members as they were written. One that comes twice, which others may read in another way, makes
/// the whole invalid.
#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "as_written")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_written")]
    id: Option<&'a RawValue>,
}

/// Also what is written as `null`: that is not the same as nothing.
fn as_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Serves a call or a batch of calls (JSON-RPC 2.0). `None`: nobody wants an answer.
pub(super) fn serve(
    body: &[u8],
    mut answer: impl FnMut(&str, Option<&RawValue>) -> Result<Value, Fault>,
) -> Option<String> {
    // Looks at the whole and builds nothing, so no depth of nesting is too deep.
    let Ok(whole) = serde_json::from_slice::<&RawValue>(body) else {
        return Some(failure("null", &Fault::parse()));
    };
    if !whole.get().starts_with('[') {
        return one(whole, &mut answer);
    }
    let calls: Vec<&RawValue> = serde_json::from_str(whole.get()).unwrap_or_default();
    if calls.is_empty() {
        return Some(failure("null", &Fault::request("a batch must hold a call")));
    }
    if calls.len() > MOST_CALLS {
        return Some(failure("null", &Fault::request("a batch must not hold more than 32 calls")));
    }
    let answers: Vec<String> = calls.iter().filter_map(|call| one(call, &mut answer)).collect();
    (!answers.is_empty()).then(|| format!("[{}]", answers.join(",")))
}

fn one(call: &RawValue, answer: &mut impl FnMut(&str, Option<&RawValue>) -> Result<Value, Fault>) -> Option<String> {
    let invalid = |id: &str, message: &'static str| Some(failure(id, &Fault::request(message)));
    let envelope = match call.get().starts_with('{').then(|| serde_json::from_str::<Envelope<'_>>(call.get())) {
        Some(Ok(envelope)) => envelope,
        Some(Err(_)) => return invalid("null", "a member of the call comes twice"),
        None => return invalid("null", "a call must be an object"),
    };
    let id = envelope.id.map(RawValue::get);
    if id.is_some_and(|id| !is_id(id)) {
        return invalid("null", "id must be a text, a number or null");
    }
    let text =
        |member: Option<&RawValue>| member.and_then(|written| serde_json::from_str::<String>(written.get()).ok());
    // Without a valid call there is no notification either.
    if text(envelope.jsonrpc).as_deref() != Some("2.0") {
        return invalid(id.unwrap_or("null"), "jsonrpc must be 2.0");
    }
    let Some(method) = text(envelope.method) else {
        return invalid(id.unwrap_or("null"), "method must be a text");
    };
    let id = id?;
    Some(match answer(&method, envelope.params) {
        Ok(result) => format!("{{\"jsonrpc\":\"2.0\",\"result\":{result},\"id\":{id}}}"),
        Err(fault) => failure(id, &fault),
    })
}

fn is_id(written: &str) -> bool {
    written == "null" || written.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

/// With `data`, which the node always writes.
fn failure(id: &str, fault: &Fault) -> String {
    let message = Value::from(&*fault.message);
    let code = fault.code;
    format!("{{\"jsonrpc\":\"2.0\",\"error\":{{\"code\":{code},\"message\":{message},\"data\":null}},\"id\":{id}}}")
}
