use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};

use super::control::Action;
use super::endpoint::Rendering;
use super::{Endpoint, Keys, Kind, Metrics, Operator, Port, Requirement, Waiting};
use crate::clock::Clock;
use crate::dialect::{Answer, Call, Dialect, Query, Service as Identity, View};
use crate::health::{Audience, Moment, Report};
use crate::monitor::Board;
use crate::proxy::{Later, LocalAnswer};
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
    pub keys: Keys,
    /// Origins whose pages may read the endpoints.
    pub cors_origins: Vec<String>,
    /// The metrics.
    pub metrics: Metrics,
    /// The clock of the reports.
    pub clock: Clock,
    /// What answers wait for.
    pub waiting: Waiting,
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
    endpoint: &'a Arc<Endpoint>,
    check: Option<&'a str>,
}

impl Target<'_> {
    /// Whether a report is what answers: the same for everybody who shows no key, until the report or the second changes.
    #[must_use]
    pub fn is_report(&self) -> bool {
        matches!(self.endpoint.kind, Kind::Dialect(_))
    }
}

/// At most so many `exclude` parameters are looked at.
const MOST_EXCLUDES: usize = 32;

/// A call of a dialect by POST is a small text.
const LARGEST_CALL: usize = 64 * 1024;

impl Admin {
    /// The endpoint of a path at a port. Exact paths only: `/health/`, `//health` and `/%68ealth` are traffic.
    #[must_use]
    pub fn find<'a>(&'a self, port: Port, path: &'a str) -> Option<Target<'a>> {
        let mut endpoints = self.endpoints.iter().filter(|endpoint| endpoint.is_at(port));
        // A path of its own comes before a check that happens to be named like its end.
        match endpoints.clone().find(|endpoint| endpoint.path == path) {
            Some(endpoint) => Some(Target { endpoint, check: None }),
            None => endpoints.find_map(|endpoint| self.check_below(endpoint, path)),
        }
    }

    /// The check that a path below an endpoint names, where the dialect has such paths.
    fn check_below<'a>(&self, endpoint: &'a Arc<Endpoint>, path: &'a str) -> Option<Target<'a>> {
        let Kind::Dialect(dialect) = endpoint.kind else {
            return None;
        };
        let name = path.strip_prefix(&endpoint.path)?.strip_prefix('/')?;
        let known =
            dialect.has_check_paths() && self.board.report().members(&endpoint.group).any(|check| &*check.name == name);
        known.then_some(Target { endpoint, check: Some(name) })
    }

    /// Answers a request for an endpoint.
    #[must_use]
    pub fn answer<B>(self: &Arc<Self>, target: Target<'_>, request: &Request<B>) -> LocalAnswer {
        let origin = self.allowed_origin(request);
        match self.respond(target, request) {
            LocalAnswer::Now(response) => LocalAnswer::Now(finished(response, origin)),
            LocalAnswer::Later(later) => LocalAnswer::Later(Later::new(later.most_body(), |body| {
                Box::pin(async move { finished(later.begin(body).await, origin) })
            })),
        }
    }

    fn respond<B>(self: &Arc<Self>, Target { endpoint, check }: Target<'_>, request: &Request<B>) -> LocalAnswer {
        let called = endpoint.called().filter(|_| request.method() == Method::POST && check.is_none());
        if called.is_none() && request.method() != Method::GET && request.method() != Method::HEAD {
            return LocalAnswer::Now(not_allowed(endpoint.called().is_some() && check.is_none()));
        }
        let audience = self.keys.audience(request.headers());
        if endpoint.requirement == Requirement::ApiKey && audience != Audience::Trusted {
            let mut response =
                problem(401, "unauthorized", "this endpoint needs an API key: X-API-Key, or Authorization: Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"pulsegate\""));
            return LocalAnswer::Now(response);
        }
        match called {
            Some(dialect) => LocalAnswer::Later(self.call(endpoint, dialect, audience, request)),
            None => LocalAnswer::Now(self.read(endpoint, check, audience, request)),
        }
    }

    fn read<B>(
        &self,
        endpoint: &Endpoint,
        check: Option<&str>,
        audience: Audience,
        request: &Request<B>,
    ) -> Response<Bytes> {
        match endpoint.kind {
            Kind::Dialect(_) => {
                let query = query(request.uri().query().unwrap_or_default(), check);
                self.report(endpoint, audience, query)
            }
            Kind::Metrics => {
                let text = self.metrics.render(&self.board.report(), self.clock.now());
                // Exactly this: Prometheus 3 refuses a scrape without it.
                full(200, "text/plain; version=0.0.4; charset=utf-8", text.into())
            }
            Kind::Off => problem(404, "not_found", "there is no such endpoint"),
        }
    }

    fn report(&self, endpoint: &Endpoint, audience: Audience, query: Query<'_>) -> Response<Bytes> {
        let report = self.board.report();
        let now = self.clock.now();
        let (second, overdue) = (now.unix.as_secs(), report.is_overdue(now));
        let plain = query.is_plain();
        if plain
            && let Some(kept) = &*endpoint.kept_for(audience).load()
            && (kept.report, kept.second, kept.overdue) == (report.number, second, overdue)
        {
            return full(kept.code, kept.media_type, kept.body.clone());
        }
        let Kind::Dialect(dialect) = endpoint.kind else {
            return problem(404, "not_found", "there is no such endpoint");
        };
        let answer = self.rendered(endpoint, audience, query, &report, now, |view| dialect.render(view));
        if plain {
            let (code, media_type, body) = (answer.code, answer.media_type, answer.body.clone());
            let rendering = Rendering { report: report.number, second, overdue, code, media_type, body };
            endpoint.keep(audience, Arc::new(rendering));
        }
        full(answer.code, answer.media_type, answer.body)
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
            let answer = admin.rendered(&endpoint, audience, Query::default(), &report, now, |view| {
                let media_type = media_type.as_ref().map(HeaderValue::as_bytes);
                dialect.call(view, &Call { media_type, body: &body })
            });
            Box::pin(ready(full(answer.code, answer.media_type, answer.body)))
        })
    }

    fn rendered(
        &self,
        endpoint: &Endpoint,
        audience: Audience,
        query: Query<'_>,
        report: &Report,
        now: Moment,
        render: impl FnOnce(&View<'_>) -> Answer,
    ) -> Answer {
        let totals = if endpoint.detail { self.traffic.totals() } else { Default::default() };
        render(&View {
            report,
            totals: &totals,
            service: &self.identity,
            group: &endpoint.group,
            detail: endpoint.detail,
            audience,
            codes: endpoint.codes,
            query,
            now,
        })
    }

    fn allowed_origin<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        let origin = request.headers().get(ORIGIN)?;
        let allowed = |known: &&String| *known == "*" || known.as_bytes() == origin.as_bytes();
        self.cors_origins.iter().find(allowed).map(|_| origin.clone())
    }
}

/// `verbose` and `exclude` of a query; everything else is ignored.
fn query<'a>(text: &'a str, check: Option<&'a str>) -> Query<'a> {
    let mut query = Query { check, ..Query::default() };
    for pair in text.split('&') {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("verbose", _) => query.verbose = true,
            ("exclude", name) if query.exclude.len() < MOST_EXCLUDES => query.exclude.push(name),
            _ => {}
        }
    }
    query
}

/// What every answer says beyond itself.
fn finished(mut response: Response<Bytes>, origin: Option<HeaderValue>) -> Response<Bytes> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn not_allowed(is_called: bool) -> Response<Bytes> {
    let (message, allow) = if is_called {
        ("this endpoint answers GET, HEAD and POST", "GET, HEAD, POST")
    } else {
        ("this endpoint answers GET and HEAD", "GET, HEAD")
    };
    let mut response = problem(405, "method_not_allowed", message);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
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
}

impl<B> tower::Service<Request<B>> for Management
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future =
        Either<Ready<Result<Self::Response, Infallible>>, BoxFuture<'static, Result<Self::Response, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let admin = self.admin.get();
        if self.port == Port::Admin
            && let Some(action) = Action::at(request.uri().path())
        {
            let answer = self.operator.answer(action, &request, self.peer, &admin.keys);
            return Either::Right(Box::pin(async move { Ok(answer.await.map(Full::new)) }));
        }
        let answer = match admin.find(self.port, request.uri().path()) {
            Some(target) => admin.answer(target, &request),
            None => LocalAnswer::Now(problem(404, "not_found", "there is no such endpoint on this port")),
        };
        match answer {
            LocalAnswer::Now(response) => Either::Left(ready(Ok(response.map(Full::new)))),
            LocalAnswer::Later(later) => Either::Right(Box::pin(async move {
                let body = match later.most_body() {
                    0 => Ok(Bytes::new()),
                    most => admin.waiting.body(request.into_body(), most).await,
                };
                let response = match body {
                    Ok(body) => later.begin(body).await,
                    Err(refused) => refused,
                };
                Ok(response.map(Full::new))
            })),
        }
    }
}
