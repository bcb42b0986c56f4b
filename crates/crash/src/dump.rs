//! A dump with the kernel that made it: everything else asks this.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use symbols::{Image, MemoryError, Placement, Program};
use vmcore::contents::{self, Contents};
use vmcore::memory::{Memory, Paging, VirtualMemory};
use vmcore::{Architecture, Header};

use crate::error::{Error, Result};
use crate::kernel::{self, Places};
use crate::modules;

/// Where a dump's kernel and debug information are, and how strictly they are taken.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The kernel's file; looked for if `None`.
    pub kernel: Option<PathBuf>,
    /// Folders with debug files, as below `/usr/lib/debug`; with a sysroot's usual folders.
    pub debug: Vec<PathBuf>,
    /// Whether a kernel that is not the dump's is taken all the same.
    pub force: bool,
    /// How the dump's file is opened: its private key, its spill file.
    pub contents: contents::Options,
}

/// A kernel's dump, or the memory of a live one, with its symbols and types.
pub struct Crash {
    program: Program,
    memory: Option<Arc<Memory>>,
    header: Option<Header>,
    kernel: PathBuf,
    notes: Vec<String>,
}

impl Crash {
    /// Opens a dump.
    ///
    /// # Errors
    /// If the dump cannot be read, or no kernel is found, or it is another one.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let contents = Contents::open(path, &options.contents)?;
        let memory = |source| Error::Memory { path: path.to_owned(), source };
        let mut memory = Memory::open(contents.data.clone()).map_err(memory)?;
        let places = Places::of(path, options);
        let kernel = places.kernel(path, contents.header.as_ref())?;
        let (main, debug) = places.object(&kernel)?;
        let image = Arc::new(Image::new("kernel", main, debug, Placement::AsLinked)?);
        find_root(&mut memory, &image);
        let memory = Arc::new(memory);
        let mut notes = Vec::new();
        if let Some(reason) = kernel::difference(&image, &memory, contents.header.as_ref()) {
            if !options.force {
                return Err(Error::OtherKernel { kernel, reason });
            }
            notes.push(format!("the kernel is not that of the dump ({reason}): names and values may be wrong"));
        }
        if !image.has_debug_info() {
            notes.push(format!(
                "{} has no debug information: there are symbols, messages and frame pointers, but no types and lines",
                kernel.display()
            ));
        }
        if let Some(there) = &contents.there {
            let missing = contents.data.size().saturating_sub(there.total());
            notes.push(format!("the dump is not whole: {missing} bytes of it never arrived"));
        }
        let mut crash = Self::new(image, Arc::new(DumpMemory(memory.clone())), kernel)?;
        crash.memory = Some(memory);
        crash.header = contents.header;
        crash.notes = notes;
        crash.load_modules(&places)?;
        Ok(crash)
    }

    /// A kernel whose memory is reached in another way: a live one.
    ///
    /// # Errors
    /// If the kernel's file cannot be read.
    pub fn live(memory: Arc<dyn symbols::Memory>, options: &Options) -> Result<Self> {
        let kernel = options.kernel.clone().ok_or_else(|| Error::absent("a live kernel's file has to be named: -k"))?;
        let places = Places::of(&kernel, options);
        let (main, debug) = places.object(&kernel)?;
        let image = Arc::new(Image::new("kernel", main, debug, Placement::AsLinked)?);
        let mut crash = Self::new(image, memory, kernel)?;
        crash.load_modules(&places)?;
        Ok(crash)
    }

    fn new(image: Arc<Image>, memory: Arc<dyn symbols::Memory>, kernel: PathBuf) -> Result<Self> {
        let program = Program::new(vec![image], memory)?;
        Ok(Self { program, memory: None, header: None, kernel, notes: Vec::new() })
    }

    /// Takes the modules that the kernel had loaded into the program, those whose files are found.
    fn load_modules(&mut self, places: &Places) -> Result<()> {
        let loaded = modules::images(self, places);
        if loaded.is_empty() {
            return Ok(());
        }
        let images = self.program.images().iter().cloned().chain(loaded).collect();
        self.program = self.program.with_images(images)?;
        Ok(())
    }

    /// Symbols, types and memory.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The dump's memory; `None` of a live kernel.
    pub fn memory(&self) -> Option<&Arc<Memory>> {
        self.memory.as_ref()
    }

    /// The dump's header, if it has one.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
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
    if memory.kernel_root().is_some() || memory.architecture() != Architecture::Amd64 {
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
struct DumpMemory(Arc<Memory>);

impl symbols::Memory for DumpMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> std::result::Result<(), MemoryError> {
        let (done, fault) = VirtualMemory::read(&*self.0, address, buf);
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
