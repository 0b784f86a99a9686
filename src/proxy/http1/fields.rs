use std::mem::MaybeUninit;

use httparse::Header;

use super::field::{is_end_to_end, options};
use super::{Field, MOST_FIELDS, Malformed};

/// Where the fields of a head are put when it is read, each with what its name means.
pub(in crate::proxy) struct Room<'b> {
    pub(super) fields: [MaybeUninit<Header<'b>>; MOST_FIELDS],
    pub(super) kinds: [Field; MOST_FIELDS],
}

impl Room<'_> {
    pub(in crate::proxy) fn new() -> Self {
        Self { fields: [const { MaybeUninit::uninit() }; MOST_FIELDS], kinds: [Field::Other; MOST_FIELDS] }
    }
}

/// What is known of the fields of a head before they are [`Fields`]: a bit for each kind that there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present(u32);

/// Shows each field to `see`, with what its name means.
#[inline]
pub(super) fn look<'b, E>(
    all: &[Header<'b>],
    kinds: &mut [Field; MOST_FIELDS],
    mut see: impl FnMut(Field, &Header<'b>) -> Result<(), E>,
) -> Result<Present, E> {
    let mut present = 0;
    for (field, known) in all.iter().zip(kinds.iter_mut()) {
        let kind = Field::of(field.name);
        *known = kind;
        present |= 1 << kind as u32;
        see(kind, field)?;
    }
    Ok(Present(present))
}

/// Finds what `Connection` names, and may name. It cannot name more fields than there can be: each is looked for among all.
#[cold]
pub(super) fn withdraw(all: &[Header<'_>], kinds: &mut [Field; MOST_FIELDS]) -> Result<(), Malformed> {
    let mut left = MOST_FIELDS;
    for index in 0..all.len() {
        if kinds[index] != Field::Connection {
            continue;
        }
        for option in options(all[index].value) {
            left = left.checked_sub(1).ok_or(Malformed::TooManyFields)?;
            if is_end_to_end(option) {
                continue;
            }
            for (field, kind) in all.iter().zip(kinds.iter_mut()) {
                let may = matches!(kind, Field::Other | Field::TraceParent | Field::TraceState);
                if may && field.name.as_bytes().eq_ignore_ascii_case(option) {
                    *kind = Field::Named;
                }
            }
        }
    }
    Ok(())
}

/// The fields of a head in their order. Each name is looked up once, when the head is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Fields<'h, 'b> {
    pub(in crate::proxy) all: &'h [Header<'b>],
    /// As many.
    kinds: &'h [Field],
    /// A bit for each kind that there is.
    present: u32,
}

impl<'h, 'b> Fields<'h, 'b> {
    pub(super) fn of_kinds(all: &'h [Header<'b>], kinds: &'h [Field; MOST_FIELDS], Present(present): Present) -> Self {
        Self { all, kinds: &kinds[..all.len()], present }
    }

    pub(in crate::proxy) fn iter(&self) -> impl DoubleEndedIterator<Item = (Field, &'h Header<'b>)> + use<'h, 'b> {
        self.kinds.iter().copied().zip(self.all)
    }

    /// Whether there is any of that kind.
    pub(in crate::proxy) fn has(&self, kind: Field) -> bool {
        self.present & 1 << kind as u32 != 0
    }

    /// What `Connection` names, as one list.
    pub(in crate::proxy) fn named(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.of(Field::Connection).flat_map(|field| options(field.value)).collect();
        names.join(&b',')
    }

    /// All of that kind.
    pub(in crate::proxy) fn of(&self, kind: Field) -> impl DoubleEndedIterator<Item = &'h Header<'b>> + use<'h, 'b> {
        let some = if self.has(kind) { self.iter() } else { Self { all: &[], kinds: &[], present: 0 }.iter() };
        some.filter(move |(known, _)| *known == kind).map(|(_, field)| field)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Malformed, Parsed, Room, parse_request};
    use super::{Field, MOST_FIELDS};

    /// What each field of a request is, by the letter of its name; or why it is none.
    fn kinds(connection: &str, names: &[&str]) -> Result<Vec<Field>, Malformed> {
        let fields: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n{fields}\r\n");
        let mut room = Room::new();
        match parse_request(head.as_bytes(), &mut room)? {
            Parsed::Complete(head, _) => Ok(head.fields.iter().skip(2).map(|(kind, _)| kind).collect()),
            Parsed::Partial => panic!("a whole head"),
        }
    }

    #[test]
    fn what_connection_names_is_found_once() {
        use Field::{Named, Other, TraceParent, Via};
        let names = ["A", "traceparent", "b", "Authorization", "via", "a"];
        let all = ", ,a,,TRACEPARENT,close, authorization ,via,c";
        assert_eq!(kinds(all, &names), Ok(vec![Named, Named, Other, Other, Via, Named]));
        assert_eq!(kinds("close", &names), Ok(vec![Other, TraceParent, Other, Other, Via, Other]));
    }

    #[test]
    fn connection_cannot_name_more_than_there_can_be() {
        let names = |count: usize| vec!["x"; count].join(",");
        assert_eq!(kinds(&names(MOST_FIELDS), &["x"]), Ok(vec![Field::Named]));
        assert_eq!(kinds(&names(MOST_FIELDS + 1), &["x"]), Err(Malformed::TooManyFields));
        assert_eq!(kinds(&",".repeat(60_000), &["x"]), Ok(vec![Field::Other]), "commas alone name nothing");
    }
}
