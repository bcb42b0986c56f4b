//! Dumps in other forms: an ELF core that debuggers open, and memory as it lay.
//!
//! Output is written from front to back, once; what is zero may become a hole of a file.

mod core;
mod notes;
mod plan;
mod registers;
mod search;
mod writer;

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

pub use self::core::{CoreOptions, Summary, Thread, core};
pub use self::notes::Flavour;
pub use self::registers::Registers;
pub use self::search::find_registers;
use crate::memory::{Fault, Memory, is_zero};

/// Zeros shorter than this are written rather than skipped.
const HOLE: usize = 4096;

/// Where a converted dump goes.
pub trait Output {
    /// Writes bytes behind what there is.
    ///
    /// # Errors
    /// If they cannot be written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Adds zeros.
    ///
    /// # Errors
    /// If they cannot be added.
    fn skip(&mut self, zeros: u64) -> io::Result<()>;
}

/// A file in which zeros are holes.
pub struct SparseFile {
    file: File,
    length: u64,
}

impl SparseFile {
    /// Writes to a file that is empty.
    pub fn new(file: File) -> Self {
        Self { file, length: 0 }
    }

    /// Gives the file the length that it is to have, which may end in a hole.
    ///
    /// # Errors
    /// If it cannot be that long.
    pub fn finish(self) -> io::Result<File> {
        self.file.set_len(self.length)?;
        Ok(self.file)
    }
}

impl Output for SparseFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, zeros: u64) -> io::Result<()> {
        let length = self.length.checked_add(zeros).ok_or(io::ErrorKind::FileTooLarge)?;
        self.file.seek(SeekFrom::Start(length))?;
        self.length = length;
        Ok(())
    }
}

/// Anything that takes bytes, zeros being written out: a pipe, say.
pub struct Stream<W>(pub W);

impl<W: Write> Output for Stream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn skip(&mut self, zeros: u64) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), zeros), &mut self.0)?;
        Ok(())
    }
}

/// Why a dump cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dump cannot be read.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The result cannot be written.
    #[error("the result cannot be written: {0}")]
    Write(#[from] io::Error),
    /// More pieces of virtual memory than any kernel has.
    #[error("the kernel's virtual memory is in more than {most} pieces: its page tables are damaged")]
    Segments {
        /// How many there may be.
        most: usize,
    },
    /// Nothing that could be converted.
    #[error("the dump has no memory that the kernel had mapped")]
    Empty,
    /// Registers cannot be taken from a structure whose layout is not known.
    #[error(
        "the layout of a process control block of {architecture} is not the same in all versions: its registers are to be found through debug information"
    )]
    Layout {
        /// The architecture.
        architecture: crate::Architecture,
    },
}

/// Writes physical memory at its own addresses, as it lay, up to its end. What the dump does not have is zero; the
/// result says how many bytes were had.
///
/// # Errors
/// If the dump cannot be read or the result not be written.
pub fn raw(memory: &Memory, out: &mut dyn Output) -> Result<u64, Error> {
    let mut at = 0;
    let mut had = 0;
    memory.read_all(|address, bytes| {
        if address > at {
            out.skip(address - at)?;
        }
        write_sparsely(out, bytes)?;
        at = address + bytes.len() as u64;
        had += bytes.len() as u64;
        Ok::<(), Error>(())
    })?;
    Ok(had)
}

/// Writes what is not zero and skips what is, in pieces of whole pages.
fn write_sparsely(out: &mut dyn Output, bytes: &[u8]) -> io::Result<()> {
    let mut from = 0;
    let mut zeros = 0u64;
    for (at, piece) in bytes.chunks(HOLE).enumerate() {
        if !is_zero(piece) {
            if zeros > 0 {
                out.skip(zeros)?;
                zeros = 0;
                from = at * HOLE;
            }
            continue;
        }
        let data = bytes.get(from..at * HOLE).unwrap_or_default();
        if zeros == 0 && !data.is_empty() {
            out.write(data)?;
        }
        zeros += piece.len() as u64;
        from = at * HOLE + piece.len();
    }
    if zeros > 0 { out.skip(zeros) } else { out.write(bytes.get(from..).unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorded(Vec<(bool, u64)>);

    impl Output for Recorded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.push((true, bytes.len() as u64));
            Ok(())
        }

        fn skip(&mut self, zeros: u64) -> io::Result<()> {
            self.0.push((false, zeros));
            Ok(())
        }
    }

    #[test]
    fn zeros_are_skipped_wherever_they_are() {
        let pages = |kinds: &[u8]| -> Vec<u8> { kinds.iter().flat_map(|&kind| vec![kind; HOLE]).collect() };
        let recorded = |bytes: &[u8]| {
            let mut out = Recorded::default();
            write_sparsely(&mut out, bytes).unwrap();
            out.0
        };
        let page = HOLE as u64;
        assert_eq!(recorded(&pages(&[1, 1, 0, 0, 2])), [(true, 2 * page), (false, 2 * page), (true, page)]);
        assert_eq!(recorded(&pages(&[0, 1, 0])), [(false, page), (true, page), (false, page)]);
        assert_eq!(recorded(&pages(&[0, 0])), [(false, 2 * page)]);
        assert_eq!(recorded(&pages(&[7])), [(true, page)]);
        assert_eq!(recorded(&[pages(&[0, 3]), vec![4; 10]].concat()), [(false, page), (true, page + 10)]);
    }
}
