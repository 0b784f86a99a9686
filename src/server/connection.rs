use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, Sleep};

use super::hub::{Hub, Phase};
use super::io::Io;
use super::watch::{Doing, Expired, Watch};
use super::{Client, ConnectionSettings, Handler, Refusal};

/// Serves one HTTP/1.1 connection to its end.
pub(super) async fn serve<H: Handler>(
    io: Io,
    watch: Arc<Watch>,
    handler: H,
    connection: Rc<H::Connection>,
    client: Client,
    settings: ConnectionSettings,
) {
    let service = service_fn(|request: Request<Incoming>| {
        watch.set(Doing::Busy);
        let (answering, hub) = (Answering(watch.clone()), client.hub.clone());
        let handled = handler.handle(request, connection.clone());
        async move {
            let mut response = handled.await;
            // An upgraded connection is no longer ours to close.
            if hub.phase() != Phase::Serving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Answer { body, _answering: answering }))
        }
    });
    let mut served = http1::Builder::new()
        .max_buf_size(settings.header_bytes.max(8192))
        .max_header_size(settings.header_bytes)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();

    let timed = Timed { watch: &watch, settings: &settings, sleep: None, hub: &client.hub, key: None };
    let end = timed.drive(&mut served, |served| Pin::new(served).graceful_shutdown()).await;
    match end {
        End::Closed(Ok(())) if watch.doing() == Doing::Head => handler.refused(Refusal::Abandoned),
        End::Closed(Ok(())) => {}
        End::Closed(Err(error)) if error.is_parse_too_large() => handler.refused(Refusal::HeadTooLarge),
        End::Closed(Err(error)) if error.is_parse() => handler.refused(Refusal::Malformed),
        End::Closed(Err(_)) if watch.doing() == Doing::Head => handler.refused(Refusal::Abandoned),
        End::Closed(Err(_)) => {}
        End::HeadTooSlow => {
            handler.refused(Refusal::HeadTooSlow);
            if let Some(parts) = served.into_parts() {
                say_too_slow(parts.io.into_inner()).await;
            }
        }
        // Dropping the connection resets it, which is what a client that reads nothing can still notice.
        End::WriteTooSlow => {}
    }
}

/// How a connection ended.
enum End {
    Closed(hyper::Result<()>),
    HeadTooSlow,
    WriteTooSlow,
}

/// The whole answer to a head that never ended, after which the connection closes.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\
    connection: close\r\n\r\n{\"error\":{\"code\":\"request_header_timeout\",\"message\":\"the request's head came too slowly\"}}";

async fn say_too_slow(mut io: Io) {
    // A client that does not even read this much is not waited for.
    let said = async {
        io.write_all(TOO_SLOW).await?;
        io.shutdown().await
    };
    let _ = tokio::time::timeout(LAST_WORDS, said).await;
}

/// How long a closing connection may take for its last answer.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);

/// A connection, its one timer, and its place in the hub.
struct Timed<'a> {
    watch: &'a Watch,
    settings: &'a ConnectionSettings,
    sleep: Option<Pin<Box<Sleep>>>,
    hub: &'a Hub,
    key: Option<usize>,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.hub.leave(key);
        }
    }
}

impl Timed<'_> {
    async fn drive<F>(mut self, served: &mut F, shut_down: impl Fn(&mut F)) -> End
    where
        F: Future<Output = hyper::Result<()>> + Unpin,
    {
        let mut closing = false;
        std::future::poll_fn(|cx| {
            if self.key.is_none() {
                self.key = Some(self.hub.join(cx.waker()));
            }
            loop {
                if let Poll::Ready(result) = Pin::new(&mut *served).poll(cx) {
                    return Poll::Ready(End::Closed(result));
                }
                // Only after polling: a request that is already here is still answered.
                if !closing && self.hub.phase() == Phase::Closing {
                    closing = true;
                    shut_down(served);
                    continue;
                }
                match self.poll_deadline(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Expired::Idle) if closing => {
                        return Poll::Ready(End::Closed(Ok(())));
                    }
                    Poll::Ready(Expired::Idle) => {
                        closing = true;
                        shut_down(served);
                    }
                    Poll::Ready(Expired::Head) => return Poll::Ready(End::HeadTooSlow),
                    Poll::Ready(Expired::Write) => return Poll::Ready(End::WriteTooSlow),
                }
            }
        })
        .await
    }

    /// Arms the timer for the present deadline, if it is not armed for an earlier one, and looks when it fires.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        loop {
            let Some((deadline, expired)) = self.watch.deadline(self.settings) else {
                return Poll::Pending;
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                return Poll::Ready(expired);
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// An answer's body; when it is complete or given up, the connection is idle again.
struct Answer<B> {
    body: B,
    _answering: Answering,
}

struct Answering(Arc<Watch>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.set(Doing::Idle);
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
