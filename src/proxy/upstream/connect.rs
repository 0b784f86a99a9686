use std::io;

use tokio::net::{TcpStream, UnixStream};

use super::stream::AppStream;
use crate::settings::{Scheme, Url};

/// A new connection to the app.
pub(super) async fn connect(upstream: &Url) -> io::Result<AppStream> {
    match &upstream.scheme {
        Scheme::Unix(path) => UnixStream::connect(path).await.map(AppStream::Unix),
        _ => {
            let stream = TcpStream::connect((upstream.host.as_str(), upstream.port)).await?;
            stream.set_nodelay(true)?;
            Ok(AppStream::Tcp(stream))
        }
    }
}
