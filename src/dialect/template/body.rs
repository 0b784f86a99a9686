use serde_json::Value as Json;

use super::Reference;
use crate::health::Status;
use crate::settings::{Node, Origin, Problems, Setting, Table, Value};

/// The shape of a template's body.
#[derive(Clone, Debug, Default)]
pub struct Body(Vec<(String, Shape)>);

/// A part of the shape.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Members by name, in order.
    Object(Vec<(String, Self)>),
    /// What is known when an answer is made.
    Reference(Reference),
    /// The same, and what stands there while it is null.
    Defaulted(Reference, Json),
    /// What never changes.
    Constant(Json),
}

/// Objects in objects, at most: rendering goes down that far.
const DEEPEST: usize = 32;

impl Body {
    pub(super) fn members(&self) -> &[(String, Shape)] {
        &self.0
    }

    /// Everything that it refers to.
    #[must_use]
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        collect(&self.0, &mut found);
        found
    }
}

fn collect<'a>(members: &'a [(String, Shape)], found: &mut Vec<&'a Reference>) {
    for (_, shape) in members {
        match shape {
            Shape::Object(members) => collect(members, found),
            Shape::Reference(reference) | Shape::Defaulted(reference, _) => found.push(reference),
            Shape::Constant(_) => {}
        }
    }
}

impl Setting for Body {
    const EXPECTS: &'static str = "a table from paths of the output to \"check.fact\", \"group.status\", \"service.version\", { from = \"check.fact\", default = … } or { value = … }";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Map(&crate::settings::Shape::Any);

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            problems.add(&node.origin, format!("`{path}` must be {}, not {}", Self::EXPECTS, node.value.type_name()));
            return None;
        };
        let mut reading = Reading { body: Vec::new(), problems };
        reading.table(table, &mut Vec::new(), path);
        // What could be read goes on, so that what it names can be looked at too.
        Some(Self(reading.body))
    }

    fn absent(_: &str, _: &Problems) -> Option<Self> {
        Some(Self::default())
    }
}

struct Reading<'a> {
    body: Vec<(String, Shape)>,
    problems: &'a Problems,
}

impl Reading<'_> {
    /// Tables and dots in keys mean the same: `a.b = …` and `"a.b" = …`.
    fn table(&mut self, table: &Table, parents: &mut Vec<String>, path: &str) {
        for entry in &table.entries {
            let path = format!("{path}.{}", crate::settings::key(&entry.key));
            let above = parents.len();
            parents.extend(entry.key.split('.').map(str::to_owned));
            if parents.iter().any(String::is_empty) {
                self.problems.add(&entry.origin, format!("`{path}`: a path is names with one dot between each two"));
            } else if parents.len() > DEEPEST {
                self.problems.add(&entry.origin, format!("`{path}` is more than {DEEPEST} objects deep"));
            } else {
                self.entry(&entry.node, &entry.origin, parents, &path);
            }
            parents.truncate(above);
        }
    }

    fn entry(&mut self, node: &Node, key: &Origin, parents: &mut Vec<String>, path: &str) {
        let shape = match &node.value {
            Value::Table(table) => match table.entries.as_slice() {
                [] => Shape::Object(Vec::new()),
                [only] if only.key == "value" => Shape::Constant(json(&only.node)),
                [_, _] => match (table.get("from"), table.get("default")) {
                    (Some(from), Some(default)) => match self.reference(from, &format!("{path}.from")) {
                        Some(reference) => Shape::Defaulted(reference, json(default)),
                        None => return,
                    },
                    _ => return self.table(table, parents, path),
                },
                _ => return self.table(table, parents, path),
            },
            Value::Text(_) => match self.reference(node, path) {
                Some(reference) => Shape::Reference(reference),
                None => return,
            },
            other => {
                let what = other.type_name();
                let message =
                    format!("`{path}` must be a reference such as \"check.fact\", or {{ value = … }}, not {what}");
                return self.problems.add(&node.origin, message);
            }
        };
        if let Err(clash) = insert(&mut self.body, parents, shape) {
            self.problems.add(key, format!("`{path}` {clash}"));
        }
    }
}

impl Reading<'_> {
    fn reference(&self, node: &Node, path: &str) -> Option<Reference> {
        let Value::Text(text) = &node.value else {
            let what = node.value.type_name();
            let message = format!("`{path}` must be a reference such as \"check.fact\", not {what}");
            self.problems.add(&node.origin, message);
            return None;
        };
        Reference::parse(text, path, &node.origin, self.problems)
    }
}

/// Puts a part at its place; what stands in its way is told.
fn insert(members: &mut Vec<(String, Shape)>, path: &[String], shape: Shape) -> Result<(), &'static str> {
    let Some((name, below)) = path.split_first() else { return Ok(()) };
    let place = match members.iter().position(|(known, _)| known == name) {
        Some(place) => place,
        None if below.is_empty() => {
            members.push((name.clone(), shape));
            return Ok(());
        }
        None => {
            members.push((name.clone(), Shape::Object(Vec::new())));
            members.len() - 1
        }
    };
    match &mut members[place].1 {
        Shape::Object(_) if below.is_empty() => Err("is an object already: something stands below it"),
        Shape::Object(members) => insert(members, below, shape),
        _ if below.is_empty() => Err("is there twice"),
        _ => Err("stands below something that is no object"),
    }
}

/// A constant of the configuration as JSON, which has no number for what is no number.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Text(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(table) => {
            Json::Object(table.entries.iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect())
        }
    }
}

crate::settings! {
    /// The words of a template for statuses.
    pub struct Words {
        /// healthy
        healthy: String = "healthy",
        /// degraded
        degraded: String = "degraded",
        /// unknown
        unknown: String = "unknown",
        /// unhealthy
        unhealthy: String = "unhealthy",
    }
}

impl Default for Words {
    fn default() -> Self {
        let word = |status: Status| status.word().to_owned();
        Self {
            healthy: word(Status::Healthy),
            degraded: word(Status::Degraded),
            unknown: word(Status::Unknown),
            unhealthy: word(Status::Unhealthy),
        }
    }
}

impl Words {
    /// The word of a status.
    #[must_use]
    pub fn of(&self, status: Status) -> &str {
        match status {
            Status::Healthy => &self.healthy,
            Status::Degraded => &self.degraded,
            Status::Unknown => &self.unknown,
            Status::Unhealthy => &self.unhealthy,
        }
    }
}
