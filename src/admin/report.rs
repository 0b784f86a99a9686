use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwapAny;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderMap};
use hyper::{Request, Response};

use super::control::decode;
use super::endpoint::Rendering;
use super::service::{full, problem};
use super::{Admin, Dialects, Endpoint, Target};
use crate::dialect::{Answer, Dialect, Part, Query, View};
use crate::health::{Audience, Group, Moment, Report};

/// What an endpoint is asked, and by whom.
pub(super) struct Asked<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) group: &'a Group,
    pub(super) audience: Audience,
    pub(super) query: Query<'a>,
}

/// At most so many `exclude` parameters are looked at.
const MOST_EXCLUDES: usize = 32;

impl Admin {
    /// The report in the dialect that the caller likes best: as it was rendered last, if that still holds.
    pub(super) fn report<B>(
        &self,
        target: Target<'_>,
        dialects: &Dialects,
        audience: Audience,
        request: &Request<B>,
    ) -> Response<Bytes> {
        let (endpoint, report, now) = (&**target.endpoint, self.board.report(), self.clock.now());
        let (index, dialect, part) = choose(target, dialects, request.headers(), &report);
        let mut query = query(request.uri().query().unwrap_or_default(), dialect);
        let mut group = &endpoint.group;
        match &part {
            None => {}
            Some(Part::Check(name)) => query.check = Some(name),
            Some(Part::Group(other, check)) => (group, query.check, query.other_group) = (other, *check, true),
            Some(Part::Nothing) => return problem(404, "not_found", "there is nothing of that name"),
        }
        let kept = endpoint.kept_for(index, audience).filter(|_| query.is_plain());
        let (second, overdue) = (now.unix.as_secs(), report.is_overdue(now));
        let rendering = kept.and_then(ArcSwapAny::load_full);
        let rendering = rendering.filter(|kept| kept.is_of(report.number, second, overdue)).unwrap_or_else(|| {
            let asked = Asked { endpoint, group, audience, query };
            let answer = self.rendered(asked, &report, now, |view| dialect.render(view));
            let rendering = Arc::new(Rendering { report: report.number, second, overdue, answer });
            if let Some(kept) = kept {
                kept.store(Some(rendering.clone()));
            }
            rendering
        });
        let Answer { code, media_type, body } = &rendering.answer;
        let mut response = full(*code, media_type, body.clone());
        if dialect.may_be_kept() {
            response.headers_mut().insert(CACHE_CONTROL, endpoint.lifetime(audience));
        }
        response
    }

    pub(super) fn rendered<T>(
        &self,
        Asked { endpoint, group, audience, query }: Asked<'_>,
        report: &Report,
        now: Moment,
        render: impl FnOnce(&View<'_>) -> T,
    ) -> T {
        let totals = if endpoint.detail { self.traffic.totals() } else { Default::default() };
        render(&View {
            report,
            totals: &totals,
            service: &self.identity,
            group,
            detail: endpoint.detail,
            audience,
            codes: endpoint.codes,
            options: &endpoint.options,
            query,
            now,
        })
    }
}

/// The dialect that the caller likes best, its index, and what a path below the endpoint's asks for.
fn choose<'a>(
    target: Target<'a>,
    dialects: &Dialects,
    headers: &HeaderMap,
    report: &Report,
) -> (usize, &'static dyn Dialect, Option<Part<'a>>) {
    let Some(rest) = target.below else {
        let (index, dialect) = dialects.choose(headers);
        return (index, dialect, None);
    };
    match dialects.choose_below(headers, (report, &target.endpoint.group), rest) {
        Some((index, dialect, part)) => (index, dialect, Some(part)),
        // It was there when the endpoint was looked up, and a new report has come since.
        None => (0, dialects.first(), Some(Part::Nothing)),
    }
}

/// What a query may say to a dialect; everything else is ignored.
fn query<'a>(text: &'a str, dialect: &dyn Dialect) -> Query<'a> {
    let mut query = Query::default();
    for pair in text.split('&') {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("verbose", _) => query.verbose = true,
            // One that cannot be decoded selects nothing.
            ("tag", tag) if dialect.has_tags() => query.tags.push(decode(tag).map_or(tag.into(), Cow::Owned)),
            ("exclude", name) if query.exclude.len() < MOST_EXCLUDES => query.exclude.push(name),
            _ => {}
        }
    }
    query
}
