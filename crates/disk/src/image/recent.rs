//! What was read last, by where it is.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// A few values that were read last.
pub(super) struct Recent<T> {
    capacity: usize,
    entries: Mutex<VecDeque<(u64, Arc<T>)>>,
}

impl<T> Recent<T> {
    /// Keeps up to `capacity` values, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: Mutex::default() }
    }

    /// The value of `key`, read if it is not there.
    pub(super) fn get(&self, key: u64, read: impl FnOnce() -> io::Result<T>) -> io::Result<Arc<T>> {
        let lock = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut entries = lock();
            if let Some(at) = entries.iter().position(|(found, _)| *found == key)
                && let Some(entry) = entries.remove(at)
            {
                let value = entry.1.clone();
                entries.push_front(entry);
                return Ok(value);
            }
        }
        let value = Arc::new(read()?);
        let mut entries = lock();
        entries.truncate(self.capacity - 1);
        entries.push_front((key, value.clone()));
        Ok(value)
    }
}
