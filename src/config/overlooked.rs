use super::{SECTIONS, Sources};
use crate::settings::Field;

/// A variable that looks as if it should set something, and sets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlooked {
    /// `PULSEGATE_PROXY_UPSTREAM`.
    pub variable: String,
    /// `PULSEGATE_PROXY__UPSTREAM`.
    pub meant: String,
}

impl Sources {
    /// The variables in which one `_` stands for a dot of a path, in the order of their names. They are no errors: a
    /// variable of such a name may be anybody's.
    #[must_use]
    pub fn overlooked(&self) -> Vec<Overlooked> {
        let mut found: Vec<Overlooked> = self
            .environment
            .iter()
            .filter_map(|(variable, _)| {
                let words: Vec<&str> = variable.strip_prefix(super::layers::PREFIX)?.split('_').collect();
                // An empty word is a `__`: that was read as a path.
                let meant = words.iter().all(|word| !word.is_empty()).then(|| meant(&words))??;
                Some(Overlooked { variable: variable.to_owned(), meant: format!("{}{meant}", super::layers::PREFIX) })
            })
            .collect();
        found.sort_by(|one, other| one.variable.cmp(&other.variable));
        found
    }
}

/// The path that these words are of, if there is a setting at it.
fn meant(words: &[&str]) -> Option<String> {
    (1..words.len()).find_map(|used| {
        let name = words[..used].join("_");
        let (_, fields, _) = SECTIONS.iter().find(|(section, ..)| name.eq_ignore_ascii_case(section))?;
        Some(format!("{name}__{}", below(fields, &words[used..])?))
    })
}

fn below(fields: &[Field], words: &[&str]) -> Option<String> {
    (1..=words.len()).find_map(|used| {
        let (name, rest) = (words[..used].join("_"), &words[used..]);
        let field = fields.iter().find(|field| name.eq_ignore_ascii_case(field.name))?;
        if rest.is_empty() { Some(name) } else { Some(format!("{name}__{}", below(field.nested, rest)?)) }
    })
}

#[cfg(test)]
mod tests {
    use super::Sources;
    use crate::settings::Environment;

    #[test]
    fn what_is_a_path_but_for_an_underscore_is_noticed() {
        let names = [
            "PULSEGATE_PROXY_UPSTREAM",
            "PULSEGATE_PROXY_TIMEOUTS_RESPONSE_HEADER",
            "PULSEGATE_AGENT_CHECK_LISTEN",
            "PULSEGATE_LOG__LEVEL",
            "PULSEGATE_CONFIG",
            "PULSEGATE_PRESET",
            "PULSEGATE_PROXY",
            // What Kubernetes sets for Services of the names `pulsegate` and `pulsegate-admin`.
            "PULSEGATE_PORT",
            "PULSEGATE_PORT_8000_TCP_ADDR",
            "PULSEGATE_SERVICE_HOST",
            "PULSEGATE_SERVICE_PORT_HTTP",
            "PULSEGATE_ADMIN_SERVICE_PORT",
            "PROXY_UPSTREAM",
        ];
        let environment: Environment = names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let found = Sources { environment, ..Sources::default() }.overlooked();
        let found: Vec<(&str, &str)> = found.iter().map(|one| (&*one.variable, &*one.meant)).collect();
        let expected = [
            ("PULSEGATE_AGENT_CHECK_LISTEN", "PULSEGATE_AGENT_CHECK__LISTEN"),
            ("PULSEGATE_PROXY_TIMEOUTS_RESPONSE_HEADER", "PULSEGATE_PROXY__TIMEOUTS__RESPONSE_HEADER"),
            ("PULSEGATE_PROXY_UPSTREAM", "PULSEGATE_PROXY__UPSTREAM"),
        ];
        assert_eq!(found, expected);
    }
}
