//! Types, read from their entries: one [`Node`] each, which refers to others by their entries.

use std::sync::Arc;

use gimli::AttributeValue;

use super::attributes::{flag, signed, unsigned};
use super::{DebugInfo, Die, Entry, Kind, Unit};
use crate::error::Result;

/// A type, one level of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Void,
    Base { name: String, size: u64, encoding: Encoding },
    Pointer { target: Ref, size: u64 },
    Record { keyword: Record, name: Option<String>, size: Option<u64>, members: Vec<Member> },
    Enum { name: Option<String>, size: Option<u64>, signed: bool, enumerators: Vec<(String, i128)> },
    Typedef { name: String, target: Ref },
    Qualified { qualifier: Qualifier, target: Ref },
    Array { element: Ref, count: Option<u64> },
    Function { result: Ref, parameters: Vec<Ref>, variadic: bool },
}

/// Another type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ref {
    /// By its entry.
    Die(Die),
    /// Made here: a dimension of an array, the target of an address taken.
    Node(Arc<Node>),
}

/// How a scalar's bits are to be understood (`DW_AT_encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `_Bool`.
    Boolean,
    /// Two's complement.
    Signed,
    /// A number from 0.
    Unsigned,
    /// A signed character.
    SignedChar,
    /// An unsigned character.
    UnsignedChar,
    /// IEEE 754, or the x87 format in 10, 12 or 16 bytes.
    Float,
    /// Anything else: complex numbers, decimals.
    Other,
}

/// Which keyword a structure is declared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    Struct,
    Union,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qualifier {
    Const,
    Volatile,
    Restrict,
    Atomic,
}

/// A member of a structure or union.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    /// Empty for an anonymous structure or union, whose members count as its parent's.
    pub(crate) name: String,
    pub(crate) ty: Ref,
    /// Bytes from the beginning of the structure.
    pub(crate) offset: u64,
    pub(crate) bits: Option<Bits>,
}

/// A bit field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// Bits from the beginning of the structure: from the least significant bit of its first byte on little-endian
    /// machines, from the most significant one on others.
    pub start: u64,
    /// Width in bits.
    pub size: u64,
}

/// Members, enumerators and parameters of one type; a kernel's largest has a few thousand.
const MAX_CHILDREN: usize = 1 << 20;

impl DebugInfo {
    /// The type of an entry, remembered.
    pub(crate) fn node(&self, die: Die) -> Result<Arc<Node>> {
        if let Some(node) = self.nodes.lock().ok().and_then(|nodes| nodes.get(&die).cloned()) {
            return Ok(node);
        }
        let node = Arc::new(self.read_node(die)?);
        if let Ok(mut nodes) = self.nodes.lock() {
            nodes.insert(die, node.clone());
        }
        Ok(node)
    }

    /// The node of a reference.
    pub(crate) fn follow(&self, target: &Ref) -> Result<Arc<Node>> {
        match target {
            Ref::Die(die) => self.node(*die),
            Ref::Node(node) => Ok(node.clone()),
        }
    }

    fn read_node(&self, die: Die) -> Result<Node> {
        let unit = self.unit(die.unit)?;
        let entry = self.entry(&unit, die.offset)?;
        let name = self.string(&unit, &entry, gimli::DW_AT_name);
        let size = unsigned(&entry, gimli::DW_AT_byte_size);
        let target = || self.target(&unit, &entry);
        Ok(match entry.tag() {
            gimli::DW_TAG_base_type => Node::Base {
                name: name.unwrap_or_default(),
                size: size
                    .or_else(|| unsigned(&entry, gimli::DW_AT_bit_size).map(|bits| bits.div_ceil(8)))
                    .unwrap_or(0),
                encoding: encoding(&entry),
            },
            gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type | gimli::DW_TAG_rvalue_reference_type => {
                Node::Pointer { target: target()?, size: size.unwrap_or(unit.unit.header.address_size().into()) }
            }
            tag @ (gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type) => {
                let keyword = if tag == gimli::DW_TAG_union_type { Record::Union } else { Record::Struct };
                if flag(&entry, gimli::DW_AT_declaration) || entry.has_attr(gimli::DW_AT_signature) {
                    let kind = if keyword == Record::Union { Kind::Union } else { Kind::Struct };
                    if let Some(node) = self.complete(&unit, &entry, kind, name.as_deref(), die)? {
                        return Ok(node);
                    }
                    return Ok(Node::Record { keyword, name, size: None, members: Vec::new() });
                }
                let members = self.members(&unit, die)?;
                Node::Record { keyword, name, size, members }
            }
            gimli::DW_TAG_enumeration_type => {
                if flag(&entry, gimli::DW_AT_declaration) || entry.has_attr(gimli::DW_AT_signature) {
                    if let Some(node) = self.complete(&unit, &entry, Kind::Enum, name.as_deref(), die)? {
                        return Ok(node);
                    }
                    return Ok(Node::Enum { name, size: None, signed: false, enumerators: Vec::new() });
                }
                let enumerators = self.enumerators(&unit, die)?;
                let signed = enumerators.iter().any(|(_, value)| *value < 0);
                Node::Enum { name, size, signed, enumerators }
            }
            gimli::DW_TAG_typedef => Node::Typedef { name: name.unwrap_or_default(), target: target()? },
            gimli::DW_TAG_const_type => Node::Qualified { qualifier: Qualifier::Const, target: target()? },
            gimli::DW_TAG_volatile_type => Node::Qualified { qualifier: Qualifier::Volatile, target: target()? },
            gimli::DW_TAG_restrict_type => Node::Qualified { qualifier: Qualifier::Restrict, target: target()? },
            gimli::DW_TAG_atomic_type => Node::Qualified { qualifier: Qualifier::Atomic, target: target()? },
            gimli::DW_TAG_array_type => self.array(&unit, &entry, die)?,
            gimli::DW_TAG_subroutine_type | gimli::DW_TAG_subprogram => {
                let mut parameters = Vec::new();
                let mut variadic = false;
                self.children(&unit, die, &mut |child| {
                    match child.tag() {
                        gimli::DW_TAG_formal_parameter => parameters.push(self.parameter(&unit, child)?),
                        gimli::DW_TAG_unspecified_parameters => variadic = true,
                        _ => {}
                    }
                    Ok(())
                })?;
                let result = match self.origin(&unit, &entry)? {
                    Some(origin) if !entry.has_attr(gimli::DW_AT_type) => {
                        let unit = self.unit(origin.unit)?;
                        let entry = self.entry(&unit, origin.offset)?;
                        self.target(&unit, &entry)?
                    }
                    _ => target()?,
                };
                Node::Function { result, parameters, variadic }
            }
            gimli::DW_TAG_unspecified_type => Node::Void,
            tag => return Err(self.damage("types", &format!("{tag} is not a type"))),
        })
    }

    /// The type of an entry's `DW_AT_type`; `void` without one.
    pub(crate) fn target<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> Result<Ref> {
        let die = self.reference(unit, entry, gimli::DW_AT_type)?;
        Ok(die.map_or_else(|| Ref::Node(Arc::new(Node::Void)), Ref::Die))
    }

    fn parameter<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> Result<Ref> {
        match self.origin(unit, entry)? {
            Some(origin) if !entry.has_attr(gimli::DW_AT_type) => {
                let unit = self.unit(origin.unit)?;
                let entry = self.entry(&unit, origin.offset)?;
                self.target(&unit, &entry)
            }
            _ => self.target(unit, entry),
        }
    }

    /// The definition of what `entry` only declares: by signature, or by name in another unit.
    fn complete<'a>(
        &self,
        unit: &Unit<'a>,
        entry: &Entry<'a>,
        kind: Kind,
        name: Option<&str>,
        from: Die,
    ) -> Result<Option<Node>> {
        let signed = self.reference(unit, entry, gimli::DW_AT_signature)?;
        let named = || {
            let found = name.map(|name| self.names.find(name)).unwrap_or_default();
            found.into_iter().find(|entry| entry.kind == kind).map(|entry| entry.die)
        };
        let Some(definition) = signed.or_else(named).filter(|&die| die != from) else { return Ok(None) };
        // A definition is no declaration: one step, unless the file lies.
        let target = self.unit(definition.unit)?;
        let entry = self.entry(&target, definition.offset)?;
        if flag(&entry, gimli::DW_AT_declaration) || entry.has_attr(gimli::DW_AT_signature) {
            return Ok(None);
        }
        Ok(Some((*self.node(definition)?).clone()))
    }

    fn members(&self, unit: &Unit<'_>, die: Die) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        let big = self.endian == gimli::RunTimeEndian::Big;
        self.children(unit, die, &mut |child| {
            // C++'s bases and static members are left out; C has neither.
            if child.tag() != gimli::DW_TAG_member || flag(child, gimli::DW_AT_external) {
                return Ok(());
            }
            let ty = self.target(unit, child)?;
            let place = self.member_offset(unit, child);
            let width = unsigned(child, gimli::DW_AT_bit_size);
            let start = match (width, unsigned(child, gimli::DW_AT_data_bit_offset)) {
                (_, Some(start)) => Some(start),
                (None, None) => None,
                // DWARF 2 and 3: bits from the most significant end of a storage unit of `DW_AT_byte_size` bytes, less
                // than 0 where a packed field goes beyond the unit.
                (Some(width), None) => {
                    let from_top = signed(child, gimli::DW_AT_bit_offset).map(|bits| i128::from(bits as i64));
                    let unit_size =
                        unsigned(child, gimli::DW_AT_byte_size).or_else(|| self.size_of(&ty, 0)).unwrap_or(0);
                    let start = i128::from(place) * 8;
                    let start = match from_top {
                        Some(from_top) if !big => start + i128::from(unit_size) * 8 - from_top - i128::from(width),
                        from_top => start + from_top.unwrap_or(0),
                    };
                    u64::try_from(start).ok()
                }
            };
            let bits = start.zip(width).map(|(start, size)| Bits { start, size });
            members.push(Member {
                name: self.string(unit, child, gimli::DW_AT_name).unwrap_or_default(),
                ty,
                offset: bits.map_or(place, |bits| bits.start / 8),
                bits,
            });
            Ok(())
        })?;
        Ok(members)
    }

    /// Bytes from the beginning of the structure: a constant, or, in DWARF 2, an expression that adds one.
    fn member_offset<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> u64 {
        match entry.attr_value(gimli::DW_AT_data_member_location) {
            Some(AttributeValue::Exprloc(expression)) => {
                let mut operations = expression.operations(unit.unit.encoding());
                match operations.next() {
                    Ok(Some(gimli::Operation::PlusConstant { value })) => value,
                    Ok(Some(gimli::Operation::UnsignedConstant { value })) => value,
                    _ => 0,
                }
            }
            Some(value) => value.udata_value().unwrap_or(0),
            None => 0,
        }
    }

    fn enumerators(&self, unit: &Unit<'_>, die: Die) -> Result<Vec<(String, i128)>> {
        let mut found = Vec::new();
        self.children(unit, die, &mut |child| {
            if child.tag() == gimli::DW_TAG_enumerator {
                let name = self.string(unit, child, gimli::DW_AT_name).unwrap_or_default();
                found.push((name, signed(child, gimli::DW_AT_const_value).unwrap_or(0)));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Arrays of several dimensions become arrays of arrays, as C has them.
    fn array<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>, die: Die) -> Result<Node> {
        let mut counts = Vec::new();
        self.children(unit, die, &mut |child| {
            if child.tag() == gimli::DW_TAG_subrange_type || child.tag() == gimli::DW_TAG_enumeration_type {
                let count = unsigned(child, gimli::DW_AT_count);
                // An upper bound of -1 is how some compilers write an array of no elements.
                let bound = || signed(child, gimli::DW_AT_upper_bound).and_then(|bound| u64::try_from(bound + 1).ok());
                counts.push(count.or_else(bound).filter(|&count| count <= u64::from(u32::MAX)));
            }
            Ok(())
        })?;
        let mut element = self.target(unit, entry)?;
        let first = counts.first().copied().flatten();
        for &count in counts.iter().skip(1).rev() {
            element = Ref::Node(Arc::new(Node::Array { element, count }));
        }
        Ok(Node::Array { element, count: first })
    }

    /// Calls `visit` for each child of an entry.
    pub(crate) fn children<'a>(
        &self,
        unit: &Unit<'a>,
        die: Die,
        visit: &mut dyn FnMut(&Entry<'a>) -> Result<()>,
    ) -> Result<()> {
        let fault = |error| self.fault(&format!("entry {:#x} of unit {}", die.offset, die.unit), error);
        let mut tree = unit.unit.entries_tree(Some(gimli::UnitOffset(die.offset))).map_err(fault)?;
        let root = tree.root().map_err(fault)?;
        let mut children = root.children();
        let mut count = 0;
        while let Some(child) = children.next().map_err(fault)? {
            visit(child.entry())?;
            count += 1;
            if count > MAX_CHILDREN {
                return Err(self.damage("types", "an entry with more than a million children"));
            }
        }
        Ok(())
    }

    /// The size of a type in bytes, if it has one.
    pub(crate) fn size_of(&self, ty: &Ref, depth: u32) -> Option<u64> {
        // Typedefs of typedefs, arrays of arrays: deep only in a damaged file.
        if depth > 64 {
            return None;
        }
        match &*self.follow(ty).ok()? {
            Node::Base { size, .. } | Node::Pointer { size, .. } => Some(*size),
            Node::Record { size, .. } | Node::Enum { size, .. } => *size,
            Node::Typedef { target, .. } | Node::Qualified { target, .. } => self.size_of(target, depth + 1),
            Node::Array { element, count } => self.size_of(element, depth + 1)?.checked_mul(count.unwrap_or(0)),
            Node::Void | Node::Function { .. } => None,
        }
    }
}

fn encoding(entry: &Entry<'_>) -> Encoding {
    match entry.attr_value(gimli::DW_AT_encoding) {
        Some(AttributeValue::Encoding(encoding)) => match encoding {
            gimli::DW_ATE_boolean => Encoding::Boolean,
            gimli::DW_ATE_signed => Encoding::Signed,
            gimli::DW_ATE_unsigned | gimli::DW_ATE_address => Encoding::Unsigned,
            gimli::DW_ATE_signed_char => Encoding::SignedChar,
            gimli::DW_ATE_unsigned_char | gimli::DW_ATE_UTF => Encoding::UnsignedChar,
            gimli::DW_ATE_float => Encoding::Float,
            _ => Encoding::Other,
        },
        _ => Encoding::Other,
    }
}
