//! Type names of C: `const struct proc *`, `void (*)(int)`, `char [20]`.

use super::lex::Kind;
use super::parse::Parser;
use crate::architecture::Architecture;
use crate::dwarf::Kind as Named;
use crate::dwarf::node::Encoding;
use crate::error::{Error, Result};
use crate::program::Program;
use crate::types::Type;

/// Words that begin nothing but a type.
const WORDS: [&str; 16] = [
    "struct", "union", "enum", "const", "volatile", "unsigned", "signed", "long", "short", "int", "char", "void",
    "_Bool", "float", "double", "restrict",
];

/// The type `int` and its like, as the machine has them.
pub(super) fn base(program: &Program, name: &str) -> Result<Type> {
    let word = u64::from(program.architecture().word());
    // On x86 `char` has a sign, on the others it has none.
    let char_encoding = match program.architecture() {
        Architecture::Amd64 | Architecture::I386 => Encoding::SignedChar,
        Architecture::Arm64 | Architecture::Riscv64 => Encoding::UnsignedChar,
    };
    let (size, encoding) = match name {
        "char" => (1, char_encoding),
        "signed char" => (1, Encoding::SignedChar),
        "unsigned char" => (1, Encoding::UnsignedChar),
        "short" => (2, Encoding::Signed),
        "unsigned short" => (2, Encoding::Unsigned),
        "unsigned int" => (4, Encoding::Unsigned),
        "long" => (word, Encoding::Signed),
        "unsigned long" => (word, Encoding::Unsigned),
        "long long" => (8, Encoding::Signed),
        "unsigned long long" => (8, Encoding::Unsigned),
        "__int128" => (16, Encoding::Signed),
        "unsigned __int128" => (16, Encoding::Unsigned),
        "_Bool" => (1, Encoding::Boolean),
        "float" => (4, Encoding::Float),
        "double" => (8, Encoding::Float),
        "long double" => (if word == 4 { 12 } else { 16 }, Encoding::Float),
        _ => (4, Encoding::Signed),
    };
    Ok(Type::base(program.first()?, name, size, encoding))
}

impl Parser<'_> {
    /// Whether a type name begins here.
    pub(super) fn at_type(&self) -> Result<bool> {
        let Kind::Name(name) = self.peek() else { return Ok(false) };
        if WORDS.contains(&name.as_str()) {
            return Ok(true);
        }
        // What stands before a field, an index or a call is a value.
        if matches!(self.peek_at(1), Kind::Sign("." | "->")) || self.is_hidden(name) {
            return Ok(false);
        }
        match self.program.named_type(Named::Typedef, name) {
            Ok(found) => Ok(found.is_some() || name == "bool"),
            Err(Error::NoDebugInfo { .. }) => Ok(name == "bool"),
            Err(error) => Err(error),
        }
    }

    /// A type name: specifiers, then a declarator without a name.
    pub(super) fn type_name(&mut self) -> Result<Type> {
        let ty = self.specifiers()?;
        self.deeper(|parser| parser.declarator(ty))
    }

    fn specifiers(&mut self) -> Result<Type> {
        let mut words: Vec<String> = Vec::new();
        let mut named: Option<Type> = None;
        while let Kind::Name(name) = self.peek().clone() {
            match name.as_str() {
                "const" | "volatile" | "restrict" => self.next += 1,
                "struct" | "union" | "enum" if words.is_empty() && named.is_none() => {
                    self.next += 1;
                    let tag = self.name()?;
                    let kind = match name.as_str() {
                        "struct" => Named::Struct,
                        "union" => Named::Union,
                        _ => Named::Enum,
                    };
                    let found = self.program.named_type(kind, &tag)?;
                    named = Some(found.ok_or_else(|| self.program.not_found("type", &format!("{name} {tag}")))?);
                }
                word if WORDS.contains(&word) || word == "__int128" => {
                    if named.is_some() {
                        break;
                    }
                    self.next += 1;
                    words.push(name);
                }
                _ if words.is_empty() && named.is_none() => {
                    let found = match self.program.named_type(Named::Typedef, &name) {
                        Ok(None) | Err(Error::NoDebugInfo { .. }) if name == "bool" => {
                            Some(base(self.program, "_Bool")?)
                        }
                        found => found?,
                    };
                    named = Some(found.ok_or_else(|| self.program.not_found("type", &name))?);
                    self.next += 1;
                }
                _ => break,
            }
        }
        match (named, words.as_slice()) {
            (Some(ty), _) => Ok(ty),
            (None, []) => Err(self.fault("a type is missing")),
            (None, words) => self.base_of(words),
        }
    }

    fn base_of(&self, words: &[String]) -> Result<Type> {
        let count = |word: &str| words.iter().filter(|known| *known == word).count();
        let unsigned = count("unsigned") > 0;
        let odd = || self.fault(format!("{} is not a type", words.join(" ")));
        if unsigned && count("signed") > 0 {
            return Err(odd());
        }
        let rest =
            words.iter().filter(|word| !matches!(word.as_str(), "unsigned" | "signed" | "int" | "long" | "short"));
        let rest: Vec<&str> = rest.map(String::as_str).collect();
        let sign = if unsigned { "unsigned " } else { "" };
        let name = match (rest.as_slice(), count("long"), count("short")) {
            (["void"], 0, 0) => return Ok(Type::void(self.program.first()?)),
            (["char"], 0, 0) if count("signed") > 0 => "signed char".to_owned(),
            (["char"], 0, 0) => format!("{sign}char"),
            (["__int128"], 0, 0) => format!("{sign}__int128"),
            (["double"], 1, 0) => "long double".to_owned(),
            ([word @ ("float" | "double" | "_Bool")], 0, 0) if !unsigned => (*word).to_owned(),
            ([], 2, 0) => format!("{sign}long long"),
            ([], 1, 0) => format!("{sign}long"),
            ([], 0, 1) => format!("{sign}short"),
            ([], 0, 0) => format!("{sign}int"),
            _ => return Err(odd()),
        };
        base(self.program, &name)
    }

    fn declarator(&mut self, mut ty: Type) -> Result<Type> {
        while self.accept("*") {
            ty = ty.pointer();
            while matches!(self.peek(), Kind::Name(name) if matches!(name.as_str(), "const" | "volatile" | "restrict"))
            {
                self.next += 1;
            }
        }
        if !(matches!(self.peek(), Kind::Sign("(")) && matches!(self.peek_at(1), Kind::Sign("*"))) {
            return self.suffixes(ty);
        }
        // `(*)` and what it holds bind to what stands behind it: that is read first.
        let inner = self.next + 1;
        let mut open = 0;
        loop {
            match self.peek() {
                Kind::Sign("(") => open += 1,
                Kind::Sign(")") => open -= 1,
                Kind::End => return Err(self.fault(") is missing")),
                _ => {}
            }
            self.next += 1;
            if open == 0 {
                break;
            }
        }
        let ty = self.suffixes(ty)?;
        let after = std::mem::replace(&mut self.next, inner);
        let ty = self.deeper(|parser| parser.declarator(ty))?;
        self.expect(")")?;
        self.next = after;
        Ok(ty)
    }

    /// `[n]` and `(parameters)`.
    fn suffixes(&mut self, ty: Type) -> Result<Type> {
        if self.accept("[") {
            let count = match *self.peek() {
                Kind::Integer { value, .. } => {
                    self.next += 1;
                    u64::try_from(value).ok()
                }
                _ => None,
            };
            self.expect("]")?;
            let element = self.deeper(|parser| parser.suffixes(ty))?;
            return Ok(element.array(count.unwrap_or(0)));
        }
        if !matches!(self.peek(), Kind::Sign("(")) {
            return Ok(ty);
        }
        self.next += 1;
        let mut parameters = Vec::new();
        let mut variadic = false;
        while !matches!(self.peek(), Kind::Sign(")")) {
            if self.accept("...") {
                variadic = true;
            } else {
                parameters.push(self.deeper(Self::type_name)?);
            }
            if !self.accept(",") {
                break;
            }
        }
        self.expect(")")?;
        if matches!(parameters.as_slice(), [only] if only.kind() == crate::types::TypeKind::Void) {
            parameters.clear();
        }
        let result = self.deeper(|parser| parser.suffixes(ty))?;
        Ok(result.function(&parameters, variadic))
    }
}
