//! Answers that go on: a client that takes nothing, one that leaves, one that says more, and a worker that closes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::super::{
    Admission, Arrival, Current, Gate, Local, LocalAnswer, LocalBody, LocalRequest, Pieces, Proxy, Target,
};
use crate::drain::{Hub, Phase};
use crate::settings::{Problems, read_empty};
use crate::traffic::Traffic;

/// `/two` has two pieces, a second apart; `/flood` never ends; `/silent` says nothing; `/plain` is whole.
struct Streams;

impl Local for Streams {
    fn answer(&self, request: &LocalRequest<'_>) -> Option<LocalAnswer> {
        let second = |piece: &'static [u8]| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Bytes::from_static(piece)
        };
        let pieces = match request.path {
            "/two" => Pieces::new(futures_util::stream::iter([&b"one"[..], b"two"]).then(second)),
            "/flood" => Pieces::new(futures_util::stream::repeat(Bytes::from_static(&[b'x'; 4096]))),
            "/silent" => Pieces::new(futures_util::stream::pending()),
            _ => return Some(LocalAnswer::Now(Response::new(LocalBody::Whole(Bytes::from_static(b"whole"))))),
        };
        Some(LocalAnswer::Now(Response::new(LocalBody::Pieces(pieces))))
    }

    fn owns(&self, _: &str) -> bool {
        true
    }
}

/// Serves one connection, and tells what the client's side came to and how long all of it took.
async fn serve<T>(hub: &Hub, client: impl AsyncFnOnce(DuplexStream) -> T) -> (T, Duration) {
    let settings: crate::proxy::ProxySettings = read_empty("proxy", &Problems::default()).expect("defaults");
    let target = Target::load(&settings).expect("a target");
    let (traffic, admission) = (Arc::new(Traffic::new(1)), Arc::new(Admission::new(&settings.limits)));
    let proxy = Proxy::new(settings, target, 0, traffic.clone(), admission, Arc::new(Gate::default()), "us", Streams);
    let current = Current::new(proxy);
    let (ours, server) = duplex(1024);
    let arrival = Arrival::default();
    let begun = Instant::now();
    let (result, ()) = tokio::join!(client(ours), current.serve(server, arrival, hub));
    assert_eq!(traffic.totals().requests_total(), 0, "requests for endpoints are not traffic");
    (result, begun.elapsed())
}

async fn heard(mut client: DuplexStream, request: &str) -> String {
    client.write_all(request.as_bytes()).await.expect("somebody reads");
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("an end");
    let text = String::from_utf8(heard).expect("text");
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

#[tokio::test(start_paused = true)]
async fn pieces_are_framed_as_the_client_knows_it() {
    let hub = Hub::default();
    let ask = async |request: &str| serve(&hub, async |client| heard(client, request).await).await.0;
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nConnection: close\r\n\r\nwhole";
    let both = "GET /two HTTP/1.1\r\nHost: a\r\n\r\nGET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
    assert_eq!(ask(both).await, format!("{chunks}{whole}"), "what was asked meanwhile is answered then");
    let head = both.replacen("GET", "HEAD", 1);
    assert_eq!(ask(&head).await, format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{whole}"));
    let old = "GET /two HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(ask(old).await, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let (_client, took) = serve(&Hub::default(), async |mut client| {
        client.write_all(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("somebody reads");
        client
    })
    .await;
    assert_eq!(took.as_secs(), 60, "timeouts.write");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_while_nothing_is_said() {
    let (_, took) = serve(&Hub::default(), async |mut client| {
        client.write_all(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("somebody reads");
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    assert_eq!(took.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_closes_ends_what_goes_on() {
    for (path, is_whole) in [("/silent", true), ("/flood", false)] {
        let hub = Hub::default();
        let close = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            hub.enter(Phase::Draining);
            tokio::time::sleep(Duration::from_secs(1)).await;
            hub.enter(Phase::Closing);
        };
        let served = serve(&hub, async |mut client| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            client.write_all(request.as_bytes()).await.expect("somebody reads");
            tokio::time::sleep(Duration::from_secs(10)).await;
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.expect("an end");
            heard.ends_with(b"\r\n0\r\n\r\n")
        });
        let ((ended, _), ()) = tokio::join!(served, close);
        assert_eq!(ended, is_whole, "{path}: what is cut does not look complete");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_its_last_answer_and_stays_is_waited_for_but_not_for_long_when_the_worker_stops() {
    for (phase, seconds) in [(Phase::Serving, 5), (Phase::Draining, 1), (Phase::Closing, 1)] {
        let hub = Hub::default();
        hub.enter(phase);
        // The body never comes, and so the connection cannot go on.
        let stays = async |mut client: DuplexStream| {
            client.write_all(b"POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await.expect("room");
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.expect("an end");
            assert!(heard.ends_with("whole"), "{heard}");
            client
        };
        let (_client, took) = serve(&hub, stays).await;
        assert_eq!(took.as_secs(), seconds, "{phase:?}");
    }
}
