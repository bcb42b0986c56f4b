//! Expressions and type names, over a program if the machine can compile one: whatever they say, an answer or an error.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use symbols::{Format, ObjectFile, Program, Radix};
use tine_fuzz::program::{compiled, of_file};

static PROGRAM: LazyLock<Option<Program>> = LazyLock::new(|| {
    let bytes = compiled(&[&["-g", "-no-pie"]]).pop()?;
    of_file(ObjectFile::from_bytes("program", bytes).expect("an ELF file"))
});

fuzz_target!(init: {
    tine_fuzz::write_seeds(|| {
        vec![
            "*head", "head->next->text", "first.wide << 3 | 0x1fu", "(struct item *)&table[1]", "*table@3", "real * 2e3 / 7",
            "sizeof(struct item) % 3", "offsetof(struct item, text[2])", "__containerof(&last.kind, struct item, kind)",
            "outer", "pointer == &outer ? 'a' : -1", "{int} &table", "(unsigned char)300 + TWO", "'program.c'::table[2]",
            "int (*)(struct item *, char *[4])", "\"abc\\x41\"[1]", "!(1 && 0 || ~5 <= 3)", "$rip, 07", "first",
        ]
    });
}, |data: &[u8]| {
    let Some(program) = &*PROGRAM else { return };
    let text = String::from_utf8_lossy(data);
    let format = Format { elements: 20, depth: 4, ..Format::default() };
    if let Ok(value) = program.evaluate(&text, &()) {
        let _ = value.show(&format);
        let _ = value.show(&Format { radix: Radix::Hexadecimal, lines: true, ..format });
    }
    if let Ok(ty) = program.type_of_expression(&text, &()) {
        let _ = (ty.definition(), ty.size());
        // A type's name is a type name again.
        let _ = program.ty(&ty.name());
    }
});
