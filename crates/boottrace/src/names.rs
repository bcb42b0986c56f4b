//! Labels, each kept once.

use std::collections::HashMap;
use std::sync::Arc;

/// A label in a [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u32);

/// The labels of a log: a function, or a function and what it is about (`DEVICE_ATTACH pci`).
#[derive(Clone, Debug, Default)]
pub struct Names {
    texts: Vec<Arc<str>>,
    functions: Vec<Name>,
    index: HashMap<Arc<str>, Name>,
}

impl Names {
    /// The name of `text`, which is remembered.
    pub fn intern(&mut self, text: &str) -> Name {
        if let Some(&name) = self.index.get(text) {
            return name;
        }
        let function = text.split_once(' ').map(|(function, _)| self.intern(function));
        // A log has fewer lines than this has numbers: both are bounded by what fits into memory.
        let name = Name(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        let text: Arc<str> = Arc::from(text);
        self.texts.push(Arc::clone(&text));
        self.functions.push(function.unwrap_or(name));
        self.index.insert(text, name);
        name
    }

    /// The name of `text`, if it has one already.
    pub fn find(&self, text: &str) -> Option<Name> {
        self.index.get(text).copied()
    }

    /// The label.
    pub fn text(&self, name: Name) -> &str {
        self.texts.get(name.0 as usize).map_or("", |text| text)
    }

    /// The label up to its first space: the function without what it is about.
    pub fn function(&self, name: Name) -> Name {
        self.functions.get(name.0 as usize).copied().unwrap_or(name)
    }

    /// All of them, in the order of their numbers.
    pub fn all(&self) -> impl Iterator<Item = Name> + use<> {
        (0..u32::try_from(self.texts.len()).unwrap_or(u32::MAX)).map(Name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

impl Name {
    /// Its number, from 0 on in the order of appearance.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
