use super::super::merge::{MergeCounts, Merged};
use super::declared::{Declared, Label, Shape, Values};
use crate::events::EventTotals;
use crate::health::{OnFailure, Outcome, Status};
use crate::traffic::{CODES, Failure, MOST_MODELS, Method, ModelOutcome, TOKENS};

const METHOD: Label = Label { name: "method", values: Values::Of(|| Method::ALL.map(Method::label).to_vec()) };
const CODE: Label = Label { name: "code", values: Values::Most(CODES, "of the answer") };
const TYPE: Label = Label { name: "type", values: Values::Of(|| Failure::ALL.map(Failure::label).to_vec()) };
const DIRECTION: Label = Label { name: "direction", values: Values::Of(|| vec!["received", "sent"]) };
const STATE: Label = Label { name: "state", values: Values::Of(|| vec!["active", "idle"]) };
const MODEL: Label = Label {
    name: "model",
    values: Values::Most(MOST_MODELS + 1, "the first that the answers name, and `other` for the rest"),
};
const TOKEN: Label = Label { name: "kind", values: Values::Of(|| TOKENS.to_vec()) };
const ENDED: Label =
    Label { name: "outcome", values: Values::Of(|| ModelOutcome::ALL.map(ModelOutcome::label).to_vec()) };
const GROUP: Label = Label { name: "group", values: Values::Each("group") };
const CHECK: Label = Label { name: "check", values: Values::Each("check") };
const STATUS: Label = Label { name: "status", values: Values::Of(|| Status::ALL.map(Status::word).to_vec()) };
const TO: Label = Label { name: "to", ..STATUS };
const OUTCOME: Label = Label { name: "outcome", values: Values::Of(|| Outcome::ALL.map(Outcome::word).to_vec()) };
const KIND: Label = Label { name: "kind", values: Values::Follows("the check's [kind](checks.md)") };
const ON_FAILURE: Label =
    Label { name: "on_failure", values: Values::One(|| OnFailure::ALL.map(OnFailure::word).to_vec()) };
const REASON: Label =
    Label { name: "reason", values: Values::Follows("a [code](operations.md#why-a-check-is-not-healthy)") };
const VERSION: Label = Label { name: "version", values: Values::Follows("the program's") };
const REVISION: Label = Label { name: "revision", values: Values::Follows("what it was built from") };
const MERGED: Label = Label { name: "result", values: Values::Of(|| Merged::ALL.map(Merged::label).to_vec()) };
const DROPPED: Label = Label { name: "reason", values: Values::Of(|| MergeCounts::REASONS.to_vec()) };
const TOLD: Label = Label { name: "result", values: Values::Of(|| EventTotals::RESULTS.to_vec()) };

/// Declares the metrics, each once: a constant by which it is written, and its place in the table.
macro_rules! metrics {
    ($( $id:ident: $shape:ident $name:literal [$( $label:ident ),*] $help:literal $(, only $when:literal)?; )+) => {
        $(
            pub(super) const $id: Declared = Declared {
                name: $name,
                shape: Shape::$shape,
                labels: &[$( $label ),*],
                help: $help,
                when: metrics!(@when $( $when )?),
            };
        )+

        /// Every metric of ours, in the order of the exposition. Names go without the namespace before them.
        pub const METRICS: &[Declared] = &[$( $id ),+];
    };
    (@when) => { None };
    (@when $when:literal) => { Some($when) };
}

metrics! {
    REQUESTS: Counter "requests_total" [METHOD, CODE]
        "Proxied requests, counted at their end; 499: the client left, also within a head";
    DURATION: Histogram "request_duration_seconds" []
        "From a request's head to the end of its answer";
    FIRST_BYTE: Histogram "time_to_first_byte_seconds" []
        "From a request's head to the head of the app's answer";
    ERRORS: Counter "errors_total" [TYPE]
        "Failed requests; each counts in one type";
    BYTES: Counter "bytes_total" [DIRECTION]
        "Body bytes passed on";
    IN_FLIGHT: Gauge "requests_in_flight" []
        "Requests begun and not ended";
    QUEUED: Gauge "requests_queued" []
        "Requests that wait for a place among limits.in_flight";
    QUEUES: Counter "queued_total" []
        "Requests that had to wait for such a place";
    CONNECTIONS: Gauge "connections" []
        "Open client connections of the traffic port";
    CONNECTIONS_LIMIT: Gauge "connections_limit" []
        "At so many no further one is accepted: limits.connections, or what the limit of open files has room for";
    UPSTREAM_CONNECTIONS: Gauge "upstream_connections" [STATE]
        "Connections to the app";
    RETRIES: Counter "retries_total" []
        "Attempts beyond the first, those of waiting requests included";
    RETRIES_DENIED: Counter "retries_denied_total" []
        "Further attempts that the retry budget did not allow";
    HELD: Gauge "requests_held" []
        "Requests that wait for the app to come back";
    HOLDS: Counter "holds_total" []
        "Requests that had to wait for the app to come back";
    ACCEPT_FAILURES: Counter "accept_failures_total" []
        "Connections that could not be accepted: no file descriptor was free";
    HANDSHAKE_FAILURES: Counter "handshake_failures_total" []
        "Connections that ended before HTTP: no TLS, no PROXY header, or too slow";
    LOG_LINES_DROPPED: Counter "log_lines_dropped_total" []
        "Log lines that nobody read in time, or that could not be written";
    LLM_TOKENS: Counter "llm_tokens_total" [MODEL, TOKEN]
        "Tokens, as the answers of models tell of them";
    LLM_REQUESTS: Counter "llm_requests_total" [MODEL, ENDED]
        "Answers of models with a 2xx code, by how they ended";
    FIRST_TOKEN: Histogram "time_to_first_token_seconds" []
        "From a request's head to the first thing that a model says in a stream";
    READY: Gauge "ready" []
        "1 if traffic may be sent here: /readyz is 200";
    DRAINING: Gauge "draining" []
        "1 while shutting down, or drained by an operator";
    MAINTENANCE: Gauge "maintenance" []
        "1 while an operator keeps it out of service";
    ENGINE_UP: Gauge "health_engine_up" []
        "1 if the health engine reports in time; without it nothing else about health is to be believed";
    HEALTH_STATUS: Gauge "health_status" [GROUP]
        "Verdict of a group: 0 healthy, 1 degraded, 2 unknown, 3 unhealthy";
    CHECK_INFO: Gauge "check_info" [CHECK, KIND, ON_FAILURE]
        "Always 1; what a check is";
    CHECK_STATUS: Gauge "check_status" [CHECK, STATUS]
        "1 for the status that a check has";
    CHECK_UP: Gauge "check_up" [CHECK]
        "1 if a check is healthy or degraded";
    CHECK_REASON: Gauge "check_reason" [CHECK, REASON]
        "Always 1; why a check is not healthy", only "while it is not";
    CHECK_DURATION: Gauge "check_duration_seconds" [CHECK]
        "How long the last run of a check took", only "after its first run";
    CHECK_LAST_SUCCESS: Gauge "check_last_success_timestamp_seconds" [CHECK]
        "When a check last passed", only "after its first pass";
    AUTH_EXPIRY: Gauge "auth_expiry_timestamp_seconds" [CHECK]
        "When somebody must log in again", only "checks of kind credentials, where known";
    AUTH_VERIFIED: Gauge "auth_verified" [CHECK]
        "1 if the app's answers show that the login works, 0 if they show that it is refused",
        only "checks of kind credentials, once traffic has shown it";
    CHECK_RUNS: Counter "check_runs_total" [CHECK, OUTCOME]
        "Runs of a check by their outcome";
    CHECK_TRANSITIONS: Counter "check_transitions_total" [CHECK, TO]
        "Changes of a check's status by the status entered";
    APP_UP: Gauge "app_up" []
        "1 if the app that we start runs, as of the last run of app_process", only "with `run -- COMMAND`";
    APP_RESTARTS: Counter "app_restarts_total" []
        "How often the app was started again, as of the last run of app_process", only "with `run -- COMMAND`";
    CLI_STATUS: Gauge "CHECK_status" []
        "1 if the CLI is available", only "one for each check of kind cli, by the check's name";
    BUILD_INFO: Gauge "build_info" [VERSION, REVISION]
        "Always 1; what was built";
    RELOAD_SUCCESS: Gauge "config_last_reload_success" []
        "1 if the last reading of the configuration succeeded";
    RELOAD_TIME: Gauge "config_last_reload_success_timestamp_seconds" []
        "When the configuration was last read with success";
    CERTIFICATE_EXPIRY: Gauge "certificate_expiry_timestamp_seconds" [CHECK]
        "When a certificate ends to be valid: without a label the traffic port's own, else the one that a check was shown",
        only "with proxy.tls, or checks of kind tls or http that were shown one";
    MERGES: Counter "metrics_merge_total" [MERGED]
        "Scrapes that asked the app for its own metrics", only "with metrics.merge";
    MERGE_DROPPED: Counter "metrics_merge_dropped_lines_total" [DROPPED]
        "Lines of the app's metrics that could not stand beside ours", only "with metrics.merge";
    EVENTS: Counter "events_total" [TOLD]
        "Messages about changed statuses, by what became of them";
    WATCHERS: Gauge "event_watchers" []
        "Clients that watch what happens, at endpoints with dialect = \"events\"";
    WATCHERS_REFUSED: Counter "event_watchers_refused_total" []
        "Clients that found no place to watch";
}
