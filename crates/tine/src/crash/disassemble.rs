//! `tine crash disassemble`: the instructions of a function.

use anstyle::{AnsiColor, Style};
use clap::Args;
use crash::disassemble::{Code, Instruction};
use serde_json::json;

use super::{Session, print, report, stack};
use crate::failure::Failure;
use crate::output;

const HERE: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
const PLACE: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));

/// Show the machine's instructions of a function, those of the panic's stack marked
#[derive(Debug, Args)]
pub(super) struct Disassemble {
    /// A function, or an address in one [default: where the trap happened, or else the panic]
    #[arg(value_name = "FUNCTION|ADDRESS")]
    place: Option<String>,
    /// How many instructions, from the address on [default: the whole function]
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

impl Disassemble {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let crash = session.crash;
        let marks = Marks::of(session);
        let address = match &self.place {
            Some(place) => match print::address(place) {
                Some(address) => address,
                None => crash.program().symbol(place)?.address,
            },
            None => marks.first.ok_or_else(|| Failure::Work("no function of a panic is known".to_owned()))?,
        };
        let code = match self.count {
            Some(count) => crash.code(address, u64::MAX, count)?,
            None => crash.function_code(address)?,
        };
        if session.json {
            let here: Vec<String> = code
                .instructions
                .iter()
                .filter(|instruction| marks.has(instruction))
                .map(|instruction| format!("{:#x}", instruction.address))
                .collect();
            let (function, instructions) = (&code.function, &code.instructions);
            return output::print_json(&json!({ "function": function, "instructions": instructions, "here": here }));
        }
        output::print(&text(&code, &marks))
    }
}

/// Instructions of the stack of the thread that panicked.
#[derive(Default)]
struct Marks {
    /// What was interrupted, and before it nothing: where to look first.
    first: Option<u64>,
    /// Addresses that calls return to, and of instructions that were interrupted.
    returns: Vec<u64>,
    interrupted: Vec<u64>,
}

impl Marks {
    fn of(session: &Session<'_>) -> Self {
        let Ok((stack, _)) = crash::panic::stack(session.crash, None) else { return Self::default() };
        let traps = stack.frames.iter().filter_map(|frame| frame.trap.as_ref()).filter(|trap| !trap.user);
        let interrupted: Vec<u64> = traps.map(|trap| trap.pc).collect();
        let mut returns: Vec<u64> =
            stack.frames.iter().filter(|frame| !frame.inlined).map(|frame| frame.address).collect();
        // What was jumped to may be no code: whoever jumped is told by the frame behind it.
        let known = |address: &&u64| session.crash.program().symbol_at(**address).is_some();
        let behind = interrupted.first().and_then(|pc| {
            let at = returns.iter().position(|address| address == pc)?;
            returns.get(at..)?.iter().find(known)
        });
        let first = interrupted.iter().find(known).or(behind).or(returns.first()).copied();
        returns.retain(|address| !interrupted.contains(address));
        Self { first, returns, interrupted }
    }

    fn has(&self, instruction: &Instruction) -> bool {
        let end = instruction.address.wrapping_add(instruction.bytes.len() as u64 / 2);
        self.interrupted.contains(&instruction.address) || self.returns.contains(&end)
    }
}

fn text(code: &Code, marks: &Marks) -> String {
    let mut text = String::new();
    let mut last = (None, None);
    if let Some(function) = &code.function {
        text += &format!("{function}:\n");
    }
    let width = code.instructions.iter().map(|one| one.bytes.len()).max().unwrap_or(0).min(20);
    for one in &code.instructions {
        let line = (one.file.as_ref(), one.line);
        if let (Some(file), Some(number)) = line
            && line != last
        {
            text += &format!("  {PLACE}{}:{number}{PLACE:#}\n", stack::short(file));
        }
        last = line;
        let offset = one.offset.map(|offset| format!("+{offset:#x}")).unwrap_or_default();
        let target = one.target.as_ref().map(|target| format!("  <{target}>")).unwrap_or_default();
        let row = format!("{:#018x} {offset:<7} {:width$}  {}{target}", one.address, one.bytes, one.text);
        let row = report::visible(row.trim_end());
        text += &match marks.has(one) {
            true => format!("{HERE}=> {row}{HERE:#}\n"),
            false => format!("   {row}\n"),
        };
    }
    text
}
