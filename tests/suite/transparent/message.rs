use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result};
use std::net::TcpStream;

/// A message as it arrived: every byte a character, so that none is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Interim answers that came before, each as its lines.
    pub(super) interim: Vec<Vec<String>>,
    pub(super) first: String,
    /// Whole lines, in order.
    pub(super) fields: Vec<String>,
    pub(super) chunked: bool,
    pub(super) until_close: bool,
    pub(super) data: Vec<u8>,
    pub(super) trailer: Vec<String>,
}

/// The name and the value of a line, without the space around the value.
pub(super) fn parts(line: &str) -> (String, &str) {
    let (name, value) = line.split_once(':').expect("a colon");
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']))
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

impl Message {
    pub(super) fn read_request(reader: &mut BufReader<TcpStream>) -> Result<Self> {
        let mut message = Self::read_head(reader)?;
        message.chunked = !message.values("transfer-encoding").is_empty();
        message.read_body(reader, false)?;
        Ok(message)
    }

    pub(super) fn read_answer(reader: &mut BufReader<TcpStream>, to_head: bool) -> Result<Self> {
        let mut interim = Vec::new();
        let mut message = loop {
            let message = Self::read_head(reader)?;
            if !message.code().starts_with('1') {
                break message;
            }
            interim.push([vec![message.first], message.fields].concat());
        };
        message.interim = interim;
        let bodiless = to_head || matches!(message.code(), "204" | "304");
        message.chunked = !bodiless && !message.values("transfer-encoding").is_empty();
        message.until_close = !bodiless && !message.chunked && message.values("content-length").is_empty();
        if !bodiless {
            message.read_body(reader, message.until_close)?;
        }
        Ok(message)
    }

    fn read_head(reader: &mut BufReader<TcpStream>) -> Result<Self> {
        let mut lines = Vec::new();
        loop {
            match line(reader)? {
                line if line.is_empty() => break,
                line => lines.push(line),
            }
        }
        if lines.is_empty() {
            return Err(broken("a head without lines"));
        }
        Ok(Self { first: lines.remove(0), fields: lines, ..Self::default() })
    }

    fn read_body(&mut self, reader: &mut BufReader<TcpStream>, until_close: bool) -> Result<()> {
        if until_close {
            reader.read_to_end(&mut self.data)?;
        } else if self.chunked {
            self.read_chunks(reader)?;
        } else if let Some(length) = self.values("content-length").first() {
            self.data = vec![0; length.parse().map_err(|_| broken("a length"))?];
            reader.read_exact(&mut self.data)?;
        }
        Ok(())
    }

    fn read_chunks(&mut self, reader: &mut BufReader<TcpStream>) -> Result<()> {
        loop {
            let size = line(reader)?;
            let digits = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| broken("a chunk's size"))?;
            if size == 0 {
                break;
            }
            let begin = self.data.len();
            self.data.resize(begin + size, 0);
            reader.read_exact(&mut self.data[begin..])?;
            if !line(reader)?.is_empty() {
                return Err(broken("a chunk's end"));
            }
        }
        loop {
            match line(reader)? {
                line if line.is_empty() => return Ok(()),
                line => self.trailer.push(line),
            }
        }
    }

    pub(super) fn code(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// Every value of a field.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().map(|line| parts(line)).filter(|(known, _)| known == name).map(|(_, value)| value).collect()
    }

    /// Whether a field that is a list has this member.
    pub(super) fn lists(&self, name: &str, member: &str) -> bool {
        self.members(name).iter().any(|listed| listed == member)
    }

    /// The members of a field that is a list, in lower case.
    pub(super) fn members(&self, name: &str) -> Vec<String> {
        let values = self.values(name);
        let members = values.iter().flat_map(|value| value.split(','));
        members.map(|member| member.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
    }
}

/// A line without its CRLF, and nothing else for a line's end.
fn line(reader: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\r\n").ok_or_else(|| broken("a line without end"))?;
    Ok(line.iter().map(|byte| char::from(*byte)).collect())
}
