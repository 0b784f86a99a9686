use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;

use super::{PATIENCE, Wire};

/// A well-behaved client of HTTP/2, with prior knowledge, for as long as `test` takes.
#[track_caller]
pub(crate) fn with_http2<T>(address: SocketAddr, test: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake(stream)
            .await
            .expect("HTTP/2");
        let driving = tokio::spawn(connection);
        let result = tokio::time::timeout(2 * PATIENCE, test(send)).await.expect("in time");
        driving.abort();
        result
    })
}

/// A client that writes frames as the test says, whether they make sense or not.
pub(crate) struct Frames {
    wire: Wire,
}

/// One frame (RFC 9113 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::begin(Wire::Plain(Wire::connect(address).expect("a connection")))
    }

    /// Sends the preface and empty settings.
    #[track_caller]
    pub(crate) fn begin(wire: Wire) -> Self {
        let mut frames = Self { wire };
        frames.bytes(PREFACE).expect("a preface");
        frames.send(SETTINGS, 0, 0, b"").expect("settings");
        frames
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.wire.write_all(bytes)
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        self.bytes(&Self::frame(kind, flags, stream, payload))
    }

    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// A GET that is complete.
    pub(crate) fn get(&mut self, stream: u32, path: &str) -> std::io::Result<()> {
        let block = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]);
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block)
    }

    /// A POST of which the body is still to come.
    pub(crate) fn post(&mut self, stream: u32, path: &str) -> std::io::Result<()> {
        let block = block(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)]);
        self.send(HEADERS, END_HEADERS, stream, &block)
    }

    /// The next frame; `None` at the end, however it came.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.wire.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.wire.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Skips what comes until there is a frame of this kind; settings and pings are answered.
    pub(crate) fn wait_for(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind && frame.flags & ACK == 0 || frame.kind == kind && kind != SETTINGS && kind != PING {
                return Some(frame);
            }
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, b"").ok()?,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).ok()?,
                _ => {}
            }
        }
    }

    /// Skips what comes until there is a frame of this kind, and answers nothing.
    #[track_caller]
    pub(crate) fn skip_to(&mut self, kind: u8) -> Frame {
        std::iter::from_fn(|| self.next()).find(|frame| frame.kind == kind).expect("such a frame")
    }

    /// How long to wait for a frame.
    pub(crate) fn wait_at_most(&self, patience: std::time::Duration) {
        let _ = self.wire.socket().set_read_timeout(Some(patience));
    }

    /// How long to wait until anything is taken.
    pub(crate) fn patience(&self, patience: std::time::Duration) {
        let _ = self.wire.socket().set_write_timeout(Some(patience));
    }

    /// The code of the GOAWAY that ends the connection; `None` if it ends without one.
    pub(crate) fn wait_for_end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.wait_for(GOAWAY) {
            code = Some(frame.code());
        }
        code
    }
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    #[track_caller]
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("a code"))
    }

    pub(crate) fn ends(&self) -> bool {
        self.flags & END_STREAM != 0
    }
}

/// A header block (RFC 7541): every field a literal without indexing, without Huffman.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // Lengths from 127 take more bytes, seven bits each (RFC 7541 section 5.1).
            let mut rest = text.len();
            if rest < 127 {
                block.push(rest as u8);
            } else {
                block.push(127);
                rest -= 127;
                while rest >= 128 {
                    block.push((rest % 128 + 128) as u8);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
