//! Values as C would write them.

use std::fmt::Write;

use crate::dwarf::node::Encoding;
use crate::error::{Error, Result};
use crate::types::{Type, TypeKind};
use crate::value::Value;

/// Equal elements in a row that are all written; more are written once.
const REPEATS: usize = 10;
/// Bytes of elements that are compared with their neighbours, and how many of these.
const MAX_COMPARED: u64 = 4096;
const MAX_EQUAL: usize = 1 << 16;
/// Characters of one array that are looked at.
const MAX_STRING: u64 = 1 << 20;
/// Characters of one value's text.
const MAX_TEXT: usize = 4 << 20;

/// How a value is shown.
#[derive(Debug, Clone)]
pub struct Format {
    /// How numbers are written.
    pub radix: Radix,
    /// Elements of one array, and characters of one string, at most.
    pub elements: u64,
    /// Structures and arrays within one another at most.
    pub depth: u32,
    /// One member a line, indented.
    pub lines: bool,
    /// Name the symbols that pointers point to.
    pub symbols: bool,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Radix {
    /// As their types suggest.
    Natural,
    /// `0x2a`.
    Hexadecimal,
    /// `42`.
    Decimal,
    /// `42`, without a sign.
    Unsigned,
    /// `052`.
    Octal,
    /// `101010`.
    Binary,
    /// `42 '*'`.
    Character,
    /// `0xffffffff80b3a6c0 <panic>`.
    Address,
}

impl Default for Format {
    fn default() -> Self {
        Self { radix: Radix::Natural, elements: 200, depth: 20, lines: false, symbols: true }
    }
}

/// The text of a value.
pub(crate) fn show(value: &Value, format: &Format) -> Result<String> {
    let mut printer = Printer { text: String::new(), format };
    let ty = value.resolved_type()?;
    // A pointer that stands alone is written with its type, but for strings, which tell it themselves.
    if ty.kind() == TypeKind::Pointer && format.radix == Radix::Natural {
        let written = value.ty().unqualified()?;
        let string = written.kind() == TypeKind::Pointer && written.target()?.unqualified()?.name() == "char";
        if !string {
            let _ = write!(printer.text, "({}) ", value.ty().name());
        }
    }
    printer.value(value, 0)?;
    Ok(printer.text)
}

fn is_character(ty: &Type) -> bool {
    let one = ty.size().is_ok_and(|size| size == 1);
    one && matches!(ty.kind(), TypeKind::Base(Encoding::SignedChar | Encoding::UnsignedChar))
}

struct Printer<'f> {
    text: String,
    format: &'f Format,
}

impl Printer<'_> {
    fn value(&mut self, value: &Value, depth: u32) -> Result<()> {
        if self.text.len() > MAX_TEXT {
            return Err(Error::Limit { what: "the text of the value".to_owned(), limit: MAX_TEXT as u64 });
        }
        let ty = value.resolved_type()?;
        let hexadecimal = self.format.radix != Radix::Natural;
        match ty.kind() {
            TypeKind::Struct | TypeKind::Union => self.record(value, &ty, depth),
            TypeKind::Array => self.array(value, &ty, depth),
            TypeKind::Function => {
                let address = value.address().unwrap_or(0);
                let name = symbol(value, address).unwrap_or_default();
                let _ = write!(self.text, "{{{}}} {address:#x}{name}", value.ty());
                Ok(())
            }
            TypeKind::Void => match value.address() {
                Some(_) => Err(Error::ty(
                    "a symbol without debug information has no type: cast it, as in (int)NAME, or use &NAME",
                )),
                None => {
                    self.text.push_str("void");
                    Ok(())
                }
            },
            TypeKind::Pointer if !hexadecimal || self.format.radix == Radix::Address => self.pointer(value, &ty),
            TypeKind::Enum if !hexadecimal => self.enumeration(value, &ty),
            TypeKind::Base(encoding) if !hexadecimal => self.base(value, &ty, encoding),
            _ => self.number(value, &ty),
        }
    }

    fn base(&mut self, value: &Value, ty: &Type, encoding: Encoding) -> Result<()> {
        match encoding {
            Encoding::Float => {
                let number = value.float()?;
                self.text.push_str(&float(number, if ty.size()? == 4 { 9 } else { 17 }));
            }
            Encoding::Boolean => match value.integer()? {
                0 => self.text.push_str("false"),
                1 => self.text.push_str("true"),
                other => self.text.push_str(&other.to_string()),
            },
            Encoding::SignedChar | Encoding::UnsignedChar if is_character(ty) => {
                let number = value.integer()?;
                let _ = write!(self.text, "{number} '{}'", character(number as u8, '\''));
            }
            _ => {
                let number = value.integer()?;
                self.text.push_str(&number.to_string());
            }
        }
        Ok(())
    }

    fn number(&mut self, value: &Value, ty: &Type) -> Result<()> {
        let number = match ty.kind() {
            TypeKind::Base(Encoding::Float) if matches!(self.format.radix, Radix::Natural | Radix::Decimal) => {
                return self.base(value, ty, Encoding::Float);
            }
            _ => value.integer()?,
        };
        let bits = value.width()?;
        let unsigned = if bits < 128 { number as u128 & ((1 << bits) - 1) } else { number as u128 };
        let text = match self.format.radix {
            Radix::Natural | Radix::Decimal => match ty.kind() {
                // A pointer or unsigned number, read as one with a sign.
                TypeKind::Pointer => (unsigned as i64).to_string(),
                _ => number.to_string(),
            },
            Radix::Hexadecimal => format!("{unsigned:#x}"),
            Radix::Unsigned => unsigned.to_string(),
            Radix::Octal if unsigned == 0 => "0".to_owned(),
            Radix::Octal => format!("0{unsigned:o}"),
            Radix::Binary => format!("{unsigned:b}"),
            Radix::Character => format!("{} '{}'", number as i8, character(number as u8, '\'')),
            Radix::Address => {
                format!("{unsigned:#x}{}", symbol(value, unsigned as u64).unwrap_or_default())
            }
        };
        self.text.push_str(&text);
        Ok(())
    }

    fn pointer(&mut self, value: &Value, ty: &Type) -> Result<()> {
        let address = value.unsigned()?;
        let target = value.program().complete(&ty.target()?)?;
        let _ = write!(self.text, "{address:#x}");
        if self.format.symbols && address != 0 {
            self.text.push_str(&symbol(value, address).unwrap_or_default());
        }
        if is_character(&target) && address != 0 && self.format.radix == Radix::Natural {
            let limit = usize::try_from(self.format.elements).unwrap_or(usize::MAX).min(MAX_TEXT);
            // One more tells whether that was all.
            match value.program().read_string(address, limit.saturating_add(1)) {
                Ok(bytes) => {
                    self.text.push(' ');
                    self.string(&bytes, false);
                }
                Err(error) => {
                    let _ = write!(self.text, " <{error}>");
                }
            }
        }
        Ok(())
    }

    fn enumeration(&mut self, value: &Value, ty: &Type) -> Result<()> {
        let number = value.integer()?;
        let names = ty.enumerators();
        if let Some((name, _)) = names.iter().find(|(_, value)| *value == number) {
            self.text.push_str(name);
            return Ok(());
        }
        // Constants of separate bits are flags.
        let flags = number > 0 && names.iter().all(|(_, value)| *value >= 0) && {
            let mut seen = 0;
            names.iter().all(|(_, value)| {
                let separate = seen & value == 0;
                seen |= value;
                separate
            })
        };
        if !flags {
            self.text.push_str(&number.to_string());
            return Ok(());
        }
        let mut rest = number;
        let mut parts: Vec<String> = Vec::new();
        for (name, flag) in names.iter().filter(|(_, flag)| *flag != 0) {
            if rest & flag == *flag {
                parts.push(name.clone());
                rest &= !flag;
            }
        }
        if rest != 0 {
            parts.push(format!("unknown: {rest:#x}"));
        }
        let _ = write!(self.text, "({})", parts.join(" | "));
        Ok(())
    }

    fn record(&mut self, value: &Value, ty: &Type, depth: u32) -> Result<()> {
        if depth >= self.format.depth {
            self.text.push_str("{...}");
            return Ok(());
        }
        self.text.push('{');
        let fields = ty.fields()?;
        let last = fields.len().saturating_sub(1);
        for (index, field) in fields.iter().enumerate() {
            self.line(depth + 1);
            if !field.name.is_empty() {
                let _ = write!(self.text, "{} = ", field.name);
            }
            self.part(&value.member(field), depth + 1)?;
            if index < last {
                self.text.push_str(if self.format.lines { "," } else { ", " });
            }
        }
        if !fields.is_empty() {
            self.line(depth);
        }
        self.text.push('}');
        Ok(())
    }

    /// A part of a value: one that cannot be read is shown as such.
    fn part(&mut self, value: &Value, depth: u32) -> Result<()> {
        let start = self.text.len();
        match self.value(value, depth) {
            Err(error @ Error::Limit { .. }) => Err(error),
            Err(error) => {
                self.text.truncate(start);
                let _ = write!(self.text, "<{error}>");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn line(&mut self, depth: u32) {
        if self.format.lines {
            self.text.push('\n');
            for _ in 0..depth {
                self.text.push_str("  ");
            }
        }
    }

    fn array(&mut self, value: &Value, ty: &Type, depth: u32) -> Result<()> {
        let element = value.program().complete(&ty.target()?)?;
        let Some(count) = ty.count() else {
            // Nothing tells where a flexible array ends: only where it begins.
            let address = value.address().unwrap_or(0);
            let name = symbol(value, address).unwrap_or_default();
            let _ = write!(self.text, "{address:#x}{name}");
            return Ok(());
        };
        if is_character(&element) && matches!(self.format.radix, Radix::Natural | Radix::Character) {
            let bytes = value.with_type(ty.target()?.array(count.min(MAX_STRING))).bytes()?;
            // The NUL that ends a string is not part of it.
            let text = if count > MAX_STRING { &bytes } else { bytes.strip_suffix(&[0]).unwrap_or(&bytes) };
            self.string(text, count > MAX_STRING);
            return Ok(());
        }
        if depth >= self.format.depth {
            self.text.push_str("{...}");
            return Ok(());
        }
        self.text.push('{');
        let mut shown = 0u64;
        let mut index = 0u64;
        let mut first = true;
        while index < count && shown < self.format.elements {
            if !first {
                self.text.push_str(", ");
            }
            first = false;
            let item = value.element(index.into())?;
            let start = self.text.len();
            self.part(&item, depth + 1)?;
            let text = self.text.get(start..).unwrap_or_default().to_owned();
            index += 1;
            // Equal elements are told by their text, and only looked for where bytes are equal.
            let mut equal = 1usize;
            let small = element.size().is_ok_and(|size| (1..=MAX_COMPARED).contains(&size));
            if let (true, Ok(bytes)) = (small, item.bytes()) {
                while equal < MAX_EQUAL
                    && index < count
                    && value.element(index.into())?.bytes().is_ok_and(|other| other == bytes)
                {
                    equal += 1;
                    index += 1;
                }
            }
            if equal > REPEATS {
                let _ = write!(self.text, " <repeats {equal} times>");
                shown += REPEATS as u64;
                continue;
            }
            let room = usize::try_from(self.format.elements - shown).unwrap_or(usize::MAX);
            for _ in 1..equal.min(room) {
                self.text.push_str(", ");
                self.text.push_str(&text);
            }
            shown += equal as u64;
            if equal > room {
                index -= (equal - room) as u64;
                break;
            }
        }
        if index < count {
            self.text.push_str("...");
        }
        self.text.push('}');
        Ok(())
    }

    /// Bytes in quotes; many equal ones in a row are written once and count for few. `more` follow.
    fn string(&mut self, bytes: &[u8], more: bool) {
        let mut parts: Vec<String> = Vec::new();
        let mut open = String::new();
        let mut rest = bytes;
        let mut room = usize::try_from(self.format.elements).unwrap_or(usize::MAX);
        while let Some(&byte) = rest.first().filter(|_| room > 0) {
            let equal = rest.iter().take_while(|&&other| other == byte).count();
            if equal > REPEATS {
                if !open.is_empty() {
                    parts.push(format!("\"{open}\""));
                    open.clear();
                }
                parts.push(format!("'{}' <repeats {equal} times>", character(byte, '\'')));
                rest = rest.get(equal..).unwrap_or_default();
                room = room.saturating_sub(REPEATS);
                continue;
            }
            let shown = equal.min(room);
            for _ in 0..shown {
                open.push_str(&character(byte, '"'));
            }
            rest = rest.get(shown..).unwrap_or_default();
            room -= shown;
        }
        if !open.is_empty() || parts.is_empty() {
            parts.push(format!("\"{open}\""));
        }
        self.text.push_str(&parts.join(", "));
        if more || !rest.is_empty() {
            self.text.push_str("...");
        }
    }
}

/// The symbol at an address, as it stands behind it: ` <panic+67>`.
fn symbol(value: &Value, address: u64) -> Option<String> {
    let (symbol, _) = value.program().symbol_at(address)?;
    Some(match address - symbol.address {
        0 => format!(" <{}>", symbol.name),
        offset => format!(" <{}+{offset}>", symbol.name),
    })
}

/// A character as C writes it between quotes.
fn character(byte: u8, quote: char) -> String {
    match byte {
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        7 => "\\a".to_owned(),
        8 => "\\b".to_owned(),
        11 => "\\v".to_owned(),
        12 => "\\f".to_owned(),
        27 => "\\033".to_owned(),
        b'\\' => "\\\\".to_owned(),
        byte if byte as char == quote => format!("\\{quote}"),
        32..=126 => (byte as char).to_string(),
        byte => format!("\\{byte:03o}"),
    }
}

/// A number as `%.*g` writes it.
fn float(number: f64, digits: i32) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{number:.*e}", usize::try_from(digits - 1).unwrap_or(0));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{number:.*}", usize::try_from(digits - 1 - exponent).unwrap_or(0)))
}
