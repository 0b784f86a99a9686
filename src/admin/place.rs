/// What tells one process of a user from another, by what they were started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// A digest of the configuration file's path.
    pub file: u32,
    /// A digest of where traffic comes in.
    pub listen: u32,
}

impl Place {
    /// The name of a control socket without a file: told apart by user, by place and by `process`, which has no `-`.
    #[must_use]
    pub fn control_name(self, process: &str) -> String {
        let (user, Self { file, listen }) = (rustix::process::geteuid().as_raw(), self);
        format!("pulsegate-control-{user}-{file:08x}-{listen:08x}-{process}")
    }

    /// The place in such a name.
    #[must_use]
    pub fn of_control_name(name: &str) -> Option<Self> {
        let mut parts = name.rsplit('-').skip(1);
        let mut digest = || u32::from_str_radix(parts.next()?, 16).ok();
        let listen = digest()?;
        Some(Self { file: digest()?, listen })
    }
}

/// Which process a command is for, as far as it was said. It goes with the command, so that no other process that answers
/// at the same address does what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meant {
    /// The one with this file.
    pub file: Option<u32>,
    /// The one that takes traffic there.
    pub listen: Option<u32>,
}

impl Meant {
    /// The field that says so to a process.
    pub const FIELD: &'static str = "pulsegate-meant";

    /// Whether it is this one.
    #[must_use]
    pub fn is(self, place: Place) -> bool {
        self.file.is_none_or(|file| file == place.file) && self.listen.is_none_or(|listen| listen == place.listen)
    }

    /// What the field says.
    #[must_use]
    pub fn written(self) -> String {
        let part = |digest: Option<u32>| digest.map_or_else(|| "any".to_owned(), |digest| format!("{digest:08x}"));
        format!("{}-{}", part(self.file), part(self.listen))
    }

    /// What a field says; `None` if nobody that we know writes so.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let part = |text: &str| match text {
            "any" => Some(None),
            digest => u32::from_str_radix(digest, 16).ok().map(Some),
        };
        let (file, listen) = text.split_once('-')?;
        Some(Self { file: part(file)?, listen: part(listen)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{Meant, Place};

    #[test]
    fn what_is_written_is_read() {
        for file in [None, Some(0), Some(u32::MAX)] {
            for listen in [None, Some(7)] {
                let meant = Meant { file, listen };
                assert_eq!(Meant::read(&meant.written()), Some(meant));
            }
        }
        for odd in ["", "-", "any", "any-", "any-x", "1-2-3", "any-123456789"] {
            assert_eq!(Meant::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn everything_that_was_said_must_be_so() {
        let place = Place { file: 1, listen: 2 };
        let is = |file, listen| Meant { file, listen }.is(place);
        assert!(is(None, None) && is(Some(1), None) && is(None, Some(2)) && is(Some(1), Some(2)));
        assert!(!is(Some(2), None) && !is(None, Some(1)) && !is(Some(1), Some(1)) && !is(Some(3), Some(2)));
    }
}
