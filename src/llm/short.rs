/// The beginning of some bytes, and how many there were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short<const N: usize> {
    bytes: [u8; N],
    length: u32,
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Short<N> {
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length as usize) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All of the bytes; none if there were more than fit.
    pub(super) fn whole(&self) -> &[u8] {
        self.bytes.get(..self.length as usize).unwrap_or_default()
    }
}
