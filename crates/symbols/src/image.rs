//! Images: a kernel, a module or any other ELF file at its place in memory.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::architecture::Architecture;
use crate::dwarf::{DebugInfo, Sections, SplitSearch};
use crate::elf::{Elf, RawSymbol, Section};
use crate::error::{Error, Result};
use crate::file::Source;
use crate::frames::FrameTable;
use crate::ranges::Ranges;
use crate::symbol::{Symbol, SymbolTable};

/// An ELF file, opened: nothing but its headers is read yet.
#[derive(Debug, Clone)]
pub struct ObjectFile {
    elf: Arc<Elf>,
}

/// A section of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionInfo {
    /// Its name.
    pub name: String,
    /// Address that it was linked for; 0 in files that are not linked (`ET_REL`).
    pub address: u64,
    /// Size in memory, in bytes.
    pub size: u64,
    /// Alignment in bytes; 0 and 1 are none.
    pub align: u64,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`; bit 1 is `SHF_ALLOC`.
    pub flags: u64,
}

/// Where an image lies in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Where it was linked for: a kernel.
    AsLinked,
    /// So many bytes above that, modulo 2^64: position-independent images, such as modules of arm64.
    Slide(u64),
    /// Each section at an address, by name; the second of equal names stands for the file's second of that name.
    /// FreeBSD's modules on amd64 are of this kind: they were never linked.
    Sections(Vec<(String, u64)>),
}

/// An image: symbols, debug information and unwinding tables of an ELF file at its place in memory.
///
/// All of it is read when it is first asked for.
#[derive(Debug)]
pub struct Image {
    name: String,
    main: ObjectFile,
    debug: Option<ObjectFile>,
    placement: Placement,
    /// Addresses of the sections of `main`, and of `debug`.
    places: [Vec<Option<u64>>; 2],
    architecture: Architecture,
    split: SplitSearch,
    /// Allocated sections by address, with their indices.
    map: Ranges<usize>,
    symbols: OnceLock<Result<SymbolTable>>,
    info: OnceLock<Result<DebugInfo>>,
    frames: OnceLock<Vec<FrameTable>>,
}

impl ObjectFile {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not ELF.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { elf: Arc::new(Elf::read(Source::open(path)?)?) })
    }

    /// A file that is in memory already, such as a member of an archive. `name` is for messages.
    ///
    /// # Errors
    ///
    /// It is not ELF.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let source = Source::Bytes { name: name.to_owned(), bytes: Arc::new(bytes) };
        Ok(Self { elf: Arc::new(Elf::read(source)?) })
    }

    /// A file that is open already, such as a temporary one. `path` is for messages, and where what belongs to it is
    /// looked for.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not ELF.
    pub fn from_file(path: &Path, file: std::fs::File) -> Result<Self> {
        Ok(Self { elf: Arc::new(Elf::read(Source::of(path, file)?)?) })
    }

    /// The size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.elf.source.size()
    }

    /// `size` bytes of the file from `offset` on, as they are there.
    ///
    /// # Errors
    ///
    /// The file ends before, or cannot be read.
    pub fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        Ok(self.elf.source.read(offset, size)?.to_vec())
    }

    /// Its path, or the name it was given.
    pub fn name(&self) -> String {
        self.elf.source.name()
    }

    /// The machine that it is for.
    ///
    /// # Errors
    ///
    /// One that is not known here.
    pub fn architecture(&self) -> Result<Architecture> {
        let machine = self.elf.machine;
        let known = Architecture::from_machine(machine);
        known.ok_or_else(|| self.elf.fault(format!("made for a machine (e_machine {machine}) that is not known here")))
    }

    /// The build id, if the linker was told to make one.
    pub fn build_id(&self) -> Option<Vec<u8>> {
        self.elf.build_id()
    }

    /// File name and CRC-32 of its separate debug file (`.gnu_debuglink`).
    pub fn debug_link(&self) -> Option<(String, u32)> {
        self.elf.debug_link()
    }

    /// Whether it was never linked (`ET_REL`): its sections have no addresses of their own.
    pub fn is_relocatable(&self) -> bool {
        self.elf.relocatable
    }

    /// Whether it contains DWARF, or refers to split DWARF.
    pub fn has_debug_info(&self) -> bool {
        [".debug_info", ".zdebug_info"]
            .into_iter()
            .any(|name| self.elf.section(name).is_some_and(|(_, section)| section.has_bytes()))
    }

    /// The sections, in the order of the file.
    pub fn sections(&self) -> Vec<SectionInfo> {
        let sections = self.elf.sections.iter();
        sections
            .map(|section| SectionInfo {
                name: section.name.clone(),
                address: section.address,
                size: section.size,
                align: section.align,
                kind: section.kind,
                flags: section.flags,
            })
            .collect()
    }

    /// The bytes of the first section of this name, decompressed.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn section_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let (_, section) = self.elf.section(name).ok_or_else(|| self.elf.fault(format!("no section {name}")))?;
        Ok(self.elf.data(section)?.to_vec())
    }

    /// Whether `self` is the separate debug file of `image`, by build id, or, without one, by the checksum that the
    /// image's `.gnu_debuglink` has.
    ///
    /// # Errors
    ///
    /// They are of different builds, or a file cannot be read.
    pub fn check_debug_of(&self, image: &Self) -> Result<()> {
        let mismatch = |reason: String| Error::Mismatch { file: self.name(), image: image.name(), reason };
        if self.elf.machine != image.elf.machine {
            return Err(mismatch("it is for another machine".to_owned()));
        }
        if let (Some(ours), Some(theirs)) = (self.build_id(), image.build_id()) {
            return match ours == theirs {
                true => Ok(()),
                false => Err(mismatch(format!("build id {} instead of {}", hex(&ours), hex(&theirs)))),
            };
        }
        if let Some((_, crc)) = image.debug_link() {
            let ours = self.elf.checksum()?;
            if ours != crc {
                return Err(mismatch(format!("checksum {ours:08x} instead of {crc:08x}")));
            }
        }
        Ok(())
    }

    /// Looks for the separate debug file: by build id in `.build-id` of each folder, by the name that
    /// `.gnu_debuglink` gives in the file's own folder, its `.debug`, and each folder. A file of another build is
    /// passed over.
    pub fn find_debug(&self, folders: &[PathBuf]) -> Option<Self> {
        let mut candidates = Vec::new();
        if let Some(id) = self.build_id() {
            let id = hex(&id);
            if let Some((first, rest)) = id.split_at_checked(2) {
                candidates.extend(
                    folders.iter().map(|folder| folder.join(".build-id").join(first).join(format!("{rest}.debug"))),
                );
            }
        }
        let own = self.elf.source.path().and_then(Path::parent).map(Path::to_owned);
        if let Some(name) = self.debug_link().and_then(|(name, _)| Path::new(&name).file_name().map(PathBuf::from)) {
            if let Some(own) = &own {
                candidates.push(own.join(&name));
                candidates.push(own.join(".debug").join(&name));
            }
            for folder in folders {
                candidates.push(folder.join(&name));
                // FreeBSD: /usr/lib/debug/boot/kernel/kernel.debug for /boot/kernel/kernel.
                if let Some(own) = own.as_ref().and_then(|own| own.strip_prefix("/").ok()) {
                    candidates.push(folder.join(own).join(&name));
                }
            }
        }
        let usable = |path: &PathBuf| {
            let file = Self::open(path).ok()?;
            (file.has_debug_info() && file.check_debug_of(self).is_ok()).then_some(file)
        };
        candidates.iter().filter(|path| path.is_file()).find_map(usable)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Placement {
    /// Where the sections of a file lie, by index.
    fn addresses(&self, elf: &Elf) -> Vec<Option<u64>> {
        let mut places: HashMap<&str, VecDeque<u64>> = HashMap::new();
        if let Self::Sections(list) = self {
            for (name, address) in list {
                places.entry(name).or_default().push_back(*address);
            }
        }
        let place = |section: &Section| {
            if !section.is_allocated() {
                return None;
            }
            match self {
                Self::AsLinked => Some(section.address),
                Self::Slide(slide) => Some(section.address.wrapping_add(*slide)),
                Self::Sections(_) => places.get_mut(section.name.as_str()).and_then(VecDeque::pop_front),
            }
        };
        elf.sections.iter().map(place).collect()
    }

    pub(crate) fn slide(&self) -> u64 {
        match self {
            Self::Slide(slide) => *slide,
            Self::AsLinked | Self::Sections(_) => 0,
        }
    }
}

impl Image {
    /// An image, under the name that messages give it ("kernel", "zfs.ko"), with its separate debug file if it has one.
    ///
    /// # Errors
    ///
    /// The machine is not known, the debug file belongs to another build, or sections have addresses in a file that is
    /// linked (and the other way round).
    pub fn new(name: &str, main: ObjectFile, debug: Option<ObjectFile>, placement: Placement) -> Result<Self> {
        let architecture = main.architecture()?;
        if let Some(debug) = &debug {
            debug.check_debug_of(&main)?;
        }
        if matches!(placement, Placement::Sections(_)) && !main.is_relocatable() {
            return Err(main.elf.fault("it is linked: its sections cannot be placed one by one"));
        }
        let debug_places = debug.as_ref().map(|debug| placement.addresses(&debug.elf)).unwrap_or_default();
        let places = [placement.addresses(&main.elf), debug_places];
        let [main_places, _] = &places;
        let sections = main.elf.sections.iter().zip(main_places).enumerate();
        let map = Ranges::new(sections.filter_map(|(index, (section, start))| {
            let start = (*start)?;
            Some((start, start.checked_add(section.size)?, index))
        }));
        let paths: Vec<&Path> =
            [Some(&main), debug.as_ref()].into_iter().flatten().filter_map(|file| file.elf.source.path()).collect();
        let folders = paths.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        let packages = paths
            .iter()
            .flat_map(|path| {
                let mut longer = path.as_os_str().to_owned();
                longer.push(".dwp");
                [PathBuf::from(longer), path.with_extension("dwp")]
            })
            .collect();
        Ok(Self {
            name: name.to_owned(),
            main,
            debug,
            placement,
            places,
            architecture,
            split: SplitSearch { packages, folders },
            map,
            symbols: OnceLock::new(),
            info: OnceLock::new(),
            frames: OnceLock::new(),
        })
    }

    /// Adds folders in which split debug information (`.dwo`) is looked for.
    #[must_use]
    pub fn with_split_folders(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.split.folders.extend(folders);
        self
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine that it is for.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Whether numbers in memory begin with their most significant byte.
    pub fn is_big_endian(&self) -> bool {
        use object::Endian;
        self.main.elf.endian.is_big_endian()
    }

    /// The file that it was made of.
    pub fn file(&self) -> &ObjectFile {
        &self.main
    }

    /// The separate debug file.
    pub fn debug_file(&self) -> Option<&ObjectFile> {
        self.debug.as_ref()
    }

    /// Where it lies.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Whether a section of it covers an address.
    pub fn contains(&self, address: u64) -> bool {
        self.map.find(address).is_some()
    }

    /// The name of the section at an address.
    pub fn section_at(&self, address: u64) -> Option<&str> {
        let index = self.map.find(address)?;
        self.main.elf.sections.get(index).map(|section| section.name.as_str())
    }

    /// Bytes at an address as the file has them: for memory that does not change, where a dump leaves it out, and to see
    /// whether a dump is of this image. `None` if the file does not have them.
    pub fn read(&self, address: u64, size: usize) -> Option<Vec<u8>> {
        let (start, _, index) = self.map.find_range(address)?;
        let section = self.main.elf.sections.get(index)?;
        let (offset, size) = (address - start, size as u64);
        if !section.has_bytes() || offset.checked_add(size)? > section.size || self.main.is_relocatable() {
            return None;
        }
        Some(self.main.elf.source.read(section.offset.checked_add(offset)?, size).ok()?.to_vec())
    }

    /// Where a section of one of its files lies.
    fn place(&self, elf: &Elf, index: usize) -> Option<u64> {
        let [main, debug] = &self.places;
        let places = if std::ptr::eq(elf, &*self.main.elf) { main } else { debug };
        places.get(index).copied().flatten()
    }

    fn table(&self) -> Result<&SymbolTable> {
        let table = self.symbols.get_or_init(|| {
            let place = |elf: &Elf, symbol: &RawSymbol| {
                if symbol.section == object::elf::SHN_ABS.0 {
                    return Some((symbol.value, symbol.value));
                }
                let index = usize::from(symbol.section);
                let section = elf.sections.get(index)?;
                let start = self.place(elf, index)?;
                let address = match elf.relocatable {
                    true => start.wrapping_add(symbol.value),
                    false => symbol.value.wrapping_add(self.placement.slide()),
                };
                Some((address, start.saturating_add(section.size)))
            };
            let files: Vec<&Elf> =
                [Some(&self.main), self.debug.as_ref()].into_iter().flatten().map(|file| &*file.elf).collect();
            SymbolTable::read(&files, &place)
        });
        table.as_ref().map_err(Clone::clone)
    }

    /// The symbol of this name; a global one before a local one.
    ///
    /// # Errors
    ///
    /// The symbol table cannot be read.
    pub fn symbol(&self, name: &str) -> Result<Option<Symbol>> {
        Ok(self.table()?.by_name(name))
    }

    /// The symbol that an address belongs to.
    ///
    /// # Errors
    ///
    /// The symbol table cannot be read.
    pub fn symbol_at(&self, address: u64) -> Result<Option<Symbol>> {
        if !self.contains(address) {
            return Ok(None);
        }
        Ok(self.table()?.at(address))
    }

    /// All symbols, by address.
    ///
    /// # Errors
    ///
    /// The symbol table cannot be read.
    pub fn symbols(&self) -> Result<impl Iterator<Item = Symbol> + '_> {
        Ok(self.table()?.iter())
    }

    /// Whether there is debug information, its own or in its separate file.
    pub fn has_debug_info(&self) -> bool {
        self.main.has_debug_info() || self.debug.as_ref().is_some_and(ObjectFile::has_debug_info)
    }

    /// Names of split debug files (`.dwo`) that were not found.
    ///
    /// # Errors
    ///
    /// The debug information cannot be read.
    pub fn missing_split_files(&self) -> Result<&[String]> {
        Ok(self.info()?.missing())
    }

    /// Indexes the debug information now, which is done otherwise when it is first asked for: on a thread of its own, the
    /// time that it takes is not waited for. What goes wrong is told to who asks.
    pub fn prepare(&self) {
        let _ = self.info();
    }

    /// The debug information, read at the first call.
    pub(crate) fn info(&self) -> Result<&DebugInfo> {
        let info = self.info.get_or_init(|| {
            for file in [self.debug.as_ref(), Some(&self.main)].into_iter().flatten() {
                // Debug information of linked files stays as linked: the slide is added where an address comes out.
                let place = |index| match file.is_relocatable() {
                    true => self.place(&file.elf, index),
                    false => None,
                };
                if let Some(sections) = Sections::read(&file.elf, &place)? {
                    return DebugInfo::new(&self.name, sections, &self.split);
                }
            }
            Err(Error::NoDebugInfo { image: self.name.clone() })
        });
        info.as_ref().map_err(Clone::clone)
    }

    /// What tells how to return from functions: `.debug_frame` and `.eh_frame`.
    pub(crate) fn frames(&self) -> &[FrameTable] {
        self.frames.get_or_init(|| {
            let mut tables = Vec::new();
            for file in [self.debug.as_ref(), Some(&self.main)].into_iter().flatten() {
                let linked = |index: usize| match file.is_relocatable() {
                    true => self.place(&file.elf, index),
                    false => file.elf.sections.get(index).map(|section| section.address),
                };
                // A table that does not read is one that is not there: the frame pointer is followed then.
                tables.extend(FrameTable::read(&file.elf, &linked));
            }
            tables
        })
    }

    /// An address as the file has it.
    pub(crate) fn linked(&self, address: u64) -> u64 {
        address.wrapping_sub(self.placement.slide())
    }

    /// An address of the file as it is in memory.
    pub(crate) fn loaded(&self, address: u64) -> u64 {
        address.wrapping_add(self.placement.slide())
    }
}
