//! The least that can be written on pingora-proxy: one upstream, kept connections, two answers of its own.
//!
//! `pingora-peer PORT UPSTREAM LIVEZ HEALTH`, the last two the bodies of /livez and /health.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Peer {
    upstream: String,
    livez: Bytes,
    health: Bytes,
}

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora_core::Result<bool> {
        let body = match session.req_header().uri.path() {
            "/livez" => self.livez.clone(),
            "/health" => self.health.clone(),
            _ => return Ok(false),
        };
        let mut head = ResponseHeader::build(200, Some(2))?;
        head.insert_header(CONTENT_TYPE, "text/plain")?;
        head.insert_header(CONTENT_LENGTH, body.len())?;
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(body), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> pingora_core::Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        Ok(())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, upstream, livez, health] = arguments.as_slice() else {
        eprintln!("usage: pingora-peer PORT UPSTREAM LIVEZ HEALTH");
        std::process::exit(2);
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let peer = Peer {
        upstream: upstream.clone(),
        livez: Bytes::from(livez.clone().into_bytes()),
        health: Bytes::from(health.clone().into_bytes()),
    };
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), peer);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever();
}
