//! The kernel in the memory of a machine that runs: QEMU's, with a few instructions that take its processor there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use symbols::{Image, ObjectFile, Placement};
use vmcore::Architecture;
use vmcore::forge::Forge;

use super::{FLAGS, Machine, memory};

/// Memory that both machines have above what firmware and device trees take.
const BEGIN: u64 = 0x10_0000;
const END: u64 = 0x400_0000;
/// Where the instructions lie: on amd64 where processors begin, on arm64 in memory.
const FIRMWARE: u64 = 0xffff_0000;
const LOADED: u64 = 0x4020_0000;

/// Writes what a machine of QEMU needs to run the kernel beside it, and gives the options for it.
pub fn machine(machine: &Machine, kernel: &Path) -> Vec<String> {
    let mut forge = memory(machine, kernel, 0);
    let ram = machine.kind.ram_base();
    let root = forge.root();
    // Dumps tell how memory lies in the direct map; processors want entries for it, of 1 GB here.
    if let Some(direct) = forge.direct(ram) {
        forge.map_in(root, direct, ram, 30);
    }
    let user = forge.new_root();
    let is_arm64 = machine.kind.architecture == Architecture::Arm64;
    if is_arm64 {
        // Its tables for low addresses begin one level further down: 1 GB that may be executed.
        forge.write_entry(user, 1, 0x4000_0000 | 0x701);
    } else {
        // The last GB below 4 GB, through the kernel's root.
        forge.write_entry(user, 3, 0xc000_0000 | 0x83);
        forge.write_entry(root, 0, user | 0x63);
    }
    let (code, image) = (kernel.with_file_name("boot.bin"), kernel.with_file_name("memory.bin"));
    assemble(machine, kernel, root, user, &code);
    if is_arm64 {
        forge.write_physical(LOADED, &std::fs::read(&code).expect("it was written"));
    }
    write_memory(&forge, ram, &image);
    let (code, image) = (code.display(), image.display());
    let loader = format!("loader,file={image},addr={:#x},force-raw=on", ram + BEGIN);
    let options = match is_arm64 {
        false => vec!["-M".into(), "pc".into(), "-cpu".into(), "max".into(), "-bios".into(), code.to_string()],
        true => vec![
            "-M".into(),
            "virt".into(),
            "-cpu".into(),
            "cortex-a57".into(),
            "-device".into(),
            format!("loader,addr={LOADED:#x},cpu-num=0"),
        ],
    };
    let common = ["-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-device", &loader];
    common.iter().map(|option| (*option).to_owned()).chain(options).collect()
}

/// Makes the instructions of `boot.S` for this kernel.
fn assemble(machine: &Machine, kernel: &Path, root: u64, user: u64, to: &Path) {
    let file = ObjectFile::open(kernel).expect("the kernel opens");
    let image = Image::new("kernel", file, None, Placement::AsLinked).expect("the kernel is an image");
    let address = |name: &str| image.symbol(name).expect("symbols").expect("the kernel has it").address;
    let registers = image.read(address("idle_registers"), 24).expect("they are initialized");
    let word = |index: usize| u64::from_le_bytes(registers[index * 8..index * 8 + 8].try_into().expect("8 bytes"));
    let given = [
        ("ROOT", root),
        ("USER_ROOT", user),
        ("STACK", word(0)),
        ("FRAME", word(1)),
        ("RETURN_TO", word(2)),
        ("PCPU", address("cpu0")),
        ("ENTRY", address("cpu_idle")),
    ];
    let begin = if machine.kind.architecture == Architecture::Arm64 { LOADED } else { FIRMWARE };
    let mut command: Command = machine.compiler().expect("it has made the kernel");
    command.args(FLAGS).arg("-static").args(given.map(|(name, value)| format!("-D{name}={value:#x}")));
    command.arg(format!("-Wl,-Ttext={begin:#x},--oformat=binary,--build-id=none,-e,_start"));
    let source = super::sources().expect("the kernel was made of them").join("boot.S");
    let ran = command.arg(source).arg("-o").arg(to).output().expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Writes memory, with holes where it is zero.
fn write_memory(forge: &Forge, ram: u64, to: &Path) {
    let file = File::create(to).expect("it can be written");
    file.set_len(END - BEGIN).expect("it can be written");
    let mut page = [0; 4096];
    for at in (BEGIN..END).step_by(page.len()) {
        forge.read_physical(ram + at, &mut page);
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(&page, at - BEGIN).expect("it can be written");
        }
    }
}
