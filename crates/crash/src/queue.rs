//! The lists of `sys/queue.h` and the trees of `sys/tree.h`, which are known by the names of their fields.

use std::collections::HashSet;

use symbols::{Program, Value};

use crate::error::{Error, Result};

/// The most elements of a list or tree that are followed.
pub const MAX_ELEMENTS: usize = 1 << 20;

/// Names of the first element in the head of a list, and of the next one in an element's entry; the last three are those
/// of Concurrency Kit (`sys/ck.h`).
const LISTS: [(&str, &str); 7] = [
    ("slh_first", "sle_next"),
    ("stqh_first", "stqe_next"),
    ("lh_first", "le_next"),
    ("tqh_first", "tqe_next"),
    ("cslh_first", "csle_next"),
    ("cstqh_first", "cstqe_next"),
    ("clh_first", "cle_next"),
];

/// The elements of a list or tree, and what stopped the walk before its end.
#[derive(Debug)]
pub struct Elements {
    /// The elements: structures in memory.
    pub elements: Vec<Value>,
    /// Why there are no more, if that is not the end.
    pub broken: Option<String>,
}

/// The elements of the list or tree with this head, which is the structure or a pointer to it; `field` names the entry
/// in an element.
///
/// # Errors
/// If the head is none of a list or tree, or the elements have no such field.
pub fn elements(head: &Value, field: &str) -> Result<Elements> {
    let ty = head.resolved_type()?;
    let head = if ty.kind() == symbols::TypeKind::Pointer { head.deref()? } else { head.clone() };
    let ty = head.resolved_type()?;
    if let Some((first, next)) = LISTS.into_iter().find(|(first, _)| ty.has_field(first)) {
        return chain(head.field(first)?, &format!("{field}.{next}"));
    }
    if ty.has_field("rbh_root") {
        return tree(&head.field("rbh_root")?, field);
    }
    Err(Error::absent(format!(
        "{} is no head of a list or tree: it has none of slh_first, stqh_first, lh_first, tqh_first, cslh_first, cstqh_first, clh_first, rbh_root",
        head.ty().name()
    )))
}

/// The elements from `first` on, a pointer, each of which has a pointer to the next one: `next` is the path to it.
///
/// # Errors
/// If the elements have no such field.
pub fn chain(first: Value, next: &str) -> Result<Elements> {
    let program: Program = first.program().clone();
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut pointer = first;
    loop {
        let address = match pointer.unsigned() {
            Ok(0) => return Ok(Elements { elements: found, broken: None }),
            Ok(address) => address,
            Err(error) => return Ok(Elements { elements: found, broken: Some(error.to_string()) }),
        };
        if !seen.insert(address) {
            let broken = Some(format!("the list leads back to {address:#x}"));
            return Ok(Elements { elements: found, broken });
        }
        if found.len() >= MAX_ELEMENTS {
            let broken = Some(format!("it has more than {MAX_ELEMENTS} elements"));
            return Ok(Elements { elements: found, broken });
        }
        let element = pointer.deref()?;
        pointer = element.path(next)?;
        // An element that cannot be read is none.
        let mut byte = [0];
        if let Err(error) = program.read(address, &mut byte) {
            return Ok(Elements { elements: found, broken: Some(error.to_string()) });
        }
        found.push(element);
    }
}

/// In order. Newer trees keep the colour of a node in the low bits of its pointers (`sys/tree.h` of FreeBSD 13).
fn tree(root: &Value, field: &str) -> Result<Elements> {
    const COLOURS: u64 = 3;
    let target = root.resolved_type()?.target()?;
    let program = root.program();
    let node = |address: u64| program.value(&target, address & !COLOURS);
    let side = |element: &Value, index: usize| -> Result<u64> {
        let entry = element.path(field)?;
        let link = match entry.resolved_type()?.has_field("rbe_link") {
            true => entry.field("rbe_link")?.element(index as i128 + 1)?,
            false => entry.field(if index == 0 { "rbe_left" } else { "rbe_right" })?,
        };
        Ok(link.unsigned()? & !COLOURS)
    };
    let (mut found, mut seen, mut waiting) = (Vec::new(), HashSet::new(), Vec::new());
    let mut at = root.unsigned()? & !COLOURS;
    // A type that has no such field is wrong whether or not there are nodes.
    node(at).path(field)?;
    loop {
        while at != 0 {
            if !seen.insert(at) || found.len() + waiting.len() >= MAX_ELEMENTS {
                let broken = Some(format!("the tree leads back to {at:#x}, or has more than {MAX_ELEMENTS} elements"));
                return Ok(Elements { elements: found, broken });
            }
            waiting.push(at);
            match side(&node(at), 0) {
                Ok(next) => at = next,
                Err(error) => return Ok(Elements { elements: found, broken: Some(error.to_string()) }),
            }
        }
        let Some(next) = waiting.pop() else { return Ok(Elements { elements: found, broken: None }) };
        found.push(node(next));
        match side(&node(next), 1) {
            Ok(next) => at = next,
            Err(error) => return Ok(Elements { elements: found, broken: Some(error.to_string()) }),
        }
    }
}
