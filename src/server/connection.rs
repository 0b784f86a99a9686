use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::begun::{Begun, Protocol};
use super::held::{Busy, Held, Work};
use super::{ConnectionSettings, Endless, Handler, Io};
use crate::tls::ClientCertificate;

/// How long a connection whose time is over may take to finish its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// Requests of one HTTP/2 connection at the same time.
const MOST_STREAMS: u32 = 32;

/// What a client may send of one body, and of all bodies of a connection, before anybody has taken any of it.
const STREAM_WINDOW: u32 = 65_535;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// So much of an answer may wait for the socket.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that are reset before they could be accepted, and those that we reset for what the client did wrong on them:
/// more are an attack (rapid reset).
const MOST_RESET_UNSEEN: usize = 20;
const MOST_RESET_BY_US: usize = 100;

/// A client that may be quiet for long, because it watches, is asked so often whether it is there, and has so long to say
/// so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);

/// Serves one connection to its end, or to the end of its time: HTTP/1.1, or HTTP/2 where that was agreed on or where the
/// connection begins so.
pub(super) async fn serve<H: Handler>(
    io: Io,
    peer: Option<IpAddr>,
    agreed: bool,
    handler: H,
    settings: ConnectionSettings,
) {
    let (work, certified) = (io.work(), io.is_certified());
    let service = {
        let work = work.clone();
        service_fn(move |mut request: Request<Incoming>| {
            if certified {
                request.extensions_mut().insert(ClientCertificate);
            }
            let (handler, busy) = (handler.clone(), Busy::new(work.clone()));
            async move {
                // One request each, then it is another connection's turn: who sends many at once holds up nobody.
                yield_now().await;
                let answer: Response<_> = handler.handle(request, peer).await;
                let busy = answer.extensions().get::<Endless>().map(|_| busy);
                Ok::<_, Infallible>(answer.map(|body| Held::new(body, busy)))
            }
        })
    };
    let (protocol, io) = if agreed {
        (Protocol::Http2, Begun::agreed(io))
    } else {
        match timeout(settings.request_header, Begun::look(io)).await {
            Ok(Ok(begun)) => begun,
            // Nothing was asked.
            Ok(Err(_)) | Err(_) => return,
        }
    };
    let io = TokioIo::new(io);
    match protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(settings.request_header)
                .max_buf_size(settings.header_bytes.max(8192))
                .max_header_size(settings.header_bytes);
            let connection = pin!(builder.serve_connection(io, service));
            run(connection, http1::Connection::graceful_shutdown, settings.lifetime, &work).await;
        }
        Protocol::Http2 => {
            let connection = pin!(http2_builder(settings).serve_connection(io, service));
            run(connection, http2::Connection::graceful_shutdown, settings.lifetime, &work).await;
        }
    }
}

/// A client that takes nothing of an answer that goes on is looked at so often before it is given up.
const MOST_STUCK: u32 = 6;

/// Runs a connection to its end. When its time is over it takes no more requests, and those that it has are finished:
/// answers have bounds of their own, so only a client that does not take one is out of time. An answer that goes on does so
/// for as long as somebody takes it.
async fn run<C: Future>(mut connection: Pin<&mut C>, leave: impl FnOnce(Pin<&mut C>), lifetime: Duration, work: &Work) {
    // What goes wrong on a connection concerns its client, who is gone.
    if timeout(lifetime, connection.as_mut()).await.is_err() {
        leave(connection.as_mut());
        let mut stuck = 0;
        while timeout(LAST_ANSWER, connection.as_mut()).await.is_err() && work.is_any() && stuck < MOST_STUCK {
            stuck = if work.is_going() { 0 } else { stuck + 1 };
        }
    }
}

/// Every limit of the library that a client could go against, said here.
fn http2_builder(settings: ConnectionSettings) -> http2::Builder<Local> {
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(settings.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MOST_RESET_UNSEEN)
        .max_local_error_reset_streams(MOST_RESET_BY_US)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// Runs what the streams of a connection are made of on its own thread.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    #[expect(clippy::disallowed_methods, reason = "a stream ends with its connection")]
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}
