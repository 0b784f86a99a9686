use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::http1::Malformed;
use crate::shortage::is_ours;
use crate::tls::Distrust;
use crate::traffic::Failure;

/// Why a request gets an answer of ours in place of the app's. Each has a code for machines that stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The app refuses connections.
    ConnectRefused,
    /// We have no socket left to reach the app with.
    NoSockets,
    /// The app's name does not resolve, or its host is not reachable.
    ConnectFailed,
    /// The app does not accept a connection in time.
    ConnectTimeout,
    /// The app does not speak HTTP/2.
    NotHttp2,
    /// The app refuses to begin with the request.
    StreamRefused,
    /// The app gave up the request before its answer, and its connection lives on.
    StreamReset,
    /// WebSocket, which cannot be had from an app that is spoken to in HTTP/2.
    NoWebSocket,
    /// There is no TLS with the app.
    Tls(Distrust),
    /// The app did not begin its answer in time.
    ResponseTimeout,
    /// The app closed the connection before its answer.
    UpstreamClosed,
    /// The app's answer is not HTTP.
    InvalidResponse,
    /// The head of the app's answer is too large, or has too many fields.
    ResponseHeadTooLarge,
    /// The request has come through us before.
    Loop,
    /// Too much is in flight and waiting.
    Overloaded,
    /// Waited too long for others to end.
    QueueTimeout,
    /// We are not ready, and told to say so.
    NotReady,
    /// The client asks too often.
    RateLimited,
    /// The client has too many requests under way, or sends and takes back too many.
    TooManyAtOnce,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The body comes too slowly.
    BodyTooSlow,
    /// The head came too slowly.
    HeadTooSlow,
    /// The head is larger than allowed, or has too many fields.
    HeadTooLarge,
    /// The target alone is larger than a head may be.
    TargetTooLong,
    /// The client expects something else than leave to send its body.
    Expectation,
    /// The request, or its body, is not well-formed.
    Malformed(Malformed),
    /// CONNECT: we are no tunnel to elsewhere.
    Connect,
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            // RFC 6585 section 5.
            Malformed::TooManyFields => Self::HeadTooLarge,
            malformed => Self::Malformed(malformed),
        }
    }
}

/// RFC 9209: who answers in place of the app, and why.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// When it makes sense to come back.
const RETRY_SECONDS: &str = "1";

impl Rejection {
    /// All of them, for documentation and tests; one stands for all malformed requests, one for
    /// all troubles with TLS.
    pub const ALL: [Self; 27] = [
        Self::ConnectRefused,
        Self::NoSockets,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::NotHttp2,
        Self::StreamRefused,
        Self::StreamReset,
        Self::NoWebSocket,
        Self::Tls(Distrust::UnknownIssuer),
        Self::ResponseTimeout,
        Self::UpstreamClosed,
        Self::InvalidResponse,
        Self::ResponseHeadTooLarge,
        Self::Loop,
        Self::Overloaded,
        Self::QueueTimeout,
        Self::NotReady,
        Self::RateLimited,
        Self::TooManyAtOnce,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::HeadTooSlow,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::Expectation,
        Self::Malformed(Malformed::RequestLine),
        Self::Connect,
    ];

    /// Code, machine code, sentence, error type of RFC 9209 section 2.3, and what it counts as.
    #[expect(clippy::too_many_lines, reason = "a table, a row for each")]
    fn parts(self) -> (u16, &'static str, &'static str, &'static str, Failure) {
        use Failure as F;
        match self {
            Self::ConnectRefused => (
                502,
                "upstream_connect_refused",
                "the app refuses connections",
                "connection_refused",
                F::UpstreamConnect,
            ),
            Self::ConnectFailed => (
                502,
                "upstream_unreachable",
                "the app cannot be reached",
                "destination_unavailable",
                F::UpstreamConnect,
            ),
            Self::ConnectTimeout => (
                504,
                "upstream_connect_timeout",
                "the app does not accept connections in time",
                "connection_timeout",
                F::UpstreamTimeout,
            ),
            Self::NotHttp2 => {
                (502, "upstream_not_http2", "the app does not speak HTTP/2", "http_protocol_error", F::UpstreamConnect)
            }
            Self::StreamRefused => (
                503,
                "upstream_stream_refused",
                "the app takes no more requests at the moment",
                "connection_terminated",
                F::UpstreamReset,
            ),
            Self::StreamReset => (
                502,
                "upstream_stream_reset",
                "the app gave up the request before its answer",
                "http_response_incomplete",
                F::UpstreamReset,
            ),
            Self::NoWebSocket => (
                501,
                "websocket_not_possible",
                "the app is spoken to in HTTP/2, which this proxy does not speak WebSocket over",
                "http_request_denied",
                F::InvalidRequest,
            ),
            Self::Tls(why @ Distrust::TooSlow) => {
                (504, why.code(), why.sentence(), why.proxy_error(), F::UpstreamTimeout)
            }
            Self::Tls(why) => (502, why.code(), why.sentence(), why.proxy_error(), F::UpstreamConnect),
            Self::ResponseTimeout => (
                504,
                "upstream_response_timeout",
                "the app does not answer in time",
                "http_response_timeout",
                F::UpstreamTimeout,
            ),
            Self::UpstreamClosed => (
                502,
                "upstream_closed",
                "the app closed the connection before its answer",
                "connection_terminated",
                F::UpstreamReset,
            ),
            Self::InvalidResponse => (
                502,
                "upstream_invalid_response",
                "the app's answer is not valid HTTP",
                "http_protocol_error",
                F::UpstreamProtocol,
            ),
            Self::ResponseHeadTooLarge => (
                502,
                "upstream_head_too_large",
                "the head of the app's answer is too large, or has too many fields",
                "http_response_header_section_size",
                F::UpstreamProtocol,
            ),
            Self::Loop => (
                502,
                "proxy_loop",
                "the request came back to this proxy: its upstream leads to itself",
                "proxy_loop_detected",
                F::InvalidRequest,
            ),
            Self::Overloaded => {
                (503, "overloaded", "too many requests are in flight", "http_request_denied", F::RejectedOverload)
            }
            Self::QueueTimeout => (
                503,
                "queue_timeout",
                "too many requests were in flight for too long",
                "http_request_denied",
                F::RejectedOverload,
            ),
            Self::NotReady => (503, "not_ready", "the app is not ready", "http_request_denied", F::RejectedOverload),
            Self::RateLimited => {
                (429, "rate_limited", "this client sends too many requests", "http_request_denied", F::RejectedLimit)
            }
            Self::TooManyAtOnce => (
                429,
                "concurrency_limited",
                "this client has too many requests under way",
                "http_request_denied",
                F::RejectedLimit,
            ),
            Self::BodyTooLarge => {
                (413, "body_too_large", "the request's body is too large", "http_request_denied", F::RejectedLimit)
            }
            Self::BodyTooSlow => (
                408,
                "request_body_timeout",
                "the request's body came too slowly",
                "http_request_denied",
                F::RejectedLimit,
            ),
            Self::HeadTooSlow => (
                408,
                "request_header_timeout",
                "the request's head came too slowly",
                "http_request_denied",
                F::RejectedLimit,
            ),
            Self::HeadTooLarge => {
                (431, "head_too_large", "the request's head is too large", "http_request_denied", F::RejectedLimit)
            }
            Self::TargetTooLong => {
                (414, "target_too_long", "the request's target is too long", "http_request_denied", F::RejectedLimit)
            }
            Self::Expectation => (
                417,
                "expectation_failed",
                "only 100-continue can be expected",
                "http_request_error",
                F::InvalidRequest,
            ),
            Self::NoSockets => {
                (503, "no_sockets", "this proxy has no socket left", "connection_limit_reached", F::RejectedOverload)
            }
            Self::Malformed(malformed) => {
                (400, malformed.code(), malformed.sentence(), "http_request_error", F::InvalidRequest)
            }
            Self::Connect => {
                (400, "connect_refused", "CONNECT is not served here", "http_request_denied", F::InvalidRequest)
            }
        }
    }

    /// The HTTP code.
    #[must_use]
    pub fn status(self) -> u16 {
        self.parts().0
    }

    /// The code for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.parts().1
    }

    /// What it counts as.
    #[must_use]
    pub fn failure(self) -> Failure {
        self.parts().4
    }

    /// The answer.
    pub(super) fn response(self) -> Response<Bytes> {
        let (status, code, message, error, _) = self.parts();
        let body = format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"{message}\"}}}}");
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(value) = HeaderValue::try_from(format!("pulsegate; error={error}; details=\"{code}\"")) {
            headers.insert(PROXY_STATUS, value);
        }
        if matches!(status, 429 | 503) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        response
    }

    /// Why no connection came to be.
    pub(super) fn of_connect(error: &std::io::Error) -> Self {
        match error.kind() {
            // What we lack is not the app's fault.
            _ if is_ours(error) => Self::NoSockets,
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => Self::ConnectRefused,
            std::io::ErrorKind::TimedOut => Self::ConnectTimeout,
            std::io::ErrorKind::ConnectionReset => Self::UpstreamClosed,
            _ => Self::ConnectFailed,
        }
    }

    /// Whether it proves that nobody listens. Nothing else does: who resets or closes a connection is there, and a name or
    /// a route that is missing says nothing of the app.
    pub(super) fn proves_that_nobody_listens(self) -> bool {
        self == Self::ConnectRefused
    }

    /// Whether a connection that could not be made is worth another attempt.
    pub(super) fn is_worth_another_attempt(self) -> bool {
        matches!(self, Self::ConnectRefused | Self::ConnectFailed | Self::UpstreamClosed | Self::Tls(Distrust::Closed))
    }
}
