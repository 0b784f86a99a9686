use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Check, Defaults, Kind, Prepare, Resources, refused};
use crate::fetch::together;
use crate::health::{Fact, Facts, Finding, Reason};
use crate::settings::{Scheme, Url};
use crate::tls::{Client, ClientTls, Name};

pub(super) const KIND: Kind = Kind::of::<Grpc>(
    "grpc",
    "Asks a gRPC server by the standard health service, grpc.health.v1.Health/Check.",
    Defaults { interval: "10s", timeout: "2s", failure_threshold: "3", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `grpc` check.
    pub struct Grpc {
        /// The server: h2c://host:port, or https://host:port. Default: the app itself.
        url: Option<Url>,
        /// The service that is asked for; empty: the server as a whole.
        service: String = "",
        /// For https: a file of certificates to trust in place of the system's authorities.
        ca: Option<PathBuf>,
        /// For https: the name that the certificate must have. Default: the host of the URL.
        server_name: Option<Name>,
    }
}

/// A service's name is shorter.
const LONGEST_SERVICE: usize = 256;

impl Prepare for Grpc {
    fn files(&self) -> Vec<PathBuf> {
        self.ca.iter().cloned().collect()
    }

    fn asks_the_app(&self) -> bool {
        self.url.is_none()
    }

    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        let url = self.url.as_ref().unwrap_or(&resources.upstream);
        if !matches!(url.scheme, Scheme::H2c | Scheme::Https) || url.path != "/" {
            return Err("`grpc.url` must be h2c://host:port or https://host:port, without a path".into());
        }
        if self.service.len() > LONGEST_SERVICE {
            return Err("`grpc.service` must not be longer than 256 bytes".into());
        }
        let tls = if url.scheme == Scheme::Https {
            let settings = ClientTls {
                ca: self.ca.clone(),
                cert: None,
                key: None,
                server_name: self.server_name.clone(),
                http2: true,
            };
            // The app itself is verified as its traffic is, if it is spoken to by HTTP/2.
            let apps = resources.upstream_tls.as_ref().filter(|_| self.url.is_none() && settings.ca.is_none());
            Some(match apps.filter(|tls| tls.may_offer_http2()) {
                Some(tls) => tls.clone(),
                None => Arc::new(Client::load(&settings).map_err(|error| format!("`grpc.ca`: {error}"))?),
            })
        } else {
            None
        };
        Ok(Box::new(GrpcCheck { url: url.clone(), tls, message: request(&self.service) }))
    }
}

struct GrpcCheck {
    url: Url,
    tls: Option<Arc<Client>>,
    message: Bytes,
}

/// What came back.
#[derive(Debug, Default)]
struct Answer {
    code: u16,
    grpc: bool,
    status: Option<u32>,
    body: BytesMut,
}

/// Why nothing came back.
enum Failure {
    Connect(std::io::Error),
    Tls(std::io::Error),
    Http(h2::Error),
    Impossible,
}

impl Check for GrpcCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let answer = self.ask().await;
            let mut facts = Facts::default();
            facts.public("latency_ms", super::millis(begun.elapsed()));
            match answer {
                Ok(answer) => {
                    let served = answer.serving();
                    facts.public("grpc_status", answer.status.map(u64::from));
                    facts.public("serving_status", served.map_or(Fact::Null, |serving| word(serving).into()));
                    match judge(&answer, served) {
                        None => Finding::pass(facts),
                        Some(reason) => Finding::fail(reason, facts),
                    }
                }
                Err(failure) => self.unreachable(&failure, facts),
            }
        })
    }
}

impl GrpcCheck {
    async fn ask(&self) -> Result<Answer, Failure> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await.map_err(Failure::Connect)?;
        match &self.tls {
            None => self.exchange(stream).await,
            Some(tls) => self.exchange(tls.connect(&self.url.host, stream, true).await.map_err(Failure::Tls)?).await,
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin>(&self, stream: S) -> Result<Answer, Failure> {
        let request = self.request().ok_or(Failure::Impossible)?;
        let (mut sender, connection) = h2::client::handshake(stream).await.map_err(Failure::Http)?;
        let message = self.message.clone();
        let answer = async {
            let (response, mut body) = sender.send_request(request, false)?;
            body.send_data(message, true)?;
            let response = response.await?;
            let mut answer = Answer::new(&response);
            let mut body = response.into_body();
            while let Some(data) = body.data().await {
                let data = data?;
                body.flow_control().release_capacity(data.len())?;
                if answer.body.len() + data.len() > LARGEST_MESSAGE {
                    return Ok(answer);
                }
                answer.body.extend_from_slice(&data);
            }
            if let Some(trailers) = body.trailers().await? {
                answer.status = status(&trailers).or(answer.status);
            }
            Ok(answer)
        };
        together(answer, connection).await.map_err(Failure::Http)
    }

    fn request(&self) -> Option<Request<()>> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}/grpc.health.v1.Health/Check", self.url.authority());
        let request = Request::builder().method(Method::POST).uri(uri);
        let agent = concat!("pulsegate/", env!("CARGO_PKG_VERSION"));
        let request = request.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers").header(USER_AGENT, agent);
        request.body(()).ok()
    }

    fn unreachable(&self, failure: &Failure, facts: Facts) -> Finding {
        let (code, public, error) = match failure {
            Failure::Connect(error) => ("connect_failed", "cannot connect", error.to_string()),
            Failure::Tls(error) => ("tls_failed", "TLS handshake failed", error.to_string()),
            Failure::Http(error) => ("not_http2", "does not answer in HTTP/2", error.to_string()),
            Failure::Impossible => ("bad_url", "has a URL that cannot be asked", String::new()),
        };
        let reason = Reason::new(code, public).with_private(format!("{}: {error}", self.url.authority()));
        match failure {
            Failure::Connect(error) => refused(error, reason, facts),
            _ => Finding::fail(reason, facts),
        }
    }
}

/// The one message of an answer is a few bytes long; of more nothing is kept.
const LARGEST_MESSAGE: usize = 4096;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

fn status(fields: &HeaderMap) -> Option<u32> {
    fields.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

impl Answer {
    fn new<T>(response: &hyper::Response<T>) -> Self {
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        Self {
            code: response.status().as_u16(),
            grpc: kind.starts_with(b"application/grpc"),
            // An answer without a message has its status in its head.
            status: status(response.headers()),
            body: BytesMut::new(),
        }
    }

    /// The status of the one message: a flag of compression, the length, and `HealthCheckResponse`.
    fn serving(&self) -> Option<u64> {
        let (head, message) = self.body.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        (head[0] == 0 && length as usize == message.len()).then(|| first_field(message)).flatten()
    }
}

fn judge(answer: &Answer, serving: Option<u64>) -> Option<Reason> {
    Some(match (answer.status, serving) {
        _ if answer.code != StatusCode::OK.as_u16() => {
            Reason::new("unexpected_status", format!("answers with status {}", answer.code))
        }
        _ if !answer.grpc => Reason::new("not_grpc", "does not answer in gRPC"),
        (Some(0), Some(SERVING)) => return None,
        (Some(0), Some(NOT_SERVING)) => Reason::new("not_serving", "says that it does not serve"),
        (Some(0), Some(SERVICE_UNKNOWN)) | (Some(5), _) => Reason::new("service_unknown", "does not know the service"),
        (Some(0), Some(_)) => Reason::new("serving_unknown", "does not say whether it serves"),
        (Some(12), _) => Reason::new("no_health_service", "has no health service"),
        (Some(0), None) | (None, _) => Reason::new("not_grpc", "answers with something that cannot be understood"),
        (Some(code), _) => Reason::new("grpc_status", format!("answers with gRPC status {code}")),
    })
}

/// `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;
const NOT_SERVING: u64 = 2;
const SERVICE_UNKNOWN: u64 = 3;

fn word(serving: u64) -> &'static str {
    match serving {
        SERVING => "SERVING",
        NOT_SERVING => "NOT_SERVING",
        SERVICE_UNKNOWN => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// `HealthCheckRequest { string service = 1; }` with the length before it. An empty field is not written.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        // At most 256: two bytes of a varint.
        let length = service.len();
        if length >= 0x80 {
            message.extend([length as u8 & 0x7f | 0x80, (length >> 7) as u8]);
        } else {
            message.push(length as u8);
        }
        message.extend(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed.into()
}

/// The number in field 1; 0, the default, if it is not there. `None` for what is no message.
fn first_field(mut message: &[u8]) -> Option<u64> {
    let mut found = 0;
    while !message.is_empty() {
        let (tag, rest) = varint(message)?;
        message = match tag & 7 {
            0 => {
                let (value, rest) = varint(rest)?;
                if tag >> 3 == 1 {
                    found = value;
                }
                rest
            }
            1 => rest.get(8..)?,
            2 => {
                let (length, rest) = varint(rest)?;
                rest.get(usize::try_from(length).ok()?..)?
            }
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    Some(found)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::{Answer, first_field, judge, request};

    #[test]
    fn messages_are_as_protobuf_has_them() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        assert_eq!(first_field(&[]), Some(0));
        assert_eq!(first_field(&[0x08, 1]), Some(1));
        assert_eq!(first_field(&[0x12, 2, 8, 8, 0x08, 0x96, 0x01]), Some(150));
        assert_eq!(first_field(&[0x08]), None);
        assert_eq!(first_field(&[0x12, 9, 1]), None);
    }

    #[test]
    fn answers_are_told_apart() {
        let code = |http, grpc, status, body: &[u8]| {
            let answer = Answer { code: http, grpc, status, body: BytesMut::from(body) };
            judge(&answer, answer.serving()).map(|reason| reason.code)
        };
        let message = |status| [0, 0, 0, 0, 2, 8, status];
        assert_eq!(code(200, true, Some(0), &message(1)), None);
        assert_eq!(code(200, true, Some(0), &message(2)), Some("not_serving"));
        assert_eq!(code(200, true, Some(0), &message(3)), Some("service_unknown"));
        assert_eq!(code(200, true, Some(0), &[0, 0, 0, 0, 0]), Some("serving_unknown"));
        assert_eq!(code(200, true, Some(5), b""), Some("service_unknown"));
        assert_eq!(code(200, true, Some(12), b""), Some("no_health_service"));
        assert_eq!(code(200, true, Some(14), b""), Some("grpc_status"));
        assert_eq!(code(200, true, None, &message(1)), Some("not_grpc"), "it broke off");
        assert_eq!(code(200, true, Some(0), &message(1)[..6]), Some("not_grpc"));
        assert_eq!(code(200, true, Some(0), &[1, 0, 0, 0, 2, 8, 1]), Some("not_grpc"), "compressed");
        assert_eq!(code(200, false, Some(0), &message(1)), Some("not_grpc"));
        assert_eq!(code(503, true, Some(0), &message(1)), Some("unexpected_status"));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = first_field(&body);
            let _ = Answer { body: BytesMut::from(&body[..]), ..Answer::default() }.serving();
        }
    }
}
