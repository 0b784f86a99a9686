use bytes::Bytes;
use httparse::Header;
use hyper::Response;

/// Answers requests that are not for the app. Asked for every request, so it must tell quickly that one is not its own.
pub trait Local: 'static {
    /// The answer, if the path is one of its own. Connection, length and date are added.
    fn answer(&self, request: &LocalRequest<'_>) -> Option<Response<Bytes>>;

    /// Whether the path is one of its own.
    fn owns(&self, path: &str) -> bool;

    /// For a plain GET: a number that is another one as soon as the answer is, within one second, if that depends on
    /// nothing else. Then the bytes of the last answer may be sent again.
    fn stamp(&self, _request: &LocalRequest<'_>) -> Option<u64> {
        None
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
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}
