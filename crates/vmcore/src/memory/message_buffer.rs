//! The kernel's message buffer: what it printed last.
//!
//! A ring of bytes behind which, in memory, its own structure stands: `struct msgbuf` of `sys/msgbuf.h`. Both its
//! sequence numbers count bytes, up to a multiple of the ring's size.

use super::{Fault, Memory, VirtualMemory};
use crate::arch::Fields;

/// `MSG_MAGIC`.
const MAGIC: u32 = 0x06_3062;
/// The largest message buffer that is read.
const MOST: u64 = 256 << 20;

/// The text of a message buffer, the oldest first. Priorities such as `<118>` are left in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBuffer {
    /// All of it.
    pub text: Vec<u8>,
    /// How many bytes at its end nobody had read: what syslogd did not get.
    pub unread: usize,
    /// Whether it is known where the text begins. If not, it is as it lies in memory: the newest may stand first.
    pub ordered: bool,
    /// The size of the ring, in bytes.
    pub size: u64,
}

impl MessageBuffer {
    /// What nobody had read.
    pub fn unread_text(&self) -> &[u8] {
        self.text.get(self.text.len().saturating_sub(self.unread)..).unwrap_or_default()
    }
}

/// What `struct msgbuf` says.
struct Ring {
    pointer: u64,
    size: u64,
    written: u64,
    read: u64,
    modulus: u64,
}

impl Ring {
    /// The bytes that are needed of the structure.
    fn length(pointer_size: usize) -> usize {
        pointer_size + 24
    }

    fn parse(fields: Fields<'_>, pointer_size: usize) -> Result<Self, String> {
        let at = |index: usize| u64::from(fields.u32(pointer_size + index * 4));
        if at(0) != u64::from(MAGIC) {
            return Err(format!("its magic is {:#x}, expected {MAGIC:#x}", at(0)));
        }
        let ring =
            Self { pointer: fields.word(0, pointer_size), size: at(1), written: at(2), read: at(3), modulus: at(5) };
        if ring.size == 0 || ring.size > MOST {
            return Err(format!("its size is {}, expected 1 to {MOST}", ring.size));
        }
        Ok(ring)
    }

    fn order(&self, mut bytes: Vec<u8>) -> MessageBuffer {
        let middle = ((self.written % self.size) as usize).min(bytes.len());
        bytes.rotate_left(middle);
        let waiting = if self.written >= self.read {
            self.written - self.read
        } else {
            (self.written + self.modulus).saturating_sub(self.read)
        };
        let unread = bytes.get(bytes.len().saturating_sub(waiting as usize)..).unwrap_or_default();
        let unread = unread.iter().filter(|&&byte| byte != 0).count();
        // What was never written is zero.
        bytes.retain(|&byte| byte != 0);
        MessageBuffer { text: bytes, unread, ordered: true, size: self.size }
    }
}

impl Memory {
    /// The message buffer of a minidump, which has a copy of its own in front of the pages; `None` in other dumps.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn message_buffer(&self) -> Result<Option<MessageBuffer>, Fault> {
        let Some((offset, size)) = self.message_buffer else { return Ok(None) };
        if size > MOST {
            let found = format!("its size is {size}, expected 1 to {MOST}");
            return Err(Fault::NoMessageBuffer { address: 0, found });
        }
        let mut bytes = vec![0; size as usize];
        self.physical.read_file(offset, &mut bytes)?;
        // The structure follows, as the copy is of whole pages and it stands behind the ring.
        let pointer = self.architecture.pointer_size();
        let mut structure = vec![0; Ring::length(pointer)];
        let page_end = size.next_multiple_of(self.page_size());
        if size + structure.len() as u64 <= page_end && self.physical.read_file(offset + size, &mut structure).is_ok() {
            match Ring::parse(Fields::new(&structure, self.order), pointer) {
                Ok(ring) if ring.size == size => return Ok(Some(ring.order(bytes))),
                _ => {}
            }
        }
        bytes.retain(|&byte| byte != 0);
        Ok(Some(MessageBuffer { text: bytes, unread: 0, ordered: false, size }))
    }

    /// The message buffer whose structure is at a virtual address: where the kernel's `msgbufp` points to.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn message_buffer_at(&self, address: u64) -> Result<MessageBuffer, Fault> {
        let pointer = self.architecture.pointer_size();
        let mut structure = vec![0; Ring::length(pointer)];
        self.read_exact(address, &mut structure)?;
        let ring = Ring::parse(Fields::new(&structure, self.order), pointer)
            .map_err(|found| Fault::NoMessageBuffer { address, found })?;
        let mut bytes = vec![0; ring.size as usize];
        self.read_exact(ring.pointer, &mut bytes)?;
        Ok(ring.order(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(written: u64, read: u64) -> Ring {
        Ring { pointer: 0, size: 8, written, read, modulus: 128 }
    }

    #[test]
    fn a_ring_that_never_wrapped_has_its_text_in_place() {
        let buffer = ring(5, 2).order(b"hello\0\0\0".to_vec());
        assert_eq!((&buffer.text[..], buffer.unread_text()), (&b"hello"[..], &b"llo"[..]));
    }

    #[test]
    fn the_oldest_text_of_a_ring_that_wrapped_stands_behind_the_newest() {
        let buffer = ring(11, 10).order(b"890defgh".to_vec());
        assert_eq!((&buffer.text[..], buffer.unread_text()), (&b"defgh890"[..], &b"0"[..]));
    }

    #[test]
    fn more_than_the_ring_holds_is_unread_at_most_as_far_as_it_goes() {
        let buffer = ring(100, 3).order(b"efghabcd".to_vec());
        assert_eq!(buffer.unread_text(), b"abcdefgh");
        // The sequence numbers wrap, too.
        let buffer = ring(1, 126).order(b"cdefghab".to_vec());
        assert_eq!(buffer.unread_text(), b"abc");
    }
}
