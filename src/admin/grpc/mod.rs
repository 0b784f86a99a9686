//! `grpc.health.v1` at the management port: Check, Watch and List, over HTTP/2.
//!
//! Decision 0019 says why its messages are written by hand.

mod message;
mod reply;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::message::{ReadError, ServingStatus, read_service, write_list, write_serving};
use self::reply::{Code, Reply};
use super::{Admin, CurrentAdmin};
use crate::dialect::{Query, StatusCodes, View};
use crate::health::{Audience, Group, Moment, Report};

/// The health service, and who may watch.
#[derive(Clone, Debug)]
pub struct GrpcHealth {
    watchers: Arc<Semaphore>,
}

impl Default for GrpcHealth {
    fn default() -> Self {
        Self { watchers: Arc::new(Semaphore::new(MOST_WATCHERS)) }
    }
}

/// At most so many watch at the same time.
const MOST_WATCHERS: usize = 64;

/// At most so many services are listed.
const MOST_LISTED: usize = 1000;

/// A request is a name.
const LARGEST_REQUEST: usize = 4096;

const SERVICE: &str = "/grpc.health.v1.Health/";

/// Marks an answer, as an extension, that goes on for as long as somebody takes it.
#[derive(Clone, Copy, Debug)]
pub struct Watched;

/// What gRPC's answers are made of.
pub type GrpcBody = UnsyncBoxBody<Bytes, Infallible>;

impl GrpcHealth {
    /// Whether a request is gRPC's: over HTTP/2, with its media type.
    pub(super) fn is_call<B>(request: &Request<B>) -> bool {
        let media_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let known = media_type.strip_prefix(b"application/grpc");
        let is_grpc = known.is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';');
        is_grpc && request.version() == Version::HTTP_2 && request.method() == Method::POST
    }

    /// Answers a call.
    pub(super) async fn answer<B>(self, admin: Arc<CurrentAdmin>, request: Request<B>) -> Response<GrpcBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let current = admin.get();
        let path = request.uri().path();
        let method = path.strip_prefix(SERVICE).filter(|_| current.grpc).map(str::to_owned);
        let Some(method) = method.filter(|method| ["Check", "Watch", "List"].contains(&&**method)) else {
            return Reply::failure(Code::Unimplemented, "there is no such method here");
        };
        let body = match current.waiting.body(request.into_body(), LARGEST_REQUEST + message::PREFIX).await {
            Ok(body) => body,
            Err(refused) => return Reply::failure(Code::of_http(refused.status()), "the request was not read"),
        };
        let service = match read_service(&body) {
            Ok(service) => service,
            Err(ReadError::Compressed) => {
                return Reply::failure(Code::Unimplemented, "compressed messages are not read");
            }
            Err(ReadError::Malformed) => return Reply::failure(Code::Internal, "the request is not well-formed"),
        };
        match &*method {
            "Check" => check(&current, &service),
            "List" => list(&current),
            _ => self.watch(admin, service),
        }
    }

    /// Tells the status at once, and then whenever it is another one.
    fn watch(self, admin: Arc<CurrentAdmin>, service: String) -> Response<GrpcBody> {
        let Ok(place) = self.watchers.try_acquire_owned() else {
            return Reply::failure(Code::ResourceExhausted, "as many watch as may already");
        };
        let watch = Watch { admin, service, told: None, _place: place };
        let stream = unfold(watch, |mut watch| async move {
            let serving = watch.next().await;
            Some((Ok(Frame::data(write_serving(serving))), watch))
        });
        Reply::endless(StreamBody::new(stream).boxed_unsync())
    }
}

/// Somebody who watches.
struct Watch {
    admin: Arc<CurrentAdmin>,
    service: String,
    told: Option<ServingStatus>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// Waits until there is something else to tell.
    async fn next(&mut self) -> ServingStatus {
        loop {
            let admin = self.admin.get();
            let report = admin.board.report().clone();
            let now = admin.clock.now();
            let serving = serving(&admin, &report, now, &self.service).unwrap_or(ServingStatus::Missing);
            if self.told != Some(serving) {
                self.told = Some(serving);
                return serving;
            }
            let another = admin.board.wait_for(|latest| latest.number != report.number);
            // A dead engine publishes nothing: that is noticed by the clock.
            match report.overdue_at.filter(|_| !report.is_overdue(now)) {
                Some(overdue) => {
                    let _ = tokio::time::timeout_at(admin.clock.instant(overdue) + WITHIN, another).await;
                }
                None => {
                    another.await;
                }
            }
        }
    }
}

/// A report is overdue when it is later than that: so much later it is looked at again.
const WITHIN: std::time::Duration = std::time::Duration::from_millis(1);

fn check(admin: &Admin, service: &str) -> Response<GrpcBody> {
    match serving(admin, &admin.board.report(), admin.clock.now(), service) {
        Some(serving) => Reply::message(write_serving(serving)),
        None => Reply::failure(Code::NotFound, "there is no group and no check of that name"),
    }
}

fn list(admin: &Admin) -> Response<GrpcBody> {
    let (report, now) = (admin.board.report(), admin.clock.now());
    let groups = report.groups.iter().map(|group| group.group.name());
    let is_group = |name: &str| report.groups.iter().any(|group| group.group.name() == name);
    let checks = report.checks.iter().map(|check| &*check.name).filter(|name| !is_group(name));
    let names: Vec<&str> = std::iter::once("").chain(groups).chain(checks).collect();
    if names.len() > MOST_LISTED {
        return Reply::failure(Code::ResourceExhausted, "there are too many services to list");
    }
    let statuses = names.into_iter().filter_map(|name| Some((name, serving(admin, &report, now, name)?)));
    Reply::message(write_list(statuses))
}

/// The status of a group or of a check; `""` is readiness. `None`: there is nothing of that name.
fn serving(admin: &Admin, report: &Report, now: Moment, service: &str) -> Option<ServingStatus> {
    let group = if service.is_empty() { Group::Readiness } else { Group::of(service) };
    let fine = if report.groups.iter().any(|known| known.group == group) {
        let view = View {
            report,
            totals: &Default::default(),
            service: &admin.identity,
            group: &group,
            detail: false,
            audience: Audience::Public,
            codes: StatusCodes::default(),
            options: &Default::default(),
            query: Query::default(),
            now,
        };
        view.status().is_up()
    } else {
        // What a dead engine last knew of a check is no more true than what it last knew of all.
        report.check(service)?.weighted().is_up() && !report.is_overdue(now)
    };
    Some(if fine { ServingStatus::Up } else { ServingStatus::Down })
}
