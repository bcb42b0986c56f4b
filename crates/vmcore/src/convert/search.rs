//! Finding the registers of the processors in a dump without symbols.

use super::Registers;
use crate::arch::{Architecture, ByteOrder, Fields};
use crate::memory::{Memory, VirtualMemory};

/// Where the kernel itself is, `KERNBASE` of `sys/amd64/include/vmparam.h`.
const KERNEL: u64 = 0xffff_ffff_8000_0000;
/// How much of `struct pcb` is looked at: up to `pcb_cr4`.
const LENGTH: usize = 15 * 8;
const PAGE: usize = 4096;
/// A processor that pages has these bits of `CR0`: paging and protection.
const CR0: u64 = 1 << 31 | 1;
/// And this one of `CR4`: physical address extension.
const CR4: u64 = 1 << 5;
/// Kernel stacks are not larger.
const MOST_STACK: u64 = 64 << 10;
/// Frames and blocks that are followed or found at most.
const MOST_FRAMES: usize = 64;
const MOST_BLOCKS: usize = 1024;
/// No kernel is larger, with all its data.
const MOST_KERNEL: u64 = 1 << 30;

/// A place at which a processor left its registers.
struct Found {
    registers: Registers,
    pc: u64,
    frames: usize,
}

/// The registers of the processors when the kernel stopped, the one that wrote the dump first, as far as that can be
/// told; none for architectures other than amd64.
///
/// It relies on what `savectx` leaves in `dumppcb` and, for the other processors of kernels up to FreeBSD 13, `stoppcbs`:
/// `struct pcb` with control registers as a processor has them that pages, an instruction in the kernel, and a stack
/// whose frames lead on. Those that others share the instruction with are taken to have been stopped; of two, the one
/// with fewer frames. With symbols, [`Registers::from_pcb`] needs no such guess.
pub fn find_registers(memory: &Memory) -> Vec<Registers> {
    if memory.architecture() != Architecture::Amd64 {
        return Vec::new();
    }
    let mut found: Vec<Found> = Vec::new();
    let mut left = MOST_KERNEL;
    for range in memory.virtual_ranges().flatten() {
        if range.present && range.address >= KERNEL {
            let length = range.length.min(left);
            search(memory, range.address, length, &mut found);
            left -= length;
        }
    }
    let shared = |found: &[Found], pc: u64| found.iter().filter(|other| other.pc == pc).count();
    let counts: Vec<usize> = found.iter().map(|one| shared(&found, one.pc)).collect();
    let mut order: Vec<(usize, Found)> = counts.into_iter().zip(found).collect();
    order.sort_by_key(|(shared, one)| (*shared, usize::MAX - one.frames));
    order.into_iter().map(|(_, one)| one.registers).collect()
}

fn search(memory: &Memory, address: u64, length: u64, found: &mut Vec<Found>) {
    // Each page with the beginning of the next, where a block may end.
    let mut buf = vec![0; PAGE + LENGTH];
    for page in (0..length).step_by(PAGE) {
        let (read, _) = memory.read(address + page, &mut buf);
        let bytes = buf.get(..read).unwrap_or_default();
        for at in (0..PAGE.min((read + 1).saturating_sub(LENGTH))).step_by(8) {
            let fields = Fields::new(bytes.get(at..).unwrap_or_default(), ByteOrder::Little);
            if found.len() < MOST_BLOCKS
                && is_block(fields)
                && let Some(block) = block(memory, address + page + at as u64, fields)
            {
                found.push(block);
            }
        }
    }
}

/// Whether a processor's registers may be here, by what is in place.
fn is_block(fields: Fields<'_>) -> bool {
    let word = |index: usize| fields.u64(index * 8);
    let (rbp, rsp, rip) = (word(4), word(5), word(7));
    let (cr0, cr3, cr4) = (word(11), word(13), word(14));
    cr0 & CR0 == CR0
        && cr0 >> 32 == 0
        && cr4 & CR4 == CR4
        && cr4 >> 32 == 0
        && cr3 != 0
        && rip > KERNEL
        && rsp >> 47 == 0x1_ffff
        && rbp > rsp
        && rbp - rsp < MOST_STACK
}

/// The block, if its stack is one.
fn block(memory: &Memory, address: u64, fields: Fields<'_>) -> Option<Found> {
    let (mut frame, pc) = (fields.u64(32), fields.u64(56));
    let mut frames = 0;
    while frames < MOST_FRAMES {
        let (Ok(next), Ok(back)) = (memory.read_u64(frame), memory.read_u64(frame.wrapping_add(8))) else { break };
        if back < KERNEL {
            break;
        }
        frames += 1;
        if next <= frame || next - frame > MOST_STACK {
            break;
        }
        frame = next;
    }
    // The instruction and where it returns to are in memory that is mapped.
    memory.translate(pc).ok()?;
    let registers = Registers::from_pcb(memory, address).ok()?;
    (frames > 0).then_some(Found { registers, pc, frames })
}
