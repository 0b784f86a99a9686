use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Ends a thread that is waiting in its runtime.
type End = tokio::sync::oneshot::Sender<()>;

/// The app that the demo stands in front of: JSON, server-sent events, a WebSocket echo, and a switch to fail.
pub(super) struct Sample {
    port: u16,
    _end: End,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Sample {
    /// Starts it on a free port, in a thread of its own.
    pub(super) fn start() -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("sample-app".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener) => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { port, _end: end })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

async fn serve(listener: std::net::TcpListener) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let failing = Arc::new(AtomicBool::new(false));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let failing = failing.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let failing = failing.clone();
            async move {
                // To its end: there are clients of HTTP/2 that wait for ever if they are told "200" before they have sent all.
                while let Some(Ok(_)) = request.body_mut().frame().await {}
                Ok::<_, Infallible>(answer(request, &failing))
            }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        connections.spawn(connection);
        // Ended ones are forgotten as new ones come.
        while connections.try_join_next().is_some() {}
    }
}

fn answer(request: Request<Incoming>, failing: &AtomicBool) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") if failing.load(Relaxed) => json(503, "{\"status\":\"unhealthy\"}"),
        (&Method::GET, "/health") => json(200, "{\"status\":\"healthy\"}"),
        (&Method::POST, "/fail") => {
            failing.store(true, Relaxed);
            json(200, "{\"failing\":true}")
        }
        (&Method::POST, "/recover") => {
            failing.store(false, Relaxed);
            json(200, "{\"failing\":false}")
        }
        (&Method::GET, "/events") => events(),
        (&Method::GET, "/echo") => echo(request),
        _ if failing.load(Relaxed) => json(500, "{\"error\":\"the switch is on: POST /recover\"}"),
        (_, "/") => json(200, "{\"hello\":\"from the sample app\"}"),
        _ => json(404, "{\"error\":\"not found\"}"),
    }
}

fn json(code: u16, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Five events, a fifth of a second apart.
fn events() -> Response<Body> {
    let stream = stream::iter(1..=5).then(|number| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(Frame::data(Bytes::from(format!("data: event {number} of 5\n\n"))))
    });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// A WebSocket that says everything back.
#[expect(clippy::disallowed_methods, reason = "a sample app: a socket ends with its client or with the demo")]
fn echo(mut request: Request<Incoming>) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return json(426, "{\"error\":\"this is a WebSocket\"}");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            let (said, heard) = socket.split();
            let messages = heard.try_filter(|message| std::future::ready(message.is_text() || message.is_binary()));
            // Ends when the client closes; what went wrong then concerns nobody.
            let _ = messages.forward(said).await;
        }
    });
    let mut response = json(101, "");
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
