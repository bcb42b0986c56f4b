//! Stacks of real programs that stopped: gdb writes the core, and says what is in it.

// Apple's compilers make no ELF files; registers are read as Linux lays them out in a core.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{CLANG, FileMemory, compile, image, peer, run};
use symbols::{
    Architecture, Call, End, Format, Frame, FrameKind, Image, Interrupts, Memory, MemoryError, Program, Registers,
};

/// The memory of an ELF core.
struct Core {
    segments: Vec<(u64, Vec<u8>)>,
    /// Read-only data, which a core leaves to the program's file.
    file: FileMemory,
    registers: Registers,
}

impl Core {
    /// Reads a core of x86-64 Linux: `PT_LOAD` segments, and the first `NT_PRSTATUS`.
    fn read(path: &Path, image: Arc<Image>) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let number = |at: usize, size: usize| {
            bytes[at..at + size].iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        let (table, count) = (number(32, 8) as usize, number(56, 2) as usize);
        let file = FileMemory(vec![image]);
        let mut core = Self { segments: Vec::new(), file, registers: Registers::new(Architecture::Amd64) };
        for header in (0..count).map(|index| table + index * 56) {
            let (kind, offset, address, size) = (
                number(header, 4),
                number(header + 8, 8) as usize,
                number(header + 16, 8),
                number(header + 32, 8) as usize,
            );
            match kind {
                1 => core.segments.push((address, bytes[offset..offset + size].to_vec())),
                4 => {
                    // Notes: sizes of name and contents, type, name, contents. The first status is the first thread's.
                    let mut note = offset;
                    while number(note + 8, 4) != 1 {
                        let padded = |size: u64| (size as usize).next_multiple_of(4);
                        note += 12 + padded(number(note, 4)) + padded(number(note + 4, 4));
                    }
                    // Registers in the order of `ptrace`.
                    let registers = note + 12 + 8 + 112;
                    let names = [
                        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
                        "rdi", "", "rip", "", "", "rsp",
                    ];
                    for (index, name) in names.into_iter().enumerate() {
                        core.registers.set_by_name(name, number(registers + index * 8, 8));
                    }
                }
                _ => {}
            }
        }
        core
    }
}

impl Memory for Core {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let found = self.segments.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(address.checked_sub(*start)?).ok()?;
            bytes.get(from..from.checked_add(buf.len())?)
        });
        match found {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => self.file.read(address, buf)?,
        }
        Ok(())
    }
}

/// The program stopped in `abort`, its core, and what gdb printed for the commands.
fn stopped(gdb: &Path, path: &Path, folder: &Path, commands: &[&str]) -> (Program, Registers, String) {
    let core: PathBuf = folder.join("core");
    let mut command = Command::new(gdb);
    command.args(["--batch", "-nx", "-ex", "set width 0", "-ex", "set disable-randomization on", "-ex", "break abort"]);
    command.args(["-ex", "run", "-ex", &format!("generate-core-file {}", core.display())]);
    for text in commands {
        command.args(["-ex", "echo @@\\n", "-ex", text]);
    }
    let answer = run(command.arg(path));
    let image = image(path);
    let core = Core::read(&core, image.clone());
    let registers = core.registers;
    let program = Program::new(vec![image], Arc::new(core)).unwrap();
    (program, registers, answer)
}

/// `abort` belongs to the C library, of which no image is given: what it was called from is where its caller left it.
struct InLibrary;

impl Interrupts for InLibrary {
    fn interrupted(&self, program: &Program, frame: &Frame) -> Option<Registers> {
        if frame.kind != FrameKind::First || program.image_at(frame.pc()).is_some() {
            return None;
        }
        // The breakpoint stands behind the prologue or before it: the return address is the first word on the stack that
        // lies in the program.
        let sp = frame.registers.sp()?;
        let slot = (sp..).step_by(8).take(256).find(|&slot| {
            let word = program.read_word(slot).unwrap_or(0);
            // The call never returns: what follows it may be another function. Compilers add to the name (`stop.isra.0`).
            program.symbol_at(word.wrapping_sub(1)).is_some_and(|(symbol, _)| symbol.name.starts_with("stop"))
        })?;
        let mut registers = frame.registers;
        registers.set_by_name("rip", program.read_word(slot).ok()? - 1);
        registers.set_by_name("rsp", slot + 8);
        Some(registers)
    }
}

fn frames(program: &Program, registers: &Registers) -> (Vec<Frame>, Vec<(usize, Call)>, End) {
    let mut unwinder = program.unwind(registers, &InLibrary);
    let frames: Vec<Frame> = unwinder.by_ref().skip_while(|frame| program.image_at(frame.pc()).is_none()).collect();
    let end = unwinder.end().unwrap().clone();
    let calls = frames
        .iter()
        .enumerate()
        .flat_map(|(index, frame)| program.calls(frame.code_address()).into_iter().map(move |call| (index, call)));
    let calls = calls.collect();
    (frames, calls, end)
}

#[test]
fn frames_are_those_that_gdb_sees() {
    let test = "frames_are_those_that_gdb_sees";
    let Some(gdb) = peer(test, &["gdb"]) else { return };
    for compilers in [&["cc"][..], &CLANG] {
        let Some(compiler) = peer(test, compilers) else { continue };
        for (what, arguments) in [
            ("eh_frame", &["-g", "-fasynchronous-unwind-tables"][..]),
            ("no frame pointer", &["-g", "-fomit-frame-pointer"]),
            ("debug_frame", &["-gdwarf-4", "-fno-asynchronous-unwind-tables", "-fomit-frame-pointer"]),
            ("optimized", &["-gdwarf-5", "-O2"]),
            ("not optimized", &["-gdwarf-2", "-O0"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = compile(&compiler, folder.path(), "stack.c", arguments).unwrap();
            let (program, registers, answer) = stopped(&gdb, &path, folder.path(), &["backtrace"]);
            let (_, calls, end) = frames(&program, &registers);
            let ours: Vec<String> = calls
                .iter()
                .map(|(_, call)| format!("{} {}", call.function, call.line.as_ref().map_or(0, |line| line.line)))
                .collect();
            // "#3  0x... in recurse (depth=0, request=...) at .../stack.c:48"
            let theirs: Vec<String> = answer
                .split("@@\n")
                .nth(1)
                .unwrap()
                .lines()
                .filter(|line| line.contains("stack.c:"))
                .map(|line| {
                    let name = line.split(" in ").nth(1).unwrap_or_else(|| line.split_once(' ').unwrap().1.trim());
                    format!("{} {}", name.split(' ').next().unwrap(), line.rsplit(':').next().unwrap())
                })
                .collect();
            assert!(theirs.len() >= 8, "gdb: {answer}");
            // What called `main` is the C library's start, which is linked into the program in part.
            assert_eq!(ours[..theirs.len()], theirs, "{what} of {}", compiler.display());
            assert!(!matches!(end, End::TooMany | End::NoProgress), "{end:?}");
        }
    }
}

#[test]
fn variables_are_those_that_gdb_sees() {
    let test = "variables_are_those_that_gdb_sees";
    let Some(gdb) = peer(test, &["gdb"]) else { return };
    let mut known = 0;
    for compilers in [&["cc"][..], &CLANG] {
        let Some(compiler) = peer(test, compilers) else { continue };
        for arguments in [
            &["-gdwarf-2", "-O0"][..],
            &["-gdwarf-4"],
            &["-gdwarf-5", "-O2"],
            &["-gdwarf-5", "-O0"],
            &["-gdwarf-4", "-O2"],
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = compile(&compiler, folder.path(), "stack.c", arguments).unwrap();
            let names = ["code", "request", "local", "more", "number", "array", "depth", "mine", "argc"];
            let mut commands = Vec::new();
            for level in 1..=12 {
                commands.push(format!("frame {level}"));
                commands.extend(names.map(|name| format!("output {name}")));
            }
            // An error ends a batch: each command gets its own echo, and a frame that is not there its own answer.
            let commands: Vec<String> = commands
                .iter()
                .map(|text| format!("python\ntry: gdb.execute({text:?})\nexcept gdb.error as e: print('none')\nend"))
                .collect();
            let script = folder.path().join("script");
            let text: String = commands.iter().map(|text| format!("echo @@\\n\n{text}\n")).collect();
            std::fs::write(&script, text).unwrap();
            let (program, registers, answer) =
                stopped(&gdb, &path, folder.path(), &[&format!("source {}", script.display())]);
            let answers: Vec<&str> = answer.split("@@\n").skip(2).map(str::trim).collect();
            let (frames, calls, _) = frames(&program, &registers);
            for (level, (index, call)) in calls
                .iter()
                .enumerate()
                .filter(|(_, (_, call))| call.line.as_ref().is_some_and(|line| line.file.ends_with("stack.c")))
            {
                let variables = program.variables(&frames, *index, call).unwrap();
                for (at, name) in names.iter().enumerate() {
                    let theirs = answers[level * (names.len() + 1) + 1 + at];
                    let ours = variables.iter().rev().find(|variable| variable.name == *name);
                    let ours = ours
                        .map(|variable| variable.value.as_ref().map(|value| value.show(&Format::default()).unwrap()));
                    match ours {
                        Some(Ok(text)) => {
                            assert_eq!(
                                text,
                                theirs,
                                "{name} of {} in frame {level}, {arguments:?} of {}",
                                call.function,
                                compiler.display()
                            );
                            known += 1;
                        }
                        // gdb takes the registers that a call may change for unchanged; we do not guess.
                        Some(Err(error)) if error.to_string().ends_with("is not known in this frame") => {}
                        Some(Err(error)) => assert_eq!(
                            theirs,
                            "<optimized out>",
                            "{name} of {} in frame {level}, {arguments:?} of {}: {error}",
                            call.function,
                            compiler.display()
                        ),
                        None => {}
                    }
                }
            }
        }
    }
    assert!(known > 50, "only {known} values");
}

#[test]
fn frame_pointers_are_followed_without_tables() {
    let test = "frame_pointers_are_followed_without_tables";
    let (Some(gdb), Some(cc), Some(objcopy)) = (peer(test, &["gdb"]), peer(test, &["cc"]), peer(test, &["objcopy"]))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"];
    let path = compile(&cc, folder.path(), "stack.c", &arguments).unwrap();
    run(Command::new(objcopy)
        .args(["--remove-section=.eh_frame", "--remove-section=.eh_frame_hdr", "--strip-debug"])
        .arg(&path));
    let (program, registers, _) = stopped(&gdb, &path, folder.path(), &[]);
    let (frames, calls, _) = frames(&program, &registers);
    let names: Vec<&str> = calls.iter().map(|(_, call)| call.function.split('.').next().unwrap()).collect();
    assert_eq!(names[..8], ["stop", "bottom", "recurse", "recurse", "recurse", "recurse", "recurse", "main"]);
    assert!(frames[1..8].iter().all(|frame| frame.kind == FrameKind::FramePointer));
}

/// A stack of frame pointers, made by hand.
struct Chain {
    words: Vec<u64>,
}

const STACK: u64 = 0x7000_0000;

impl Memory for Chain {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let missing = || MemoryError { address, reason: "not on the stack".to_owned() };
        let index =
            address.checked_sub(STACK).filter(|offset| offset % 8 == 0 && buf.len() == 8).ok_or_else(missing)? / 8;
        buf.copy_from_slice(&self.words.get(index as usize).ok_or_else(missing)?.to_le_bytes());
        Ok(())
    }
}

#[test]
fn stacks_that_go_round_end() {
    let test = "stacks_that_go_round_end";
    let (Some(cc), Some(objcopy)) = (peer(test, &["cc"]), peer(test, &["objcopy"])) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = compile(&cc, folder.path(), "stack.c", &["-g0"]).unwrap();
    run(Command::new(objcopy).args(["--remove-section=.eh_frame", "--remove-section=.eh_frame_hdr"]).arg(&path));
    let kernel: Arc<Image> = image(&path);
    let main = kernel.symbol("main").unwrap().unwrap().address + 1;
    let walk = |words: Vec<u64>| {
        let program = Program::new(vec![kernel.clone()], Arc::new(Chain { words })).unwrap();
        let mut registers = Registers::new(Architecture::Amd64);
        for (name, value) in [("rip", main), ("rsp", STACK), ("rbp", STACK)] {
            assert!(registers.set_by_name(name, value));
        }
        let mut unwinder = program.unwind(&registers, &());
        (unwinder.by_ref().count(), unwinder.end().unwrap().clone())
    };
    assert_eq!(walk(vec![STACK + 16, main, STACK, main]), (3, End::NoProgress));
    assert_eq!(walk(vec![STACK + 16, main, 0, main]), (3, End::Outermost));
    assert_eq!(walk(vec![STACK + 16, main, STACK + 32, 0]), (2, End::Outermost));
    assert_eq!(walk(vec![STACK + 16, 0xdead_beef]), (1, End::Outside(0xdead_beef)));
    // Code of which there is no file, and behind it code that is known.
    assert_eq!(walk(vec![STACK + 16, 0xdead_beef, STACK + 32, main, 0, main]), (4, End::Outermost));
    assert!(matches!(walk(vec![STACK + 16, main]), (2, End::Lost(_))));
    let endless: Vec<u64> = (1..4000).flat_map(|index| [STACK + index * 16, main]).collect();
    assert_eq!(walk(endless), (symbols::MAX_FRAMES, End::TooMany));
}
