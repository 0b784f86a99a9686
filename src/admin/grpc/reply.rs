use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::iter;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::{GrpcBody, Watched};

/// How a call ended, by gRPC's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// Answers in gRPC's form.
pub(super) struct Reply;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl Code {
    /// The code for a body that was refused.
    pub(super) fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            408 => Self::DeadlineExceeded,
            413 => Self::ResourceExhausted,
            503 => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl Reply {
    /// One message, and that all is well.
    pub(super) fn message(message: Bytes) -> Response<GrpcBody> {
        let trailer = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
        let frames = [Ok::<_, Infallible>(Frame::data(message)), Ok(Frame::trailers(trailer))];
        respond(StreamBody::new(iter(frames)).boxed_unsync())
    }

    /// Messages for as long as somebody takes them.
    pub(super) fn endless(messages: GrpcBody) -> Response<GrpcBody> {
        let mut response = respond(messages);
        response.extensions_mut().insert(Watched);
        response
    }

    /// No message: a head that is a trailer, too. `why` is plain ASCII without `%`.
    pub(super) fn failure(code: Code, why: &'static str) -> Response<GrpcBody> {
        let mut response = respond(Empty::new().boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(STATUS, HeaderValue::from(code as u16));
        headers.insert(MESSAGE, HeaderValue::from_static(why));
        response
    }
}

fn respond(body: GrpcBody) -> Response<GrpcBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
