use std::fmt;
use std::path::Path;

use crate::settings::read_ordinary;

/// Three numbers out of whatever a CLI prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) [u64; 3]);

impl Version {
    /// The first `1.2.3` in a text.
    pub(crate) fn find(text: &str) -> Option<Self> {
        let starts = text.char_indices().filter(|(index, c)| {
            c.is_ascii_digit() && !text[..*index].ends_with(|before: char| before.is_ascii_digit() || before == '.')
        });
        starts.into_iter().find_map(|(index, _)| Self::at_start(&text[index..]))
    }

    fn at_start(text: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        let mut rest = text;
        for (position, number) in numbers.iter_mut().enumerate() {
            if position > 0 {
                rest = rest.strip_prefix('.')?;
            }
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            *number = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
        }
        Some(Self(numbers))
    }

    /// The version that the files around a program tell, without running it: from its npm package, or from its own
    /// name, as the native installer gives it.
    pub(crate) fn beside(program: &Path, package: &str) -> Option<Self> {
        let own_name = program.file_name().and_then(|name| name.to_str());
        if let Some(version) = own_name.filter(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
            return Self::find(version);
        }
        program.ancestors().skip(1).take(LEVELS).find_map(|directory| {
            let text = read_ordinary(&directory.join("package.json"), LARGEST).ok()?;
            let found: serde_json::Value = serde_json::from_slice(&text).ok()?;
            let name = found.get("name")?.as_str()?;
            // The program may stand in the package for one platform: `@scope/name-linux-x64`.
            name.starts_with(package).then(|| Self::find(found.get("version")?.as_str()?))?
        })
    }
}

/// How far above a program its `package.json` may stand.
const LEVELS: usize = 4;

/// Larger files are no package's description.
const LARGEST: u64 = 1024 * 1024;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn the_first_three_numbers_are_the_version() {
        let found = |text| Version::find(text).map(|version| version.to_string());
        assert_eq!(found("2.1.328 (Claude Code)").as_deref(), Some("2.1.328"));
        assert_eq!(found("codex-cli 0.169.0").as_deref(), Some("0.169.0"));
        assert_eq!(found("v10.2.3-beta.1").as_deref(), Some("10.2.3"));
        assert_eq!(found("1.2 then 3.4.5").as_deref(), Some("3.4.5"));
        for nothing in ["", "1.2", "a.b.c", "99999999999999999999999.1.1", "1..2.3", "Not logged in"] {
            assert_eq!(found(nothing), None, "{nothing:?}");
        }
        assert!(Version([2, 1, 40]) > Version([2, 1, 4]), "numbers, not text");
    }
}
