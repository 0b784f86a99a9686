use crate::settings::{Node, Problems, Setting, Shape};

/// A command that only reads, and answers at once, with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct ReadingCommand(pub(super) Vec<String>);

/// What a check may send. Redis has no sessions that only read, so the words are held here.
const READING: [&str; 28] = [
    "DBSIZE",
    "EXISTS",
    "GET",
    "HEXISTS",
    "HGET",
    "HLEN",
    "HMGET",
    "INFO",
    "LASTSAVE",
    "LINDEX",
    "LLEN",
    "MGET",
    "PING",
    "PTTL",
    "ROLE",
    "SCARD",
    "SISMEMBER",
    "STRLEN",
    "TIME",
    "TTL",
    "TYPE",
    "XINFO",
    "XLEN",
    "XPENDING",
    "ZCARD",
    "ZCOUNT",
    "ZRANK",
    "ZSCORE",
];

/// Commands of which one word reads.
const READING_WORDS: [(&str, &str); 4] =
    [("CLUSTER", "INFO"), ("MEMORY", "USAGE"), ("LATENCY", "LATEST"), ("SLOWLOG", "LEN")];

/// Arguments of a command.
const MOST_WORDS: usize = 100;

impl ReadingCommand {
    fn reads(words: &[String]) -> bool {
        let is = |word: &str, known: &str| word.eq_ignore_ascii_case(known);
        let [first, rest @ ..] = words else { return false };
        let second = rest.first().map_or("", String::as_str);
        words.len() <= MOST_WORDS
            && (READING.iter().any(|known| is(first, known))
                || READING_WORDS.iter().any(|(known, word)| is(first, known) && is(second, word)))
    }
}

impl Setting for ReadingCommand {
    const EXPECTS: &'static str = "a command of Redis that only reads, as a list of words: [\"LLEN\", \"queue\"]";
    const SHAPE: Shape = Shape::List(&Shape::Text);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let words = Vec::<String>::read(node, path, problems)?;
        if Self::reads(&words) {
            return Some(Self(words));
        }
        let known: Vec<&str> = READING.into_iter().chain(READING_WORDS.into_iter().map(|(known, _)| known)).collect();
        problems.add(&node.origin, format!("`{path}` must be {}; known here: {}", Self::EXPECTS, known.join(", ")));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_is_sent() {
        let reads =
            |words: &[&str]| ReadingCommand::reads(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert!(reads(&["PING"]) && reads(&["llen", "queue"]) && reads(&["memory", "usage", "key"]));
        for bad in [
            &[][..],
            &["FLUSHALL"],
            &["BLPOP", "q", "0"],
            &["CONFIG", "GET", "requirepass"],
            &["MEMORY", "PURGE"],
            &["MEMORY"],
        ] {
            assert!(!reads(bad), "{bad:?}");
        }
    }
}
