//! What a core has, and where: physical memory in its order, once, and the virtual memory that it is.

use super::Error;
use crate::memory::{Fault, Memory, PhysicalRange};

/// Segments that a core has at most: what the reader takes.
const MOST_SEGMENTS: usize = 1 << 22;

/// A segment of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) physical: u64,
    pub(super) length: u64,
    /// Where it is, from the beginning of the data.
    pub(super) offset: u64,
}

/// The plan of a core.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Virtual memory. Several segments may be the same physical memory.
    pub(super) segments: Vec<Segment>,
    /// Physical memory in the order of its addresses: the data.
    pub(super) pieces: Vec<PhysicalRange>,
    /// Bytes of data.
    pub(super) length: u64,
    /// Bytes that the dump has and no virtual address shows.
    pub(super) unmapped: u64,
    /// Page tables that are missing, with what they mapped.
    pub(super) missing_tables: u64,
}

impl Plan {
    pub(super) fn of(memory: &Memory) -> Result<Self, Error> {
        let mut plan = Self::default();
        for range in memory.virtual_ranges() {
            if plan.segments.len() > MOST_SEGMENTS {
                return Err(Error::Segments { most: MOST_SEGMENTS });
            }
            match range {
                Ok(range) if range.present && is_kernels(memory, range.address) => plan.segments.push(Segment {
                    address: range.address,
                    physical: range.physical,
                    length: range.length,
                    offset: 0,
                }),
                Ok(_) => {}
                Err(Fault::NoTable { .. } | Fault::Lost { .. } | Fault::LostPart { .. }) => plan.missing_tables += 1,
                Err(fault) => return Err(fault.into()),
            }
        }
        plan.pieces = union(&plan.segments);
        let mut starts = Vec::with_capacity(plan.pieces.len());
        for piece in &plan.pieces {
            starts.push(plan.length);
            plan.length += piece.length;
        }
        for segment in &mut plan.segments {
            let after = plan.pieces.partition_point(|piece| piece.address <= segment.physical);
            let at = after.saturating_sub(1);
            if let (Some(piece), Some(start)) = (plan.pieces.get(at), starts.get(at)) {
                segment.offset = start + (segment.physical - piece.address);
            }
        }
        let present: u64 = memory.physical_ranges().map(|range| range.length).sum();
        plan.unmapped = present.saturating_sub(plan.length);
        plan.segments.sort_unstable_by_key(|segment| segment.address);
        Ok(plan)
    }
}

/// The upper half of 64-bit addresses is the kernel's; of 32-bit ones all may be.
fn is_kernels(memory: &Memory, address: u64) -> bool {
    memory.architecture().pointer_size() == 4 || address >> 63 == 1
}

/// The physical memory that segments are, in its order.
fn union(segments: &[Segment]) -> Vec<PhysicalRange> {
    let mut ranges: Vec<(u64, u64)> = segments.iter().map(|segment| (segment.physical, segment.length)).collect();
    ranges.sort_unstable();
    let mut pieces: Vec<PhysicalRange> = Vec::new();
    for (address, length) in ranges {
        let end = address.saturating_add(length);
        match pieces.last_mut() {
            Some(last) if address <= last.address + last.length => {
                last.length = last.length.max(end - last.address);
            }
            _ => pieces.push(PhysicalRange { address, length: end - address }),
        }
    }
    pieces
}
