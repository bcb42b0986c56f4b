//! What the targets for kernel dumps share: small dumps to start from, and looking at all that can be opened.

use std::io;
use std::sync::Arc;

use vmcore::convert::{self, CoreOptions, Output};
use vmcore::forge::{Forge, Kind};
use vmcore::memory::{Memory, VirtualMemory};

/// Ranges that are looked at.
const MOST: usize = 2000;

/// Opens a dump and looks at everything in it.
pub fn examine(bytes: Vec<u8>) {
    let Ok(mut memory) = Memory::open(Arc::new(bytes)) else { return };
    let mut buf = [0; 64];
    for address in [0, 0xc000_0000, 0xffff_0000_0000_0000, 0xffff_fe00_0000_1ffc, u64::MAX - 4] {
        let _ = memory.read(address, &mut buf);
        let _ = memory.read_physical(address, &mut buf);
        let _ = memory.message_buffer_at(address);
    }
    for range in memory.virtual_ranges().take(MOST).flatten() {
        let _ = memory.read(range.address.wrapping_add(range.length).wrapping_sub(8), &mut buf);
    }
    for range in memory.physical_ranges().take(MOST) {
        let _ = memory.read_physical(range.address, &mut buf);
    }
    let _ = memory.message_buffer();
    let _ = convert::find_registers(&memory);
    if memory.statistics().is_ok_and(|statistics| statistics.present < 1 << 12) {
        let _ = convert::core(&memory, &CoreOptions::default(), &mut Nowhere);
        let _ = convert::raw(&memory, &mut Nowhere);
    }
    // The first pages as roots of every kind of page tables.
    let root = memory.physical_ranges().next().map_or(0, |range| range.address);
    for &paging in vmcore::memory::Paging::of(memory.architecture()) {
        let space = memory.address_space(paging, root);
        let _ = space.read(0x40_0000, &mut buf);
        let _ = space.virtual_ranges().take(MOST).count();
        memory.set_kernel_root(paging, root);
        let _ = memory.virtual_ranges().take(MOST).count();
    }
}

struct Nowhere;

impl Output for Nowhere {
    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn skip(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A small machine of each kind.
pub fn machines() -> impl Iterator<Item = Forge> {
    Kind::ALL.into_iter().map(|kind| {
        let ram = kind.ram_base();
        let mut forge =
            Forge::with_memory(kind, vec![(ram + 0x1_0000, ram + 0x2_0000), (ram + 0x10_0000, ram + 0x20_0000)]);
        let base = forge.kernel_base();
        for page in 0..3 {
            forge.map(base + page * kind.page_size(), ram + 0x11_0000 + page * 2 * kind.page_size(), kind.page_shift());
        }
        forge.message_buffer(ram + 0x18_0000, base + 0x8 * kind.page_size(), 1000);
        forge.print("panic: at the fuzzer's\n");
        forge
    })
}
