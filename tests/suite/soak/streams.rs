use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use hyper::Request;

use super::account::Outcome;
use super::load::Worker;
use crate::support::Random;
use crate::support::http2::with_http2;

/// How many streams one connection carries at once, at most.
const STREAMS: usize = 8;

/// What a stream asks for, and whether it stays to the end.
#[derive(Clone, Copy)]
struct Wish {
    target: &'static str,
    body: usize,
    leaves: bool,
}

const fn wish(target: &'static str, body: usize) -> Wish {
    Wish { target, body, leaves: false }
}

const WISHES: [Wish; 10] = [
    wish("/bytes/200", 0),
    wish("/chunks/20", 0),
    wish("/echo", 4096),
    wish("/echo", 1 << 20),
    wish("/bytes/1048576", 0),
    wish("/code/429", 0),
    wish("/code/204", 0),
    wish("/half", 0),
    wish("/garbage", 0),
    Wish { target: "/bytes/4194304", body: 0, leaves: true },
];

/// One connection of HTTP/2 with several streams at once, each of which ends in its own way.
pub(super) fn streams(worker: &mut Worker<'_>) {
    let number = 1 + worker.random.below(STREAMS);
    let wishes: Vec<Wish> = (0..number).map(|_| WISHES[worker.random.below(WISHES.len())]).collect();
    let pieces = Random(worker.random.below(usize::MAX) as u64).bytes(1 << 20);
    let outcomes = with_http2(worker.traffic, async |client| {
        join_all(wishes.iter().map(|wish| {
            worker.account.sent(worker.name);
            stream(client.clone(), *wish, Bytes::copy_from_slice(&pieces[..wish.body]))
        }))
        .await
    });
    for outcome in outcomes {
        worker.account.ended(worker.name, outcome);
    }
}

async fn stream(client: SendRequest<Bytes>, wish: Wish, body: Bytes) -> Outcome {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(format!("http://a.example{}", wish.target));
    let request = request.body(()).expect("a request");
    let mut client = client.ready().await.expect("a connection");
    let (answer, mut upload) = client.send_request(request, body.is_empty()).expect("a stream");
    if !body.is_empty() {
        // After an early answer nobody takes the rest.
        let _ = upload.send_data(body.clone(), true);
    }
    let Ok(answer) = answer.await else { return Outcome::Unanswered };
    let (code, mut stream) = (answer.status().as_u16(), answer.into_body());
    let mut read = 0;
    while let Some(data) = stream.data().await {
        let Ok(data) = data else { return Outcome::Cut(code) };
        read += data.len();
        let _ = stream.flow_control().release_capacity(data.len());
        if wish.leaves {
            // Not at once, so that the answer is on its way.
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Outcome::Left;
        }
    }
    match stream.trailers().await {
        Ok(_) => {
            assert!(code != 200 || body.is_empty() || read > 0, "an answer says how much has come");
            Outcome::Answered(code)
        }
        Err(_) => Outcome::Cut(code),
    }
}
