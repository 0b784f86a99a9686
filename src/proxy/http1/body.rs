use super::Malformed;
use super::chunked::Chunked;

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// There is none.
    Empty,
    /// So many bytes, more than 0.
    Length(u64),
    /// Chunks, with their sizes before them.
    Chunked,
    /// Whatever comes until the connection closes; answers only.
    UntilClose,
}

/// Follows a body through the bytes that carry it.
#[derive(Debug)]
pub(in crate::proxy) enum BodyReader {
    Length(u64),
    Chunked(Box<Chunked>),
    UntilClose,
    Done,
}

/// What was made of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Progress {
    /// So many bytes belong to the body; what comes after is something else.
    pub(in crate::proxy) consumed: usize,
    /// So many bytes, now at the beginning of the buffer, are to be passed on.
    pub(in crate::proxy) passed: usize,
    /// To be passed on after them.
    pub(in crate::proxy) trailer: Vec<u8>,
}

impl BodyReader {
    /// `keep_chunks`: whether chunk sizes are passed on with the data.
    pub(in crate::proxy) fn new(framing: Framing, keep_chunks: bool) -> Self {
        match framing {
            Framing::Empty => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(Chunked::new(keep_chunks))),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Leaves out of the trailer what `Connection` names: fields of a trailer as well are for one connection only then.
    pub(in crate::proxy) fn without(mut self, named: Option<Vec<u8>>) -> Self {
        if let (Self::Chunked(chunked), Some(named)) = (&mut self, named) {
            chunked.leave_out(named);
        }
        self
    }

    pub(in crate::proxy) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How much is still to come, where that is known.
    pub(in crate::proxy) fn left(&self) -> Option<u64> {
        if let Self::Length(left) = self { Some(*left) } else { None }
    }

    /// So much of what is left has passed without being seen here.
    pub(in crate::proxy) fn pass(&mut self, length: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(length);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    /// Takes in bytes. What is to be passed on is moved to their beginning; `on_data` sees the data alone.
    pub(in crate::proxy) fn advance(
        &mut self,
        bytes: &mut [u8],
        mut on_data: impl FnMut(&[u8]),
    ) -> Result<Progress, Malformed> {
        let taken = match self {
            Self::Done => 0,
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len()),
            Self::UntilClose => bytes.len(),
            Self::Chunked(chunked) => {
                let progress = chunked.advance(bytes, on_data)?;
                if chunked.is_done() {
                    *self = Self::Done;
                }
                return Ok(progress);
            }
        };
        if taken > 0 {
            on_data(&bytes[..taken]);
        }
        if let Self::Length(left) = self {
            *left -= taken as u64;
            if *left == 0 {
                *self = Self::Done;
            }
        }
        Ok(Progress { consumed: taken, passed: taken, trailer: Vec::new() })
    }

    /// The connection has closed cleanly; tells whether the body is complete.
    pub(in crate::proxy) fn close(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Done;
        }
        self.is_done()
    }
}
