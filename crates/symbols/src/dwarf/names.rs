//! Which names are defined where.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::{Die, index_of};

/// What a name stands for. C has separate names for structures, unions and enumerations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Struct,
    Union,
    Enum,
    Typedef,
    Base,
    Variable,
    Function,
    /// The entry is the enumeration's.
    Enumerator,
}

/// Bytes of one name, and of all.
const MAX_NAME: usize = 4096;
const MAX_TEXT: usize = 512 << 20;

/// A definition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameEntry {
    pub(crate) kind: Kind,
    pub(crate) die: Die,
    /// Beginning and length in the text.
    name: (u32, u32),
    /// The next entry of the same slot, or `END`.
    next: u32,
}

/// The end of a chain.
const END: u32 = u32::MAX;

/// Names and their definitions: gathered first, then indexed, once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    text: Vec<u8>,
    entries: Vec<NameEntry>,
    /// The first entry of each slot, a power of two of them. Chains, since a name may have any number of definitions.
    slots: Vec<u32>,
    hasher: DefaultHashBuilder,
}

impl Names {
    fn text(&self, entry: &NameEntry) -> &[u8] {
        let (start, length) = (entry.name.0 as usize, entry.name.1 as usize);
        self.text.get(start..start.saturating_add(length)).unwrap_or_default()
    }

    /// Adds a definition; names beyond all measure are left out.
    pub(super) fn add(&mut self, kind: Kind, name: &[u8], die: Die) {
        if name.len() > MAX_NAME || self.text.len() > MAX_TEXT {
            return;
        }
        let place = (index_of(self.text.len()), index_of(name.len()));
        self.text.extend_from_slice(name);
        self.entries.push(NameEntry { kind, die, name: place, next: END });
    }

    /// Adds those of another pass.
    pub(super) fn append(&mut self, other: &Self) {
        for entry in &other.entries {
            self.add(entry.kind, other.text(entry), entry.die);
        }
    }

    /// The same, ready to be searched.
    pub(super) fn indexed(mut self) -> Self {
        self.slots = vec![END; self.entries.len().next_power_of_two()];
        for index in 0..self.entries.len() {
            let Some(slot) = self.entries.get(index).map(|entry| self.slot(self.text(entry))) else { continue };
            if let (Some(entry), Some(first)) = (self.entries.get_mut(index), self.slots.get_mut(slot)) {
                entry.next = std::mem::replace(first, index_of(index));
            }
        }
        self
    }

    fn slot(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize & self.slots.len().wrapping_sub(1)
    }

    /// The definitions of a name, those of a kind in the order of units.
    pub(crate) fn find(&self, name: &str) -> Vec<NameEntry> {
        let entry = |index: u32| self.entries.get(index as usize);
        let first = self.slots.get(self.slot(name.as_bytes())).and_then(|&first| entry(first));
        let chain = std::iter::successors(first, |known| entry(known.next));
        let mut found: Vec<_> = chain.filter(|entry| self.text(entry) == name.as_bytes()).copied().collect();
        found.sort_by_key(|entry| (entry.kind, entry.die));
        found
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (String, NameEntry)> + '_ {
        self.entries.iter().map(|entry| (String::from_utf8_lossy(self.text(entry)).into_owned(), *entry))
    }
}
