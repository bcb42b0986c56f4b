//! Reading a ZAP, micro or fat, block by block.

use std::collections::VecDeque;

use super::fat::Header;
use super::leaf::Leaf;
use super::{
    BLOCK_TYPE_HEADER, BLOCK_TYPE_MICRO, Entry, FLAG_PRE_HASHED_KEY, FLAG_UINT64_KEY, HashBits, LeafStructure,
    NORM_TO_UPPER, Structure, ZapError, hash_key, hash_name, micro,
};
use crate::bytes::{ByteOrder, View};

/// Leaves are examined until so many faults were found.
const MOST_FAULTS: usize = 1000;

/// A ZAP being read.
///
/// `fetch` gives a block of the object, as it is on the disk but decompressed, by
/// number; its errors are passed through. The byte order is found by the blocks'
/// own marks. No more than three blocks are kept at a time.
pub struct Reader<F, B> {
    fetch: F,
    first: B,
    /// The block of the pointer table read last.
    table: Option<(u64, B)>,
    layout: Layout,
    /// What is wrong with the leaves read so far, if that is asked for.
    faults: Option<Vec<String>>,
}

#[derive(Clone, Copy)]
enum Layout {
    Micro { order: ByteOrder, norm_flags: u64 },
    Fat(Header),
}

impl<F, B, E> Reader<F, B>
where
    F: FnMut(u64) -> Result<B, E>,
    B: AsRef<[u8]>,
    E: From<ZapError>,
{
    /// Opens the ZAP by reading its block 0.
    ///
    /// # Errors
    /// Block 0 cannot be read, or is neither layout's header.
    pub fn open(mut fetch: F) -> Result<Self, E> {
        let first = fetch(0)?;
        let bytes = first.as_ref();
        let marked = |order| View::new(bytes, order).u64(0);
        let truncated = |source| ZapError::Truncated { block: 0, source };
        let (order, block_type) = match marked(ByteOrder::Little).map_err(truncated)? {
            t @ (BLOCK_TYPE_MICRO | BLOCK_TYPE_HEADER) => (ByteOrder::Little, t),
            _ => (ByteOrder::Big, marked(ByteOrder::Big).map_err(truncated)?),
        };
        let view = View::new(bytes, order);
        let layout = match block_type {
            BLOCK_TYPE_MICRO => Layout::Micro { order, norm_flags: micro::norm_flags(view)? },
            BLOCK_TYPE_HEADER => Layout::Fat(Header::parse(view)?),
            _ => {
                let found = view.u64(0).map_err(truncated)?;
                return Err(ZapError::Corrupt { block: 0, expected: "the type of a ZAP", found }.into());
            }
        };
        Ok(Reader { fetch, first, table: None, layout, faults: None })
    }

    /// Whether this is a micro ZAP.
    pub fn is_micro(&self) -> bool {
        matches!(self.layout, Layout::Micro { .. })
    }

    /// The flags of a fat ZAP ([`super::FLAG_HASH64`] and its neighbours); 0 of a micro ZAP.
    pub fn flags(&self) -> u64 {
        match &self.layout {
            Layout::Micro { .. } => 0,
            Layout::Fat(header) => header.flags,
        }
    }

    /// How names are normalized (`U8_TEXTPREP_*`).
    pub fn norm_flags(&self) -> u64 {
        match &self.layout {
            Layout::Micro { norm_flags, .. } => *norm_flags,
            Layout::Fat(header) => header.norm_flags,
        }
    }

    /// The fields of its header.
    pub fn structure(&self) -> Structure {
        match &self.layout {
            Layout::Micro { order, norm_flags } => {
                Structure::micro(View::new(self.first.as_ref(), *order), *norm_flags)
            }
            Layout::Fat(header) => Structure::fat(header),
        }
    }

    /// The leaf that pointer `index` of the table of a fat ZAP leads to, and the
    /// index of the next pointer that leads to another one. `None` behind the last
    /// pointer, and in a micro ZAP.
    ///
    /// # Errors
    /// A block cannot be read or is malformed.
    pub fn leaf(&mut self, index: u64) -> Result<Option<(LeafStructure, u64)>, E> {
        match self.layout {
            Layout::Fat(header) if index < 1 << header.table.shift => self.leaf_at(&header, index).map(Some),
            _ => Ok(None),
        }
    }

    /// The number of entries: counted in a micro ZAP, recorded in a fat one.
    ///
    /// # Errors
    /// A malformed slot of a micro ZAP.
    pub fn count(&self) -> Result<u64, E> {
        match &self.layout {
            Layout::Fat(header) => Ok(header.entry_count),
            Layout::Micro { order, .. } => {
                let view = View::new(self.first.as_ref(), *order);
                let mut count = 0;
                for index in 0..micro::slot_count(view) {
                    count += u64::from(micro::read_slot(view, index)?.is_some());
                }
                Ok(count)
            }
        }
    }

    /// The entry of this name, which is given without a NUL.
    ///
    /// Where names are normalized, the whole ZAP is searched: first for the very
    /// name and, if case does not matter, then for one that differs in the case
    /// of ASCII letters.
    ///
    /// # Errors
    /// A block cannot be read or is malformed.
    pub fn lookup(&mut self, name: &[u8]) -> Result<Option<Entry>, E> {
        let norm_flags = self.norm_flags();
        let header = match self.layout {
            Layout::Fat(header) if norm_flags == 0 && header.flags & FLAG_UINT64_KEY == 0 => header,
            _ => return self.search(name, norm_flags & NORM_TO_UPPER != 0),
        };
        let hash = hash_name(header.salt, name, HashBits::from_flags(header.flags));
        let mut stored = name.to_vec();
        stored.push(0);
        self.find(&header, hash, &stored)
    }

    /// The entry of a key of integers, in a ZAP with [`FLAG_UINT64_KEY`].
    ///
    /// # Errors
    /// A block cannot be read or is malformed.
    pub fn lookup_key(&mut self, key: &[u64]) -> Result<Option<Entry>, E> {
        let Layout::Fat(header) = self.layout else {
            return Ok(None);
        };
        let (Some(&first), true) = (key.first(), header.flags & FLAG_UINT64_KEY != 0) else {
            return Ok(None);
        };
        let bits = HashBits::from_flags(header.flags);
        let hash =
            if header.flags & FLAG_PRE_HASHED_KEY != 0 { bits.cut(first) } else { hash_key(header.salt, key, bits) };
        let stored: Vec<u8> = key.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.find(&header, hash, &stored)
    }

    /// All entries: of a micro ZAP by slot, of a fat one by hash. At most one
    /// leaf's entries are in memory.
    pub fn iter(&mut self) -> Iter<'_, F, B> {
        Iter { reader: self, ready: VecDeque::new(), next: Some(0) }
    }

    /// From now on, leaves are examined while [`Reader::iter`] goes through them: see [`Reader::take_faults`].
    pub fn examine(&mut self) {
        self.faults = Some(Vec::new());
    }

    /// What does not hold in the leaves that were read since [`Reader::examine`], up to some number of faults, although
    /// their entries can be listed: hashes are those of the names, entries are where their hashes lead, none is there twice, and counts are right.
    pub fn take_faults(&mut self) -> Vec<String> {
        self.faults.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn search(&mut self, name: &[u8], ignore_case: bool) -> Result<Option<Entry>, E> {
        let mut alike = None;
        for entry in self.iter() {
            let entry = entry?;
            if entry.name == name {
                return Ok(Some(entry));
            }
            if ignore_case && alike.is_none() && entry.name.eq_ignore_ascii_case(name) {
                alike = Some(entry);
            }
        }
        Ok(alike)
    }

    fn find(&mut self, header: &Header, hash: u64, stored: &[u8]) -> Result<Option<Entry>, E> {
        let number = self.pointer(header, header.pointer_index(hash))?;
        let block = (self.fetch)(number)?;
        let leaf = Leaf::parse(block.as_ref(), number, header.shape)?;
        Ok(leaf.find(hash, stored, header.flags)?)
    }

    /// The number of the leaf that a pointer of the table leads to.
    fn pointer(&mut self, header: &Header, index: u64) -> Result<u64, E> {
        let (block, offset) = header.pointer_place(index)?;
        if block != 0 && self.table.as_ref().is_none_or(|(number, _)| *number != block) {
            self.table = Some((block, (self.fetch)(block)?));
        }
        let bytes = match &self.table {
            Some((number, bytes)) if *number == block => bytes.as_ref(),
            _ => self.first.as_ref(),
        };
        let pointer =
            View::new(bytes, header.order).u64(offset).map_err(|source| ZapError::Truncated { block, source })?;
        // Blocks of the table carry no mark of their byte order, and may have
        // been written by another machine than the header.
        let known = 1..header.free_block;
        [pointer, pointer.swap_bytes()]
            .into_iter()
            .find(|p| known.contains(p))
            .ok_or_else(|| ZapError::Corrupt { block, expected: "the number of a leaf's block", found: pointer }.into())
    }

    /// The leaf at pointer `index`, and the index of the first pointer behind
    /// those that lead to it.
    fn leaf_at(&mut self, header: &Header, index: u64) -> Result<(LeafStructure, u64), E> {
        let number = self.pointer(header, index)?;
        let block = (self.fetch)(number)?;
        let leaf = Leaf::parse(block.as_ref(), number, header.shape)?;
        let shift = header.table.shift;
        // A leaf must be met at its own prefix: no leaf is then read twice,
        // whatever a damaged table says.
        let expected = leaf.prefix.checked_shl(shift.wrapping_sub(leaf.prefix_len));
        if leaf.prefix_len > shift || expected != Some(index) {
            return Err(ZapError::Corrupt {
                block: number,
                expected: "a leaf whose prefix is that of its pointers",
                found: leaf.prefix,
            }
            .into());
        }
        let entries: Vec<_> = leaf
            .entries()?
            .into_iter()
            .map(|(hash, _, chunk)| Ok((hash, leaf.entry(chunk, header.flags)?)))
            .collect::<Result<_, ZapError>>()?;
        if let Some(faults) = self.faults.as_mut().filter(|faults| faults.len() < MOST_FAULTS) {
            leaf.examine(&entries, |entry| header.hash(entry), faults)?;
        }
        let pointers = 1 << (shift - leaf.prefix_len);
        let structure = LeafStructure {
            block: number,
            prefix: leaf.prefix,
            prefix_len: leaf.prefix_len,
            pointers,
            chunks: header.shape.chunks() as u64,
            free_chunks: leaf.free_chunks()?.into(),
            entries,
        };
        Ok((structure, index + pointers))
    }
}

/// The entries of a ZAP, or the first error met.
pub struct Iter<'a, F, B> {
    reader: &'a mut Reader<F, B>,
    ready: VecDeque<Entry>,
    /// The next slot of a micro ZAP or pointer of a fat one, until the end.
    next: Option<u64>,
}

impl<F, B, E> Iter<'_, F, B>
where
    F: FnMut(u64) -> Result<B, E>,
    B: AsRef<[u8]>,
    E: From<ZapError>,
{
    /// Reads on until an entry is ready or the ZAP ends.
    fn advance(&mut self) -> Result<(), E> {
        while let (Some(next), true) = (self.next, self.ready.is_empty()) {
            let end = match self.reader.layout {
                Layout::Micro { order, .. } => {
                    let view = View::new(self.reader.first.as_ref(), order);
                    let end = micro::slot_count(view) as u64;
                    if next < end {
                        self.ready.extend(micro::read_slot(view, next as usize)?);
                    }
                    self.next = Some(next + 1);
                    end
                }
                Layout::Fat(header) => {
                    let (leaf, next) = self.reader.leaf_at(&header, next)?;
                    self.ready = leaf.entries.into_iter().map(|(_, entry)| entry).collect();
                    self.next = Some(next);
                    1 << header.table.shift
                }
            };
            self.next = self.next.filter(|&next| next < end);
        }
        Ok(())
    }
}

impl<F, B, E> Iterator for Iter<'_, F, B>
where
    F: FnMut(u64) -> Result<B, E>,
    B: AsRef<[u8]>,
    E: From<ZapError>,
{
    type Item = Result<Entry, E>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.advance() {
            self.next = None;
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}
