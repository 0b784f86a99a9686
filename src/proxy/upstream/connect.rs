use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use super::super::rejection::Rejection;
use super::race::race;
use super::resolve::Resolver;
use super::stream::AppStream;
use super::target::{Http2, Target};
use crate::loopback;
use crate::settings::{Scheme, Url};
use crate::tls::Distrust;
use crate::unsent;

/// A connection to the app, on which nothing was said yet.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: AppStream,
    /// Whether HTTP/2 is spoken on it.
    pub(super) is_http2: bool,
}

/// A new connection to the app, and what the system or the library said if there is none.
///
/// `shaking` is set once the app has accepted and TLS begins.
pub(super) async fn connect(
    target: &Target,
    resolver: &Resolver,
    http1: bool,
    shaking: &Cell<bool>,
) -> Result<Connected, (Rejection, io::Error)> {
    let fail = |error| (Rejection::of_connect(&error), error);
    if let Scheme::Unix(path) = &target.url.scheme {
        let stream = loopback::connect_unix(path).await.map_err(fail)?;
        return Ok(Connected { stream: AppStream::Unix(stream), is_http2: false });
    }
    let stream = dial(target, resolver).await.map_err(fail)?;
    let Some(tls) = &target.tls else {
        return Ok(Connected { stream: AppStream::Tcp(stream), is_http2: target.http2 == Http2::Always });
    };
    shaking.set(true);
    match tls.connect(&target.url.host, stream, !http1).await {
        Ok(stream) => {
            shaking.set(false);
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Connected { stream: AppStream::Tls(Box::new(stream)), is_http2 })
        }
        Err(error) => Err((Rejection::Tls(Distrust::of_handshake(&error)), error)),
    }
}

/// A further address of the app is tried after so long, or after its share of the time that there is.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

async fn dial(target: &Target, resolver: &Resolver) -> io::Result<TcpStream> {
    let Url { host, port, .. } = &target.url;
    if let Ok(address) = host.parse::<IpAddr>() {
        dial_at(SocketAddr::new(address, *port)).await
    } else {
        let addresses = resolver.addresses(host, *port).await?;
        let share = target.connect_timeout / (addresses.len() as u32 + 1);
        let pause = if share.is_zero() { NEXT_ADDRESS } else { NEXT_ADDRESS.min(share) };
        race(addresses, pause, dial_at).await
    }
}

async fn dial_at(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    loopback::relieve(&socket, address.ip());
    unsent::bound(&socket);
    socket.connect(address).await
}
