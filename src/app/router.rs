use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tower::ServiceExt as _;

use crate::admin::{Admin, Management, Port};
use crate::proxy::{Proxy, ProxyBody, ProxyClient};
use crate::server::{Client, Handler, Refusal};

/// The traffic port: endpoints by their exact paths, everything else to the app.
#[derive(Clone)]
pub(super) struct Router {
    pub(super) admin: Arc<Admin>,
    pub(super) proxy: Proxy,
}

impl Handler for Router {
    type Body = ProxyBody;
    type Connection = ProxyClient;

    fn connected(&self, client: &Client) -> ProxyClient {
        self.proxy.connected(client.peer)
    }

    async fn handle(&self, request: Request<Incoming>, client: Rc<ProxyClient>) -> Response<ProxyBody> {
        if let Some(target) = self.admin.find(Port::Traffic, request.uri().path()) {
            return self.admin.answer(target, &request).map(ProxyBody::Own);
        }
        self.proxy.forward(request, &client).await
    }

    fn refused(&self, refusal: Refusal) {
        let (code, failure) = refusal.counts_as();
        self.proxy.refused(code, failure);
    }
}

/// The management port: endpoints only.
#[derive(Clone)]
pub(super) struct AdminOnly(pub(super) Management);

impl Handler for AdminOnly {
    type Body = Full<Bytes>;
    type Connection = Option<IpAddr>;

    fn connected(&self, client: &Client) -> Option<IpAddr> {
        client.peer
    }

    async fn handle(&self, request: Request<Incoming>, _: Rc<Option<IpAddr>>) -> Response<Full<Bytes>> {
        match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
