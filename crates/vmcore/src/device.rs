//! Dumps on disks: where a kernel puts them, and how they are found.
//!
//! A dump lies at the end of a partition (`sys/kern/kern_shutdown.c`, `dump_start`): the header, the key block of an
//! encrypted dump, the data, and the header again, each in whole blocks of the device. The last block has the header;
//! it tells how far before it the first one is. The data of a text dump are a tar archive written backwards: its blocks
//! of 512 bytes come in reverse order, and end at the last header (`sys/ddb/db_textdump.c`).

use std::io;
use std::sync::Arc;

use disk::{Part, ReadAt};

use crate::header::{self, Header, Magic};
use crate::key::MAX_ENCRYPTED_KEY;

/// The sizes that blocks of a device may have.
const BLOCK_SIZES: [u64; 5] = [512, 4096, 1024, 2048, 8192];

/// The blocks of a text dump.
const TEXT_BLOCK: usize = 512;

/// What is read at a time to look for headers.
const SCAN: u64 = 1 << 20;

/// A dump on a device.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its header, as the last block has it.
    pub header: Header,
    /// What the header is in bytes.
    pub raw: [u8; header::SIZE],
    /// The size of the blocks that it is made of.
    pub block_size: u64,
    /// Where the last block is, in bytes; none if the dump was found by its first header.
    pub last: Option<u64>,
    /// Where the first header is.
    pub first: u64,
    /// Whether this is a text dump. A last header that was cleared does not tell, and the first one does.
    pub is_text: bool,
    /// What is wrong with the headers, in sentences.
    pub problems: Vec<String>,
}

/// Looks for a dump that ends where `device` does.
///
/// # Errors
/// If the device cannot be read.
pub fn find(device: &dyn ReadAt) -> io::Result<Option<Found>> {
    let mut unknown = None;
    for block_size in BLOCK_SIZES {
        let Some(last) = device.size().checked_sub(block_size) else { continue };
        let mut raw = [0; header::SIZE];
        device.read_exact_at(&mut raw, last)?;
        match Header::parse(&raw) {
            // Blocks of 512 bytes can end in what looks like one of 4096, if an older dump is there.
            Ok(header) if u64::from(header.block_size) == block_size => {
                return at_end(device, header, raw, block_size).map(Some);
            }
            Ok(header) => unknown = unknown.or(Some((header, raw, block_size))),
            Err(_) => {}
        }
    }
    match unknown {
        Some((header, raw, block_size)) => at_end(device, header, raw, block_size).map(Some),
        None => Ok(None),
    }
}

/// Compares the last header with the first.
fn at_end(device: &dyn ReadAt, header: Header, raw: [u8; header::SIZE], block_size: u64) -> io::Result<Found> {
    let last = device.size() - block_size;
    let mut problems = Vec::new();
    if !header.parity_ok {
        problems.push("the parity of the last header is wrong".to_owned());
    }
    if u64::from(header.block_size) != block_size {
        problems.push(format!(
            "the header says that blocks have {} bytes, and is in the last {block_size}",
            header.block_size
        ));
    }
    if header.dump_extent < header.dump_length {
        problems.push(format!(
            "the dump has {} bytes, and {} were reserved for it",
            header.dump_length, header.dump_extent
        ));
    }
    let extent = header.dump_extent.max(header.dump_length).checked_next_multiple_of(block_size);
    let key = u64::from(header.key_size).next_multiple_of(block_size);
    // Kernels with headers of version 1 may put it 512 bytes before the data whatever the size of blocks.
    let places =
        [block_size, header::SIZE as u64].map(|size| last.checked_sub(extent?)?.checked_sub(key)?.checked_sub(size));
    let Some(first) = places.into_iter().flatten().next() else {
        problems.push(format!("the dump is said to have {} bytes, more than are before its end", header.dump_length));
        let is_text = header.magic == Magic::Text;
        return Ok(Found { header, raw, block_size, last: Some(last), first: 0, is_text, problems });
    };
    let mut found = first;
    let mut same = false;
    let mut is_text = header.magic == Magic::Text;
    for place in places.into_iter().flatten() {
        let mut other = [0; header::SIZE];
        device.read_exact_at(&mut other, place)?;
        let mut cleared = other;
        header::clear(&mut cleared);
        // savecore(8) clears the last header only.
        if other == raw || header.magic == Magic::Cleared && cleared == raw {
            (found, same) = (place, true);
            is_text |= Header::parse(&other).is_ok_and(|first| first.magic == Magic::Text);
            break;
        }
    }
    if !same {
        problems.push("the first and the last header are not the same".to_owned());
    }
    Ok(Found { header, raw, block_size, last: Some(last), first: found, is_text, problems })
}

/// Looks for headers anywhere on `device`, and gives the dumps that begin with them, each as far as it is there: for
/// disks whose end, or whose partition table, was overwritten.
///
/// # Errors
/// If the device cannot be read.
pub fn scan(device: &dyn ReadAt, mut progress: impl FnMut(u64)) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let mut chunk = vec![0; SCAN as usize];
    let mut at = 0;
    while at < device.size() {
        let count = SCAN.min(device.size() - at);
        let bytes = chunk.get_mut(..count as usize).unwrap_or_default();
        device.read_exact_at(bytes, at)?;
        for (index, block) in bytes.as_chunks::<{ header::SIZE }>().0.iter().enumerate() {
            let Ok(header) = Header::parse(block) else { continue };
            let here = at + (index * header::SIZE) as u64;
            // The one behind the data belongs to a dump that is known.
            let ends = found.iter().any(|dump| dump.raw == *block && dump.first < here);
            if ends || header.magic == Magic::Text {
                continue;
            }
            let problem = if header.parity_ok { None } else { Some("the parity of the header is wrong".to_owned()) };
            let block_size = u64::from(header.block_size).max(header::SIZE as u64);
            let problems = problem.into_iter().collect();
            found.push(Found { header, raw: *block, block_size, last: None, first: here, is_text: false, problems });
        }
        at += count;
        progress(at);
    }
    Ok(found)
}

impl Found {
    /// Where the data begin.
    pub fn data_start(&self) -> u64 {
        match (self.is_text, self.last) {
            (true, Some(last)) => last.saturating_sub(self.header.dump_length),
            _ => {
                let header = self.block_size.min(self.first_header_size());
                self.first + header + u64::from(self.header.key_size).next_multiple_of(self.block_size)
            }
        }
    }

    /// The first header takes a block, or just its size: what is between it and the data tells.
    fn first_header_size(&self) -> u64 {
        let extent = self.header.dump_extent.max(self.header.dump_length).checked_next_multiple_of(self.block_size);
        let key = u64::from(self.header.key_size).next_multiple_of(self.block_size);
        let size = self.last.and_then(|last| last.checked_sub(self.first)?.checked_sub(extent?)?.checked_sub(key));
        size.filter(|&size| size == header::SIZE as u64).unwrap_or(self.block_size)
    }

    /// The data, those of a text dump in the right order.
    pub fn data(&self, device: &Arc<dyn ReadAt>) -> Arc<dyn ReadAt> {
        let part = Part::new(device.clone(), self.data_start(), self.header.dump_length);
        if self.is_text { Arc::new(Backwards(part)) } else { Arc::new(part) }
    }

    /// The key block of an encrypted dump.
    ///
    /// # Errors
    /// If the device cannot be read, or the key block is larger than one can be.
    pub fn key(&self, device: &dyn ReadAt) -> io::Result<Option<Vec<u8>>> {
        let size = u64::from(self.header.key_size);
        if size == 0 {
            return Ok(None);
        }
        let most = (MAX_ENCRYPTED_KEY as u64).saturating_add(self.block_size.saturating_mul(2)).min(device.size());
        if size > most {
            let text = format!("the key is said to have {size} bytes, and can have no more than {most}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut key = vec![0; size as usize];
        let end = self.data_start();
        device.read_exact_at(&mut key, end.saturating_sub(size.next_multiple_of(self.block_size)))?;
        Ok(Some(key))
    }
}

/// Blocks of 512 bytes in reverse order.
pub(crate) struct Backwards(pub(crate) Part);

impl ReadAt for Backwards {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let size = TEXT_BLOCK as u64;
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.size());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        // The same blocks, from the last to the first.
        let (first, last) = (offset / size, end.div_ceil(size));
        let mut blocks = vec![0; ((last - first) * size) as usize];
        self.0.read_exact_at(&mut blocks, self.size() - last * size)?;
        let ordered: Vec<u8> = blocks.rchunks(TEXT_BLOCK).flatten().copied().collect();
        let skip = (offset - first * size) as usize;
        buf.copy_from_slice(ordered.get(skip..skip + buf.len()).unwrap_or_default());
        Ok(())
    }

    fn size(&self) -> u64 {
        self.0.size() / TEXT_BLOCK as u64 * TEXT_BLOCK as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::Compression;
    use crate::header::tests::header;

    fn made(version: u32, block: usize, length: usize, extent: usize, key: usize) -> (Header, Vec<u8>) {
        let header = Header {
            version,
            dump_length: length as u64,
            dump_extent: extent as u64,
            block_size: block as u32,
            key_size: key as u32,
            compression: Compression::None,
            ..header()
        };
        let raw = header.build().unwrap();
        let padded = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len().next_multiple_of(block), 0);
            bytes
        };
        let data: Vec<u8> = (0..length).map(|at| (at / 100 + at) as u8).collect();
        let mut reserved = data;
        reserved.resize(extent, 0xee);
        let mut device = vec![0x55; 16 * block];
        device.extend([padded(&raw), padded(&vec![0xaa; key]), padded(&reserved), padded(&raw)].concat());
        (header, device)
    }

    #[test]
    fn a_dump_is_found_by_its_last_block_whatever_its_size() {
        for (version, block, length, extent, key) in [
            (1, 512, 10_240, 10_240, 0),
            (2, 512, 10_240, 10_240, 512),
            (4, 4096, 8192, 8192, 0),
            (4, 4096, 5000, 40_960, 4096),
            (4, 512, 5000, 40_960, 1024),
            (3, 512, 5000, 6000, 0),
        ] {
            let (header, device) = made(version, block, length, extent, key);
            let found = find(&device).unwrap().unwrap();
            assert_eq!(found.problems, Vec::<String>::new());
            assert_eq!(found.first, 16 * block as u64);
            let device: Arc<dyn ReadAt> = Arc::new(device);
            let data = found.data(&device);
            assert_eq!(data.size(), header.dump_length);
            let mut bytes = vec![0; length];
            data.read_exact_at(&mut bytes, 0).unwrap();
            assert!((0..length).all(|at| bytes[at] == (at / 100 + at) as u8));
            let expected = (key > 0).then(|| vec![0xaa; key]);
            assert_eq!(found.key(&device).unwrap(), expected);
            let scanned = scan(&device, |_| {}).unwrap();
            assert_eq!(scanned.len(), 1);
            assert_eq!((scanned[0].first, scanned[0].data_start()), (found.first, found.data_start()));
        }
    }

    #[test]
    fn a_text_dump_is_read_from_its_end() {
        let (_, mut device) = made(4, 512, 2048, 2048, 0);
        let text = Header { magic: Magic::Text, dump_length: 2048, dump_extent: 2048, block_size: 512, ..header() };
        let raw = text.build().unwrap();
        let end = device.len() - 512;
        device[end..].copy_from_slice(&raw);
        device[16 * 512..17 * 512].copy_from_slice(&raw);
        for block in 0..4 {
            device[end - (block + 1) * 512..end - block * 512].fill(block as u8);
        }
        let found = find(&device).unwrap().unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let device: Arc<dyn ReadAt> = Arc::new(device);
        let data = found.data(&device);
        let mut bytes = [9; 1030];
        data.read_exact_at(&mut bytes, 510).unwrap();
        let expected = [vec![0; 2], vec![1; 512], vec![2; 512], vec![3; 4]].concat();
        assert_eq!(bytes.to_vec(), expected);
    }

    #[test]
    fn headers_that_lie_are_told() {
        let (header, device) = made(4, 512, 10_240, 10_240, 0);
        let with = |header: &Header| {
            let mut device = device.clone();
            let end = device.len() - 512;
            device[end..].copy_from_slice(&header.build().unwrap());
            find(&device).unwrap().unwrap().problems
        };
        let longer = with(&Header { dump_length: u64::MAX - 5, ..header.clone() });
        assert!(longer.iter().any(|problem| problem.contains("more than are before its end")), "{longer:?}");
        let other = with(&Header { hostname: "other".into(), ..header.clone() });
        assert_eq!(other, ["the first and the last header are not the same"]);
        let block = with(&Header { block_size: 4096, ..header });
        assert!(block[0].contains("4096"), "{block:?}");
        let mut flipped = device;
        let at = flipped.len() - 300;
        flipped[at] ^= 1;
        let problems = find(&flipped).unwrap().unwrap().problems;
        assert_eq!(problems[0], "the parity of the last header is wrong");
        assert!(find(&vec![0u8; 100_000]).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn no_header_does_any_harm(length in any::<u64>(), extent in any::<u64>(), key in any::<u32>(),
                                   block in prop_oneof![Just(512u32), Just(4096), any::<u32>()], version in 1..=4u32,
                                   text in any::<bool>()) {
            let magic = if text { Magic::Text } else { Magic::Kernel };
            let header = Header { magic, version, dump_length: length, dump_extent: extent, key_size: key,
                                  block_size: block, ..header() };
            let mut device = vec![0; 64 << 10];
            let end = device.len() - 512;
            device[end..].copy_from_slice(&header.build().unwrap());
            device[..512].copy_from_slice(&header.build().unwrap());
            let device: Arc<dyn ReadAt> = Arc::new(device);
            let mut all = scan(&device, |_| {}).unwrap();
            all.extend(find(&device).unwrap());
            for found in all {
                let _ = found.key(&device);
                let data = found.data(&device);
                let _ = data.read_exact_at(&mut [0; 700], 100);
                prop_assert!(data.size() <= device.size());
            }
        }
    }
}
