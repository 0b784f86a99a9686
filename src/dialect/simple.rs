use serde_json::{Map, Value};

use super::{Answer, Dialect, View};
use crate::clock::rfc3339;

/// `status` ok or error, `timestamp`, and `error` when there is one.
#[derive(Debug)]
pub(super) struct Simple;

impl Dialect for Simple {
    fn name(&self) -> &'static str {
        "simple"
    }

    fn doc(&self) -> &'static str {
        "JSON: status, ok or error; timestamp; and error, the reason, when there is one. Degraded is ok here."
    }

    fn render(&self, view: &View<'_>) -> Answer {
        let up = view.status().is_up();
        let mut body = Map::new();
        body.insert("status".into(), if up { "ok" } else { "error" }.into());
        body.insert("timestamp".into(), rfc3339(view.now.unix.as_secs()).into());
        if !up {
            body.insert("error".into(), view.explanation().into());
        }
        view.answer(self, &Value::Object(body))
    }
}
