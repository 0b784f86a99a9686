use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::admin::{Admin, AgentCheck, Management, Payload, Port, Watched};
use crate::proxy::{Arrival, ClientStream, Current, Local, LocalAnswer, LocalRequest};
use crate::server::{Channel, Client, Endless, Handler, Io, Serve};

/// The traffic port.
#[derive(Clone)]
pub(super) struct Traffic(pub(super) Rc<Current<Endpoints>>);

impl Serve for Traffic {
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps each argument twice, and every connection has them")]
    fn serve(self, mut io: Io, client: Client) -> impl Future<Output = ()> + 'static {
        async move {
            let (tls, http2) = match client.channel {
                Channel::Plain => (false, false),
                Channel::Tls { http2 } => (true, http2),
            };
            self.0
                .serve(&mut io, Arrival { peer: client.peer, unnamed: client.unnamed, tls, http2 }, &client.hub)
                .await;
        }
    }
}

impl ClientStream for Io {
    fn reset_on_close(&self, reset: bool) {
        Self::reset_on_close(self, reset);
    }

    fn tcp(&self) -> Option<&TcpStream> {
        Self::tcp(self)
    }

    fn has_left(&self) -> bool {
        Self::has_left(self)
    }

    fn is_broken(&self) -> bool {
        Self::is_broken(self)
    }

    fn has_arrived(&self) -> bool {
        Self::has_arrived(self)
    }

    fn may_half_close(&self) -> bool {
        true
    }

    fn owes(&self) -> bool {
        Self::owes(self)
    }
}

/// The endpoints on the traffic port, by their exact paths; everything else is for the app.
pub(super) struct Endpoints(pub(super) Arc<Admin>);

/// The fields that the answer to a GET depends on.
const LOOKED_AT: [&str; 3] = ["x-api-key", "authorization", "origin"];
/// The one that it depends on where an endpoint has several dialects.
const ACCEPT: &str = "accept";
/// And where a session admits.
const COOKIE: &str = "cookie";

/// The fields that other answers depend on: what a body is, that an OPTIONS is a browser's question, and how long a scrape
/// may take, and what a watcher was told last.
const OF_OTHERS: [&str; 4] =
    ["content-type", "access-control-request-method", "x-prometheus-scrape-timeout-seconds", "last-event-id"];

impl Local for Endpoints {
    fn answer(&self, request: &LocalRequest<'_>) -> Option<LocalAnswer> {
        let target = self.0.find(Port::Traffic, request.path)?;
        let mut builder = Request::builder().method(request.method).uri(request.path_and_query);
        for name in LOOKED_AT.into_iter().chain(OF_OTHERS) {
            if let Some(value) = request.field(name) {
                builder = builder.header(name, value);
            }
        }
        if target.negotiates() {
            // Its lines are one list (RFC 9110 section 5.3).
            for value in request.fields(ACCEPT) {
                builder = builder.header(ACCEPT, value);
            }
        }
        if target.takes_sessions() {
            for value in request.fields(COOKIE) {
                builder = builder.header(COOKIE, value);
            }
        }
        // Method, target and fields were parsed before, so this always builds.
        let request = builder.body(()).ok()?;
        Some(self.0.answer(target, &request))
    }

    fn owns(&self, path: &str) -> bool {
        self.0.find(Port::Traffic, path).is_some()
    }

    fn stamp(&self, request: &LocalRequest<'_>) -> Option<u64> {
        let target = self.0.find(Port::Traffic, request.path)?;
        let depends_on_fields = LOOKED_AT.iter().any(|name| request.field(name).is_some())
            || (target.negotiates() && request.field(ACCEPT).is_some())
            || (target.takes_sessions() && request.field(COOKIE).is_some());
        (target.is_report() && !depends_on_fields).then(|| self.0.board.report().number)
    }
}

/// The management port: endpoints only.
#[derive(Clone)]
pub(super) struct AdminOnly(pub(super) Management);

impl Handler for AdminOnly {
    type Body = Payload;

    async fn handle(&self, request: Request<Incoming>, peer: Option<IpAddr>) -> Response<Payload> {
        let management = Management { peer, ..self.0.clone() };
        match management.oneshot(request).await {
            Ok(mut response) => {
                if response.extensions().get::<Watched>().is_some() {
                    response.extensions_mut().insert(Endless);
                }
                response
            }
            Err(never) => match never {},
        }
    }
}

/// HAProxy's agent-check: a line for each connection.
#[derive(Clone)]
pub(super) struct AgentLines(pub(super) AgentCheck);

/// For so long a client may take to take its line, and to close then.
const LINE_PATIENCE: Duration = Duration::from_secs(2);

/// At most so much is read of what a client has to say (`agent-send`): unread, it would reset the line away.
const MOST_SAID: u64 = 4096;

impl Serve for AgentLines {
    async fn serve(self, mut io: Io, _: Client) {
        let told = async {
            io.write_all(self.0.line().as_bytes()).await?;
            io.shutdown().await?;
            tokio::io::copy(&mut io.take(MOST_SAID), &mut tokio::io::sink()).await
        };
        // Who does not want it has gone.
        let _ = tokio::time::timeout(LINE_PATIENCE, told).await;
    }
}
