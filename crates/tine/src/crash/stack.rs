//! Stacks as text.

use anstyle::{AnsiColor, Style};
use crash::stack::{Stack, StackFrame, Trap};

const FUNCTION: Style = Style::new().bold();
const PLACE: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));
const TRAP: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));

/// Frames of the same call in a row, from which on they are counted and not shown.
const REPEATED: usize = 4;

/// A stack, a frame a line and its arguments below it.
pub(super) fn text(stack: &Stack) -> String {
    frames(&stack.frames, stack.broken.as_deref())
}

/// The same of frames, and of why they end.
pub(super) fn frames(frames: &[StackFrame], broken: Option<&str>) -> String {
    let mut text = String::new();
    let mut number = 0;
    while let Some(frame) = frames.get(number) {
        text += &line(number, frame);
        for argument in frame.arguments.iter().filter(|argument| argument.known) {
            text += &format!("        {} = {}\n", argument.name, argument.value);
        }
        if let Some(trap) = &frame.trap {
            text += &format!("  {TRAP}--- {} ---{TRAP:#}\n", interruption(trap));
        }
        number += 1;
        // A function that calls itself without end is shown once.
        let is_same = |other: &&StackFrame| other.address == frame.address && !other.inlined && other.trap.is_none();
        let more = frames.get(number..).unwrap_or_default().iter().take_while(is_same).count();
        if more >= REPEATED && !frame.inlined {
            text += &format!("      ... {more} more of the same\n");
            number += more;
        }
    }
    if let Some(why) = broken {
        text += &format!("  {TRAP}The stack cannot be followed further: {why}{TRAP:#}\n");
    }
    text
}

/// What interrupted a program, in words.
pub(super) fn interruption(trap: &Trap) -> String {
    let mut text = trap.name.clone();
    if let Some(number) = trap.number {
        text += &format!(" ({number})");
    }
    if let Some(address) = trap.fault_address {
        text += &format!(" at address {address:#x}");
    }
    let of = if trap.user { " of a user's program" } else { "" };
    text + &format!("{of}, pc {:#x}, sp {:#x}", trap.pc, trap.sp)
}

fn line(number: usize, frame: &StackFrame) -> String {
    let function = frame.function.as_deref().unwrap_or("?");
    let mut text = if frame.inlined {
        format!("  {number:>2}  {:18} {FUNCTION}{function}{FUNCTION:#} (inlined)", "")
    } else {
        let offset = frame.offset.map(|offset| format!("+{offset:#x}")).unwrap_or_default();
        format!("  {number:>2}  {:#018x} {FUNCTION}{function}{FUNCTION:#}{offset}", frame.address)
    };
    if let Some(module) = frame.module.as_deref().filter(|module| *module != "kernel") {
        text += &format!(" [{module}]");
    }
    // Of code that it has put together from several places, a compiler says line 0.
    match (&frame.file, frame.line) {
        (Some(file), Some(line @ 1..)) => text += &format!("  {PLACE}{}:{line}{PLACE:#}", short(file)),
        (Some(file), _) => text += &format!("  {PLACE}{}{PLACE:#}", short(file)),
        (None, _) => {}
    }
    text + "\n"
}

/// A source file from `sys` on, as people name it.
pub(super) fn short(file: &str) -> &str {
    file.rfind("/sys/").map_or(file, |at| &file[at + 1..])
}
