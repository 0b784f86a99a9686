use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;

use super::io::Stream;
use super::proxy_protocol::{NoHeader, Parsed, is_local, parse};
use super::secure::Secure;
use super::{Client, Io};
use crate::tls::Server;

/// What a connection passes before it can speak HTTP: the PROXY protocol, then TLS.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// The certificate, if TLS is spoken.
    pub tls: Option<Arc<Server>>,
    /// The peers that must say whom they speak for, if any must.
    pub introducers: Option<Vec<IpNet>>,
    /// The time for all of it; zero means without end.
    pub patience: Duration,
}

/// As much of a PROXY header as is looked at at once.
const GLANCE: usize = 512;

impl Door {
    /// Whether there is nothing to pass.
    pub(super) fn is_open(&self) -> bool {
        self.tls.is_none() && self.introducers.is_none()
    }

    /// Lets a connection in, or says why not.
    pub(super) async fn enter(&self, io: Io, client: Client) -> io::Result<(Io, Client)> {
        let entering = self.pass(io, client);
        if self.patience.is_zero() {
            return entering.await;
        }
        tokio::time::timeout(self.patience, entering).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn pass(&self, mut io: Io, mut client: Client) -> io::Result<(Io, Client)> {
        if self.must_introduce(client.peer) {
            match introduced(io.stream()).await? {
                Introduced::As(address) => client.peer = Some(address),
                Introduced::ByNoName => client.unnamed = true,
                // In a health check of its own the balancer is its own client.
                Introduced::ByItself => {}
            }
        }
        if let Some(tls) = &self.tls {
            io =
                io.secure(async |stream| TlsAcceptor::from(tls.config()).accept(stream).await.map(Secure::new)).await?;
            client.channel = io.channel();
        }
        Ok((io, client))
    }

    /// Who can open our Unix socket is on this machine, by our own file permissions.
    fn must_introduce(&self, peer: Option<IpAddr>) -> bool {
        let trusts = |nets: &Vec<IpNet>| peer.is_none_or(|peer| nets.iter().any(|net| net.contains(&peer)));
        self.introducers.as_ref().is_some_and(trusts)
    }
}

/// Whom a balancer speaks for.
enum Introduced {
    As(IpAddr),
    /// For one whom it cannot name: what that one says of itself is not the balancer's word.
    ByNoName,
    ByItself,
}

/// Takes a PROXY header off the stream, and not a byte more.
async fn introduced(stream: &mut Stream) -> io::Result<Introduced> {
    let mut header = Vec::new();
    loop {
        let before = header.len();
        let mut glance = [0; GLANCE];
        let seen = stream.peek(&mut glance).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        header.extend_from_slice(&glance[..seen]);
        let parsed = parse(&header).map_err(|error: NoHeader| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let length = match parsed {
            Parsed::Partial => header.len(),
            Parsed::Complete(length, _) => length,
        };
        stream.read_exact(&mut glance[..length - before]).await?;
        match parsed {
            Parsed::Partial => {}
            Parsed::Complete(_, Some(source)) => return Ok(Introduced::As(source)),
            Parsed::Complete(_, None) if is_local(&header) => return Ok(Introduced::ByItself),
            Parsed::Complete(_, None) => return Ok(Introduced::ByNoName),
        }
    }
}
