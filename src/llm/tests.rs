use proptest::prelude::*;

use super::{ErrorKind, Format, Scanner, Usage};

/// Everything that is found in an answer that comes in these pieces.
type Summary = (Option<String>, Usage, Option<ErrorKind>, bool, bool);

fn scan<'a>(format: Format, pieces: impl IntoIterator<Item = &'a [u8]>) -> Summary {
    let mut scanner = Scanner::new(format);
    pieces.into_iter().for_each(|piece| scanner.read(piece));
    (scanner.model(), scanner.usage(), scanner.error(), scanner.has_token(), scanner.has_ended())
}

fn whole(format: Format, text: &str) -> Summary {
    scan(format, [text.as_bytes()])
}

fn usage(input: u64, output: u64, cache_read: u64, cache_creation: u64) -> Usage {
    Usage { input, output, cache_read, cache_creation }
}

const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-test-1","content":[],"stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":7,"cache_read_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":7},"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"say \"usage\":{\"output_tokens\":99999} \\"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"usage\": {\"output_tokens\": 9"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","usage":{"output_tokens":5}},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;

const CHAT: &str = r#"data: {"id":"c","object":"chat.completion.chunk","model":"gpt-test","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

: a comment

data: {"id":"c","model":"gpt-test","choices":[{"index":0,"delta":{"content":"{\"usage\":{\"prompt_tokens\":1}}"}}],"usage":null}

data: {"id":"c","model":"gpt-test","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}}

data: [DONE]

"#;

const RESPONSES: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"r","error":null,"model":"gpt-test-2","output":[],"usage":null}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"m","delta":"Hi"}

event: response.completed
data: {"type":"response.completed","response":{"id":"r","error":null,"model":"gpt-test-2","output":[{"type":"message","usage":{"input_tokens":1}}],"usage":{"input_tokens":37,"input_tokens_details":{"cached_tokens":30},"output_tokens":11,"total_tokens":48}}}

"#;

const MESSAGE: &str = r#" {"model":"claude-test-1","id":"m","type":"message","content":[{"type":"text","text":"\"usage\":{\"output_tokens\":7}"},{"type":"tool_use","input":{"usage":{"output_tokens":8},"model":"x"}}],"usage":{"input_tokens":12,"output_tokens":6,"cache_read_input_tokens":3}}
"#;

fn known() -> [(Format, &'static str, Summary); 4] {
    let name = |text: &str| Some(text.to_owned());
    [
        (Format::Events, ANTHROPIC, (name("claude-test-1"), usage(25, 15, 100, 7), None, true, true)),
        (Format::Events, CHAT, (name("gpt-test"), usage(15, 10, 4, 0), None, true, true)),
        (Format::Events, RESPONSES, (name("gpt-test-2"), usage(7, 11, 30, 0), None, true, true)),
        (Format::Json, MESSAGE, (name("claude-test-1"), usage(12, 6, 3, 0), None, false, true)),
    ]
}

#[test]
fn both_formats_are_read() {
    for (format, text, expected) in known() {
        assert_eq!(whole(format, text), expected, "{text}");
    }
    let chat = r#"{"model":"m","choices":[{"message":{"content":"hi","usage":{"prompt_tokens":5}}}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#;
    assert_eq!(whole(Format::Json, chat), (Some("m".into()), usage(9, 3, 0, 0), None, false, true));
    // A gateway that tells of the same cache in both ways.
    let both = r#"{"usage":{"prompt_tokens":50,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":30},"cache_read_input_tokens":30,"cache_creation_input_tokens":5}}"#;
    assert_eq!(whole(Format::Json, both).1, usage(15, 1, 30, 5));
}

#[test]
fn pieces_and_line_ends_make_no_difference() {
    for (format, text, expected) in known() {
        for line_end in ["\n", "\r\n", "\r"] {
            let text = if format == Format::Events { text.replace('\n', line_end) } else { text.to_owned() };
            for at in 0..=text.len() {
                let (before, after) = text.as_bytes().split_at(at);
                assert_eq!(scan(format, [before, after]), expected, "{line_end:?} split at {at}");
            }
            assert_eq!(scan(format, text.as_bytes().chunks(1)), expected, "byte by byte");
        }
    }
    let lines = "\u{feff}data: {\"model\":\ndata:\"m\",\ndata: \"usage\":{\"output_tokens\":\ndata\ndata: 4}}\n\n";
    assert_eq!(whole(Format::Events, lines).1, usage(0, 4, 0, 0), "data in several lines");
}

#[test]
fn the_first_token_is_seen_with_its_own_bytes() {
    for (text, first) in
        [(ANTHROPIC, "thinking_delta"), (CHAT, "{\\\"usage"), (RESPONSES, "response.output_text.delta\",\"item_id")]
    {
        let line = text.find(first).expect("the delta");
        let end = line + text[line..].find('\n').expect("its end");
        assert!(!whole(Format::Events, &text[..line]).3, "{first}");
        assert!(whole(Format::Events, &text[..end]).3, "{first}");
    }
    let call = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"{\"}}]}}]}\n\n";
    assert!(whole(Format::Events, call).3);
    for none in ["null", "\"\"", "[]", "[ ]", "{}"] {
        for key in ["content", "tool_calls"] {
            let text = format!("data: {{\"choices\":[{{\"delta\":{{\"{key}\":{none}}}}}]}}\n\n");
            assert!(!whole(Format::Events, &text).3, "{text}");
        }
    }
    let nested = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[[]],\"content\":\"\"}}],\"model\":\"m\"}\n\n";
    let (model, _, _, has_token, _) = whole(Format::Events, nested);
    assert_eq!((model.as_deref(), has_token), (Some("m"), true));
}

#[test]
fn errors_inside_a_success_are_known_by_their_names() {
    for (data, kind) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, ErrorKind::Overloaded),
        (r#"{"type":"error","error":{"type":"rate_limit_error"}}"#, ErrorKind::RateLimited),
        (r#"{"type":"error","error":{"type":"api_error"},"request_id":"r"}"#, ErrorKind::Server),
        (r#"{"type":"error","error":{"type":"invalid_request_error"}}"#, ErrorKind::Client),
        (r#"{"type":"error","code":"rate_limit_exceeded","message":"","param":null}"#, ErrorKind::RateLimited),
        (r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#, ErrorKind::Server),
        (r#"{"error":{"message":"m","type":"None","param":"None","code":"529"}}"#, ErrorKind::Overloaded),
        (r#"{"error":{"message":"m","code":404}}"#, ErrorKind::Client),
        (r#"{"error":{"type":"authentication_error"}}"#, ErrorKind::Unauthorized),
        (r#"{"error":{"message":"m","code":401}}"#, ErrorKind::Client),
        (r#"{"type":"\u0065rror","error":{"typ\u0065":"api\u005ferror"}}"#, ErrorKind::Server),
        (r#"{"error":"what nobody knows"}"#, ErrorKind::Server),
    ] {
        assert_eq!(whole(Format::Events, &format!("event: error\ndata: {data}\n\n")).2, Some(kind), "{data}");
    }
    for none in [
        r#"{"error":null}"#,
        r#"{"error":""}"#,
        r#"{"error": { } }"#,
        r#"{"content":[{"error":{"type":"api_error"}}]}"#,
        r#"{"text":"\"error\":{}"}"#,
    ] {
        assert_eq!(whole(Format::Json, none).2, None, "{none}");
    }
}

#[test]
fn what_breaks_off_has_not_ended() {
    let cut = ANTHROPIC.find("event: message_stop").expect("the last event");
    let (model, usage_so_far, error, token, ended) = whole(Format::Events, &ANTHROPIC[..cut]);
    assert_eq!(
        (model.as_deref(), usage_so_far, error, token, ended),
        (Some("claude-test-1"), usage(25, 15, 100, 7), None, true, false)
    );
    assert!(!whole(Format::Json, &MESSAGE[..MESSAGE.len() - 3]).4);
    assert!(!whole(Format::Events, "data: [DONE]x\n\ndata: x[DONE]\n\n").4);
    for end in ["[DONE]", "[DONE]\n", "[DONE] \n\n", "[DONE]\r\n"] {
        for space in [" ", ""] {
            assert!(whole(Format::Events, &format!("data:{space}{end}")).4, "{space:?} {end:?}");
        }
    }
    for none in ["[DONE]x", "[DONE] x", "[DONE]       x"] {
        let text = format!("data: {none}");
        assert!(!whole(Format::Events, &text).4, "{none:?}");
        assert!(!scan(Format::Events, text.as_bytes().chunks(1)).4, "{none:?}");
    }
}

#[test]
fn names_are_clean_and_numbers_are_numbers() {
    let model = |name: &str| whole(Format::Json, &format!("{{\"model\":{name}}}")).0;
    assert_eq!(model(r#""a b\n{}\"é""#).as_deref(), Some("a_b______"), "escapes and all that is not plain");
    assert_eq!(model(&format!("\"{}\"", "x".repeat(65))), None);
    assert_eq!(model("17"), None);
    assert_eq!(model(r#""openai\/gpt\u002d\u0035""#).as_deref(), Some("openai/gpt-5"));
    assert_eq!(model(r#""\u6a21\ud83d\ude00""#), model("\"模😀\""), "escaped or not");
    assert_eq!(model(r#""a\u00"},"x":""#).as_deref(), Some("a"), "no JSON, and its text ends all the same");
    let tokens = |number: &str| whole(Format::Json, &format!("{{\"usage\":{{\"output_tokens\":{number}}}}}")).1;
    let none = [
        "-1",
        "1.5",
        "1e-3",
        "\"7\"",
        "null",
        "{}",
        "[1]",
        "1000000001",
        "18446744073709551615",
        "1e300",
        "inf",
        "NaN",
    ];
    for odd in none {
        assert_eq!(tokens(odd), Usage::default(), "{odd}");
    }
    for (number, count) in [("25", 25), ("25.0", 25), ("2.5e1", 25), ("1E3", 1000), ("1000000000", 1_000_000_000)] {
        assert_eq!(tokens(number), usage(0, count, 0, 0), "{number}");
    }
}

#[test]
fn other_spellings_of_the_same_json_are_read() {
    let escaped = r#"{"mod\u0065l":"m","\u0075sage":{"input\u005ftokens":2,"output_tokens":3}}"#;
    assert_eq!(whole(Format::Json, escaped), (Some("m".into()), usage(2, 3, 0, 0), None, false, true));
    let marked = format!("\u{feff}{MESSAGE}");
    assert_eq!(whole(Format::Json, &marked), whole(Format::Json, MESSAGE));
    let stop = r#"data: {"type":"message\u005fstop"}"#;
    assert!(whole(Format::Events, stop).4);
}

#[test]
fn memory_is_bounded() {
    assert!(size_of::<Scanner>() <= Scanner::MEMORY, "{}", size_of::<Scanner>());
    let deep = format!("{{\"x\":{}1{},\"usage\":{{\"output_tokens\":3}}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(whole(Format::Json, &deep).1, usage(0, 3, 0, 0));
}

proptest! {
    #[test]
    fn anything_in_any_pieces_is_the_same_as_in_one(
        bytes in proptest::collection::vec(prop_oneof![
            Just(b'"'), Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b','), Just(b':'), Just(b'\\'),
            Just(b'\n'), Just(b'\r'), any::<u8>(),
        ], 0..300),
        cuts in proptest::collection::vec(1_usize..20, 1..40),
        insert in 0_usize..2000,
        events in any::<bool>(),
    ) {
        let format = if events { Format::Events } else { Format::Json };
        // In the middle of something known, so that deep places are reached.
        let known = if events { ANTHROPIC } else { MESSAGE };
        let at = insert % known.len();
        let text = [&known.as_bytes()[..at], &bytes, &known.as_bytes()[at..]].concat();
        let mut pieces = Vec::new();
        let (mut rest, mut cut) = (&text[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cut.next().expect("endless")).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(scan(format, pieces), scan(format, [&text[..]]));
    }

    #[test]
    fn no_text_of_a_model_counts(text in ".{0,80}", tail in "\\PC{0,40}") {
        let said = format!("{text}\",\"usage\":{{\"output_tokens\":99}}{tail}");
        let body = serde_json::json!({
            "model": "m", "content": [{ "text": said, "input": { "usage": { "output_tokens": 98 }, "key": said } }],
            "usage": { "input_tokens": 2, "output_tokens": 3 },
        });
        prop_assert_eq!(whole(Format::Json, &body.to_string()).1, usage(2, 3, 0, 0));
    }
}
