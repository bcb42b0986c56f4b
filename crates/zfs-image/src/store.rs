//! Puts encoded blocks onto the device and gives pointers to them.

use zfs_ondisk::blkptr::{BlockPointer, Dva, Fields};
use zfs_ondisk::label;
use zfs_ondisk::object::ObjectType;

use crate::allocator::{Allocator, MAX_COPIES};
use crate::block::{Encoded, Encoder, Format, Output, Policy};
use crate::device::Device;
use crate::error::Error;

/// The transaction group in which all blocks are born: the first that a pool
/// made by OpenZFS has contents in (`TXG_INITIAL` and the rounds after it).
pub(crate) const BIRTH_TXG: u64 = 4;

/// Space taken by blocks, in bytes, as datasets and directories count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Allocated, in all copies.
    pub(crate) allocated: u64,
    /// After compression.
    pub(crate) compressed: u64,
    /// Before compression; metadata counts as compressed (`BP_GET_UCSIZE`).
    pub(crate) uncompressed: u64,
}

impl Usage {
    fn of(pointer: &BlockPointer) -> Self {
        let stored = pointer.dvas().next().is_some();
        let compressed = if stored { pointer.physical_size() as u64 } else { 0 };
        let metadata = pointer.level() > 0 || pointer.object_type().is_metadata();
        Self {
            allocated: pointer.allocated_size(),
            compressed,
            uncompressed: if metadata { compressed } else { pointer.logical_size() as u64 },
        }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.allocated += other.allocated;
        self.compressed += other.compressed;
        self.uncompressed += other.uncompressed;
    }
}

/// What is known of a block before it is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) policy: Policy,
    pub(crate) object_type: ObjectType,
    pub(crate) level: u8,
    pub(crate) fill: u64,
    pub(crate) logical_size: usize,
}

/// The pool being written.
pub(crate) struct Store<'a> {
    pub(crate) allocator: Allocator,
    format: &'a Format,
    device: &'a dyn Device,
    encoder: Encoder<'a>,
    scratch: Output,
    /// Space taken since [`Self::take_usage`].
    usage: Usage,
    /// Nothing reaches the device.
    rehearsing: bool,
}

/// A run of the output that is also a run on the device.
#[derive(Clone, Copy, Default)]
struct Run {
    start: usize,
    end: usize,
    offset: u64,
}

impl<'a> Store<'a> {
    pub(crate) fn new(format: &'a Format, allocator: Allocator, device: &'a dyn Device) -> Self {
        Self {
            allocator,
            format,
            device,
            encoder: Encoder::new(format),
            scratch: Output::default(),
            usage: Usage::default(),
            rehearsing: false,
        }
    }

    /// Does something without a trace on the device: what it gives, and the
    /// bytes that would have been allocated in each metaslab afterwards.
    pub(crate) fn rehearse<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<(T, Vec<u64>), Error> {
        let before = self.allocator.clone();
        self.rehearsing = true;
        let result = act(self);
        self.rehearsing = false;
        let after = std::mem::replace(&mut self.allocator, before);
        Ok((result?, after.used().to_vec()))
    }

    /// What holds for every block of the pool.
    pub(crate) fn format(&self) -> &'a Format {
        self.format
    }

    /// The space taken by all blocks placed since the last call.
    pub(crate) fn take_usage(&mut self) -> Usage {
        std::mem::take(&mut self.usage)
    }

    /// Encodes one block and puts it onto the device.
    pub(crate) fn write(
        &mut self,
        policy: &Policy,
        object_type: ObjectType,
        level: u8,
        fill: u64,
        block: &[u8],
    ) -> Result<BlockPointer, Error> {
        let mut output = std::mem::take(&mut self.scratch);
        output.clear();
        let encoded = self.encoder.encode(policy, object_type, level, block.len(), &mut output, |to| {
            to.copy_from_slice(block);
            Ok(())
        })?;
        let identity = Identity { policy: *policy, object_type, level, fill, logical_size: block.len() };
        let pointers = self.place(output.as_bytes(), [(identity, encoded)].into_iter());
        self.scratch = output;
        Ok(pointers?[0])
    }

    /// Puts the blocks of an output onto the device, in their order.
    pub(crate) fn place(
        &mut self,
        output: &[u8],
        blocks: impl Iterator<Item = (Identity, Encoded)>,
    ) -> Result<Vec<BlockPointer>, Error> {
        let mut runs = [Run::default(); MAX_COPIES];
        let mut pointers = Vec::with_capacity(blocks.size_hint().0);
        for (identity, encoded) in blocks {
            let pointer = self.pointer(output, identity, encoded, &mut runs)?;
            self.usage += Usage::of(&pointer);
            pointers.push(pointer);
        }
        for run in runs {
            self.flush(output, run)?;
        }
        Ok(pointers)
    }

    fn pointer(
        &mut self,
        output: &[u8],
        identity: Identity,
        encoded: Encoded,
        runs: &mut [Run; MAX_COPIES],
    ) -> Result<BlockPointer, Error> {
        let (start, physical_size, function, digest) = match encoded {
            Encoded::Hole => return Ok(BlockPointer::HOLE),
            Encoded::Embedded { function, payload } => {
                return Ok(BlockPointer::embedded(
                    identity.object_type,
                    identity.logical_size,
                    function.number(),
                    &payload,
                    BIRTH_TXG,
                ));
            }
            Encoded::Stored { start, physical_size, function, digest } => (start, physical_size, function, digest),
        };
        let asize = self.allocator.allocated_size(physical_size);
        let end = start + asize as usize;
        let mut dvas = [Dva::default(); 3];
        for (copy, (dva, run)) in dvas.iter_mut().zip(runs).enumerate().take(identity.policy.copies) {
            let offset = self.allocator.allocate(copy, asize);
            *dva = Dva { vdev: 0, offset, asize, gang: false };
            let continues = run.end == start && run.offset + (run.end - run.start) as u64 == offset;
            if continues && run.end != run.start {
                run.end = end;
            } else {
                self.flush(output, *run)?;
                *run = Run { start, end, offset };
            }
        }
        Ok(BlockPointer::data(&Fields {
            dvas,
            level: identity.level,
            object_type: identity.object_type,
            logical_size: identity.logical_size,
            physical_size,
            compression: function.number(),
            checksum: identity.policy.checksum.number(),
            birth: BIRTH_TXG,
            fill: identity.fill,
            digest,
        }))
    }

    fn flush(&self, output: &[u8], run: Run) -> Result<(), Error> {
        if run.start == run.end || self.rehearsing || self.allocator.is_beyond(run.offset) {
            return Ok(());
        }
        self.device.write_at(&output[run.start..run.end], label::START_SIZE + run.offset)
    }
}
