use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, Either};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::access::{Refusal, Said, Verdict, refuse};
use super::control::Action;
use super::cors::Mark;
use super::host::is_addressed;
use super::merge::Scrape;
use super::report::Asked;
use super::{
    Cors, Credentials, Endpoint, GrpcBody, GrpcHealth, Kind, Means, Merge, Metrics, Operator, Port, Waiting, Watched,
    Watching,
};
use crate::clock::Clock;
use crate::dialect::{Call, Dialect, Query, Service as Identity};
use crate::health::{Audience, Group};
use crate::monitor::Board;
use crate::proxy::{Later, LocalAnswer, LocalBody, Malformed};
use crate::tls::ClientCertificate;
use crate::traffic::Traffic;

/// Everything that the endpoints are answered from. Shared by both ports and all workers.
#[derive(Debug)]
pub struct Admin {
    /// In the order of the configuration.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// The latest report.
    pub board: Arc<Board>,
    /// The counters.
    pub traffic: Arc<Traffic>,
    /// Who we are.
    pub identity: Identity,
    /// Who is trusted.
    pub credentials: Credentials,
    /// Whose pages may read the endpoints.
    pub cors: Cors,
    /// The metrics.
    pub metrics: Metrics,
    /// The clock of the reports.
    pub clock: Clock,
    /// What answers wait for.
    pub waiting: Waiting,
    /// What HAProxy's agent-check speaks of.
    pub agent_group: Group,
    /// Whether the management port answers gRPC.
    pub grpc: bool,
    /// Who watches.
    pub watching: Watching,
}

/// The endpoints as the configuration has them now: replaced when it is reloaded.
#[derive(Debug)]
pub struct CurrentAdmin(ArcSwap<Admin>);

impl CurrentAdmin {
    /// Begins with these.
    #[must_use]
    pub fn new(admin: Admin) -> Self {
        Self(ArcSwap::from_pointee(admin))
    }

    /// The present ones.
    #[must_use]
    pub fn get(&self) -> Arc<Admin> {
        self.0.load_full()
    }

    /// From now on others.
    pub fn replace(&self, admin: Arc<Admin>) {
        self.0.store(admin);
    }
}

/// An endpoint that a request is meant for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub(super) port: Port,
    pub(super) endpoint: &'a Arc<Endpoint>,
    /// What follows the endpoint's path, where its dialect has such paths.
    pub(super) below: Option<&'a str>,
}

impl Target<'_> {
    /// Whether a report is what answers, at the endpoint's own path: the same for everybody who shows no key, until the
    /// report or the second changes. Paths below it can be any number.
    #[must_use]
    pub fn is_report(&self) -> bool {
        matches!(self.endpoint.kind, Kind::Report(_)) && self.below.is_none()
    }

    /// Whether the answer depends on `Accept`.
    #[must_use]
    pub fn negotiates(&self) -> bool {
        matches!(&self.endpoint.kind, Kind::Report(dialects) if dialects.are_several())
    }

    /// Whether the answer depends on `Cookie`.
    #[must_use]
    pub fn takes_sessions(&self) -> bool {
        self.endpoint.access.admits(Means::Session)
    }

    /// The methods that are answered.
    fn methods(&self) -> &'static str {
        let is_called = self.endpoint.called().is_some() && self.below.is_none();
        if is_called { "GET, HEAD, POST" } else { "GET, HEAD" }
    }
}

/// A call of a dialect by POST is a small text.
const LARGEST_CALL: usize = 64 * 1024;

impl Admin {
    /// The endpoint of a path at a port. Exact paths only: `/health/`, `//health` and `/%68ealth` are traffic.
    #[must_use]
    pub fn find<'a>(&'a self, port: Port, path: &'a str) -> Option<Target<'a>> {
        let mut nearest: Option<Target<'a>> = None;
        // Each request of a client comes through here: most of them leave the loop's first line for the next round.
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.is_at(port)) {
            let Some(rest) = path.strip_prefix(endpoint.path.as_str()) else { continue };
            // A path of its own comes before a check that happens to be named like its end; of several, the longest.
            if rest.is_empty() {
                return Some(Target { port, endpoint, below: None });
            }
            let is_nearer = nearest.is_none_or(|other| other.endpoint.path.len() < endpoint.path.len());
            if is_nearer && let Some(target) = self.below(port, endpoint, rest) {
                nearest = Some(target);
            }
        }
        nearest
    }

    /// What follows the path of an endpoint, where its dialect has paths below its own.
    fn below<'a>(&self, port: Port, endpoint: &'a Arc<Endpoint>, rest: &'a str) -> Option<Target<'a>> {
        let Kind::Report(dialects) = &endpoint.kind else {
            return None;
        };
        let rest = rest.strip_prefix('/')?;
        let known = dialects.have_below(&self.board.report(), &endpoint.group, rest);
        known.then_some(Target { port, endpoint, below: Some(rest) })
    }

    /// Answers a request for an endpoint.
    #[must_use]
    pub fn answer<B>(self: &Arc<Self>, target: Target<'_>, request: &Request<B>) -> LocalAnswer {
        let mark = self.cors.mark(request.headers(), target.negotiates());
        if let Some(response) = self.cors.preflight(request, target.methods()) {
            return LocalAnswer::Now(finished(response.map(LocalBody::Whole), mark));
        }
        match self.respond(target, request) {
            LocalAnswer::Now(response) => LocalAnswer::Now(finished(response, mark)),
            LocalAnswer::Later(later) => LocalAnswer::Later(Later::new(later.most_body(), move |body| {
                Box::pin(async move { finished(later.begin(body).await, mark) })
            })),
        }
    }

    fn respond<B>(self: &Arc<Self>, target: Target<'_>, request: &Request<B>) -> LocalAnswer {
        let endpoint = target.endpoint;
        let callable = endpoint.called().filter(|_| target.below.is_none());
        let called = callable.filter(|_| request.method() == Method::POST);
        if called.is_none() && request.method() != Method::GET && request.method() != Method::HEAD {
            return at_once(not_allowed(target.methods()));
        }
        let (now, certified) = (self.clock.now().unix, is_certified(request));
        let audience = match self.credentials.judge(endpoint.access, request.headers(), certified, now) {
            Verdict::Admitted(audience) => audience,
            Verdict::Ask(asked, cookies) => {
                let said = async move { asked.ask(cookies).await };
                return LocalAnswer::Later(self.after(said, target, request));
            }
            Verdict::Refused(refusal) => return at_once(refuse(endpoint.access, refusal)),
        };
        self.admitted(target, audience, request)
    }

    fn admitted<B>(self: &Arc<Self>, target: Target<'_>, audience: Audience, request: &Request<B>) -> LocalAnswer {
        let callable = target.endpoint.called().filter(|_| target.below.is_none());
        match callable.filter(|_| request.method() == Method::POST) {
            Some(dialect) => LocalAnswer::Later(self.call(target.endpoint, dialect, audience, request)),
            None => match (&target.endpoint.kind, &self.metrics.merge) {
                (Kind::Metrics, Some(merge)) => {
                    LocalAnswer::Later(self.merged_metrics(merge.clone(), merge.scrape(target.port, request.headers())))
                }
                (Kind::Events, _) => LocalAnswer::Now(self.watch(target, audience, request)),
                _ => at_once(self.read(target, audience, request)),
            },
        }
    }

    /// The answer once the app has said what it thinks of the caller's session.
    fn after<B>(
        self: &Arc<Self>,
        said: impl Future<Output = Said> + Send + 'static,
        target: Target<'_>,
        request: &Request<B>,
    ) -> Later {
        let (admin, endpoint) = (self.clone(), target.endpoint.clone());
        let (port, below) = (target.port, target.below.map(str::to_owned));
        let mut again = Request::new(());
        (*again.method_mut(), *again.uri_mut()) = (request.method().clone(), request.uri().clone());
        *again.headers_mut() = request.headers().clone();
        let most_body = if request.method() == Method::POST { LARGEST_CALL } else { 0 };
        Later::new(most_body, move |body| {
            let waiting = admin.clone();
            waiting.waiting.answer(async move {
                let target = Target { port, endpoint: &endpoint, below: below.as_deref() };
                match said.await {
                    Said::Admits => match admin.admitted(target, Audience::Trusted, &again) {
                        LocalAnswer::Now(response) => response,
                        LocalAnswer::Later(later) => later.begin(body).await,
                    },
                    Said::Refuses => refuse(endpoint.access, Refusal::Unknown(None)).map(LocalBody::Whole),
                    Said::Nothing => problem(503, "session_unknown", "the app cannot say whether the session is valid")
                        .map(LocalBody::Whole),
                }
            })
        })
    }

    fn read<B>(&self, target: Target<'_>, audience: Audience, request: &Request<B>) -> Response<Bytes> {
        match &target.endpoint.kind {
            Kind::Report(dialects) => self.report(target, dialects, audience, request),
            Kind::Metrics => exposition(self.metrics.render(&self.board.report(), self.clock.now())),
            Kind::Events | Kind::Off => problem(404, "not_found", "there is no such endpoint"),
        }
    }

    /// Our metrics with the app's, once those are there.
    fn merged_metrics(self: &Arc<Self>, merge: Arc<Merge>, scrape: Scrape) -> Later {
        let admin = self.clone();
        Later::new(0, move |_| {
            Box::pin(async move {
                let mut text = admin.metrics.render(&admin.board.report(), admin.clock.now());
                merge.add(&mut text, scrape, admin.metrics.names()).await;
                exposition(text).map(LocalBody::Whole)
            })
        })
    }

    /// A dialect that is called, once the call is there.
    fn call<B>(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        dialect: &'static dyn Dialect,
        audience: Audience,
        request: &Request<B>,
    ) -> Later {
        let (admin, endpoint) = (self.clone(), endpoint.clone());
        let media_type = request.headers().get(CONTENT_TYPE).cloned();
        Later::new(LARGEST_CALL, move |body| {
            let (report, now) = (admin.board.report(), admin.clock.now());
            let asked = Asked { endpoint: &endpoint, group: &endpoint.group, audience, query: Query::default() };
            let answer = admin.rendered(asked, &report, now, |view| {
                let media_type = media_type.as_ref().map(HeaderValue::as_bytes);
                dialect.call(view, &Call { media_type, body: &body })
            });
            Box::pin(ready(full(answer.code, answer.media_type, answer.body).map(LocalBody::Whole)))
        })
    }
}

/// An answer that waits for nothing.
fn at_once(response: Response<Bytes>) -> LocalAnswer {
    LocalAnswer::Now(response.map(LocalBody::Whole))
}

/// Whether the caller showed a client certificate, at the management port.
pub(super) fn is_certified<B>(request: &Request<B>) -> bool {
    request.extensions().get::<ClientCertificate>().is_some()
}

/// What every answer says beyond itself.
fn finished<B>(mut response: Response<B>, mark: Mark) -> Response<B> {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    mark.put(headers);
    response
}

/// Exactly this media type: Prometheus 3 refuses a scrape without it.
fn exposition(text: String) -> Response<Bytes> {
    full(200, "text/plain; version=0.0.4; charset=utf-8", text.into())
}

fn not_allowed(methods: &'static str) -> Response<Bytes> {
    let mut response = problem(405, "method_not_allowed", &format!("this endpoint answers {methods}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// An answer without a media type has no body.
pub(super) fn full(code: u16, media_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !media_type.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    response
}

pub(super) fn problem(code: u16, name: &str, message: &str) -> Response<Bytes> {
    let body = format!("{{\"error\":{{\"code\":\"{name}\",\"message\":\"{message}\"}}}}");
    full(code, "application/json", body.into())
}

/// The endpoints of one port as a service, for middleware and for the management port.
#[derive(Clone, Debug)]
pub struct Management {
    /// What answers.
    pub admin: Arc<CurrentAdmin>,
    /// At which port.
    pub port: Port,
    /// What the endpoints below `/-/` have done.
    pub operator: Operator,
    /// Who asks; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// The health service.
    pub health: GrpcHealth,
}

/// What answers of the management port are made of.
pub type Payload = http_body_util::Either<Full<Bytes>, GrpcBody>;

impl<B> tower::Service<Request<B>> for Management
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Payload>;
    type Error = Infallible;
    type Future =
        Either<Ready<Result<Self::Response, Infallible>>, BoxFuture<'static, Result<Self::Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.port == Port::Admin && !is_addressed(&request) {
            let refused = problem(400, Malformed::Host.code(), Malformed::Host.sentence());
            return Either::Left(ready(Ok(paid(refused.map(LocalBody::Whole)))));
        }
        let admin = self.admin.get();
        if self.port == Port::Admin
            && let Some(action) = Action::at(request.uri().path())
        {
            let answer = self.operator.answer(action, &request, self.peer, &admin.credentials);
            return Either::Right(Box::pin(async move { Ok(paid(answer.await.map(LocalBody::Whole))) }));
        }
        if self.port == Port::Admin && GrpcHealth::is_call(&request) {
            let answer = self.health.clone().answer(self.admin.clone(), request);
            return Either::Right(Box::pin(async move { Ok(answer.await.map(Payload::Right)) }));
        }
        let answer = match admin.find(self.port, request.uri().path()) {
            Some(target) => admin.answer(target, &request),
            None => at_once(problem(404, "not_found", "there is no such endpoint on this port")),
        };
        match answer {
            LocalAnswer::Now(response) => Either::Left(ready(Ok(paid(response)))),
            LocalAnswer::Later(later) => Either::Right(Box::pin(async move {
                let body = match later.most_body() {
                    0 => Ok(Bytes::new()),
                    most => admin.waiting.body(request.into_body(), most).await,
                };
                let response = match body {
                    Ok(body) => later.begin(body).await,
                    Err(refused) => refused.map(LocalBody::Whole),
                };
                Ok(paid(response))
            })),
        }
    }
}

/// An answer in the form of the management port. What goes on is marked, so that its connection does.
fn paid(response: Response<LocalBody>) -> Response<Payload> {
    let (mut parts, body) = response.into_parts();
    let payload = match body {
        LocalBody::Whole(body) => Payload::Left(Full::new(body)),
        LocalBody::Pieces(pieces) => {
            parts.extensions.insert(Watched);
            Payload::Right(StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync())
        }
    };
    Response::from_parts(parts, payload)
}
