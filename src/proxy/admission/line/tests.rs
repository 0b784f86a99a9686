use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::Line;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// An app with so many places, before it a queue of at most so many that wait for at most so long.
#[derive(Clone, Copy)]
struct Limits(u32, u32, Duration);

/// One request: when it comes and how long the app takes for it.
type Request = (Duration, Duration);

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Served { waited: Duration },
    Refused,
    TimedOut,
}

/// What becomes of these requests, each with when it came. No clock but this one runs.
fn run(Limits(most, longest, timeout): Limits, mut requests: Vec<Request>) -> Vec<(Duration, End)> {
    requests.sort();
    let mut coming: VecDeque<Request> = requests.into();
    let (mut line, mut free, mut walked_in) = (Line::default(), most, 0);
    let (mut queue, mut busy, mut ends) = (VecDeque::<Request>::new(), BinaryHeap::new(), Vec::new());
    loop {
        let comes = coming.front().map(|(at, _)| *at);
        let expires = queue.front().map(|(at, _)| *at + timeout);
        let done = busy.peek().map(|Reverse(at): &Reverse<Duration>| *at);
        let Some(now) = [comes, expires, done].into_iter().flatten().min() else { return ends };
        if done == Some(now) {
            busy.pop();
            free += 1;
            if let Some((at, work)) = queue.pop_front() {
                free -= 1;
                busy.push(Reverse(now + work));
                line.leave(now, most, true);
                ends.push((at, End::Served { waited: now - at }));
            }
        } else if expires == Some(now) {
            let (at, _) = queue.pop_front().expect("who waits");
            line.leave(now, most, false);
            ends.push((at, End::TimedOut));
        } else {
            let (at, work) = coming.pop_front().expect("who comes");
            if free > 0 {
                free -= 1;
                walked_in += u32::from(line.is_overloaded());
                busy.push(Reverse(now + work));
                ends.push((at, End::Served { waited: Duration::ZERO }));
            } else if line.join(now, most, longest, std::mem::take(&mut walked_in)) {
                queue.push_back((at, work));
            } else {
                ends.push((at, End::Refused));
            }
        }
        assert!(queue.len() <= longest as usize && line.waiting as usize == queue.len() && free <= most);
    }
}

/// Chance that is the same each time.
struct Chance(u64);

impl Chance {
    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Requests that know nothing of each other, so many a second between two times; each takes this time, on average,
    /// or exactly.
    fn requests(
        &mut self,
        per_second: f64,
        from: Duration,
        to: Duration,
        work: Duration,
        exactly: bool,
    ) -> Vec<Request> {
        let (mut requests, mut at) = (Vec::new(), from);
        loop {
            at += Duration::from_secs_f64(-self.next().ln() / per_second);
            if at >= to {
                return requests;
            }
            let work = if exactly { work } else { work.mul_f64(-self.next().ln()) };
            requests.push((at, work));
        }
    }
}

fn refused(ends: &[(Duration, End)]) -> usize {
    ends.iter().filter(|(_, end)| !matches!(end, End::Served { .. })).count()
}

/// So many at once.
fn burst(at: Duration, count: u32, work: Duration) -> Vec<Request> {
    (0..count).map(|_| (at, work)).collect()
}

/// What those waited at most, of whom one in a hundred waited longer; of who came from this time on.
fn p99(ends: &[(Duration, End)], from: Duration) -> Duration {
    let waits = ends.iter().filter_map(|(at, end)| match end {
        End::Served { waited } if *at >= from => Some(*waited),
        _ => None,
    });
    let mut waits: Vec<_> = waits.collect();
    waits.sort();
    waits[waits.len() * 99 / 100]
}

#[test]
fn a_burst_that_fits_into_the_queue_is_served_whole_however_often_it_comes() {
    for (limits, count, work) in [
        (Limits(2, 3, 10 * SECOND), 5u32, 500 * MS),
        (Limits(1, 10, 10 * SECOND), 11, 500 * MS),
        (Limits(4, 100, 30 * SECOND), 104, 300 * MS),
        (Limits(4, 100, 30 * SECOND), 104, SECOND),
        (Limits(1, 1000, 60 * SECOND), 1001, 50 * MS),
    ] {
        let lasts = work * count.div_ceil(limits.0);
        let bursts = (0..5).flat_map(|time| burst(lasts * time, count, work)).collect();
        assert_eq!(refused(&run(limits, bursts)), 0, "{count} times {work:?}");
    }
}

#[test]
fn what_came_before_a_burst_changes_nothing() {
    let limits = Limits(4, 100, 30 * SECOND);
    for before in [5 * MS, 10 * SECOND] {
        let requests = (0..200).map(|number| (before * number, before)).chain(burst(before * 300, 40, 300 * MS));
        assert_eq!(refused(&run(limits, requests.collect())), 0, "{before:?}");
    }
}

#[test]
fn who_comes_while_a_long_burst_is_worked_off_waits_too() {
    let mut requests = burst(Duration::ZERO, 90, 300 * MS);
    requests.extend(Chance(5).requests(8.0, 100 * MS, 60 * SECOND, 300 * MS, true));
    assert_eq!(refused(&run(Limits(4, 100, 30 * SECOND), requests)), 0);
}

#[test]
fn below_the_capacity_nobody_is_refused_by_chance() {
    for (places, work) in [(1, 20 * MS), (1, 500 * MS), (4, 300 * MS), (16, 50 * MS)] {
        let rate = 0.8 * f64::from(places) / work.as_secs_f64();
        let requests = Chance(7).requests(rate, Duration::ZERO, Duration::from_secs_f64(10_000.0 / rate), work, true);
        assert_eq!(refused(&run(Limits(places, 100, 30 * SECOND), requests)), 0, "{places} places, {work:?}");
    }
}

#[test]
fn at_three_times_the_capacity_who_is_served_has_waited_for_less_than_one_request() {
    for (places, work, exactly, settled) in [
        (4, 50 * MS, true, 2),
        (4, 50 * MS, false, 2),
        (4, 300 * MS, true, 2),
        (16, 50 * MS, true, 2),
        (1, 50 * MS, true, 2),
    ] {
        let rate = 3.0 * f64::from(places) / work.as_secs_f64();
        let requests = Chance(9).requests(rate, Duration::ZERO, 60 * SECOND, work, exactly);
        let ends = run(Limits(places, 100, 5 * SECOND), requests);
        let waited = p99(&ends, settled * SECOND);
        assert!(waited <= work.mul_f64(if exactly { 1.0 } else { 2.0 }), "{places} places, {work:?}: {waited:?}");
        let served = ends.len() - refused(&ends);
        assert!(served as f64 > rate / 3.0 * 60.0 * 0.93, "the app is kept busy: {served} of {}", ends.len());
        assert!(ends.iter().all(|(_, end)| *end != End::TimedOut), "the rest is refused at once");
    }
}

#[test]
fn after_overload_a_burst_is_a_burst_again() {
    let limits = Limits(4, 100, 5 * SECOND);
    let mut requests = Chance(3).requests(240.0, Duration::ZERO, 10 * SECOND, 50 * MS, true);
    requests.extend(burst(12 * SECOND, 104, 50 * MS));
    // And where the load never stops, but gets less than the app can take.
    requests.extend(Chance(4).requests(240.0, 20 * SECOND, 30 * SECOND, 50 * MS, true));
    requests.extend(Chance(4).requests(40.0, 30 * SECOND, 40 * SECOND, 50 * MS, true));
    requests.extend(burst(35 * SECOND, 90, 50 * MS));
    let ends = run(limits, requests);
    let calm: Vec<_> = ends
        .into_iter()
        .filter(|(at, _)| (12..20).contains(&at.as_secs()) || (33..40).contains(&at.as_secs()))
        .collect();
    assert!(calm.len() > 400);
    assert_eq!(refused(&calm), 0);
}

#[test]
fn whoever_is_in_the_queue_when_overload_begins_keeps_the_wait_that_was_promised() {
    let requests = Chance(2).requests(240.0, Duration::ZERO, 5 * SECOND, 50 * MS, true);
    let ends = run(Limits(4, 100, 5 * SECOND), requests);
    // Refused was who came after it had begun, at once, or while the queue was full.
    assert!(ends.iter().any(|(at, end)| *at < SECOND && matches!(end, End::Served { waited } if *waited > SECOND)));
}

#[test]
fn an_app_that_hangs_is_no_reason_to_refuse() {
    let requests = (0..100).map(|number| (100 * MS * number, 3600 * SECOND)).collect();
    let ends = run(Limits(1, 100, 5 * SECOND), requests);
    assert!(ends.iter().all(|(_, end)| *end != End::Refused), "each has its {:?}", 5 * SECOND);
    assert_eq!(ends.iter().filter(|(_, end)| *end == End::TimedOut).count(), 99);
}
