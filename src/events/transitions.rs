use std::collections::HashMap;
use std::sync::Arc;

use super::Event;
use crate::health::{Moment, Report, Status};

/// Finds what has changed since the last report.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    known: HashMap<(bool, Arc<str>), Status>,
    ids: u64,
}

impl Transitions {
    /// What a report says that the one before did not. A beginning is no news: neither that nothing is known yet, nor that
    /// all is well then.
    pub(super) fn of(&mut self, report: &Report, now: Moment) -> Vec<Event> {
        let checks = report.checks.iter().filter(|check| !check.built_in);
        let checks = checks.map(|check| {
            let reason = check.reason();
            (false, check.name.clone(), check.state.status, reason.map(|reason| (reason.code, reason.public.clone())))
        });
        let groups = report.groups.iter().map(|group| {
            let why = report.weightiest(&group.group).and_then(|check| check.reason());
            let reason = why.map(|reason| (reason.code, reason.public.clone()));
            (true, Arc::from(group.group.name()), group.status, reason)
        });
        let mut events = Vec::new();
        let mut still = HashMap::new();
        for (is_group, name, to, reason) in checks.chain(groups) {
            let key = (is_group, name.clone());
            let before = self.known.get(&key).copied();
            let from = before.unwrap_or(Status::Unknown);
            let is_news = from != to && !(before.is_none() && to == Status::Healthy);
            if is_news {
                self.ids += 1;
                let (code, sentence) = reason.map(|(code, sentence)| (code, Arc::from(&*sentence))).unzip();
                let event =
                    Event { id: self.ids, is_group, name, from, to, reason: code, sentence, at: now.unix.as_secs() };
                events.push(event);
            }
            if before.is_some() || to != Status::Unknown {
                still.insert(key, to);
            }
        }
        self.known = still;
        events
    }
}
