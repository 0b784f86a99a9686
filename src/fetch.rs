//! One bounded HTTP request to a place of the configuration: for checks, the `probe` command and the demo.
//!
//! A connection of its own each time: a check must notice that nothing accepts connections any more, which a kept
//! connection would hide.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::http::response::Parts;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::loopback::connect_unix;
use crate::settings::{Scheme, Url};
use crate::tls::{Client, expires};

/// At most so many bytes of a body are read, unless the caller wants more; the rest is not needed to judge.
pub const BODY_LIMIT: usize = 256 * 1024;

/// What to ask.
#[derive(Clone, Debug)]
pub struct Question {
    /// GET or HEAD, mostly.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// More fields.
    pub headers: HeaderMap,
    /// For `https`.
    pub tls: Option<Arc<Client>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The code.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether the body went on past the limit.
    pub truncated: bool,
    /// Over TLS: when the server's certificate ends to be valid, in seconds since 1970.
    pub certificate_expires: Option<u64>,
}

/// Why no answer came.
#[derive(Debug)]
pub enum FetchError {
    /// No connection.
    Connect(std::io::Error),
    /// A connection, but no TLS on it.
    Tls(std::io::Error),
    /// A connection, but no HTTP on it.
    Protocol(hyper::Error),
    /// A connection, but no HTTP/2 on it.
    Http2(h2::Error),
    /// The URL cannot be asked.
    Url,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Tls(error) => write!(f, "the TLS handshake failed: {error}"),
            Self::Protocol(error) => write!(f, "no HTTP answer: {error}"),
            Self::Http2(error) => write!(f, "no HTTP/2 answer: {error}"),
            Self::Url => f.write_str("the URL cannot be asked"),
        }
    }
}

impl std::error::Error for FetchError {}

impl FetchError {
    /// Whether the connection was closed or reset before the answer was whole. What came until then may have been HTTP.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
        let io = match self {
            Self::Protocol(error) if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
                return true;
            }
            Self::Protocol(error) => error.source().and_then(|source| source.downcast_ref::<std::io::Error>()),
            Self::Http2(error) => error.get_io(),
            Self::Connect(_) | Self::Tls(_) | Self::Url => None,
        };
        io.is_some_and(|error| {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
        })
    }
}

/// Asks. Without a deadline of its own: callers have one.
///
/// # Errors
/// No connection, no TLS, or no HTTP.
pub async fn fetch(question: &Question) -> Result<Answer, FetchError> {
    fetch_up_to(question, BODY_LIMIT).await
}

/// Asks, and reads at most so many bytes of the body.
///
/// # Errors
/// No connection, no TLS, or no HTTP.
pub async fn fetch_up_to(question: &Question, limit: usize) -> Result<Answer, FetchError> {
    match &question.url.scheme {
        Scheme::H2c => exchange_http2(connect(question).await?, question, limit).await,
        _ => over_http1(question, Bytes::new(), limit).await,
    }
}

/// Sends a body, over HTTP/1.1.
///
/// # Errors
/// No connection, no TLS, or no HTTP.
pub async fn send(question: &Question, body: Bytes) -> Result<Answer, FetchError> {
    over_http1(question, body, BODY_LIMIT).await
}

async fn over_http1(question: &Question, body: Bytes, limit: usize) -> Result<Answer, FetchError> {
    match &question.url.scheme {
        Scheme::Unix(path) => {
            let stream = connect_unix(path).await.map_err(FetchError::Connect)?;
            exchange(stream, question, body, limit).await
        }
        Scheme::H2c => Err(FetchError::Url),
        Scheme::Http => exchange(connect(question).await?, question, body, limit).await,
        Scheme::Https => {
            let stream = connect(question).await?;
            let tls = question.tls.as_ref().ok_or(FetchError::Url)?;
            let stream = tls.connect(&question.url.host, stream, false).await.map_err(FetchError::Tls)?;
            let certificate_expires = expires(&stream);
            exchange(stream, question, body, limit).await.map(|answer| Answer { certificate_expires, ..answer })
        }
    }
}

/// Asks through a byte stream that is there already.
///
/// # Errors
/// No HTTP.
pub async fn fetch_through<S>(stream: S, question: &Question) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    exchange(stream, question, Bytes::new(), BODY_LIMIT).await
}

async fn connect(question: &Question) -> Result<TcpStream, FetchError> {
    TcpStream::connect((question.url.host.as_str(), question.url.port)).await.map_err(FetchError::Connect)
}

async fn exchange<S>(stream: S, question: &Question, body: Bytes, limit: usize) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question.url.path.parse().map_err(|_| FetchError::Url)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(question.url.authority()).map_err(|_| FetchError::Url)?);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    add_fields(headers, question);

    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(FetchError::Protocol)?;
    let answer = async {
        let response = sender_service(sender).oneshot(request).await?;
        let (parts, mut body) = response.into_parts();
        let mut taken = Taken::new(limit);
        while let Some(frame) = body.frame().await {
            if frame?.into_data().is_ok_and(|data| !taken.take(&data)) {
                break;
            }
        }
        Ok(taken.answer(parts))
    };
    together(answer, connection).await.map_err(FetchError::Protocol)
}

async fn exchange_http2(stream: TcpStream, question: &Question, limit: usize) -> Result<Answer, FetchError> {
    let mut request = Request::new(());
    *request.method_mut() = question.method.clone();
    let uri = format!("http://{}{}", question.url.authority(), question.url.path);
    *request.uri_mut() = uri.parse().map_err(|_| FetchError::Url)?;
    add_fields(request.headers_mut(), question);

    let (mut sender, connection) = h2::client::handshake(stream).await.map_err(FetchError::Http2)?;
    let answer = async {
        let (response, _) = sender.send_request(request, true)?;
        let (parts, mut body) = response.await?.into_parts();
        let mut taken = Taken::new(limit);
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            if !taken.take(&data) {
                break;
            }
        }
        Ok(taken.answer(parts))
    };
    together(answer, connection).await.map_err(FetchError::Http2)
}

/// What came of a body, up to its limit.
struct Taken {
    bytes: BytesMut,
    limit: usize,
    truncated: bool,
}

impl Taken {
    fn new(limit: usize) -> Self {
        Self { bytes: BytesMut::new(), limit, truncated: false }
    }

    /// Takes in more; tells whether there is room for what comes next.
    fn take(&mut self, data: &[u8]) -> bool {
        self.truncated = self.bytes.len() + data.len() > self.limit;
        if !self.truncated {
            self.bytes.extend_from_slice(data);
        }
        !self.truncated
    }

    fn answer(self, parts: Parts) -> Answer {
        let Self { bytes, truncated, .. } = self;
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: bytes.freeze(),
            truncated,
            certificate_expires: None,
        }
    }
}

/// The connection and the exchange share one task: dropping this future drops the socket.
pub(crate) async fn together<T, E>(
    answer: impl Future<Output = Result<T, E>>,
    connection: impl Future<Output = Result<(), E>>,
) -> Result<T, E> {
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        closed = &mut connection => match closed {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    }
}

fn add_fields(headers: &mut HeaderMap, question: &Question) {
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pulsegate/", env!("CARGO_PKG_VERSION"))));
    headers.extend(question.headers.clone());
}

/// A connection's sender as a tower service, so that callers can lay middleware over it.
fn sender_service(
    mut sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
) -> impl tower::Service<
    Request<Full<Bytes>>,
    Response = hyper::Response<hyper::body::Incoming>,
    Error = hyper::Error,
    Future: Send,
> + Send {
    tower::service_fn(move |request| sender.send_request(request))
}
