//! How far a build is.

/// Is told how far a build is, from one thread.
pub trait Progress {
    /// The build begins: regular files have `bytes` in all, and there are
    /// `files` objects.
    fn start(&self, bytes: u64, files: u64) {
        let _ = (bytes, files);
    }

    /// Blocks of so many bytes were written.
    fn bytes(&self, count: u64) {
        let _ = count;
    }

    /// So many objects were written.
    fn files(&self, count: u64) {
        let _ = count;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}
