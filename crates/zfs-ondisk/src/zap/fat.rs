//! The fat ZAP: the header block (`zap_phys_t`), the pointer table, and how
//! entries are distributed over leaves.
//!
//! The pointer table has `2^shift` block numbers, indexed by the first `shift`
//! bits of a hash; a leaf whose prefix is shorter than that has several pointers
//! in a row. A table of as many entries as half a block holds is in the second
//! half of the header; a larger one has blocks of its own.

use super::leaf::{Shape, Writer, chunks_of};
use super::{
    BLOCK_TYPE_HEADER, Entries, Entry, FLAG_PRE_HASHED_KEY, FLAG_UINT64_KEY, HashBits, MAX_VALUE, Order, Params,
    PlanError, ZapError, hash_key, hash_name, lossy,
};
use crate::bytes::{ByteOrder, Put, View};

const MAGIC: u64 = 0x2_F52A_B2AB;

// The header.
const TYPE: usize = 0;
const HEADER_MAGIC: usize = 8;
const TABLE_BLOCK: usize = 16;
const TABLE_BLOCK_COUNT: usize = 24;
const TABLE_SHIFT: usize = 32;
const FREE_BLOCK: usize = 56;
const LEAF_COUNT: usize = 64;
const ENTRY_COUNT: usize = 72;
const SALT: usize = 80;
const NORM_FLAGS: usize = 88;
const ZAP_FLAGS: usize = 96;

/// The block sizes that OpenZFS may give a fat ZAP, as powers of two.
const BLOCK_SHIFTS: std::ops::RangeInclusive<u32> = 9..=17;

/// OpenZFS stops to grow the pointer table two bits before the hash ends.
const MAX_TABLE_SHIFT: u32 = 26;

/// A plan for a fat ZAP: which entry goes to which block. Blocks are then made
/// one by one, in any order.
///
/// The leaves are blocks 1 to `n`, where FreeBSD's boot loader looks for them
/// when it lists a directory; the pointer table, if it is not in the header,
/// comes behind them.
#[derive(Clone, Debug)]
pub struct FatZap {
    params: Params,
    shape: Shape,
    order: Order,
    leaves: Vec<Range>,
    table_shift: u32,
}

/// The hashes of a leaf, and where its entries end in the sorted order.
#[derive(Clone, Copy, Debug)]
struct Range {
    prefix: u32,
    prefix_len: u32,
    end: u32,
}

impl FatZap {
    /// Plans a fat ZAP of `entries`. Needs 8 bytes per entry, and 16 while planning.
    ///
    /// # Errors
    /// A name or value that no ZAP can have, a name given twice, or too many
    /// names of the same hash.
    pub fn plan<E: Entries + ?Sized>(entries: &E, params: Params) -> Result<FatZap, PlanError> {
        if !BLOCK_SHIFTS.contains(&params.block_shift) {
            return Err(PlanError::Size { entries: entries.len(), block_shift: params.block_shift });
        }
        let shape = Shape { block_shift: params.block_shift };
        let order = Order::new(entries, &params)?;
        let mut ends = Vec::with_capacity(entries.len() + 1);
        ends.push(0u64);
        for at in 0..entries.len() {
            let index = order.index(at);
            let (name, value) = (entries.name(index), entries.value(index));
            let chunks = chunks_of(name, value);
            if value.size() > MAX_VALUE || chunks > shape.chunks() {
                return Err(PlanError::Value { name: lossy(name), size: value.size() });
            }
            ends.push(ends[at] + chunks as u64);
        }
        let mut zap = FatZap { params, shape, order, leaves: Vec::new(), table_shift: 0 };
        zap.split(&ends)?;
        let longest = zap.leaves.iter().map(|leaf| leaf.prefix_len).max().unwrap_or(0);
        zap.table_shift = longest.max(zap.embedded_shift());
        Ok(zap)
    }

    /// The size of every block in bytes.
    pub fn block_size(&self) -> usize {
        1 << self.params.block_shift
    }

    /// The number of blocks of the object.
    pub fn block_count(&self) -> u64 {
        self.table_block() + self.table_block_count()
    }

    /// Block `number` of the object.
    ///
    /// # Panics
    /// If `number` is not below [`FatZap::block_count`], or `entries` are not
    /// those of the plan.
    pub fn block<E: Entries + ?Sized>(&self, number: u64, entries: &E) -> Vec<u8> {
        assert!(number < self.block_count(), "block {number} is not in the plan of the ZAP");
        match number.checked_sub(1) {
            None => self.header(),
            Some(leaf) if number < self.table_block() => self.leaf(leaf as usize, entries),
            Some(_) => {
                let mut block = vec![0; self.block_size()];
                self.fill_table(&mut block, (number - self.table_block()) << (self.params.block_shift - 3));
                block
            }
        }
    }

    /// All blocks in order.
    pub fn blocks<'a, E: Entries + ?Sized>(&'a self, entries: &'a E) -> impl Iterator<Item = Vec<u8>> + 'a {
        (0..self.block_count()).map(move |number| self.block(number, entries))
    }

    /// Halves the space of hashes until the entries of every part fit into a
    /// leaf. `ends` are the chunks taken by the entries before each place.
    fn split(&mut self, ends: &[u64]) -> Result<(), PlanError> {
        // Parts yet to be done, the first one last: at most one per bit is open.
        let mut open = vec![Range { prefix: 0, prefix_len: 0, end: self.order.0.len() as u32 }];
        let mut begin = 0;
        while let Some(part) = open.pop() {
            let end = part.end as usize;
            if ends[end] - ends[begin] <= self.shape.chunks() as u64 {
                self.leaves.push(part);
                begin = end;
                continue;
            }
            let prefix_len = part.prefix_len + 1;
            if prefix_len > MAX_TABLE_SHIFT {
                return Err(PlanError::Collisions { count: end - begin });
            }
            let bit = 1 << (64 - prefix_len);
            let middle = begin + self.order.0[begin..end].partition_point(|packed| packed << 4 & bit == 0);
            open.push(Range { prefix: part.prefix << 1 | 1, prefix_len, end: part.end });
            open.push(Range { prefix: part.prefix << 1, prefix_len, end: middle as u32 });
        }
        Ok(())
    }

    fn embedded_shift(&self) -> u32 {
        embedded_shift(self.params.block_shift)
    }

    /// The number of the first block behind the leaves.
    fn table_block(&self) -> u64 {
        1 + self.leaves.len() as u64
    }

    /// The number of blocks of the pointer table, 0 if it is in the header.
    fn table_block_count(&self) -> u64 {
        if self.table_shift == self.embedded_shift() {
            0
        } else {
            1 << (self.table_shift - (self.params.block_shift - 3))
        }
    }

    fn header(&self) -> Vec<u8> {
        let mut block = vec![0; self.block_size()];
        block.put_u64(TYPE, BLOCK_TYPE_HEADER);
        block.put_u64(HEADER_MAGIC, MAGIC);
        block.put_u64(TABLE_SHIFT, self.table_shift.into());
        block.put_u64(FREE_BLOCK, self.block_count());
        block.put_u64(LEAF_COUNT, self.leaves.len() as u64);
        block.put_u64(ENTRY_COUNT, self.order.0.len() as u64);
        block.put_u64(SALT, self.params.salt);
        block.put_u64(NORM_FLAGS, self.params.norm_flags);
        if self.table_block_count() == 0 {
            let half = block.len() / 2;
            self.fill_table(&mut block[half..], 0);
        } else {
            block.put_u64(TABLE_BLOCK, self.table_block());
            block.put_u64(TABLE_BLOCK_COUNT, self.table_block_count());
        }
        block
    }

    /// Fills `table` with the pointers from number `first` on.
    fn fill_table(&self, table: &mut [u8], first: u64) {
        let first_pointer = |leaf: &Range| u64::from(leaf.prefix) << (self.table_shift - leaf.prefix_len);
        let mut leaf = self.leaves.partition_point(|leaf| first_pointer(leaf) <= first) - 1;
        for (pointer, slot) in (first..).zip(table.chunks_exact_mut(8)) {
            if self.leaves.get(leaf + 1).is_some_and(|next| first_pointer(next) == pointer) {
                leaf += 1;
            }
            slot.put_u64(0, leaf as u64 + 1);
        }
    }

    fn leaf<E: Entries + ?Sized>(&self, number: usize, entries: &E) -> Vec<u8> {
        let range = &self.leaves[number];
        let begin = number.checked_sub(1).map_or(0, |before| self.leaves[before].end as usize);
        let cd_sorted = self.params.norm_flags != 0;
        let mut writer = Writer::new(self.shape, range.prefix.into(), range.prefix_len, cd_sorted);
        let mut cd = 0;
        for at in begin..range.end as usize {
            // Equal hashes are in the same leaf, so the count begins within it.
            cd = if at > begin && self.order.hash(at - 1) == self.order.hash(at) { cd + 1 } else { 0 };
            let index = self.order.index(at);
            writer.add(self.order.hash(at), cd, entries.name(index), entries.value(index));
        }
        writer.finish()
    }
}

fn embedded_shift(block_shift: u32) -> u32 {
    block_shift - 4
}

/// The header of a fat ZAP that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) shape: Shape,
    pub(super) order: ByteOrder,
    pub(super) table: Table,
    pub(super) free_block: u64,
    pub(super) leaf_count: u64,
    pub(super) entry_count: u64,
    pub(super) salt: u64,
    pub(super) norm_flags: u64,
    pub(super) flags: u64,
}

/// Where the pointer table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Its first block; 0 is the header.
    pub(super) block: u64,
    /// Its blocks; 0 if it is in the header.
    pub(super) blocks: u64,
    /// It has `2^shift` pointers.
    pub(super) shift: u32,
}

impl Header {
    /// The header in block 0, whose type and byte order are known already.
    pub(super) fn parse(view: View<'_>) -> Result<Header, ZapError> {
        let corrupt = |expected, found| ZapError::Corrupt { block: 0, expected, found };
        let u64 = |offset| view.u64(offset).map_err(|source| ZapError::Truncated { block: 0, source });
        let magic = u64(HEADER_MAGIC)?;
        if magic != MAGIC {
            return Err(corrupt("a fat ZAP's magic number", magic));
        }
        let block_shift = view.len().trailing_zeros();
        if !view.len().is_power_of_two() || !(9..=24).contains(&block_shift) {
            return Err(corrupt("a block of a power of two from 512 bytes to 16 MiB", view.len() as u64));
        }
        let flags = u64(ZAP_FLAGS)?;
        let (block, blocks, shift) = (u64(TABLE_BLOCK)?, u64(TABLE_BLOCK_COUNT)?, u64(TABLE_SHIFT)?);
        let longest = u64::from(HashBits::from_flags(flags).bits());
        let pointers = match blocks {
            0 => 1 << embedded_shift(block_shift),
            _ => blocks.saturating_mul(1 << (block_shift - 3)),
        };
        if shift > longest || pointers != 1 << shift {
            return Err(corrupt("the logarithm of the pointer table's length", shift));
        }
        let table = Table { block: if blocks == 0 { 0 } else { block }, blocks, shift: shift as u32 };
        Ok(Header {
            shape: Shape { block_shift },
            order: view.order(),
            table,
            free_block: u64(FREE_BLOCK)?,
            leaf_count: u64(LEAF_COUNT)?,
            entry_count: u64(ENTRY_COUNT)?,
            salt: u64(SALT)?,
            norm_flags: u64(NORM_FLAGS)?,
            flags,
        })
    }

    /// The block and the offset in it, in bytes, of a pointer of the table.
    pub(super) fn pointer_place(&self, index: u64) -> Result<(u64, usize), ZapError> {
        let (block, offset) = match self.table.block {
            0 => (Some(0), index * 8 + (1 << (self.shape.block_shift - 1))),
            first => {
                let in_table = index * 8;
                let block = first.checked_add(in_table >> self.shape.block_shift);
                (block, in_table & ((1 << self.shape.block_shift) - 1))
            }
        };
        let block = block.ok_or(ZapError::Corrupt {
            block: 0,
            expected: "the pointer table's first block",
            found: self.table.block,
        })?;
        Ok((block, offset as usize))
    }

    /// The hash of an entry; `None` where names are normalized, as that may depend on Unicode's normal forms.
    pub(super) fn hash(&self, entry: &Entry) -> Option<u64> {
        let bits = HashBits::from_flags(self.flags);
        if self.flags & FLAG_UINT64_KEY != 0 {
            let (words, _) = entry.name.as_chunks();
            let key: Vec<u64> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
            return Some(match key.first() {
                Some(&first) if self.flags & FLAG_PRE_HASHED_KEY != 0 => bits.cut(first),
                _ => hash_key(self.salt, &key, bits),
            });
        }
        (self.norm_flags == 0).then(|| hash_name(self.salt, &entry.name, bits))
    }

    /// The index in the pointer table of a hash.
    pub(super) fn pointer_index(&self, hash: u64) -> u64 {
        hash.checked_shr(64 - self.table.shift).unwrap_or(0)
    }
}
