use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use crate::settings::{Address, Line, Node, Problems, Reader, Scheme, Setting, Size, Url, Value};
use crate::tls::{ClientTls, TlsSettings};

crate::settings! {
    /// The data plane.
    pub struct ProxySettings {
        /// Where traffic comes in: `0.0.0.0:8000`, `[::]:8000`, `unix:/run/pulsegate.sock`; a list is allowed.
        listen: Vec<Address> = "0.0.0.0:8000",
        /// The app: "http://127.0.0.1:8080", "https://app:8443", "h2c://127.0.0.1:50051" or "unix:/run/app.sock".
        upstream: Upstream = "http://127.0.0.1:8080",
        /// How an https app is verified, and what we show it.
        upstream_tls: ClientTls,
        /// Worker threads; "auto" follows the container's CPU quota.
        threads: Threads = "auto",
        /// Peers whose X-Forwarded-* and Forwarded fields are believed and appended to; others' are replaced.
        trusted_proxies: Vec<IpNet> = "[\"127.0.0.0/8\", \"::1/128\"]",
        /// Whether those peers must say whom they speak for by the PROXY protocol, version 1 or 2.
        proxy_protocol: bool = "false",
        /// Whether a connection waits in the kernel until its first bytes have come, or for a second.
        defer_accept: bool = "true",
        /// Answer traffic with 503 while readiness says no.
        reject_when_unready: bool = "false",
        /// For so long the app may go on with a request that it has whole and whose client has left; 0: it is cancelled.
        finish_abandoned: Duration = "0",
        /// Below this prefix, such as "/upstream", the app's own answers at the paths of our endpoints; or "off".
        passthrough_prefix: Prefix = "off",
        /// TLS for traffic: on when there is a certificate.
        tls: TlsSettings,
        /// Deadlines; 0 means none.
        timeouts: Timeouts,
        /// Limits; 0 means none.
        limits: Limits,
        /// What is tried again.
        retry: Retry,
        /// What the answers say about the app's login.
        login: LoginSettings,
        /// W3C trace context.
        trace: TraceSettings,
    }
}

crate::settings! {
    /// Deadlines of the data plane; 0 means none.
    pub struct Timeouts {
        /// For a connection to the app.
        connect: Duration = "2s",
        /// For a whole request head, from its first byte.
        request_header: Duration = "10s",
        /// What a client may let the app wait for a request's body, beyond what `limits.body_min_rate` grants.
        request_body: Duration = "20s",
        /// For the head of the app's answer, from the end of the request. A model may think for minutes.
        response_header: Duration = "0",
        /// Between two requests of a connection.
        idle: Duration = "75s",
        /// Silence in the middle of a body or an upgraded connection.
        stream_idle: Duration = "10m",
        /// For a client that takes nothing off the wire.
        write: Duration = "60s",
    }
}

crate::settings! {
    /// Limits of the data plane; 0 means none, unless it says otherwise.
    pub struct Limits {
        /// Open client connections over all workers; at least 1.
        connections: u32 = "10000",
        /// Requests of one HTTP/2 connection at the same time; at least 1.
        streams: u32 = "100",
        /// Requests at the app at the same time.
        in_flight: u32 = "0",
        /// Requests that wait when `in_flight` is reached; more are refused at once.
        queue: u32 = "100",
        /// How long a request waits in the queue, at most. Where the queue does not get shorter, new ones are refused.
        queue_timeout: Duration = "5s",
        /// A request head; at least 8 KiB.
        header_bytes: Size = "64KiB",
        /// A request body.
        body_bytes: Size = "0",
        /// Requests per second of one client address.
        rate_per_client: PerSecond = "0/s",
        /// Requests that one client address has under way.
        concurrency_per_client: u32 = "0",
        /// Bytes per second at which a request's body must come, on average, beyond `timeouts.request_body`.
        body_min_rate: Size = "100",
    }
}

crate::settings! {
    /// What is tried again.
    pub struct Retry {
        /// Further attempts after a connection to the app fails or turns out stale. Only what was not sent, or may be
        /// sent twice.
        attempts: u32 = "1",
        /// While the app refuses connections, as it does while it restarts, a request waits for so long.
        hold_on_restart: Duration = "0",
    }
}

crate::settings! {
    /// What the answers of the app say about its login, for the `credentials` check.
    pub struct LoginSettings {
        /// Ends of the paths at which a model answers.
        model_paths: Vec<String> = "[\"/v1/messages\", \"/v1/chat/completions\", \"/v1/responses\"]",
        /// Texts in a 200 answer that mean that nobody is logged in.
        refusals: Vec<String> = "[\"Not logged in · Please run /login\"]",
    }
}

crate::settings! {
    /// W3C trace context. What a request brings is passed on as it came.
    pub struct TraceSettings {
        /// Begin a trace where a request brings none, or one that is not valid.
        start: bool = "false",
    }
}

/// The beginning of paths below which an endpoint's path is the app's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub Option<String>);

impl Setting for Prefix {
    const EXPECTS: &'static str = "a path such as \"/upstream\", without a slash at its end, or \"off\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let is_segment = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
            !matches!(part, "" | "." | "..") && part.chars().all(allowed)
        };
        match text.strip_prefix('/') {
            None if text == "off" => Some(Self(None)),
            Some(rest) if rest.split('/').all(is_segment) => Some(Self(Some(text.to_owned()))),
            _ => {
                problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
                None
            }
        }
    }
}

/// How many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(pub usize);

/// More workers than this never help a sidecar.
const MOST_THREADS: usize = 64;

impl Setting for Threads {
    const EXPECTS: &'static str = "\"auto\" or a number from 1 to 64";
    const SHAPE: crate::settings::Shape =
        crate::settings::Shape::Either(&[crate::settings::Shape::Words(&["auto"]), crate::settings::Shape::Whole]);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let count = match &node.value {
            // Follows the CPU affinity and the quota of cgroup v1 and v2.
            Value::Text(text) if text == "auto" => std::thread::available_parallelism().map_or(1, usize::from),
            Value::Integer(count) => usize::try_from(*count).unwrap_or(0),
            _ => 0,
        };
        if (1..=MOST_THREADS).contains(&count) {
            return Some(Self(count));
        }
        if count > MOST_THREADS && matches!(node.value, Value::Text(_)) {
            return Some(Self(MOST_THREADS));
        }
        problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        None
    }
}

/// Linux has room for so much (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The app: a URL without path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream(pub Url);

impl Setting for Upstream {
    const EXPECTS: &'static str = "a URL without path, such as \"http://127.0.0.1:8080\" or \"unix:/run/app.sock\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let Some(url) = Url::parse(text).filter(|url| url.path == "/") else {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
            return None;
        };
        if matches!(&url.scheme, Scheme::Unix(socket) if socket.as_os_str().len() > LONGEST_SOCKET) {
            problems.add(&node.origin, format!("`{path}`: a socket's path has at most {LONGEST_SOCKET} bytes"));
            return None;
        }
        Some(Self(url))
    }

    fn dump(node: &Node, path: &str, lines: &mut Vec<Line>) {
        Url::dump(node, path, lines);
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A rate such as `10/s`; 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerSecond(pub u32);

impl Setting for PerSecond {
    const EXPECTS: &'static str = "a rate such as \"10/s\", or \"0/s\" for none";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let rate = text.strip_suffix("/s").and_then(|number| number.trim().parse().ok());
        if rate.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        rate.map(Self)
    }
}
