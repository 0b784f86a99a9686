use super::trouble::{Kind, Trouble};
use crate::health::{Fact, Facts};

/// One row: values by the names of their columns.
pub(super) type Row = Vec<(String, Fact)>;

/// What a statement gave.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The first rows.
    pub(super) kept: Vec<Row>,
    /// How many there were, as far as they were looked at.
    pub(super) count: u64,
    /// Whether there were more than may be looked at.
    pub(super) more: bool,
    /// What the kept rows hold, in bytes.
    bytes: usize,
}

/// How much of a statement's rows is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Rows that are kept.
    pub(super) keep: usize,
    /// Rows that are counted.
    pub(super) most: usize,
}

impl Limits {
    /// For the statement of a check, which speaks of its first row: who has more rows counts them in SQL.
    pub(super) const CHECK: Self = Self { keep: 1, most: 1000 };
}

/// Bytes of the rows that are kept of a statement.
const MOST_BYTES: usize = 256 << 10;
/// Columns that are looked at.
pub(super) const MOST_COLUMNS: usize = 100;
/// Characters of a text that are looked at.
const LONGEST_TEXT: usize = 1000;

impl Rows {
    /// Takes in one row more; tells whether there may be another one.
    pub(super) fn take(&mut self, limits: Limits, row: impl FnOnce() -> Row) -> bool {
        if self.count >= limits.most as u64 {
            self.more = true;
            return false;
        }
        self.count += 1;
        if self.kept.len() < limits.keep && self.bytes < MOST_BYTES {
            let row = row();
            self.bytes += row.iter().map(|(name, fact)| name.len() + size(fact)).sum::<usize>();
            self.kept.push(row);
        }
        true
    }

    /// The same, unless there were more rows than a check may look at.
    pub(super) fn of_check(self) -> Result<Self, Trouble> {
        if self.more {
            let detail = format!("more than {} rows: count them in SQL", Limits::CHECK.most);
            return Err(Trouble::new(Kind::TooLarge, detail));
        }
        Ok(self)
    }
}

fn size(fact: &Fact) -> usize {
    match fact {
        Fact::Text(text) => text.len() + size_of::<Fact>(),
        _ => size_of::<Fact>(),
    }
}

/// A text of a column, cut to what is looked at.
pub(super) fn text(text: &str) -> Fact {
    match text.char_indices().nth(LONGEST_TEXT) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// Bytes of a column that are no text.
pub(super) fn bytes(length: usize) -> Fact {
    format!("{length} bytes").into()
}

/// A whole number of a column.
pub(super) fn integer(number: i64) -> Fact {
    u64::try_from(number).map_or(Fact::Number(number as f64), Fact::Count)
}

/// The columns of the first row as facts, for trusted callers: who wrote the statement knows what they hold, strangers need
/// not. `rows` is how many there were, unless a column has that name.
pub(super) fn facts_of(rows: Rows, facts: &mut Facts) {
    let count = rows.count;
    add(rows.kept.into_iter().next().unwrap_or_default(), facts);
    if facts.get("rows").is_none() {
        facts.trusted("rows", count);
    }
}

/// Values by their names; a name that is taken is taken.
pub(super) fn add(row: Row, facts: &mut Facts) {
    for (name, value) in row {
        if facts.get(&name).is_none() {
            facts.trusted(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(text("short"), "short".into());
        let Fact::Text(cut) = text(&"ä".repeat(5000)) else { panic!("a text") };
        assert_eq!(cut.chars().count(), LONGEST_TEXT + 1);
    }

    #[test]
    fn a_column_of_the_name_goes_before_the_number_of_rows() {
        let of = |row: Row| {
            let mut facts = Facts::default();
            let mut rows = Rows::default();
            assert!(rows.take(Limits::CHECK, || row));
            facts_of(rows, &mut facts);
            facts
        };
        assert_eq!(of(vec![("rows".into(), Fact::Count(3481))]).get("rows"), Some(&Fact::Count(3481)));
        assert_eq!(of(vec![("n".into(), integer(-1))]).get("rows"), Some(&Fact::Count(1)));
    }

    #[test]
    fn rows_are_bounded_in_number_and_size() {
        let mut rows = Rows::default();
        let limits = Limits { keep: 5, most: 10 };
        let taken = (0..20).take_while(|_| rows.take(limits, Row::new)).count();
        assert_eq!((taken, rows.kept.len(), rows.count, rows.more), (10, 5, 10, true));
        let mut rows = Rows::default();
        let limits = Limits { keep: 10_000, most: 10_000 };
        let wide = || vec![("column".to_owned(), text(&"x".repeat(1000)))];
        assert!((0..10_000).all(|_| rows.take(limits, wide)));
        assert!(rows.kept.len() < 300 && rows.count == 10_000, "{}", rows.kept.len());
    }
}
