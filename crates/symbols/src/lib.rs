//! What a program's ELF files and their DWARF say: functions, lines, types, and values in a memory.
//!
//! An [`Image`] is an ELF file at its place: a kernel where it was linked, a module at the addresses of its sections.
//! A [`Program`] is some images and a [`Memory`], which is a dump, a live system or bytes of a test. It finds symbols and
//! lines, gives types and variables by name, evaluates expressions of C, and walks stacks. Nothing here knows of FreeBSD:
//! what a kernel keeps where is the crate `crash`'s, what a dump looks like `vmcore`'s.
//!
//! Everything is read when it is asked for. What cannot be answered is an [`Error`] that says what is not there; damaged
//! files are errors, too.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use symbols::{Image, NoMemory, ObjectFile, Placement, Program};
//!
//! # fn main() -> symbols::Result<()> {
//! let kernel = ObjectFile::open(Path::new("boot/kernel/kernel"))?;
//! let debug = kernel.find_debug(&["usr/lib/debug".into()]);
//! let kernel = Arc::new(Image::new("kernel", kernel, debug, Placement::AsLinked)?);
//! let program = Program::new(vec![kernel], Arc::new(NoMemory))?;
//!
//! println!("{}", program.ty("struct proc")?.definition()?);
//! println!("{:?}", program.line(program.symbol("panic")?.address));
//! // With the memory of a dump in the place of `NoMemory`:
//! println!("{}", program.evaluate("allproc.lh_first->p_comm", &())?);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod architecture;
mod dwarf;
mod elf;
mod error;
mod expr;
mod file;
mod frames;
mod image;
mod memory;
mod print;
mod program;
mod ranges;
mod symbol;
mod types;
mod unwind;
mod value;

pub use architecture::{Architecture, Registers};
pub use dwarf::node::Encoding;
pub use error::{Error, Result};
pub use expr::Names;
pub use image::{Image, ObjectFile, Placement, SectionInfo};
pub use memory::{Bytes, Memory, MemoryError, NoMemory};
pub use print::{Format, Radix};
pub use program::{Call, Program, SourceLine, Variable};
pub use symbol::{Symbol, SymbolKind};
pub use types::{Bits, Field, Type, TypeKind};
pub use unwind::{End, Frame, FrameKind, Interrupts, MAX_FRAMES, Unwinder};
pub use value::Value;
