//! What a sidecar changes, all of it, as functions from what arrives without one to what arrives with one.
//!
//! | rule | where it comes from |
//! |---|---|
//! | fields of the connection end here: `Connection` and what it names, `Keep-Alive`, `Proxy-*`, `Upgrade`, `TE` but for `trailers`, `HTTP2-Settings`; but nothing that says who asks | RFC 9110 section 7.6.1 |
//! | fields that a gateway interface would take for ours are dropped | `X_Forwarded_For` |
//! | `X-Forwarded-*` and `Forwarded` are added to, and say the same where only one of them came; `Via` is added, both ways | RFC 7239, RFC 9110 section 7.6.3 |
//! | a target with a host becomes a path, the host goes into `Host` | RFC 9112 section 3.2.2 |
//! | the version is our own | RFC 9110 section 2.5 |
//! | white space around values, zeros before lengths, chunk extensions go | one form of each message |
//! | a body without length is chunked for HTTP/1.1, ends with the connection for HTTP/1.0 | RFC 9112 section 6.3 |
//! | trailers keep what does not frame, route or authorize; none without chunks | RFC 9110 section 6.5.1 |
//! | no length in a 204; `Trailer` only where there can be one; `Date` where there is none | RFC 9110 sections 8.6, 6.6.2, 6.6.1 |
//! | interim answers do not reach HTTP/1.0 | RFC 9110 section 15.2 |
//! | persistence is each connection's own | RFC 9112 section 9.3 |

use super::message::{Message, parts};

/// Fields of one connection.
const ENDS: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "upgrade",
    "http2-settings",
    "x_forwarded_for",
];

/// What no trailer brings.
const NOT_IN_TRAILERS: [&str; 1] = ["cookie"];

/// Stands for the present time.
const NOW: &str = "Date: now";

/// What the app receives of a request that would have arrived like this.
pub(super) fn for_app(direct: &Message, via: &str) -> Message {
    let words: Vec<&str> = direct.first.split(' ').collect();
    let (mut host, mut target) = (direct.values("host").first().map(|host| (*host).to_owned()), words[1].to_owned());
    if let Some(rest) = words[1].strip_prefix("http://") {
        let end = rest.find('/').unwrap_or(rest.len());
        host = Some(rest[..end].to_owned());
        let root = if words[0] == "OPTIONS" { "*" } else { "/" };
        target = if rest[end..].is_empty() { root.to_owned() } else { rest[end..].to_owned() };
    }
    let mut message = Message { first: format!("{} {target} HTTP/1.1", words[0]), ..direct.clone() };
    message.trailer = trailer(direct);
    let host = host.unwrap_or_else(|| "the app".to_owned());
    let told = |name: &str| direct.values(name).join(", ");
    let (told_for, told_forwarded) = (told("x-forwarded-for"), told("forwarded"));
    let told_proto = !direct.values("x-forwarded-proto").is_empty();
    let mut fields = Vec::new();
    for line in kept(direct) {
        match parts(&line).0.as_str() {
            "te" | "x-forwarded-for" | "forwarded" => {}
            "host" => fields.push(format!("{}: {host}", &line[..4])),
            "trailer" if !direct.chunked => {}
            _ => fields.push(line),
        }
    }
    let trailers = direct.lists("te", "trailers");
    fields.extend(trailers.then(|| "TE: trailers".to_owned()));
    if direct.values("host").is_empty() {
        fields.push(format!("Host: {host}"));
    }
    let list = |told: &str, ours: &str| if told.is_empty() { ours.to_owned() } else { format!("{told}, {ours}") };
    let (told_for, told_forwarded, ours) = both_families(told_for, told_forwarded, told_proto);
    let proto = format!("X-Forwarded-Proto: {}", if told_forwarded.contains("https") { "https" } else { "http" });
    let told_for = format!("X-Forwarded-For: {}", list(&told_for, "127.0.0.1"));
    let told_forwarded = format!("Forwarded: {}", list(&told_forwarded, &ours));
    let nothing_told = told("x-forwarded-for").is_empty() && told("forwarded").is_empty() && !told_proto;
    if nothing_told {
        fields.extend([told_for, proto, told_forwarded]);
    } else {
        fields.extend([told_for, told_forwarded]);
        fields.extend((!told_proto).then_some(proto));
    }
    if direct.values("x-forwarded-host").is_empty() {
        fields.push(format!("X-Forwarded-Host: {host}"));
    }
    fields.push(format!("Via: {} {via}", words[2].trim_start_matches("HTTP/")));
    fields.extend(trailers.then(|| "Connection: TE".to_owned()));
    message.fields = fields;
    message
}

/// What was told, in both families of fields, and our own element: of the one that did not come, the same is told (RFC 7239
/// section 7.4).
fn both_families(told_for: String, told_forwarded: String, told_proto: bool) -> (String, String, String) {
    let https = if told_proto { ";proto=https" } else { "" };
    match (told_for.is_empty(), told_forwarded.is_empty()) {
        (false, true) => {
            let mut elements = told_for.split(", ").map(|node| format!("for={node}")).collect::<Vec<_>>();
            elements[0].push_str(https);
            (told_for, elements.join(", "), "for=127.0.0.1".to_owned())
        }
        (true, true) if told_proto => (told_for, told_forwarded, format!("for=127.0.0.1{https}")),
        (is_empty, _) => {
            let nodes = told_forwarded.split(", ").filter_map(|element| element.split([';', '=']).nth(1));
            let nodes = nodes.collect::<Vec<_>>().join(", ");
            (if is_empty { nodes } else { told_for }, told_forwarded, "for=127.0.0.1;proto=http".to_owned())
        }
    }
}

/// What the client receives of an answer that would have arrived like this.
pub(super) fn for_client(direct: &Message, request: &Message, via: &str) -> Message {
    let is_http10 = request.first.ends_with("HTTP/1.0");
    let unknown = direct.chunked || direct.until_close;
    let chunked = unknown && !is_http10;
    let (version, status) = direct.first.split_once(' ').expect("a status line");
    let mut message = Message { first: format!("HTTP/1.1 {status}"), ..direct.clone() };
    message.chunked = chunked;
    message.until_close = unknown && is_http10;
    message.trailer = if chunked { trailer(direct) } else { Vec::new() };
    if is_http10 {
        message.interim.clear();
    }
    let mut fields = Vec::new();
    for line in kept(direct) {
        match parts(&line).0.as_str() {
            "transfer-encoding" => {}
            "trailer" if !chunked => {}
            "content-length" if direct.code() == "204" => {}
            _ => fields.push(line),
        }
    }
    if direct.values("date").is_empty() {
        fields.push(NOW.to_owned());
    }
    fields.extend(chunked.then(|| "Transfer-Encoding: chunked".to_owned()));
    fields.push(format!("Via: {} {via}", version.trim_start_matches("HTTP/")));
    let stays = !request.lists("connection", "close") && (!is_http10 || request.lists("connection", "keep-alive"));
    if !stays || message.until_close {
        fields.push("Connection: close".to_owned());
    } else if is_http10 {
        fields.push("Connection: keep-alive".to_owned());
    }
    message.fields = fields;
    message
}

/// The fields that are not the connection's, each in our one form.
fn kept(direct: &Message) -> Vec<String> {
    let named = direct.members("connection");
    let kept = direct.fields.iter().filter(|line| {
        let name = parts(line).0;
        !ENDS.contains(&name.as_str()) && !named.contains(&name)
    });
    kept.map(|line| one_form(line)).collect()
}

fn one_form(line: &str) -> String {
    let (name, value) = (line.split(':').next().unwrap_or_default(), parts(line).1);
    let value = match parts(line).0.as_str() {
        "content-length" => value.parse::<u64>().expect("a length").to_string(),
        "transfer-encoding" => value.to_ascii_lowercase(),
        _ => value.to_owned(),
    };
    format!("{name}: {value}")
}

fn trailer(direct: &Message) -> Vec<String> {
    let kept = direct.trailer.iter().filter(|line| !NOT_IN_TRAILERS.contains(&parts(line).0.as_str()));
    kept.map(|line| one_form(line)).collect()
}

/// An answer with [`NOW`] in place of a date that the app did not give.
pub(super) fn without_date(received: &Message, direct: &Message) -> Message {
    let mut message = received.clone();
    if direct.values("date").is_empty() {
        for line in &mut message.fields {
            if line.starts_with("Date: ") {
                NOW.clone_into(line);
            }
        }
    }
    message
}

/// A request without the trace that was started for it, and with "the app" in place of a host that nobody named.
pub(super) fn without_trace(received: &Message, direct: &Message) -> Message {
    let mut message = received.clone();
    if direct.values("traceparent").is_empty() {
        message.fields.retain(|line| !line.starts_with("traceparent: "));
    }
    let target_names = direct.first.split(' ').nth(1).is_some_and(|target| target.starts_with("http://"));
    if direct.values("host").is_empty() && !target_names {
        for line in &mut message.fields {
            if let Some(name) =
                ["Host", "X-Forwarded-Host"].iter().find(|name| line.starts_with(&format!("{name}: 127.")))
            {
                *line = format!("{name}: the app");
            }
        }
    }
    message
}
