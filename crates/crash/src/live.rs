//! A kernel that is there: its memory and processors are reached through a stub for debuggers.

use std::path::PathBuf;
use std::sync::Arc;

use symbols::{Architecture, Image, Memory, ObjectFile, Registers};

use crate::dump::{Crash, Options};
use crate::error::{Error, Result};
use crate::kernel::Places;
use crate::threads::Thread;

/// Longest version text that is compared.
const VERSION: usize = 1024;

/// Whom a stub looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
    /// The thread with this number.
    Thread(i64),
    /// What runs on this processor.
    Cpu(u64),
}

/// What a stub knows of threads and processors.
pub trait Processors: Send + Sync {
    /// Whom it looks at.
    fn current(&self) -> Current;

    /// The registers of a thread; `None` if they are where the kernel saved them.
    fn registers(&self, thread: &Thread) -> Option<Registers>;
}

/// The file of a live kernel, which has to be named, and the architecture that it is for.
///
/// # Errors
/// If it was not named, or cannot be read.
pub fn kernel(options: &Options) -> Result<(PathBuf, Architecture)> {
    let file = file(options)?;
    Ok((PathBuf::from(file.name()), file.architecture()?))
}

/// The file itself.
pub(crate) fn file(options: &Options) -> Result<ObjectFile> {
    let named = options.kernel.as_ref();
    let named = named.ok_or_else(|| Error::absent("the file of a live kernel has to be named: -k KERNEL"))?;
    Places::of(&named.join("dump"), options).kernel(named, None)
}

/// How a kernel's file differs from the one that runs; `None` if it does not as far as can be seen.
pub(crate) fn difference(image: &Image, memory: &dyn Memory) -> Option<String> {
    let symbol = image.symbol("version").ok()??;
    let size = usize::try_from(symbol.size).ok().filter(|size| (1..=VERSION).contains(size))?;
    let ours = image.read(symbol.address, size)?;
    let mut theirs = vec![0; size];
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(['\0', '\n']).to_owned();
    match memory.read(symbol.address, &mut theirs) {
        Err(error) => Some(format!("its version cannot be read: {error}")),
        Ok(()) if ours != theirs => Some(format!("where it has {:?} there is {:?}", text(&ours), text(&theirs))),
        Ok(()) => None,
    }
}

impl Crash {
    /// With what a stub knows of threads and processors, for a live kernel.
    #[must_use]
    pub fn with_processors(mut self, processors: Arc<dyn Processors>) -> Self {
        self.processors = Some(processors);
        self
    }

    /// The number of the thread that the stub of a live kernel looks at.
    pub(crate) fn live_thread(&self) -> Result<i64> {
        let none = || Error::absent("no thread was writing a dump");
        match self.processors.as_ref().ok_or_else(none)?.current() {
            Current::Thread(tid) => Ok(tid),
            Current::Cpu(number) => Ok(self.cpu(number)?.path("pc_curthread.td_tid")?.integer()? as i64),
        }
    }
}
