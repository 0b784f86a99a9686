use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared};
use tokio::task::AbortHandle;

/// What a name is looked up by. Blocks.
type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up the app's name anew for each connection, so that an app that moves is found.
///
/// The system's resolver blocks a thread, for as long as it likes: so there is at most one lookup at a time, and whoever
/// asks meanwhile waits for what it brings.
pub(super) struct Resolver {
    lookup: Arc<Lookup>,
    under_way: RefCell<Option<UnderWay>>,
}

struct UnderWay {
    task: AbortHandle,
    result: Shared<LocalBoxFuture<'static, Rc<io::Result<Vec<SocketAddr>>>>>,
}

/// At most so many addresses of a name are tried.
const MOST_ADDRESSES: usize = 8;

impl Default for Resolver {
    fn default() -> Self {
        Self::by(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }
}

impl Resolver {
    pub(super) fn by(lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), under_way: RefCell::default() }
    }

    /// The addresses of a name, in the order in which they are to be tried; at least one.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &*self.looked_up(host, port).await {
            Ok(found) if !found.is_empty() => Ok(in_turn(found)),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address")),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    fn looked_up(&self, host: &str, port: u16) -> Shared<LocalBoxFuture<'static, Rc<io::Result<Vec<SocketAddr>>>>> {
        let mut under_way = self.under_way.borrow_mut();
        match &*under_way {
            // One that has ended says how things were then.
            Some(known) if !known.task.is_finished() => known.result.clone(),
            _ => {
                let (lookup, host) = (self.lookup.clone(), host.to_owned());
                let task = tokio::task::spawn_blocking(move || lookup(&host, port));
                let handle = task.abort_handle();
                let result = async move { Rc::new(task.await.unwrap_or_else(|error| Err(io::Error::other(error)))) };
                let result = result.boxed_local().shared();
                *under_way = Some(UnderWay { task: handle, result: result.clone() });
                result
            }
        }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// The resolver's order, but for the families, which take turns (RFC 8305 section 4): with one of them broken, no more
/// than one attempt goes astray.
fn in_turn(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_family = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found.iter().copied().partition(|found| found.is_ipv6() == first_family);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(found.len());
    loop {
        let before = ordered.len();
        ordered.extend(first.next().into_iter().chain(second.next()));
        if ordered.len() == before || ordered.len() >= MOST_ADDRESSES {
            ordered.truncate(MOST_ADDRESSES);
            return ordered;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"].map(address);
        assert_eq!(in_turn(&found), ["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"].map(address));
        let many: Vec<SocketAddr> = (1..=20).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        assert_eq!(in_turn(&many), many[..MOST_ADDRESSES]);
    }

    #[tokio::test]
    async fn there_is_one_lookup_at_a_time_and_each_later_one_asks_anew() {
        let (answer, answers) = mpsc::sync_channel::<u16>(1);
        let (answers, asked) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let counted = asked.clone();
        let resolver = Resolver::by(move |_, _| {
            counted.fetch_add(1, SeqCst);
            let port = answers.lock().expect("the answers").recv().map_err(io::Error::other)?;
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        });
        let mut first = Box::pin(resolver.addresses("app", 1));
        let mut second = Box::pin(resolver.addresses("app", 1));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        answer.send(7).expect("a lookup");
        assert_eq!((first.await.expect("found")[0].port(), second.await.expect("found")[0].port()), (7, 7));
        assert_eq!(asked.load(SeqCst), 1);

        // One that nobody waits for any more still counts as the one under way.
        let mut given_up = Box::pin(resolver.addresses("app", 1));
        assert!((&mut given_up).now_or_never().is_none());
        drop(given_up);
        let mut later = Box::pin(resolver.addresses("app", 1));
        assert!((&mut later).now_or_never().is_none());
        answer.send(8).expect("a lookup");
        assert_eq!(later.await.expect("found")[0].port(), 8);
        assert_eq!(asked.load(SeqCst), 2);
    }
}
