use std::cell::Cell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{ConnectionSettings, Handler, Io};
use crate::tls::ClientCertificate;

/// How long a connection whose time is over may take to finish its last answer.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// Serves one HTTP/1.1 connection to its end, or to the end of its time.
pub(super) async fn serve<H: Handler>(io: Io, peer: Option<IpAddr>, handler: H, settings: ConnectionSettings) {
    let answering = Cell::new(false);
    let certified = io.is_certified();
    let service = service_fn(|mut request: Request<Incoming>| {
        if certified {
            request.extensions_mut().insert(ClientCertificate);
        }
        let handled = handler.handle(request, peer);
        let answering = &answering;
        async move {
            answering.set(true);
            let answer = handled.await;
            answering.set(false);
            Ok::<_, Infallible>(answer)
        }
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
        // Answers have bounds of their own: only a client that does not take one is out of time.
        while tokio::time::timeout(LAST_ANSWER, connection.as_mut()).await.is_err() && answering.get() {}
    }
}
