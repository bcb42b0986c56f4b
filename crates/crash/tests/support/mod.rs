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
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(|folder| {
        let path = folder.join("crates/crash/tests/support/kernel.c");
        path.is_file().then_some(path)
    })?;
    let mut command = Command::new("cc");
    command.args(FLAGS);
    let ran = command.args(flags).arg(source).arg("-o").arg(to).output().ok()?;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Some(())
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
