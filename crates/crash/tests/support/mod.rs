//! A kernel of C sources of ours, and its dump: nothing of it ever ran.

use std::path::{Path, PathBuf};
use std::process::Command;

use symbols::{Image, ObjectFile, Placement};
use tempfile::TempDir;
use vmcore::forge::{Forge, Kind};

/// What the kernel printed, the last line unread.
pub const MESSAGES: [&str; 3] = ["---<<BOOT>>---\n", "<118>starting\n", "panic: page fault\n"];
const PAGE: u64 = 4096;
/// As kernels are compiled, with frame pointers throughout; linked where FreeBSD's lie.
const FLAGS: [&str; 19] = [
    "-g",
    "-gdwarf-4",
    "-O1",
    "-w",
    "-fno-omit-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-fno-pic",
    "-fcf-protection=none",
    "-mcmodel=kernel",
    "-ffreestanding",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=sha1",
    "-Wl,-e,panic",
    "-Wl,-Ttext-segment=0xffffffff80200000",
    "-Wl,-z,max-page-size=4096",
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

/// Compiles the kernel, with `flags`, and makes a minidump of it; `None` where no compiler makes programs for amd64.
pub fn forge(flags: &[&str]) -> Option<Forged> {
    forge_with(flags, 0)
}

/// The same of a machine with so many more pages in its dump, which are all different.
pub fn forge_with(flags: &[&str], pages: u64) -> Option<Forged> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let forged = Forged { folder };
    compile(&forged.kernel(), flags)?;
    std::fs::write(forged.dump(), minidump(&forged.kernel(), pages)).expect("the dump is written");
    Some(forged)
}

fn compile(to: &Path, flags: &[&str]) -> Option<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return None;
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(|folder| {
        let path = folder.join("crates/crash/tests/support");
        path.is_dir().then_some(path)
    })?;
    let run = |command: &mut Command| {
        let ran = command.output().ok()?;
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Some(())
    };
    let files = ["kernel.c", "link_elf_obj.c"].map(|name| sources.join(name));
    run(Command::new("cc").args(FLAGS).args(flags).args(files).arg("-o").arg(to))?;
    let module = to.with_file_name("forged.ko");
    let compile = FLAGS.into_iter().filter(|flag| !flag.starts_with("-Wl"));
    run(Command::new("cc").args(compile).args(flags).arg("-c").arg(sources.join("module.c")).arg("-o").arg(module))
}

/// Loads the module, as the kernel's linker does: its sections one behind another, and a table of them.
fn load(forge: &mut Forge, image: &Image, module: &Path) {
    const ALLOCATED: u64 = 2;
    const TEXT: u64 = 0xffff_ffff_8200_0000;
    let file = ObjectFile::open(module).expect("the module opens");
    let address = |name: &str| image.symbol(name).expect("symbols").expect("the kernel has it").address;
    let (mut at, mut names, mut table) = (TEXT, Vec::new(), Vec::new());
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

/// A dump of the kernel's memory as its file has it, with a message buffer.
fn minidump(kernel: &Path, pages: u64) -> Vec<u8> {
    let file = ObjectFile::open(kernel).expect("the kernel opens");
    let sections = file.sections();
    let image = Image::new("kernel", file, None, Placement::AsLinked).expect("the kernel is an image");
    let filled = 0x400_0000;
    let mut forge = match pages {
        0 => Forge::new(Kind::AMD64),
        _ => {
            Forge::with_memory(Kind::AMD64, vec![(0x1_0000, 0x9_0000), (0x10_0000, filled + pages * PAGE + 0x100_0000)])
        }
    };
    for page in 0..pages {
        let at = filled + page * PAGE;
        (0..PAGE).step_by(64).for_each(|word| forge.write_physical(at + word, &(at ^ word).to_le_bytes()));
        forge.keep(at);
    }
    let mut physical = 0x80_0000;
    for section in sections.iter().filter(|section| section.address != 0 && section.size != 0) {
        for page in (section.address & !(PAGE - 1)..section.address + section.size).step_by(PAGE as usize) {
            if !forge.maps().any(|(address, _, _)| address == page) {
                forge.map(page, physical, 12);
                physical += PAGE;
            }
        }
        // What is zero at first has no bytes in the file.
        if let Some(bytes) = image.read(section.address, section.size as usize) {
            forge.write(section.address, &bytes);
        }
    }
    let module = kernel.with_file_name("forged.ko");
    if module.is_file() {
        load(&mut forge, &image, &module);
    }
    let buffer = forge.message_buffer(0x40_0000, 0, 0x3000 - 72);
    let msgbufp = image.symbol("msgbufp").expect("symbols").expect("it has a message buffer");
    forge.write(msgbufp.address, &buffer.to_le_bytes());
    for (number, text) in MESSAGES.into_iter().enumerate() {
        if number == MESSAGES.len() - 1 {
            forge.read_messages();
        }
        forge.print(text);
    }
    forge.minidump()
}
