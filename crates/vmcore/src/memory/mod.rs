//! The physical and virtual memory in a dump.
//!
//! [`Memory::open`] takes the plain bytes of a dump, minidump or ELF core, and reads as little of them as it can: what
//! is looked up is read when it is asked for, through a cache of fixed size.

mod cache;
mod elf;
mod error;
mod message_buffer;
mod minidump;
mod page_map;
mod paging;
mod physical;
mod ranges;
mod root;
mod statistics;
mod tables;

use std::sync::{Arc, OnceLock};

use disk::ReadAt;

pub use self::error::{Error, Fault};
pub use self::message_buffer::MessageBuffer;
pub use self::paging::Paging;
pub use self::physical::PhysicalRange;
use self::physical::{Physical, Source};
pub use self::ranges::{Via, VirtualRange, VirtualRanges};
pub use self::statistics::Statistics;
pub(crate) use self::statistics::is_zero;
use self::tables::Tables;
use crate::arch::{Architecture, ByteOrder, Fields};
use crate::ranges::Ranges;

const NO_ROOT: &str =
    "the dump does not say where the kernel's page tables are; give the physical address of their root";

/// The memory in a dump: physical memory, and the kernel's virtual memory.
///
/// It can be shared between threads; all reading is through `&self`.
pub struct Memory {
    architecture: Architecture,
    order: ByteOrder,
    form: Form,
    physical: Physical,
    kernel: Kernel,
    direct: Option<DirectMap>,
    /// What is added to virtual addresses below the direct map (powerpc64).
    relocation: u64,
    /// Where in the file the minidump's own copy of the message buffer is, and its size.
    message_buffer: Option<(u64, u64)>,
}

/// How to open the memory in a dump.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many bytes of memory the cache may take, besides an eighth of that for page tables. It takes them as it
    /// fills, and no more than what is read; 2 GiB by default, in which reads all over a dump of 1 GiB need no system call
    /// any more. With 0 there is none: no byte is read but those that are asked for.
    pub cache: u64,
    /// Which bytes of the data are there, if some never arrived. Reading the others has to fail by itself.
    pub there: Option<Ranges>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache: 2 << 30, there: None }
    }
}

/// How memory is stored in a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A minidump of a version of its architecture's format: the pages that the kernel used.
    Minidump {
        /// The version.
        version: u32,
    },
    /// A full dump: all physical memory, as an ELF core.
    Full,
    /// An ELF core whose segments say both virtual and physical addresses, as conversion makes it.
    Core,
}

/// The kernel's window onto physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectMap {
    /// Its first virtual address.
    pub start: u64,
    /// The virtual address behind its last.
    pub end: u64,
    /// The physical address at its start.
    pub physical: u64,
}

impl DirectMap {
    fn new(start: u64, end: u64, physical: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end, physical })
    }

    /// The virtual address of a physical one.
    pub fn address_of(&self, physical: u64) -> Option<u64> {
        let within = physical.checked_sub(self.physical)?;
        (within < self.end - self.start).then(|| self.start + within)
    }
}

/// Where the kernel's virtual memory is told.
enum Kernel {
    Tables(Tables),
    Segments(Vec<VirtualSegment>),
    /// In page tables that are looked for when they are needed.
    Search(OnceLock<Option<Tables>>),
    /// Nowhere, and why.
    None(&'static str),
}

struct VirtualSegment {
    address: u64,
    length: u64,
    physical: u64,
}

/// Whether a dump of memory can begin so; its first 16 bytes are enough.
pub(crate) fn is_beginning(start: &[u8]) -> bool {
    start.starts_with(minidump::MAGIC.get(..16).unwrap_or(minidump::MAGIC)) || start.starts_with(elf::MAGIC)
}

impl Memory {
    /// Opens the memory in the plain (decompressed, decrypted) bytes of a dump. The architecture is found from the
    /// bytes themselves.
    ///
    /// # Errors
    /// If they are no minidump and no ELF core, or their headers cannot be.
    pub fn open(data: Arc<dyn ReadAt>) -> Result<Self, Error> {
        Self::open_with(data, &Options::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Memory::open`].
    pub fn open_with(data: Arc<dyn ReadAt>, options: &Options) -> Result<Self, Error> {
        let mut start = vec![0; minidump::HEADER.min(usize::try_from(data.size()).unwrap_or(usize::MAX))];
        let what = "the beginning";
        data.read_exact_at(&mut start, 0).map_err(|source| Error::Io { what, source })?;
        let cache = usize::try_from(options.cache / cache::BLOCK as u64).unwrap_or(usize::MAX);
        let source = Source { data, there: options.there.clone(), cache };
        if start.starts_with(minidump::MAGIC) {
            minidump::open(&source, &start)
        } else if start.starts_with(elf::MAGIC) {
            elf::open(&source, &start)
        } else {
            let found = start.get(..16).unwrap_or(&start).escape_ascii().to_string();
            Err(Error::NotADump { found: if found.is_empty() { "nothing".into() } else { format!("'{found}'") } })
        }
    }

    /// Finds out which bytes cannot be read, by reading them all, so that ranges and counts leave them out: for data
    /// of which it is known only that something is missing. Nothing else needs it.
    ///
    /// # Errors
    /// If bytes cannot be read for another reason.
    pub fn find_gaps(&mut self) -> Result<(), Fault> {
        self.physical.find_gaps()
    }

    /// What the kernel ran on.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The order of bytes in integers of the dump.
    pub fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// How the memory is stored.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The size of a page, in bytes.
    pub fn page_size(&self) -> u64 {
        self.physical.page_size()
    }

    /// The kernel's direct map, where the dump says which it is.
    pub fn direct_map(&self) -> Option<DirectMap> {
        self.direct
    }

    /// The kernel's page tables: which kind, and the physical address of their root where they have one; in a full
    /// dump of amd64 or arm64 they are looked for: what maps the kernel's own ELF header where kernels are loaded. A
    /// minidump has a part of them only.
    pub fn kernel_root(&self) -> Option<(Paging, u64)> {
        let tables = self.kernel_tables()?;
        match tables.first {
            tables::Place::Memory(root) => Some((tables.paging, root)),
            tables::Place::File(_) => None,
        }
    }

    /// Says where the kernel's page tables are: for full dumps, from the symbol or register that has the address
    /// (amd64 `KPML4phys`, arm64 `TTBR1_EL1`). `root` may be a register's value: what is no address in it is left out.
    pub fn set_kernel_root(&mut self, paging: Paging, root: u64) {
        let tables = Tables::rooted(paging, paging.root(root), paging.kernel_base(), self.order);
        self.kernel = Kernel::Tables(tables);
    }

    /// The address space of a process, whose page tables have their root at a physical address (amd64 `CR3`, arm64
    /// `TTBR0_EL1`, riscv64 `satp`). A minidump has pages of processes only by accident.
    pub fn address_space(&self, paging: Paging, root: u64) -> AddressSpace<'_> {
        AddressSpace { memory: self, tables: Tables::rooted(paging, paging.root(root), 0, self.order) }
    }

    fn kernel_tables(&self) -> Option<&Tables> {
        match &self.kernel {
            Kernel::Tables(tables) => Some(tables),
            Kernel::Search(found) => found.get_or_init(|| root::find(self)).as_ref(),
            Kernel::Segments(_) | Kernel::None(_) => None,
        }
    }

    /// The physical address that one of the kernel's virtual addresses stands for. It need not be in the dump.
    ///
    /// # Errors
    /// If nothing is mapped there, or a page table is missing.
    pub fn translate(&self, address: u64) -> Result<u64, Fault> {
        self.translate_run(address).map(|(physical, _)| physical)
    }

    /// The same, and how many bytes from there on are mapped one after the other.
    fn translate_run(&self, address: u64) -> Result<(u64, u64), Fault> {
        if let Some(direct) = self.direct {
            if (direct.start..direct.end).contains(&address) {
                return Ok(((address - direct.start).wrapping_add(direct.physical), direct.end - address));
            }
            if address < direct.start && self.relocation != 0 {
                return self
                    .translate_in_tables(address.wrapping_add(self.relocation))
                    .map_err(|fault| fault.at(address));
            }
        }
        self.translate_in_tables(address)
    }

    fn translate_in_tables(&self, address: u64) -> Result<(u64, u64), Fault> {
        match &self.kernel {
            Kernel::Segments(segments) => {
                let after = segments.partition_point(|segment| segment.address <= address);
                let segment = after.checked_sub(1).and_then(|at| segments.get(at));
                let found = segment.filter(|segment| address - segment.address < segment.length);
                let segment = found.ok_or(Fault::NotMapped { address })?;
                let within = address - segment.address;
                Ok((segment.physical + within, segment.length - within))
            }
            Kernel::None(why) => Err(Fault::NoTables { address, why }),
            Kernel::Tables(_) | Kernel::Search(_) => {
                let tables = self.kernel_tables().ok_or(Fault::NoTables { address, why: NO_ROOT })?;
                tables.translate(&self.physical, address)
            }
        }
    }

    /// Fills `buf` from physical address `address` on.
    ///
    /// # Errors
    /// If any of the bytes are not in the dump.
    pub fn read_physical(&self, address: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.physical.read(address, buf)
    }

    /// The same for those who pass over much of memory: nothing of it is cached.
    pub(crate) fn read_physical_once(&self, address: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.physical.read_once(address, buf)
    }

    /// Whether the page at a physical address is in the dump, and its bytes did arrive.
    pub fn is_present(&self, physical: u64) -> bool {
        self.physical.run(physical, 1).0
    }

    /// Where in the data the memory ends, by what the dump itself says of its pages: a header may be older than that.
    pub fn end(&self) -> u64 {
        self.physical.end()
    }

    /// The ranges of physical memory that can be read, in their order.
    pub fn physical_ranges(&self) -> impl Iterator<Item = PhysicalRange> + '_ {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let range = self.physical.next_range(from?)?;
            from = range.address.checked_add(range.length.max(1));
            Some(range)
        })
    }
}

/// Virtual memory that can be read: the kernel's ([`Memory`]) or a process's ([`AddressSpace`]).
pub trait VirtualMemory {
    /// The physical address behind a virtual one, and how many bytes from there on are mapped one after the other.
    ///
    /// # Errors
    /// If nothing is mapped there, or a page table is missing.
    fn translate_run(&self, address: u64) -> Result<(u64, u64), Fault>;

    /// The memory of the dump.
    fn memory(&self) -> &Memory;

    /// Fills `buf` from virtual address `address` on.
    ///
    /// # Errors
    /// If any of the bytes are not mapped or not in the dump: the error has the address of the first such page.
    fn read_exact(&self, address: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let length = buf.len();
        match self.read(address, buf) {
            (_, Some(fault)) => Err(fault),
            (done, None) if done < length => Err(Fault::Wraps { address, length: length as u64 }),
            _ => Ok(()),
        }
    }

    /// Reads as many bytes as there are from virtual address `address` on: how many that is, and what stopped it.
    fn read(&self, address: u64, buf: &mut [u8]) -> (usize, Option<Fault>) {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = address.checked_add(done as u64) else { break };
            let (physical, run) = match self.translate_run(at) {
                Ok(found) => found,
                Err(fault) => return (done, Some(fault)),
            };
            let page = self.memory().page_size();
            // A page at a time, so that what is there in front of a hole is read.
            let run = run.min(page - physical % page);
            let length = usize::try_from(run).unwrap_or(usize::MAX).min(rest.len());
            let Some(now) = rest.get_mut(..length) else { break };
            if let Err(fault) = self.memory().physical.read(physical, now) {
                return (done, Some(fault.at(at)));
            }
            done += length;
        }
        (done, None)
    }

    /// The byte at a virtual address.
    ///
    /// # Errors
    /// As [`VirtualMemory::read_exact`]; so have the following.
    fn read_u8(&self, address: u64) -> Result<u8, Fault> {
        let mut bytes = [0; 1];
        self.read_exact(address, &mut bytes)?;
        let [byte] = bytes;
        Ok(byte)
    }

    /// Two bytes at a virtual address, as an integer.
    ///
    /// # Errors
    /// As [`VirtualMemory::read_exact`].
    fn read_u16(&self, address: u64) -> Result<u16, Fault> {
        let mut bytes = [0; 2];
        self.read_exact(address, &mut bytes)?;
        Ok(self.memory().order.u16(bytes))
    }

    /// Four bytes at a virtual address, as an integer.
    ///
    /// # Errors
    /// As [`VirtualMemory::read_exact`].
    fn read_u32(&self, address: u64) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.read_exact(address, &mut bytes)?;
        Ok(self.memory().order.u32(bytes))
    }

    /// Eight bytes at a virtual address, as an integer.
    ///
    /// # Errors
    /// As [`VirtualMemory::read_exact`].
    fn read_u64(&self, address: u64) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read_exact(address, &mut bytes)?;
        Ok(self.memory().order.u64(bytes))
    }

    /// A pointer at a virtual address, of the size that pointers have.
    ///
    /// # Errors
    /// As [`VirtualMemory::read_exact`].
    fn read_pointer(&self, address: u64) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        let size = self.memory().architecture.pointer_size();
        self.read_exact(address, bytes.get_mut(..size).unwrap_or_default())?;
        Ok(Fields::new(&bytes, self.memory().order).word(0, size))
    }

    /// The bytes from a virtual address up to the first NUL, but no more than `most`.
    ///
    /// # Errors
    /// If memory ends before either.
    fn read_cstr(&self, address: u64, most: usize) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        let mut chunk = [0; 256];
        while text.len() < most {
            let at = address.checked_add(text.len() as u64).ok_or(Fault::Wraps { address, length: most as u64 })?;
            let length = chunk.len().min(most - text.len());
            let (done, fault) = self.read(at, chunk.get_mut(..length).unwrap_or_default());
            let read = chunk.get(..done).unwrap_or_default();
            if let Some(end) = read.iter().position(|&byte| byte == 0) {
                text.extend_from_slice(read.get(..end).unwrap_or_default());
                return Ok(text);
            }
            text.extend_from_slice(read);
            match fault {
                Some(fault) => return Err(fault),
                None if done < length => return Err(Fault::Wraps { address, length: most as u64 }),
                None => {}
            }
        }
        Ok(text)
    }
}

impl VirtualMemory for Memory {
    fn translate_run(&self, address: u64) -> Result<(u64, u64), Fault> {
        Self::translate_run(self, address)
    }

    fn memory(&self) -> &Memory {
        self
    }
}

/// The virtual memory of a process, through page tables of its own.
#[derive(Clone, Copy)]
pub struct AddressSpace<'a> {
    memory: &'a Memory,
    tables: Tables,
}

impl VirtualMemory for AddressSpace<'_> {
    fn translate_run(&self, address: u64) -> Result<(u64, u64), Fault> {
        self.tables.translate(&self.memory.physical, address)
    }

    fn memory(&self) -> &Memory {
        self.memory
    }
}
