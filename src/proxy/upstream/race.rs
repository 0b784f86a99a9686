use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

/// Tries one address after the other, each a little after the one before it or as soon as that has failed, and takes the
/// first connection that there is (RFC 8305 section 5).
pub(super) async fn race<T, C: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    pause: Duration,
    connect: impl Fn(SocketAddr) -> C,
) -> io::Result<T> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure: Option<io::Error> = None;
    attempts.extend(waiting.next().map(&connect));
    while !attempts.is_empty() {
        tokio::select! {
            biased;
            Some(ended) = attempts.next() => match ended {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    failure = Some(weightier(failure, error));
                    attempts.extend(waiting.next().map(&connect));
                }
            },
            () = tokio::time::sleep(pause), if waiting.len() > 0 => attempts.extend(waiting.next().map(&connect)),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// A refusal says that the machine is there and the app is not; what a machine without IPv6 says to ::1 says nothing.
fn weightier(known: Option<io::Error>, new: io::Error) -> io::Error {
    known.filter(|known| known.kind() == io::ErrorKind::ConnectionRefused).unwrap_or(new)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(250);

    fn addresses(count: u16) -> Vec<SocketAddr> {
        (1..=count).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    /// Port 1 is dead, port 2 refuses, port 3 is a machine without the family, the others accept after 10 ms.
    async fn connect(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            1 => std::future::pending().await,
            2 => Err(io::ErrorKind::ConnectionRefused.into()),
            3 => Err(io::ErrorKind::AddrNotAvailable.into()),
            port => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(port)
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_address_costs_a_pause_and_a_refusal_nothing() {
        let begun = Instant::now();
        assert_eq!(race(addresses(4), PAUSE, connect).await.expect("a connection"), 4);
        assert_eq!(begun.elapsed(), PAUSE + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn what_all_of_them_say_is_a_refusal_if_one_refuses() {
        let error = race(addresses(3)[1..].to_vec(), PAUSE, connect).await.expect_err("nobody accepts");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(race(Vec::new(), PAUSE, connect).await.expect_err("none").kind(), io::ErrorKind::AddrNotAvailable);
    }
}
