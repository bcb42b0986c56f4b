//! Intent logs.

use zfs_ondisk::blkptr::{BlockPointer, Kind as PointerKind};
use zfs_ondisk::bytes::View;
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::zil::{Chain, Header, Record};

use super::Checker;
use super::batch::Batch;
use super::claims::{Owner, claim};
use super::findings::Kind;
use crate::block::order_of;
use crate::object::ObjectSet;

/// More log blocks than these are not followed.
const MAX_BLOCKS: usize = 1 << 20;
/// The word of the checksum of a log block that is its number (`ZIL_ZC_SEQ`).
const SEQUENCE: usize = 3;

impl Checker<'_> {
    /// Notes an intent log that is not empty, and claims its blocks.
    pub(super) fn intent_log(&self, set: &ObjectSet, batch: &mut Batch) {
        let header = View::new(&set.root().zil_header, order_of(set.pointer()));
        let Ok(header) = Header::read(&header) else { return };
        let claimed = header.claim_txg;
        let mut pointer = header.log;
        let (mut blocks, mut bytes) = (0, 0);
        // The end of the chain is a block that was never written.
        while blocks < MAX_BLOCKS && pointer.kind() == PointerKind::Data {
            // What was written after the last transaction group is allocated when the pool is next imported, and then
            // only what was there at that time.
            let is_allocated = match claimed {
                0 => pointer.birth() <= self.pool.uberblock().txg,
                _ => pointer.digest()[SEQUENCE] <= header.claim_block_sequence,
            };
            if !is_allocated {
                break;
            }
            claim_log(self, set, &pointer, batch);
            let Ok(block) = self.pool.read_stored(&pointer) else { break };
            let view = View::new(&block, order_of(&pointer));
            let is_new = Checksum::from_number(pointer.checksum()) == Some(Checksum::Zilog2);
            let Ok(chain) = Chain::read(&view, is_new) else { break };
            let (first, end) = chain.records;
            blocks += 1;
            bytes += end.saturating_sub(first);
            if claimed != 0 {
                self.claim_records(set, &view, chain, claimed, batch);
            }
            pointer = chain.next;
        }
        if blocks > 0 {
            let message = format!("the intent log has {blocks} blocks with {bytes} bytes: mounting would replay them");
            batch.finding(Kind::IntentLog, None, message);
        }
    }

    /// Claims the blocks that records lead to: those that were written when the log was.
    fn claim_records(&self, set: &ObjectSet, block: &View<'_>, chain: Chain, claimed: u64, batch: &mut Batch) {
        let (mut at, end) = chain.records;
        while at < end {
            let Ok(record) = Record::read(block, at) else { return };
            if let Some(pointer) = record.written.filter(|pointer| pointer.birth() >= claimed) {
                claim_log(self, set, &pointer, batch);
            }
            let length = usize::try_from(record.length).unwrap_or(usize::MAX);
            let Some(next) = at.checked_add(length).filter(|&next| next > at) else { return };
            at = next;
        }
    }
}

fn claim_log(checker: &Checker<'_>, set: &ObjectSet, pointer: &BlockPointer, batch: &mut Batch) {
    let owner = Owner { set: batch.set(), object: set.meta().id() };
    claim(checker.pool, pointer, owner, &mut batch.claims);
}
