//! The machine's instructions of a function, as the dump has them: a kernel patches itself when it starts.

use serde::Serialize;
use symbols::Architecture;
use yaxpeax_arch::{AddressBase, Arch, Decoder, Reader, U8Reader};

use crate::dump::Crash;
use crate::error::{Error, Result};

/// Bytes of the longest instruction.
const LONGEST: usize = 16;
/// Bytes of a function that are shown at most.
const FUNCTION: u64 = 1 << 20;

/// Instructions, one after another.
#[derive(Clone, Debug, Serialize)]
pub struct Code {
    /// The function, if they are all of one.
    pub function: Option<String>,
    /// The instructions.
    pub instructions: Vec<Instruction>,
}

/// An instruction.
#[derive(Clone, Debug, Serialize)]
pub struct Instruction {
    /// Where it is.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// Bytes from the beginning of its function.
    pub offset: Option<u64>,
    /// Its bytes, in hexadecimal digits.
    pub bytes: String,
    /// It in the assembler's language; `(bad)` if it is none.
    pub text: String,
    /// What it calls, jumps to, or reaches by an address of its own.
    pub target: Option<String>,
    /// The source file of it.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

impl Crash {
    /// The instructions of the function at an address.
    ///
    /// # Errors
    /// If no function is there, it cannot be read, or the machine's instructions are not known here.
    pub fn function_code(&self, address: u64) -> Result<Code> {
        let found = self.program().symbol_at(address);
        let (symbol, image) = found.ok_or_else(|| Error::absent(format!("no function is at {address:#x}")))?;
        // Functions of assembler do not always tell their size: they end where another begins.
        let mut end = symbol.address.saturating_add(symbol.size);
        if symbol.size == 0 {
            let next = image.symbols()?.map(|other| other.address).filter(|other| *other > address).min();
            end = next.unwrap_or(address).min(symbol.address.saturating_add(FUNCTION));
        }
        let mut code = self.code(symbol.address, end.min(symbol.address.saturating_add(FUNCTION)), u64::MAX)?;
        code.function = Some(symbol.name);
        Ok(code)
    }

    /// At most `count` instructions from an address on, which has to be that of an instruction.
    ///
    /// # Errors
    /// If the first cannot be read, or the machine's instructions are not known here.
    pub fn code(&self, address: u64, end: u64, count: u64) -> Result<Code> {
        let architecture = self.program().architecture();
        let decode: fn(&[u8]) -> Option<(usize, String)> = match architecture {
            Architecture::Amd64 => decode::<yaxpeax_x86::long_mode::Arch>,
            Architecture::I386 => decode::<yaxpeax_x86::protected_mode::Arch>,
            Architecture::Arm64 => decode::<yaxpeax_arm::armv8::a64::ARMv8>,
            Architecture::Riscv64 => return Err(Error::absent("instructions of riscv cannot be shown")),
        };
        let step = if architecture == Architecture::Arm64 { 4 } else { 1 };
        let (mut at, mut instructions) = (address, Vec::new());
        while at < end && (instructions.len() as u64) < count {
            let bytes = self.code_bytes(at);
            if bytes.is_empty() {
                if instructions.is_empty() {
                    return Err(Error::absent(format!("there is nothing to be read at {at:#x}")));
                }
                break;
            }
            let decoded = decode(&bytes).filter(|(length, _)| (1..=bytes.len()).contains(length));
            let (length, text) = decoded.unwrap_or((step, "(bad)".to_owned()));
            instructions.push(self.instruction(at, bytes.get(..length).unwrap_or(&bytes), text));
            at = at.saturating_add(length as u64);
        }
        Ok(Code { function: None, instructions })
    }

    fn instruction(&self, at: u64, bytes: &[u8], text: String) -> Instruction {
        let program = self.program();
        let next = at.wrapping_add(bytes.len() as u64);
        let line = program.line(at).filter(|line| line.line != 0);
        // Jumps of x86 are told from the instruction that follows, those of ARM from their own.
        let from = if program.architecture() == Architecture::Arm64 { at } else { next };
        let mut text = text;
        let mut target = None;
        if let Some((start, end, offset)) = relative(&text, "$") {
            let to = from.wrapping_add_signed(offset);
            target = program.describe(to);
            text.replace_range(start..end, &format!("{to:#x}"));
        } else if let Some((_, _, offset)) = relative(&text, "rip ") {
            target = program.describe(next.wrapping_add_signed(offset));
        }
        let symbol = program.symbol_at(at);
        Instruction {
            address: at,
            offset: symbol.map(|(symbol, _)| at - symbol.address),
            bytes: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            text,
            target,
            file: line.as_ref().map(|line| line.file.clone()),
            line: line.map(|line| line.line),
        }
    }

    /// The bytes at an address, fewer where memory ends; those of the kernel's file where the dump has none.
    fn code_bytes(&self, at: u64) -> Vec<u8> {
        let program = self.program();
        for length in (1..=LONGEST).rev() {
            let mut bytes = vec![0; length];
            if program.read(at, &mut bytes).is_ok() {
                return bytes;
            }
            if let Some(bytes) = program.image_at(at).and_then(|image| image.read(at, length)) {
                return bytes;
            }
        }
        Vec::new()
    }
}

/// Length and text of the first instruction.
fn decode<A: Arch>(bytes: &[u8]) -> Option<(usize, String)>
where
    A::Instruction: std::fmt::Display,
    for<'b> U8Reader<'b>: Reader<A::Address, A::Word>,
{
    let mut reader = U8Reader::new(bytes);
    let instruction = A::Decoder::default().decode(&mut reader).ok()?;
    let length = Reader::<A::Address, A::Word>::total_offset(&mut reader).to_linear();
    Some((length, instruction.to_string()))
}

/// A distance after `mark`, such as `$+0x12` or `rip - 0x7`: where it begins and ends in the text, and what it is.
fn relative(text: &str, mark: &str) -> Option<(usize, usize, i64)> {
    let start = text.find(mark)?;
    let rest = text.get(start + mark.len()..)?;
    let sign = rest.chars().next().filter(|sign| matches!(sign, '+' | '-'))?;
    let digits = rest.get(1..)?.trim_start().strip_prefix("0x")?;
    let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    let number = u64::from_str_radix(digits.get(..length)?, 16).ok()? as i64;
    let end = text.len() - digits.len() + length;
    Some((start, end, if sign == '-' { number.wrapping_neg() } else { number }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_read_with_their_sign_and_place() {
        assert_eq!(relative("call $+0x12", "$"), Some((5, 11, 0x12)));
        assert_eq!(relative("jz $-0x7f", "$"), Some((3, 9, -0x7f)));
        assert_eq!(relative("mov rax, qword [rip + 0x10]", "rip "), Some((16, 26, 0x10)));
        assert_eq!(relative("mov rax, qword [rbp - 0x10]", "rip "), None);
        assert_eq!(relative("call rax", "$"), None);
    }

    #[test]
    fn instructions_of_both_machines_have_their_length() {
        let x86 = decode::<yaxpeax_x86::long_mode::Arch>(&[0x48, 0x89, 0xe5, 0x90]);
        assert_eq!(x86, Some((3, "mov rbp, rsp".to_owned())));
        let arm = decode::<yaxpeax_arm::armv8::a64::ARMv8>(&[0xc0, 0x03, 0x5f, 0xd6]).unwrap();
        assert_eq!((arm.0, arm.1.split(' ').next()), (4, Some("ret")));
    }
}
