//! What a block looks like, whose pointer nobody has at hand.

use zfs_ondisk::blkptr::{self, BlockPointer, Kind};
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::dnode::{self, Dnode};
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::sa;
use zfs_ondisk::uberblock;
use zfs_ondisk::zap::Reader;

/// What `bytes` may be, most telling first; nothing if they look like nothing in particular.
pub(crate) fn guess(bytes: &[u8]) -> Vec<String> {
    if bytes.iter().all(|&byte| byte == 0) {
        return vec!["zeros".to_owned()];
    }
    let orders = [(ByteOrder::Little, ""), (ByteOrder::Big, ", big endian")];
    let mut found = Vec::new();
    for (order, name) in orders {
        // Small numbers at few places read as well the other way round.
        if !found.is_empty() {
            break;
        }
        let view = View::new(bytes, order);
        found.extend(
            [zap(&view), magic(&view), dnodes(&view), pointers(&view)].into_iter().flatten().map(|what| what + name),
        );
    }
    found.extend(list(bytes));
    if found.is_empty() && is_text(bytes) {
        found.push("text".to_owned());
    }
    found
}

fn magic(view: &View<'_>) -> Option<String> {
    if view.u64(0) == Ok(uberblock::MAGIC) {
        return Some("an uberblock".to_owned());
    }
    if view.u32(0) == Ok(sa::MAGIC) {
        return Some("system attributes in a spill block".to_owned());
    }
    // The trailer of an embedded checksum.
    let trailer = view.len().checked_sub(40)?;
    (view.u64(trailer) == Ok(0x0210_da7a_b10c_7a11)).then(|| match view.len() {
        512 => "the header of a gang block".to_owned(),
        _ => "a part of a label or a block of the intent log: it ends with its own checksum".to_owned(),
    })
}

fn zap(view: &View<'_>) -> Option<String> {
    const LEAF: u64 = 1 << 63;
    match view.u64(0).ok()?.checked_sub(LEAF)? {
        0 if view.u32(24) == Ok(0x2ab_1eaf) => Some("a leaf of a fat ZAP".to_owned()),
        1 | 3 => {
            let fetch = |_| Ok::<_, zfs_ondisk::zap::ZapError>(view.as_bytes());
            let zap = Reader::open(fetch).ok()?;
            let entries = zap.count().ok()?;
            Some(if zap.is_micro() {
                format!("a micro ZAP of {entries} entries")
            } else {
                format!("the header of a fat ZAP of {entries} entries")
            })
        }
        _ => None,
    }
}

fn dnodes(view: &View<'_>) -> Option<String> {
    if view.len() < dnode::SLOT_SIZE || !view.len().is_multiple_of(dnode::SLOT_SIZE) {
        return None;
    }
    let (mut slot, mut used, mut first) = (0, 0, ObjectType::NONE);
    while slot < view.len() / dnode::SLOT_SIZE {
        let at = slot * dnode::SLOT_SIZE;
        let dnode = Dnode::read(&view.view(at, view.len() - at).ok()?);
        match dnode {
            Ok(Some(dnode)) if plausible(&dnode) => {
                if used == 0 {
                    first = dnode.object_type;
                }
                used += 1;
                slot += dnode.slots();
            }
            Ok(None) => slot += 1,
            // What follows the dnodes of the root of an object set is no dnode.
            _ if first == ObjectType::DNODE => break,
            _ => return None,
        }
    }
    match (first, used) {
        (ObjectType::DNODE, _) => Some("the root of an object set".to_owned()),
        (_, 0) => None,
        (_, used) => Some(format!("a block of dnodes: {used} of {} slots used", view.len() / dnode::SLOT_SIZE)),
    }
}

/// Free memory with some byte set is seldom this.
fn plausible(dnode: &Dnode) -> bool {
    dnode.pointers.iter().all(|pointer| pointer.is_hole() || is_plausible(pointer))
}

fn pointers(view: &View<'_>) -> Option<String> {
    if view.len() < blkptr::SIZE || !view.len().is_multiple_of(blkptr::SIZE) {
        return None;
    }
    let (mut used, mut level) = (0, 0);
    for at in (0..view.len()).step_by(blkptr::SIZE) {
        let pointer = BlockPointer::read(view, at).ok()?;
        if pointer.is_hole() {
            continue;
        }
        if !is_plausible(&pointer) {
            return None;
        }
        (used, level) = (used + 1, pointer.level() + 1);
    }
    let room = view.len() / blkptr::SIZE;
    (used > 0).then(|| format!("block pointers: {used} of {room} used, an indirect block of level {level} perhaps"))
}

fn is_plausible(pointer: &BlockPointer) -> bool {
    let known = pointer.object_type().is_valid() && pointer.object_type() != ObjectType::NONE && pointer.birth() != 0;
    let sizes = pointer.physical_size() <= pointer.logical_size();
    match pointer.kind() {
        Kind::Data => {
            let places = pointer.dvas().all(|dva| dva.vdev < 1 << 16) && pointer.dvas().next().is_some();
            known && sizes && places && Checksum::from_number(pointer.checksum()).is_some()
        }
        Kind::Embedded => known && pointer.payload().is_some(),
        Kind::Redacted => known,
        Kind::Hole => false,
    }
}

fn list(bytes: &[u8]) -> Option<String> {
    if !matches!(bytes, [0 | 1, 0 | 1, 0, 0, ..]) {
        return None;
    }
    let list = NvList::decode(bytes).ok().filter(|list| !list.is_empty())?;
    Some(format!("a packed nvlist of {} pairs", list.len()))
}

fn is_text(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let readable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    bytes[..end].iter().all(readable)
}

#[cfg(test)]
mod tests {
    use zfs_ondisk::bytes::Put;
    use zfs_ondisk::zap::{Params, ZapContents};

    use super::*;

    fn pointer(level: u8) -> BlockPointer {
        BlockPointer::data(&blkptr::Fields {
            dvas: [
                blkptr::Dva { vdev: 0, offset: 512, asize: 512, gang: false },
                Default::default(),
                Default::default(),
            ],
            level,
            object_type: ObjectType::PLAIN_FILE_CONTENTS,
            logical_size: 1024,
            physical_size: 512,
            compression: 15,
            checksum: 7,
            birth: 9,
            fill: 1,
            digest: [0; 4],
        })
    }

    #[test]
    fn structures_are_recognised() {
        assert_eq!(guess(&[0; 512]), ["zeros"]);
        let mut block = vec![0; 1024];
        pointer(0).write(&mut block, 128);
        assert_eq!(guess(&block), ["block pointers: 1 of 8 used, an indirect block of level 1 perhaps"]);
        let mut block = vec![0; 1024];
        Dnode::new(ObjectType::PLAIN_FILE_CONTENTS, 512).write(&mut block[512..]);
        assert_eq!(guess(&block), ["a block of dnodes: 1 of 2 slots used"]);
        let mut block = vec![0; 1024];
        block.put_u64(0, uberblock::MAGIC);
        assert_eq!(guess(&block), ["an uberblock"]);
        assert_eq!(
            guess(&NvList::new().with("a", 1).to_xdr().expect("it can be packed")),
            ["a packed nvlist of 1 pairs"]
        );
        assert_eq!(guess(b"A line of text.\n\0\0"), ["text"]);
        assert_eq!(guess(&[3; 512]), [""; 0]);
    }

    #[test]
    fn a_zap_is_recognised_and_counted() {
        let mut contents = ZapContents::new();
        contents.set("a", 1);
        let blocks = contents.blocks(Params::new(5)).expect("it fits");
        assert_eq!(guess(&blocks.blocks[0]), ["a micro ZAP of 1 entries"]);
    }
}
