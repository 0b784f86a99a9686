use std::cell::Cell;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::exchange::{CLIENT_CLOSED, Exchange};
use crate::clock;
use crate::traffic::Failure;

/// The answer that begins a tunnel.
const SWITCHING_PROTOCOLS: u16 = 101;

/// How much is read at once.
const CHUNK: usize = 16 * 1024;

/// Passes bytes both ways until one side ends and the other has been told, or nothing moves for too long. What each side
/// has sent already goes first. Tells what broke, if something did.
pub(super) async fn tunnel(
    client: impl AsyncRead + AsyncWrite + Unpin,
    app: impl AsyncRead + AsyncWrite + Unpin,
    (from_client_first, from_app_first): (&[u8], &[u8]),
    exchange: &mut Exchange,
    silence: Duration,
) -> Option<Failure> {
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_app, mut to_app) = tokio::io::split(app);
    let mut from_client = from_client_first.chain(from_client);
    let mut from_app = from_app_first.chain(from_app);
    let moved = Cell::new(clock::turn());
    let up = copy(&mut from_client, &mut to_app, &moved, |bytes| {
        exchange.receive(bytes);
    });
    let down = copy(&mut from_app, &mut to_client, &moved, |bytes| {
        exchange.send(bytes);
    });
    // Each direction ends by itself, because half-closed is a state of its own; what breaks ends both.
    let both = async {
        tokio::try_join!(
            up.map_err(|side| if side == Side::Read { Failure::ClientClosed } else { Failure::UpstreamReset }),
            down.map_err(|side| if side == Side::Read { Failure::UpstreamReset } else { Failure::ClientClosed }),
        )
    };
    let failure = tokio::select! {
        ended = both => ended.err(),
        () = silent(&moved, silence) => Some(Failure::UpstreamTimeout),
    };
    let code = if failure == Some(Failure::ClientClosed) { CLIENT_CLOSED } else { SWITCHING_PROTOCOLS };
    exchange.end(code, failure);
    failure
}

/// Which end of a copy broke.
#[derive(PartialEq, Eq)]
enum Side {
    Read,
    Write,
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &Cell<Instant>,
    count: impl Fn(u64),
) -> Result<(), Side> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await.map_err(|_| Side::Read)?;
        if length == 0 {
            return to.shutdown().await.map_err(|_| Side::Write);
        }
        moved.set(clock::turn());
        to.write_all(&chunk[..length]).await.map_err(|_| Side::Write)?;
        moved.set(clock::turn());
        count(length as u64);
    }
}

async fn silent(moved: &Cell<Instant>, limit: Duration) {
    if limit.is_zero() {
        std::future::pending::<()>().await;
    }
    loop {
        let deadline = moved.get() + limit;
        if Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep_until(deadline).await;
    }
}
