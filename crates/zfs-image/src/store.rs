//! Puts encoded blocks onto the device and gives pointers to them.

use zfs_ondisk::blkptr::{BlockPointer, Dva, Fields};

use crate::allocator::{Allocator, MAX_COPIES};
use crate::block::{Address, Encoded, Encoder, Format, Output, Policy};
use crate::error::Error;
use crate::vdev::{Run, Shape, Vdevs};

/// The transaction group in which all blocks are born: the first that a pool
/// made by OpenZFS has contents in (`TXG_INITIAL` and the rounds after it).
pub(crate) const BIRTH_TXG: u64 = 4;

/// Space taken by blocks, in bytes, as datasets and directories count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Allocated, in all copies, without the usual parity.
    pub(crate) allocated: u64,
    /// After compression.
    pub(crate) compressed: u64,
    /// Before compression; metadata counts as compressed (`BP_GET_UCSIZE`).
    pub(crate) uncompressed: u64,
}

impl Usage {
    fn of(pointer: &BlockPointer, shape: Shape) -> Self {
        let stored = pointer.dvas().next().is_some();
        let compressed = if stored { pointer.physical_size() as u64 } else { 0 };
        let metadata = pointer.level() > 0 || pointer.object_type().is_metadata();
        Self {
            allocated: shape.used_by(pointer),
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
    pub(crate) address: Address,
    pub(crate) fill: u64,
    pub(crate) logical_size: usize,
}

/// So much may wait to be written.
const MAX_WAITING: usize = 4 << 20;

/// What goes where of an output, by copies.
type Runs = [Vec<Run>; MAX_COPIES];

/// The pool being written.
pub(crate) struct Store<'a> {
    pub(crate) allocator: Allocator,
    format: &'a Format,
    vdevs: Vdevs<'a>,
    encoder: Encoder<'a>,
    /// Blocks that have their places but are not on the device yet, and what of them goes where.
    waiting: Output,
    runs: Runs,
    /// What [`Vdevs::write`] wants.
    rows: Vec<u8>,
    /// Space taken since [`Self::take_usage`].
    usage: Usage,
    /// Nothing reaches the device.
    rehearsing: bool,
}

impl<'a> Store<'a> {
    pub(crate) fn new(format: &'a Format, allocator: Allocator, vdevs: Vdevs<'a>) -> Self {
        Self {
            allocator,
            format,
            vdevs,
            encoder: Encoder::new(format),
            waiting: Output::default(),
            runs: Runs::default(),
            rows: Vec::new(),
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

    /// The vdevs that blocks go to.
    pub(crate) fn shape(&self) -> Shape {
        self.vdevs.shape
    }

    /// The space taken by all blocks placed since the last call.
    pub(crate) fn take_usage(&mut self) -> Usage {
        std::mem::take(&mut self.usage)
    }

    /// Encodes one block and finds room for it. It is on the device after [`Self::flush`], or with what
    /// [`Self::take_waiting`] gives.
    pub(crate) fn write(
        &mut self,
        policy: &Policy,
        address: Address,
        fill: u64,
        block: &[u8],
    ) -> Result<BlockPointer, Error> {
        let before = self.waiting.len();
        let encoded = self.encoder.encode(policy, &address, block.len(), &mut self.waiting, |to| {
            to.copy_from_slice(block);
            Ok(())
        })?;
        let identity = Identity { policy: *policy, address, fill, logical_size: block.len() };
        let mut runs = std::mem::take(&mut self.runs);
        let pointer = self.pointer(identity, encoded, &mut runs);
        self.runs = runs;
        if self.rehearsing {
            self.waiting.truncate(before);
        }
        if self.waiting.len() > MAX_WAITING {
            self.flush()?;
        }
        Ok(pointer)
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What waits to be written, and what of it goes where; `spare` takes what comes.
    pub(crate) fn take_waiting(&mut self, mut spare: Output) -> (Output, Vec<Run>) {
        spare.truncate(0);
        (std::mem::replace(&mut self.waiting, spare), std::mem::take(&mut self.runs).concat())
    }

    /// Writes what waits for it.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let (output, runs) = self.take_waiting(Output::default());
        let written = runs.iter().try_for_each(|run| self.vdevs.write(run, output.as_bytes(), &mut self.rows));
        self.waiting = output;
        self.waiting.truncate(0);
        written
    }

    /// Finds room for the blocks of an output, in their order: pointers to them,
    /// and what is to be written where.
    pub(crate) fn place(&mut self, blocks: impl Iterator<Item = (Identity, Encoded)>) -> (Vec<BlockPointer>, Vec<Run>) {
        let mut runs = Runs::default();
        let pointers = blocks.map(|(identity, encoded)| self.pointer(identity, encoded, &mut runs));
        (pointers.collect(), runs.concat())
    }

    /// The pointer to a block, for which it finds room.
    fn pointer(&mut self, identity: Identity, encoded: Encoded, runs: &mut Runs) -> BlockPointer {
        let pointer = self.placed(identity, encoded, runs);
        self.usage += Usage::of(&pointer, self.shape());
        pointer
    }

    fn placed(&mut self, identity: Identity, encoded: Encoded, runs: &mut Runs) -> BlockPointer {
        let Address { object_type, level, .. } = identity.address;
        let (start, physical_size, function, digest, protection) = match encoded {
            Encoded::Hole => return BlockPointer::HOLE,
            Encoded::Embedded { function, payload } => {
                return BlockPointer::embedded(
                    object_type,
                    identity.logical_size,
                    function.number(),
                    &payload,
                    BIRTH_TXG,
                );
            }
            Encoded::Stored { start, physical_size, function, digest, protection } => {
                (start, physical_size, function, digest, protection)
            }
        };
        let asize = self.shape().allocated_size(physical_size as u64);
        let bytes = start..start + physical_size.next_multiple_of(1 << self.shape().ashift);
        let mut dvas = [Dva::default(); 3];
        for (copy, (dva, runs)) in dvas.iter_mut().zip(runs).enumerate().take(identity.policy.copies) {
            let (vdev, offset) = self.allocator.allocate(copy, asize);
            *dva = Dva { vdev: vdev as u32, offset, asize, gang: false };
            if !self.rehearsing && !self.allocator.is_beyond(offset) {
                self.vdevs.add(runs, (vdev, offset), asize, bytes.clone());
            }
        }
        let pointer = BlockPointer::data(&Fields {
            dvas,
            level,
            object_type,
            logical_size: identity.logical_size,
            physical_size,
            compression: function.number(),
            checksum: identity.policy.checksum.number(),
            birth: BIRTH_TXG,
            fill: identity.fill,
            digest,
        });
        protection.apply(pointer)
    }
}
