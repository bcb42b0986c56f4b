//! Registers of processors, numbered and named as GDB's target descriptions have them (GDB manual, appendix G,
//! "Standard Target Features").

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
    /// 32-bit x86.
    I386,
    /// 64-bit RISC-V.
    Riscv64,
}

/// A register of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// GDB's name of it.
    pub name: &'static str,
    /// Its size.
    pub bits: u16,
    /// GDB's name of its type.
    kind: &'static str,
    /// LLDB's name of what it is for, where it has one.
    generic: Option<&'static str>,
}

impl Architecture {
    /// Its registers, in the order in which GDB numbers them. There are no floating-point values in a kernel's frames:
    /// those registers are there because a description of the processor without them is refused.
    pub fn registers(self) -> &'static [Register] {
        match self {
            Self::Amd64 => &AMD64,
            Self::Arm64 => &ARM64,
            Self::I386 => &I386,
            Self::Riscv64 => &RISCV64,
        }
    }

    /// The number of the register of this name.
    pub fn number(self, name: &str) -> Option<usize> {
        self.registers().iter().position(|register| register.name == name)
    }

    /// The size of an address in bytes.
    pub fn address_size(self) -> usize {
        if self == Self::I386 { 4 } else { 8 }
    }

    /// The name that LLVM has for a FreeBSD program of this processor.
    pub fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-freebsd",
            Self::Arm64 => "aarch64-unknown-freebsd",
            Self::I386 => "i386-unknown-freebsd",
            Self::Riscv64 => "riscv64-unknown-freebsd",
        }
    }

    /// The target description, an XML document.
    pub fn description(self) -> String {
        let (name, feature) = match self {
            Self::Amd64 => ("i386:x86-64", "org.gnu.gdb.i386.core"),
            Self::Arm64 => ("aarch64", "org.gnu.gdb.aarch64.core"),
            Self::I386 => ("i386", "org.gnu.gdb.i386.core"),
            Self::Riscv64 => ("riscv:rv64", "org.gnu.gdb.riscv.cpu"),
        };
        let mut text = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
             <architecture>{name}</architecture>\n<feature name=\"{feature}\">\n"
        );
        for (number, Register { name, bits, kind, generic }) in self.registers().iter().enumerate() {
            let generic = generic.map(|generic| format!(" generic=\"{generic}\"")).unwrap_or_default();
            text +=
                &format!("<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\" regnum=\"{number}\"{generic}/>\n");
        }
        text + "</feature>\n</target>\n"
    }
}

const fn int(name: &'static str, bits: u16) -> Register {
    Register { name, bits, kind: if bits == 64 { "int64" } else { "int32" }, generic: None }
}

const fn is(generic: &'static str, kind: &'static str, register: Register) -> Register {
    Register { kind, generic: Some(generic), ..register }
}

const fn x87(name: &'static str) -> Register {
    Register { name, bits: 80, kind: "i387_ext", generic: None }
}

static AMD64: [Register; 40] = [
    int("rax", 64),
    int("rbx", 64),
    int("rcx", 64),
    int("rdx", 64),
    int("rsi", 64),
    int("rdi", 64),
    is("fp", "data_ptr", int("rbp", 64)),
    is("sp", "data_ptr", int("rsp", 64)),
    int("r8", 64),
    int("r9", 64),
    int("r10", 64),
    int("r11", 64),
    int("r12", 64),
    int("r13", 64),
    int("r14", 64),
    int("r15", 64),
    is("pc", "code_ptr", int("rip", 64)),
    is("flags", "int32", int("eflags", 32)),
    int("cs", 32),
    int("ss", 32),
    int("ds", 32),
    int("es", 32),
    int("fs", 32),
    int("gs", 32),
    x87("st0"),
    x87("st1"),
    x87("st2"),
    x87("st3"),
    x87("st4"),
    x87("st5"),
    x87("st6"),
    x87("st7"),
    int("fctrl", 32),
    int("fstat", 32),
    int("ftag", 32),
    int("fiseg", 32),
    int("fioff", 32),
    int("foseg", 32),
    int("fooff", 32),
    int("fop", 32),
];

static I386: [Register; 32] = [
    int("eax", 32),
    int("ecx", 32),
    int("edx", 32),
    int("ebx", 32),
    is("sp", "data_ptr", int("esp", 32)),
    is("fp", "data_ptr", int("ebp", 32)),
    int("esi", 32),
    int("edi", 32),
    is("pc", "code_ptr", int("eip", 32)),
    is("flags", "int32", int("eflags", 32)),
    int("cs", 32),
    int("ss", 32),
    int("ds", 32),
    int("es", 32),
    int("fs", 32),
    int("gs", 32),
    x87("st0"),
    x87("st1"),
    x87("st2"),
    x87("st3"),
    x87("st4"),
    x87("st5"),
    x87("st6"),
    x87("st7"),
    int("fctrl", 32),
    int("fstat", 32),
    int("ftag", 32),
    int("fiseg", 32),
    int("fioff", 32),
    int("foseg", 32),
    int("fooff", 32),
    int("fop", 32),
];

static ARM64: [Register; 34] = [
    int("x0", 64),
    int("x1", 64),
    int("x2", 64),
    int("x3", 64),
    int("x4", 64),
    int("x5", 64),
    int("x6", 64),
    int("x7", 64),
    int("x8", 64),
    int("x9", 64),
    int("x10", 64),
    int("x11", 64),
    int("x12", 64),
    int("x13", 64),
    int("x14", 64),
    int("x15", 64),
    int("x16", 64),
    int("x17", 64),
    int("x18", 64),
    int("x19", 64),
    int("x20", 64),
    int("x21", 64),
    int("x22", 64),
    int("x23", 64),
    int("x24", 64),
    int("x25", 64),
    int("x26", 64),
    int("x27", 64),
    int("x28", 64),
    is("fp", "int64", int("x29", 64)),
    is("ra", "int64", int("x30", 64)),
    is("sp", "data_ptr", int("sp", 64)),
    is("pc", "code_ptr", int("pc", 64)),
    is("flags", "int32", int("cpsr", 32)),
];

static RISCV64: [Register; 33] = [
    int("zero", 64),
    is("ra", "code_ptr", int("ra", 64)),
    is("sp", "data_ptr", int("sp", 64)),
    int("gp", 64),
    int("tp", 64),
    int("t0", 64),
    int("t1", 64),
    int("t2", 64),
    is("fp", "data_ptr", int("fp", 64)),
    int("s1", 64),
    int("a0", 64),
    int("a1", 64),
    int("a2", 64),
    int("a3", 64),
    int("a4", 64),
    int("a5", 64),
    int("a6", 64),
    int("a7", 64),
    int("s2", 64),
    int("s3", 64),
    int("s4", 64),
    int("s5", 64),
    int("s6", 64),
    int("s7", 64),
    int("s8", 64),
    int("s9", 64),
    int("s10", 64),
    int("s11", 64),
    int("t3", 64),
    int("t4", 64),
    int("t5", 64),
    int("t6", 64),
    is("pc", "code_ptr", int("pc", 64)),
];
