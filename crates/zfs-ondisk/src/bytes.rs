//! Integers in byte slices, in either byte order.
//!
//! ZFS writes most structures in the byte order of the machine that wrote them
//! and marks it once per block (`blkptr_t`'s endian bit, the magic number of a
//! ZAP block, of an uberblock, ...). We decode into native values at the edge,
//! with [`ByteOrder`] chosen by the caller, and always write little-endian.

use std::fmt;

/// The order of the bytes of an on-disk integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first; what this library writes.
    Little,
    /// Most significant byte first; pools made on SPARC, PowerPC or s390x.
    Big,
}

/// A structure ends before one of its fields does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Offset of the field in the structure, in bytes.
    pub offset: usize,
    /// Length of the field in bytes.
    pub need: usize,
    /// Length of the structure in bytes.
    pub have: usize,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes at offset {} expected, but the structure is only {} bytes long",
            self.need, self.offset, self.have
        )
    }
}

impl std::error::Error for Truncated {}

/// A read-only view of a structure with checked access to its fields.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

impl<'a> View<'a> {
    /// A view of `bytes` whose integers are in `order`.
    pub fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    /// The byte order of the integers.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The bytes viewed.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The number of bytes viewed.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is viewed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// `need` bytes at `offset`.
    ///
    /// # Errors
    /// [`Truncated`] if they are not all there; so do all functions below.
    pub fn bytes(&self, offset: usize, need: usize) -> Result<&'a [u8], Truncated> {
        offset.checked_add(need).and_then(|end| self.bytes.get(offset..end)).ok_or(Truncated {
            offset,
            need,
            have: self.bytes.len(),
        })
    }

    /// A view of `need` bytes at `offset`, in the same byte order.
    pub fn view(&self, offset: usize, need: usize) -> Result<View<'a>, Truncated> {
        Ok(View { bytes: self.bytes(offset, need)?, order: self.order })
    }

    /// The byte at `offset`.
    pub fn u8(&self, offset: usize) -> Result<u8, Truncated> {
        Ok(self.bytes(offset, 1)?[0])
    }

    /// The 16-bit integer at `offset`.
    pub fn u16(&self, offset: usize) -> Result<u16, Truncated> {
        let b = self.array(offset)?;
        Ok(match self.order {
            ByteOrder::Little => u16::from_le_bytes(b),
            ByteOrder::Big => u16::from_be_bytes(b),
        })
    }

    /// The 32-bit integer at `offset`.
    pub fn u32(&self, offset: usize) -> Result<u32, Truncated> {
        let b = self.array(offset)?;
        Ok(match self.order {
            ByteOrder::Little => u32::from_le_bytes(b),
            ByteOrder::Big => u32::from_be_bytes(b),
        })
    }

    /// The 64-bit integer at `offset`.
    pub fn u64(&self, offset: usize) -> Result<u64, Truncated> {
        let b = self.array(offset)?;
        Ok(match self.order {
            ByteOrder::Little => u64::from_le_bytes(b),
            ByteOrder::Big => u64::from_be_bytes(b),
        })
    }

    fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], Truncated> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(offset, N)?);
        Ok(out)
    }
}

/// Writes little-endian integers at fixed offsets of a structure being made.
///
/// The structures of a writer have sizes known when it is compiled, so an
/// offset outside of them is a fault of the program and panics.
pub trait Put {
    /// Writes a byte.
    fn put_u8(&mut self, offset: usize, value: u8);
    /// Writes a 16-bit integer.
    fn put_u16(&mut self, offset: usize, value: u16);
    /// Writes a 32-bit integer.
    fn put_u32(&mut self, offset: usize, value: u32);
    /// Writes a 64-bit integer.
    fn put_u64(&mut self, offset: usize, value: u64);
    /// Copies bytes.
    fn put_bytes(&mut self, offset: usize, value: &[u8]);
}

impl Put for [u8] {
    fn put_u8(&mut self, offset: usize, value: u8) {
        self[offset] = value;
    }

    fn put_u16(&mut self, offset: usize, value: u16) {
        self.put_bytes(offset, &value.to_le_bytes());
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        self.put_bytes(offset, &value.to_le_bytes());
    }

    fn put_u64(&mut self, offset: usize, value: u64) {
        self.put_bytes(offset, &value.to_le_bytes());
    }

    fn put_bytes(&mut self, offset: usize, value: &[u8]) {
        self[offset..offset + value.len()].copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_byte_order_reads_the_same_value() {
        let little = [8, 7, 6, 5, 4, 3, 2, 1];
        let big = [1, 2, 3, 4, 5, 6, 7, 8];
        let expected = 0x0102_0304_0506_0708;
        assert_eq!(View::new(&little, ByteOrder::Little).u64(0), Ok(expected));
        assert_eq!(View::new(&big, ByteOrder::Big).u64(0), Ok(expected));
    }

    #[test]
    fn a_field_past_the_end_is_an_error_with_its_place() {
        let view = View::new(&[0; 10], ByteOrder::Little);
        assert_eq!(view.u64(4), Err(Truncated { offset: 4, need: 8, have: 10 }));
        assert!(view.bytes(usize::MAX, 2).is_err());
    }

    #[test]
    fn what_was_put_is_viewed() {
        let mut b = [0u8; 16];
        b.put_u16(0, 0x1234);
        b.put_u32(4, 0x8765_4321);
        b.put_u64(8, u64::MAX - 1);
        let view = View::new(&b, ByteOrder::Little);
        assert_eq!((view.u16(0), view.u32(4), view.u64(8)), (Ok(0x1234), Ok(0x8765_4321), Ok(u64::MAX - 1)));
    }
}
