//! Small ZAPs, built in memory: the tables of the meta object set.

use std::collections::BTreeMap;

use super::{Entries, FatZap, Params, PlanError, Value, micro};

/// The entries of a ZAP, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZapContents(BTreeMap<Vec<u8>, Owned>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Numbers(Vec<u64>),
    Shorts(Vec<u16>),
    Bytes(Vec<u8>),
}

/// The blocks of an object that is a ZAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZapBlocks {
    /// The size of every block in bytes: the dnode's data block size.
    pub block_size: usize,
    /// The blocks in order.
    pub blocks: Vec<Vec<u8>>,
}

impl ZapContents {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a name to a 64-bit integer.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: u64) -> &mut Self {
        self.set_numbers(name, vec![value])
    }

    /// Sets the value of a name to 64-bit integers.
    pub fn set_numbers(&mut self, name: impl AsRef<[u8]>, values: Vec<u64>) -> &mut Self {
        self.0.insert(name.as_ref().to_vec(), Owned::Numbers(values));
        self
    }

    /// Sets the value of a name to 16-bit integers.
    pub fn set_shorts(&mut self, name: impl AsRef<[u8]>, values: Vec<u16>) -> &mut Self {
        self.0.insert(name.as_ref().to_vec(), Owned::Shorts(values));
        self
    }

    /// Sets the value of a name to a string, which is stored with a NUL.
    pub fn set_text(&mut self, name: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> &mut Self {
        let mut bytes = text.as_ref().to_vec();
        bytes.push(0);
        self.set_bytes(name, bytes)
    }

    /// Sets the value of a name to bytes.
    pub fn set_bytes(&mut self, name: impl AsRef<[u8]>, bytes: Vec<u8>) -> &mut Self {
        self.0.insert(name.as_ref().to_vec(), Owned::Bytes(bytes));
        self
    }

    /// The first integer of the value of a name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<u64> {
        match self.0.get(name.as_ref())? {
            Owned::Numbers(values) => values.first().copied(),
            Owned::Shorts(_) | Owned::Bytes(_) => None,
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks of the ZAP: micro where OpenZFS would keep it so, fat otherwise.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn blocks(&self, params: Params) -> Result<ZapBlocks, PlanError> {
        let entries = Sorted(self.0.iter().collect());
        if micro::fits(&entries) {
            let block = micro::write(&entries, &params)?;
            return Ok(ZapBlocks { block_size: block.len(), blocks: vec![block] });
        }
        let zap = FatZap::plan(&entries, params)?;
        Ok(ZapBlocks { block_size: zap.block_size(), blocks: zap.blocks(&entries).collect() })
    }
}

/// The entries by number.
struct Sorted<'a>(Vec<(&'a Vec<u8>, &'a Owned)>);

impl Entries for Sorted<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> &[u8] {
        self.0[index].0
    }

    fn value(&self, index: usize) -> Value<'_> {
        match self.0[index].1 {
            Owned::Numbers(values) => Value::Numbers(values),
            Owned::Shorts(values) => Value::Shorts(values),
            Owned::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}
