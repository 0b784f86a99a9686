use crate::support::Random;

/// A request and what the app says to it, as bytes.
pub(super) struct Exchange {
    pub(super) request: Vec<u8>,
    pub(super) to_head: bool,
    /// Whether the client says that it closes, or is of HTTP/1.0 and does not say that it stays.
    pub(super) client_closes: bool,
    /// Written one after the other.
    pub(super) answer: Vec<Vec<u8>>,
    pub(super) app_closes: bool,
}

const METHODS: [&str; 9] = ["GET", "GET", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "M-SEARCH"];

const TARGETS: [&str; 9] = [
    "/",
    "/a/b?c=d&e",
    "//two//",
    "/%68ealth",
    "/./a/../b",
    "/~x/!$&'()*+,;=:@",
    "/p?q?r/s\"<>|",
    "http://other.example/p?q",
    "http://other.example:81",
];

/// Fields that mean nothing to a proxy, in every case of letters.
const PLAIN: [&str; 16] = [
    "Accept: */*",
    "x-request-id:   many spaces  ",
    "X-Empty:",
    "Cookie: a=1; b=2",
    "cookie: c=3",
    "User-Agent: tests/1 (a; b)",
    "anthropic-version: 2023-06-01",
    "X-Api-Key: invented",
    "retry-after: 7",
    "request-id: req_011",
    "Content-Type: application/json",
    "Cache-Control: no-cache",
    "Content-Encoding: gzip",
    "X_Under_Score: 1",
    "x-latin: \u{fc}\u{e4}\u{80}",
    "X-Tab:\ta\tb\t",
];

/// What ends at a proxy, or is changed by it, in a request.
const OF_REQUESTS: [&str; 13] = [
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic eA==",
    "TE: gzip, trailers",
    "TE: deflate",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQ",
    "X-Forwarded-For: 10.1.2.3",
    "Forwarded: for=10.1.2.3;proto=https",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: told.example",
    "X_Forwarded_For: 6.6.6.6",
    "Via: 1.1 before",
];

/// The same in an answer.
const OF_ANSWERS: [&str; 6] = [
    "Keep-Alive: timeout=5",
    "Proxy-Authenticate: Basic",
    "Upgrade: h2c",
    "Via: 1.1 behind",
    "Date: Thu, 01 Jan 1970 00:00:00 GMT",
    "X-Mine: 1",
];

const OPTIONS: [&str; 5] = ["X-Mine", "keep-alive, x-mine", "close", "Close , X-Mine", "keep-alive"];

const CODES: [&str; 12] = [
    "200 OK",
    "200 OK",
    "200 ",
    "201 Created, with words",
    "204 No Content",
    "304 Not Modified",
    "400 Bad",
    "404 Not Found",
    "429 Too Many Requests",
    "500 Oh",
    "529 Overloaded",
    "599 Last",
];

/// The exchange of a number, the same in every run.
pub(super) fn exchange(number: usize) -> Exchange {
    let mut random = Random(0x5eed_2000 + number as u64 * 0x9E37_79B9);
    for _ in 0..4 {
        random.next();
    }
    let method = METHODS[random.below(METHODS.len())];
    let is_http10 = random.below(10) == 0;
    let (request, stays) = request(&mut random, number, method, is_http10);
    let (answer, app_closes) = answer(&mut random, method == "HEAD");
    Exchange { request, to_head: method == "HEAD", client_closes: !stays, answer, app_closes }
}

fn request(random: &mut Random, number: usize, method: &str, is_http10: bool) -> (Vec<u8>, bool) {
    let version = if is_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut lines = vec![format!("X-Exchange: {number}")];
    if !is_http10 || random.below(2) == 0 {
        lines.push("Host: a.example:8000".to_owned());
    }
    some(random, &PLAIN, 5, &mut lines);
    some(random, &OF_REQUESTS, 3, &mut lines);
    let mut stays = !is_http10;
    if random.below(4) == 0 {
        let options = OPTIONS[random.below(OPTIONS.len())];
        let says = |option: &str| options.to_ascii_lowercase().split(',').any(|listed| listed.trim() == option);
        stays = !says("close") && (!is_http10 || says("keep-alive"));
        lines.push(format!("Connection: {options}"));
        lines.push("X-Mine: 1".to_owned());
    }
    shuffle(random, &mut lines);
    let may_have_body = matches!(method, "POST" | "PUT" | "DELETE" | "M-SEARCH");
    let body = if may_have_body { body(random, &mut lines, !is_http10) } else { Vec::new() };
    let head = format!("{method} {} {version}\r\n{}\r\n\r\n", TARGETS[random.below(TARGETS.len())], lines.join("\r\n"));
    ([latin(&head), body].concat(), stays)
}

fn answer(random: &mut Random, to_head: bool) -> (Vec<Vec<u8>>, bool) {
    let mut parts = Vec::new();
    for _ in 0..random.below(12).saturating_sub(9) {
        parts.push(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".to_vec());
    }
    let code = CODES[random.below(CODES.len())];
    let version = if random.below(10) == 0 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut lines = Vec::new();
    some(random, &PLAIN, 5, &mut lines);
    some(random, &OF_ANSWERS, 3, &mut lines);
    let mut closes = version == "HTTP/1.0";
    if random.below(6) == 0 {
        let options = OPTIONS[random.below(OPTIONS.len())];
        let says = |option: &str| options.to_ascii_lowercase().split(',').any(|listed| listed.trim() == option);
        closes = says("close") || (closes && !says("keep-alive"));
        lines.push(format!("Connection: {options}"));
    }
    shuffle(random, &mut lines);
    let bodiless = code.starts_with("204") || code.starts_with("304");
    let body = if bodiless {
        Vec::new()
    } else if random.below(8) == 0 {
        closes = true;
        // Where the end of the body does not tell, somebody must: what is sent on a connection that closes may be lost.
        lines.extend(to_head.then(|| "Connection: close".to_owned()));
        random.bytes(300)
    } else {
        body(random, &mut lines, version == "HTTP/1.1")
    };
    let fields: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    parts.push(latin(&format!("{version} {code}\r\n{fields}\r\n")));
    // A part of its own: an answer to HEAD is without it.
    parts.push(body);
    (parts, closes)
}

/// A body, with the field that says how long it is.
fn body(random: &mut Random, lines: &mut Vec<String>, may_chunk: bool) -> Vec<u8> {
    let length = [0, 1, 10, 300, 5000, 70_000][random.below(6)];
    let data = random.bytes(length);
    let place = random.below(lines.len() + 1);
    if !may_chunk || random.below(2) == 0 {
        let zeros = if random.below(8) == 0 { "00" } else { "" };
        lines.insert(place, format!("Content-Length: {zeros}{}", data.len()));
        return data;
    }
    lines.insert(place, ["Transfer-Encoding: chunked", "transfer-encoding:  Chunked"][random.below(2)].to_owned());
    let mut body = Vec::new();
    for part in data.chunks(1 + random.below(4000)) {
        let extension = if random.below(5) == 0 { ";a=\"b\"" } else { "" };
        body.extend_from_slice(format!("{:X}{extension}\r\n", part.len()).as_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    let trailer = ["", "", "X-Sum: 1\r\nx-second:  2 \r\n", "Cookie: no\r\nX-Sum: 1\r\n"][random.below(4)];
    if !trailer.is_empty() {
        lines.push("Trailer: X-Sum".to_owned());
    }
    body.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
    body
}

/// Some of these, no line twice.
fn some(random: &mut Random, from: &[&str], most: usize, lines: &mut Vec<String>) {
    for _ in 0..random.below(most + 1) {
        let line = from[random.below(from.len())].to_owned();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
}

fn shuffle(random: &mut Random, lines: &mut [String]) {
    for last in (1..lines.len()).rev() {
        lines.swap(last, random.below(last + 1));
    }
}

/// Each character a byte.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a character of Latin-1")).collect()
}
