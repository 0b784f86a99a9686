//! The codec as fuzzers and tests see it: bytes in, a panic where a promise is broken.
//!
//! Compiled only for tests and for `fuzz/`, so that no module is public for their sake. What a second reader of these
//! bytes would see is decided by [`plain`], which was written apart from the codec and shares no code with it.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a broken promise is a panic here: that is how a fuzzer sees it"
)]

mod body;
mod heads;
mod plain;
mod rewriting;
mod scanning;

pub use self::body::body;
pub use self::heads::{request_head, response_head};
pub use self::rewriting::{rewrite_request, rewrite_response};
pub use self::scanning::{scan, usage};

/// One target: takes any bytes.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: [(&str, Target); 7] = [
    ("request_head", request_head),
    ("response_head", response_head),
    ("body", body),
    ("rewrite_request", rewrite_request),
    ("rewrite_response", rewrite_response),
    ("scan", scan),
    ("usage", usage),
];

/// The first byte of an input and the rest.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// The lengths of the pieces in which bytes arrive, made from a seed: mostly small, so that every boundary is met.
fn pieces(mut seed: u64) -> impl FnMut() -> usize {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (seed >> 58) as usize;
        1 + if length < 48 { length % 6 } else { length * 5 }
    }
}

#[cfg(test)]
mod tests {
    use super::TARGETS;

    /// What fuzzing has found interesting stays a test, without a fuzzer.
    #[test]
    fn the_corpora_keep_every_promise() {
        for (name, target) in TARGETS {
            let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut read = 0;
            for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
                target(&std::fs::read(entry.expect("an entry").path()).expect("a corpus file"));
                read += 1;
            }
            assert!(read >= 5, "{folder} holds {read} inputs only");
        }
    }

    #[test]
    fn no_input_is_too_short() {
        for (_, target) in TARGETS {
            for length in 0..4 {
                target(&vec![0; length]);
                target(&vec![0xFF; length]);
            }
        }
    }
}
