//! The symbol table, both ways.

use hashbrown::{DefaultHashBuilder, HashTable};
use object::elf;
use std::hash::BuildHasher;

use crate::elf::{Elf, RawSymbol};
use crate::error::Result;
use crate::file::Bytes;

/// A name for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// The name.
    pub name: String,
    /// Where it is in the program's memory.
    pub address: u64,
    /// Size in bytes; 0 where the assembler did not say.
    pub size: u64,
    /// What it names.
    pub kind: SymbolKind,
    /// Whether other images can link to it.
    pub global: bool,
}

/// What a symbol names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    /// Code (`STT_FUNC`, `STT_GNU_IFUNC`).
    Function,
    /// Data (`STT_OBJECT`, `STT_COMMON`).
    Object,
    /// Not said.
    Other,
}

/// A symbol's address in memory, and the end of its section.
pub(crate) type Place<'p> = dyn Fn(&Elf, &RawSymbol) -> Option<(u64, u64)> + 'p;

/// Bytes of a name.
const MAX_NAME: usize = 4096;

/// Symbols of an image at their addresses, sorted.
#[derive(Debug, Default)]
pub(crate) struct SymbolTable {
    strings: Bytes,
    entries: Vec<Entry>,
    /// Indices of `entries` by name.
    names: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    address: u64,
    size: u64,
    /// Where an unsized symbol ends at the latest: the end of its section.
    limit: u64,
    name: (u32, u32),
    kind: SymbolKind,
    global: bool,
}

impl Entry {
    /// Greater is the better name for an address.
    fn rank(&self) -> (bool, bool, bool) {
        (self.kind == SymbolKind::Function, self.global, self.kind == SymbolKind::Object)
    }
}

impl SymbolTable {
    /// The symbols of the first file that has any.
    pub(crate) fn read(files: &[&Elf], place: &Place<'_>) -> Result<Self> {
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            for file in files {
                let sections = file.sections.iter().enumerate();
                for (index, section) in sections {
                    if section.kind == kind.0 && section.size > 0 {
                        let (raw, strings) = file.symbols(index)?;
                        return Ok(Self::new(file, &raw, strings, place));
                    }
                }
            }
        }
        Ok(Self::default())
    }

    fn new(file: &Elf, raw: &[RawSymbol], strings: Bytes, place: &Place<'_>) -> Self {
        let mut entries: Vec<Entry> = (raw.iter())
            .filter(|symbol| {
                let names_nothing = symbol.kind == elf::STT_FILE.0 || symbol.kind == elf::STT_SECTION.0;
                !names_nothing && symbol.kind != elf::STT_TLS.0 && symbol.section != elf::SHN_UNDEF.0
            })
            .filter_map(|symbol| {
                let rest = strings.get(symbol.name as usize..)?;
                let length = rest.iter().take(MAX_NAME).position(|&byte| byte == 0)?;
                // ARM's and RISC-V's marks between code and data: `$x`, `$d.3`; labels of the compiler: `.LBB1_2`.
                if length == 0 || rest.first() == Some(&b'$') || rest.starts_with(b".L") {
                    return None;
                }
                let (address, limit) = place(file, symbol)?;
                let kind = match symbol.kind {
                    kind if kind == elf::STT_FUNC.0 || kind == elf::STT_GNU_IFUNC.0 => SymbolKind::Function,
                    kind if kind == elf::STT_OBJECT.0 || kind == elf::STT_COMMON.0 => SymbolKind::Object,
                    _ => SymbolKind::Other,
                };
                let name = (symbol.name, u32::try_from(length).ok()?);
                Some(Entry { address, size: symbol.size, limit, name, kind, global: symbol.bind != elf::STB_LOCAL.0 })
            })
            .collect();
        let mut table = Self { strings, ..Self::default() };
        // By address; of several at one, the best name last; ties by name, so that the answer is the same every time.
        entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.address, entry.rank());
            key(a).cmp(&key(b)).then_with(|| table.bytes(b).cmp(table.bytes(a)))
        });
        table.names.reserve(entries.len(), |_| 0);
        let hashes: Vec<u64> = entries.iter().map(|entry| table.hasher.hash_one(table.bytes(entry))).collect();
        for (index, hash) in hashes.iter().enumerate() {
            table
                .names
                .insert_unique(*hash, index as u32, |&other| hashes.get(other as usize).copied().unwrap_or_default());
        }
        table.entries = entries;
        table
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        let (start, length) = (entry.name.0 as usize, entry.name.1 as usize);
        self.strings.get(start..start.saturating_add(length)).unwrap_or_default()
    }

    fn symbol(&self, entry: &Entry) -> Symbol {
        Symbol {
            name: String::from_utf8_lossy(self.bytes(entry)).into_owned(),
            address: entry.address,
            size: entry.size,
            kind: entry.kind,
            global: entry.global,
        }
    }

    /// The symbol of this name; a global one before a local one, the lowest of several.
    pub(crate) fn by_name(&self, name: &str) -> Option<Symbol> {
        let hash = self.hasher.hash_one(name.as_bytes());
        let found = self.names.iter_hash(hash).filter_map(|&index| self.entries.get(index as usize));
        found
            .filter(|entry| self.bytes(entry) == name.as_bytes())
            .min_by_key(|entry| (!entry.global, entry.address))
            .map(|entry| self.symbol(entry))
    }

    /// The symbol that contains `address`: the nearest below it whose size does not rule it out.
    pub(crate) fn at(&self, address: u64) -> Option<Symbol> {
        let after = self.entries.partition_point(|entry| entry.address <= address);
        // Symbols nest (entry points within functions), but not deeply.
        (self.entries.get(..after)?.iter().rev().take(64))
            .find(|entry| match entry.size {
                0 => address < entry.limit,
                size => address - entry.address < size,
            })
            .map(|entry| self.symbol(entry))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Symbol> + '_ {
        self.entries.iter().map(|entry| self.symbol(entry))
    }
}
