//! Files that are damaged: an answer or an error, never a panic, and never without an end. And arithmetic, against Rust's.

// Apple's compilers make no ELF files.
#![cfg(not(target_vendor = "apple"))]

mod common;

use std::sync::Arc;
use std::sync::LazyLock;

use common::{compile, image, peer, program};
use proptest::prelude::*;
use symbols::{Format, Image, NoMemory, ObjectFile, Placement, Program, Registers};

/// A compiled program in some forms of debug information.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let Some(cc) = peer("damaged files", &["cc"]) else { return Vec::new() };
    let folder = tempfile::tempdir().unwrap();
    let forms: [&[&str]; 4] = [
        &["-gdwarf-2", "-c"],
        &["-gdwarf-4", "-fdebug-types-section"],
        &["-gdwarf-5", "-O2"],
        &["-g", "-gz=zlib", "-c"],
    ];
    forms.iter().map(|form| std::fs::read(compile(&cc, folder.path(), "kernel.c", form).unwrap()).unwrap()).collect()
});

/// Asks whatever can be asked of a file.
fn ask(bytes: Vec<u8>) {
    let Ok(file) = ObjectFile::from_bytes("file", bytes) else { return };
    let _ = (file.build_id(), file.debug_link());
    let sections = file.sections();
    let placement = match file.is_relocatable() {
        true => Placement::Sections(sections.iter().zip(1u64..).map(|(s, n)| (s.name.clone(), n << 16)).collect()),
        false => Placement::AsLinked,
    };
    let Ok(image) = Image::new("file", file, None, placement) else { return };
    let Ok(program) = Program::new(vec![Arc::new(image)], Arc::new(NoMemory)) else { return };
    for name in ["struct thread", "struct proc", "struct packed", "enum flags", "uint64"] {
        if let Ok(ty) = program.ty(name) {
            let _ = (ty.definition(), ty.size(), ty.name(), ty.offset_of("p_names[1].n_text"));
        }
    }
    for expression in ["proc0", "thread0.td_proc->p_comm", "table[3]", "&descriptor", "callback", "S_RUN"] {
        let _ = program.evaluate(expression, &()).and_then(|value| value.show(&Format::default()));
    }
    let Ok(symbol) = program.symbol("outer") else { return };
    let mut registers = Registers::new(program.architecture());
    for address in (symbol.address..).take(64) {
        for number in 0..33 {
            registers.set(number, address);
        }
        let frames: Vec<_> = program.unwind(&registers, &()).take(8).collect();
        for call in program.calls(address) {
            let _ = program.variables(&frames, 0, &call);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn flipped_bytes_are_answers_or_errors(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        if FILES.is_empty() {
            return Ok(());
        }
        let mut bytes = which.get(&FILES).clone();
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        ask(bytes);
    }

    #[test]
    fn files_that_end_before_are_answers_or_errors(which in any::<prop::sample::Index>(), end in any::<prop::sample::Index>()) {
        if FILES.is_empty() {
            return Ok(());
        }
        let bytes = which.get(&FILES);
        ask(bytes[..end.index(bytes.len())].to_vec());
    }
}

#[test]
fn arithmetic_is_that_of_c() {
    let Some(cc) = peer("arithmetic_is_that_of_c", &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g0"]).unwrap();
    let program = program(&image(&path));
    let value = |text: &str| {
        program.evaluate(text, &()).map(|value| value.integer().unwrap()).map_err(|error| error.to_string())
    };
    proptest!(|(a in any::<i32>(), b in any::<i32>(), c in any::<i64>(), d in any::<u64>(), n in 0u32..31)| {
        // `-2147483648` is a long: the sign is not part of the number.
        let (a, b) = (a.max(-i32::MAX), b.max(-i32::MAX));
        prop_assert_eq!(value(&format!("{a} + {b}")), Ok(a.wrapping_add(b).into()));
        prop_assert_eq!(value(&format!("{a} * {b} - {n}")), Ok(a.wrapping_mul(b).wrapping_sub(n as i32).into()));
        prop_assert_eq!(value(&format!("{a} >> {n} & {b} | {n} ^ {a}")), Ok((a >> n & b | n as i32 ^ a).into()));
        prop_assert_eq!(value(&format!("(long){c} < {b} ? ~{a} : -({b})")), Ok(if c < b.into() { !a } else { -b }.into()));
        prop_assert_eq!(value(&format!("{d}ul - {a}")), Ok(d.wrapping_sub(a as i64 as u64).into()));
        prop_assert_eq!(value(&format!("(unsigned char){b} == {}", b as u8)), Ok(1));
        prop_assert_eq!(value(&format!("{a} < {n}u")), Ok(i128::from((a as u32) < n)));
        if b != 0 {
            prop_assert_eq!(value(&format!("{a} / {b} * 1 + {a} % {b}")), Ok((a / b + a % b).into()));
        }
    });
}

proptest! {
    #[test]
    fn whatever_is_written_is_an_answer_or_an_error(text in "[-+*&()a-z0-9'\"\\[\\]{}.,<>=!?:@$ ]{0,40}") {
        if let Some(file) = FILES.first().and_then(|bytes| ObjectFile::from_bytes("file", bytes.clone()).ok()) {
            let places = file.sections().into_iter().zip(1u64..).map(|(section, n)| (section.name, n << 16)).collect();
            let image = Arc::new(Image::new("file", file, None, Placement::Sections(places)).unwrap());
            let program = Program::new(vec![image], Arc::new(NoMemory)).unwrap();
            let _ = program.evaluate(&text, &()).and_then(|value| value.show(&Format::default()));
            let _ = program.type_of_expression(&text, &());
        }
    }
}
