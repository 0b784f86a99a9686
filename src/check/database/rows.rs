use crate::health::{Fact, Facts};

/// One row: values by the names of their columns.
pub(super) type Row = Vec<(String, Fact)>;

/// What a statement gave.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The first rows.
    pub(super) first: Vec<Row>,
    /// Whether there were more than was asked for.
    pub(super) more: bool,
}

/// Rows that a statement of a check may give; who has more counts them in SQL.
pub(super) const MOST_ROWS: usize = 1000;
/// Columns that are looked at.
pub(super) const MOST_COLUMNS: usize = 100;
/// Characters of a text that are looked at.
const LONGEST_TEXT: usize = 1000;

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
    let count = rows.first.len() as u64;
    for (name, value) in rows.first.into_iter().next().unwrap_or_default() {
        if facts.get(&name).is_none() {
            facts.trusted(name, value);
        }
    }
    if facts.get("rows").is_none() {
        facts.trusted("rows", count);
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
            facts_of(Rows { first: vec![row], more: false }, &mut facts);
            facts
        };
        assert_eq!(of(vec![("rows".into(), Fact::Count(3481))]).get("rows"), Some(&Fact::Count(3481)));
        assert_eq!(of(vec![("n".into(), integer(-1))]).get("rows"), Some(&Fact::Count(1)));
    }
}
