//! Numbers in the byte order and widths of a machine.

use crate::arch::ByteOrder;

/// Bytes that are put together.
pub(super) struct Writer {
    pub(super) order: ByteOrder,
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(order: ByteOrder) -> Self {
        Self { order, bytes: Vec::new() }
    }

    /// Adds the lower `size` bytes of a number.
    pub(super) fn put(&mut self, value: u64, size: usize) {
        let little = value.to_le_bytes();
        let part = little.get(..size).unwrap_or(&little);
        match self.order {
            ByteOrder::Little => self.bytes.extend_from_slice(part),
            ByteOrder::Big => self.bytes.extend(part.iter().rev()),
        }
    }

    /// Adds zeros up to a length.
    pub(super) fn pad_to(&mut self, length: usize) {
        self.bytes.resize(self.bytes.len().max(length), 0);
    }

    /// Adds zeros up to a multiple of `to`.
    pub(super) fn align(&mut self, to: usize) {
        self.pad_to(self.bytes.len().next_multiple_of(to));
    }
}
