//! What the answers of models say about themselves: counted as they pass, and passed as they are.

use crate::support::{Client, Next, PATIENCE, Random, Sidecar, Upstream, eventually};

const STREAM: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-test-1\",\
    \"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":100,\"output_tokens\":1}}}\n\n\
    event: ping\ndata: {\"type\": \"ping\"}\n\n\
    event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
    \"text\":\"\\\"usage\\\":{\\\"output_tokens\\\":99999}\"}}\n\n\
    event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n\
    event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

const OVERLOADED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
    \"message\":\"Overloaded\"}}\n\n";

const HALF: &str = "data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-test-1\"}}\n\n";

const CHAT: &str = r#"{"model":"gpt/test 2","choices":[{"message":{"content":"hi"}}],
    "usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#;

/// An app that answers by the query, in chunks that are cut anywhere.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        let events = [("content-type", "text/event-stream; charset=utf-8")];
        let wanted = exchange.seen.target.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
        match wanted.as_str() {
            "json" => exchange.answer(200, &[("content-type", "application/json")], CHAT.as_bytes()),
            "gzip" => exchange.answer(200, &[events[0], ("content-encoding", "gzip")], b"\x1f\x8bnot to be read"),
            "html" => exchange.answer(200, &[("content-type", "text/html")], b"<p>usage"),
            "overloaded" => exchange.answer(200, &events, OVERLOADED.as_bytes()),
            "429" => exchange.answer(429, &[("content-type", "application/json")], br#"{"type":"error"}"#),
            seed => {
                let cut = seed == "cut";
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                exchange.write(head.as_bytes());
                let text = if cut { &STREAM[..STREAM.len() - 60] } else { STREAM };
                let (mut rest, mut random) = (text.as_bytes(), Random(seed.parse().unwrap_or(7)));
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at((random.below(40) + 1).min(rest.len()));
                    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
                    exchange.write(&chunk);
                    rest = after;
                }
                if cut {
                    return Next::Reset;
                }
                exchange.write(b"0\r\n\r\n");
                Next::Keep
            }
        }
    })
}

fn tokens(sidecar: &Sidecar, model: &str, kind: &str) -> f64 {
    let labels = [format!("model=\"{model}\""), format!("kind=\"{kind}\"")];
    sidecar.metric("pulsegate_llm_tokens_total", &[&labels[0], &labels[1]])
}

fn answers(sidecar: &Sidecar, model: &str, outcome: &str) -> f64 {
    let labels = [format!("model=\"{model}\""), format!("outcome=\"{outcome}\"")];
    sidecar.metric("pulsegate_llm_requests_total", &[&labels[0], &labels[1]])
}

#[test]
fn tokens_are_counted_and_no_byte_is_another() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    assert_eq!(tokens(&sidecar, "other", "input") + answers(&sidecar, "other", "unread"), 0.0, "there from the start");
    let mut client = Client::connect(sidecar.traffic);
    for seed in 1..=20 {
        let answer = client.ask("POST", &format!("/v1/messages?{seed}"), &[], b"{}").expect("an answer");
        assert_eq!(answer.text(), STREAM, "seed {seed}");
    }
    let answer = client.ask("POST", "/v1/chat/completions?json", &[], b"{}").expect("an answer");
    assert_eq!(answer.text(), CHAT);
    for unread in ["gzip", "html"] {
        let answer = client.ask("POST", &format!("/v1/messages?{unread}"), &[], b"{}").expect("an answer");
        assert_eq!(answer.status, 200);
    }
    // Not asked of a model, whatever it says.
    assert_eq!(client.ask("POST", "/other?json", &[], b"{}").expect("an answer").text(), CHAT);
    assert_eq!(client.ask("GET", "/v1/messages?json", &[], b"").expect("an answer").text(), CHAT);

    eventually(PATIENCE, "all are counted", || sidecar.metric("pulsegate_requests_total", &["code=\"200\""]) == 25.0);
    for (kind, count) in [("input", 500.0), ("output", 300.0), ("cache_read", 2000.0), ("cache_creation", 0.0)] {
        assert_eq!(tokens(&sidecar, "claude-test-1", kind), count, "{kind}");
    }
    assert_eq!((tokens(&sidecar, "gpt/test_2", "input"), tokens(&sidecar, "gpt/test_2", "cache_read")), (5.0, 4.0));
    assert_eq!(answers(&sidecar, "claude-test-1", "complete"), 20.0);
    assert_eq!(answers(&sidecar, "gpt/test_2", "complete"), 1.0);
    assert_eq!(answers(&sidecar, "other", "unread"), 2.0);
    sidecar.assert_metric("pulsegate_llm_requests_total", &[], 23.0);
    sidecar.assert_metric("pulsegate_time_to_first_token_seconds_count", &[], 20.0);
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0);
}

#[test]
fn errors_inside_a_success_and_cut_streams_count_once() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let answer = sidecar.ask("POST", "/v1/messages?overloaded", &[], b"{}");
    assert_eq!((answer.status, answer.text()), (200, OVERLOADED));
    assert!(Client::connect(sidecar.traffic).ask("POST", "/v1/messages?cut", &[], b"{}").is_err());
    assert_eq!(sidecar.ask("POST", "/v1/messages?429", &[], b"{}").status, 429);
    eventually(PATIENCE, "all are counted", || sidecar.metric("pulsegate_requests_total", &[]) == 3.0);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 2.0);
    for kind in ["overloaded", "upstream_reset", "rate_limited"] {
        sidecar.assert_metric("pulsegate_errors_total", &[&format!("type=\"{kind}\"")], 1.0);
    }
    sidecar.assert_metric("pulsegate_errors_total", &[], 3.0);
    assert_eq!(answers(&sidecar, "other", "error"), 1.0);
    assert_eq!(answers(&sidecar, "claude-test-1", "truncated"), 1.0);
    sidecar.assert_metric("pulsegate_llm_requests_total", &[], 2.0);
    assert_eq!(tokens(&sidecar, "claude-test-1", "cache_read"), 100.0, "what was told before the cut counts");
}

#[test]
fn a_client_that_leaves_with_the_last_word_has_its_answer() {
    // The body has no end before the client has gone.
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        let text = match exchange.seen.target.as_str() {
            "/v1/messages?overloaded" => OVERLOADED,
            "/v1/messages?half" => HALF,
            _ => STREAM,
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        exchange.write(format!("{head}{:x}\r\n{text}\r\n", text.len()).as_bytes());
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    for (wanted, text, code, kind, outcome) in [
        ("whole", STREAM, "200", None, "complete"),
        ("overloaded", OVERLOADED, "200", Some("overloaded"), "error"),
        ("half", HALF, "499", Some("client_closed"), "truncated"),
    ] {
        let (code, outcome) = (format!("code=\"{code}\""), format!("outcome=\"{outcome}\""));
        let counted = || {
            let errors = sidecar.metric("pulsegate_errors_total", &[]);
            let errors = (errors, kind.map_or(0.0, |kind| sidecar.metric("pulsegate_errors_total", &[kind])));
            let answers = sidecar.metric("pulsegate_llm_requests_total", &[&outcome]);
            (sidecar.metric("pulsegate_requests_total", &[&code]), errors.0, errors.1, answers)
        };
        let before = counted();
        let mut client = Client::connect(sidecar.traffic);
        client.write("POST", &format!("/v1/messages?{wanted}"), &[], b"{}").expect("sent");
        let head = client.read_head().expect("a head");
        let (mut pieces, mut body) = (client.pieces(&head).expect("a body"), Vec::new());
        while body != text.as_bytes() {
            body.extend(pieces.next().expect("more").expect("a piece"));
        }
        drop(client);
        let errors = f64::from(u8::from(kind.is_some()));
        let after = (before.0 + 1.0, before.1 + errors, before.2 + errors, before.3 + 1.0);
        eventually(PATIENCE, &format!("{wanted} counts as {code}, {kind:?} and {outcome}"), || counted() == after);
    }
    sidecar.assert_metric("pulsegate_requests_total", &[], 3.0);
}
