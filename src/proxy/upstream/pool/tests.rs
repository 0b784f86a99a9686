use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::TcpListener;

use super::super::target::Http2;
use super::*;
use crate::settings::Url;

const NEEDS: Needs = Needs { surely: false, http1: false };

fn pool(resolver: Resolver, connect_timeout: Duration) -> Rc<Pool> {
    let url = Url::parse("http://app.example:80").expect("a URL");
    let target = Target { url, tls: None, http2: Http2::Never, connect_timeout };
    Pool::resolving_by(resolver, target, Arc::default())
}

#[tokio::test]
async fn an_app_that_moves_is_found_and_connections_to_its_old_place_grow_old() {
    let (old, new) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
    let (old, new) = (old.expect("a port"), new.expect("a port"));
    let place = Arc::new(Mutex::new(old.local_addr().expect("an address")));
    let told = place.clone();
    let resolver = Resolver::by(move |_, _| Ok(vec![*told.lock().expect("the place")]));
    let pool = pool(resolver, Duration::ZERO);
    let mut lease = pool.connect(NEEDS).await.expect("a connection");
    let (_kept, _) = old.accept().await.expect("a client");
    lease.give_back(false);
    *place.lock().expect("the place") = new.local_addr().expect("an address");

    // What is kept is used while it works, however the name resolves now.
    let mut lease = pool.reuse(NEEDS).expect("a kept connection");
    let further = pool.connect(NEEDS).await.expect("a connection");
    assert!(new.accept().await.is_ok(), "a new connection goes where the app is now");
    drop(further);
    lease.give_back(false);
    assert_eq!(pool.shard.upstream_idle.get(), 1);
    tokio::time::pause();
    tokio::time::advance(LONGEST_IDLE + Duration::from_secs(1)).await;
    pool.sweep();
    assert_eq!(pool.shard.upstream_idle.get(), 0);
    assert!(pool.reuse(NEEDS).is_none());
    assert_eq!(pool.shard.upstream_active.get(), 0);
}

#[tokio::test]
async fn what_came_on_an_idle_connection_is_seen_before_the_loop_turns() {
    const SURELY: Needs = Needs { surely: true, http1: false };
    const MOMENT: Duration = Duration::ZERO;
    for (needs, idle, has_slept, was_lost, is_seen) in [
        (NEEDS, UNSEEN, false, None, true),
        (NEEDS, MOMENT, false, None, false),
        (NEEDS, UNSEEN, true, None, false),
        (SURELY, UNSEEN, true, None, true),
        (SURELY, MOMENT, false, None, false),
        (SURELY, MOMENT, false, Some(MOMENT), true),
        (SURELY, MOMENT, false, Some(WARY), false),
        (NEEDS, MOMENT, false, Some(MOMENT), false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let pool = pool(Resolver::by(move |_, _| Ok(vec![address])), Duration::ZERO);
        let mut lease = pool.connect(needs).await.expect("a connection");
        let (app, _) = listener.accept().await.expect("a client");
        // Nothing is awaited from here on: the loop has no turn.
        clock::wake_up();
        clock::begin_turn();
        while !has_slept && clock::turn() - clock::awake_since() < UNSEEN {
            clock::begin_turn();
        }
        lease.give_back(false);
        pool.idle.borrow_mut()[0].since -= idle;
        pool.lost.set(was_lost.map(|ago| clock::turn() - ago));
        let mut app = app.into_std().expect("a socket");
        std::io::Write::write_all(&mut app, b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer to nothing");
        let case = format!("{needs:?}, idle for {idle:?}, has slept: {has_slept}, lost one: {was_lost:?}");
        assert_eq!(pool.reuse(needs).is_none(), is_seen, "{case}");
        assert!(!is_seen || pool.lost.get() == Some(clock::turn()), "{case}: whoever comes next is wary");
    }
}

#[tokio::test]
async fn a_resolver_that_hangs_costs_the_time_for_connecting_and_one_thread() {
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let (held, lookups) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
    let counted = lookups.clone();
    let resolver = Resolver::by(move |_, _| {
        counted.fetch_add(1, Relaxed);
        let _ = held.lock().expect("no other lookup").recv();
        Ok(Vec::<SocketAddr>::new())
    });
    let pool = pool(resolver, Duration::from_millis(20));
    for _ in 0..3 {
        assert_eq!(pool.connect(NEEDS).await.err(), Some(Rejection::ConnectTimeout));
    }
    assert_eq!(lookups.load(Relaxed), 1);
    drop(release);
    let nowhere = loop {
        match pool.connect(NEEDS).await.err() {
            Some(Rejection::ConnectTimeout) => {}
            other => break other,
        }
    };
    assert_eq!(nowhere, Some(Rejection::ConnectFailed));
}
