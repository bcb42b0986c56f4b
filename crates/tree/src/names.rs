//! Many short byte strings in one allocation.

use crate::Error;

/// Strings are stored one after another, each after its length as one byte.
#[derive(Default, Debug)]
pub(crate) struct Names {
    bytes: Vec<u8>,
}

/// Where a name stands in [`Names`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct NameRef(u32);

impl Names {
    /// Stores a name of at most 255 bytes, which the caller has checked; a longer one is cut.
    pub(crate) fn push(&mut self, name: &[u8]) -> Result<NameRef, Error> {
        let at = u32::try_from(self.bytes.len()).map_err(|_| Error::TooMany { what: "bytes of file names" })?;
        let name = &name[..name.len().min(255)];
        self.bytes.push(name.len() as u8);
        self.bytes.extend_from_slice(name);
        Ok(NameRef(at))
    }

    pub(crate) fn get(&self, name: NameRef) -> &[u8] {
        let at = name.0 as usize;
        let length = usize::from(self.bytes[at]);
        &self.bytes[at + 1..at + 1 + length]
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }
}
