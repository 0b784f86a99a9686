use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::certificates::CertificateFiles;
use super::{local, tls_front};

/// An app that speaks HTTP/2 and nothing else, and does what the test says.
pub(crate) struct H2App {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    handler: Box<dyn Fn(H2Exchange) -> BoxFuture<'static, ()> + Send + Sync>,
    rules: H2Rules,
    connections: AtomicUsize,
    requests: AtomicUsize,
    resets: Mutex<Vec<Reason>>,
}

/// How it treats its connections.
#[derive(Clone, Default)]
pub(crate) struct H2Rules {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub(crate) most_streams: Option<u32>,
    /// GOAWAY after so many requests of a connection.
    pub(crate) goaway_after: Option<usize>,
    /// Windows of streams and connections.
    pub(crate) window: Option<u32>,
    /// At this port, for an app that comes back.
    pub(crate) port: u16,
    /// With this certificate, by TLS and ALPN.
    pub(crate) tls: Option<CertificateFiles>,
}

/// One request that is being answered.
pub(crate) struct H2Exchange {
    /// How many came before it.
    pub(crate) number: usize,
    pub(crate) head: Parts,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
}

impl H2App {
    pub(crate) fn start<F>(handler: impl Fn(H2Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_with(H2Rules::default(), handler)
    }

    pub(crate) fn start_with<F>(rules: H2Rules, handler: impl Fn(H2Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(local(rules.port)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            handler: Box::new(move |exchange| Box::pin(handler(exchange))),
            rules,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            resets: Mutex::default(),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// One that answers with what it was sent.
    pub(crate) fn echo() -> Self {
        Self::start(|mut exchange| async move {
            let (body, trailers) = exchange.read().await;
            let mut send = exchange.begin(200, &[], false);
            send_all(&mut send, body, trailers.is_none()).await;
            if let Some(trailers) = trailers {
                let _ = send.send_trailers(trailers);
            }
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("h2c://127.0.0.1:{}", self.port())
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(SeqCst)
    }

    /// Why streams were reset that the app watched.
    pub(crate) fn resets(&self) -> Vec<Reason> {
        self.shared.resets.lock().expect("the resets").clone()
    }
}

impl Drop for H2App {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl H2Exchange {
    /// The whole body, and its trailer.
    pub(crate) async fn read(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut body = Vec::new();
        while let Some(Ok(data)) = self.body.data().await {
            let _ = self.body.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        (body, self.body.trailers().await.unwrap_or(None))
    }

    /// Begins the answer.
    pub(crate) fn begin(&mut self, code: u16, fields: &[(&'static str, &str)], end: bool) -> SendStream<Bytes> {
        let mut response = Response::new(());
        *response.status_mut() = code.try_into().expect("a code");
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().expect("a value"));
        }
        self.respond.send_response(response, end).expect("a stream that is open")
    }

    /// A whole answer.
    pub(crate) async fn answer(&mut self, code: u16, fields: &[(&'static str, &str)], body: &[u8]) {
        let mut send = self.begin(code, fields, body.is_empty());
        if !body.is_empty() {
            send_all(&mut send, body.to_vec(), true).await;
        }
    }

    /// Remembers why the stream is reset.
    pub(crate) async fn watch_reset(&mut self) {
        if let Ok(reason) = std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await {
            self.shared.resets.lock().expect("the resets").push(reason);
        }
    }
}

/// Sends a body as the window allows.
pub(crate) async fn send_all(send: &mut SendStream<Bytes>, body: Vec<u8>, end: bool) {
    let mut body = Bytes::from(body);
    while !body.is_empty() {
        send.reserve_capacity(body.len());
        while send.capacity() == 0 {
            let Some(Ok(_)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else { return };
        }
        let part = body.split_to(send.capacity().min(body.len()));
        let last = end && body.is_empty();
        if send.send_data(part, last).is_err() {
            return;
        }
        if last {
            return;
        }
    }
    if end {
        let _ = send.send_data(Bytes::new(), true);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let acceptor = shared.rules.tls.as_ref().map(|issued| {
        let mut config = tls_front::config(issued, None);
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    });
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, acceptor) = (shared.clone(), acceptor.clone());
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let mut builder = h2::server::Builder::new();
    if let Some(most) = shared.rules.most_streams {
        builder.max_concurrent_streams(most);
    }
    if let Some(window) = shared.rules.window {
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
    }
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    shared.connections.fetch_add(1, SeqCst);
    let mut served = 0;
    while let Some(accepted) = connection.accept().await {
        let Ok((request, respond)) = accepted else { return };
        let (head, body) = Request::into_parts(request);
        let number = shared.requests.fetch_add(1, SeqCst);
        let exchange = H2Exchange { number, head, body, respond, shared: shared.clone() };
        tokio::spawn((shared.handler)(exchange));
        served += 1;
        if shared.rules.goaway_after == Some(served) {
            connection.graceful_shutdown();
        }
    }
}
