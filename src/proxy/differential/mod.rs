//! The codec beside hyper's, which many apps stand on: both read the same generated messages, and where they see something
//! else, the difference is in a table, with its reason. What is not in the table fails.

mod answers;
mod bytes;
mod generate;
mod requests;

use std::collections::BTreeMap;

/// A kind of difference, and why it is one.
type Documented = [(&'static str, &'static str)];

/// One message as one reader saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Method, target, version or code: whatever stands in the first line.
    line: String,
    /// Names in lower case and trimmed values.
    fields: Vec<(String, Vec<u8>)>,
    /// How the body ends: `empty`, a length, `chunked`, `close`.
    framing: String,
    /// The data of the body, if it is complete.
    body: Option<Vec<u8>>,
    /// Whether another message may follow.
    keep: bool,
}

/// All that one reader saw of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reading {
    seen: Vec<Seen>,
    /// Why it stopped: a code of ours, or what hyper says; `None` at the end of the bytes or of the connection.
    refused: Option<String>,
}

/// The first way in which two readings differ.
fn difference(ours: &Reading, theirs: &Reading) -> Option<String> {
    for (index, (our, their)) in ours.seen.iter().zip(&theirs.seen).enumerate() {
        let refused_here = index + 1 == ours.seen.len() && our.body.is_none();
        match &ours.refused {
            Some(code) if refused_here && their.body.is_some() => return Some(format!("stricter in a body: {code}")),
            _ => {}
        }
        if our.line.starts_with("OPTIONS *") && their.line.starts_with("OPTIONS /") {
            return Some("OPTIONS for the whole server".to_owned());
        }
        let fields = [
            ("line", our.line != their.line),
            ("framing", our.framing != their.framing),
            ("fields", our.fields != their.fields),
            ("body", our.body != their.body),
        ];
        if let Some((what, _)) = fields.iter().find(|(_, differs)| *differs) {
            return Some(format!("another {what}"));
        }
        match (our.keep, their.keep) {
            (false, true) => return Some("closes sooner".to_owned()),
            (true, false) => return Some("keeps longer".to_owned()),
            _ => {}
        }
    }
    // Both have given up on the same body.
    let broken = |reading: &Reading| reading.seen.last().is_some_and(|seen| seen.body.is_none());
    if ours.seen.len() == theirs.seen.len() && broken(ours) {
        return None;
    }
    match (ours.seen.len().cmp(&theirs.seen.len()), &ours.refused, &theirs.refused) {
        (std::cmp::Ordering::Less, Some(code), _) => Some(format!("stricter: {code}")),
        (std::cmp::Ordering::Less, None, _) => Some("unseen by us".to_owned()),
        (std::cmp::Ordering::Greater, _, Some(error)) => Some(format!("laxer: {error}")),
        (std::cmp::Ordering::Greater, _, None) => Some("unseen by hyper".to_owned()),
        (std::cmp::Ordering::Equal, Some(code), None) => Some(format!("stricter at the end: {code}")),
        (std::cmp::Ordering::Equal, None, Some(error)) => Some(format!("laxer at the end: {error}")),
        (std::cmp::Ordering::Equal, ..) => None,
    }
}

/// Compares so many generated inputs; the seed of an input is its number, so one that differs can be had again alone.
fn compare(
    count: u64,
    documented: &Documented,
    generate: fn(&mut generate::Random) -> generate::Input,
    ours: fn(&generate::Input) -> Reading,
    theirs: fn(&generate::Input) -> Reading,
) {
    let mut kinds = BTreeMap::<String, (u64, u64)>::new();
    let (mut agreed, mut accepted, mut surprises) = (0, 0, Vec::new());
    for seed in 0..count {
        let input = generate(&mut generate::Random::new(seed));
        let (our, their) = (ours(&input), theirs(&input));
        accepted += our.seen.len();
        let Some(kind) = difference(&our, &their) else {
            agreed += 1;
            continue;
        };
        let known = documented.iter().any(|(known, _)| *known == kind);
        let counted = kinds.entry(kind.clone()).or_insert((0, seed));
        if !known && counted.0 == 0 {
            let text = String::from_utf8_lossy(&input.bytes).into_owned();
            surprises.push(format!("{kind}, seed {seed}: {text:?}\n  ours  {our:?}\n  hyper {their:?}"));
        }
        counted.0 += 1;
    }
    println!("{count} inputs, {accepted} messages accepted, {agreed} inputs read alike; first differences:");
    for (kind, (times, seed)) in &kinds {
        println!("{times:7} {kind} (first: seed {seed})");
    }
    assert!(surprises.is_empty(), "undocumented differences:\n{}", surprises.join("\n"));
    let unseen: Vec<_> = documented.iter().filter(|(kind, _)| !kinds.contains_key(*kind)).collect();
    assert!(unseen.is_empty(), "documented, but not there any more: {unseen:?}");
    assert!(agreed > count / 3 && accepted as u64 > count / 3, "the messages are too broken to say anything");
}
