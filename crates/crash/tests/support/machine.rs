//! The machines that the kernel is compiled for: where FreeBSD has its kernel and modules on each, and who compiles for it.

use std::process::{Command, Stdio};

use vmcore::forge::Kind;

/// A machine.
pub struct Machine {
    /// Its memory and its minidumps.
    pub kind: Kind,
    /// LLVM's name of it.
    target: &'static str,
    /// Where the kernel begins.
    kernel: u64,
    /// Where modules are loaded.
    pub modules: u64,
    /// What its kernels are compiled with.
    flags: &'static [&'static str],
    /// Whether modules are object files, as `kmod.mk` has it for amd64, or shared objects.
    pub has_object_modules: bool,
}

/// 64-bit x86.
pub const AMD64: Machine = Machine {
    kind: Kind::AMD64,
    target: "x86_64",
    kernel: 0xffff_ffff_8020_0000,
    modules: 0xffff_ffff_8200_0000,
    flags: &["-mcmodel=kernel", "-fcf-protection=none"],
    has_object_modules: true,
};
/// 64-bit Arm.
pub const ARM64: Machine = Machine {
    kind: Kind::ARM64,
    target: "aarch64",
    kernel: 0xffff_0000_0000_0000,
    modules: 0xffff_0000_4000_0000,
    flags: &["-mgeneral-regs-only"],
    has_object_modules: false,
};
/// 32-bit x86.
pub const I386: Machine = Machine {
    kind: Kind::I386,
    target: "i386",
    kernel: 0x0080_0000,
    modules: 0x0400_0000,
    flags: &["-fcf-protection=none"],
    has_object_modules: false,
};
/// 64-bit RISC-V.
pub const RISCV64: Machine = Machine {
    kind: Kind::RISCV64,
    target: "riscv64",
    kernel: 0xffff_ffc0_0000_0000,
    modules: 0xffff_ffc0_4000_0000,
    flags: &["-mcmodel=medany", "-mno-relax"],
    has_object_modules: false,
};

impl Machine {
    /// Why there is no kernel of it, where there is none.
    pub fn missing(&self) -> &'static str {
        "clang and lld, which compile the kernel of the tests, are not installed"
    }

    /// The compiler that makes the kernel, with what it needs to be told of the machine; `None` if it is missing.
    ///
    /// The compiler of the system makes kernels for its own machine, if that is amd64, so that those are not of one
    /// compiler alone.
    pub fn compiler(&self) -> Option<Command> {
        let mut command = match self.is_own() {
            true => Command::new("cc"),
            false => {
                let has = |program| {
                    let mut asked = Command::new(program);
                    asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
                    asked.status().is_ok_and(|status| status.success())
                };
                if !has("clang") || !has("ld.lld") {
                    return None;
                }
                let mut clang = Command::new("clang");
                clang.arg(format!("--target={}-unknown-freebsd14.0", self.target)).arg("-fuse-ld=lld");
                clang
            }
        };
        command.args(self.flags).arg(format!("-DMODULE={:#x}", self.modules));
        Some(command)
    }

    /// What the kernel is linked with.
    pub fn linked(&self) -> Vec<String> {
        let base = if self.is_own() { "-Ttext-segment" } else { "--image-base" };
        let base = format!("-Wl,{base}={:#x}", self.kernel);
        let mut flags = vec!["-static", "-Wl,--build-id=sha1", "-Wl,-e,panic", "-Wl,-z,max-page-size=4096"];
        flags.extend(self.is_own().then_some("-no-pie"));
        flags.into_iter().map(str::to_owned).chain([base]).collect()
    }

    /// What modules are compiled with.
    pub fn module(&self) -> &'static [&'static str] {
        if self.has_object_modules { &["-c"] } else { &["-shared", "-fPIC"] }
    }

    /// The source of the kernel that has the module.
    pub fn loader(&self) -> &'static str {
        if self.has_object_modules { "link_elf_obj.c" } else { "link_elf.c" }
    }

    fn is_own(&self) -> bool {
        self.target == "x86_64" && cfg!(all(target_arch = "x86_64", target_os = "linux"))
    }
}
