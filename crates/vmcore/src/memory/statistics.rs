//! How much there is.

use super::{Fault, Memory, Via};
use crate::ranges::Ranges;

/// The most bytes that are read at a time to look for zeros.
const CHUNK: u64 = 1 << 20;

/// How many pages a dump has, and what the kernel's page tables say of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The size of a page, in bytes.
    pub page_size: u64,
    /// Pages in the dump that can be read.
    pub present: u64,
    /// Pages that should be in the dump, and never arrived.
    pub lost: u64,
    /// Those of them that the kernel's page tables map.
    pub mapped: u64,
    /// Those that only the direct map shows (or nothing, where there is none).
    pub direct_only: u64,
    /// Pages that are mapped and not in the dump, such as memory of devices; counted for each mapping.
    pub absent: u64,
    /// Page tables that are missing.
    pub missing_tables: u64,
}

impl Memory {
    /// Counts pages. It walks all page tables of the kernel.
    ///
    /// # Errors
    /// If page tables cannot be read, or are absurd.
    pub fn statistics(&self) -> Result<Statistics, Fault> {
        let page_size = self.page_size();
        let total = self.physical.total_pages();
        let present = self.physical_ranges().map(|range| range.length.div_ceil(page_size)).sum();
        let lost = total.saturating_sub(present);
        let mut found = Statistics { page_size, present, lost, ..Statistics::default() };
        // By ranges, not by pages: a damaged dump may claim any number of these.
        let mut seen = Ranges::new();
        for range in self.virtual_ranges() {
            match range {
                Ok(range) if range.via == Via::DirectMap => break,
                Ok(range) if !range.present => found.absent += range.length.div_ceil(page_size),
                Ok(range) => _ = seen.insert(range.physical..range.physical.saturating_add(range.length)),
                Err(Fault::NoTable { .. } | Fault::Lost { .. } | Fault::LostPart { .. }) => found.missing_tables += 1,
                Err(fault) => return Err(fault),
            }
        }
        found.mapped = seen.covered().div_ceil(page_size);
        found.direct_only = present.saturating_sub(found.mapped);
        Ok(found)
    }

    /// Counts the pages that are all zero. It reads the whole dump; pages that never arrived are not counted.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn zero_pages(&self) -> Result<u64, Fault> {
        let page = self.page_size();
        let mut zeros = 0;
        self.read_all(|_, bytes| {
            let page = usize::try_from(page).unwrap_or(usize::MAX);
            zeros += bytes.chunks(page).filter(|page| is_zero(page)).count() as u64;
            Ok::<(), Fault>(())
        })?;
        Ok(zeros)
    }

    /// Gives all physical memory that can be read to `each`, in pieces.
    pub(crate) fn read_all<E: From<Fault>>(&self, mut each: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut buf = Vec::new();
        for range in self.physical_ranges() {
            let mut done = 0;
            while done < range.length {
                let length = CHUNK.min(range.length - done);
                buf.resize(length as usize, 0);
                self.physical.read_once(range.address + done, &mut buf)?;
                each(range.address + done, &buf)?;
                done += length;
            }
        }
        Ok(())
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|&byte| byte == 0)
}
