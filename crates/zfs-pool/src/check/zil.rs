//! Intent logs.

use std::collections::HashSet;

use zfs_ondisk::blkptr::{BlockPointer, Kind as PointerKind};
use zfs_ondisk::bytes::View;
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::zil::{Chain, FLAG_CLAIM_LR_SEQ_VALID, Header, Record, TX_WRITE};

use super::Checker;
use super::batch::{Batch, part};
use super::claims::{Owner, claim};
use super::findings::{BlockPlace, Kind};
use crate::block::order_of;
use crate::object::{Object, ObjectSet};

/// The word of the checksum of a log block that is its number (`ZIL_ZC_SEQ`).
const SEQUENCE: usize = 3;

/// A log being examined.
struct Log<'a> {
    checker: &'a Checker<'a>,
    /// What its blocks are claimed for.
    object: Object,
    header: Header,
    batch: &'a mut Batch,
    /// Blocks with what was written, each of which may be in several records.
    written: HashSet<BlockPointer>,
}

impl Checker<'_> {
    /// Notes an intent log that is not empty, verifies its blocks and claims them.
    pub(super) fn intent_log(&self, set: &ObjectSet, batch: &mut Batch) {
        let header = View::new(&set.root().zil_header, order_of(set.pointer()));
        let Ok(header) = Header::read(&header) else { return };
        batch.at(set.meta().id(), part::LOG);
        Log { checker: self, object: set.meta(), header, batch, written: HashSet::new() }.follow();
    }
}

impl Log<'_> {
    fn follow(&mut self) {
        let mut pointer = self.header.log;
        let (mut blocks, mut bytes) = (0, 0);
        while pointer.kind() == PointerKind::Data && self.is_allocated(&pointer) {
            self.claim(&pointer);
            let number = pointer.digest()[SEQUENCE];
            // The end of the chain is a block that was never written. That it was claimed means that those before it
            // could be read.
            if !self.verify(&pointer, self.is_claimed() && number < self.header.claim_block_sequence) {
                break;
            }
            let Ok(block) = self.checker.pool.read_stored(&pointer) else { break };
            let view = View::new(&block, order_of(&pointer));
            let is_new = Checksum::from_number(pointer.checksum()) == Some(Checksum::Zilog2);
            let Ok(chain) = Chain::read(&view, is_new) else { break };
            let (first, end) = chain.records;
            blocks += 1;
            bytes += end.saturating_sub(first);
            if self.is_claimed() {
                self.records(&view, chain);
            }
            pointer = chain.next;
            // Numbers go up by one, so that no chain leads in a circle.
            if Some(pointer.digest()[SEQUENCE]) != number.checked_add(1) {
                break;
            }
        }
        if blocks > 0 {
            let message = format!("the intent log has {blocks} blocks with {bytes} bytes: mounting would replay them");
            self.batch.finding(Kind::IntentLog, None, message);
        }
    }

    fn is_claimed(&self) -> bool {
        self.header.claim_txg != 0
    }

    /// What was written after the last transaction group is allocated when the pool is next imported, and then only
    /// what was there at that time.
    fn is_allocated(&self, pointer: &BlockPointer) -> bool {
        if self.is_claimed() {
            pointer.digest()[SEQUENCE] <= self.header.claim_block_sequence
        } else {
            pointer.birth() <= self.checker.pool.uberblock().txg
        }
    }

    /// Claims the blocks that the records of a block lead to: what was written when they were, and each clone.
    fn records(&mut self, block: &View<'_>, chain: Chain) {
        let (mut at, end) = chain.records;
        let last = match self.header.flags & FLAG_CLAIM_LR_SEQ_VALID {
            0 => u64::MAX,
            _ => self.header.claim_record_sequence,
        };
        while at < end {
            let Ok(record) = Record::read(block, at) else { return };
            if record.sequence > last {
                return;
            }
            for pointer in &record.pointers {
                if record.kind != TX_WRITE {
                    // The block is in another file, with which it is verified.
                    self.claim(pointer);
                } else if pointer.birth() >= self.header.claim_txg && self.written.insert(*pointer) {
                    self.claim(pointer);
                    self.verify(pointer, true);
                }
            }
            let length = usize::try_from(record.length).unwrap_or(usize::MAX);
            let Some(next) = at.checked_add(length).filter(|&next| next > at) else { return };
            at = next;
        }
    }

    fn claim(&mut self, pointer: &BlockPointer) {
        let owner = Owner { set: self.batch.set(), object: self.object.id() };
        claim(self.checker.pool, pointer, owner, &mut self.batch.claims);
    }

    /// Reads all copies of a block; gives whether one is good. That none is may be a fault.
    fn verify(&mut self, pointer: &BlockPointer, must_be_good: bool) -> bool {
        let place = BlockPlace { level: 0, number: None, offset: 0, length: 0, pointer: *pointer };
        // What the log holds of an encrypted dataset is not decrypted.
        let result = self.checker.pool.verify_block(pointer);
        if result.is_err() && !must_be_good {
            return false;
        }
        self.batch.blocks += 1;
        self.batch.bytes += pointer.allocated_size();
        self.checker.tell_copies(&self.object, &place, result, self.batch)
    }
}
