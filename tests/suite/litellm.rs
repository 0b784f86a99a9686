//! A real LiteLLM behind the sidecar, with a model that answers without a network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{
    Client, ClosedLoop, HttpError, LITELLM_KEY, PATIENCE, Peer, Response, Settings, Sidecar, eventually, local,
};

/// Three failures a second apart make the app unhealthy.
const TURNS: Duration = Duration::from_secs(3);

fn settings(litellm: &Peer) -> Settings {
    Sidecar::full_for(litellm.port())
        .text("checks.api_server.http.path", "/health/liveliness")
        .text("checks.api_server.interval", "1s")
        .text("checks.api_server.timeout", "1s")
}

/// Asks the model, and streams the answer if so wished.
fn complete(client: &mut Client, stream: bool) -> std::io::Result<()> {
    let body = serde_json::json!({
        "model": "mock", "stream": stream, "messages": [{ "role": "user", "content": "hello" }],
    });
    let authorization = format!("Bearer {LITELLM_KEY}");
    let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    client.write("POST", "/v1/chat/completions", &fields, body.to_string().as_bytes())
}

fn ask(client: &mut Client) -> Result<Response, HttpError> {
    complete(client, false).map_err(HttpError::Io)?;
    client.read()
}

/// Streams a completion: the pieces in which it came, and what they say.
#[track_caller]
fn streamed(address: SocketAddr) -> (usize, Vec<String>) {
    let mut client = Client::connect(address);
    complete(&mut client, true).expect("a request");
    let head = client.read_head().expect("a head");
    assert_eq!(head.status, 200);
    assert!(head.field("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")), "{head:?}");
    let (mut count, mut text) = (0, Vec::new());
    let mut pieces = client.pieces(&head).expect("a body");
    while let Some(piece) = pieces.next().expect("a piece") {
        count += 1;
        text.extend(piece);
    }
    let text = String::from_utf8(text).expect("UTF-8");
    let events = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect();
    (count, events)
}

fn said(events: &[String]) -> String {
    let json = events.iter().filter_map(|event| serde_json::from_str::<serde_json::Value>(event).ok());
    json.filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_streamed_completion_arrives_chunk_by_chunk() {
    let litellm = Peer::shared_litellm();
    let sidecar = Sidecar::start(&settings(&litellm)).ready();
    let (direct_pieces, direct) = streamed(local(litellm.port()));
    let (pieces, events) = streamed(sidecar.traffic);
    assert_eq!(said(&events), "hello from the mock");
    assert_eq!(said(&events), said(&direct));
    assert_eq!(events.len(), direct.len());
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    assert!(events.len() >= 8 && direct_pieces >= 8, "{direct_pieces} pieces");
    // Nothing is held back; two that come within one wake-up may travel together.
    assert!(pieces >= direct_pieces / 2, "{pieces} of {direct_pieces} pieces");

    let answer = ask(&mut Client::connect(sidecar.traffic)).expect("an answer");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "hello from the mock");
    let detailed = sidecar.await_detailed("a served answer proves the login", |body| {
        body["components"]["authentication"]["verified"] == true
    });
    assert_eq!(detailed["components"]["api_server"]["status"], "healthy");
    let usage = &answer.json()["usage"];
    let counted = |kind: &str| sidecar.metric("claude_proxy_llm_tokens_total", &[&format!("kind=\"{kind}\"")]);
    eventually(PATIENCE, "both answers are counted", || {
        sidecar.metric("claude_proxy_llm_requests_total", &["outcome=\"complete\""]) == 2.0
    });
    // A stream tells of its tokens only when it is asked to.
    assert_eq!(
        (Some(counted("input")), Some(counted("output"))),
        (usage["prompt_tokens"].as_f64(), usage["completion_tokens"].as_f64())
    );
    sidecar.assert_metric("claude_proxy_time_to_first_token_seconds_count", &[], 1.0);
    let refused = sidecar.ask("POST", "/v1/chat/completions", &[], b"{}");
    let direct = crate::support::ask(local(litellm.port()), "POST", "/v1/chat/completions", &[], b"{}");
    assert_eq!((refused.status, refused.body), (direct.status, direct.body), "the app's own refusal passes");
}

#[test]
fn readiness_follows_a_killed_and_restarted_app() {
    let litellm = Peer::litellm();
    let sidecar = Sidecar::start(&settings(&litellm)).ready();
    assert_eq!(sidecar.get("/health/liveliness").status, 200);

    litellm.kill();
    let killed = Instant::now();
    assert_eq!(sidecar.get("/health/liveliness").status, 502);
    sidecar.await_code("/readyz", 503);
    let took = killed.elapsed();
    // A tenth of jitter, the time of a run, and a loaded machine.
    assert!(took < TURNS.mul_f64(1.1) + Duration::from_secs(2), "{took:?}");
    assert_eq!(sidecar.admin("/health").status, 503);
    assert_eq!(sidecar.admin("/livez").status, 200);

    litellm.restart();
    litellm.wait();
    let back = Instant::now();
    sidecar.await_code("/readyz", 200);
    assert!(back.elapsed() < Duration::from_secs(4), "{:?}", back.elapsed());
    assert_eq!(sidecar.get("/health/liveliness").status, 200);
}

#[test]
fn a_closed_loop_of_clients_loses_nothing_over_sigterm() {
    let litellm = Peer::shared_litellm();
    let settings = settings(&litellm).text("shutdown.lame_duck", "2s").text("shutdown.grace", "20s");
    let mut sidecar = Sidecar::start(&settings).ready();
    let clients = ClosedLoop::start(sidecar.traffic, 4, ask);
    eventually(PATIENCE, "the loop runs", || clients.answered() >= 20);
    let before = clients.answered();
    sidecar.terminate();
    let status = sidecar.wait(Duration::from_secs(25));
    assert_eq!(status.code(), Some(0));
    eventually(PATIENCE, "every client is refused", || clients.refused() == 4);
    assert!(clients.answered() > before, "the lame duck serves");
    assert_eq!(clients.end(), Vec::<String>::new());
}
