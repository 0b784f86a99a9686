use std::cell::Cell;
use std::io;

use tokio::net::{TcpStream, UnixStream};

use super::super::rejection::Rejection;
use super::stream::AppStream;
use super::target::{Http2, Target};
use crate::settings::Scheme;
use crate::tls::Distrust;

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
    http1: bool,
    shaking: &Cell<bool>,
) -> Result<Connected, (Rejection, io::Error)> {
    let fail = |error| (Rejection::of_connect(&error), error);
    if let Scheme::Unix(path) = &target.url.scheme {
        let stream = UnixStream::connect(path).await.map_err(fail)?;
        return Ok(Connected { stream: AppStream::Unix(stream), is_http2: false });
    }
    let stream = dial(target).await.map_err(fail)?;
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

async fn dial(target: &Target) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((target.url.host.as_str(), target.url.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
