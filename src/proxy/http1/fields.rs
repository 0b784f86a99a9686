use std::mem::MaybeUninit;

use httparse::Header;

use super::{Field, MOST_FIELDS};

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
    /// Shows each field to `see`, with what its name means.
    #[inline]
    pub(super) fn look<E>(
        all: &'h [Header<'b>],
        kinds: &'h mut [Field; MOST_FIELDS],
        mut see: impl FnMut(Field, &Header<'b>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut present = 0;
        for (field, known) in all.iter().zip(kinds.iter_mut()) {
            let kind = Field::of(field.name);
            *known = kind;
            present |= 1 << kind as u32;
            see(kind, field)?;
        }
        Ok(Self { all, kinds: &kinds[..all.len()], present })
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
        let lists: Vec<&[u8]> = self.of(Field::Connection).map(|field| field.value).collect();
        lists.join(&b',')
    }

    /// All of that kind.
    pub(in crate::proxy) fn of(&self, kind: Field) -> impl DoubleEndedIterator<Item = &'h Header<'b>> + use<'h, 'b> {
        let some = if self.has(kind) { self.iter() } else { Self { all: &[], kinds: &[], present: 0 }.iter() };
        some.filter(move |(known, _)| *known == kind).map(|(_, field)| field)
    }
}
