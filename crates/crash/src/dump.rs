//! A dump with the kernel that made it: everything else asks this.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use symbols::{Image, MemoryError, Placement, Program};
use vmcore::contents::{self, Contents};
use vmcore::memory::{Fault, Form, Memory, Paging, VirtualMemory};
use vmcore::ranges::Ranges;
use vmcore::{Architecture, Dump, Header};

use crate::error::{Error, Result};
use crate::kernel::{self, Places};
use crate::live::{self, Processors};
use crate::modules;
use crate::pack::Pack;

/// Where a dump's kernel and debug information are, and how strictly they are taken.
#[derive(Clone, Default)]
pub struct Options {
    /// The kernel's file, the folder that it is in, the root of its system, or an archive such as `kernel.txz`; looked for
    /// if `None`.
    pub kernel: Option<PathBuf>,
    /// Folders with debug files, as below `/usr/lib/debug`; with a sysroot's usual folders; or archives such as
    /// `kernel-dbg.txz`.
    pub debug: Vec<PathBuf>,
    /// Where files out of archives are kept unpacked, up to 2 GiB of them; nowhere if `None`.
    pub cache: Option<PathBuf>,
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
    pub(crate) processors: Option<Arc<dyn Processors>>,
}

impl Crash {
    /// Opens a dump, or a [pack](crate::pack), which has its kernel in it.
    ///
    /// # Errors
    /// If the dump cannot be read, or no kernel is found, or it is another one.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let scratch = &options.contents;
        let Some(pack) = Pack::open(path, scratch.scratch, scratch.scratch_directory.as_deref())? else {
            return Self::of(Dump::open(path, &options.contents)?, path, options);
        };
        let contents = Contents::of(&pack.dump, &options.contents).map_err(vmcore::Error::from)?;
        let missing = pack.manifest.dump.missing;
        let mut places = Places::of(path, options);
        places.pack = options.kernel.is_none().then(|| Arc::new(pack));
        Self::explain(Dump::of(contents, path)?, path, &places, options, Some(missing))
    }

    /// The same of a dump that was opened already.
    ///
    /// # Errors
    /// As [`Crash::open`].
    pub fn of(dump: Dump, path: &Path, options: &Options) -> Result<Self> {
        Self::explain(dump, path, &Places::of(path, options), options, None)
    }

    /// `packed` says of a pack how many bytes of the dump were missing before.
    fn explain(mut dump: Dump, path: &Path, places: &Places, options: &Options, packed: Option<u64>) -> Result<Self> {
        let file = places.kernel(path, dump.header())?;
        let kernel = PathBuf::from(file.name());
        let image = Arc::new(places.image("kernel", file, Placement::AsLinked)?);
        let difference = std::thread::scope(|scope| {
            // Nothing is said of a kernel without types: they can as well be read meanwhile.
            scope.spawn(|| image.prepare());
            find_root(&mut dump.memory, &image);
            kernel::difference(&image, &dump)
        });
        let mut notes = Vec::new();
        if let Some(reason) = difference {
            if !options.force {
                return Err(Error::OtherKernel { kernel, reason });
            }
            notes.push(format!("the kernel is not that of the dump ({reason}): names and values may be wrong"));
        }
        let lacks = |there: &Ranges| dump.contents.data.size().saturating_sub(there.covered());
        if let Some(missing) = packed.or(dump.contents.there.as_ref().map(lacks))
            && (packed.is_none() || missing > 0)
        {
            notes.push(format!("the dump is not whole: {missing} bytes of it never arrived"));
        }
        let dump = Arc::new(dump);
        let mut crash = Self::with(
            image,
            Arc::new(DumpMemory { dump: dump.clone(), is_packed: packed.is_some() }),
            kernel,
            places,
        )?;
        crash.dump = Some(dump);
        crash.notes.splice(0..0, notes);
        Ok(crash)
    }

    /// A kernel whose memory is reached in another way: a live one. Its file has to be named.
    ///
    /// # Errors
    /// If the kernel's file cannot be read, or is of another one.
    pub fn live(memory: Arc<dyn symbols::Memory>, options: &Options) -> Result<Self> {
        let (places, file) = live::places(options)?;
        let kernel = PathBuf::from(file.name());
        let image = Arc::new(places.image("kernel", file, Placement::AsLinked)?);
        let mut notes = Vec::new();
        if let Some(reason) = live::difference(&image, &*memory) {
            if !options.force {
                return Err(Error::OtherLiveKernel { kernel, reason });
            }
            notes.push(format!("the kernel is not the one that runs ({reason}): names and values may be wrong"));
        }
        let mut crash = Self::with(image, memory, kernel, &places)?;
        crash.notes.splice(0..0, notes);
        Ok(crash)
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
        let mut crash = Self { program, dump: None, kernel, notes, processors: None };
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
struct DumpMemory {
    dump: Arc<Dump>,
    is_packed: bool,
}

impl symbols::Memory for DumpMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> std::result::Result<(), MemoryError> {
        let (done, fault) = VirtualMemory::read(&self.dump.memory, address, buf);
        match fault {
            Some(fault) => {
                let reason = match fault {
                    Fault::Lost { .. } | Fault::LostPart { .. } if self.is_packed => "it is not in the pack".to_owned(),
                    fault => fault.to_string(),
                };
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
