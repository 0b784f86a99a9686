//! One bounded HTTP request to a place of the configuration: for checks, the `probe` command and the demo.
//!
//! A connection of its own each time: a check must notice that nothing accepts connections any more, which a kept
//! connection would hide.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt as _;

use crate::settings::{Scheme, Url};

/// At most so many bytes of a body are read; the rest is not needed to judge.
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
    pub tls: Option<Arc<rustls::ClientConfig>>,
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
    /// Whether the body went on past [`BODY_LIMIT`].
    pub truncated: bool,
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
    /// The URL cannot be asked.
    Url,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Tls(error) => write!(f, "the TLS handshake failed: {error}"),
            Self::Protocol(error) => write!(f, "no HTTP answer: {error}"),
            Self::Url => f.write_str("the URL cannot be asked"),
        }
    }
}

impl std::error::Error for FetchError {}

/// Asks. Without a deadline of its own: callers have one.
///
/// # Errors
/// No connection, no TLS, or no HTTP.
pub async fn fetch(question: &Question) -> Result<Answer, FetchError> {
    match &question.url.scheme {
        Scheme::Unix(path) => exchange(UnixStream::connect(path).await.map_err(FetchError::Connect)?, question).await,
        Scheme::Http => exchange(connect(question).await?, question).await,
        Scheme::Https => {
            let stream = connect(question).await?;
            let config = question.tls.clone().ok_or(FetchError::Url)?;
            let name = ServerName::try_from(question.url.host.clone()).map_err(|_| FetchError::Url)?;
            let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
            exchange(stream.map_err(FetchError::Tls)?, question).await
        }
    }
}

async fn connect(question: &Question) -> Result<TcpStream, FetchError> {
    TcpStream::connect((question.url.host.as_str(), question.url.port)).await.map_err(FetchError::Connect)
}

async fn exchange<S>(stream: S, question: &Question) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = question.url.path.parse().map_err(|_| FetchError::Url)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::try_from(question.url.authority()).map_err(|_| FetchError::Url)?);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("pulsegate/", env!("CARGO_PKG_VERSION"))));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.extend(question.headers.clone());

    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(FetchError::Protocol)?;
    let answer = async {
        let response = sender_service(sender).oneshot(request).await?;
        let (parts, mut body) = response.into_parts();
        let mut bytes = BytesMut::new();
        let mut truncated = false;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > BODY_LIMIT {
                truncated = true;
                break;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body: bytes.freeze(), truncated })
    };
    // The connection and the exchange share one task: dropping this future drops the socket.
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        closed = &mut connection => match closed {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    }
    .map_err(FetchError::Protocol)
}

/// A connection's sender as a tower service, so that callers can lay middleware over it.
fn sender_service(
    mut sender: hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
) -> impl tower::Service<
    Request<Empty<Bytes>>,
    Response = hyper::Response<hyper::body::Incoming>,
    Error = hyper::Error,
    Future: Send,
> + Send {
    tower::service_fn(move |request| sender.send_request(request))
}

/// A TLS client configuration that trusts the system's authorities, or those of one file.
///
/// # Errors
/// A sentence, if there is no usable certificate.
pub fn tls(ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(
                    "this system has no certificate authorities: install ca-certificates, or name a file".into()
                );
            }
        }
        Some(path) => {
            let read = rustls::pki_types::CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
            roots.add_parsable_certificates(read.filter_map(Result::ok));
            if roots.is_empty() {
                return Err(format!("{} holds no certificate in PEM form", path.display()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
