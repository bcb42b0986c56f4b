//! Finding the kernel's page tables in a full dump, which does not say where they are.

use super::Memory;
use super::paging::Paging;
use super::tables::Tables;
use crate::arch::Architecture;

/// The entry of the uppermost table that maps that table itself: `PML4PML4I` and `PML5PML5I` of
/// `sys/amd64/include/pmap.h`.
const SELF_ENTRY: u64 = 256;
/// Where every amd64 kernel is loaded, its ELF header first: `KERNLOAD` above `KERNBASE`.
const KERNEL: u64 = 0xffff_ffff_8020_0000;
/// Pages that are looked at: 64 GiB of memory. The tables are made when little else is.
const MOST_PAGES: u64 = 1 << 24;

/// The kernel's tables, if they can be told. It relies on two things of amd64: the uppermost table has an entry that
/// maps the table itself, and through it the kernel's own ELF header is found where kernels are loaded.
pub(crate) fn find(memory: &Memory) -> Option<Tables> {
    if memory.architecture != Architecture::Amd64 {
        return None;
    }
    let physical = &memory.physical;
    let mut looked_at = 0;
    let mut from = 0;
    while let Some(range) = physical.next_range(from) {
        let end = range.address.saturating_add(range.length);
        let mut page = range.address.next_multiple_of(4096);
        while page < end && looked_at < MOST_PAGES {
            looked_at += 1;
            let mut entry = [0; 8];
            if physical.read_once(page + SELF_ENTRY * 8, &mut entry).is_ok()
                && u64::from_le_bytes(entry) & 0x000f_ffff_ffff_f001 == page | 1
            {
                // With five levels the table of the fourth has the entry, too, and maps all of the kernel.
                let found = [Paging::Amd64, Paging::Amd64La57]
                    .map(|paging| Tables::rooted(paging, page, 0, memory.order))
                    .into_iter()
                    .find(|tables| maps_kernel(memory, tables));
                if found.is_some() {
                    return found;
                }
            }
            page += 4096;
        }
        from = end;
    }
    None
}

fn maps_kernel(memory: &Memory, tables: &Tables) -> bool {
    let mut magic = [0; 4];
    let Ok((pa, _)) = tables.translate(&memory.physical, KERNEL) else { return false };
    memory.physical.read(pa, &mut magic).is_ok() && magic == *super::elf::MAGIC
}
