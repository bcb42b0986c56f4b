//! Types of C.

use std::cell::Cell;
use std::fmt::Write;
use std::sync::Arc;

use crate::dwarf::node::{Encoding, Qualifier, Record};
use crate::dwarf::{Die, Kind, Node, Ref};
use crate::error::{Error, Result};
use crate::image::Image;

pub use crate::dwarf::node::Bits;

/// Typedefs, pointers and arrays within one another: deeper only in a damaged file, where they may go round.
const MAX_DEPTH: u32 = 64;

/// Anonymous structures that are looked into for one name.
const MAX_SEARCH: u32 = 4096;
/// Parts of one type's name.
const MAX_PARTS: u32 = 4096;
/// Characters of one definition.
const MAX_TEXT: usize = 4 << 20;

/// A type of an image. Cheap to clone.
#[derive(Clone)]
pub struct Type {
    image: Arc<Image>,
    node: Arc<Node>,
}

/// What kind of type a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeKind {
    /// `void`.
    Void,
    /// A number, a character, a truth value.
    Base(Encoding),
    /// A pointer.
    Pointer,
    /// A structure.
    Struct,
    /// A union.
    Union,
    /// An enumeration.
    Enum,
    /// Another name for a type.
    Typedef,
    /// A type with `const` or the like.
    Qualified,
    /// An array.
    Array,
    /// A function.
    Function,
}

/// A member of a structure or union.
#[derive(Debug, Clone)]
pub struct Field {
    /// The name; empty for an anonymous structure or union.
    pub name: String,
    /// The type.
    pub ty: Type,
    /// Bytes from the beginning of the structure that was asked; of a bit field, the byte that it begins in.
    pub offset: u64,
    /// Its bits, if it is a bit field.
    pub bits: Option<Bits>,
}

impl std::fmt::Debug for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Type({} of {})", self.name(), self.image.name())
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Type {
    pub(crate) fn from_node(image: &Arc<Image>, node: Node) -> Self {
        Self { image: image.clone(), node: Arc::new(node) }
    }

    pub(crate) fn from_die(image: &Arc<Image>, die: Die) -> Result<Self> {
        Ok(Self { image: image.clone(), node: image.info()?.node(die)? })
    }

    pub(crate) fn from_ref(image: &Arc<Image>, target: &Ref) -> Result<Self> {
        match target {
            Ref::Die(die) => Self::from_die(image, *die),
            Ref::Node(node) => Ok(Self { image: image.clone(), node: node.clone() }),
        }
    }

    /// The type that a name stands for in one image, complete if the image has a definition.
    pub(crate) fn named(image: &Arc<Image>, kind: Kind, name: &str) -> Result<Option<Self>> {
        let found = image.info()?.names().find(name).into_iter().find(|entry| entry.kind == kind);
        found.map(|entry| Self::from_die(image, entry.die)).transpose()
    }

    pub(crate) fn base(image: &Arc<Image>, name: &str, size: u64, encoding: Encoding) -> Self {
        Self::from_node(image, Node::Base { name: name.to_owned(), size, encoding })
    }

    pub(crate) fn void(image: &Arc<Image>) -> Self {
        Self::from_node(image, Node::Void)
    }

    /// The image that it belongs to.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    fn other(&self, target: &Ref) -> Result<Self> {
        Self::from_ref(&self.image, target)
    }

    /// What kind of type it is, typedefs and qualifiers not looked through.
    pub fn kind(&self) -> TypeKind {
        match &*self.node {
            Node::Void => TypeKind::Void,
            Node::Base { encoding, .. } => TypeKind::Base(*encoding),
            Node::Pointer { .. } => TypeKind::Pointer,
            Node::Record { keyword: Record::Struct, .. } => TypeKind::Struct,
            Node::Record { keyword: Record::Union, .. } => TypeKind::Union,
            Node::Enum { .. } => TypeKind::Enum,
            Node::Typedef { .. } => TypeKind::Typedef,
            Node::Qualified { .. } => TypeKind::Qualified,
            Node::Array { .. } => TypeKind::Array,
            Node::Function { .. } => TypeKind::Function,
        }
    }

    /// The type without typedefs and qualifiers.
    ///
    /// # Errors
    ///
    /// The debug information is damaged.
    pub fn resolved(&self) -> Result<Self> {
        let mut ty = self.clone();
        for _ in 0..MAX_DEPTH {
            ty = match &*ty.node {
                Node::Typedef { target, .. } | Node::Qualified { target, .. } => ty.other(target)?,
                _ => return Ok(ty),
            };
        }
        Err(Error::Limit { what: format!("the depth of {}", self.name()), limit: MAX_DEPTH.into() })
    }

    /// The type without qualifiers, its typedefs kept.
    pub(crate) fn unqualified(&self) -> Result<Self> {
        let mut ty = self.clone();
        for _ in 0..MAX_DEPTH {
            ty = match &*ty.node {
                Node::Qualified { target, .. } => ty.other(target)?,
                _ => return Ok(ty),
            };
        }
        Ok(ty)
    }

    /// Size in bytes.
    ///
    /// # Errors
    ///
    /// `void`, functions and types that are only declared have none.
    pub fn size(&self) -> Result<u64> {
        let size = self.image.info().ok().map_or_else(
            || match &*self.node {
                Node::Base { size, .. } | Node::Pointer { size, .. } => Some(*size),
                _ => None,
            },
            |info| info.size_of(&Ref::Node(self.node.clone()), 0),
        );
        size.ok_or_else(|| match self.resolved().map(|ty| ty.kind()) {
            Ok(TypeKind::Struct | TypeKind::Union | TypeKind::Enum) => self.incomplete(),
            _ => Error::ty(format!("{} has no size", self.name())),
        })
    }

    fn incomplete(&self) -> Error {
        Error::Incomplete { ty: self.name(), image: self.image.name().to_owned() }
    }

    /// Whether it is a structure, union or enumeration of which only the name is known.
    pub fn is_incomplete(&self) -> bool {
        matches!(&*self.node, Node::Record { size: None, .. } | Node::Enum { size: None, .. })
    }

    /// What a pointer points to, an array consists of, a function returns, a typedef or qualified type stands for.
    ///
    /// # Errors
    ///
    /// Other types have none of this.
    pub fn target(&self) -> Result<Self> {
        match &*self.node {
            Node::Pointer { target, .. } | Node::Typedef { target, .. } | Node::Qualified { target, .. } => {
                self.other(target)
            }
            Node::Array { element, .. } => self.other(element),
            Node::Function { result, .. } => self.other(result),
            _ => Err(Error::ty(format!("{} is not a pointer or array", self.name()))),
        }
    }

    /// Number of elements of an array; `None` for a flexible one and for what is no array.
    pub fn count(&self) -> Option<u64> {
        match &*self.node {
            Node::Array { count, .. } => *count,
            _ => None,
        }
    }

    /// Types of a function's parameters, and whether more may follow.
    pub fn parameters(&self) -> Result<(Vec<Self>, bool)> {
        match &*self.node {
            Node::Function { parameters, variadic, .. } => {
                Ok((parameters.iter().map(|ty| self.other(ty)).collect::<Result<_>>()?, *variadic))
            }
            _ => Err(Error::ty(format!("{} is not a function", self.name()))),
        }
    }

    /// Names and values of an enumeration.
    pub fn enumerators(&self) -> Vec<(String, i128)> {
        match &*self.node {
            Node::Enum { enumerators, .. } => enumerators.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether an enumeration has a negative constant.
    pub(crate) fn is_signed_enum(&self) -> bool {
        matches!(&*self.node, Node::Enum { signed: true, .. })
    }

    /// Members of a structure or union, typedefs looked through; anonymous ones are not opened.
    ///
    /// # Errors
    ///
    /// It is not a structure, or only declared.
    pub fn fields(&self) -> Result<Vec<Field>> {
        let ty = self.resolved()?;
        let Node::Record { members, size, .. } = &*ty.node else {
            return Err(Error::ty(format!("{} is not a structure or union", self.name())));
        };
        if size.is_none() {
            return Err(ty.incomplete());
        }
        let fields = members.iter().map(|member| {
            Ok(Field { name: member.name.clone(), ty: ty.other(&member.ty)?, offset: member.offset, bits: member.bits })
        });
        fields.collect()
    }

    /// The member of this name, also within anonymous structures and unions.
    ///
    /// # Errors
    ///
    /// There is none, or the type is not a structure or only declared.
    pub fn field(&self, name: &str) -> Result<Field> {
        let ty = self.resolved()?;
        let Node::Record { size, .. } = &*ty.node else {
            return Err(Error::ty(format!("{} is not a structure or union: it has no field {name}", self.name())));
        };
        if size.is_none() {
            return Err(ty.incomplete());
        }
        ty.find_field(name, 0, &mut MAX_SEARCH.clone())?.ok_or_else(|| Error::NoField {
            ty: self.name(),
            field: name.to_owned(),
            image: self.image.name().to_owned(),
        })
    }

    fn find_field(&self, name: &str, depth: u32, left: &mut u32) -> Result<Option<Field>> {
        let Node::Record { members, .. } = &*self.node else { return Ok(None) };
        if depth > MAX_DEPTH || *left == 0 {
            return Ok(None);
        }
        *left -= 1;
        if let Some(member) = members.iter().find(|member| member.name == name && !name.is_empty()) {
            let ty = self.other(&member.ty)?;
            return Ok(Some(Field { name: name.to_owned(), ty, offset: member.offset, bits: member.bits }));
        }
        for member in members.iter().filter(|member| member.name.is_empty()) {
            let inner = self.other(&member.ty)?.resolved()?;
            if let Some(mut field) = inner.find_field(name, depth + 1, left)? {
                field.offset = field.offset.saturating_add(member.offset);
                if let Some(bits) = &mut field.bits {
                    bits.start = bits.start.saturating_add(member.offset.saturating_mul(8));
                }
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    /// Whether there is a member of this name.
    pub fn has_field(&self, name: &str) -> bool {
        self.field(name).is_ok()
    }

    /// Bytes from the beginning of the structure to a member of a member: `"p_vmspace"`, `"td_frame.tf_rip"`,
    /// `"names[3].first"`.
    ///
    /// # Errors
    ///
    /// A name that is not there, an index into what is no array, a bit field that does not begin at a byte.
    pub fn offset_of(&self, path: &str) -> Result<u64> {
        let mut ty = self.clone();
        let mut offset = 0u64;
        let beyond = || Error::Limit { what: format!("the offset of {path}"), limit: u64::MAX };
        for part in path.split('.') {
            let (name, indices) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
            let field = ty.field(name)?;
            if field.bits.is_some_and(|bits| bits.start % 8 != 0) {
                return Err(Error::ty(format!("{name} is a bit field that does not begin at a byte")));
            }
            offset = offset.checked_add(field.offset).ok_or_else(beyond)?;
            ty = field.ty;
            for index in indices.unwrap_or_default().split('[').filter(|index| !index.is_empty()) {
                let number = index.strip_suffix(']').and_then(|index| index.trim().parse::<u64>().ok());
                let number = number.ok_or_else(|| Error::ty(format!("{part} is not a field with an index")))?;
                let array = ty.resolved()?;
                if array.kind() != TypeKind::Array {
                    return Err(Error::ty(format!("{name} is not an array")));
                }
                ty = array.target()?;
                offset =
                    number.checked_mul(ty.size()?).and_then(|bytes| offset.checked_add(bytes)).ok_or_else(beyond)?;
            }
        }
        Ok(offset)
    }

    /// A pointer to this type.
    #[must_use]
    pub fn pointer(&self) -> Self {
        let size = self.image.architecture().word().into();
        Self::from_node(&self.image, Node::Pointer { target: Ref::Node(self.node.clone()), size })
    }

    /// An array of this type.
    #[must_use]
    pub fn array(&self, count: u64) -> Self {
        Self::from_node(&self.image, Node::Array { element: Ref::Node(self.node.clone()), count: Some(count) })
    }

    /// A function that returns this type.
    pub(crate) fn function(&self, parameters: &[Self], variadic: bool) -> Self {
        let node = |ty: &Self| Ref::Node(ty.node.clone());
        let parameters = parameters.iter().map(node).collect();
        Self::from_node(&self.image, Node::Function { result: node(self), parameters, variadic })
    }

    /// The type in C, as in a cast: `struct thread *`, `void (*)(int)`.
    pub fn name(&self) -> String {
        self.declare("")
    }

    /// A declaration of `name` with this type: `char p_comm[20]`.
    pub fn declare(&self, name: &str) -> String {
        self.declare_in(name.to_owned(), 0, &Cell::new(MAX_PARTS))
    }

    /// An array whose elements are qualified: C qualifies elements, compilers the array, or both.
    fn array_of_qualified(&self, qualifier: Qualifier, element: &Ref, count: Option<u64>) -> Self {
        let known = self
            .other(element)
            .is_ok_and(|ty| matches!(&*ty.node, Node::Qualified { qualifier: known, .. } if *known == qualifier));
        let element = match known {
            true => element.clone(),
            false => Ref::Node(Arc::new(Node::Qualified { qualifier, target: element.clone() })),
        };
        Self::from_node(&self.image, Node::Array { element, count })
    }

    /// The qualifiers of a type in C's usual order, and the type without them.
    fn qualifiers(&self) -> (String, Self) {
        let mut words = Vec::new();
        let mut ty = self.clone();
        while let (Node::Qualified { qualifier, target }, true) = (&*ty.node, words.len() < MAX_DEPTH as usize) {
            words.push(match qualifier {
                Qualifier::Const => "const",
                Qualifier::Volatile => "volatile",
                Qualifier::Restrict => "restrict",
                Qualifier::Atomic => "_Atomic",
            });
            let Ok(inner) = ty.other(target) else { break };
            ty = inner;
        }
        words.sort_unstable_by_key(|word| (*word != "const", *word != "volatile"));
        words.dedup();
        (words.join(" "), ty)
    }

    fn declare_in(&self, inner: String, depth: u32, left: &Cell<u32>) -> String {
        left.set(left.get().saturating_sub(1));
        if depth > MAX_DEPTH || left.get() == 0 {
            return format!("... {inner}");
        }
        let with = |base: &str| match inner.is_empty() {
            true => base.to_owned(),
            false => format!("{base} {inner}"),
        };
        let of = |target: &Ref, inner: String| match self.other(target) {
            Ok(ty) => ty.declare_in(inner, depth + 1, left),
            Err(_) => format!("<unknown type> {inner}"),
        };
        let tagged = |keyword: &str, name: &Option<String>| match name {
            Some(name) => with(&format!("{keyword} {name}")),
            None => with(&format!("{keyword} {{...}}")),
        };
        match &*self.node {
            Node::Void => with("void"),
            Node::Base { name, .. } | Node::Typedef { name, .. } => with(name),
            Node::Record { keyword: Record::Struct, name, .. } => tagged("struct", name),
            Node::Record { keyword: Record::Union, name, .. } => tagged("union", name),
            Node::Enum { name, .. } => tagged("enum", name),
            Node::Pointer { target, .. } => {
                let binds_weaker = self.other(target).is_ok_and(|ty| {
                    matches!(ty.unqualified().map(|ty| ty.kind()), Ok(TypeKind::Array | TypeKind::Function))
                });
                of(target, if binds_weaker { format!("(*{inner})") } else { format!("*{inner}") })
            }
            Node::Qualified { qualifier, target } => {
                if let Ok(array) = self.other(target).map(|array| array.node)
                    && let Node::Array { element, count } = &*array
                {
                    return self.array_of_qualified(*qualifier, element, *count).declare_in(inner, depth + 1, left);
                }
                let (words, target) = self.qualifiers();
                match target.kind() {
                    TypeKind::Pointer => {
                        let space = if inner.is_empty() || inner.starts_with('[') { "" } else { " " };
                        target.declare_in(format!(" {words}{space}{inner}"), depth + 1, left)
                    }
                    _ => format!("{words} {}", target.declare_in(inner, depth + 1, left)),
                }
            }
            Node::Array { element, count } => {
                let count = count.map(|count| count.to_string()).unwrap_or_default();
                of(element, format!("{inner}[{count}]"))
            }
            Node::Function { result, parameters, variadic } => {
                let mut list: Vec<String> = parameters.iter().map(|ty| of(ty, String::new())).collect();
                if *variadic {
                    list.push("...".to_owned());
                }
                if list.is_empty() {
                    list.push("void".to_owned());
                }
                of(result, format!("{inner}({})", list.join(", ")))
            }
        }
    }

    /// The type with its members, offsets, sizes and holes, as C would declare it.
    ///
    /// # Errors
    ///
    /// The debug information is damaged.
    pub fn definition(&self) -> Result<String> {
        let mut ty = self.clone();
        // A typedef is replaced by what it stands for, once for each name, so that the structure behind it shows.
        let mut suffix = String::new();
        for _ in 0..MAX_DEPTH {
            ty = match &*ty.node {
                Node::Typedef { target, .. } => ty.other(target)?,
                Node::Pointer { target, .. } => {
                    suffix.insert(0, '*');
                    ty.other(target)?
                }
                Node::Qualified { target, .. } if suffix.is_empty() => ty.other(target)?,
                _ => break,
            };
        }
        match &*ty.node {
            Node::Record { .. } | Node::Enum { .. } => {
                let mut text = String::new();
                ty.define(&mut text, 0, 0)?;
                if !suffix.is_empty() {
                    let _ = write!(text, " {suffix}");
                }
                Ok(text)
            }
            _ => Ok(ty.declare(&suffix)),
        }
    }

    fn define(&self, text: &mut String, indent: usize, base: u64) -> Result<()> {
        if text.len() > MAX_TEXT {
            return Err(Error::Limit { what: "the text of a definition".to_owned(), limit: MAX_TEXT as u64 });
        }
        let pad = if indent == 0 { String::new() } else { " ".repeat(COMMENT + indent * 4) };
        match &*self.node {
            Node::Enum { name, enumerators, .. } => {
                let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
                let _ = writeln!(text, "enum{name} {{");
                for (name, value) in enumerators {
                    let _ = writeln!(text, "{}{name} = {value},", " ".repeat(pad.len().max(COMMENT) + 4));
                }
                let _ = write!(text, "{}}}", if indent == 0 { " ".repeat(COMMENT) } else { pad });
            }
            Node::Record { keyword, name, size, .. } => {
                let keyword = if *keyword == Record::Union { "union" } else { "struct" };
                let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
                let Some(size) = size else {
                    let _ = write!(text, "{keyword}{name}");
                    return Ok(());
                };
                let _ = writeln!(text, "{keyword}{name} {{");
                self.define_fields(text, indent, base, *size)?;
                let start = format!("/* {:13}{size:6} */ ", "total:");
                let _ = write!(text, "{start:<COMMENT$}{}}}", " ".repeat(indent * 4));
            }
            _ => text.push_str(&self.name()),
        }
        Ok(())
    }

    fn define_fields(&self, text: &mut String, indent: usize, base: u64, size: u64) -> Result<()> {
        let is_union = self.kind() == TypeKind::Union;
        let padding = " ".repeat((indent + 1) * 4);
        // Bits from the beginning of the structure: where the last member ended.
        let mut end = 0u64;
        let hole = |text: &mut String, from: u64, to: u64| {
            let (bytes, bits) = ((to - from) / 8, (to - from) % 8);
            let what = match (bytes, bits) {
                (0, bits) => format!("{bits} bits"),
                (1, 0) => "1 byte".to_owned(),
                (bytes, 0) => format!("{bytes} bytes"),
                (bytes, bits) => format!("{bytes} bytes and {bits} bits"),
            };
            let _ = writeln!(text, "{:COMMENT$}{padding}/* hole: {what} */", "");
        };
        for field in self.fields()? {
            let bytes = field.ty.size().unwrap_or(0);
            let (start, length) = match field.bits {
                Some(bits) => (bits.start, bits.size),
                None => (field.offset.saturating_mul(8), bytes.saturating_mul(8)),
            };
            if !is_union {
                // Bit fields leave gaps that fill themselves when a plain member follows.
                if start > end {
                    hole(text, end, start);
                }
                end = start.saturating_add(length).max(end);
            }
            let comment = match field.bits {
                Some(bits) => format!("/* {:7}:{:<5}{bytes:6} */", base + bits.start / 8, bits.start % 8),
                None => format!("/* {:7}      {bytes:6} */", base + field.offset),
            };
            let _ = write!(text, "{comment:<COMMENT$}{padding}");
            let width = field.bits.map(|bits| format!(" : {}", bits.size)).unwrap_or_default();
            // Structures without a name can be seen nowhere else.
            let unnamed = matches!(
                &*field.ty.node,
                Node::Record { name: None, size: Some(_), .. } | Node::Enum { name: None, .. }
            );
            if unnamed && indent < MAX_DEPTH as usize {
                field.ty.define(text, indent + 1, base + field.offset)?;
                let name = if field.name.is_empty() { String::new() } else { format!(" {}", field.name) };
                let _ = writeln!(text, "{name}{width};");
            } else {
                let _ = writeln!(text, "{}{width};", field.ty.declare(&field.name));
            }
        }
        if !is_union && end < size.saturating_mul(8) {
            hole(text, end, size * 8);
        }
        Ok(())
    }
}

/// Width of the column with offsets and sizes.
const COMMENT: usize = 27;
