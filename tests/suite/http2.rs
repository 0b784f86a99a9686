//! HTTP/2 towards clients: what passes, in which frames, and what is counted (RFC 9113).

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response};

use crate::support::http2::{DATA, Frames, GOAWAY, HEADERS, RST_STREAM, block, with_http2};
use crate::support::{Authority, Next, PATIENCE, Sidecar, Upstream, eventually, run};

fn request(method: &str, target: &str) -> Request<()> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    Request::builder().method(method).uri(format!("http://a.example{target}")).body(()).expect("a request")
}

/// The whole body and the trailer.
async fn whole(response: Response<RecvStream>) -> Result<(u16, HeaderMap, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailer = stream.trailers().await?;
    Ok((parts.status.as_u16(), parts.headers, body, trailer))
}

/// An app that sends back what it got.
fn echo() -> Upstream {
    Upstream::start(|exchange| {
        if !exchange.read_body() {
            return Next::Close;
        }
        let body = exchange.seen.body.clone();
        exchange.answer(200, &[("X-App", "echo"), ("set-cookie", "a=1"), ("set-cookie", "b=2")], &body)
    })
}

#[test]
fn requests_and_answers_pass() {
    let upstream = echo();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    with_http2(sidecar.traffic, async |mut client| {
        for (method, target, body) in [
            ("GET", "/", &b""[..]),
            ("POST", "/v1/messages?beta=true&x=%2F", b"{\"hello\":1}"),
            ("PUT", "/a/../b//c/%41;d?e=f", b"x"),
            ("BREW", "/pot", b"coffee"),
        ] {
            let mut request = request(method, target);
            for (name, value) in
                [("cookie", "a=1"), ("x-two", "1"), ("cookie", "b=2"), ("x-two", "2"), ("te", "trailers")]
            {
                request.headers_mut().append(name, value.parse().expect("a value"));
            }
            let (answer, mut send) = client.send_request(request, body.is_empty()).expect("sent");
            if !body.is_empty() {
                send.send_data(Bytes::from_static(body), true).expect("sent");
            }
            let (status, fields, got, trailer) = whole(answer.await.expect("an answer")).await.expect("whole");
            assert_eq!((status, &*got, trailer), (200, body, None), "{method} {target}");
            assert_eq!(fields["x-app"], "echo");
            assert_eq!(fields.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
            assert!(!fields.contains_key("connection") && !fields.contains_key("transfer-encoding"), "{fields:?}");
            let seen = upstream.seen().pop().expect("a request");
            assert_eq!((&*seen.method, &*seen.target), (method, target));
            assert_eq!(seen.field("host"), Some("a.example"));
            assert_eq!(seen.all("cookie"), ["a=1; b=2"], "crumbs become one field");
            assert_eq!((seen.all("x-two"), seen.all("te")), (vec!["1", "2"], vec!["trailers"]));
            assert!(seen.field("via").is_some_and(|via| via.starts_with("2.0 pulsegate-")), "{seen:?}");
            assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
        }
        let (answer, _) = client.send_request(request("GET", "/livez"), true).expect("sent");
        assert_eq!(answer.await.expect("an endpoint").status(), 200);
    });
    assert_eq!(upstream.accepted(), 1, "the app's connection is kept");
    sidecar.assert_metric("pulsegate_requests_total", &[], 4.0);
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
}

/// What HTTP/2 does not have (RFC 9113 section 8.2.2), an app of HTTP/1.1 may say all the same.
#[test]
fn fields_of_a_connection_stay_on_it() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 103 Early Hints\r\nTE: deflate\r\nlink: </a>\r\n\r\n");
        let fields = [("te", "deflate"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"), ("x-a", "b")];
        exchange.answer(200, &fields, b"hello")
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    with_http2(sidecar.traffic, async |mut client| {
        let (answer, _) = client.send_request(request("GET", "/"), true).expect("sent");
        let (status, fields, body, _) = whole(answer.await.expect("an answer")).await.expect("whole");
        assert_eq!((status, &*body, &fields["x-a"]), (200, &b"hello"[..], &HeaderValue::from_static("b")));
        assert!(["te", "keep-alive", "proxy-connection"].iter().all(|name| !fields.contains_key(*name)), "{fields:?}");
    });
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0);
}

#[test]
fn answers_without_a_body_are_one_frame() {
    for (method, answer, status) in [
        ("HEAD", &b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"[..], 200),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n", 304),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200),
        // What gRPC calls Trailers-Only comes from an app like this.
        ("POST", b"HTTP/1.1 200 OK\r\ngrpc-status: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 200),
    ] {
        let upstream = Upstream::start(move |exchange| {
            exchange.read_body();
            if exchange.write(answer) { Next::Keep } else { Next::Close }
        });
        let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
        with_http2(sidecar.traffic, async |mut client| {
            let (answer, _) = client.send_request(request(method, "/"), true).expect("sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status().as_u16(), status);
            assert!(answer.body().is_end_stream(), "{method} {status}: the head is the end");
            assert_eq!(method == "HEAD", answer.headers().get("content-length").is_some_and(|length| length == "1234"));
        });
    }
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::start(|exchange| {
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            let Some(more) = exchange.take_some() else { return Next::Close };
            got.extend(more);
        }
        let told = String::from_utf8_lossy(&got).replace("\r\n", "|");
        let answer = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{told}\r\n0\r\ngrpc-status: 0\r\nx-sum: 7\r\n\r\n",
            told.len()
        );
        if exchange.write(answer.as_bytes()) { Next::Keep } else { Next::Close }
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    with_http2(sidecar.traffic, async |mut client| {
        let (answer, mut send) = client.send_request(request("POST", "/"), false).expect("sent");
        send.send_data(Bytes::from_static(b"hello"), false).expect("sent");
        let mut trailer = HeaderMap::new();
        trailer.insert("x-asked", "yes".parse().expect("a value"));
        send.send_trailers(trailer).expect("sent");
        let (_, _, body, trailer) = whole(answer.await.expect("an answer")).await.expect("whole");
        assert_eq!(String::from_utf8_lossy(&body), "5|hello|0|x-asked: yes||");
        let trailer = trailer.expect("a trailer");
        assert_eq!((trailer["grpc-status"].as_bytes(), trailer["x-sum"].as_bytes()), (&b"0"[..], &b"7"[..]));
    });
}

#[test]
fn both_sides_speak_at_the_same_time() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        loop {
            let Some(some) = exchange.take_some() else { return Next::Close };
            // Whole chunks come whole, and go back as they came.
            if !exchange.write(&some) || some.ends_with(b"0\r\n\r\n") {
                return Next::Keep;
            }
        }
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    with_http2(sidecar.traffic, async |mut client| {
        let (answer, mut send) = client.send_request(request("POST", "/"), false).expect("sent");
        let mut answer = answer.await.expect("an answer before the request is over").into_body();
        for turn in 0..50 {
            let said = format!("turn {turn}");
            send.send_data(Bytes::from(said.clone()), false).expect("sent");
            let heard = answer.data().await.expect("not the end").expect("data");
            assert_eq!(heard, said.as_bytes());
            answer.flow_control().release_capacity(heard.len()).expect("released");
        }
        send.send_data(Bytes::new(), true).expect("sent");
        assert!(answer.data().await.is_none_or(|data| data.is_ok_and(|data| data.is_empty())));
    });
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 1.0);
}

#[test]
fn a_client_that_gives_up_takes_its_request_from_the_app() {
    let upstream = Upstream::start(|exchange| {
        if exchange.seen.target == "/quick" {
            return exchange.answer(200, &[], b"still here");
        }
        if exchange.seen.target == "/begun" {
            exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n");
        }
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    with_http2(sidecar.traffic, async |mut client| {
        let (answer, mut send) = client.send_request(request("GET", "/begun"), false).expect("sent");
        let answer = answer.await.expect("an answer");
        send.send_reset(Reason::CANCEL);
        let (waiting, mut send) = client.send_request(request("GET", "/silent"), true).expect("sent");
        let waiting = tokio::time::timeout(Duration::from_millis(100), waiting).await;
        assert!(waiting.is_err());
        send.send_reset(Reason::CANCEL);
        drop(answer);
        let (answer, _) = client.send_request(request("GET", "/quick"), true).expect("sent");
        assert_eq!(whole(answer.await.expect("an answer")).await.expect("whole").2, b"still here");
        eventually(PATIENCE, "both are counted", || {
            sidecar.metric("pulsegate_requests_total", &["code=\"499\""]) == 2.0
        });
    });
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 0.0);
    sidecar.assert_metric("pulsegate_errors_total", &["client_closed"], 2.0);
}

#[test]
fn an_answer_that_breaks_off_is_never_complete() {
    for (answer, next) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..], Next::Close),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", Next::Close),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", Next::Keep),
        (b"HTTP/1.1 200 OK\r\n\r\nhalf", Next::Reset),
    ] {
        let upstream = Upstream::start(move |exchange| {
            exchange.write(answer);
            // The part that is there has left before the end comes.
            std::thread::park_timeout(Duration::from_millis(100));
            next
        });
        let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
        with_http2(sidecar.traffic, async |mut client| {
            let (answer, _) = client.send_request(request("GET", "/"), true).expect("sent");
            let ended = match answer.await {
                Ok(answer) if answer.status() == 502 => return,
                Ok(answer) => whole(answer).await.map(|_| ()),
                Err(error) => Err(error),
            };
            assert_eq!(ended.expect_err("an error").reason(), Some(Reason::INTERNAL_ERROR));
        });
        eventually(PATIENCE, "it is counted", || sidecar.metric("pulsegate_requests_total", &[]) == 1.0);
    }
}

/// A reset must not take back what has come of the answer.
#[test]
fn what_came_of_a_broken_answer_is_there_before_its_end() {
    const STREAMS: usize = 8;
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut frames = Frames::connect(sidecar.traffic);
    for round in 0..50 {
        let streams: Vec<u32> = (0..STREAMS).map(|number| (2 * (round * STREAMS + number) + 1) as u32).collect();
        streams.iter().for_each(|stream| frames.get(*stream, "/").expect("a request"));
        let mut seen = std::collections::BTreeMap::<u32, Vec<u8>>::new();
        let mut over = 0;
        while over < STREAMS {
            let frame = frames.next().expect("a frame");
            if frame.stream > 0 {
                seen.entry(frame.stream).or_default().push(frame.kind);
                over += usize::from(frame.kind == RST_STREAM);
            }
        }
        for stream in streams {
            assert_eq!(seen[&stream], [HEADERS, DATA, RST_STREAM], "stream {stream}");
        }
    }
}

#[test]
fn an_app_that_is_not_there_is_a_502() {
    let upstream = Upstream::hello();
    let settings = Sidecar::bare(&upstream).text("proxy.upstream", "http://127.0.0.1:1");
    let sidecar = Sidecar::start(&settings);
    with_http2(sidecar.traffic, async |mut client| {
        let (answer, _) = client.send_request(request("GET", "/"), true).expect("sent");
        let (status, fields, body, _) = whole(answer.await.expect("an answer")).await.expect("whole");
        assert_eq!(status, 502);
        assert!(fields.contains_key("proxy-status"));
        assert!(String::from_utf8_lossy(&body).contains("upstream_connect_refused"));
    });
}

#[test]
fn a_hundred_streams_at_once_and_as_many_answers() {
    let upstream = echo();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    with_http2(sidecar.traffic, async |client| {
        let mut all = tokio::task::JoinSet::new();
        for number in 0..1000_usize {
            let client = client.clone();
            all.spawn(async move {
                let mut client = client.ready().await.expect("room for one more");
                let (answer, mut send) = client.send_request(request("POST", "/"), false).expect("sent");
                let body = Bytes::from(format!("{number} ").repeat(number % 97 + 1));
                send.send_data(body.clone(), true).expect("sent");
                let (status, _, got, _) = whole(answer.await.expect("an answer")).await.expect("whole");
                assert_eq!((status, Bytes::from(got)), (200, body));
            });
        }
        while let Some(done) = all.join_next().await {
            done.expect("no failure");
        }
    });
    assert_eq!(upstream.seen().len(), 1000);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 1000.0);
    sidecar.assert_metric("pulsegate_requests_total", &[], 1000.0);
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
    eventually(PATIENCE, "nobody is connected", || sidecar.metric("pulsegate_connections", &[]) == 0.0);
}

#[test]
fn more_streams_than_allowed_are_refused_and_may_come_again() {
    let upstream = Upstream::start(|exchange| {
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.limits.streams", "3"));
    let mut frames = Frames::connect(sidecar.traffic);
    for number in 0..4 {
        frames.get(2 * number + 1, "/").expect("a request");
    }
    let reset = frames.wait_for(RST_STREAM).expect("one is refused");
    assert_eq!((reset.stream, reset.code()), (7, 7), "REFUSED_STREAM");
    eventually(PATIENCE, "three are with the app", || upstream.seen().len() == 3);
    // At once, and as what a limit refused.
    let refused = || sidecar.metric("pulsegate_requests_total", &["code=\"429\""]);
    eventually(PATIENCE, "it is counted", || refused() == 1.0);
    sidecar.assert_metric("pulsegate_errors_total", &["rejected_limit"], 1.0);
    for number in 4..404 {
        // It may be sent away before the last of them.
        let _ = frames.get(2 * number + 1, "/");
    }
    // A client that goes on like this is.
    assert_eq!(frames.wait_for_end(), Some(11), "ENHANCE_YOUR_CALM");
    drop(frames);
    eventually(PATIENCE, "the three are counted", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0);
    let all = refused();
    assert!((200.0..=401.0).contains(&all), "{all}");
    sidecar.assert_metric("pulsegate_requests_total", &[], all + 3.0);
    sidecar.assert_metric("pulsegate_errors_total", &["rejected_limit"], all);
    sidecar.assert_metric("pulsegate_errors_total", &["invalid_request"], 0.0);
}

/// What stands before the body of curl's `--include`.
fn curl(arguments: &[&str]) -> (Option<i32>, String) {
    let ended =
        run(Command::new("curl").args(["--silent", "--show-error", "--include", "--max-time", "30"]).args(arguments));
    (ended.code, format!("{}{}", ended.stdout, ended.stderr))
}

#[test]
fn curl_asks_with_prior_knowledge_and_over_tls() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        let length = exchange.seen.body.len().to_string();
        exchange.answer(200, &[], length.as_bytes())
    });
    let authority = Authority::new();
    authority.serve(&authority.issue("a.example"));
    let (cert, key) =
        (authority.path("tls.crt").display().to_string(), authority.path("tls.key").display().to_string());
    let plain = Sidecar::start(&Sidecar::bare(&upstream));
    let secure = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.tls.cert", &cert).text("proxy.tls.key", &key));
    let file = authority.file("body", &"x".repeat(3_000_000));
    let (body, ca) = (format!("@{file}"), authority.path("ca.crt").display().to_string());
    let (at_plain, at_secure) = (format!("http://{}/", plain.traffic), format!("https://{}/", secure.traffic));
    for arguments in [
        vec!["--http2-prior-knowledge", "--data-binary", &body, &at_plain],
        vec!["--http2", "--cacert", &ca, "--data-binary", &body, &at_secure],
    ] {
        let (code, said) = curl(&arguments);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.starts_with("HTTP/2 103"), "{said}");
        assert!(said.contains("\nHTTP/2 200") && said.ends_with("3000000"), "{said}");
    }
    assert_eq!(
        upstream.seen().last().and_then(|seen| seen.field("x-forwarded-proto").map(str::to_owned)),
        Some("https".into())
    );
    let (code, said) = curl(&["--http1.1", "--cacert", &ca, "--data-binary", "x", &at_secure]);
    assert!(code == Some(0) && said.contains("HTTP/1.1 200"), "{said}");
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.idle", "300ms"));
    let mut frames = Frames::connect(sidecar.traffic);
    frames.get(1, "/").expect("a request");
    assert!(frames.wait_for(HEADERS).is_some());
    let first = frames.wait_for(GOAWAY).expect("told");
    assert_eq!((first.code(), &first.payload[..4]), (0, &[0x7f, 0xff, 0xff, 0xff][..]), "nothing is refused yet");
    let second = frames.wait_for(GOAWAY).expect("told again");
    assert_eq!((second.code(), &second.payload[..4]), (0, &[0, 0, 0, 1][..]), "and so much was served");
    assert_eq!(frames.next(), None);
    let mut unfinished = Frames::connect(sidecar.traffic);
    let part = block(&[(":method", "GET")]);
    unfinished.send(HEADERS, 0, 1, &part).expect("half a head");
    // Nothing else may be sent in the middle of a head, so nothing is answered.
    let last = std::iter::from_fn(|| unfinished.next()).filter(|frame| frame.kind == GOAWAY).last();
    assert_eq!(last.expect("told").code(), 0, "half a request does not hold the connection");
}
