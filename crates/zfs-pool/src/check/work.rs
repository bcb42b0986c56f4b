//! Work in parallel: a queue of jobs that may lead to more jobs.
//!
//! Nobody waits for room in the queue: who has a job to add and finds it full does the job itself. So the queue, and
//! the memory that its jobs take, is bounded, and jobs that add jobs cannot block each other.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait for each thread.
const WAITING: usize = 32;

/// Jobs of type `J` to be done by several threads.
pub(super) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    capacity: usize,
}

struct State<J> {
    jobs: VecDeque<J>,
    running: usize,
    closed: bool,
}

impl<J> Queue<J> {
    /// A queue for `threads` threads.
    pub(super) fn new(threads: usize) -> Self {
        let state = State { jobs: VecDeque::new(), running: 0, closed: false };
        // A lone thread does every job at once.
        let capacity = if threads > 1 { threads.saturating_mul(WAITING) } else { 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), capacity }
    }

    /// Adds a job; gives it back if the queue is full, to be done at once.
    pub(super) fn add(&self, job: J) -> Option<J> {
        let mut state = self.lock();
        if state.jobs.len() >= self.capacity {
            return Some(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        None
    }

    /// Does jobs until the queue is closed.
    pub(super) fn serve(&self, run: impl Fn(J)) {
        let mut state = self.lock();
        while !state.closed {
            state = match state.jobs.pop_front() {
                Some(job) => self.run(state, job, &run),
                None => self.wait(state),
            };
        }
    }

    /// Helps until all jobs are done.
    pub(super) fn finish(&self, run: impl Fn(J)) {
        let mut state = self.lock();
        loop {
            state = match state.jobs.pop_front() {
                Some(job) => self.run(state, job, &run),
                None if state.running == 0 => return,
                None => self.wait(state),
            };
        }
    }

    /// Sends home those who [serve](Self::serve).
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn run<'a>(&'a self, mut state: MutexGuard<'a, State<J>>, job: J, run: &impl Fn(J)) -> MutexGuard<'a, State<J>> {
        state.running += 1;
        drop(state);
        // Counted down even if the job panics, lest the others wait for ever.
        let done = Done(self);
        run(job);
        drop(done);
        self.lock()
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State<J>>) -> MutexGuard<'a, State<J>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Done<'a, J>(&'a Queue<J>);

impl<J> Drop for Done<'_, J> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        if state.running == 0 && state.jobs.is_empty() {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn jobs_that_lead_to_jobs_are_all_done() {
        for threads in [1, 2, 5] {
            let queue = Queue::new(threads);
            let sum = AtomicU64::new(0);
            thread::scope(|scope| {
                fn run(queue: &Queue<u64>, sum: &AtomicU64, job: u64) {
                    sum.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..4 {
                        if job > 0
                            && let Some(job) = queue.add(job - 1)
                        {
                            run(queue, sum, job);
                        }
                    }
                }
                for _ in 1..threads {
                    scope.spawn(|| queue.serve(|job| run(&queue, &sum, job)));
                }
                for _ in 0..2 {
                    run(&queue, &sum, 6);
                    queue.finish(|job| run(&queue, &sum, job));
                }
                queue.close();
            });
            let expected: u64 = (0..=6).map(|level| 4u64.pow(level)).sum();
            assert_eq!(sum.into_inner(), 2 * expected, "{threads} threads");
        }
    }
}
