//! The micro ZAP: one block of 64-byte slots (`mzap_phys_t`, `mzap_ent_phys_t`).
//!
//! The first slot is the header: block type, salt, flags of normalization. Every
//! other slot is an entry: the value, the collision differentiator, and the name
//! with its NUL; a slot with an empty name is free. Hashes are not stored: OpenZFS
//! computes them when it opens the ZAP.

use super::{BLOCK_TYPE_MICRO, Entries, Entry, Order, Params, PlanError, Value, ZapError, lossy};
use crate::bytes::{Put, View};

/// The largest micro ZAP in bytes (`zap_micro_max_size`); one entry more and
/// OpenZFS makes a fat ZAP. (Larger ones need the feature `large_microzap`.)
pub const MAX_BLOCK: usize = 128 << 10;

/// The longest name in bytes, without the NUL.
pub const MAX_NAME: usize = NAME_LEN - 1;

/// The block sizes of micro ZAPs are multiples of this.
const BLOCK_STEP: usize = 512;

const SLOT_LEN: usize = 64;

// The header.
const TYPE: usize = 0;
const SALT: usize = 8;
const NORM_FLAGS: usize = 16;

// An entry.
const VALUE: usize = 0;
const CD: usize = 8;
const NAME: usize = 14;
const NAME_LEN: usize = SLOT_LEN - NAME;

/// Whether OpenZFS would keep these entries in a micro ZAP: no more than a block
/// of [`MAX_BLOCK`] holds, names of at most [`MAX_NAME`] bytes, and every value one
/// 64-bit integer.
pub fn fits<E: Entries + ?Sized>(entries: &E) -> bool {
    block_size(entries.len()) <= MAX_BLOCK && (0..entries.len()).all(|i| slot(entries, i).is_some())
}

/// The size in bytes of the block of a micro ZAP of `count` entries.
pub fn block_size(count: usize) -> usize {
    count.saturating_add(1).saturating_mul(SLOT_LEN).next_multiple_of(BLOCK_STEP)
}

/// The block of a micro ZAP, [`block_size`] long, with the entries in their order.
///
/// # Errors
/// An entry that is not for a micro ZAP, or a name given twice.
pub fn write<E: Entries + ?Sized>(entries: &E, params: &Params) -> Result<Vec<u8>, PlanError> {
    let size = block_size(entries.len());
    if size > MAX_BLOCK {
        return Err(PlanError::NotMicro(format!("{} entries", entries.len())));
    }
    let order = Order::new(entries, params)?;
    let mut block = vec![0; size];
    block.put_u64(TYPE, BLOCK_TYPE_MICRO);
    block.put_u64(SALT, params.salt);
    block.put_u64(NORM_FLAGS, params.norm_flags);
    let mut cd = 0;
    for at in 0..entries.len() {
        cd = if at > 0 && order.hash(at - 1) == order.hash(at) { cd + 1 } else { 0 };
        let index = order.index(at);
        let (name, value) = slot(entries, index).ok_or_else(|| PlanError::NotMicro(lossy(entries.name(index))))?;
        let slot = &mut block[(index + 1) * SLOT_LEN..][..SLOT_LEN];
        slot.put_u64(VALUE, value);
        slot.put_u32(CD, cd);
        slot.put_bytes(NAME, name);
    }
    Ok(block)
}

/// The name and value of an entry, if a slot can hold them.
fn slot<E: Entries + ?Sized>(entries: &E, index: usize) -> Option<(&[u8], u64)> {
    let name = entries.name(index);
    let value = match entries.value(index) {
        Value::Number(v) | Value::Numbers(&[v]) => v,
        _ => return None,
    };
    (name.len() <= MAX_NAME).then_some((name, value))
}

/// The flags of normalization of a micro ZAP.
pub(super) fn norm_flags(view: View<'_>) -> Result<u64, ZapError> {
    view.u64(NORM_FLAGS).map_err(truncated)
}

/// What the hashes of a micro ZAP begin with; 0 if it is too short.
pub(super) fn salt(view: View<'_>) -> u64 {
    view.u64(SALT).unwrap_or(0)
}

/// The number of slots for entries in a block.
pub(super) fn slot_count(view: View<'_>) -> usize {
    (view.len() / SLOT_LEN).saturating_sub(1)
}

/// The entry in slot `index`, counted from 0 behind the header; `None` if it is free.
pub(super) fn read_slot(view: View<'_>, index: usize) -> Result<Option<Entry>, ZapError> {
    let slot = view.view((index + 1) * SLOT_LEN, SLOT_LEN).map_err(truncated)?;
    let name = slot.bytes(NAME, NAME_LEN).map_err(truncated)?;
    let len = name.iter().position(|&b| b == 0).ok_or(ZapError::Corrupt {
        block: 0,
        expected: "a name that ends in NUL",
        found: index as u64,
    })?;
    if len == 0 {
        return Ok(None);
    }
    Ok(Some(Entry {
        name: name[..len].to_vec(),
        integer_size: 8,
        values: vec![slot.u64(VALUE).map_err(truncated)?],
        cd: slot.u32(CD).map_err(truncated)?,
    }))
}

fn truncated(source: crate::bytes::Truncated) -> ZapError {
    ZapError::Truncated { block: 0, source }
}
