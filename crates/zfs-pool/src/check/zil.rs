//! Intent logs.

use zfs_ondisk::blkptr::{BlockPointer, Kind as PointerKind};
use zfs_ondisk::bytes::View;
use zfs_ondisk::checksum::Checksum;

use super::Checker;
use super::batch::Batch;
use super::claims::{Owner, claim};
use super::findings::Kind;
use crate::block::order_of;
use crate::object::ObjectSet;

/// The transaction group in which the log was claimed, and the first block's pointer, in the header (`zil_header_t`).
const CLAIM_TXG: usize = 0;
const LOG: usize = 16;
/// The pointer to the next block, and the bytes in use, in the chain record of a block (`zil_chain_t`), which is at
/// the start of new blocks and at the end of old ones.
const NEXT: usize = 8;
const USED: usize = 136;
const CHAIN_SIZE: usize = 192;
/// More log blocks than these are not followed.
const MAX_BLOCKS: usize = 1 << 20;

/// A record (`lr_t`): its type, its length.
const RECORD_TYPE: usize = 0;
const RECORD_LENGTH: usize = 8;
/// Records that write to a file and may lead to a block: type, and where the pointer is (`lr_write_t`).
const TX_WRITE: u64 = 9;
const WRITE_POINTER: usize = 64;
/// Names are looked up without regard to case.
const TX_CASE: u64 = 1 << 63;

impl Checker<'_> {
    /// Notes an intent log that is not empty, and claims its blocks.
    pub(super) fn intent_log(&self, set: &ObjectSet, batch: &mut Batch) {
        let header = View::new(&set.root().zil_header, order_of(set.pointer()));
        let (Ok(claimed), Ok(mut pointer)) = (header.u64(CLAIM_TXG), BlockPointer::read(&header, LOG)) else { return };
        let (mut blocks, mut bytes) = (0, 0u64);
        // The end of the chain is a block that was never written.
        while blocks < MAX_BLOCKS && pointer.kind() == PointerKind::Data {
            // What was written after the last transaction group is allocated when the pool is next imported.
            if claimed == 0 && pointer.birth() > self.pool.uberblock().txg {
                break;
            }
            self.claim_log(set, &pointer, batch);
            let Ok(block) = self.pool.read_stored(&pointer) else { break };
            let view = View::new(&block, order_of(&pointer));
            let is_new = Checksum::from_number(pointer.checksum()) == Some(Checksum::Zilog2);
            let chain = if is_new { 0 } else { block.len().saturating_sub(CHAIN_SIZE) };
            let records = if is_new { CHAIN_SIZE } else { 0 };
            let used = view.u64(chain + USED).unwrap_or(0);
            blocks += 1;
            bytes = bytes.saturating_add(used);
            if claimed != 0 {
                self.claim_records(set, &view, records, used, claimed, batch);
            }
            match BlockPointer::read(&view, chain + NEXT) {
                Ok(following) => pointer = following,
                Err(_) => break,
            }
        }
        if blocks > 0 {
            let message = format!("the intent log has {blocks} blocks with {bytes} bytes: mounting would replay them");
            batch.finding(Kind::IntentLog, None, message);
        }
    }

    fn claim_log(&self, set: &ObjectSet, pointer: &BlockPointer, batch: &mut Batch) {
        let owner = Owner { set: batch.set(), object: set.meta().id() };
        claim(self.pool, pointer, owner, &mut batch.claims);
    }

    /// Claims the blocks that records lead to: those that were written when the log was.
    fn claim_records(
        &self,
        set: &ObjectSet,
        block: &View<'_>,
        mut at: usize,
        used: u64,
        claimed: u64,
        batch: &mut Batch,
    ) {
        let end = usize::try_from(used).unwrap_or(usize::MAX).min(block.len());
        while at < end {
            let (Ok(kind), Ok(length)) = (block.u64(at + RECORD_TYPE), block.u64(at + RECORD_LENGTH)) else { return };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if kind & !TX_CASE == TX_WRITE
                && let Ok(pointer) = BlockPointer::read(block, at + WRITE_POINTER)
                && pointer.kind() == PointerKind::Data
                && pointer.birth() >= claimed
            {
                self.claim_log(set, &pointer, batch);
            }
            let Some(next) = at.checked_add(length).filter(|&next| next > at) else { return };
            at = next;
        }
    }
}
