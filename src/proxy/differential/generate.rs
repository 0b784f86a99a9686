/// Bytes of one connection, and what the reader of an answer must know.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) bytes: Vec<u8>,
    /// Whether what is answered was HEAD.
    pub(super) to_head: bool,
}

/// Random numbers that are the same in every run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const METHODS: [&str; 10] = ["GET", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "M-SEARCH", "get"];

const TARGETS: [&str; 12] = [
    "/",
    "/",
    "/a/b?c=d&e",
    "//two",
    "/%68ealth",
    "/a;b=c",
    "/~x/!$&'()*+,=:@",
    "/p?q?r/s",
    "http://h/p?q",
    "http://h:81",
    "/very/../dotted/./path",
    "*",
];

const NAMES: [&str; 16] = [
    "Accept",
    "X-Request-ID",
    "x",
    "Cookie",
    "User-Agent",
    "Date",
    "Via",
    "X-Forwarded-For",
    "Content-Type",
    "TE",
    "Keep-Alive",
    "Upgrade",
    "Cache-Control",
    "A_b",
    "Content-Encoding",
    "Expect",
];

const VALUES: [&str; 12] = [
    "",
    "1",
    "a, b",
    "text/plain; q=0.5",
    "\"quoted, text\"",
    "  around  ",
    "\ttab\t",
    "keep-alive",
    "trailers",
    "websocket",
    "ümlaut",
    "gzip",
];

const OPTIONS: [&str; 7] = ["close", "keep-alive", "Close", "x-mine", "keep-alive, x", "upgrade", "close, keep-alive"];

/// What a mutation may put anywhere.
const ODD: [&str; 40] = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\x0b",
    "\x7f",
    "\u{80}",
    "#",
    "@",
    "0",
    "-",
    "+",
    "0x",
    "\r\nContent-Length: 3",
    "\r\nContent-Length: 0",
    "\r\nTransfer-Encoding: chunked",
    "\r\nTransfer-Encoding: identity",
    "\r\nTransfer-Encoding: gzip, chunked",
    "\r\nContent-Length: 3, 3",
    "\r\nContent-Length: +3",
    "\r\nHost: b",
    "\r\n folded",
    "\r\nContent-Length : 3",
    "\r\nConnection: close",
    "\r\nConnection: keep-alive",
    "HTTP/1.0",
    "HTTP/2.0",
    "http://u@h/",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    ";ext=\"1\"",
    "\u{20ac}",
    "GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n",
    "\r\nTransfer-Encoding: \x0bchunked",
];

/// One to three requests, of which most inputs have something changed.
pub(super) fn requests(random: &mut Random) -> Input {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(3) {
        let version = if random.one_in(8) { "HTTP/1.0" } else { "HTTP/1.1" };
        let line = format!("{} {} {version}\r\n", random.pick(&METHODS), random.pick(&TARGETS));
        bytes.extend_from_slice(line.as_bytes());
        if version == "HTTP/1.1" || random.one_in(2) {
            bytes.extend_from_slice(
                format!("Host: {}\r\n", random.pick(&["a.example", "[::1]:80", "h:1", ""])).as_bytes(),
            );
        }
        fields(random, &mut bytes);
        body(random, &mut bytes, version == "HTTP/1.1");
    }
    mutate(random, &mut bytes);
    // Whoever reads this too has kept the connection.
    bytes.extend_from_slice(b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
    Input { bytes, to_head: false }
}

/// Interim answers and an answer, changed likewise.
pub(super) fn answers(random: &mut Random) -> Input {
    let mut bytes = Vec::new();
    while random.one_in(6) {
        bytes.extend_from_slice(
            random
                .pick(&["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"])
                .as_bytes(),
        );
    }
    let version = if random.one_in(8) { "HTTP/1.0" } else { "HTTP/1.1" };
    let code = random.pick(&[
        "200 OK",
        "200 ",
        "204 No Content",
        "304 Not Modified",
        "404 Not Found",
        "500 Oh",
        "599 X",
        "201",
    ]);
    bytes.extend_from_slice(format!("{version} {code}\r\n").as_bytes());
    fields(random, &mut bytes);
    body(random, &mut bytes, version == "HTTP/1.1");
    mutate(random, &mut bytes);
    Input { bytes, to_head: random.one_in(6) }
}

fn fields(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(5) {
        bytes.extend_from_slice(format!("{}: {}\r\n", random.pick(&NAMES), random.pick(&VALUES)).as_bytes());
    }
    if random.one_in(5) {
        bytes.extend_from_slice(format!("Connection: {}\r\n", random.pick(&OPTIONS)).as_bytes());
    }
}

/// The field that says how long the body is, the empty line and the body.
fn body(random: &mut Random, bytes: &mut Vec<u8>, may_chunk: bool) {
    let data: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
    match random.below(3) {
        0 if may_chunk => {
            let name = random.pick(&["Transfer-Encoding: chunked", "transfer-encoding:  Chunked "]);
            bytes.extend_from_slice(format!("{name}\r\n\r\n").as_bytes());
            for part in data.chunks(1 + random.below(20)) {
                let extension = if random.one_in(5) { ";a=\"b\"" } else { "" };
                bytes.extend_from_slice(format!("{:X}{extension}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            let trailer = if random.one_in(4) { "X-Sum: 1\r\n" } else { "" };
            bytes.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        }
        1 => {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", data.len()).as_bytes());
            bytes.extend_from_slice(&data);
        }
        _ => bytes.extend_from_slice(b"\r\n"),
    }
}

/// Three of four inputs are changed in one to three places, wherever that may be.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    if random.one_in(4) {
        return;
    }
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let lines: Vec<usize> =
            bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at).collect();
        let line = if lines.is_empty() { at } else { lines[random.below(lines.len())] };
        let odd = random.pick(&ODD).as_bytes();
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] = random.next() as u8,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => {
                let end = (at + random.below(30)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            4 => {
                let end = (at + random.below(10)).min(bytes.len());
                drop(bytes.splice(at..end, []));
            }
            // At the end of a line, where a field may stand.
            5 | 6 => drop(bytes.splice(line..line, odd.iter().copied())),
            _ => drop(bytes.splice(at..at, odd.iter().copied())),
        }
    }
}
