//! What the codec costs, beside what it is built on: `cargo bench --bench codec --features bench`.
//!
//! `bare` is httparse alone on the same bytes; `map` is httparse and the map of fields that hyper makes of it for every
//! message. The ratios to those are what to compare: they move less between machines than the figures.

#![expect(clippy::expect_used, reason = "a benchmark that cannot start has failed")]

use std::hint::black_box;
use std::mem::MaybeUninit;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use pulsegate::proxy::bench::Codec;

/// What a client library sends to a model's API: twelve fields.
const REQUEST: &[u8] = b"POST /v1/messages?beta=true HTTP/1.1\r\n\
    Host: api.example.com:8080\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Connection: keep-alive\r\n\
    User-Agent: Client/Python 0.52.0\r\n\
    Content-Type: application/json\r\n\
    X-Api-Key: not-a-key-0123456789abcdef0123456789abcdef\r\n\
    X-Stainless-Lang: python\r\n\
    X-Stainless-Retry-Count: 0\r\n\
    X-Request-Id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
    Content-Length: 1234\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
    Server: uvicorn\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 2048\r\n\
    Cache-Control: no-store\r\n\
    X-Request-Id: 4bf92f35-77b3-4da6-a3ce-929d0e0e4736\r\n\
    Connection: keep-alive\r\n\r\n";

const MOST_FIELDS: usize = 100;

fn count(fields: &[httparse::Header<'_>]) -> usize {
    fields.len()
}

fn request<T>(bytes: &[u8], see: impl FnOnce(&[httparse::Header<'_>]) -> T) -> T {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    assert!(request.parse_with_uninit_headers(bytes, &mut fields).expect("valid").is_complete());
    see(request.headers)
}

fn response<T>(bytes: &[u8], see: impl FnOnce(&[httparse::Header<'_>]) -> T) -> T {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
    assert!(parsed.expect("valid").is_complete());
    see(response.headers)
}

/// As hyper keeps them: the values share one copy of the bytes.
fn map(bytes: &[u8], fields: &[httparse::Header<'_>]) -> HeaderMap {
    let shared = Bytes::copy_from_slice(bytes);
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let start = field.value.as_ptr().addr() - bytes.as_ptr().addr();
        let value = HeaderValue::from_maybe_shared(shared.slice(start..start + field.value.len())).expect("valid");
        map.append(HeaderName::from_bytes(field.name.as_bytes()).expect("valid"), value);
    }
    map
}

/// 32 chunks of 512 bytes, and their end.
fn chunked() -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..32 {
        body.extend_from_slice(b"200\r\n");
        body.extend_from_slice(&[b'x'; 512]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

fn codec(criterion: &mut Criterion) {
    let mut codec = Codec::default();
    assert_eq!(codec.read_request(REQUEST), Some(12));
    assert!(
        codec.rewrite_request(REQUEST).is_some_and(|out| out.starts_with(b"POST /v1/messages?beta=true HTTP/1.1\r\n"))
    );
    assert!(codec.rewrite_response(RESPONSE).is_some_and(|out| out.starts_with(b"HTTP/1.1 200 OK\r\n")));

    let mut group = criterion.benchmark_group("request of 12 fields");
    group.bench_function("bare", |bench| bench.iter(|| request(black_box(REQUEST), count)));
    group.bench_function("map", |bench| bench.iter(|| request(black_box(REQUEST), |fields| map(REQUEST, fields))));
    group.bench_function("read", |bench| bench.iter(|| codec.read_request(black_box(REQUEST))));
    group.bench_function("rewrite", |bench| bench.iter(|| codec.rewrite_request(black_box(REQUEST)).map(<[u8]>::len)));
    group.finish();

    let mut group = criterion.benchmark_group("answer of 7 fields");
    group.bench_function("bare", |bench| bench.iter(|| response(black_box(RESPONSE), count)));
    group.bench_function("map", |bench| bench.iter(|| response(black_box(RESPONSE), |fields| map(RESPONSE, fields))));
    group
        .bench_function("rewrite", |bench| bench.iter(|| codec.rewrite_response(black_box(RESPONSE)).map(<[u8]>::len)));
    group.finish();

    let body = chunked();
    let mut group = criterion.benchmark_group("16 KiB in 32 chunks");
    group.bench_function("copy", |bench| {
        bench.iter_batched_ref(|| body.clone(), |body| body.clone(), BatchSize::SmallInput);
    });
    group.bench_function("follow", |bench| {
        bench.iter_batched_ref(|| body.clone(), |body| codec.chunks(body), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
