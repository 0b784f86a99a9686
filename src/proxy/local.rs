use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use httparse::Header;
use hyper::Response;

/// Answers requests that are not for the app. Asked for every request, so it must tell quickly that one is not its own.
pub trait Local: 'static {
    /// The answer, if the path is one of its own. Connection, length and date are added.
    fn answer(&self, request: &LocalRequest<'_>) -> Option<LocalAnswer>;

    /// Whether the path is one of its own.
    fn owns(&self, path: &str) -> bool;

    /// For a plain GET: a number that is another one as soon as the answer is, within one second, if that depends on
    /// nothing else. Then the bytes of the last answer may be sent again.
    fn stamp(&self, _request: &LocalRequest<'_>) -> Option<u64> {
        None
    }
}

/// How a request that is not for the app is answered.
#[derive(Debug)]
pub enum LocalAnswer {
    /// So, at once. A body that comes with the request is not read.
    Now(Response<LocalBody>),
    /// Once its body is there, or something else that takes time.
    Later(Later),
}

/// The body of an answer that is not the app's.
#[derive(Debug)]
pub enum LocalBody {
    /// All of it.
    Whole(Bytes),
    /// As it comes: each piece is sent at once, and the next one is asked for when the client has room for it.
    Pieces(Pieces),
}

impl From<Bytes> for LocalBody {
    fn from(body: Bytes) -> Self {
        Self::Whole(body)
    }
}

/// A body that goes on. Whoever makes one bounds their number, and ends them when the process is told to stop; one that
/// does not end by itself is cut when the worker closes.
pub struct Pieces(BoxStream<'static, Bytes>);

impl Pieces {
    /// These.
    pub fn new(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Box::pin(pieces))
    }

    /// The next one, which is not empty; `None`: that was all.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl Stream for Pieces {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Self::poll_next(self.get_mut(), cx)
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces")
    }
}

/// An answer that waits for something.
pub struct Later {
    most_body: usize,
    begin: Box<dyn FnOnce(Bytes) -> BoxFuture<'static, Response<LocalBody>> + Send>,
}

impl Later {
    /// `begin` is given the body once all of it is there. A body of more than `most_body` bytes is refused and begins
    /// nothing; with 0, the body is not read. Whoever makes this bounds the time and the number of its futures; a future
    /// is dropped when the client leaves.
    pub fn new(
        most_body: usize,
        begin: impl FnOnce(Bytes) -> BoxFuture<'static, Response<LocalBody>> + Send + 'static,
    ) -> Self {
        Self { most_body, begin: Box::new(begin) }
    }

    /// So much of a body is wanted, at most.
    #[must_use]
    pub fn most_body(&self) -> usize {
        self.most_body
    }

    /// Begins with the answer.
    #[must_use]
    pub fn begin(self, body: Bytes) -> BoxFuture<'static, Response<LocalBody>> {
        (self.begin)(body)
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("most_body", &self.most_body).finish_non_exhaustive()
    }
}

/// As much of a request as an answer of our own may depend on.
#[derive(Clone, Copy, Debug)]
pub struct LocalRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, as it was sent.
    pub path: &'a str,
    /// Path and query.
    pub path_and_query: &'a str,
    fields: &'a [Header<'a>],
}

impl<'a> LocalRequest<'a> {
    pub(super) fn new(method: &'a str, path: &'a str, path_and_query: &'a str, fields: &'a [Header<'a>]) -> Self {
        Self { method, path, path_and_query, fields }
    }

    /// Whether it is a GET without a query.
    pub(super) fn is_plain(&self) -> bool {
        self.method == "GET" && self.path.len() == self.path_and_query.len()
    }

    /// The first field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields(name).next()
    }

    /// Every field of that name.
    pub fn fields(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}
