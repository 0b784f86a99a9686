use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::{CheckReport, Group, Moment, Reason, Report, Status};

/// Something that has changed: an entry of the one ordered record that webhooks, watchers and endpoints read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts the events of this process from 1, without a gap.
    pub id: u64,
    /// When.
    pub at: Moment,
    /// Of what.
    pub subject: Subject,
    /// Before.
    pub from: Status,
    /// After.
    pub to: Status,
    /// It was never anything but unknown before.
    pub is_first: bool,
    /// Why it is what it is now, unless it is healthy. Shortened, so that the record has a size.
    pub reason: Option<Reason>,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A check.
    Check {
        /// Which.
        name: Arc<str>,
        /// Part of the program, not of the configuration.
        built_in: bool,
    },
    /// A group, with what stands above all checks, as endpoints tell it.
    Group {
        /// Which.
        group: Group,
        /// The same by its checks alone, before and after.
        checks: (Status, Status),
    },
    /// Which checks there are.
    Plan,
}

/// The last events, oldest first. Part of every report, so that whoever reads one knows what led to it.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: VecDeque<Arc<Event>>,
    last: u64,
}

/// So many events are remembered: some hundred changes, as one check mostly takes its groups along.
pub const MOST_EVENTS: usize = 1000;

/// So many transitions of one check are remembered beside that, so that one that flaps does not make all others forgotten.
pub const MOST_RECENT: usize = 16;

/// At most so many bytes of a sentence are remembered.
const LONGEST_SENTENCE: usize = 256;

impl History {
    /// The id of the last event; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What has happened after an event, oldest first. `None`: some of it is forgotten, or that event is still to come.
    #[must_use]
    pub fn after(&self, id: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        let (forgotten, left) = self.left_after(id);
        (id <= self.last && forgotten == 0).then_some(left)
    }

    /// How many of the events after this one are forgotten, and those that are not.
    pub fn left_after(&self, id: u64) -> (u64, impl Iterator<Item = &Arc<Event>>) {
        let wanted = self.last.saturating_sub(id);
        let kept = wanted.min(self.events.len() as u64);
        (wanted - kept, self.events.iter().skip(self.events.len() - kept as usize))
    }

    fn push(&mut self, event: Arc<Event>) {
        self.last = event.id;
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Writes the record: compares each report with the one before.
#[derive(Debug, Default)]
pub struct Chronicle {
    checks: HashSet<Arc<str>>,
    groups: HashSet<Group>,
}

impl Chronicle {
    /// Notes in `after` what it says that `before` did not.
    pub fn note(&mut self, before: &Report, after: &mut Report) {
        let is_same_plan = before.checks.len() == after.checks.len()
            && before.checks.iter().zip(&after.checks).all(|(before, after)| before.name == after.name);
        let mut found = Vec::new();
        if !is_same_plan {
            self.forget_all_but(after);
            // The first plan is no change.
            if !before.checks.is_empty() {
                found.push(Found { at: None, subject: Subject::Plan, change: UNMOVED, is_first: false, reason: None });
            }
        }
        for (index, check) in after.checks.iter().enumerate() {
            let before = match before.checks.get(index) {
                Some(before) if Arc::ptr_eq(before, check) => continue,
                Some(before) if before.name == check.name => Some(before),
                _ => before.check(&check.name),
            };
            found.extend(self.check(index, before, check));
        }
        for (index, group) in after.groups.iter().enumerate() {
            let now = (group.status, after.verdict(&group.group));
            let then = match before.groups.get(index) {
                Some(then) if then.group == group.group => (then.status, before.verdict(&group.group)),
                _ => (before.status(&group.group), before.verdict(&group.group)),
            };
            if now != then {
                found.push(self.group(after, &group.group, then, now));
            }
        }
        for found in found {
            enter(after, found);
        }
    }

    fn check(&mut self, index: usize, before: Option<&Arc<CheckReport>>, check: &CheckReport) -> Option<Found> {
        let from = before.map_or(Status::Unknown, |before| before.state.status);
        let to = check.state.status;
        if from == to {
            return None;
        }
        let is_first = self.checks.insert(check.name.clone()) && from == Status::Unknown;
        let subject = Subject::Check { name: check.name.clone(), built_in: check.built_in };
        Some(Found { at: Some(index), subject, change: (from, to), is_first, reason: check.reason().map(shortened) })
    }

    fn group(&mut self, report: &Report, group: &Group, then: (Status, Status), now: (Status, Status)) -> Found {
        let by_checks = then.0 != now.0;
        let is_first = by_checks && self.groups.insert(group.clone()) && then.0 == Status::Unknown;
        let of_checks = || report.weightiest(group).and_then(|check| check.reason()).map(shortened);
        let reason = match report.above(group) {
            _ if by_checks => of_checks(),
            Some(above) => Some(shortened(&Reason::new(above.code, above.sentence))),
            None => of_checks(),
        };
        // Whoever wants more of it looks at the check.
        let reason = reason.map(|reason| Reason { private: None, ..reason });
        let subject = Subject::Group { group: group.clone(), checks: (then.0, now.0) };
        Found { at: None, subject, change: (then.1, now.1), is_first, reason }
    }

    fn forget_all_but(&mut self, report: &Report) {
        self.checks.retain(|name| report.check(name).is_some());
        self.groups.retain(|group| report.groups.iter().any(|known| known.group == *group));
    }
}

/// What has changed, before it has its place in the record.
struct Found {
    /// The check's place in the report.
    at: Option<usize>,
    subject: Subject,
    change: (Status, Status),
    is_first: bool,
    reason: Option<Reason>,
}

const UNMOVED: (Status, Status) = (Status::Unknown, Status::Unknown);

fn enter(report: &mut Report, Found { at, subject, change: (from, to), is_first, reason }: Found) {
    let id = report.history.last + 1;
    let event = Arc::new(Event { id, at: report.at, subject, from, to, is_first, reason });
    if let Some(check) = at.and_then(|at| report.checks.get_mut(at)) {
        let check = Arc::make_mut(check);
        let forgotten = (check.recent.len() + 1).saturating_sub(MOST_RECENT);
        check.recent = check.recent.iter().skip(forgotten).cloned().chain([event.clone()]).collect();
    }
    Arc::make_mut(&mut report.history).push(event);
}

fn shortened(reason: &Reason) -> Reason {
    let cut = |text: &str| {
        let end = (0..=LONGEST_SENTENCE.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text[..end.unwrap_or_default()].to_owned()
    };
    let is_long = |text: &str| text.len() > LONGEST_SENTENCE;
    let public = if is_long(&reason.public) { Cow::Owned(cut(&reason.public)) } else { reason.public.clone() };
    Reason { code: reason.code, public, private: reason.private.as_deref().map(cut) }
}

#[cfg(test)]
mod tests;
