//! The health core: what one result costs, from the state machine to the published report.

#![expect(clippy::expect_used, reason = "a benchmark that cannot start has failed")]

mod fleet;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use fleet::Fleet;
use pulsegate::health::{Facts, Finding, Group, Moment, Observation, Outcome, Policy, Reason, Report, State};

fn step(criterion: &mut Criterion) {
    let policy = Policy { failure_threshold: 3, success_threshold: 2, ..Policy::default() };
    let at = |seconds| Moment::default().later(Duration::from_secs(seconds));
    let observations: Vec<Arc<Observation>> = [Outcome::Pass, Outcome::Fail, Outcome::Fail, Outcome::Fail]
        .map(|outcome| {
            let finding = Finding { outcome, reason: Some(Reason::new("code", "sentence")), facts: Facts::default() };
            Arc::new(Observation { finding, at: at(0), took: Duration::ZERO })
        })
        .into();
    let mut state = State::new(at(0));
    let mut second = 0;
    criterion.bench_function("state/step, observation", |bencher| {
        bencher.iter(|| {
            second += 1;
            let observation = observations[second as usize % observations.len()].clone();
            black_box(state.step(&policy, Some(observation), at(second)))
        });
    });
    criterion.bench_function("state/step, tick", |bencher| {
        bencher.iter(|| black_box(state.step(&policy, None, black_box(at(second)))));
    });
    criterion.bench_function("state/next_change", |bencher| {
        bencher.iter(|| black_box(state.next_change(&policy, black_box(at(second)))));
    });
}

fn aggregate(criterion: &mut Criterion) {
    for size in [4, 200] {
        let fleet = Fleet::start(size);
        let report = fleet.board.report();
        criterion.bench_function(&format!("report/aggregate, {size} checks"), |bencher| {
            bencher.iter(|| black_box(Report::aggregate(&Group::BUILT_IN, black_box(&report.checks))));
        });
        criterion.bench_function(&format!("report/clone, {size} checks"), |bencher| {
            bencher.iter_batched(|| (), |()| Report::clone(&report), BatchSize::SmallInput);
        });
    }
}

/// One result all the way: timer, run, channel, step, aggregation, publication.
fn publish(criterion: &mut Criterion) {
    for size in [4, 200] {
        let fleet = Fleet::start(size);
        criterion.bench_function(&format!("monitor/one result, {size} checks"), |bencher| {
            bencher.iter_custom(|rounds| {
                let until = fleet.board.report().number + rounds;
                #[expect(clippy::disallowed_methods, reason = "the monitor's clock jumps; this one measures")]
                let begin = Instant::now();
                fleet.runtime.block_on(async {
                    // Not `wait_for`: waking up for every report would be measured too.
                    while fleet.board.report().number < until {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                });
                begin.elapsed()
            });
        });
        let now = fleet.runtime.block_on(async { fleet.clock.now() });
        criterion.bench_function(&format!("board/read, {size} checks"), |bencher| {
            bencher.iter(|| black_box(fleet.board.report().is_overdue(now)));
        });
    }
}

criterion_group!(benches, step, aggregate, publish);
criterion_main!(benches);
