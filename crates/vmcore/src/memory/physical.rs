//! Physical memory: where the bytes of a physical address are in the dump.

use std::io;
use std::sync::Arc;

use disk::ReadAt;

use super::cache::Cache;
use super::error::Fault;
use super::page_map::PageMap;
use crate::contents;
use crate::ranges::Ranges;

/// Of the blocks that are cached, those of page tables: one of so many.
const TABLE_SHARE: usize = 8;

/// The physical memory that a dump has.
pub(crate) struct Physical {
    layout: Layout,
    pages: Cache,
    /// Apart from the pages, so that data do not drive out what every translation needs.
    tables: Cache,
    /// Which bytes of the file are there, if some are not.
    there: Option<Ranges>,
    pub(crate) page_shift: u32,
}

pub(crate) enum Layout {
    /// Pages that follow each other from `start` on in the file, as a bitmap says.
    Pages { map: PageMap, start: u64 },
    /// Pieces in the order of their physical addresses, which do not overlap.
    Segments(Vec<Segment>),
}

/// A piece of physical memory in one piece of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) length: u64,
    pub(crate) offset: u64,
    /// Pages in the segments before this one.
    pub(crate) pages_before: u64,
}

/// What memory is read from.
pub(crate) struct Source {
    pub(crate) data: Arc<dyn ReadAt>,
    /// Which of its bytes are there, if some are not.
    pub(crate) there: Option<Ranges>,
    /// How many blocks of 4 KiB are cached.
    pub(crate) cache: usize,
}

/// A range of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhysicalRange {
    /// The first address.
    pub address: u64,
    /// How many bytes there are.
    pub length: u64,
}

impl Physical {
    pub(crate) fn new(source: &Source, layout: Layout, page_shift: u32) -> Self {
        let mut physical = Self {
            layout,
            pages: Cache::new(source.data.clone(), source.cache),
            tables: Cache::new(source.data.clone(), source.cache / TABLE_SHARE),
            there: source.there.clone(),
            page_shift,
        };
        // What is behind the end is not there either.
        let size = source.data.size();
        if physical.end() > size {
            let there = physical.there.get_or_insert_with(|| {
                let mut all = Ranges::new();
                all.insert(0..size);
                all
            });
            there.truncate(size);
        }
        physical
    }

    /// Where in the file the last byte of memory ends.
    pub(crate) fn end(&self) -> u64 {
        match &self.layout {
            Layout::Pages { map, start } => start.saturating_add(map.total().saturating_mul(self.page_size())),
            Layout::Segments(segments) => {
                segments.iter().map(|segment| segment.offset.saturating_add(segment.length)).max().unwrap_or(0)
            }
        }
    }

    pub(crate) fn page_size(&self) -> u64 {
        1 << self.page_shift
    }

    /// How many pages there are.
    pub(crate) fn total_pages(&self) -> u64 {
        match &self.layout {
            Layout::Pages { map, .. } => map.total(),
            Layout::Segments(segments) => segments.last().map_or(0, |last| last.pages_before + self.pages_of(last)),
        }
    }

    /// How many pages the file has room for: whatever it claims, no more can be read.
    pub(crate) fn readable_pages(&self) -> u64 {
        self.pages.data().size() >> self.page_shift
    }

    fn pages_of(&self, segment: &Segment) -> u64 {
        segment.length.div_ceil(self.page_size())
    }

    fn segment(&self, pa: u64) -> Option<&Segment> {
        let Layout::Segments(segments) = &self.layout else { return None };
        let after = segments.partition_point(|segment| segment.address <= pa);
        let segment = segments.get(after.checked_sub(1)?)?;
        (pa - segment.address < segment.length).then_some(segment)
    }

    /// Where in the file the byte at `pa` is, and how many bytes, up to `most`, follow each other there as in memory.
    pub(crate) fn locate(&self, pa: u64, most: u64) -> Option<(u64, u64)> {
        match &self.layout {
            Layout::Pages { map, start } => {
                let within = pa & (self.page_size() - 1);
                let offset = start.checked_add((map.index(pa)? << self.page_shift) | within)?;
                let length = if most <= self.page_size() - within { most } else { map.run(pa, most).1 };
                Some((offset, length))
            }
            Layout::Segments(_) => {
                let segment = self.segment(pa)?;
                let within = pa - segment.address;
                Some((segment.offset + within, most.min(segment.length - within)))
            }
        }
    }

    /// Whether the page at `pa` can be read, and how many bytes from there on, up to `most`, share that answer.
    pub(crate) fn run(&self, pa: u64, most: u64) -> (bool, u64) {
        let (present, length) = self.run_in_layout(pa, most);
        let (Some(there), true) = (&self.there, present) else { return (present, length) };
        let Some((offset, length)) = self.locate(pa, length) else { return (false, length) };
        let page = self.page_size();
        let within = pa & (page - 1);
        let first = offset.saturating_sub(within);
        let end = within.saturating_add(length).checked_next_multiple_of(page).unwrap_or(u64::MAX);
        let Some(gap) = there.missing(first..first.saturating_add(end)).next() else { return (true, length) };
        // A page of which a byte is missing is missing.
        let before = (gap.start - first) & !(page - 1);
        if before > within {
            return (true, (before - within).min(length));
        }
        let after = (gap.end - first).checked_next_multiple_of(page).unwrap_or(u64::MAX);
        (false, after.saturating_sub(within).min(length))
    }

    fn run_in_layout(&self, pa: u64, most: u64) -> (bool, u64) {
        match &self.layout {
            Layout::Pages { map, .. } => map.run(pa, most),
            Layout::Segments(segments) => match self.segment(pa) {
                Some(segment) => (true, most.min(segment.length - (pa - segment.address))),
                None => {
                    let next = segments.partition_point(|segment| segment.address <= pa);
                    let next = segments.get(next).map_or(u64::MAX, |segment| segment.address);
                    (false, most.min(next - pa))
                }
            },
        }
    }

    /// The first page at or behind `pa` that the dump should have.
    fn next_in_layout(&self, pa: u64) -> Option<u64> {
        match &self.layout {
            Layout::Pages { map, .. } => Some(map.next_present(pa)?.max(pa)),
            Layout::Segments(segments) => match self.segment(pa) {
                Some(_) => Some(pa),
                None => Some(segments.get(segments.partition_point(|segment| segment.address <= pa))?.address),
            },
        }
    }

    /// The first range at or behind `pa` that can be read.
    pub(crate) fn next_range(&self, pa: u64) -> Option<PhysicalRange> {
        let mut address = self.next_in_layout(pa)?;
        let mut length = 0;
        loop {
            let at = address.checked_add(length)?;
            match self.run(at, u64::MAX - at) {
                (true, more) if more > 0 => length += more,
                _ if length > 0 => return Some(PhysicalRange { address, length }),
                (_, skip) => address = self.next_in_layout(at.checked_add(skip.max(1))?)?,
            }
        }
    }

    /// Reads everything to find out what can be read.
    pub(crate) fn find_gaps(&mut self) -> Result<(), Fault> {
        const CHUNK: u64 = 1 << 20;
        let mut found = Ranges::new();
        let mut buf = Vec::new();
        let mut from = Some(0);
        while let Some(range) = from.and_then(|from| self.next_range(from)) {
            from = range.address.checked_add(range.length);
            for at in (0..range.length).step_by(CHUNK as usize) {
                let chunk = CHUNK.min(range.length - at);
                if self.try_read(range.address + at, chunk, &mut buf, &mut found)? {
                    continue;
                }
                // Some of its pages may be there.
                for page in (0..chunk).step_by(self.page_size() as usize) {
                    let length = self.page_size().min(chunk - page);
                    self.try_read(range.address + at + page, length, &mut buf, &mut found)?;
                }
            }
        }
        self.there = Some(found);
        Ok(())
    }

    /// Whether a range can be read; if so, its place in the file is added to `found`.
    fn try_read(&self, pa: u64, length: u64, buf: &mut Vec<u8>, found: &mut Ranges) -> Result<bool, Fault> {
        buf.resize(length as usize, 0);
        match self.read_once(pa, buf) {
            Ok(()) => {
                if let Some((offset, length)) = self.locate(pa, length) {
                    found.insert(offset..offset + length);
                }
                Ok(true)
            }
            Err(Fault::Lost { .. }) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Fills `buf` from physical address `pa` on.
    pub(crate) fn read(&self, pa: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.read_through(&self.pages, pa, buf)
    }

    /// The same for page tables.
    pub(crate) fn read_table(&self, pa: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.read_through(&self.tables, pa, buf)
    }

    /// Fills `buf` from byte `offset` of the dump on, where its own structures are.
    pub(crate) fn read_file(&self, offset: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.tables.read_exact_at(buf, offset).map_err(|source| match fault(source, offset, offset) {
            Fault::Lost { address, offset, .. } => Fault::LostPart { address, offset },
            other => other,
        })
    }

    fn read_through(&self, cache: &Cache, mut pa: u64, mut buf: &mut [u8]) -> Result<(), Fault> {
        while !buf.is_empty() {
            let (offset, length) =
                self.locate(pa, buf.len() as u64).ok_or(Fault::NotPresent { address: None, physical: pa })?;
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(length);
            cache.read_exact_at(now, offset).map_err(|source| fault(source, pa, offset))?;
            buf = rest;
            if !buf.is_empty() {
                let physical = pa;
                let wraps = || Fault::NotPresent { address: None, physical };
                pa = pa.checked_add(length as u64).ok_or_else(wraps)?;
            }
        }
        Ok(())
    }

    /// Fills `buf` without keeping anything: for those who pass over much of memory.
    pub(crate) fn read_once(&self, mut pa: u64, mut buf: &mut [u8]) -> Result<(), Fault> {
        while !buf.is_empty() {
            let not_present = Fault::NotPresent { address: None, physical: pa };
            let Some((offset, length)) = self.locate(pa, buf.len() as u64) else { return Err(not_present) };
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(length);
            self.pages.data().read_exact_at(now, offset).map_err(|source| fault(source, pa, offset))?;
            buf = rest;
            pa = pa.wrapping_add(length as u64);
        }
        Ok(())
    }
}

fn fault(source: io::Error, physical: u64, offset: u64) -> Fault {
    let address = None;
    if is_lost(&source) { Fault::Lost { address, physical, offset } } else { Fault::Io { address, physical, source } }
}

/// Whether an error says that bytes never arrived; those behind the end of the file did not.
fn is_lost(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || contents::missing(error).is_some()
}
