use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::Response;
use hyper::body::Body;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::service::problem;
use crate::proxy::LocalBody;

/// What endpoints wait for before they answer, bounded in number and time.
#[derive(Debug)]
pub struct Waiting {
    bodies: Semaphore,
    answers: Arc<Semaphore>,
}

/// At most so many bodies are waited for at the management port at the same time.
const MOST_BODIES: usize = 128;

/// For so long a body may come there.
const LONGEST_BODY: Duration = Duration::from_secs(20);

/// At most so many answers wait for something other than their request.
const MOST_ANSWERS: usize = 64;

/// For so long.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

impl Default for Waiting {
    fn default() -> Self {
        Self { bodies: Semaphore::new(MOST_BODIES), answers: Arc::new(Semaphore::new(MOST_ANSWERS)) }
    }
}

impl Waiting {
    /// An answer that asks somebody else first: refused when too many do, given up when it takes too long.
    pub fn answer(
        &self,
        answer: impl Future<Output = Response<LocalBody>> + Send + 'static,
    ) -> BoxFuture<'static, Response<LocalBody>> {
        let Ok(place) = self.answers.clone().try_acquire_owned() else {
            let full = problem(503, "overloaded", "too many requests wait for an answer already");
            return Box::pin(std::future::ready(full.map(LocalBody::Whole)));
        };
        Box::pin(async move {
            let answer = timeout(LONGEST_ANSWER, answer).await;
            drop(place);
            answer.unwrap_or_else(|_| {
                let late = "what this endpoint has to ask first does not answer";
                problem(503, "answer_timeout", late).map(LocalBody::Whole)
            })
        })
    }

    /// A body of at most so many bytes, or why it is refused.
    pub(super) async fn body<B>(&self, body: B, most: usize) -> Result<Bytes, Response<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Ok(_place) = self.bodies.try_acquire() else {
            return Err(problem(503, "overloaded", "too many requests wait for their bodies already"));
        };
        match timeout(LONGEST_BODY, Limited::new(body, most).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(problem(413, "body_too_large", "the request's body is too large"))
            }
            Ok(Err(_)) => Err(problem(400, "bad_body", "the request's body is not complete")),
            Err(_) => Err(problem(408, "request_body_timeout", "the request's body came too slowly")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::{Full, StreamBody};
    use hyper::Response;
    use hyper::body::Frame;

    use super::{MOST_ANSWERS, MOST_BODIES, Waiting};
    use crate::proxy::LocalBody;

    #[tokio::test(start_paused = true)]
    async fn answers_wait_in_bounded_number_and_time() {
        let waiting = Waiting::default();
        let fine = waiting.answer(async { Response::new(Bytes::from_static(b"fine").into()) }).await;
        let LocalBody::Whole(body) = fine.body() else { panic!("it is whole") };
        assert_eq!((fine.status().as_u16(), &body[..]), (200, &b"fine"[..]));
        let hung: Vec<_> = (0..MOST_ANSWERS).map(|_| waiting.answer(std::future::pending())).collect();
        assert_eq!(waiting.answer(std::future::pending()).await.status(), 503, "no place is left");
        for answer in hung {
            assert_eq!(answer.await.status(), 503);
        }
        let fine = waiting.answer(async { Response::new(Bytes::new().into()) }).await;
        assert_eq!(fine.status(), 200, "places are given back");
        drop((0..MOST_ANSWERS).map(|_| waiting.answer(std::future::pending())).collect::<Vec<_>>());
        let fine = waiting.answer(async { Response::new(Bytes::new().into()) }).await;
        assert_eq!(fine.status(), 200, "also by who leaves");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_have_a_size_a_number_and_a_time() {
        let waiting = Waiting::default();
        let body = |length: usize| Full::new(Bytes::from(vec![b'x'; length]));
        assert_eq!(waiting.body(body(10), 10).await.map(|body| body.len()).ok(), Some(10));
        assert_eq!(waiting.body(body(11), 10).await.map_err(|refused| refused.status().as_u16()), Err(413));
        let silent = || StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        assert_eq!(waiting.body(silent(), 10).await.map_err(|refused| refused.status().as_u16()), Err(408));
        let _places = waiting.bodies.acquire_many(MOST_BODIES as u32).await;
        assert_eq!(waiting.body(body(1), 10).await.map_err(|refused| refused.status().as_u16()), Err(503));
    }
}
