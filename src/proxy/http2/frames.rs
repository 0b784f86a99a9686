use std::cell::{Cell, RefCell};

use super::PREFACE;

/// What a client has sent on a connection, beside what the library makes of it: the library says nothing of requests that
/// it refuses by itself, nor of those that came with the end of the connection.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) frames: RefCell<Frames>,
    pub(super) refusals: RefCell<Refusals>,
    /// The end has come.
    pub(super) ended: Cell<bool>,
    /// The library may know of the end: it forgets what it has not handed out by then.
    pub(super) told: Cell<bool>,
    /// So often the library may still read before it is another's turn: what it has to write, and what has its time, must not
    /// wait for a client that sends without end.
    pub(super) reads_left: Cell<usize>,
    /// How often the library was asked to read and write.
    pub(super) turns: Cell<u32>,
    /// The socket takes no more at present.
    pub(super) held_up: Cell<bool>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            frames: RefCell::default(),
            refusals: RefCell::default(),
            ended: Cell::new(false),
            told: Cell::new(true),
            reads_left: Cell::new(usize::MAX),
            turns: Cell::default(),
            held_up: Cell::default(),
        }
    }
}

/// Follows the frames (RFC 9113 section 4.1) without looking into them.
#[derive(Debug)]
pub(super) struct Frames {
    /// What is left of the preface.
    preface: usize,
    head: [u8; HEAD],
    /// How much of the head has come.
    have: usize,
    /// How much of the payload is to come.
    left: usize,
    /// The last stream that the client began.
    last: u32,
    /// Requests that have begun.
    pub(super) begun: u64,
    /// A head has begun and not ended.
    pub(super) in_head: bool,
}

/// Follows the frames that we send, for the streams that the library refuses without a word to us.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// A frame's head, and the code of a reset behind it.
    head: [u8; HEAD + CODE],
    have: usize,
    /// How much of the payload is to come.
    left: usize,
    count: u64,
    /// Resets for what the client did wrong.
    faults: u64,
    /// So many frames may still come for streams that we have ended, and that are forgotten by now.
    late: u64,
}

const HEAD: usize = 9;
const CODE: usize = 4;
const RST_STREAM: u8 = 3;
const REFUSED_STREAM: u32 = 7;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;

/// What a client may have sent of a request when it learns that no more of it is wanted: a window in frames of 4 KiB. And the
/// most that is left to it at any time.
const LATE: u64 = 16;
const MOST_LATE: u64 = 100 * LATE;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

impl Default for Frames {
    fn default() -> Self {
        Self { preface: PREFACE.len(), head: [0; HEAD], have: 0, left: 0, last: 0, begun: 0, in_head: false }
    }
}

impl Frames {
    /// More bytes of the client.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        let mut bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.have < HEAD {
                let length = bytes.len().min(HEAD - self.have);
                self.head[self.have..self.have + length].copy_from_slice(&bytes[..length]);
                self.have += length;
                bytes = &bytes[length..];
                if self.have < HEAD {
                    return;
                }
                self.begin();
            }
            let length = bytes.len().min(self.left);
            self.left -= length;
            bytes = &bytes[length..];
            if self.left == 0 {
                self.end();
            }
        }
    }

    fn begin(&mut self) {
        let [a, b, c, kind, _, stream @ ..] = self.head;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        // Otherwise the fields after a body.
        if kind == HEADERS && stream % 2 == 1 && stream > self.last {
            self.last = stream;
            self.begun += 1;
            self.in_head = true;
        }
    }

    fn end(&mut self) {
        let [_, _, _, kind, flags, ..] = self.head;
        if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0 {
            self.in_head = false;
        }
        self.have = 0;
    }
}

impl Refusals {
    /// More bytes that the client gets.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let is_reset = self.have >= HEAD && self.head[3] == RST_STREAM;
            let length = bytes.len().min(if is_reset { HEAD + CODE } else { HEAD } - self.have);
            self.head[self.have..self.have + length].copy_from_slice(&bytes[..length]);
            self.have += length;
            bytes = &bytes[length..];
            match (self.have, self.head) {
                (HEAD, [_, _, _, RST_STREAM, ..]) => {}
                (HEAD, [a, b, c, ..]) => {
                    self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                    self.have = 0;
                }
                (have, [.., a, b, c, d]) if have == HEAD + CODE => {
                    self.note(u32::from_be_bytes([a, b, c, d]));
                    self.have = 0;
                }
                _ => {}
            }
        }
    }

    /// A stream was reset with this code.
    fn note(&mut self, code: u32) {
        match code {
            STREAM_CLOSED if self.late > 0 => self.late -= 1,
            PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED => self.faults += 1,
            _ => {
                self.count += u64::from(code == REFUSED_STREAM);
                self.late = (self.late + LATE).min(MOST_LATE);
            }
        }
    }

    /// How many were refused since this was last asked, and how many streams were reset for what the client did wrong.
    pub(super) fn take(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.count), std::mem::take(&mut self.faults))
    }
}

#[cfg(test)]
mod tests {
    use super::{CONTINUATION, END_HEADERS, Frames, HEADERS, LATE, MOST_LATE, PREFACE, RST_STREAM, Refusals};

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    #[test]
    fn refusals_are_counted_in_any_pieces() {
        let all = [
            frame(4, 0, 0, b"123456"),
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]),
            frame(0, 0, 3, b"\0\0\x04\x03\0\0\0\0\x05\0\0\0\x07"),
            frame(4, 1, 0, b""),
            frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]),
            frame(RST_STREAM, 0, 5, &[0, 0, 0, 1]),
            frame(RST_STREAM, 0, 7, &[0, 0, 0, 7]),
            frame(HEADERS, END_HEADERS, 9, b"x"),
        ]
        .concat();
        for piece in 1..=all.len() {
            let mut refusals = Refusals::default();
            all.chunks(piece).for_each(|bytes| refusals.read(bytes));
            assert_eq!((refusals.take(), refusals.take(), refusals.have), ((2, 1), (0, 0), 0), "pieces of {piece}");
        }
    }

    #[test]
    fn what_was_on_its_way_to_a_stream_that_we_ended_is_no_fault() {
        let mut refusals = Refusals::default();
        let mut faults = |code: u8| {
            refusals.read(&frame(RST_STREAM, 0, 1, &[0, 0, 0, code]));
            refusals.take().1
        };
        let (no_error, protocol_error, stream_closed) = (0, 1, 5);
        assert_eq!((faults(stream_closed), faults(protocol_error), faults(stream_closed)), (1, 1, 1));
        assert_eq!(faults(no_error), 0);
        assert_eq!((0..LATE).map(|_| faults(stream_closed)).sum::<u64>(), 0);
        assert_eq!(faults(stream_closed), 1);
        (0..2 * MOST_LATE).for_each(|_| assert_eq!(faults(no_error), 0));
        assert_eq!((0..2 * MOST_LATE).map(|_| faults(stream_closed)).sum::<u64>(), MOST_LATE);
    }

    #[test]
    fn requests_are_counted_in_any_pieces() {
        let all = [
            PREFACE.to_vec(),
            frame(4, 0, 0, b""),
            frame(HEADERS, END_HEADERS, 1, b"one"),
            frame(0, 0, 1, b"\0\0\0\x01\x04\0\0\0\x09"),
            // Fields after a body, and a stream that only we could begin.
            frame(HEADERS, END_HEADERS, 1, b"more"),
            frame(HEADERS, END_HEADERS, 2, b""),
            frame(HEADERS, END_HEADERS, 3, b""),
            frame(HEADERS, 0, 5, b"two"),
            frame(CONTINUATION, 0, 5, b"three"),
        ]
        .concat();
        for piece in 1..=all.len() {
            let mut frames = Frames::default();
            all.chunks(piece).for_each(|bytes| frames.read(bytes));
            assert_eq!((frames.begun, frames.in_head), (3, true), "pieces of {piece}");
            let end = frame(CONTINUATION, END_HEADERS, 5, b"x");
            frames.read(&end[..end.len() - 1]);
            assert!(frames.in_head);
            frames.read(&end[end.len() - 1..]);
            assert_eq!((frames.begun, frames.in_head), (3, false));
        }
    }
}
