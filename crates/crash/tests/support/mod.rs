//! A kernel of C sources of ours, and its dump: nothing of it ever ran.

pub mod boot;
pub mod machine;

use std::path::{Path, PathBuf};

use symbols::{Image, ObjectFile, Placement};
use tempfile::TempDir;
use vmcore::forge::Forge;

pub use machine::Machine;

/// What the kernel printed, the last line unread.
pub const MESSAGES: [&str; 3] = ["---<<BOOT>>---\n", "<118>starting\n", "panic: page fault\n"];
const PAGE: u64 = 4096;
/// As kernels are compiled, with frame pointers throughout.
const FLAGS: [&str; 11] = [
    "-g",
    "-gdwarf-4",
    "-O1",
    "-w",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-fno-pic",
    "-ffreestanding",
    "-nostdlib",
];

/// A kernel's file and a dump of it.
pub struct Forged {
    folder: TempDir,
}

impl Forged {
    /// The kernel's file.
    pub fn kernel(&self) -> PathBuf {
        self.folder.path().join("kernel")
    }

    /// The dump.
    pub fn dump(&self) -> PathBuf {
        self.folder.path().join("vmcore.0")
    }
}

/// Compiles the kernel for amd64, with `flags`, and makes a minidump of it; `None` where no compiler makes programs for
/// amd64.
pub fn forge(flags: &[&str]) -> Option<Forged> {
    forge_with(flags, 0)
}

/// The same of a machine with so many more pages in its dump, which are all different.
pub fn forge_with(flags: &[&str], pages: u64) -> Option<Forged> {
    forge_for(&machine::AMD64, flags, pages)
}

/// The same for a machine of any kind; `None` where its compiler or linker is missing.
pub fn forge_for(machine: &Machine, flags: &[&str], pages: u64) -> Option<Forged> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let forged = Forged { folder };
    compile(machine, &forged.kernel(), flags)?;
    let dump = memory(machine, &forged.kernel(), pages).minidump();
    std::fs::write(forged.dump(), dump).expect("the dump is written");
    Some(forged)
}

/// The folder with the kernel's sources, wherever a test or benchmark belongs to.
fn sources() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(|folder| {
        let path = folder.join("crates/crash/tests/support");
        path.is_dir().then_some(path)
    })
}

/// Compiles the kernel and its module.
fn compile(machine: &Machine, to: &Path, flags: &[&str]) -> Option<()> {
    let sources = sources()?;
    let run = |more: &[String], file: &[&str], to: &Path| {
        let files = file.iter().map(|name| sources.join(name));
        let ran = machine.compiler()?.args(FLAGS).args(more).args(flags).args(files).arg("-o").arg(to).output().ok()?;
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Some(())
    };
    run(&machine.linked(), &["kernel.c", machine.loader()], to)?;
    let module: Vec<String> = machine.module().iter().map(|&flag| flag.to_owned()).collect();
    run(&module, &["module.c"], &to.with_file_name("forged.ko"))
}

/// Loads the module, as the kernel's linker does: its sections one behind another, and a table of them.
fn load(forge: &mut Forge, image: &Image, module: &Path, to: u64) {
    const ALLOCATED: u64 = 2;
    let file = ObjectFile::open(module).expect("the module opens");
    let address = |name: &str| image.symbol(name).expect("symbols").expect("the kernel has it").address;
    let (mut at, mut names, mut table) = (to, Vec::new(), Vec::new());
    for (number, section) in file.sections().into_iter().enumerate() {
        if section.flags & ALLOCATED == 0 || !matches!(section.kind, 1 | 8) {
            continue;
        }
        let name = address("module_names") + names.len() as u64;
        names.extend(section.name.bytes().chain([0]));
        let flags = section.flags | (number as u64) << 32;
        table.extend([at, section.size, flags, name].map(u64::to_le_bytes).concat());
        at = (at + section.size).next_multiple_of(64);
    }
    forge.write(address("module_names"), &names);
    forge.write(address("module_progtab"), &table);
    let count = (table.len() / 32) as u32;
    // `nprogtab` is the last of `struct elf_file`, before what fills it up to a multiple of 8 bytes.
    let elf = image.symbol("module_file").expect("symbols").expect("the kernel has it");
    forge.write(elf.address + elf.size - 8, &count.to_le_bytes());
}

/// The machine's memory with the kernel as its file has it, and a message buffer.
pub fn memory(machine: &Machine, kernel: &Path, pages: u64) -> Forge {
    const EXECUTABLE: u64 = 4;
    let file = ObjectFile::open(kernel).expect("the kernel opens");
    let sections = file.sections();
    let image = Image::new("kernel", file, None, Placement::AsLinked).expect("the kernel is an image");
    let ram = machine.kind.ram_base();
    let filled = ram + 0x400_0000;
    let mut forge = match pages {
        0 => Forge::new(machine.kind),
        _ => Forge::with_memory(
            machine.kind,
            vec![(ram + 0x1_0000, ram + 0x9_0000), (ram + 0x10_0000, filled + pages * PAGE + 0x100_0000)],
        ),
    };
    for page in 0..pages {
        let at = filled + page * PAGE;
        (0..PAGE).step_by(64).for_each(|word| forge.write_physical(at + word, &(at ^ word).to_le_bytes()));
        forge.keep(at);
    }
    let mut physical = ram + 0x80_0000;
    for section in sections.iter().filter(|section| section.address != 0 && section.size != 0) {
        for page in (section.address & !(PAGE - 1)..section.address + section.size).step_by(PAGE as usize) {
            if !forge.maps().any(|(address, _, _)| address == page) {
                match section.flags & EXECUTABLE {
                    0 => forge.map(page, physical, 12),
                    _ => forge.map_code(page, physical, 12),
                }
                physical += PAGE;
            }
        }
        // What is zero at first has no bytes in the file.
        if let Some(bytes) = image.read(section.address, section.size as usize) {
            forge.write(section.address, &bytes);
        }
    }
    let module = kernel.with_file_name("forged.ko");
    if machine.has_object_modules && module.is_file() {
        load(&mut forge, &image, &module, machine.modules);
    }
    let buffer = forge.message_buffer(ram + 0x40_0000, forge.kernel_base() + 0x200_0000, 0x3000 - 72);
    let msgbufp = image.symbol("msgbufp").expect("symbols").expect("it has a message buffer");
    forge.write(msgbufp.address, &machine.kind.number(buffer, machine.kind.architecture.pointer_size()));
    for (number, text) in MESSAGES.into_iter().enumerate() {
        if number == MESSAGES.len() - 1 {
            forge.read_messages();
        }
        forge.print(text);
    }
    forge
}
