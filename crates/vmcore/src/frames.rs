//! Zstandard files that can be read at any place: a frame for each [`CHUNK`] bytes, and a table of them at the end.
//!
//! The table is that of zstd's seekable format (`contrib/seekable_format` of zstd): a frame that every decompressor
//! skips, so that such a file is one to all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use crate::bytes::array;

/// How many bytes are compressed together.
pub const CHUNK: u64 = 1 << 20;

/// How many chunks that are not full are kept in memory.
const MOST_OPEN: usize = 8;

/// The frame of the table: a skippable one.
const TABLE_MAGIC: u32 = 0x184d_2a5e;
/// The end of the table, and of the file.
const FOOTER_MAGIC: u32 = 0x8f92_eab1;
const FOOTER: usize = 9;

/// Compressed chunks, written in any order.
pub struct Writer {
    file: File,
    level: i32,
    /// Where the next frame goes.
    end: u64,
    /// What is in the file: where, and how many bytes.
    frames: BTreeMap<u64, (u64, usize)>,
    open: BTreeMap<u64, Open>,
    /// How much there is, uncompressed.
    size: u64,
}

/// A chunk that is not full yet; what has not come is 0.
struct Open {
    bytes: Vec<u8>,
    there: usize,
}

impl Writer {
    /// Begins with an empty file and this level of compression.
    pub fn new(file: File, level: i32) -> Writer {
        Writer { file, level, end: 0, frames: BTreeMap::new(), open: BTreeMap::new(), size: 0 }
    }

    /// Takes `bytes` for `offset`. Each byte comes once; those that never do are 0.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_at(&mut self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let (number, within) = (offset / CHUNK, (offset % CHUNK) as usize);
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK as usize - within));
            let open = match self.open.entry(number) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(match self.frames.get(&number) {
                    // It was written without waiting for these any longer.
                    Some(&(at, size)) => Open { bytes: read_frame(&self.file, at, size)?, there: 0 },
                    None => Open { bytes: vec![0; CHUNK as usize], there: 0 },
                }),
            };
            if let Some(to) = open.bytes.get_mut(within..within + now.len()) {
                to.copy_from_slice(now);
            }
            open.there += now.len();
            let full = open.there == CHUNK as usize;
            self.size = self.size.max(offset + now.len() as u64);
            if full {
                self.emit(number)?;
            } else if self.open.len() > MOST_OPEN
                && let Some((&oldest, _)) = self.open.iter().find(|(other, _)| **other != number)
            {
                self.emit(oldest)?;
            }
            (bytes, offset) = (later, offset + now.len() as u64);
        }
        Ok(())
    }

    /// Compresses a chunk and writes it behind the others.
    fn emit(&mut self, number: u64) -> io::Result<()> {
        let Some(open) = self.open.remove(&number) else { return Ok(()) };
        let frame = zstd::bulk::compress(&open.bytes, self.level)?;
        self.append(number, &frame)
    }

    fn append(&mut self, number: u64, frame: &[u8]) -> io::Result<()> {
        self.file.write_all_at(frame, self.end)?;
        self.frames.insert(number, (self.end, frame.len()));
        self.end += frame.len() as u64;
        Ok(())
    }

    /// How many bytes the file has so far.
    pub fn stored(&self) -> u64 {
        self.end
    }

    /// Writes what is not written yet, up to `size` bytes in all, and the table. The frames get into order: if they
    /// are not yet, they are copied to `other`, an empty file. Returns the file that has it all.
    ///
    /// # Errors
    /// If the file cannot be written, or has more frames than the table can have.
    pub fn finish(mut self, size: u64, other: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
        let size = size.min(self.size);
        let (count, tail) = (size.div_ceil(CHUNK), (size % CHUNK) as usize);
        // The last one is cut, and so must be one that is in the file.
        if tail > 0 {
            let last = count - 1;
            if let Some(&(at, length)) = self.frames.get(&last)
                && !self.open.contains_key(&last)
            {
                let bytes = read_frame(&self.file, at, length)?;
                self.open.insert(last, Open { bytes, there: 0 });
            }
            if let Some(open) = self.open.get_mut(&last) {
                open.bytes.truncate(tail);
            }
        }
        let open: Vec<u64> = self.open.keys().copied().filter(|&number| number < count).collect();
        for number in open {
            self.emit(number)?;
        }
        self.frames = self.frames.split_off_end(count);
        let zeros = zstd::bulk::compress(&vec![0; CHUNK as usize], self.level)?;
        let ordered = self.frames.len() as u64 == count
            && self.frames.values().try_fold(0, |next, &(at, size)| (at == next).then_some(at + size as u64))
                == Some(self.end);
        let (file, sizes) = if ordered {
            let sizes = self.frames.values().map(|&(_, size)| size).collect();
            (self.file, sizes)
        } else {
            copy_in_order(&self.file, other()?, count, tail, &self.frames, &zeros, self.level)?
        };
        let at = sizes.iter().map(|&size| size as u64).sum();
        let table = table(&sizes, size)?;
        file.write_all_at(&table, at)?;
        file.set_len(at + table.len() as u64)?;
        Ok(file)
    }
}

/// The part of a map before a key.
trait SplitOffEnd {
    fn split_off_end(self, end: u64) -> Self;
}

impl<V> SplitOffEnd for BTreeMap<u64, V> {
    fn split_off_end(mut self, end: u64) -> Self {
        drop(self.split_off(&end));
        self
    }
}

/// Copies the frames to `to` in order, and zeros for those that there are none of.
fn copy_in_order(
    from: &File,
    to: File,
    count: u64,
    tail: usize,
    frames: &BTreeMap<u64, (u64, usize)>,
    zeros: &[u8],
    level: i32,
) -> io::Result<(File, Vec<usize>)> {
    let mut out = io::BufWriter::with_capacity(1 << 20, &to);
    let mut sizes = Vec::new();
    for number in 0..count {
        let size = match frames.get(&number) {
            Some(&(at, size)) => {
                let mut frame = vec![0; size];
                from.read_exact_at(&mut frame, at)?;
                out.write_all(&frame)?;
                size
            }
            None if number + 1 == count && tail > 0 => {
                let frame = zstd::bulk::compress(&vec![0; tail], level)?;
                out.write_all(&frame)?;
                frame.len()
            }
            None => {
                out.write_all(zeros)?;
                zeros.len()
            }
        };
        sizes.push(size);
    }
    out.flush()?;
    drop(out);
    Ok((to, sizes))
}

fn read_frame(file: &File, at: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; size];
    file.read_exact_at(&mut frame, at)?;
    let mut bytes = zstd::bulk::decompress(&frame, CHUNK as usize)?;
    bytes.resize(CHUNK as usize, 0);
    Ok(bytes)
}

/// The table of frames of these sizes, of `size` bytes uncompressed.
fn table(sizes: &[usize], size: u64) -> io::Result<Vec<u8>> {
    let many = || io::Error::other("the dump is too large for one compressed file");
    let count = u32::try_from(sizes.len()).map_err(|_| many())?;
    let length = u32::try_from(sizes.len() * 8 + FOOTER).map_err(|_| many())?;
    let mut table = Vec::with_capacity(length as usize + 8);
    table.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
    table.extend_from_slice(&length.to_le_bytes());
    let mut rest = size;
    for &frame in sizes {
        let plain = rest.min(CHUNK);
        rest -= plain;
        table.extend_from_slice(&(frame as u32).to_le_bytes());
        table.extend_from_slice(&(plain as u32).to_le_bytes());
    }
    table.extend_from_slice(&count.to_le_bytes());
    table.push(0);
    table.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
    Ok(table)
}

/// One frame of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where it is in the file.
    pub(crate) at: u64,
    /// Its size in the file.
    pub(crate) stored: u32,
    /// Where its bytes are among all.
    pub(crate) offset: u64,
    /// How many those are.
    pub(crate) size: u32,
}

/// The largest frame that is taken whole into memory.
pub(crate) const MAX_FRAME: u32 = 64 << 20;

/// The frames that the table at the end of `file` has; none if there is no such table, or it cannot be true.
pub(crate) fn read_table(file: &dyn disk::ReadAt) -> io::Result<Option<Vec<Frame>>> {
    let Some(at) = file.size().checked_sub(FOOTER as u64) else { return Ok(None) };
    let mut footer = [0; FOOTER];
    file.read_exact_at(&mut footer, at)?;
    if u32::from_le_bytes(array(&footer, 5)) != FOOTER_MAGIC {
        return Ok(None);
    }
    let checksums = footer.get(4).is_some_and(|flags| flags & 0x80 != 0);
    let entry = if checksums { 12 } else { 8 };
    let count = u64::from(u32::from_le_bytes(array(&footer, 0)));
    let Some(start) = at.checked_sub(count * entry as u64 + 8) else { return Ok(None) };
    // No larger than the file.
    let mut table = vec![0; (at - start) as usize];
    file.read_exact_at(&mut table, start)?;
    if u32::from_le_bytes(array(&table, 0)) != TABLE_MAGIC {
        return Ok(None);
    }
    let (mut at, mut offset) = (0, 0);
    let mut frames = Vec::new();
    for entry in table.get(8..).unwrap_or_default().chunks_exact(entry) {
        let (stored, size) = (u32::from_le_bytes(array(entry, 0)), u32::from_le_bytes(array(entry, 4)));
        if stored > MAX_FRAME || size > MAX_FRAME {
            return Ok(None);
        }
        frames.push(Frame { at, stored, offset, size });
        (at, offset) = (at + u64::from(stored), offset + u64::from(size));
    }
    Ok((at == start).then_some(frames))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 12 << 20;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn what_was_written_in_any_order_is_there_in_the_right_one(
            mut pieces in proptest::collection::vec((0..SIZE, 1..3_000_000usize, any::<u8>()), 1..20),
            cut in 0..SIZE,
        ) {
            let mut expected = vec![0u8; SIZE * 2];
            let mut there = crate::ranges::Ranges::new();
            let file = tempfile::tempfile().unwrap();
            let mut writer = Writer::new(file, 1);
            for (at, size, byte) in pieces.drain(..) {
                let gaps: Vec<_> = there.missing(at as u64..(at + size) as u64).collect();
                for gap in gaps {
                    let slots = gap.start as usize..gap.end as usize;
                    expected[slots.clone()].fill(byte);
                    writer.write_at(&expected[slots], gap.start).unwrap();
                    there.insert(gap);
                }
            }
            let size = (cut as u64).min(there.end());
            let file = writer.finish(cut as u64, tempfile::tempfile).unwrap();
            let mut stored = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut stored, 0).unwrap();
            let plain = zstd::decode_all(&stored[..]).unwrap();
            prop_assert!(plain == expected[..size as usize]);
            let frames = read_table(&stored).unwrap().unwrap();
            prop_assert_eq!(frames.iter().map(|frame| u64::from(frame.size)).sum::<u64>(), size);
            for frame in frames {
                let part = &stored[frame.at as usize..][..frame.stored as usize];
                let part = zstd::bulk::decompress(part, frame.size as usize).unwrap();
                prop_assert!(part == expected[frame.offset as usize..][..frame.size as usize]);
            }
        }
    }
}
