//! A leaf of a fat ZAP (`zap_leaf_phys_t`): a header, a small hash table, and
//! chunks of 24 bytes.
//!
//! A chunk is an entry, a part of a name or value, or free. The hash table holds
//! the first entry's chunk of each bucket; an entry holds the next one's, and
//! the first chunks of its name and value. A bucket is chosen by the bits of the
//! hash that follow the leaf's prefix. Arrays keep 21 bytes per chunk, integers
//! most significant byte first.

use super::{BLOCK_TYPE_LEAF, Entry, FLAG_UINT64_KEY, MAX_NAME, MAX_VALUE, Value, ZapError};
use crate::bytes::{ByteOrder, Put, Truncated, View};

const MAGIC: u32 = 0x2AB_1EAF;

// The header.
const TYPE: usize = 0;
const PREFIX: usize = 16;
const LEAF_MAGIC: usize = 24;
const FREE_COUNT: usize = 28;
const ENTRY_COUNT: usize = 30;
const PREFIX_LEN: usize = 32;
const FREE_LIST: usize = 34;
const FLAGS: usize = 36;
const HASH_TABLE: usize = 48;

/// The chains of this leaf are sorted by collision differentiator.
const FLAG_CD_SORTED: u8 = 1;

const CHUNK_LEN: usize = 24;
const CHUNK_TYPE: usize = 0;
const CHUNK_FREE: u8 = 253;
const CHUNK_ENTRY: u8 = 252;
const CHUNK_ARRAY: u8 = 251;
const CHAIN_END: u16 = 0xFFFF;

// An entry chunk.
const VALUE_INTEGER_SIZE: usize = 1;
const NEXT_ENTRY: usize = 2;
const NAME_CHUNK: usize = 4;
const NAME_COUNT: usize = 6;
const VALUE_CHUNK: usize = 8;
const VALUE_COUNT: usize = 10;
const CD: usize = 12;
const HASH: usize = 16;

// An array chunk; the link of a free one is in the same place.
const ARRAY: usize = 1;
const ARRAY_LEN: usize = 21;
const NEXT: usize = 22;

/// What follows from the block size of a leaf, `2^block_shift` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) block_shift: u32,
}

impl Shape {
    fn bucket_shift(self) -> u32 {
        self.block_shift - 5
    }

    fn buckets(self) -> usize {
        1 << self.bucket_shift()
    }

    pub(super) fn block_len(self) -> usize {
        1 << self.block_shift
    }

    /// The number of chunks in a leaf.
    pub(super) fn chunks(self) -> usize {
        (self.block_len() - 2 * self.buckets()) / CHUNK_LEN - 2
    }

    fn chunk_offset(self, chunk: u16) -> usize {
        HASH_TABLE + 2 * self.buckets() + usize::from(chunk) * CHUNK_LEN
    }

    fn bucket(self, hash: u64, prefix_len: u32) -> usize {
        let shift = 64 - self.bucket_shift() - prefix_len;
        (hash >> shift) as usize & (self.buckets() - 1)
    }
}

/// The number of chunks that an entry takes.
pub(super) fn chunks_of(name: &[u8], value: Value<'_>) -> usize {
    1 + (name.len() + 1).div_ceil(ARRAY_LEN) + value.size().div_ceil(ARRAY_LEN)
}

/// A leaf being filled, from its first chunk on.
pub(super) struct Writer {
    block: Vec<u8>,
    shape: Shape,
    prefix_len: u32,
    used: usize,
    entries: u16,
    /// A name or value as it is stored, kept for its memory.
    stored: Vec<u8>,
}

impl Writer {
    /// An empty leaf for hashes that begin with the low `prefix_len` bits of `prefix`.
    pub(super) fn new(shape: Shape, prefix: u64, prefix_len: u32, cd_sorted: bool) -> Self {
        let mut block = vec![0; shape.block_len()];
        block.put_u64(TYPE, BLOCK_TYPE_LEAF);
        block.put_u64(PREFIX, prefix);
        block.put_u32(LEAF_MAGIC, MAGIC);
        block.put_u16(PREFIX_LEN, prefix_len as u16);
        block.put_u8(FLAGS, if cd_sorted { FLAG_CD_SORTED } else { 0 });
        block[HASH_TABLE..shape.chunk_offset(0)].fill(0xFF);
        Writer { block, shape, prefix_len, used: 0, entries: 0, stored: Vec::new() }
    }

    /// Adds an entry; entries of the same hash come in the order of their `cd`.
    ///
    /// # Panics
    /// If the leaf is full: the plan gave it more than it holds.
    pub(super) fn add(&mut self, hash: u64, cd: u32, name: &[u8], value: Value<'_>) {
        let entry = self.take();
        let mut stored = std::mem::take(&mut self.stored);
        stored.clear();
        stored.extend_from_slice(name);
        stored.push(0);
        let name_chunk = self.array(&stored);
        stored.clear();
        match value {
            Value::Number(n) => stored.extend(n.to_be_bytes()),
            Value::Numbers(v) => stored.extend(v.iter().flat_map(|n| n.to_be_bytes())),
            Value::Shorts(v) => stored.extend(v.iter().flat_map(|n| n.to_be_bytes())),
            Value::Bytes(v) => stored.extend_from_slice(v),
        }
        let value_chunk = self.array(&stored);
        self.stored = stored;

        // OpenZFS keeps every chain sorted by cd, and relies on it where names
        // are normalized.
        let mut link = HASH_TABLE + 2 * self.shape.bucket(hash, self.prefix_len);
        let next = loop {
            let next = self.u16(link);
            if next == CHAIN_END || self.u32(self.shape.chunk_offset(next) + CD) > cd {
                break next;
            }
            link = self.shape.chunk_offset(next) + NEXT_ENTRY;
        };
        self.block.put_u16(link, entry);

        let at = self.shape.chunk_offset(entry);
        let chunk = &mut self.block[at..at + CHUNK_LEN];
        chunk.put_u8(CHUNK_TYPE, CHUNK_ENTRY);
        chunk.put_u8(VALUE_INTEGER_SIZE, value.integer_size());
        chunk.put_u16(NEXT_ENTRY, next);
        chunk.put_u16(NAME_CHUNK, name_chunk);
        chunk.put_u16(NAME_COUNT, name.len() as u16 + 1);
        chunk.put_u16(VALUE_CHUNK, value_chunk);
        chunk.put_u16(VALUE_COUNT, value.count() as u16);
        chunk.put_u32(CD, cd);
        chunk.put_u64(HASH, hash);
        self.entries += 1;
    }

    /// The block, its unused chunks chained into the free list.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let (used, chunks) = (self.used, self.shape.chunks());
        for chunk in used..chunks {
            let at = self.shape.chunk_offset(chunk as u16);
            self.block.put_u8(at + CHUNK_TYPE, CHUNK_FREE);
            let next = if chunk + 1 < chunks { chunk as u16 + 1 } else { CHAIN_END };
            self.block.put_u16(at + NEXT, next);
        }
        self.block.put_u16(FREE_COUNT, (chunks - used) as u16);
        self.block.put_u16(FREE_LIST, if used < chunks { used as u16 } else { CHAIN_END });
        self.block.put_u16(ENTRY_COUNT, self.entries);
        self.block
    }

    fn take(&mut self) -> u16 {
        assert!(self.used < self.shape.chunks(), "a ZAP leaf was planned too full");
        self.used += 1;
        self.used as u16 - 1
    }

    /// Writes an array and gives its first chunk.
    fn array(&mut self, bytes: &[u8]) -> u16 {
        if bytes.is_empty() {
            return CHAIN_END;
        }
        let first = self.used as u16;
        for (number, part) in bytes.chunks(ARRAY_LEN).enumerate() {
            // Chunks are taken in order: the next part goes to the next one.
            let chunk = self.take();
            let last = (number + 1) * ARRAY_LEN >= bytes.len();
            let at = self.shape.chunk_offset(chunk);
            self.block.put_u8(at + CHUNK_TYPE, CHUNK_ARRAY);
            self.block.put_bytes(at + ARRAY, part);
            self.block.put_u16(at + NEXT, if last { CHAIN_END } else { chunk + 1 });
        }
        first
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.block[at], self.block[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }
}

/// A leaf being read.
pub(super) struct Leaf<'a> {
    view: View<'a>,
    shape: Shape,
    /// The block's number, for messages.
    block: u64,
    /// The first bits of the hashes of all entries, as a number.
    pub(super) prefix: u64,
    /// How many bits those are.
    pub(super) prefix_len: u32,
}

impl<'a> Leaf<'a> {
    /// The leaf in block number `block`, in either byte order.
    pub(super) fn parse(bytes: &'a [u8], block: u64, shape: Shape) -> Result<Self, ZapError> {
        let truncated = |source| ZapError::Truncated { block, source };
        let corrupt = |expected, found| ZapError::Corrupt { block, expected, found };
        if bytes.len() != shape.block_len() {
            return Err(corrupt("a block as large as the first one", bytes.len() as u64));
        }
        let little = View::new(bytes, ByteOrder::Little);
        let view = match little.u64(TYPE).map_err(truncated)? {
            BLOCK_TYPE_LEAF => little,
            t if t.swap_bytes() == BLOCK_TYPE_LEAF => View::new(bytes, ByteOrder::Big),
            other => return Err(corrupt("the type of a leaf", other)),
        };
        let magic = view.u32(LEAF_MAGIC).map_err(truncated)?;
        if magic != MAGIC {
            return Err(corrupt("a leaf's magic number", magic.into()));
        }
        let prefix_len = u32::from(view.u16(PREFIX_LEN).map_err(truncated)?);
        if prefix_len > 64 - shape.bucket_shift() {
            return Err(corrupt("a prefix shorter than a hash", prefix_len.into()));
        }
        let prefix = view.u64(PREFIX).map_err(truncated)?;
        Ok(Leaf { view, shape, block, prefix, prefix_len })
    }

    /// The free chunks, as the leaf counts them.
    pub(super) fn free_chunks(&self) -> Result<u16, ZapError> {
        self.u16(FREE_COUNT)
    }

    /// The entries' hashes, collision differentiators and chunks, in that order.
    pub(super) fn entries(&self) -> Result<Vec<(u64, u32, u16)>, ZapError> {
        let mut entries = Vec::new();
        for bucket in 0..self.shape.buckets() {
            let mut link = self.u16(HASH_TABLE + 2 * bucket)?;
            while link != CHAIN_END {
                if entries.len() > self.shape.chunks() {
                    return Err(self.corrupt("chains that end", bucket as u64));
                }
                let chunk = self.chunk(link, CHUNK_ENTRY)?;
                entries.push((self.u64(chunk + HASH)?, self.u32(chunk + CD)?, link));
                link = self.u16(chunk + NEXT_ENTRY)?;
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// Examines the leaf, whose `entries` were read with the hashes stored for them: adds to `faults` what does not
    /// hold. `hash` gives the hash that an entry must have, where that can be known.
    pub(super) fn examine(
        &self,
        entries: &[(u64, Entry)],
        hash: impl Fn(&Entry) -> Option<u64>,
        faults: &mut Vec<String>,
    ) -> Result<(), ZapError> {
        let mut fault = |name: &[u8], what: &str| {
            faults.push(format!("ZAP block {}: the entry {:?} {what}", self.block, String::from_utf8_lossy(name)));
        };
        let mut before: Option<(u64, &Entry)> = None;
        for &(stored, ref entry) in entries {
            if hash(entry).is_some_and(|hash| hash != stored) {
                fault(&entry.name, "has a hash that is not its name's");
            }
            if self.prefix_len > 0 && stored >> (64 - self.prefix_len) != self.prefix {
                fault(&entry.name, "is in a leaf to which its hash does not lead");
            }
            if let Some((hash, other)) = before
                && hash == stored
            {
                if other.cd == entry.cd {
                    fault(&entry.name, "cannot be told from another of the same hash");
                }
                // Those of one hash are sorted by what tells them apart, not by name.
                let same = entries.iter().filter(|(hash, other)| *hash == stored && other.name == entry.name);
                if same.count() > 1 {
                    fault(&entry.name, "is there twice");
                }
            }
            before = Some((stored, entry));
        }
        for bucket in 0..self.shape.buckets() {
            let mut link = self.u16(HASH_TABLE + 2 * bucket)?;
            while link != CHAIN_END {
                let chunk = self.chunk(link, CHUNK_ENTRY)?;
                if self.shape.bucket(self.u64(chunk + HASH)?, self.prefix_len) != bucket {
                    let entry = self.entry(link, 0).map(|entry| entry.name).unwrap_or_default();
                    fault(&entry, "is in a chain to which its hash does not lead");
                }
                link = self.u16(chunk + NEXT_ENTRY)?;
            }
        }
        let (recorded, free) = (usize::from(self.u16(ENTRY_COUNT)?), usize::from(self.u16(FREE_COUNT)?));
        let unused = (0..self.shape.chunks())
            .filter(|&chunk| self.view.u8(self.shape.chunk_offset(chunk as u16) + CHUNK_TYPE) == Ok(CHUNK_FREE))
            .count();
        if recorded != entries.len() || free != unused {
            faults.push(format!(
                "ZAP block {}: the leaf has {} entries and {unused} free chunks, its header says {recorded} and {free}",
                self.block,
                entries.len()
            ));
        }
        Ok(())
    }

    /// The entry of this hash and this name as it is stored, with the NUL of names.
    pub(super) fn find(&self, hash: u64, name: &[u8], zap_flags: u64) -> Result<Option<Entry>, ZapError> {
        let mut link = self.u16(HASH_TABLE + 2 * self.shape.bucket(hash, self.prefix_len))?;
        for _ in 0..=self.shape.chunks() {
            if link == CHAIN_END {
                return Ok(None);
            }
            let chunk = self.chunk(link, CHUNK_ENTRY)?;
            if self.u64(chunk + HASH)? == hash && self.name(chunk, zap_flags)? == name {
                return Ok(Some(self.entry(link, zap_flags)?));
            }
            link = self.u16(chunk + NEXT_ENTRY)?;
        }
        Err(self.corrupt("a chain that ends", link.into()))
    }

    /// The entry whose chunk is `link`.
    pub(super) fn entry(&self, link: u16, zap_flags: u64) -> Result<Entry, ZapError> {
        let chunk = self.chunk(link, CHUNK_ENTRY)?;
        let mut name = self.name(chunk, zap_flags)?;
        if zap_flags & FLAG_UINT64_KEY == 0 && name.pop() != Some(0) {
            return Err(self.corrupt("a name that ends in NUL", link.into()));
        }
        let integer_size = self.view.u8(chunk + VALUE_INTEGER_SIZE).map_err(|e| self.truncated(e))?;
        if ![1, 2, 4, 8].contains(&integer_size) {
            return Err(self.corrupt("integers of 1, 2, 4 or 8 bytes", integer_size.into()));
        }
        let count = usize::from(self.u16(chunk + VALUE_COUNT)?);
        let len = count * usize::from(integer_size);
        if len > MAX_VALUE {
            return Err(self.corrupt("a value of at most 8 KiB", len as u64));
        }
        let bytes = self.array(self.u16(chunk + VALUE_CHUNK)?, len)?;
        let values = bytes
            .chunks_exact(integer_size.into())
            .map(|integer| integer.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
            .collect();
        Ok(Entry { name, integer_size, values, cd: self.u32(chunk + CD)? })
    }

    /// The name of the entry at offset `chunk`, as it is stored.
    fn name(&self, chunk: usize, zap_flags: u64) -> Result<Vec<u8>, ZapError> {
        let count = usize::from(self.u16(chunk + NAME_COUNT)?);
        let len = if zap_flags & FLAG_UINT64_KEY != 0 { 8 * count } else { count };
        if len > MAX_NAME + 1 {
            return Err(self.corrupt("a name of at most 1023 bytes", len as u64));
        }
        self.array(self.u16(chunk + NAME_CHUNK)?, len)
    }

    /// `len` bytes of the array that begins in chunk `link`.
    fn array(&self, mut link: u16, len: usize) -> Result<Vec<u8>, ZapError> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let chunk = self.chunk(link, CHUNK_ARRAY)?;
            let part = ARRAY_LEN.min(len - bytes.len());
            bytes.extend_from_slice(self.view.bytes(chunk + ARRAY, part).map_err(|e| self.truncated(e))?);
            link = self.u16(chunk + NEXT)?;
        }
        Ok(bytes)
    }

    /// The offset of chunk `link`, which must be of the given type.
    fn chunk(&self, link: u16, chunk_type: u8) -> Result<usize, ZapError> {
        if usize::from(link) >= self.shape.chunks() {
            return Err(self.corrupt("the number of a chunk", link.into()));
        }
        let at = self.shape.chunk_offset(link);
        match self.view.u8(at + CHUNK_TYPE).map_err(|e| self.truncated(e))? {
            found if found == chunk_type => Ok(at),
            found if chunk_type == CHUNK_ENTRY => Err(self.corrupt("an entry chunk (0xfc)", found.into())),
            found => Err(self.corrupt("an array chunk (0xfb)", found.into())),
        }
    }

    fn u16(&self, at: usize) -> Result<u16, ZapError> {
        self.view.u16(at).map_err(|e| self.truncated(e))
    }

    fn u32(&self, at: usize) -> Result<u32, ZapError> {
        self.view.u32(at).map_err(|e| self.truncated(e))
    }

    fn u64(&self, at: usize) -> Result<u64, ZapError> {
        self.view.u64(at).map_err(|e| self.truncated(e))
    }

    fn truncated(&self, source: Truncated) -> ZapError {
        ZapError::Truncated { block: self.block, source }
    }

    fn corrupt(&self, expected: &'static str, found: u64) -> ZapError {
        ZapError::Corrupt { block: self.block, expected, found }
    }
}
