//! The memory of a program, as its user supplies it.

/// Memory by virtual address: a dump, a live program, or bytes of a test.
pub trait Memory: Send + Sync {
    /// Fills `buf` from `address` on, whole or not at all.
    ///
    /// # Errors
    ///
    /// The first address that has no memory behind it.
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError>;
}

/// An address that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read memory at {address:#x}: {reason}")]
pub struct MemoryError {
    /// The first address that failed.
    pub address: u64,
    /// Why, for a user: "not in the dump", "no mapping".
    pub reason: String,
}

/// No memory at all: symbols and types still answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMemory;

impl Memory for NoMemory {
    fn read(&self, address: u64, _buf: &mut [u8]) -> Result<(), MemoryError> {
        Err(MemoryError { address, reason: "there is no memory, only symbols".to_owned() })
    }
}

/// Bytes that begin at an address.
#[derive(Debug, Clone, Default)]
pub struct Bytes {
    /// Address of the first byte.
    pub address: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Memory for Bytes {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let outside = || MemoryError { address, reason: "outside of the bytes given".to_owned() };
        let start = address.checked_sub(self.address).ok_or_else(outside)?;
        let start = usize::try_from(start).map_err(|_| outside())?;
        let end = start.checked_add(buf.len()).ok_or_else(outside)?;
        buf.copy_from_slice(self.bytes.get(start..end).ok_or_else(outside)?);
        Ok(())
    }
}
