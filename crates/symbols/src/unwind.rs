//! Who called whom: from the registers of one function to those of its caller.

use gimli::EndianSlice;

use crate::architecture::{Architecture, Registers};
use crate::frames::{Cfa, Row, Rule};
use crate::program::Program;

/// Frames of one stack; a kernel's stack of 16 KiB has room for some hundred.
pub const MAX_FRAMES: usize = 1024;
/// Operations of an expression in call frame information.
const MAX_OPERATIONS: u32 = 1000;

/// Frames in a row of code that is not known.
const UNKNOWN: u32 = 32;
/// Bytes between two frames of one stack, at most.
const STACK: u64 = 128 << 10;

/// A frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The registers, as far as they are known, as they will be when the frame goes on.
    pub registers: Registers,
    /// Canonical frame address: the stack pointer before the call of the function.
    pub cfa: Option<u64>,
    /// How the frame was found.
    pub kind: FrameKind,
}

/// How a frame was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// It is the first: its registers were given.
    First,
    /// By call frame information of the function that it called.
    CallFrameInformation,
    /// By the chain of frame pointers: other registers are not known.
    FramePointer,
    /// By the return address where a call that went astray left it.
    ReturnAddress,
    /// It was interrupted: its registers were saved by the frame before it.
    Interrupted,
}

/// Why there is no further frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The outermost function: nobody called it.
    Outermost,
    /// The return address lies in no image.
    Outside(u64),
    /// The next frame would not be further out on the stack.
    NoProgress,
    /// Memory that holds the next frame cannot be read, or a register that tells where it is is not known.
    Lost(String),
    /// [`MAX_FRAMES`] were found.
    TooMany,
}

/// Where registers were saved when a function was interrupted: knowledge of the system, not of the compiler. `()` knows
/// of nothing.
pub trait Interrupts {
    /// The registers that the frame's function saved of what it interrupted, if it is one that does; `None` for functions
    /// that were called.
    fn interrupted(&self, program: &Program, frame: &Frame) -> Option<Registers>;
}

impl Interrupts for () {
    fn interrupted(&self, _program: &Program, _frame: &Frame) -> Option<Registers> {
        None
    }
}

impl Frame {
    /// The program counter: of a function that called another, the return address.
    pub fn pc(&self) -> u64 {
        self.registers.pc().unwrap_or(0)
    }

    /// An address within the code that the frame is in: a return address may already belong to what follows the call.
    pub fn code_address(&self) -> u64 {
        match self.kind {
            FrameKind::First | FrameKind::Interrupted => self.pc(),
            _ => self.pc().wrapping_sub(1),
        }
    }
}

/// The frames of a stack, the innermost first.
pub struct Unwinder<'u> {
    program: &'u Program,
    interrupts: &'u dyn Interrupts,
    next: Option<Frame>,
    count: usize,
    end: Option<End>,
}

impl Program {
    /// The frames of the stack that `registers` belong to.
    pub fn unwind<'u>(&'u self, registers: &Registers, interrupts: &'u dyn Interrupts) -> Unwinder<'u> {
        let next = Frame { registers: *registers, cfa: None, kind: FrameKind::First };
        Unwinder { program: self, interrupts, next: Some(next), count: 0, end: None }
    }
}

impl Unwinder<'_> {
    /// Why there is no further frame; `None` while there may be one.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

impl Iterator for Unwinder<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let mut frame = self.next.take()?;
        self.count += 1;
        let step = self.step(&mut frame);
        match step {
            Ok(_) if self.count >= MAX_FRAMES => self.end = Some(End::TooMany),
            Ok(next) => self.next = Some(next),
            Err(end) => self.end = Some(end),
        }
        Some(frame)
    }
}

impl Unwinder<'_> {
    /// The frame that comes after this one; sets this one's canonical frame address.
    fn step(&self, frame: &mut Frame) -> Result<Frame, End> {
        let program = self.program;
        let Some(pc) = frame.registers.pc() else {
            return Err(End::Lost("the program counter is not known".to_owned()));
        };
        let image = program.image_at(frame.code_address());
        let row = image.and_then(|image| {
            let address = image.linked(frame.code_address());
            image.frames().iter().find_map(|table| Some((table.row(address)?, table.endian(), image)))
        });
        if let Some((row, endian, _)) = &row {
            frame.cfa = self.cfa(row, *endian, &frame.registers);
        }
        if let Some(registers) = self.interrupts.interrupted(program, frame) {
            let next = Frame { registers, cfa: None, kind: FrameKind::Interrupted };
            // Stacks change here, so that only standing still can be told from going round.
            return match next.registers == frame.registers {
                true => Err(End::NoProgress),
                false => Ok(next),
            };
        }
        let next = match (&row, image) {
            (Some((row, endian, _)), _) => self.by_information(frame, row, *endian),
            (None, Some(_)) => self.by_frame_pointer(frame),
            // A call of what is no code: the caller is found where the call left its address.
            (None, None) if matches!(frame.kind, FrameKind::First | FrameKind::Interrupted) => {
                let next = self.by_return_address(frame).and_then(|next| self.check(frame, next));
                // Or it is code of which no file was found.
                return match next {
                    Err(end @ (End::Outside(_) | End::NoProgress)) if self.leads_back(&frame.registers) => {
                        self.by_frame_pointer(frame).and_then(|next| self.check(frame, next)).map_err(|_| end)
                    }
                    next => next,
                };
            }
            (None, None) if self.leads_back(&frame.registers) => self.by_frame_pointer(frame),
            (None, None) => return Err(End::Outside(pc)),
        }?;
        self.check(frame, next)
    }

    /// Whether the chain of frame pointers leads out of code of which no file was found, such as a module's, into code that
    /// is known.
    fn leads_back(&self, registers: &Registers) -> bool {
        let architecture = self.program.architecture();
        let word = u64::from(architecture.word());
        let behind = if architecture == Architecture::Riscv64 { 2 * word } else { 0 };
        let read = |address: u64| self.program.read_word(address).ok();
        let Some(mut below) = registers.sp() else { return false };
        let mut next = registers.fp();
        for _ in 0..UNKNOWN {
            let Some(fp) = next.filter(|fp| *fp % word == 0) else { return false };
            let pair = fp.wrapping_sub(behind);
            if pair < below || pair - below > STACK {
                return false;
            }
            let Some(back) = read(pair.wrapping_add(word)).map(|back| architecture.canonical(back)) else {
                return false;
            };
            if self.program.image_at(back.wrapping_sub(1)).is_some() {
                return true;
            }
            below = pair.wrapping_add(2 * word);
            next = read(pair);
        }
        false
    }

    fn check(&self, frame: &Frame, mut next: Frame) -> Result<Frame, End> {
        let architecture = self.program.architecture();
        let pc = next.registers.pc().map(|pc| architecture.canonical(pc));
        next.registers.set(architecture.pc(), pc);
        let Some(pc) = pc.filter(|&pc| pc != 0) else { return Err(End::Outermost) };
        if let (Some(sp), Some(new)) = (frame.registers.sp(), next.registers.sp()) {
            // Leaf functions of machines with a link register may have no frame, once.
            let may_stand =
                architecture.link().is_some() && matches!(frame.kind, FrameKind::First | FrameKind::Interrupted);
            if new < sp || (new == sp && !(may_stand && frame.registers.pc() != Some(pc))) {
                return Err(End::NoProgress);
            }
        }
        if self.program.image_at(next.code_address()).is_none() && !self.leads_back(&next.registers) {
            return Err(End::Outside(pc));
        }
        Ok(next)
    }

    fn read(&self, address: u64) -> Result<u64, End> {
        self.program.read_word(address).map_err(|error| End::Lost(error.to_string()))
    }

    fn unknown(&self, register: u16) -> End {
        let name = self.program.architecture().register_names().get(usize::from(register));
        End::Lost(format!(
            "register {} is not known",
            name.map_or_else(|| register.to_string(), |&name| name.to_owned())
        ))
    }

    fn cfa(&self, row: &Row, endian: gimli::RunTimeEndian, registers: &Registers) -> Option<u64> {
        match &row.cfa {
            Cfa::Register(register, offset) => Some(registers.get(*register)?.wrapping_add(*offset as u64)),
            Cfa::Expression(bytes) => self.expression(bytes, row, endian, registers, None),
        }
    }

    fn by_information(&self, frame: &Frame, row: &Row, endian: gimli::RunTimeEndian) -> Result<Frame, End> {
        let architecture = self.program.architecture();
        let Some(cfa) = frame.cfa else {
            return Err(match row.cfa {
                Cfa::Register(register, _) => self.unknown(register),
                Cfa::Expression(_) => End::Lost("the frame address cannot be calculated".to_owned()),
            });
        };
        let mut registers = Registers::new(architecture);
        for number in 0..architecture.register_names().len() as u16 {
            if architecture.is_preserved(number) {
                registers.set(number, frame.registers.get(number));
            }
        }
        // By convention of all ABIs; a rule may say otherwise.
        registers.set(architecture.sp(), cfa);
        let mut return_address = match architecture.link() {
            Some(_) => frame.registers.get(row.return_address),
            None => None,
        };
        for (number, rule) in &row.rules {
            let value = match rule {
                Rule::Undefined => None,
                Rule::Same => frame.registers.get(*number),
                Rule::At(offset) => self.program.read_word(cfa.wrapping_add(*offset as u64)).ok(),
                Rule::Is(offset) => Some(cfa.wrapping_add(*offset as u64)),
                Rule::Register(other) => frame.registers.get(*other),
                Rule::AtExpression(bytes) => {
                    let address = self.expression(bytes, row, endian, &frame.registers, Some(cfa));
                    address.and_then(|address| self.program.read_word(address).ok())
                }
                Rule::IsExpression(bytes) => self.expression(bytes, row, endian, &frame.registers, Some(cfa)),
            };
            registers.set(*number, value);
            if *number == row.return_address {
                if matches!(rule, Rule::Undefined) {
                    return Err(End::Outermost);
                }
                return_address = value;
            }
        }
        let Some(return_address) = return_address else {
            return Err(match row.rules.iter().find(|(number, _)| *number == row.return_address) {
                Some((_, Rule::At(offset))) => {
                    End::Lost(format!("the return address at {:#x} cannot be read", cfa.wrapping_add(*offset as u64)))
                }
                _ => self.unknown(row.return_address),
            });
        };
        registers.set(architecture.pc(), return_address);
        let kind = if row.signal { FrameKind::Interrupted } else { FrameKind::CallFrameInformation };
        Ok(Frame { registers, cfa: None, kind })
    }

    /// Without call frame information: the frame pointer points to the caller's, and to the return address beside it.
    fn by_frame_pointer(&self, frame: &mut Frame) -> Result<Frame, End> {
        let architecture = self.program.architecture();
        let word = u64::from(architecture.word());
        let Some(fp) = frame.registers.fp() else { return Err(self.unknown(architecture.fp())) };
        if fp == 0 {
            return Err(End::Outermost);
        }
        if fp % word != 0 {
            return Err(End::Lost(format!("the frame pointer {fp:#x} is not aligned")));
        }
        // RISC-V's points behind the pair, the others' to it.
        let pair = if architecture == Architecture::Riscv64 { fp.wrapping_sub(2 * word) } else { fp };
        let cfa = pair.wrapping_add(2 * word);
        let mut registers = Registers::new(architecture);
        registers.set(architecture.fp(), self.read(pair)?);
        registers.set(architecture.pc(), self.read(pair.wrapping_add(word))?);
        registers.set(architecture.sp(), cfa);
        frame.cfa = Some(cfa);
        Ok(Frame { registers, cfa: None, kind: FrameKind::FramePointer })
    }

    fn by_return_address(&self, frame: &mut Frame) -> Result<Frame, End> {
        let architecture = self.program.architecture();
        let mut registers = frame.registers;
        match architecture.link() {
            Some(link) => registers.set(architecture.pc(), frame.registers.get(link)),
            None => {
                let Some(sp) = frame.registers.sp() else { return Err(self.unknown(architecture.sp())) };
                let cfa = sp.wrapping_add(architecture.word().into());
                registers.set(architecture.pc(), self.read(sp)?);
                registers.set(architecture.sp(), cfa);
                frame.cfa = Some(cfa);
            }
        }
        Ok(Frame { registers, cfa: None, kind: FrameKind::ReturnAddress })
    }

    /// The value of an expression of call frame information.
    fn expression(
        &self,
        bytes: &[u8],
        row: &Row,
        endian: gimli::RunTimeEndian,
        registers: &Registers,
        cfa: Option<u64>,
    ) -> Option<u64> {
        let mut evaluation = gimli::Expression(EndianSlice::new(bytes, endian)).evaluation(row.encoding);
        evaluation.set_max_iterations(MAX_OPERATIONS);
        if let Some(cfa) = cfa {
            evaluation.set_initial_value(cfa);
        }
        let mut state = evaluation.evaluate().ok()?;
        loop {
            state = match state {
                gimli::EvaluationResult::Complete => break,
                gimli::EvaluationResult::RequiresRegister { register, .. } => {
                    evaluation.resume_with_register(gimli::Value::Generic(registers.get(register.0)?)).ok()?
                }
                gimli::EvaluationResult::RequiresMemory { address, size, .. } => {
                    let value = self.program.read_unsigned(address, size).ok()?;
                    evaluation.resume_with_memory(gimli::Value::Generic(value)).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result() {
            [gimli::Piece { location: gimli::Location::Address { address }, .. }] => Some(*address),
            [gimli::Piece { location: gimli::Location::Value { value }, .. }] => value.to_u64(u64::MAX).ok(),
            _ => None,
        }
    }
}
