use std::sync::Arc;

use httparse::Header;

use super::super::reading::Reading;
use super::super::settings::LoginSettings;
use super::super::witness::{Witness, look_at};
use super::{choice, pieces};
use crate::llm::{Format, Scanner, Usage};
use crate::traffic::Traffic;

/// What an answer says about the login and the load is the same in any pieces. The first byte is the kind of answer, the
/// second says in which pieces it comes.
pub fn scan(data: &[u8]) {
    let (kind, data) = choice(data);
    let (seed, bytes) = choice(data);
    let code = [200, 401, 503, 429][usize::from(kind & 3)];
    let settings = LoginSettings {
        model_paths: vec!["/v1/messages".to_owned()],
        refusals: vec!["Not logged in · Please run /login".to_owned(), String::new(), "no".to_owned()],
    };
    let witness = Witness::new(&settings);
    let read = |mut piece: Box<dyn FnMut() -> usize>| {
        let traffic = Arc::new(Traffic::new(1));
        let mut scan = Witness::look(code, kind & 4 == 0, kind & 8 == 8);
        let format: &[u8] = if kind & 16 == 0 { b"text/event-stream" } else { b"application/json" };
        let fields = [Header { name: "content-type", value: format }];
        let mut reading = Some(Reading::begin(&fields, false, traffic.clone()));
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(piece().min(rest.len()));
            look_at(part, &mut scan, &mut reading, &witness, &traffic);
            rest = after;
        }
        let mut scan = scan?;
        scan.end(reading.as_deref(), &traffic);
        Some((traffic.login.verdict().map(|verdict| verdict.accepted), scan.is_overloaded()))
    };
    let whole = read(Box::new(|| usize::MAX));
    assert_eq!(read(Box::new(pieces(u64::from(seed)))), whole, "how an answer arrives changes what it says");
    assert_eq!(read(Box::new(|| 1)), whole, "how an answer arrives changes what it says");
}

/// What a model's answer says of its tokens is the same in any pieces, and a label that can be shown. The first byte is the
/// form of the answer, the second says in which pieces it comes.
pub fn usage(data: &[u8]) {
    let (kind, data) = choice(data);
    let (seed, bytes) = choice(data);
    let format = if kind & 1 == 0 { Format::Events } else { Format::Json };
    let read = |mut piece: Box<dyn FnMut() -> usize>| {
        let mut scanner = Scanner::new(format);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(piece().min(rest.len()));
            scanner.read(part);
            rest = after;
        }
        (scanner.model(), scanner.usage(), scanner.error(), scanner.has_token(), scanner.has_ended(), scanner.is_lost())
    };
    let whole = read(Box::new(|| usize::MAX));
    if let Some(model) = &whole.0 {
        assert!((1..=64).contains(&model.len()) && model.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'));
    }
    if format == Format::Json {
        agrees_with_a_parser(bytes, &whole.1, whole.5);
    }
    assert_eq!(read(Box::new(pieces(u64::from(seed)))), whole, "how an answer arrives changes what it says");
    assert_eq!(read(Box::new(|| 1)), whole, "how an answer arrives changes what it says");
}

/// A text that has no usage for a JSON parser has none for us: whatever a model writes in a string stays a string.
fn agrees_with_a_parser(bytes: &[u8], usage: &Usage, is_lost: bool) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    if !is_lost && !has_key(&value, "usage") {
        assert_eq!(*usage, Usage::default(), "tokens out of nowhere");
    }
}

fn has_key(value: &serde_json::Value, name: &str) -> bool {
    match value {
        serde_json::Value::Object(fields) => fields.iter().any(|(key, value)| key == name || has_key(value, name)),
        serde_json::Value::Array(items) => items.iter().any(|item| has_key(item, name)),
        _ => false,
    }
}
