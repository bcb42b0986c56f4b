//! A name for a kind of crash: two dumps of the same fault have the same one.
//!
//! It is made of the kind of panic and of the functions that led to it: without what every panic goes through, without
//! addresses, offsets, lines and numbers, so that another build of the kernel gives the same.

use sha2::{Digest, Sha256};

use crate::stack::Stack;

/// Functions that count.
const DEPTH: usize = 8;
/// Functions through which panics and traps go, whatever their reason.
const MACHINERY: [&str; 33] = [
    "__curthread",
    "savectx",
    "dump_savectx",
    "dumpsys",
    "doadump",
    "kern_reboot",
    "vpanic",
    "panic",
    "kassert_panic",
    "kdb_panic",
    "kdb_enter",
    "kdb_backtrace",
    "kdb_trap",
    "db_dump",
    "db_command",
    "db_command_loop",
    "db_trap",
    "trap_fatal",
    "trap_pfault",
    "trap",
    "trap_check",
    "calltrap",
    "dblfault_handler",
    "Xdblfault",
    "exception_vectors",
    "vm_fault_trap",
    "do_el1h_sync",
    "data_abort",
    "align_abort",
    "print_registers",
    "handle_el1h_sync",
    "page_fault_handler",
    "do_trap_supervisor",
];

/// The signature of a panic with this message and stack: 16 hexadecimal digits.
pub fn signature(message: Option<&str>, stack: &Stack) -> String {
    let text = canonical(message, stack);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What the signature is made of: the message without its numbers, and a function a line.
pub fn canonical(message: Option<&str>, stack: &Stack) -> String {
    let mut text = without_numbers(&without_folders(message.unwrap_or("no panic")));
    for function in meaningful(stack) {
        text += "\n";
        text += function;
    }
    text
}

/// The functions that led to a panic, the innermost first.
pub fn meaningful(stack: &Stack) -> Vec<&str> {
    // Inlining is the compiler's choice, which changes from build to build.
    let names = stack.frames.iter().filter(|frame| !frame.inlined).map(|frame| {
        let name = frame.function.as_deref().unwrap_or("?");
        // The compiler's copies of a function: `name.part.0`, `name.cold`.
        name.split('.').next().filter(|name| !name.is_empty()).unwrap_or(name)
    });
    // A debugger that is entered first, and made to write the dump, is no part of the fault.
    let names = names.skip_while(|name| MACHINERY.contains(name) || name.starts_with("db_"));
    let mut meaningful: Vec<&str> = names.filter(|name| !MACHINERY.contains(name)).collect();
    // How often a function has called itself does not matter.
    meaningful.dedup();
    meaningful.truncate(DEPTH);
    meaningful
}

/// A source file's name from `sys` on: where it was compiled differs from build to build.
fn without_folders(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace);
    words.map(|word| word.rfind("/sys/").and_then(|at| word.get(at + 1..)).unwrap_or(word)).collect()
}

/// A text in which all that looks like a number is `N`: values differ from panic to panic.
fn without_numbers(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut plain = String::new();
    for piece in text.split_inclusive(|c| !is_part(c)) {
        let (word, rest) = piece.split_at(piece.trim_end_matches(|c| !is_part(c)).len());
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
            || (!digits.is_empty() && word.len() > digits.len())
            || (digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        plain += if is_number { "N" } else { word };
        plain += rest;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(functions: &[&str]) -> Stack {
        let frame = |name: &&str| crate::stack::StackFrame {
            address: 0,
            function: Some((*name).to_owned()),
            offset: None,
            module: None,
            file: None,
            line: None,
            inlined: false,
            arguments: Vec::new(),
            trap: None,
            sp: None,
            fp: None,
        };
        Stack { frames: functions.iter().map(frame).collect(), broken: None }
    }

    #[test]
    fn neither_the_way_to_the_dump_nor_the_depth_of_a_recursion_counts() {
        let plain = stack(&["savectx", "doadump", "vpanic", "panic", "walk", "walk", "open"]);
        let by_debugger = stack(&["doadump", "db_fncall", "db_script_exec", "kdb_enter", "vpanic", "walk", "open"]);
        assert_eq!(meaningful(&plain), ["walk", "open"]);
        assert_eq!(canonical(Some("bad"), &plain), canonical(Some("bad"), &by_debugger));
        assert_ne!(canonical(Some("bad"), &plain), canonical(Some("bad"), &stack(&["vpanic", "open"])));
    }

    #[test]
    fn where_the_source_was_compiled_does_not_count() {
        let of = |text| canonical(Some(text), &Stack::default());
        let one = of("mutex em0 not owned at /usr/src/sys/kern/kern_mutex.c:284");
        assert_eq!(one, of("mutex em0 not owned at /home/b/src/sys/kern/kern_mutex.c:301"));
        assert_ne!(one, of("mutex em0 not owned at /usr/src/sys/kern/kern_rwlock.c:284"));
    }

    #[test]
    fn numbers_do_not_count() {
        assert_eq!(
            without_numbers("vm_fault: fault on nofault entry, addr: 0xfffffe00123, 17 of tcp_hpts"),
            "vm_fault: fault on nofault entry, addr: N, N of tcp_hpts"
        );
        assert_eq!(without_numbers("page fault"), "page fault");
        assert_eq!(without_numbers("pid 27 (deadbeef)"), "pid N (N)");
        assert_eq!(without_numbers(""), "");
    }
}
