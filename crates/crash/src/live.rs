//! A kernel that is there: its memory and processors are reached through a stub for debuggers.

use std::sync::Arc;

use symbols::{Image, Memory, ObjectFile, Registers};

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

/// The file of a live kernel, which has to be named.
///
/// # Errors
/// If it was not named, or cannot be read.
pub fn kernel(options: &Options) -> Result<ObjectFile> {
    places(options).map(|(_, kernel)| kernel)
}

/// The same, and where what belongs to it is.
pub(crate) fn places(options: &Options) -> Result<(Places, ObjectFile)> {
    let named = options.kernel.as_ref();
    let named = named.ok_or_else(|| Error::absent("the file of a live kernel has to be named: -k KERNEL"))?;
    let places = Places::of(&named.join("vmcore"), options);
    let kernel = places.kernel(named, None)?;
    Ok((places, kernel))
}

/// How a kernel's file differs from the one that runs; `None` if it does not as far as can be seen.
pub(crate) fn difference(image: &Image, memory: &dyn Memory) -> Option<String> {
    let symbol = image.symbol("version").ok()??;
    let size = usize::try_from(symbol.size).ok().filter(|size| (1..=VERSION).contains(size))?;
    let ours = image.read(symbol.address, size)?;
    let mut theirs = vec![0; size];
    let text = |bytes: &[u8]| {
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).trim_end().to_owned()
    };
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

    /// Whether it is a kernel that is there.
    pub fn is_live(&self) -> bool {
        self.processors.is_some()
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
