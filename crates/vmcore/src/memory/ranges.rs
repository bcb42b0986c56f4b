//! What is mapped, as ranges.

use super::physical::Physical;
use super::tables::{Leaf, Leaves};
use super::{AddressSpace, DirectMap, Fault, Kernel, Memory};

/// A range of virtual memory that stands for physical memory in one piece, all of which is in the dump, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualRange {
    /// The first virtual address.
    pub address: u64,
    /// The physical address there.
    pub physical: u64,
    /// How many bytes there are.
    pub length: u64,
    /// Whether the dump has them.
    pub present: bool,
    /// What maps them.
    pub via: Via,
}

/// What maps a range of virtual memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Page tables, or the segments of a core.
    Tables,
    /// The kernel's direct map of physical memory.
    DirectMap,
}

/// An iterator over what is mapped. Ranges through page tables come in the order of virtual addresses, those through
/// the direct map behind them in the order of physical ones.
///
/// A page table that is missing is an error, after which the iteration goes on behind it.
pub struct VirtualRanges<'a> {
    physical: &'a Physical,
    source: Source<'a>,
    direct: Option<DirectMap>,
    /// What of a leaf has not been given out.
    rest: Option<Leaf>,
    /// A range that may still grow.
    growing: Option<VirtualRange>,
    fault: Option<Fault>,
    /// The next physical address for the direct map.
    next_physical: Option<u64>,
}

enum Source<'a> {
    Tables(Leaves<'a>),
    Segments(std::slice::Iter<'a, super::VirtualSegment>),
    Nothing,
}

impl Iterator for Source<'_> {
    type Item = Result<Leaf, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Tables(leaves) => leaves.next(),
            Self::Segments(segments) => {
                let segment = segments.next()?;
                let (address, physical, length) = (segment.address, segment.physical, segment.length);
                Some(Ok(Leaf { address, physical, length }))
            }
            Self::Nothing => None,
        }
    }
}

impl Memory {
    /// All of the kernel's virtual memory that is mapped: through its page tables, and then what of the dump the direct
    /// map shows. In dumps that do not say where the direct map is, the page tables have it.
    pub fn virtual_ranges(&self) -> VirtualRanges<'_> {
        let source = match &self.kernel {
            Kernel::Segments(segments) => Source::Segments(segments.iter()),
            _ => self.kernel_tables().map_or(Source::Nothing, |tables| Source::Tables(tables.leaves(&self.physical))),
        };
        VirtualRanges::new(&self.physical, source, self.direct)
    }
}

impl<'a> AddressSpace<'a> {
    /// All that is mapped.
    pub fn virtual_ranges(&self) -> VirtualRanges<'a> {
        let physical = &self.memory.physical;
        VirtualRanges::new(physical, Source::Tables(self.tables.leaves(physical)), None)
    }
}

impl<'a> VirtualRanges<'a> {
    fn new(physical: &'a Physical, source: Source<'a>, direct: Option<DirectMap>) -> Self {
        let next_physical = direct.map(|direct| direct.physical);
        Self { physical, source, direct, rest: None, growing: None, fault: None, next_physical }
    }

    /// The next piece that is all present or all absent.
    fn piece(&mut self) -> Option<Result<VirtualRange, Fault>> {
        let leaf = match self.rest.take() {
            Some(leaf) => leaf,
            None => match self.source.next() {
                Some(Ok(leaf)) => leaf,
                Some(Err(fault)) => return Some(Err(fault)),
                None => return self.direct_piece().map(Ok),
            },
        };
        let (present, length) = self.physical.run(leaf.physical, leaf.length);
        let length = if length == 0 { leaf.length } else { length };
        if length < leaf.length {
            self.rest = Some(Leaf {
                address: leaf.address.wrapping_add(length),
                physical: leaf.physical.wrapping_add(length),
                length: leaf.length - length,
            });
        }
        Some(Ok(VirtualRange { address: leaf.address, physical: leaf.physical, length, present, via: Via::Tables }))
    }

    fn direct_piece(&mut self) -> Option<VirtualRange> {
        let direct = self.direct?;
        let range = self.physical.next_range(self.next_physical.take()?)?;
        let address = direct.address_of(range.address)?;
        let length = range.length.min(direct.end - address);
        self.next_physical = range.address.checked_add(length);
        Some(VirtualRange { address, physical: range.address, length, present: true, via: Via::DirectMap })
    }
}

impl Iterator for VirtualRanges<'_> {
    type Item = Result<VirtualRange, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fault) = self.fault.take() {
            return Some(Err(fault));
        }
        loop {
            match self.piece() {
                Some(Ok(piece)) => match &mut self.growing {
                    Some(range) if continues(range, &piece) => range.length += piece.length,
                    growing => {
                        if let Some(done) = growing.replace(piece) {
                            return Some(Ok(done));
                        }
                    }
                },
                Some(Err(fault)) => match self.growing.take() {
                    Some(done) => {
                        self.fault = Some(fault);
                        return Some(Ok(done));
                    }
                    None => return Some(Err(fault)),
                },
                None => return self.growing.take().map(Ok),
            }
        }
    }
}

fn continues(range: &VirtualRange, piece: &VirtualRange) -> bool {
    range.via == piece.via
        && range.present == piece.present
        && range.address.checked_add(range.length) == Some(piece.address)
        && range.physical.checked_add(range.length) == Some(piece.physical)
}
