use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_ENCODING, HOST, HeaderValue, UPGRADE, VIA};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;

use super::admission::{Admission, Gate};
use super::body::{Download, ProxyBody, Upload, UploadFate};
use super::exchange::Exchange;
use super::headers::{Forwarded, asks_for_websocket, strip_hop_by_hop};
use super::login::LoginWitness;
use super::pool::{Lease, Pool, is_worth_another_attempt};
use super::rejection::Rejection;
use super::settings::ProxySettings;
use super::tunnel::tunnel;
use crate::traffic::{Failure, Method as Label, Shard, Traffic};

/// Forwards the requests of one worker.
#[derive(Clone)]
pub struct Proxy {
    shared: Rc<Shared>,
    pool: Rc<Pool>,
    shard: Arc<Shard>,
}

/// What all requests of a worker share.
pub struct Shared {
    pub(super) settings: ProxySettings,
    pub(super) traffic: Arc<Traffic>,
    pub(super) login: LoginWitness,
    admission: Arc<Admission>,
    gate: Arc<Gate>,
    host: HeaderValue,
    via: HeaderValue,
}

/// What is kept of one client connection.
#[derive(Debug)]
pub struct ProxyClient(Forwarded);

impl Proxy {
    /// A proxy for one worker. `pseudonym` names this process in `Via`, so that a request that comes back is known.
    #[must_use]
    pub fn new(
        settings: ProxySettings,
        worker: usize,
        traffic: Arc<Traffic>,
        admission: Arc<Admission>,
        gate: Arc<Gate>,
        pseudonym: &str,
    ) -> Self {
        let shard = traffic.shard(worker);
        let upstream = settings.upstream.0.clone();
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("localhost"));
        let pool = Pool::new(upstream.clone(), settings.timeouts.connect, shard.clone());
        let shared = Shared {
            login: LoginWitness::new(&settings.login),
            host: value(upstream.authority()),
            via: value(format!("1.1 {pseudonym}")),
            settings,
            traffic,
            admission,
            gate,
        };
        Self { shared: Rc::new(shared), pool, shard }
    }

    /// What is to be kept of a client.
    #[must_use]
    pub fn connected(&self, peer: Option<IpAddr>) -> ProxyClient {
        ProxyClient(Forwarded::new(peer, &self.shared.settings.trusted_proxies))
    }

    /// Counts a request that never became one.
    pub fn refused(&self, code: u16, failure: Failure) {
        self.shard.request(Label::Other, code, Some(failure), std::time::Duration::ZERO);
    }

    /// Forwards one request and brings the answer.
    pub async fn forward(&self, request: Request<Incoming>, client: &ProxyClient) -> Response<ProxyBody> {
        let mut exchange = Exchange::begin(self.shard.clone(), Label::of(request.method().as_str()));
        match self.answer(request, client, &mut exchange).await {
            Ok(answer) => self.pass_on(answer, exchange),
            Err(rejection) => {
                exchange.end(rejection.status(), Some(rejection.failure()));
                rejection.response()
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: &ProxyClient,
        exchange: &mut Exchange,
    ) -> Result<Answer, Rejection> {
        let (mut parts, body) = request.into_parts();
        self.check(&parts, &body)?;
        self.shared.admission.may_send(client.0.client(&parts.headers))?;
        exchange.permit = self.shared.admission.enter().await?;

        let asked_a_model = parts.method == Method::POST && self.shared.login.is_model_path(parts.uri.path());
        let upgrade = self.prepare(&mut parts, client)?;
        let (upload, fate) = Upload::new(body, &self.shared, self.shard.clone());
        let (response, lease) = self.send(Request::from_parts(parts, upload), fate.as_deref()).await?;
        exchange.answered();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && upgrade.is_none() {
            return Err(Rejection::InvalidResponse);
        }
        Ok(Answer { response, lease, upgrade, asked_a_model })
    }

    /// What can be refused before anything is done.
    fn check(&self, parts: &Parts, body: &Incoming) -> Result<(), Rejection> {
        if parts.method == Method::CONNECT {
            return Err(Rejection::Connect);
        }
        let mut hosts = parts.headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if is_host(host) => {}
            (None, None) if parts.version == Version::HTTP_10 => {}
            _ => return Err(Rejection::BadHost),
        }
        if self.shared.gate.is_closed() {
            return Err(Rejection::NotReady);
        }
        let limit = self.shared.settings.limits.body_bytes.0;
        if limit > 0 && body.size_hint().lower() > limit {
            return Err(Rejection::BodyTooLarge);
        }
        let via = parts.headers.get_all(VIA).iter();
        if via.into_iter().any(|via| contains(via.as_bytes(), self.shared.via.as_bytes())) {
            return Err(Rejection::Loop);
        }
        Ok(())
    }

    /// Makes the client's request ours; takes out the way to its connection, if it asks for a WebSocket.
    fn prepare(&self, parts: &mut Parts, client: &ProxyClient) -> Result<Option<hyper::upgrade::OnUpgrade>, Rejection> {
        // RFC 9112 section 3.2.2: in absolute form the target's authority is the host.
        if let Some(authority) = parts.uri.authority() {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Rejection::BadHost)?;
            parts.headers.insert(HOST, host);
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            parts.uri = path.parse().map_err(|_| Rejection::BadHost)?;
        } else if !parts.headers.contains_key(HOST) {
            parts.headers.insert(HOST, self.shared.host.clone());
        }
        parts.version = Version::HTTP_11;
        let websocket = parts.method == Method::GET && asks_for_websocket(&parts.headers);
        client.0.rewrite(&mut parts.headers, &self.shared.via);
        let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        if !websocket {
            return Ok(None);
        }
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        Ok(upgrade)
    }

    /// Sends over a kept connection, else over a new one. Tried again is only what the app has not seen, or may see
    /// twice.
    async fn send(
        &self,
        mut request: Request<Upload>,
        fate: Option<&UploadFate>,
    ) -> Result<(Response<Incoming>, Lease), Rejection> {
        let mut attempts = self.shared.settings.retry.attempts;
        loop {
            let mut lease = match self.pool.reuse() {
                Some(lease) => lease,
                None => match self.pool.connect().await {
                    Ok(lease) => lease,
                    Err(rejection) if attempts > 0 && is_worth_another_attempt(rejection) => {
                        attempts -= 1;
                        self.shard.retries.fetch_add(1, Relaxed);
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                    Err(rejection) => return Err(rejection),
                },
            };
            let again = (lease.reused && attempts > 0).then(|| replayable(&request)).flatten();
            let sending = lease.sender().try_send_request(request);
            match self.wait_for_head(sending, fate).await? {
                Ok(response) => return Ok((response, lease)),
                Err(mut failed) => {
                    // What did not leave us, or may be sent twice and met a connection that the app was closing.
                    match failed.take_message().or_else(|| again.filter(|_| !failed.error().is_parse())) {
                        Some(unsent) if lease.reused => request = unsent,
                        _ => {
                            let of_the_body = fate.and_then(|fate| fate.failed.get());
                            return Err(of_the_body.unwrap_or(Rejection::of_exchange(failed.error())));
                        }
                    }
                    self.shard.retries.fetch_add(1, Relaxed);
                    if lease.reused {
                        attempts = attempts.saturating_sub(1);
                    }
                }
            }
        }
    }

    /// The deadline for the head counts from the end of the upload.
    async fn wait_for_head<T>(
        &self,
        sending: impl Future<Output = T>,
        fate: Option<&UploadFate>,
    ) -> Result<T, Rejection> {
        let limit = self.shared.settings.timeouts.response_header;
        if limit.is_zero() {
            return Ok(sending.await);
        }
        tokio::pin!(sending);
        let mut deadline = Instant::now() + limit;
        loop {
            match tokio::time::timeout_at(deadline, &mut sending).await {
                Ok(sent) => return Ok(sent),
                Err(_) => {
                    let now = Instant::now();
                    let uploaded = fate.map(|fate| fate.ended.get());
                    deadline = match uploaded {
                        None => return Err(Rejection::ResponseTimeout),
                        Some(None) => now + limit,
                        Some(Some(at)) => at + limit,
                    };
                    if deadline <= now {
                        return Err(Rejection::ResponseTimeout);
                    }
                }
            }
        }
    }

    fn pass_on(&self, answer: Answer, mut exchange: Exchange) -> Response<ProxyBody> {
        let Answer { mut response, lease, upgrade, asked_a_model } = answer;
        let status = response.status();
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (status, upgrade) {
            let app = hyper::upgrade::on(&mut response);
            let headers = response.headers_mut();
            strip_hop_by_hop(headers);
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            exchange.end(status.as_u16(), None);
            let silence = self.shared.settings.timeouts.stream_idle;
            tokio::task::spawn_local(tunnel(client, app, exchange, silence));
            return response.map(|_| ProxyBody::Own(Default::default()));
        }
        strip_hop_by_hop(response.headers_mut());
        let encoded = response.headers().contains_key(CONTENT_ENCODING);
        let scan = self.shared.login.look(status.as_u16(), asked_a_model, encoded);
        response.map(|body| {
            let mut download = Download::new(body, status.as_u16(), exchange, lease, self.shared.clone());
            download.scan = scan;
            ProxyBody::App(download)
        })
    }
}

/// An answer of the app and what belongs to it.
struct Answer {
    response: Response<Incoming>,
    lease: Lease,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
    asked_a_model: bool,
}

/// Between two attempts to connect.
const RETRY_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// A second copy of a request that may be sent twice: idempotent (RFC 9110 section 9.2.2) and without a body.
fn replayable(request: &Request<Upload>) -> Option<Request<Upload>> {
    let safe = request.method().is_idempotent() && matches!(request.body(), Upload::Empty);
    if !safe || request.headers().contains_key(UPGRADE) {
        return None;
    }
    let mut copy = Request::new(Upload::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// A Host field that names a host: no user, path or white space (RFC 9112 section 3.2).
fn is_host(host: &HeaderValue) -> bool {
    host.as_bytes().iter().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'~' | b'%' | b'!' | b'$' | b'&'..=b'+' | b';' | b'='
            )
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
