//! The check finds what is wrong although every checksum is right: blocks are
//! changed where they have passed their checksums already, in the cache.

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bytes::Put;
use zfs_ondisk::dnode::SLOT_SIZE;

use super::{Kind, Report, check};
use crate::fs::{File, FileSystem};
use crate::object::slots_per_block;
use crate::pool::Pool;
use crate::support;

/// The findings about a pool after `change` was made to it; `None` if there is no
/// corpus.
fn findings_after(test: &str, name: &str, change: impl FnOnce(&Pool)) -> Option<Report> {
    let unpacked = support::unpack(test, name)?;
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    change(&pool);
    Some(check(&pool).unwrap())
}

/// Changes a block; `change` is given its contents.
fn patch(pool: &Pool, pointer: &BlockPointer, change: impl FnOnce(&mut [u8])) {
    let mut block = pool.read_block(pointer).unwrap();
    change(&mut block);
    pool.cache().put(0, pointer, &block.into());
}

/// Changes the dnode of a file.
fn patch_dnode(file: &File, change: impl FnOnce(&mut [u8])) {
    let meta = file.object().set().meta();
    let per_block = slots_per_block(meta.dnode());
    let id = file.object().id().0;
    let pointer = meta.block_pointer(id / per_block).unwrap();
    patch(file.object().set().pool(), &pointer, |block| {
        change(&mut block[(id % per_block) as usize * SLOT_SIZE..]);
    });
}

/// Where an attribute is in the dnode of a file.
fn attribute_offset(file: &File, name: &str) -> usize {
    let dnode = file.object().dnode();
    let bonus = 64 + dnode.pointers.len() * blkptr::SIZE;
    let attributes = file.bonus_attributes().unwrap();
    let found = attributes.iter().find(|(attribute, _)| *attribute == name).unwrap();
    bonus + (found.1.as_bytes().as_ptr() as usize - dnode.bonus.as_ptr() as usize)
}

fn file(pool: &Pool, path: &str) -> File {
    let dataset = pool.dataset(pool.name()).unwrap();
    FileSystem::open(&dataset).unwrap().lookup(path.as_bytes()).unwrap()
}

/// Whether a file has a finding of a kind whose message contains a text.
fn has(report: &Report, kind: Kind, path: &str, text: &str) -> bool {
    let found = report
        .findings
        .iter()
        .any(|finding| finding.kind == kind && finding.path.as_deref() == Some(path) && finding.message.contains(text));
    assert!(found, "{kind:?} {path} {text:?}: {:#?}", report.findings);
    found
}

#[test]
fn a_short_last_block_is_found() {
    let change = |pool: &Pool| {
        let object = file(pool, "text-3m").object().clone();
        let last = object.dnode().max_block_id as usize;
        patch(pool, &object.dnode().pointers[0], |indirect| {
            // The low 16 bits of the properties are the logical size in sectors.
            indirect.put_u16(last * blkptr::SIZE + 48, 0);
        });
    };
    let Some(report) = findings_after("short block", "default", change) else { return };
    assert!(has(&report, Kind::Pointer, "/text-3m", "the logical size is 512, expected 131072"));
}

#[test]
fn a_wrong_fill_count_is_found() {
    let change = |pool: &Pool| {
        let object = file(pool, "text-3m").object().clone();
        patch(pool, &object.dnode().pointers[0], |indirect| indirect.put_u64(88, 2));
    };
    let Some(report) = findings_after("fill count", "default", change) else { return };
    assert!(has(&report, Kind::Pointer, "/text-3m", "the fill count is 2, expected 1"));
}

#[test]
fn wrong_space_in_a_dnode_is_found_with_what_it_adds_up_to() {
    let change = |pool: &Pool| patch_dnode(&file(pool, "text-3m"), |dnode| dnode.put_u64(24, 512));
    let Some(report) = findings_after("dnode space", "default", change) else { return };
    assert!(has(&report, Kind::Dnode, "/text-3m", "its dnode says 512"));
    let user_table = |message: &str| message.starts_with("user table, 0: ");
    assert!(report.findings.iter().any(|finding| finding.kind == Kind::Accounting && user_table(&finding.message)));
}

#[test]
fn a_wrong_link_count_is_found() {
    let change = |pool: &Pool| {
        let file = file(pool, "text-3m");
        let offset = attribute_offset(&file, "ZPL_LINKS");
        patch_dnode(&file, |dnode| dnode.put_u64(offset, 2));
    };
    let Some(report) = findings_after("link count", "default", change) else { return };
    assert!(has(&report, Kind::Directory, "/text-3m", "the link count is 2, expected 1"));
}

#[test]
fn a_wrong_size_of_a_directory_is_found() {
    let change = |pool: &Pool| {
        let directory = file(pool, "d1");
        let offset = attribute_offset(&directory, "ZPL_SIZE");
        patch_dnode(&directory, |dnode| dnode.put_u64(offset, 5));
    };
    let Some(report) = findings_after("directory size", "default", change) else { return };
    assert!(has(&report, Kind::Directory, "/d1", "the size is 5, expected 123 for its entries"));
}

#[test]
fn an_entry_that_leads_to_nothing_is_found_and_so_is_the_file_that_lost_its_name() {
    let change = |pool: &Pool| {
        let root = file(pool, "");
        let lost = file(pool, "text-3m").object().id().0;
        let pointer = root.object().block_pointer(0).unwrap();
        patch(pool, &pointer, |block| {
            let entry = block.chunks_exact_mut(64).find(|entry| entry[14..].starts_with(b"text-3m\0")).unwrap();
            entry.put_u64(0, 8 << 60 | (lost + 1_000_000));
        });
    };
    let Some(report) = findings_after("lost file", "default", change) else { return };
    assert!(has(&report, Kind::Directory, "/", "which is no file"));
    let messages: Vec<&str> = report.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(messages.contains(&"the file has no name and is not in the delete queue"), "{messages:?}");
}

#[test]
fn a_block_that_nothing_references_is_leaked() {
    let change = |pool: &Pool| {
        let object = file(pool, "text-3m").object().clone();
        patch(pool, &object.dnode().pointers[0], |indirect| indirect[..blkptr::SIZE].fill(0));
    };
    let Some(report) = findings_after("leak", "default", change) else { return };
    let leaks = report.findings.iter().filter(|finding| finding.kind == Kind::Leaked).count();
    assert_eq!(leaks, 1, "{:#?}", report.findings);
}

#[test]
fn a_block_that_two_files_reference_is_found() {
    let change = |pool: &Pool| {
        let object = file(pool, "text-3m").object().clone();
        patch(pool, &object.dnode().pointers[0], |indirect| indirect.copy_within(..blkptr::SIZE, blkptr::SIZE));
    };
    let Some(report) = findings_after("double reference", "default", change) else { return };
    let twice = report.findings.iter().any(|finding| {
        finding.kind == Kind::DoublyAllocated && finding.message.contains("is referenced 2 times, expected 1")
    });
    assert!(twice, "{:#?}", report.findings);
}
