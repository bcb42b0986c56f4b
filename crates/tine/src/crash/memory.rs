//! `tine crash mem`: bytes of memory.

use clap::Args;
use serde_json::json;

use super::Session;
use super::print::KernelNames;
use crate::failure::Failure;
use crate::output;
use crate::values;

/// Bytes on a line.
const LINE: usize = 16;
/// The most bytes that are shown.
const MOST: u64 = 64 << 20;

/// Show bytes of memory
#[derive(Debug, Args)]
pub(super) struct Hexdump {
    /// Where: an expression whose value is an address, or that has one
    #[arg(value_name = "ADDRESS|EXPR")]
    address: String,
    /// How many bytes [default: 128]
    #[arg(value_name = "SIZE", value_parser = values::size)]
    size: Option<u64>,
}

impl Hexdump {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let program = session.crash.program();
        let value = program.evaluate(&self.address, &KernelNames(session))?;
        let ty = value.resolved_type()?;
        let is_number = matches!(ty.kind(), symbols::TypeKind::Pointer) || value.address().is_none();
        let address = match (is_number, value.address()) {
            (false, Some(address)) => address,
            _ => value.unsigned()?,
        };
        let size = self.size.unwrap_or(128).min(MOST);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let read = read(session, address, &mut bytes);
        let bytes = &bytes[..read];
        if session.json {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            output::print_json(&json!({ "address": format!("{address:#x}"), "bytes": digits, "size": size }))?;
        } else {
            output::print(&lines(address, bytes))?;
        }
        match program.read(address.wrapping_add(read as u64), &mut [0]) {
            Err(error) if (read as u64) < size => Err(Failure::Work(error.to_string())),
            _ => Ok(()),
        }
    }
}

/// Reads as much as there is before the first byte that cannot be read.
pub(super) fn read(session: &Session<'_>, address: u64, bytes: &mut [u8]) -> usize {
    let program = session.crash.program();
    let mut done = 0;
    while done < bytes.len() {
        let at = address.wrapping_add(done as u64);
        // A page at a time, the smallest that there are.
        let length = (4096 - (at % 4096) as usize).min(bytes.len() - done);
        if program.read(at, &mut bytes[done..done + length]).is_err() {
            break;
        }
        done += length;
    }
    done
}

/// Bytes from an address on, as people read them.
pub(super) fn lines(address: u64, bytes: &[u8]) -> String {
    let lines = bytes.chunks(LINE).zip(0u64..);
    lines.map(|(bytes, number)| line(address.wrapping_add(number * LINE as u64), bytes)).collect()
}

fn line(address: u64, bytes: &[u8]) -> String {
    let mut hex = String::new();
    for (number, byte) in bytes.iter().enumerate() {
        hex += &format!("{}{byte:02x}", if number == LINE / 2 { "  " } else { " " });
    }
    let text: String = bytes.iter().map(|&byte| if matches!(byte, 0x20..0x7f) { byte as char } else { '.' }).collect();
    format!("{address:016x} {hex:width$}  |{text}|\n", width = LINE * 3 + 1)
}
