use std::net::IpAddr;

/// How a client came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Its address; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether that is a balancer's that cannot name its client, so that what the client tells is not the balancer's word.
    pub unnamed: bool,
    /// Whether it came under TLS.
    pub tls: bool,
    /// Whether HTTP/2 was agreed on before the first byte. Without TLS, the first bytes tell.
    pub http2: bool,
}

impl Arrival {
    /// As `X-Forwarded-Proto` and `Forwarded` name it.
    pub(super) fn scheme(self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}
