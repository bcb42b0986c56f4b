//! Cores as other people's debuggers see them: gdb, lldb and readelf.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use vmcore::Architecture;
use vmcore::convert::{self, CoreOptions, Flavour, Registers, SparseFile, Thread};
use vmcore::forge::{Forge, Golden, Kind, golden};
use vmcore::memory::Memory;

#[path = "../../../tests/common/peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod peer;

use peer::Peer;

/// The folder of the project, as the peers' module asks for it.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a command says, on both its outputs, within half a minute.
fn said(mut command: Command) -> String {
    let path = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut limited = Command::new("timeout");
    limited.arg("30").arg(path).args(arguments).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command = limited;
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A core in a folder of its own.
struct Core {
    folder: tempfile::TempDir,
    golden: Golden,
}

impl Core {
    fn new(kind: Kind, flavour: Flavour) -> Self {
        let golden = golden(kind);
        let mut registers = Registers::new();
        for name in ["rip", "eip", "pc"] {
            registers.set(name, golden.texts[0].0);
        }
        let threads = vec![Thread { id: 100, registers }];
        Self::of(golden, CoreOptions { flavour, threads })
    }

    fn of(golden: Golden, options: CoreOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(Arc::new(golden.forge.minidump())).unwrap();
        let mut out = SparseFile::new(std::fs::File::create(folder.path().join("core")).unwrap());
        convert::core(&memory, &options, &mut out).unwrap();
        out.finish().unwrap();
        Self { folder, golden }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("core")
    }

    fn gdb(&self, gdb: &Peer, commands: &[String]) -> String {
        let mut command = gdb.command();
        command.args(["-nx", "-batch", "-iex", "set osabi GNU/Linux", "-ex"]);
        command.arg(format!("core-file {}", self.path().display()));
        command.args(commands.iter().flat_map(|command| ["-ex", command]));
        said(command)
    }

    fn lldb(&self, lldb: &Peer, commands: &[String]) -> String {
        let mut command = lldb.command();
        command.args(["--no-lldbinit", "-b", "-o"]).arg(format!("target create --core {}", self.path().display()));
        command.args(commands.iter().flat_map(|command| ["-o", command]));
        said(command)
    }
}

#[test]
fn gdb_reads_memory_and_registers() {
    let Some(gdb) = Peer::find("gdb_reads_memory_and_registers", "gdb") else { return };
    for kind in [Kind::AMD64, Kind::I386] {
        let core = Core::new(kind, Flavour::Linux);
        let (address, text) = &core.golden.texts[0];
        let (absent, unmapped) = (core.golden.absent, core.golden.unmapped);
        let commands = [
            format!("x/s {address:#x}"),
            "p/x $pc".to_string(),
            format!("x/gx {absent:#x}"),
            format!("x/gx {unmapped:#x}"),
        ];
        let said = core.gdb(&gdb, &commands);
        assert!(said.contains(&format!("\"{text}\"")), "{said}");
        assert!(said.contains(&format!("$1 = {address:#x}")), "{said}");
        for address in [absent, unmapped] {
            assert!(said.contains(&format!("Cannot access memory at address {address:#x}")), "{said}");
        }
    }
}

#[test]
fn gdb_reads_the_direct_map_and_several_threads() {
    let Some(gdb) = Peer::find("gdb_reads_the_direct_map_and_several_threads", "gdb") else { return };
    let golden = golden(Kind::AMD64);
    let thread = |id: u32, rip: u64| {
        let mut registers = Registers::new();
        registers.set("rip", rip);
        Thread { id, registers }
    };
    let threads = vec![thread(100, 0xffff_ffff_8020_1000), thread(101, 0xffff_ffff_8020_2000)];
    let core = Core::of(golden, CoreOptions { flavour: Flavour::Linux, threads });
    let (physical, text) = &core.golden.direct_only;
    let address = core.golden.forge.direct(*physical).unwrap();
    let commands = [format!("x/s {address:#x}"), "p/x $rip".into(), "thread 2".into(), "p/x $rip".into()];
    let said = core.gdb(&gdb, &commands);
    assert!(said.contains(text), "{said}");
    assert!(said.contains("$1 = 0xffffffff80201000") && said.contains("$2 = 0xffffffff80202000"), "{said}");
}

#[test]
fn lldb_reads_memory_and_registers_of_either_flavour() {
    let Some(lldb) = Peer::find("lldb_reads_memory_and_registers_of_either_flavour", "lldb") else { return };
    for kind in [Kind::AMD64, Kind::ARM64, Kind::I386] {
        for flavour in [Flavour::Linux, Flavour::FreeBsd] {
            let core = Core::new(kind, flavour);
            let (address, text) = &core.golden.texts[0];
            let absent = core.golden.absent;
            let commands = [
                format!("memory read -f s -c 1 {address:#x}"),
                "register read pc".to_string(),
                format!("memory read -c 8 {absent:#x}"),
            ];
            let said = core.lldb(&lldb, &commands);
            assert!(said.contains(text), "{kind:?} {flavour:?}: {said}");
            let place = format!("{address:0width$x}", width = kind.architecture.pointer_size() * 2);
            let register = if kind.architecture == Architecture::Arm64 { "pc" } else { "ip" };
            assert!(said.contains(&format!("{register} = 0x{place}")), "{kind:?} {flavour:?}: {said}");
            assert!(said.contains("error: "), "{kind:?} {flavour:?}: {said}");
        }
    }
}

#[test]
fn readelf_finds_nothing_wrong_with_any_core() {
    let Some(readelf) = Peer::find("readelf_finds_nothing_wrong_with_any_core", "readelf") else { return };
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.hashed) {
        for flavour in [Flavour::Linux, Flavour::FreeBsd] {
            let core = Core::new(kind, flavour);
            let mut command = readelf.command();
            command.args(["-W", "-h", "-l", "-n"]).arg(core.path());
            let said = said(command);
            assert!(said.contains("CORE (Core file)"), "{kind:?}: {said}");
            assert!(said.contains("NT_PRSTATUS"), "{kind:?}: {said}");
            assert!(!said.contains("Warning") && !said.contains("Error"), "{kind:?}: {said}");
        }
    }
}

#[test]
fn readelf_and_gdb_count_more_segments_than_sixteen_bits_do() {
    const TEST: &str = "readelf_and_gdb_count_more_segments_than_sixteen_bits_do";
    let (Some(readelf), Some(gdb)) = (Peer::find(TEST, "readelf"), Peer::find(TEST, "gdb")) else { return };
    let mut forge = Forge::new(Kind::AMD64);
    let base = forge.kernel_base();
    for page in 0..66_000 {
        forge.map(base + page * 4096, 0x20_0000 + page % 2 * 0x2000, 12);
    }
    forge.write(base + 4096 + 8, b"odd");
    let golden = Golden { forge, ..golden(Kind::AMD64) };
    let core = Core::of(golden, CoreOptions::default());
    let mut command = readelf.command();
    command.args(["-W", "-l"]).arg(core.path());
    let said = said(command);
    assert!(said.contains("There are 66004 program headers"), "{}", &said[..200]);
    let said = core.gdb(&gdb, &[format!("x/s {:#x}", base + 65_999 * 4096 + 8)]);
    assert!(said.contains("\"odd\""), "{said}");
}
