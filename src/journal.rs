//! Standard error as a queue with a thread of its own: whoever logs waits for nobody.
//!
//! Standard error may be a pipe that nobody reads, and a write to it then lasts for ever. So lines go into a bounded buffer,
//! and one thread writes them out. What does not fit is dropped and counted, and so is what cannot be written. There is one
//! standard error in a process, so there is one of these.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The queue in front of standard error. Before it is started, and if it cannot be, lines are written at once.
#[derive(Debug)]
pub struct Journal {
    queue: Mutex<Queue>,
    /// There is something to write.
    work: Condvar,
    /// All is written.
    idle: Condvar,
    dropped: AtomicU64,
    json: AtomicBool,
}

#[derive(Debug)]
struct Queue {
    lines: Vec<u8>,
    started: bool,
    /// The thread waits for lines.
    asleep: bool,
    /// Some line should not wait for others.
    urgent: bool,
    /// The thread has lines that are not written yet.
    writing: bool,
}

/// So many bytes of lines may wait; when they do, nobody has read for a while, and further lines are dropped.
const MOST_WAITING: usize = 1 << 20;

/// A buffer larger than this is given back once its lines are written.
const LARGEST_KEPT: usize = 64 * 1024;

/// Lines of requests wait for so long for others, so that many leave with one write.
const GATHERING: Duration = Duration::from_millis(20);

/// At its end the process waits for so long for a reader of the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Who shares our standard error may have made it non-blocking; then a full pipe is asked again after so long.
const FULL_PIPE: Duration = Duration::from_millis(10);

static JOURNAL: Journal = Journal::new();

thread_local! {
    /// Whether this is the thread that writes. What it says of dropped lines always fits: it says one line for each time
    /// that it has emptied the queue.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// The process's journal.
#[must_use]
pub fn journal() -> &'static Journal {
    &JOURNAL
}

impl Journal {
    const fn new() -> Self {
        let queue = Queue { lines: Vec::new(), started: false, asleep: false, urgent: false, writing: false };
        Self {
            queue: Mutex::new(queue),
            work: Condvar::new(),
            idle: Condvar::new(),
            dropped: AtomicU64::new(0),
            json: AtomicBool::new(true),
        }
    }

    /// Starts the thread that writes. `json`: the form of the lines, for those who write whole lines themselves.
    pub fn start(&'static self, json: bool) {
        self.json.store(json, Relaxed);
        let thread = std::thread::Builder::new().name("journal".into()).stack_size(128 * 1024);
        let running = thread.spawn(|| self.write_for_ever()).is_ok();
        self.lock().started |= running;
    }

    /// Whether lines are JSON; otherwise they are text.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json.load(Relaxed)
    }

    /// Lines that did not fit into the queue, or could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Takes in a line, with its line end; it may leave together with those that come soon after.
    pub fn add(&self, line: &[u8]) {
        self.push(line, false);
    }

    /// Waits until all is written, but not for long.
    pub fn flush(&self) {
        let mut queue = self.lock();
        queue.urgent = true;
        self.work.notify_one();
        let unwritten = |queue: &mut Queue| queue.started && (queue.writing || !queue.lines.is_empty());
        drop(self.idle.wait_timeout_while(queue, LAST_LINES, unwritten));
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut queue = self.lock();
        if !queue.started {
            drop(queue);
            self.dropped.fetch_add(write_out(line), Relaxed);
            return;
        }
        if queue.lines.len() + line.len() > MOST_WAITING && !WRITES.get() {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.lines.extend_from_slice(line);
        let wake = queue.asleep || (urgent && !queue.urgent);
        queue.asleep = false;
        queue.urgent |= urgent;
        drop(queue);
        if wake {
            self.work.notify_one();
        }
    }

    fn write_for_ever(&self) {
        WRITES.set(true);
        let mut lines = Vec::new();
        let mut told = 0;
        loop {
            let mut queue = self.lock();
            while queue.lines.is_empty() {
                queue.asleep = true;
                queue.writing = false;
                self.idle.notify_all();
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.asleep = false;
            let gathered = self.work.wait_timeout_while(queue, GATHERING, |queue| !queue.urgent);
            let mut queue = gathered.map_or_else(|poisoned| poisoned.into_inner().0, |(queue, _)| queue);
            std::mem::swap(&mut queue.lines, &mut lines);
            queue.urgent = false;
            queue.writing = true;
            drop(queue);
            let lost = write_out(&lines);
            self.dropped.fetch_add(lost, Relaxed);
            lines.clear();
            if lines.capacity() > LARGEST_KEPT {
                lines = Vec::new();
            }
            let dropped = self.dropped();
            // Not before lines can be written again: a line that says so and is lost would be one more to tell of, for ever.
            if lost == 0 && dropped > told {
                let lines = dropped - told;
                tracing::warn!(lines, "log lines were dropped: nobody read them in time, or they could not be written");
                told = dropped;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole lines for the journal, one with each `write`, as `tracing` gives them: each is on its way at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        JOURNAL.push(line, true);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to standard error, however long that takes, and tells how many lines it could not write.
fn write_out(mut lines: &[u8]) -> u64 {
    let mut stderr = io::stderr().lock();
    while !lines.is_empty() {
        match stderr.write(lines) {
            Ok(length @ 1..) => lines = &lines[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::park_timeout(FULL_PIPE),
            _ => return memchr::memchr_iter(b'\n', lines).count() as u64,
        }
    }
    0
}
