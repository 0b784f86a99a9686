use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::Wire;

/// A client that takes HTTP/1.1 (RFC 9112) literally: what a lenient client would forgive is an error here.
pub(crate) struct Client {
    stream: Wire,
    /// Read and not yet understood.
    buffer: Vec<u8>,
    method: String,
}

/// What is wrong with an answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// It was closed or reset in the middle of an answer.
    Truncated(String),
    /// The answer is not HTTP/1.1.
    Malformed(String),
    /// Nothing came in time, or the connection could not be had.
    Io(std::io::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed before an answer"),
            Self::Truncated(what) => write!(f, "broken off: {what}"),
            Self::Malformed(what) => write!(f, "not HTTP/1.1: {what}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// Status line and fields.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
    ToTheEnd,
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value);
    let value = values.next();
    assert!(values.next().is_none(), "the field {name} is there twice: {fields:?}");
    value
}

impl Head {
    /// The value of a field that may be there once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }
}

impl Response {
    /// The value of a field that may be there once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("not JSON ({error}): {:?}", String::from_utf8_lossy(&self.body)),
        }
    }

    /// Whether the sidecar says that it closes the connection.
    pub(crate) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Client {
    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self::over(Wire::Plain(Wire::connect(address)?)))
    }

    /// A client on a connection that is there already.
    pub(crate) fn over(stream: Wire) -> Self {
        Self { stream, buffer: Vec::new(), method: "GET".into() }
    }

    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Writes bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes a request; a body brings its length.
    pub(crate) fn write(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<()> {
        let host = self.stream.socket().peer_addr()?;
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.expect(method);
        // Together: what comes later than its head cannot be sent to the app a second time.
        self.stream.write_all(&[head.as_bytes(), body].concat())
    }

    /// Says of which method the next answer is: none to HEAD has a body.
    pub(crate) fn expect(&mut self, method: &str) {
        self.method = method.to_owned();
    }

    /// Writes a request and reads its answer.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, HttpError> {
        self.write(method, target, fields, body).map_err(HttpError::Io)?;
        self.read()
    }

    /// Reads a complete answer.
    pub(crate) fn read(&mut self) -> Result<Response, HttpError> {
        let head = self.read_head()?;
        let mut body = Vec::new();
        let mut pieces = self.pieces(&head)?;
        while let Some(piece) = pieces.next()? {
            body.extend_from_slice(&piece);
        }
        Ok(Response { status: head.status, fields: head.fields, body })
    }

    /// Reads a head.
    pub(crate) fn read_head(&mut self) -> Result<Head, HttpError> {
        let end = loop {
            if let Some(end) = position(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > 256 * 1024 {
                return Err(HttpError::Malformed("a head without end".into()));
            }
            if !self.fill()? {
                return Err(match self.buffer.as_slice() {
                    [] => HttpError::Closed,
                    part => HttpError::Truncated(format!("in the head: {:?}", String::from_utf8_lossy(part))),
                });
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        parse_head(&head[..end])
    }

    /// The body that follows a head, piece by piece: a chunk as it was framed, or what has come.
    pub(crate) fn pieces(&mut self, head: &Head) -> Result<Pieces<'_>, HttpError> {
        let framing = framing(head, &self.method)?;
        Ok(Pieces { client: self, framing, ended: false })
    }

    /// What is left once the other side has closed.
    pub(crate) fn read_to_end(&mut self) -> Result<Vec<u8>, HttpError> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads exactly so many bytes of whatever protocol.
    pub(crate) fn read_exact(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        while self.buffer.len() < length {
            if !self.fill()? {
                return Err(HttpError::Truncated(format!("{} of {length} bytes", self.buffer.len())));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Whether the other side has closed, with nothing left to read. Waits for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.fill(), Ok(false) | Err(HttpError::Truncated(_)))
    }

    pub(crate) fn shut_down(&mut self, how: Shutdown) {
        self.stream.shut_down(how);
    }

    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.socket().try_clone().expect("another handle")
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool, HttpError> {
        let mut chunk = vec![0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                Err(HttpError::Truncated("reset".into()))
            }
            Err(error) => Err(HttpError::Io(error)),
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, HttpError> {
        loop {
            if let Some(end) = position(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(line[..end].to_vec());
            }
            if !self.fill()? {
                return Err(HttpError::Truncated("in the framing of a chunk".into()));
            }
        }
    }
}

/// A body on its way.
pub(crate) struct Pieces<'a> {
    client: &'a mut Client,
    framing: Framing,
    ended: bool,
}

impl Pieces<'_> {
    /// The next piece, `None` at the proper end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        if self.ended {
            return Ok(None);
        }
        let client = &mut *self.client;
        let piece = match &mut self.framing {
            Framing::None | Framing::Length(0) => None,
            Framing::Length(left) => {
                if client.buffer.is_empty() && !client.fill()? {
                    return Err(HttpError::Truncated(format!("{left} bytes before the promised length")));
                }
                let length = client.buffer.len().min(*left);
                *left -= length;
                Some(client.buffer.drain(..length).collect())
            }
            Framing::ToTheEnd => {
                if client.buffer.is_empty() && !client.fill()? {
                    None
                } else {
                    Some(std::mem::take(&mut client.buffer))
                }
            }
            Framing::Chunked => chunk(client)?,
        };
        self.ended = piece.is_none();
        Ok(piece)
    }
}

fn chunk(client: &mut Client) -> Result<Option<Vec<u8>>, HttpError> {
    let line = client.line()?;
    let size = std::str::from_utf8(&line).ok().filter(|size| size.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
    let Some(size) = size else {
        return Err(HttpError::Malformed(format!("a chunk's size: {:?}", String::from_utf8_lossy(&line))));
    };
    if size == 0 {
        while !client.line()?.is_empty() {}
        return Ok(None);
    }
    let mut data = client.read_exact(size + 2)?;
    if data.split_off(size) != b"\r\n" {
        return Err(HttpError::Malformed("a chunk is longer than its size".into()));
    }
    Ok(Some(data))
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn parse_head(head: &[u8]) -> Result<Head, HttpError> {
    let bad = |what: &str| HttpError::Malformed(format!("{what} in {:?}", String::from_utf8_lossy(head)));
    let text = std::str::from_utf8(head).map_err(|_| bad("not UTF-8"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").ok_or_else(|| bad("no status line"))?;
    let (code, _reason) = status.split_once(' ').ok_or_else(|| bad("no space after the code"))?;
    let code: u16 = code.parse().ok().filter(|code| (100..=599).contains(code)).ok_or_else(|| bad("no code"))?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a field without colon"))?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || value.contains(['\r', '\n', '\0']) {
            return Err(bad("an impossible field"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Head { status: code, fields })
}

fn framing(head: &Head, method: &str) -> Result<Framing, HttpError> {
    let bad = |what: &str| Err(HttpError::Malformed(format!("{what}: {head:?}")));
    let length = match head.field("content-length") {
        None => None,
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => match text.parse() {
            Ok(length) => Some(length),
            Err(_) => return bad("a length too large"),
        },
        Some(_) => return bad("an impossible length"),
    };
    let chunked = match head.field("transfer-encoding") {
        None => false,
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => true,
        Some(_) => return bad("an unknown transfer coding"),
    };
    if length.is_some() && chunked {
        return bad("both a length and a transfer coding");
    }
    let bodiless = method == "HEAD" || matches!(head.status, 100..=199 | 204 | 304);
    Ok(match (bodiless, chunked, length) {
        (true, ..) => Framing::None,
        (_, true, _) => Framing::Chunked,
        (_, _, Some(length)) => Framing::Length(length),
        _ => Framing::ToTheEnd,
    })
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
    match Client::connect(address).ask(method, target, fields, body) {
        Ok(response) => response,
        Err(error) => panic!("{method} {target} at {address}: {error}"),
    }
}

/// GET on a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, target: &str) -> Response {
    ask(address, "GET", target, &[], b"")
}
