use serde_json::json;

use super::{Answer, Dialect, View};
use crate::health::Group;

/// `{"ok":true,"status":"healthy"}`: for load balancers.
#[derive(Debug)]
pub(super) struct Ok;

impl Dialect for Ok {
    fn name(&self) -> &'static str {
        "ok"
    }

    fn doc(&self) -> &'static str {
        "JSON: ok and status, healthy or unhealthy, and nothing else. Degraded is healthy here."
    }

    /// True as long as somebody answers: the document it comes from promises no more.
    fn group(&self) -> Group {
        Group::Liveness
    }

    fn render(&self, view: &View<'_>) -> Answer {
        let ok = view.status().is_up();
        view.answer(self, &json!({ "ok": ok, "status": if ok { "healthy" } else { "unhealthy" } }))
    }
}
