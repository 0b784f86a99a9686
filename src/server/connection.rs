use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{ConnectionSettings, Handler, Io};

/// How long a connection whose time is over may take to finish its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// Serves one HTTP/1.1 connection to its end, or to the end of its time.
pub(super) async fn serve<H: Handler>(io: Io, handler: H, settings: ConnectionSettings) {
    let service = service_fn(|request: Request<Incoming>| {
        let handled = handler.handle(request);
        async move { Ok::<_, Infallible>(handled.await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.request_header)
            .max_buf_size(settings.header_bytes.max(8192))
            .max_header_size(settings.header_bytes)
            .serve_connection(TokioIo::new(io), service)
    );
    // What goes wrong on a connection concerns its client, who is gone.
    if tokio::time::timeout(settings.lifetime, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
    }
}
