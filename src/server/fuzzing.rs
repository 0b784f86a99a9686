//! What comes before HTTP, as fuzzers and tests see it.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a broken promise is a panic here: that is how a fuzzer sees it"
)]

use std::net::IpAddr;

use super::proxy_protocol::{Parsed, parse};

/// A header of version 1 is never longer, one of version 2 is never read when it is.
const LONGEST: usize = 16 + 4096;

/// Any bytes where a PROXY header is expected: it ends at the same byte whatever follows, is never complete before, is
/// bounded, and says what the plainest reader sees.
pub fn proxy_protocol(data: &[u8]) {
    match parse(data) {
        Ok(Parsed::Complete(length, source)) => {
            assert!((1..=data.len()).contains(&length) && length <= LONGEST);
            assert_eq!(parse(&data[..length]), Ok(Parsed::Complete(length, source)), "what follows changes a header");
            for cut in [1, 2, length / 2, length - 1, length] {
                assert_eq!(parse(&data[..length - cut.min(length)]), Ok(Parsed::Partial), "{cut} bytes short");
            }
            says_what_it_says(&data[..length], source);
        }
        Ok(Parsed::Partial) => assert!(data.len() < LONGEST, "a header without end"),
        Err(error) => {
            // What is refused is refused whatever follows.
            let more = [data, b"\r\n"].concat();
            assert_eq!(parse(&more), Err(error));
        }
    }
}

fn says_what_it_says(header: &[u8], source: Option<IpAddr>) {
    if let Some(line) = header.strip_prefix(b"PROXY ") {
        let line = std::str::from_utf8(line).expect("text").strip_suffix("\r\n").expect("a line's end");
        assert!(!line.contains(['\r', '\n']) && header.len() <= 107);
        let told: Vec<&str> = line.split(' ').collect();
        match source {
            Some(source) => {
                assert_eq!(told.len(), 5);
                assert_eq!(told[1].parse::<IpAddr>().expect("an address").to_canonical(), source);
                assert!(told[3..].iter().all(|port| port.parse::<u16>().is_ok()));
            }
            None => assert_eq!(told[0], "UNKNOWN"),
        }
        return;
    }
    let rest = &header[16..];
    assert_eq!(usize::from(u16::from_be_bytes([header[14], header[15]])), rest.len());
    match source {
        Some(source) => {
            assert_eq!(header[12], 0x21);
            let told = match header[13] {
                0x11 => IpAddr::from(*rest.first_chunk::<4>().expect("four octets")),
                _ => IpAddr::from(*rest.first_chunk::<16>().expect("sixteen octets")),
            };
            assert_eq!(told.to_canonical(), source);
        }
        None => assert!(header[12] == 0x20 || header[13] == 0x31 || header[13] == 0x00),
    }
}

#[cfg(test)]
mod tests {
    use super::proxy_protocol;

    #[test]
    fn the_corpus_keeps_every_promise() {
        let folder = format!("{}/fuzz/corpus/proxy_protocol", env!("CARGO_MANIFEST_DIR"));
        let mut read = 0;
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder}: {error}")) {
            proxy_protocol(&std::fs::read(entry.expect("an entry").path()).expect("a corpus file"));
            read += 1;
        }
        assert!(read >= 5, "{folder} holds {read} inputs only");
    }
}
