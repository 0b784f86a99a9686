use super::super::settings::LoginSettings;
use super::super::witness::Witness;
use super::{choice, pieces};
use crate::traffic::Traffic;

/// What an answer says about the login and the load is the same in any pieces. The first byte is the kind of answer, the
/// second says in which pieces it comes.
pub fn scan(data: &[u8]) {
    let (kind, data) = choice(data);
    let (seed, bytes) = choice(data);
    let code = [200, 401, 503, 429][usize::from(kind & 3)];
    let settings = LoginSettings {
        model_paths: vec!["/v1/messages".to_owned()],
        refusals: vec!["Not logged in · Please run /login".to_owned(), String::new(), "no".to_owned()],
    };
    let witness = Witness::new(&settings);
    let read = |mut piece: Box<dyn FnMut() -> usize>| {
        let traffic = Traffic::new(1);
        let mut scan = Witness::look(code, kind & 4 == 0, kind & 8 == 8)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(piece().min(rest.len()));
            scan.read(part, &witness, &traffic);
            rest = after;
        }
        scan.end(&traffic);
        Some((traffic.login.verdict().map(|verdict| verdict.accepted), scan.is_overloaded()))
    };
    let whole = read(Box::new(|| usize::MAX));
    assert_eq!(read(Box::new(pieces(u64::from(seed)))), whole, "how an answer arrives changes what it says");
    assert_eq!(read(Box::new(|| 1)), whole, "how an answer arrives changes what it says");
}
