//! A dump with the kernel that made it: everything else asks this.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use symbols::{Image, MemoryError, Placement, Program};
use vmcore::contents;
use vmcore::memory::{Form, Memory, Paging, VirtualMemory};
use vmcore::{Architecture, Dump, Header};

use crate::error::{Error, Result};
use crate::kernel::{self, Places};
use crate::modules;

/// Where a dump's kernel and debug information are, and how strictly they are taken.
#[derive(Clone, Default)]
pub struct Options {
    /// The kernel's file; looked for if `None`.
    pub kernel: Option<PathBuf>,
    /// Folders with debug files, as below `/usr/lib/debug`; with a sysroot's usual folders.
    pub debug: Vec<PathBuf>,
    /// Whether a kernel that is not the dump's is taken all the same.
    pub force: bool,
    /// How the dump's file is opened: its private key, its spill file.
    pub contents: contents::Options,
    /// While it is set no memory is read, so that whatever walks through it ends.
    pub stop: Option<Arc<AtomicBool>>,
}

/// A kernel's dump, or the memory of a live one, with its symbols and types.
pub struct Crash {
    program: Program,
    dump: Option<Arc<Dump>>,
    kernel: PathBuf,
    notes: Vec<String>,
}

impl Crash {
    /// Opens a dump.
    ///
    /// # Errors
    /// If the dump cannot be read, or no kernel is found, or it is another one.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let mut dump = Dump::open(path, &options.contents)?;
        let places = Places::of(path, options);
        let kernel = places.kernel(path, dump.header())?;
        let image = Arc::new(places.image("kernel", &kernel, Placement::AsLinked)?);
        find_root(&mut dump.memory, &image);
        let mut notes = Vec::new();
        if let Some(reason) = kernel::difference(&image, &dump) {
            if !options.force {
                return Err(Error::OtherKernel { kernel, reason });
            }
            notes.push(format!("the kernel is not that of the dump ({reason}): names and values may be wrong"));
        }
        if let Some(there) = &dump.contents.there {
            let missing = dump.contents.data.size().saturating_sub(there.covered());
            notes.push(format!("the dump is not whole: {missing} bytes of it never arrived"));
        }
        let dump = Arc::new(dump);
        let mut crash = Self::with(image, Arc::new(DumpMemory(dump.clone())), kernel, &places)?;
        crash.dump = Some(dump);
        crash.notes.splice(0..0, notes);
        Ok(crash)
    }

    /// A kernel whose memory is reached in another way: a live one. Its file has to be named.
    ///
    /// # Errors
    /// If the kernel's file cannot be read.
    pub fn live(memory: Arc<dyn symbols::Memory>, options: &Options) -> Result<Self> {
        let kernel = options.kernel.clone().ok_or_else(|| Error::absent("a live kernel's file has to be named: -k"))?;
        let places = Places::of(&kernel, options);
        let image = Arc::new(places.image("kernel", &kernel, Placement::AsLinked)?);
        Self::with(image, memory, kernel, &places)
    }

    fn with(image: Arc<Image>, memory: Arc<dyn symbols::Memory>, kernel: PathBuf, places: &Places) -> Result<Self> {
        let mut notes = Vec::new();
        if !image.has_debug_info() {
            notes.push(format!(
                "{} has no debug information: there are symbols, messages and frame pointers, but no types and lines",
                kernel.display()
            ));
        }
        let memory = stoppable(memory, places.stop.clone());
        let program = Program::new(vec![image.clone()], memory.clone())?;
        let mut crash = Self { program, dump: None, kernel, notes };
        let loaded = modules::images(&crash, places);
        if !loaded.images.is_empty() {
            let images = std::iter::once(image).chain(loaded.images).collect();
            crash.program = Program::new(images, memory)?;
        }
        crash.notes.extend(loaded.notes);
        Ok(crash)
    }

    /// Symbols, types and memory.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The dump; `None` of a live kernel.
    pub fn dump(&self) -> Option<&Dump> {
        self.dump.as_deref()
    }

    /// The dump's header, if it has one.
    pub fn header(&self) -> Option<&Header> {
        self.dump.as_ref()?.header()
    }

    /// The kernel's file.
    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// What a user should know of how the dump was opened, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// A full dump does not say where the kernel's page tables are: its symbols do.
fn find_root(memory: &mut Memory, image: &Image) {
    if memory.form() != Form::Full || memory.architecture() != Architecture::Amd64 {
        return;
    }
    // `KERNBASE` is where the kernel's first 2 GB lie, one to one with physical memory while it boots
    // (`amd64/include/vmparam.h`); `KPML4phys` and `KPML5phys` hold physical addresses (`amd64/amd64/pmap.c`).
    const KERNBASE: u64 = 0xffff_ffff_8000_0000;
    for (name, paging) in [("KPML4phys", Paging::Amd64), ("KPML5phys", Paging::Amd64La57)] {
        let Ok(Some(symbol)) = image.symbol(name) else { continue };
        let mut word = [0; 8];
        let read = symbol.address.checked_sub(KERNBASE).map(|at| memory.read_physical(at, &mut word));
        let root = u64::from_le_bytes(word);
        if matches!(read, Some(Ok(()))) && root != 0 && root % 4096 == 0 && memory.is_present(root) {
            memory.set_kernel_root(paging, root);
            return;
        }
    }
}

/// The virtual memory of a dump, as symbols want it.
struct DumpMemory(Arc<Dump>);

impl symbols::Memory for DumpMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> std::result::Result<(), MemoryError> {
        let (done, fault) = VirtualMemory::read(&self.0.memory, address, buf);
        match fault {
            Some(fault) => {
                let reason = fault.to_string();
                Err(MemoryError { address: address.wrapping_add(done as u64), reason })
            }
            None if done < buf.len() => {
                Err(MemoryError { address, reason: "it goes beyond the last address".to_owned() })
            }
            None => Ok(()),
        }
    }
}

/// Memory that is there unless work is to stop.
struct Stoppable {
    memory: Arc<dyn symbols::Memory>,
    stop: Arc<AtomicBool>,
}

fn stoppable(memory: Arc<dyn symbols::Memory>, stop: Option<Arc<AtomicBool>>) -> Arc<dyn symbols::Memory> {
    match stop {
        Some(stop) => Arc::new(Stoppable { memory, stop }),
        None => memory,
    }
}

impl symbols::Memory for Stoppable {
    fn read(&self, address: u64, buf: &mut [u8]) -> std::result::Result<(), MemoryError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(MemoryError { address, reason: "interrupted".to_owned() }),
            false => self.memory.read(address, buf),
        }
    }
}
