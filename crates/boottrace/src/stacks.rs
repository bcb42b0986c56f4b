//! Call paths, each kept once.

use std::collections::HashMap;

use crate::names::{Name, Names};

/// A call path in a [`Stacks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stack(u32);

impl Stack {
    /// The path without frames.
    pub const EMPTY: Stack = Stack(0);

    /// Its number, from 0 on in the order of appearance. The parent's is always lower.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Call paths, as a tree.
#[derive(Clone, Debug)]
pub struct Stacks {
    nodes: Vec<Node>,
    index: HashMap<(Stack, Name), Stack>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: Stack,
    name: Option<Name>,
    depth: u32,
}

impl Default for Stacks {
    fn default() -> Self {
        let empty = Node { parent: Stack::EMPTY, name: None, depth: 0 };
        Self { nodes: vec![empty], index: HashMap::new() }
    }
}

impl Stacks {
    /// `parent` with one more frame.
    pub fn child(&mut self, parent: Stack, name: Name) -> Stack {
        let next = Stack(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let depth = self.depth(parent) + 1;
        *self.index.entry((parent, name)).or_insert_with(|| {
            self.nodes.push(Node { parent, name: Some(name), depth });
            next
        })
    }

    /// `upper` with all frames of `lower` below it.
    pub fn join(&mut self, upper: Stack, lower: Stack) -> Stack {
        self.frames(lower).into_iter().fold(upper, |stack, name| self.child(stack, name))
    }

    /// The path without its last frame; the empty one has none.
    pub fn parent(&self, stack: Stack) -> Stack {
        self.node(stack).parent
    }

    /// The last frame.
    pub fn name(&self, stack: Stack) -> Option<Name> {
        self.node(stack).name
    }

    /// How many frames it has.
    pub fn depth(&self, stack: Stack) -> u32 {
        self.node(stack).depth
    }

    /// All frames, the outermost first.
    pub fn frames(&self, stack: Stack) -> Vec<Name> {
        let mut frames = Vec::with_capacity(self.depth(stack) as usize);
        let mut at = stack;
        while let Some(name) = self.name(at) {
            frames.push(name);
            at = self.parent(at);
        }
        frames.reverse();
        frames
    }

    /// The path cut to `depth` frames.
    pub fn cut(&self, stack: Stack, depth: u32) -> Stack {
        let mut at = stack;
        while self.depth(at) > depth {
            at = self.parent(at);
        }
        at
    }

    /// `frame;frame;frame`. A semicolon within a frame becomes a colon.
    pub fn text(&self, stack: Stack, names: &Names) -> String {
        let mut text = String::new();
        for name in self.frames(stack) {
            if !text.is_empty() {
                text.push(';');
            }
            text.extend(names.text(name).chars().map(|c| if c == ';' { ':' } else { c }));
        }
        text
    }

    /// How many paths there are, the empty one included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none but the empty one.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// All paths but the empty one, parents before their children.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = Stack> + use<> {
        (1..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).map(Stack)
    }

    fn node(&self, stack: Stack) -> Node {
        self.nodes.get(stack.index()).copied().unwrap_or(Node { parent: Stack::EMPTY, name: None, depth: 0 })
    }
}
