//! Finding the kernel's page tables in a full dump, which does not say where they are.
//!
//! A page is taken for the uppermost table if the kernel's own ELF header is found through it where every kernel is
//! loaded. To ask that of few pages, an entry is looked at first: on amd64 the one that maps the table itself, on arm64
//! the first, which leads to the kernel.

use super::Memory;
use super::paging::{Entry, Paging};
use super::tables::Tables;
use crate::arch::{Architecture, Fields};

/// The entry of the uppermost table that maps that table itself: `PML4PML4I` and `PML5PML5I` of
/// `sys/amd64/include/pmap.h`.
const SELF_ENTRY: u64 = 256;
/// Where amd64 kernels are loaded, ELF header first: `KERNLOAD` above `KERNBASE`.
const KERNEL_AMD64: u64 = 0xffff_ffff_8020_0000;
/// The same for arm64, `VM_MIN_KERNEL_ADDRESS`.
const KERNEL_ARM64: u64 = 0xffff_0000_0000_0000;
/// Pages that are looked at: 64 GiB of memory. The tables are made when little else is.
const MOST_PAGES: u64 = 1 << 24;
const PAGE: u64 = 4096;

/// The kernel's tables, if they can be told.
pub(crate) fn find(memory: &Memory) -> Option<Tables> {
    // With five levels the table of the fourth has the entry, too, and maps all of the kernel.
    let (kinds, entry, kernel): (&[Paging], u64, u64) = match memory.architecture {
        Architecture::Amd64 => (&[Paging::Amd64, Paging::Amd64La57], SELF_ENTRY, KERNEL_AMD64),
        Architecture::Arm64 => (Paging::of(Architecture::Arm64), 0, KERNEL_ARM64),
        _ => return None,
    };
    let mut left = MOST_PAGES.min(memory.physical.readable_pages());
    let mut from = 0;
    while let Some(range) = memory.physical.next_range(from) {
        let end = range.address.saturating_add(range.length);
        let mut page = range.address.next_multiple_of(PAGE);
        while page < end {
            left = left.checked_sub(1)?;
            let mut bytes = [0; 8];
            if memory.physical.read_once(page + entry * 8, &mut bytes).is_ok() {
                let value = Fields::new(&bytes, memory.order).u64(0);
                let fits = |paging: &&Paging| match paging.decode(0, value) {
                    Entry::Table(next) if entry == SELF_ENTRY => next == page,
                    Entry::Table(next) => next != page && memory.is_present(next),
                    _ => false,
                };
                let tables = kinds.iter().filter(fits);
                let mut tables = tables.map(|&paging| Tables::rooted(paging, page, paging.kernel_base(), memory.order));
                if let Some(found) = tables.find(|tables| maps_kernel(memory, tables, kernel)) {
                    return Some(found);
                }
            }
            page += PAGE;
        }
        from = end;
    }
    None
}

fn maps_kernel(memory: &Memory, tables: &Tables, kernel: u64) -> bool {
    let mut magic = [0; 4];
    let Ok((pa, _)) = tables.translate(&memory.physical, kernel) else { return false };
    if memory.physical.read(pa, &mut magic).is_err() || magic != *super::elf::MAGIC {
        return false;
    }
    // The first entries of tables are the same whatever the size of pages is. The second page follows the first, as
    // kernels are loaded in one piece, only if that is right.
    let page = tables.paging.page_size();
    tables.translate(&memory.physical, kernel + page).is_ok_and(|(next, _)| next == pa + page)
}
