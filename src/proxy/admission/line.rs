use std::time::Duration;

/// The queue, and whether more comes than the app can take.
///
/// A queue is there for bursts: whoever finds room in it may wait. A burst comes, and from then on the queue gets shorter.
/// Where it stays as long as it was for a second, more comes than the app can take, and waiting only makes every answer
/// late. From then on a newcomer is let in only if there is at most one before him for each place, and is refused at once
/// if there are more: who is served waits about as long as one request takes. Who waits already is not touched. This ends
/// when less comes again than the app has been seen to take. (After CoDel, RFC 8289: what counts is whether the queue
/// stands, not how long it is.)
///
/// Judged is only who comes to the queue and who leaves it. How long requests take is not looked at: however short, long,
/// broken off or failed they are, they change nothing. Knows no clock: times are given, from any beginning.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: u32,
    /// How many have come and not left, refused ones among them, from any beginning: the ups and downs of the queue as
    /// it would be if nobody were refused.
    backlog: i64,
    /// When somebody last came or left.
    touched: Duration,
    verdict: Verdict,
}

#[derive(Debug, Default)]
enum Verdict {
    /// Short, or getting shorter.
    #[default]
    Burst,
    Standing(Standing),
    Overload(Overload),
}

/// A queue that is long and does not get shorter.
#[derive(Debug)]
struct Standing {
    since: Duration,
    /// How many got their place since then.
    served: u32,
    /// The backlog then, and the highest since.
    from: i64,
    peak: i64,
    /// How often it was looked at, when last, and how many had been served then.
    looks: u32,
    looked: Duration,
    served_then: u32,
}

#[derive(Debug)]
struct Overload {
    /// How often the app takes one, at its limit.
    pace: Duration,
    since: Duration,
    /// Since then.
    came: u32,
    refused: u32,
}

/// A queue stands that has this many for each place; a shorter one costs nobody much.
const LONG: u32 = 2;

/// So often it is looked at before it is overload, and was as long each time; so much is between two looks, and at least
/// one request for each place, or a few if there are fewer places.
const LOOKS: u32 = 4;
const LOOK: Duration = Duration::from_millis(250);
const FEW: u32 = 4;

/// Few that are served meanwhile may mean nothing but chance, unless twice as many came; so many do not.
const ENOUGH: u32 = 64;

/// Under overload, one may wait for so many places.
const SHARE: u32 = 2;

/// Overload is over when less comes than this part of the time would do for, or one of so many is refused.
const RARELY: u32 = 8;

impl Line {
    pub(super) fn is_overloaded(&self) -> bool {
        matches!(self.verdict, Verdict::Overload(_))
    }

    /// Whether somebody who comes now may wait. Of those who needed not wait since the last call, `walked_in` tells.
    pub(super) fn join(&mut self, now: Duration, most: u32, longest: u32, walked_in: u32) -> bool {
        self.relax(now, most, walked_in);
        let room = if self.is_overloaded() { longest.min(most.div_ceil(SHARE)) } else { longest };
        let joins = self.waiting < room;
        self.waiting += u32::from(joins);
        self.backlog += 1;
        if let Verdict::Overload(overload) = &mut self.verdict {
            overload.came = overload.came.saturating_add(1);
            overload.refused = overload.refused.saturating_add(u32::from(!joins));
        }
        self.judge(now, most);
        joins
    }

    /// One who waited is at the app, or gave up.
    pub(super) fn leave(&mut self, now: Duration, most: u32, served: bool) {
        self.waiting = self.waiting.saturating_sub(1);
        self.backlog -= 1;
        if let Verdict::Standing(standing) = &mut self.verdict {
            standing.served = standing.served.saturating_add(u32::from(served));
        }
        self.judge(now, most);
    }

    /// Judges anew, as the limits are others.
    pub(super) fn forget(&mut self) {
        self.verdict = Verdict::Burst;
    }

    fn judge(&mut self, now: Duration, most: u32) {
        self.touched = now;
        if self.is_overloaded() {
            return;
        }
        if self.waiting < most.saturating_mul(LONG) {
            self.verdict = Verdict::Burst;
            return;
        }
        let backlog = self.backlog;
        let begin =
            Standing { since: now, served: 0, from: backlog, peak: backlog, looks: 0, looked: now, served_then: 0 };
        let Verdict::Standing(standing) = &mut self.verdict else {
            self.verdict = Verdict::Standing(begin);
            return;
        };
        standing.peak = standing.peak.max(backlog);
        let passed = now.saturating_sub(standing.looked);
        if passed < LOOK || standing.served - standing.served_then < most.max(FEW) {
            return;
        }
        if backlog + i64::from(most) < standing.peak {
            // It gets shorter.
            *standing = begin;
            return;
        }
        standing.looks = standing.looks.saturating_add(1);
        (standing.looked, standing.served_then) = (now, standing.served);
        let steep = backlog - standing.from >= i64::from(standing.served);
        if standing.looks >= LOOKS && (steep || standing.served >= ENOUGH) {
            let pace = now.saturating_sub(standing.since) / standing.served;
            self.verdict = Verdict::Overload(Overload { pace, since: now, came: 0, refused: 0 });
        }
    }

    /// Ends the overload if it is over.
    fn relax(&mut self, now: Duration, most: u32, walked_in: u32) {
        let Verdict::Overload(overload) = &mut self.verdict else { return };
        let rounds = overload.pace.saturating_mul(most.max(2 * FEW)).saturating_mul(LOOKS);
        overload.came = overload.came.saturating_add(walked_in);
        if now.saturating_sub(self.touched) >= LOOK.max(rounds) {
            // Nobody had to wait in all that time.
            self.verdict = Verdict::Burst;
            return;
        }
        let passed = now.saturating_sub(overload.since);
        if passed < (LOOK * LOOKS).max(rounds) {
            return;
        }
        if overload.pace.saturating_mul(overload.came) < passed || overload.refused < overload.came / RARELY {
            self.verdict = Verdict::Burst;
        } else {
            (overload.since, overload.came, overload.refused) = (now, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests;
