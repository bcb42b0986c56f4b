//! Stacks of threads, across traps.

use serde::Serialize;
use symbols::{Architecture, End, Format, Frame, FrameKind, Interrupts, Program, Registers, Value};

use crate::dump::Crash;
use crate::registers;
use crate::saved::{self, Saved};

/// Characters of an argument's value.
const VALUE: usize = 120;

/// Functions of assembler that nobody has called: threads and processors begin in them (`locore.S`, `swtch.S` and others).
const FIRST: [&str; 9] =
    ["fork_trampoline", "btext", "virtdone", "mp_virtdone", "mpentry", "va", "mpva", "begin", "_start"];

/// A stack.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stack {
    /// Its frames, the innermost first; functions that were inlined have frames of their own.
    pub frames: Vec<StackFrame>,
    /// Why it ends, if not because nobody called its last function.
    pub broken: Option<String>,
}

/// A function of a stack.
#[derive(Clone, Debug, Serialize)]
pub struct StackFrame {
    /// The program counter.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// The function; `None` if no symbol is known for the address.
    pub function: Option<String>,
    /// Bytes from its beginning.
    pub offset: Option<u64>,
    /// The file with its code, `kernel` or a module.
    pub module: Option<String>,
    /// The source.
    pub file: Option<String>,
    /// The line in it; `None` also for code that no line stands for.
    pub line: Option<u64>,
    /// Whether it was inlined in the function of the next frame.
    pub inlined: bool,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// What it handles, if it is the one that saved registers.
    pub trap: Option<Trap>,
    /// The stack pointer.
    #[serde(serialize_with = "crate::hex::maybe")]
    pub sp: Option<u64>,
    /// The frame pointer.
    #[serde(serialize_with = "crate::hex::maybe")]
    pub fp: Option<u64>,
}

/// An argument of a function.
#[derive(Clone, Debug, Serialize)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its value in C, or why there is none.
    pub value: String,
    /// Whether there is one.
    pub known: bool,
}

/// What interrupted a program.
#[derive(Clone, Debug, Serialize)]
pub struct Trap {
    /// What kind of trap it was: `page fault`, `syscall`, `interrupt`.
    pub name: String,
    /// Its number, if it has one.
    pub number: Option<u64>,
    /// What the processor adds to it.
    #[serde(serialize_with = "crate::hex::maybe")]
    pub code: Option<u64>,
    /// The address that was to be reached, of faults.
    #[serde(serialize_with = "crate::hex::maybe")]
    pub fault_address: Option<u64>,
    /// Whether a user's program was interrupted.
    pub user: bool,
    /// Where that was.
    #[serde(serialize_with = "crate::hex::word")]
    pub pc: u64,
    /// Its stack pointer.
    #[serde(serialize_with = "crate::hex::word")]
    pub sp: u64,
    /// Where the trap frame is.
    #[serde(serialize_with = "crate::hex::word")]
    pub frame: u64,
}

impl Crash {
    /// The stack of a thread with these registers; with the values of arguments if they are asked for.
    pub fn stack(&self, registers: &Registers, arguments: bool) -> Stack {
        let traps = Traps;
        let mut unwinder = self.program().unwind(registers, &traps);
        let frames: Vec<Frame> = unwinder.by_ref().collect();
        let mut stack = Stack::default();
        for (index, frame) in frames.iter().enumerate() {
            let trap = trap_of(self.program(), frame);
            let ends = trap.as_ref().is_some_and(|trap| trap.user);
            self.add(&frames, index, arguments, trap, &mut stack);
            if ends {
                return stack;
            }
        }
        stack.broken = match unwinder.end() {
            None | Some(End::Outermost) => None,
            Some(End::Outside(pc)) => Some(format!("the return address {pc:#x} is in no known code")),
            Some(End::NoProgress) => Some("the next frame would not be further out on the stack".to_owned()),
            Some(End::Lost(why)) => Some(why.clone()),
            Some(End::TooMany) => Some(format!("only {} frames are shown", frames.len())),
        };
        let last = stack.frames.last().and_then(|frame| frame.function.as_deref());
        if last.is_some_and(|name| FIRST.contains(&name)) && unwinder.end() != Some(&End::TooMany) {
            stack.broken = None;
        }
        // A dump has no processor outside of the kernel, as that is where they are stopped.
        let user = |pc| crate::panic::is_user(self.program().architecture(), pc);
        if self.is_live() && registers.pc().is_some_and(user) {
            stack.broken = Some("the processor runs a user's program".to_owned());
        }
        stack
    }

    /// The frames of that stack as they were unwound, for whoever asks for variables.
    pub fn unwind(&self, registers: &Registers) -> Vec<Frame> {
        self.program().unwind(registers, &Traps).collect()
    }

    fn add(&self, frames: &[Frame], index: usize, arguments: bool, trap: Option<Trap>, stack: &mut Stack) {
        let Some(frame) = frames.get(index) else { return };
        let calls = self.program().calls(frame.code_address());
        let base = StackFrame {
            address: frame.pc(),
            function: None,
            offset: None,
            module: None,
            file: None,
            line: None,
            inlined: false,
            arguments: Vec::new(),
            trap: None,
            sp: frame.registers.sp(),
            fp: frame.registers.fp(),
        };
        if calls.is_empty() {
            stack.frames.push(StackFrame { trap, ..base });
            return;
        }
        let last = calls.len() - 1;
        for (number, call) in calls.iter().enumerate() {
            let variables = match arguments {
                true => self.program().variables(frames, index, call).unwrap_or_default(),
                false => Vec::new(),
            };
            let shown = variables.iter().filter(|variable| variable.parameter).map(|variable| {
                let value = variable.value.as_ref().map_err(Clone::clone).and_then(show);
                let known = value.is_ok();
                Argument { name: variable.name.clone(), value: value.unwrap_or_else(|error| error.to_string()), known }
            });
            stack.frames.push(StackFrame {
                function: Some(call.function.clone()),
                offset: call.offset.map(|offset| offset + frame.pc() - frame.code_address()),
                module: Some(call.image.clone()),
                file: call.line.as_ref().map(|line| line.file.clone()),
                line: call.line.as_ref().map(|line| line.line.into()).filter(|line| *line > 0),
                inlined: call.inlined,
                arguments: shown.collect(),
                trap: if number == last { trap.clone() } else { None },
                ..base.clone()
            });
        }
    }
}

fn show(value: &Value) -> symbols::Result<String> {
    let format = Format { elements: 32, depth: 1, ..Format::default() };
    let mut text = value.show(&format)?;
    if text.chars().count() > VALUE {
        text = text.chars().take(VALUE).collect::<String>() + "...";
    }
    Ok(text)
}

/// Knows which functions have saved registers, and where.
struct Traps;

impl Interrupts for Traps {
    fn interrupted(&self, program: &Program, frame: &Frame) -> Option<Registers> {
        let saved = trap_frame(program, frame)?;
        let (registers, _) = registers::of_trap_frame(&saved).ok()?;
        Some(registers)
    }
}

/// The trap frame of a function of assembler that handles traps: it is where the stack pointer points to when it calls
/// C (`sys/amd64/amd64/exception.S`, `sys/arm64/arm64/exception.S`).
fn trap_frame<'p>(program: &'p Program, frame: &Frame) -> Option<Saved<'p>> {
    if frame.kind == FrameKind::First {
        return None;
    }
    let (symbol, _) = program.symbol_at(frame.code_address())?;
    let name = symbol.name.as_str();
    let sp = frame.registers.sp()?;
    let address = match program.architecture() {
        Architecture::Amd64 => handles_traps_x86(name).then_some(sp)?,
        // Its address was pushed for the function called.
        Architecture::I386 => handles_traps_x86(name).then(|| sp.checked_add(4)).flatten()?,
        Architecture::Arm64 => {
            const NAMES: [&str; 4] = ["handle_el1h_", "handle_el0_", "handle_el2", "handle_serror"];
            let is_handler = NAMES.iter().any(|start| name.starts_with(start));
            // Where only frame pointers are known, the stack pointer is a guess.
            let below = frame.registers.fp().map(|fp| fp.wrapping_sub(saved::arm64_frame_size(program)));
            let below =
                below.filter(|_| frame.kind == FrameKind::FramePointer).filter(|at| is_arm64_frame(program, *at));
            is_handler.then_some(below.unwrap_or(sp))?
        }
        Architecture::Riscv64 => name.starts_with("cpu_exception_handler").then_some(sp)?,
    };
    Saved::trap_frame(program, address)
}

/// Whether a trap frame of arm64 can be at an address: the stack that was interrupted goes on above it, or is a user's.
fn is_arm64_frame(program: &Program, at: u64) -> bool {
    const STACK: u64 = 128 << 10;
    let word = |offset: u64| program.read_word(at.wrapping_add(offset)).ok();
    let (Some(sp), Some(pc), Some(state)) = (word(0), word(16), word(24)) else { return false };
    if pc == 0 || sp % 16 != 0 {
        return false;
    }
    match state & 0xf {
        0 => sp != 0 && crate::panic::is_user(Architecture::Arm64, sp),
        _ => sp > at && sp - at < STACK,
    }
}

fn handles_traps_x86(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "calltrap",
        "alltraps_with_regs_pushed",
        "fast_syscall_common",
        "nmi_calltrap",
        "mchk_calltrap",
        "dblfault_handler_entry",
        "lcall",
        "int0x80_syscall",
    ];
    // Entries for interrupts: Xapic_isr1, Xtimerint, Xdblfault.
    NAMES.contains(&name)
        || name.strip_prefix('X').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn trap_of(program: &Program, frame: &Frame) -> Option<Trap> {
    let saved = trap_frame(program, frame)?;
    let (registers, user) = registers::of_trap_frame(&saved).ok()?;
    let field = |name: &str| saved.unsigned(name).ok();
    let handler = program.symbol_at(frame.code_address()).map(|(symbol, _)| symbol.name).unwrap_or_default();
    let mut trap = Trap {
        name: "interrupt".to_owned(),
        number: None,
        code: None,
        fault_address: None,
        user,
        pc: registers.pc()?,
        sp: registers.sp().unwrap_or(0),
        frame: saved.address()?,
    };
    match program.architecture() {
        Architecture::Amd64 | Architecture::I386 => {
            if handler.contains("syscall") {
                trap.name = "syscall".to_owned();
            } else if !handler.starts_with('X') || handler == "Xdblfault" {
                let number = field("tf_trapno")? & 0xffff_ffff;
                trap.number = Some(number);
                trap.name = x86_trap(number).to_owned();
                trap.code = field("tf_err");
                trap.fault_address = field("tf_addr").filter(|_| number == 12);
            }
        }
        Architecture::Arm64 => {
            if handler.contains("sync") {
                let syndrome = field("tf_esr")?;
                // The class of the exception (`ESR_ELx_EC_MASK`).
                let class = syndrome >> 26 & 0x3f;
                trap.number = Some(class);
                trap.code = Some(syndrome);
                trap.name = arm64_exception(class).to_owned();
                // Kernels before FreeBSD 14.0 do not keep the address of a fault; of code it is where the jump led.
                trap.fault_address = match class {
                    0x20 | 0x21 => field("tf_far").or(Some(trap.pc)),
                    0x24 | 0x25 => field("tf_far"),
                    _ => None,
                };
            }
        }
        Architecture::Riscv64 => {
            let cause = field("tf_scause")?;
            trap.number = Some(cause);
            trap.fault_address = field("tf_stval").filter(|_| matches!(cause, 1 | 5 | 7 | 12 | 13 | 15));
            trap.name = riscv_cause(cause).to_owned();
        }
    }
    Some(trap)
}

/// `sys/x86/include/trap.h`.
fn x86_trap(number: u64) -> &'static str {
    match number {
        1 => "privileged instruction fault",
        3 => "breakpoint instruction fault",
        6 => "arithmetic trap",
        9 => "general protection fault",
        10 => "debug exception",
        12 => "page fault",
        14 => "alignment fault",
        18 => "integer divide fault",
        19 => "non-maskable interrupt",
        20 => "overflow trap",
        21 => "bounds check fault",
        22 => "device not available",
        23 => "double fault",
        24 => "coprocessor operand fault",
        25 => "invalid TSS fault",
        26 => "segment not present fault",
        27 => "stack fault",
        28 => "machine check",
        29 => "SIMD floating-point exception",
        30 => "reserved fault",
        _ => "trap",
    }
}

/// Exception classes of the Arm Architecture Reference Manual (`ESR_ELx.EC`).
fn arm64_exception(class: u64) -> &'static str {
    match class {
        0x00 => "unknown exception",
        0x07 => "floating-point access",
        0x0e => "illegal execution state",
        0x15 => "syscall",
        0x20 | 0x21 => "instruction abort",
        0x22 => "program counter alignment fault",
        0x24 | 0x25 => "data abort",
        0x26 => "stack pointer alignment fault",
        0x2f => "system error",
        0x3c => "breakpoint",
        _ => "exception",
    }
}

/// The RISC-V privileged specification, table of `scause`.
fn riscv_cause(cause: u64) -> &'static str {
    match cause {
        0 => "instruction address misaligned",
        1 => "instruction access fault",
        2 => "illegal instruction",
        3 => "breakpoint",
        4 | 6 => "address misaligned",
        5 => "load access fault",
        7 => "store access fault",
        8 => "syscall",
        12 => "instruction page fault",
        13 => "load page fault",
        15 => "store page fault",
        _ if cause >> 63 == 1 => "interrupt",
        _ => "exception",
    }
}
