//! Answers that wait, to clients that send their bodies whole, in pieces, slowly, not at all, or too large.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::super::super::{
    Admission, Arrival, Current, Gate, Later, Local, LocalAnswer, LocalBody, LocalRequest, Proxy, Target,
};
use super::ClientStream;
use crate::drain::Hub;
use crate::settings::{Problems, read_empty};
use crate::traffic::Traffic;

impl ClientStream for DuplexStream {
    fn reset_on_close(&self, _: bool) {}
}

/// `/echo` answers with the body, `/slow` after a minute, `/bodiless` without having read any.
struct Echo;

const MOST: usize = 100;

impl Local for Echo {
    fn answer(&self, request: &LocalRequest<'_>) -> Option<LocalAnswer> {
        let most = if request.path == "/bodiless" { 0 } else { MOST };
        let pause = Duration::from_secs(if request.path == "/slow" { 60 } else { 0 });
        Some(LocalAnswer::Later(Later::new(most, move |body| {
            Box::pin(async move {
                tokio::time::sleep(pause).await;
                Response::new(LocalBody::Whole([b"<", &body[..], b">"].concat().into()))
            })
        })))
    }

    fn owns(&self, _: &str) -> bool {
        true
    }
}

/// Sends these pieces, one after the other, a second apart; tells all that comes until the connection ends, and whether
/// it ended by itself.
async fn converse(pieces: &[&[u8]]) -> (String, bool) {
    let settings: crate::proxy::ProxySettings = read_empty("proxy", &Problems::default()).expect("defaults");
    let target = Target::load(&settings).expect("a target");
    let (traffic, admission) = (Arc::new(Traffic::new(1)), Arc::new(Admission::new(&settings.limits)));
    let proxy = Proxy::new(settings, target, 0, traffic.clone(), admission, Arc::new(Gate::default()), "us", Echo);
    let (current, hub) = (Current::new(proxy), Hub::default());
    let (mut client, server) = duplex(1024);
    let arrival = Arrival::default();
    let mut heard = Vec::new();
    let talking = async {
        for piece in pieces {
            client.write_all(piece).await.expect("somebody reads");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut part = vec![0; 64 * 1024];
            if let Ok(Ok(length)) = tokio::time::timeout(Duration::ZERO, client.read(&mut part)).await {
                heard.extend_from_slice(&part[..length]);
            }
        }
        let rest = tokio::time::timeout(Duration::from_secs(70), client.read_to_end(&mut heard)).await;
        let ended = rest.is_ok();
        drop(client);
        ended
    };
    let (ended, ()) = tokio::join!(talking, current.serve(server, arrival, &hub));
    assert_eq!(traffic.totals().requests_total(), 0, "requests for endpoints are not traffic");
    let text = String::from_utf8(heard).expect("text");
    // The date is another one each time.
    let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
    (lines.collect(), ended)
}

fn echo(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n<{body}>", body.len() + 2)
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_body_is_read_however_it_comes_and_the_next_request_after_it() {
    let next = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwo";
    let one = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let chunked = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let both = format!("{}{}", echo("GET /"), echo("two"));
    let (heard, _) = converse(&[&[&one[..], b"GET /", next].concat()]).await;
    assert_eq!(heard, both, "at once");
    let (heard, _) = converse(&[one, b"GE", b"T /", next]).await;
    assert_eq!(heard, both, "in pieces");
    let (heard, _) = converse(&[one, b"GE", &[b"T /", &next[..30]].concat(), &next[30..]]).await;
    assert_eq!(heard, both, "with the next one's beginning");
    let (heard, _) = converse(&[&[&chunked[..], b"2\r\nGE\r\n3;x=y\r\nT /\r\n0\r\nA: b\r\n\r\n", next].concat()]).await;
    assert_eq!(heard, both, "in chunks");
    let (heard, _) = converse(&[chunked, b"2\r\nG", b"E\r\n3\r\nT /\r\n0\r\n", &[b"\r\n", &next[..]].concat()]).await;
    assert_eq!(heard, both, "in chunks and pieces");
    let (heard, ended) = converse(&[b"POST /echo HTTP/1.1\r\nHost: a\r\n\r\n"]).await;
    assert_eq!((heard, ended), (echo(""), false), "nothing is a body too");
    let (heard, ended) = converse(&[b"HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n"]).await;
    assert_eq!((heard.as_str(), ended), ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", false));
    let (heard, ended) = converse(&[b"POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"]).await;
    assert!(heard.ends_with("Connection: close\r\n\r\n<x>") && ended, "{heard}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_leave_is_given_it_once_and_only_then() {
    let head = |more: &str| format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{more}\r\n");
    let expects = head("Expect: 100-continue\r\n");
    let (heard, _) = converse(&[expects.as_bytes(), b"o", b"k"]).await;
    assert_eq!(heard, format!("{CONTINUE}{}", echo("ok")));
    let (heard, _) = converse(&[format!("{expects}o").as_bytes(), b"k"]).await;
    assert_eq!(heard, echo("ok"), "it has not waited");
    let (heard, ended) = converse(&[head("Expect: more\r\n").as_bytes()]).await;
    assert!(heard.starts_with("HTTP/1.1 417 ") && ended, "{heard}");
    let large = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n";
    let (heard, ended) = converse(&[large]).await;
    assert!(heard.starts_with("HTTP/1.1 413 ") && ended, "{heard}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_or_too_slow_or_broken_is_refused_and_ends_the_connection() {
    let most = "x".repeat(MOST);
    let (heard, _) =
        converse(&[format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {MOST}\r\n\r\n{most}").as_bytes()]).await;
    assert_eq!(heard, echo(&most));
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (request, code) in [
        (format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", MOST + 1), 413),
        (format!("{chunked}65\r\n{most}"), 408),
        (format!("{chunked}65\r\n{most}x"), 413),
        (format!("{chunked}64\r\n{most}\r\n1\r\nx"), 413),
        (format!("{chunked}zz\r\n"), 400),
        (format!("{chunked}1\r\nxx"), 400),
        ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx".into(), 408),
        (format!("{chunked}1\r\n"), 408),
    ] {
        for pieces in [vec![request.as_bytes()], request.as_bytes().chunks(50).collect()] {
            let (heard, ended) = converse(&pieces).await;
            assert!(heard.starts_with(&format!("HTTP/1.1 {code} ")) && ended, "{request}: {heard}");
            assert!(heard.contains("Connection: close\r\n"), "{heard}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_is_never_taken_for_a_request() {
    let next = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
    let (heard, ended) =
        converse(&[
            format!("GET /bodiless HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{next}", next.len()).as_bytes()
        ])
        .await;
    assert!(heard.ends_with("Connection: close\r\n\r\n<>") && ended, "{heard}");
    let (heard, ended) = converse(&[format!("GET /bodiless HTTP/1.1\r\nHost: a\r\n\r\n{next}").as_bytes()]).await;
    assert_eq!((heard, ended), (format!("{}{}", echo(""), echo("")), false));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_time_is_waited_for_and_so_is_the_next_request() {
    let two = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
    let (heard, _) = converse(&[two.as_bytes()]).await;
    assert_eq!(heard, format!("{}{}", echo("1"), echo("")));
}
