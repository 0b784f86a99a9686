use serde_json::json;

use super::{Answer, Dialect, View};
use crate::health::Status;

/// Status and build: which version runs here, since when, and whether all is well.
#[derive(Debug)]
pub(super) struct Build;

impl Dialect for Build {
    fn name(&self) -> &'static str {
        "build"
    }

    fn doc(&self) -> &'static str {
        "JSON: status, version, build_git_hash, build_timestamp and uptime_ms. Whatever is not healthy is degraded here: \
         the code tells how bad it is."
    }

    /// There are two words. The document has a required service that fails as `degraded` too, as the server still
    /// responds.
    fn render(&self, view: &View<'_>) -> Answer {
        let service = view.service;
        let body = json!({
            "status": if view.status() == Status::Healthy { "ok" } else { "degraded" },
            "version": service.version,
            "build_git_hash": service.build_git_hash,
            "build_timestamp": service.build_timestamp,
            "uptime_ms": view.uptime_ms(),
        });
        view.answer(self, &body)
    }
}
