//! The innermost frame of a dump of arm64.
//!
//! `dump_savectx()` saves the registers of the thread that is going to write the dump, and returns. What is called after it
//! writes over its frame, which the saved frame pointer still points to: only its caller's frame is whole.

use symbols::{Architecture, Program, Registers};

/// How far above the stack pointer the frame of the caller is looked for: more than `dump_savectx()` takes.
const REACH: u64 = 1024;
/// Bytes of a kernel's stack at most.
const STACK: u64 = 128 << 10;
/// Bytes of a function that are searched for a call.
const FUNCTION: u64 = 64 << 10;

/// The registers of the first function that has a whole frame. As they are on other machines, and where nothing better is
/// found.
pub(crate) fn innermost(program: &Program, registers: Registers) -> Registers {
    if registers.architecture() != Architecture::Arm64 {
        return registers;
    }
    let (Some(sp), Some(fp), Some(pc)) = (registers.sp(), registers.fp(), registers.pc()) else { return registers };
    if fp % 16 != 0 || record(program, fp).is_some() {
        return registers;
    }
    let places = (sp & !15..sp.saturating_add(REACH)).step_by(16);
    // Two whole records in a row: numbers that look like one are not rare.
    let found = places.into_iter().find_map(|at| {
        let (next, back) = record(program, at)?;
        record(program, next)?;
        Some((at, next, back))
    });
    let Some((at, next, back)) = found else { return registers };
    let mut rescued = Registers::new(Architecture::Arm64);
    match call_site(program, back, pc) {
        Some(pc) => {
            rescued.set_by_name("pc", pc);
            rescued.set_by_name("fp", at);
            rescued.set_by_name("sp", at);
        }
        // It is not known which function the record is of: its caller is.
        None => {
            rescued.set_by_name("pc", back);
            rescued.set_by_name("fp", next);
            rescued.set_by_name("sp", at + 16);
        }
    }
    rescued
}

/// A frame record (Procedure Call Standard for the Arm 64-bit Architecture, 6.4.6): where the caller's is, and the address
/// that the function returns to. `None` if it cannot be one.
fn record(program: &Program, at: u64) -> Option<(u64, u64)> {
    let next = program.read_word(at).ok()?;
    let back = Architecture::Arm64.canonical(program.read_word(at.checked_add(8)?).ok()?);
    let is_further = next % 16 == 0 && next > at && next - at < STACK;
    (is_further && is_code(program, back)).then_some((next, back))
}

/// Whether an address follows a call (`BL` or `BLR`).
fn is_code(program: &Program, back: u64) -> bool {
    let Some(at) = back.checked_sub(4).filter(|at| at % 4 == 0) else { return false };
    let call = program.image_at(at).and_then(|_| program.read_unsigned(at, 4).ok());
    call.is_some_and(|code| code >> 26 == 0x25 || code & 0xffff_fc1f == 0xd63f_0000)
}

/// Where the function that returns to `back` has called the one that `pc` is in, as the address that follows the call.
fn call_site(program: &Program, back: u64, pc: u64) -> Option<u64> {
    let (callee, _) = program.symbol_at(pc)?;
    let function = target(program, back.checked_sub(4)?)?;
    let (caller, _) = program.symbol_at(function)?;
    let size = caller.size.min(FUNCTION);
    let calls = (caller.address..caller.address.checked_add(size)?).step_by(4);
    let found = calls.into_iter().find(|at| target(program, *at) == Some(callee.address));
    found.and_then(|at| at.checked_add(4))
}

/// Where a `BL` leads to.
fn target(program: &Program, at: u64) -> Option<u64> {
    let code = program.read_unsigned(at, 4).ok()? as u32;
    let offset = ((code << 6) as i32 >> 6) * 4;
    (code >> 26 == 0x25).then(|| at.wrapping_add_signed(offset.into()))
}
