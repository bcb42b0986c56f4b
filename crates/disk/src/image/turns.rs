//! Threads that take turns, so that results come in the order of the jobs.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::Error;

/// Jobs that wait for each thread, or for their turn.
const AHEAD: usize = 3;

/// Threads, each of which gets every n-th job, so that the order is known without numbers.
pub(super) struct Turns<J, R> {
    workers: Vec<(SyncSender<J>, Receiver<R>)>,
    given: usize,
    taken: usize,
}

impl<J, R> Turns<J, R> {
    /// Starts `threads` threads, at least one, by `start`, which gets a thread's jobs and where their results go. Either end
    /// hangs up when the work has come to an end.
    pub(super) fn start(threads: usize, mut start: impl FnMut(Receiver<J>, SyncSender<R>)) -> Self {
        let worker = |_| {
            let (jobs, to_do) = sync_channel(AHEAD);
            let (done, results) = sync_channel(AHEAD);
            start(to_do, done);
            (jobs, results)
        };
        Self { workers: (0..threads.max(1)).map(worker).collect(), given: 0, taken: 0 }
    }

    /// Whether a result must be taken before the next job.
    pub(super) fn is_full(&self) -> bool {
        self.given - self.taken == self.workers.len() * AHEAD
    }

    /// Whether there are no more results than were taken.
    pub(super) fn is_empty(&self) -> bool {
        self.given == self.taken
    }

    /// Gives a job to the next thread.
    pub(super) fn give(&mut self, job: J) {
        if let Some((jobs, _)) = self.workers.get(self.given % self.workers.len()) {
            // A thread that is gone is noticed where its result is missing.
            let _ = jobs.send(job);
        }
        self.given += 1;
    }

    /// The result of the next job.
    pub(super) fn take(&mut self) -> Result<R, Error> {
        let worker = self.workers.get(self.taken % self.workers.len());
        self.taken += 1;
        let ended = || Error::Impossible("a thread that compresses has ended early".to_owned());
        worker.and_then(|(_, results)| results.recv().ok()).ok_or_else(ended)
    }
}
