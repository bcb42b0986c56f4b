//! Reads extended attributes on a thread of its own while a walk goes on: asking
//! for them takes about as long as all the rest.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use crate::error::Error;
use crate::node::Xattr;
use crate::xattr;

/// Files asked for at once.
const BATCH: usize = 256;
/// Batches that may wait.
const WAITING: usize = 16;

/// Attributes by inode of the draft.
type Found = Vec<(u32, Box<[Xattr]>)>;

/// Files whose attributes are being read.
pub(crate) struct XattrQueue<'scope> {
    batch: Batch,
    sender: SyncSender<Batch>,
    reader: ScopedJoinHandle<'scope, Result<Found, Error>>,
}

#[derive(Default)]
struct Batch {
    /// Paths, one behind the other.
    paths: Vec<u8>,
    /// Inode, device, and where the path ends.
    files: Vec<(u32, u64, usize)>,
}

impl<'scope> XattrQueue<'scope> {
    pub(crate) fn start(scope: &'scope Scope<'scope, '_>) -> Self {
        let (sender, batches) = sync_channel(WAITING);
        Self { batch: Batch::default(), sender, reader: scope.spawn(move || read(&batches)) }
    }

    /// Asks for the attributes of a file; a symbolic link is not followed.
    pub(crate) fn push(&mut self, inode: u32, device: u64, path: &[u8]) {
        self.batch.paths.extend_from_slice(path);
        self.batch.files.push((inode, device, self.batch.paths.len()));
        if self.batch.files.len() == BATCH {
            self.send();
        }
    }

    /// The attributes of all files that have some.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for the first file whose attributes cannot be read.
    pub(crate) fn finish(mut self) -> Result<Found, Error> {
        self.send();
        drop(self.sender);
        match self.reader.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn send(&mut self) {
        // Once the reader has failed it takes no more, and `finish` tells why.
        let _ = self.sender.send(std::mem::take(&mut self.batch));
    }
}

fn read(batches: &Receiver<Batch>) -> Result<Found, Error> {
    let mut reader = xattr::Reader::new();
    let mut found = Vec::new();
    for batch in batches {
        let mut start = 0;
        for (inode, device, end) in batch.files {
            let path = &batch.paths[start..end];
            start = end;
            let xattrs = reader
                .read(path, device)
                .map_err(|e| Error::io("read extended attributes of", Path::new(OsStr::from_bytes(path)), e))?;
            found.extend(xattrs.map(|xattrs| (inode, xattrs)));
        }
    }
    Ok(found)
}
