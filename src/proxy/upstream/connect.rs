use std::cell::Cell;
use std::io;

use tokio::net::{TcpStream, UnixStream};

use super::super::rejection::Rejection;
use super::stream::AppStream;
use super::target::Target;
use crate::settings::Scheme;
use crate::tls::Distrust;

/// A new connection to the app, and what the system or the library said if there is none.
///
/// `shaking` is set once the app has accepted and TLS begins.
pub(super) async fn connect(target: &Target, shaking: &Cell<bool>) -> Result<AppStream, (Rejection, io::Error)> {
    let fail = |error| (Rejection::of_connect(&error), error);
    if let Scheme::Unix(path) = &target.url.scheme {
        return UnixStream::connect(path).await.map(AppStream::Unix).map_err(fail);
    }
    let stream = dial(target).await.map_err(fail)?;
    let Some(tls) = &target.tls else { return Ok(AppStream::Tcp(stream)) };
    shaking.set(true);
    match tls.connect(&target.url.host, stream, false).await {
        Ok(stream) => Ok(AppStream::Tls(Box::new(stream))),
        Err(error) => Err((Rejection::Tls(Distrust::of_handshake(&error)), error)),
    }
}

async fn dial(target: &Target) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((target.url.host.as_str(), target.url.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
