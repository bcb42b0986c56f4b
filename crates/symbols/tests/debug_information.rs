//! What is read of a program is the same, whoever compiled it and in whichever form its debug information is.

// Apple's compilers make no ELF files.
#![cfg(not(target_vendor = "apple"))]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{CLANG, compile, image, line_of, peer, program, run, skip};
use symbols::{Error, Format, Image, NoMemory, ObjectFile, Placement, Program, Radix};

/// Forms of debug information.
const FORMS: [(&str, &[&str]); 11] = [
    ("DWARF 2", &["-gdwarf-2"]),
    ("strict DWARF 2", &["-gdwarf-2", "-gstrict-dwarf"]),
    ("DWARF 3", &["-gdwarf-3"]),
    ("DWARF 4", &["-gdwarf-4"]),
    ("DWARF 5", &["-gdwarf-5"]),
    ("zlib", &["-gdwarf-5", "-gz=zlib"]),
    ("the older form of zlib", &["-gdwarf-4", "-gz=zlib-gnu"]),
    ("zstd", &["-gdwarf-5", "-gz=zstd"]),
    ("split DWARF 4", &["-gdwarf-4", "-gsplit-dwarf"]),
    ("split DWARF 5", &["-gdwarf-5", "-gsplit-dwarf"]),
    ("type units", &["-gdwarf-5", "-fdebug-types-section"]),
];

/// Expressions and their values, as gdb prints them (see `gdb_prints_the_same`).
const VALUES: [(&str, &str); 47] = [
    ("proc0.p_comm", r#""doomed", '\000' <repeats 13 times>"#),
    ("proc0.p_pid", "1234"),
    ("proc0.p_threads.tqh_first->td_proc->p_comm", r#""doomed", '\000' <repeats 13 times>"#),
    ("thread0.td_proc->p_names[2].n_text", r#""third\000\000\000\000\000\000\000\000\000\000""#),
    ("thread0.td_low", "5"),
    ("thread0.td_mid", "99"),
    ("thread0.td_signed", "-7"),
    ("thread0.td_flag", "true"),
    ("thread0.td_state", "S_RUN"),
    ("thread0.tdu_number == 0x1122334455667788", "1"),
    ("thread0.tdu_second", "287454020"),
    ("thread0.tdu_bytes", r#""\210wfUD3\"\021""#),
    ("proc0.p_matrix", "{{1, 2, 3}, {4, 5, 6}}"),
    ("proc0.p_matrix[1][2]", "6"),
    ("proc0.p_load", "1.5"),
    ("proc0.p_half", "0.100000001"),
    ("proc0.p_flags", "(F_A | F_B)"),
    ("odd", "(F_B | unknown: 0x10)"),
    ("negative", "MINUS"),
    ("current", "S_SLEEP"),
    ("yes", "true"),
    ("byte", r"200 '\310'"),
    ("small", r"-3 '\375'"),
    ("big", "4000000000"),
    ("wide", "1311768467463790320"),
    ("table", "{1, 2, 3, 0 <repeats 17 times>, 5, 0 <repeats 19 times>}"),
    ("*table@3", "{1, 2, 3}"),
    ("greeting", r#""hello\n\"world\"""#),
    ("padded", r#""panic: x", '\000' <repeats 15 times>"#),
    ("*message", "104 'h'"),
    ("descriptor", r"{k_first = 1 '\001', k_limit = 703710, k_base = 9460686712850}"),
    ("flexible->f_values[2]", "33"),
    ("*proc0.p_pointer", "-42"),
    ("sizeof(struct proc)", "136"),
    ("sizeof proc0.p_names", "48"),
    ("&table[3] - &table[1]", "2"),
    ("*(table + 2)", "3"),
    ("(long)&((struct proc *)0)->p_names[2]", "72"),
    ("offsetof(struct proc, p_names[2].n_text[3])", "75"),
    ("S_ZOMBIE + 1", "8"),
    ("(enum flags)7", "(F_A | F_B | F_C)"),
    ("minus * 2 + 7 % 4", "-81"),
    ("-1 < 1u", "0"),
    ("(unsigned char)300", "44 ','"),
    ("1 ? proc0.p_pid : nothing_of_this_name", "1234"),
    ("callback == nothing", "1"),
    ("__containerof(&thread0.td_tid, struct thread, td_tid) == &thread0", "1"),
];

fn check(program: &Program, what: &str) {
    for (expression, expected) in VALUES {
        let value = program.evaluate(expression, &()).and_then(|value| value.show(&Format::default()));
        assert_eq!(value.as_deref().map_err(ToString::to_string), Ok(expected), "{expression} in {what}");
    }
}

#[test]
fn values_are_read_whatever_the_form() {
    let test = "values_are_read_whatever_the_form";
    for compilers in [&["cc"][..], &CLANG] {
        let Some(compiler) = peer(test, compilers) else { continue };
        let mut read = 0;
        for (form, arguments) in FORMS {
            let folder = tempfile::tempdir().unwrap();
            let Some(path) = compile(&compiler, folder.path(), "kernel.c", arguments) else { continue };
            let image = image(&path);
            assert!(image.missing_split_files().unwrap().is_empty());
            check(&program(&image), &format!("{form} of {}", compiler.display()));
            read += 1;
        }
        assert!(read >= 5, "{} makes only {read} forms", compiler.display());
    }
}

#[test]
fn constants_within_a_structure_are_known_beside_its_field() {
    let test = "constants_within_a_structure_are_known_beside_its_field";
    let Some(cc) = peer(test, &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "nested.c", &["-g"]).unwrap();
    let program = program(&image(&path));
    let read = |text| program.evaluate(text, &()).and_then(|value| value.show(&Format::default()));
    assert_eq!(read("proc0.p_state == PRS_NORMAL").unwrap(), "1");
    assert_eq!(read("PRS_ZOMBIE == proc0.p_state").unwrap(), "0");
    assert_eq!(read("proc0.p_state | 8 ").unwrap(), "12");
    assert!(read("proc0.p_state == PRS_OTHER").unwrap_err().to_string().contains("PRS_OTHER"));
}

#[test]
fn a_package_of_split_units_takes_their_place() {
    let test = "a_package_of_split_units_takes_their_place";
    let (Some(cc), Some(dwp)) = (peer(test, &["cc"]), peer(test, &["dwp"])) else { return };
    let mut read = 0;
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let folder = tempfile::tempdir().unwrap();
        let path = compile(&cc, folder.path(), "kernel.c", &[version, "-gsplit-dwarf"]).unwrap();
        let package = folder.path().join("kernel.dwp");
        let made = std::process::Command::new(&dwp).arg("-e").arg(&path).arg("-o").arg(&package).output().unwrap();
        // That of binutils knows nothing of DWARF 5 before version 2.41.
        if !made.status.success() && version == "-gdwarf-5" {
            continue;
        }
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for file in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "dwo") {
                std::fs::remove_file(file).unwrap();
            }
        }
        check(&program(&image(&path)), &format!("a package, {version}"));
        read += 1;
    }
    assert!(read > 0);
}

#[test]
fn a_split_unit_that_is_missing_is_named() {
    let test = "a_split_unit_that_is_missing_is_named";
    let Some(cc) = peer(test, &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g", "-gsplit-dwarf"]).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "dwo") {
            std::fs::rename(&file, elsewhere.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    let image = image(&path);
    assert_eq!(image.missing_split_files().unwrap().len(), 1);
    assert!(image.missing_split_files().unwrap()[0].ends_with(".dwo"));

    let file = ObjectFile::open(&path).unwrap();
    let image = Image::new("kernel", file, None, Placement::AsLinked).unwrap();
    let image = Arc::new(image.with_split_folders([elsewhere.path().to_owned()]));
    check(&program(&image), "a folder of split units");
}

#[test]
fn structures_show_their_offsets_and_holes() {
    let Some(cc) = peer("structures_show_their_offsets_and_holes", &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g"]).unwrap();
    let program = program(&image(&path));
    let expected = "\
struct thread {
/*       0           8 */      struct proc *td_proc;
/*       8          16 */      struct {
/*       8           8 */          struct thread *tqe_next;
/*      16           8 */          struct thread **tqe_prev;
/* total:           16 */      } td_plist;
/*      24           4 */      int td_tid;
/*      28:0         4 */      unsigned int td_low : 3;
/*      28:3         4 */      unsigned int td_mid : 7;
/*      29:2         4 */      int td_signed : 5;
/*      29:7         1 */      _Bool td_flag : 1;
                               /* hole: 2 bytes */
/*      32           4 */      enum state td_state;
                               /* hole: 4 bytes */
/*      40           8 */      union {
/*      40           8 */          uint64 tdu_number;
/*      40           8 */          uint8 tdu_bytes[8];
/*      40           8 */          struct {
/*      40           4 */              uint32 tdu_first;
/*      44           4 */              uint32 tdu_second;
/* total:            8 */          };
/* total:            8 */      };
/*      48           8 */      void (*td_call)(struct thread *, const char *, ...);
/*      56           8 */      struct only_declared *td_hidden;
/* total:           64 */  }";
    assert_eq!(program.ty("struct thread").unwrap().definition().unwrap(), expected);

    let thread = program.ty("struct thread").unwrap();
    assert_eq!(thread.offset_of("tdu_second").unwrap(), 44);
    assert_eq!(program.ty("struct proc").unwrap().offset_of("p_names[1].n_text").unwrap(), 56);
    assert_eq!(program.ty("struct flexible").unwrap().field("f_values").unwrap().ty.count(), None);
}

#[test]
fn types_are_spelled_as_in_c() {
    let Some(cc) = peer("types_are_spelled_as_in_c", &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g"]).unwrap();
    let program = program(&image(&path));
    for (expression, name) in [
        ("proc0.p_names", "struct name [3]"),
        ("proc0.p_pointer", "const volatile int *"),
        ("proc0.p_matrix", "uint16 [2][3]"),
        ("callback", "void (*)(struct thread *, const char *, ...)"),
        ("outer", "int (struct proc *, int)"),
        ("&proc0.p_comm", "char (*)[20]"),
        ("thread0.td_plist", "struct {...}"),
        ("greeting", "const char [14]"),
        ("struct proc **", "struct proc **"),
        ("unsigned long int", "unsigned long"),
        ("int (*)[3]", "int (*)[3]"),
        ("char *(*)(int, struct proc *)", "char *(*)(int, struct proc *)"),
        ("uint8 *[4]", "uint8 *[4]"),
    ] {
        let ty = program.type_of_expression(expression, &());
        assert_eq!(ty.map(|ty| ty.name()).map_err(|error| error.to_string()).as_deref(), Ok(name), "{expression}");
    }
}

#[test]
fn inlined_functions_are_told_from_their_callers() {
    let test = "inlined_functions_are_told_from_their_callers";
    for compilers in [&["cc"][..], &CLANG] {
        let Some(compiler) = peer(test, compilers) else { continue };
        for version in ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"] {
            let folder = tempfile::tempdir().unwrap();
            let path = compile(&compiler, folder.path(), "kernel.c", &[version]).unwrap();
            let program = program(&image(&path));
            let outer = program.symbol("outer").unwrap();
            let deepest = (outer.address..outer.address + outer.size).map(|address| program.calls(address));
            let deepest = deepest.max_by_key(Vec::len).unwrap();
            let names: Vec<&str> = deepest.iter().map(|call| call.function.as_str()).collect();
            assert_eq!(names, ["inner", "middle", "outer"], "{version} of {}", compiler.display());
            assert_eq!(deepest.iter().map(|call| call.inlined).collect::<Vec<_>>(), [true, true, false]);
            for (call, mark) in deepest.iter().zip(["return (table", "line of middle", "line of outer"]).skip(1) {
                let line = call.line.as_ref().unwrap();
                assert!(line.file.ends_with("tests/c/kernel.c"), "{}", line.file);
                assert_eq!(line.line, line_of("kernel.c", mark), "{version} of {}", compiler.display());
            }
        }
    }
}

#[test]
fn objects_that_were_never_linked_are_placed_by_section() {
    let test = "objects_that_were_never_linked_are_placed_by_section";
    let Some(clang) = peer(test, &CLANG) else { return };
    for target in
        ["x86_64-unknown-freebsd", "aarch64-unknown-freebsd", "i386-unknown-freebsd", "riscv64-unknown-freebsd"]
    {
        for version in ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"] {
            let folder = tempfile::tempdir().unwrap();
            let arguments = ["-c", version, "-target", target, "-mno-relax"];
            let arguments = if target.starts_with("riscv") { &arguments[..] } else { &arguments[..4] };
            let Some(path) = compile(&clang, folder.path(), "kernel.c", arguments) else {
                skip(test, &format!("{} does not compile for {target}", clang.display()));
                break;
            };
            let file = ObjectFile::open(&path).unwrap();
            assert!(file.is_relocatable());
            let allocated = file.sections().into_iter().filter(|section| section.flags & 2 != 0 && section.size > 0);
            let places =
                allocated.enumerate().map(|(n, section)| (section.name, 0x1000_0000 + n as u64 * 0x1_0000)).collect();
            let image = Arc::new(Image::new("module.ko", file, None, Placement::Sections(places)).unwrap());
            let program = Program::new(vec![image.clone()], Arc::new(NoMemory)).unwrap();
            let what = format!("{version} for {target}");

            let symbol = program.symbol("thread0").unwrap();
            assert_eq!(program.variable("thread0").unwrap().address(), Some(symbol.address), "{what}");
            assert_eq!(program.describe(symbol.address + 8).unwrap(), "thread0+0x8");
            let word = u64::from(image.architecture().word());
            assert_eq!(program.ty("struct thread").unwrap().offset_of("td_tid").unwrap(), 3 * word, "{what}");
            let outer = program.symbol("outer").unwrap();
            let calls = program.calls(outer.address);
            assert_eq!(calls.last().unwrap().function, "outer", "{what}");
            let line = calls.last().unwrap().line.as_ref().unwrap().line;
            assert!(line.abs_diff(line_of("kernel.c", "line of outer")) < 10, "{line}, {what}");
        }
    }
}

#[test]
fn a_slide_moves_everything() {
    let Some(cc) = peer("a_slide_moves_everything", &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g", "-fPIE", "-pie"]).unwrap();
    let still = program(&image(&path));
    let moved = Image::new("kernel", ObjectFile::open(&path).unwrap(), None, Placement::Slide(0x7000_0000)).unwrap();
    let moved = program(&Arc::new(moved));
    for name in ["outer", "table"] {
        let (a, b) = (still.symbol(name).unwrap(), moved.symbol(name).unwrap());
        assert_eq!(b.address, a.address + 0x7000_0000);
        assert_eq!(moved.symbol_at(b.address).unwrap().0, b);
        assert_eq!(moved.line(b.address), still.line(a.address));
    }
    let address = moved.variable("table").unwrap().address();
    assert_eq!(address, Some(moved.symbol("table").unwrap().address));
    assert_eq!(moved.evaluate("table[20]", &()).unwrap().integer().unwrap(), 5);
    let outer = moved.evaluate("outer", &()).unwrap();
    assert_eq!(outer.address(), Some(moved.symbol("outer").unwrap().address));
}

#[test]
fn separate_debug_files_are_found_and_checked() {
    let test = "separate_debug_files_are_found_and_checked";
    let (Some(cc), Some(objcopy)) = (peer(test, &["cc"]), peer(test, &["objcopy", "llvm-objcopy"])) else { return };
    for id in ["-Wl,--build-id=none", "-Wl,--build-id=sha1"] {
        let folder = tempfile::tempdir().unwrap();
        let path = compile(&cc, folder.path(), "kernel.c", &["-g", id]).unwrap();
        let debug = folder.path().join("kernel.debug");
        let copy = |arguments: &[&str], from: &Path, to: &Path| {
            run(std::process::Command::new(&objcopy).args(arguments).arg(from).arg(to));
        };
        copy(&["--only-keep-debug"], &path, &debug);
        let stripped = folder.path().join("stripped");
        copy(&["--strip-debug", &format!("--add-gnu-debuglink={}", debug.display())], &path, &stripped);

        let file = ObjectFile::open(&stripped).unwrap();
        assert!(!file.has_debug_info());
        let image = Arc::new(Image::new("kernel", file.clone(), file.find_debug(&[]), Placement::AsLinked).unwrap());
        check(&program(&image), "a separate file");

        // In another folder, as FreeBSD has them under usr/lib/debug.
        let elsewhere = tempfile::tempdir().unwrap();
        let moved = elsewhere.path().join("kernel.debug");
        std::fs::rename(&debug, &moved).unwrap();
        assert!(file.find_debug(&[]).is_none());
        assert!(file.find_debug(&[elsewhere.path().to_owned()]).is_some());

        // Of another build: passed over, and refused when it is given.
        let other = compile(&cc, elsewhere.path(), "kernel.c", &["-g", id, "-DOTHER", "-O2"]).unwrap();
        copy(&["--only-keep-debug"], &other, &moved);
        assert!(file.find_debug(&[elsewhere.path().to_owned()]).is_none());
        let debug = ObjectFile::open(&moved).unwrap();
        let error = Image::new("kernel", file, Some(debug), Placement::AsLinked).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }
}

#[test]
fn without_debug_information_symbols_still_answer() {
    let Some(cc) = peer("without_debug_information_symbols_still_answer", &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g0"]).unwrap();
    let program = program(&image(&path));
    let show =
        |expression: &str| match program.evaluate(expression, &()).and_then(|value| value.show(&Format::default())) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        };
    assert_eq!(show("(int)minus"), "-42");
    assert_eq!(show("*(int *)&minus"), "-42");
    assert_eq!(show("1 + 1"), "2");
    assert_eq!(show("minus"), "a symbol without debug information has no type: cast it, as in (int)NAME, or use &NAME");
    assert_eq!(show("nosuch"), "no symbol nosuch in kernel");
    assert_eq!(program.ty("struct proc").unwrap_err().to_string(), "kernel: no debug information");
    assert_eq!(program.calls(program.symbol("outer").unwrap().address)[0].function, "outer");
}

#[test]
fn faults_say_what_is_not_there() {
    let Some(cc) = peer("faults_say_what_is_not_there", &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g"]).unwrap();
    let program = program(&image(&path));
    for (expression, expected) in [
        ("thread0.td_foo", "struct thread has no field td_foo in kernel"),
        ("thread0.td_hidden->x", "struct only_declared is declared but not defined in kernel"),
        ("proc0.p_pid->x", "int is not a structure or union: it has no field x"),
        ("nosuch", "no symbol nosuch in kernel"),
        ("sizeof(struct nosuch)", "no type struct nosuch in kernel"),
        ("nowhere[0]", "cannot read memory at 0x0: in no section"),
        ("1 +", "an operand is missing at column 4 of the expression"),
        ("(1", ") is missing at column 3 of the expression"),
        ("proc0.p_pid = 3", "values cannot be changed at column 13 of the expression"),
        ("outer(1)", "functions such as outer cannot be called"),
        ("1 / 0", "a division by zero"),
        ("&thread0.td_low", "a bit field has no address"),
        ("$foo", "$foo has no value here"),
        ("1 § 2", "'§' has no meaning at column 3 of the expression"),
        ("table @ 2", "only what is in memory can be followed by @"),
    ] {
        let shown = program.evaluate(expression, &()).and_then(|value| value.show(&Format::default()));
        match shown {
            Err(error) => assert_eq!(error.to_string(), expected, "{expression}"),
            // Arrays are in memory: many of them are shown.
            Ok(text) => assert!(expression.contains('@') && text.starts_with("{{1, 2, 3"), "{expression}: {text}"),
        }
    }
    let deep = "(".repeat(5000) + "1" + &")".repeat(5000);
    assert_eq!(
        program.evaluate(&deep, &()).unwrap_err().to_string(),
        "the depth of the expression goes beyond the limit of 100"
    );
}

#[test]
fn numbers_are_written_in_other_radices() {
    let Some(cc) = peer("numbers_are_written_in_other_radices", &["cc"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "kernel.c", &["-g"]).unwrap();
    let program = program(&image(&path));
    for (radix, expression, expected) in [
        (Radix::Hexadecimal, "minus", "0xffffffd6"),
        (Radix::Hexadecimal, "proc0.p_matrix", "{{0x1, 0x2, 0x3}, {0x4, 0x5, 0x6}}"),
        (Radix::Hexadecimal, "thread0.td_signed", "0x19"),
        (Radix::Unsigned, "small", "253"),
        (Radix::Octal, "proc0.p_pid", "02322"),
        (Radix::Binary, "5", "101"),
        (Radix::Character, "104", "104 'h'"),
        (Radix::Decimal, "current", "2"),
        (Radix::Decimal, "byte", "200"),
    ] {
        let format = Format { radix, ..Format::default() };
        let value = program.evaluate(expression, &()).unwrap();
        assert_eq!(value.show(&format).unwrap(), expected, "{expression}");
    }
    let lines = Format { lines: true, ..Format::default() };
    assert_eq!(
        program.evaluate("descriptor", &()).unwrap().show(&lines).unwrap(),
        "{\n  k_first = 1 '\\001',\n  k_limit = 703710,\n  k_base = 9460686712850\n}"
    );
    let shallow = Format { depth: 1, elements: 2, ..Format::default() };
    assert_eq!(program.evaluate("proc0.p_matrix", &()).unwrap().show(&shallow).unwrap(), "{{...}, {...}}");
    assert_eq!(program.evaluate("greeting", &()).unwrap().show(&shallow).unwrap(), "\"he\"...");
}

/// What gdb and ours are both asked for, beside [`VALUES`].
const MORE: [&str; 36] = [
    "thread0",
    "proc0",
    "&proc0",
    "proc0.p_names",
    "*&proc0.p_threads",
    "&message",
    "message",
    "*flexible",
    "callback",
    "*callback",
    "outer",
    "&outer",
    "some",
    "minus",
    "nowhere",
    "-7 / 2",
    "-7 % 3",
    "(char)65",
    "'a' + 1",
    "!5",
    "~0",
    "1 << 31",
    "1u << 31",
    "0xffffffff",
    "&table[3]",
    "table + 2",
    "&((struct proc *)0)->p_comm",
    "(enum flags)0",
    "1.0/3",
    "1e10",
    "10 / 4.0",
    "(short *)&table",
    "proc0.p_pointer",
    "(1, 2)",
    "5 & 6 | 8 ^ 1",
    "&thread0.td_plist",
];

#[test]
fn gdb_prints_the_same() {
    let test = "gdb_prints_the_same";
    let Some(gdb) = peer(test, &["gdb"]) else { return };
    for compilers in [&["cc"][..], &CLANG] {
        let Some(compiler) = peer(test, compilers) else { continue };
        for version in ["-gdwarf-2", "-gdwarf-5"] {
            let folder = tempfile::tempdir().unwrap();
            let path = compile(&compiler, folder.path(), "kernel.c", &[version]).unwrap();
            let program = program(&image(&path));
            // What gdb's C does not have is left out.
            let expressions: Vec<&str> = (VALUES.iter().map(|value| value.0).chain(MORE))
                .filter(|text| !["offsetof", "containerof", "nothing_of"].iter().any(|word| text.contains(word)))
                .collect();
            let mut command = std::process::Command::new(&gdb);
            command.args(["--batch", "-nx", "-ex", "set width 0", "-ex", "set charset ASCII"]);
            for expression in &expressions {
                command.args(["-ex", "echo @@\\n", "-ex", &format!("output {expression}")]);
            }
            let answers = run(command.arg(&path));
            let answers: Vec<&str> = answers.split("@@\n").skip(1).map(str::trim).collect();
            assert_eq!(answers.len(), expressions.len());
            for (expression, answer) in expressions.iter().zip(answers) {
                let ours = program.evaluate(expression, &()).and_then(|value| value.show(&Format::default()));
                assert_eq!(
                    ours.as_deref().map_err(ToString::to_string),
                    Ok(answer),
                    "{expression}, {version} of {}",
                    compiler.display()
                );
            }
        }
    }
}

#[test]
fn gdb_names_the_same_lines() {
    let test = "gdb_names_the_same_lines";
    let (Some(gdb), Some(cc)) = (peer(test, &["gdb"]), peer(test, &["cc"])) else { return };
    for version in ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"] {
        let folder = tempfile::tempdir().unwrap();
        let path = compile(&cc, folder.path(), "kernel.c", &[version]).unwrap();
        let program = program(&image(&path));
        let outer = program.symbol("outer").unwrap();
        let addresses: Vec<u64> = (outer.address..outer.address + outer.size).collect();
        let mut command = std::process::Command::new(&gdb);
        command.args(["--batch", "-nx", "-ex", "set width 0"]);
        for address in &addresses {
            command.args(["-ex", &format!("info line *{address:#x}")]);
        }
        let answers = run(command.arg(&path));
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines.len(), addresses.len());
        for (address, answer) in addresses.iter().zip(lines) {
            let line = program.line(*address).unwrap().line;
            assert!(answer.starts_with(&format!("Line {line} of ")), "{address:#x} is line {line}: {answer}");
        }
    }
}
