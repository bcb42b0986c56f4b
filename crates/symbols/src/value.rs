//! Typed values.

use std::sync::Arc;

use crate::dwarf::node::Encoding;
use crate::error::{Error, Result};
use crate::print::Format;
use crate::program::Program;
use crate::types::{Bits, Type, TypeKind};

/// Bytes of one value that are read at once; larger arrays are read by element.
const MAX_BYTES: u64 = 64 << 20;

/// A value: a type, and where or what it is. Cheap to clone; nothing is read from memory before it is asked for.
#[derive(Clone)]
pub struct Value {
    program: Program,
    ty: Type,
    place: Place,
    /// The bits of a bit field, from the place on.
    bits: Option<Bits>,
}

#[derive(Clone)]
enum Place {
    Memory(u64),
    Bytes(Arc<Vec<u8>>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Memory(address) => write!(f, "Value({} at {address:#x})", self.ty),
            Place::Bytes(bytes) => write!(f, "Value({} of {bytes:?})", self.ty),
        }
    }
}

impl std::fmt::Display for Value {
    /// The value as [`Format::default`] shows it, or why it cannot be read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.show(&Format::default()) {
            Ok(text) => f.write_str(&text),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

impl Value {
    pub(crate) fn at(program: &Program, ty: Type, address: u64) -> Self {
        let address = match program.architecture().word() {
            4 => address & 0xffff_ffff,
            _ => address,
        };
        Self { program: program.clone(), ty, place: Place::Memory(address), bits: None }
    }

    pub(crate) fn of_bytes(program: &Program, ty: Type, bytes: Vec<u8>) -> Self {
        Self { program: program.clone(), ty, place: Place::Bytes(Arc::new(bytes)), bits: None }
    }

    /// A number of a type of 1 to 16 bytes; what does not fit is cut off, as C does.
    pub(crate) fn number(program: &Program, ty: Type, number: i128) -> Result<Self> {
        let size = usize::try_from(ty.size()?).ok().filter(|size| (1..=16).contains(size));
        let size = size.ok_or_else(|| Error::ty(format!("{ty} cannot hold a number")))?;
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.truncate(size);
        if program.is_big_endian() {
            bytes.reverse();
        }
        Ok(Self::of_bytes(program, ty, bytes))
    }

    /// The program that it belongs to.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its type.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// Its type without typedefs and qualifiers, completed from other images.
    ///
    /// # Errors
    ///
    /// The debug information is damaged.
    pub fn resolved_type(&self) -> Result<Type> {
        self.program.complete(&self.ty)
    }

    /// Its address, if it is in memory and not a bit field.
    pub fn address(&self) -> Option<u64> {
        match self.place {
            Place::Memory(address) if self.bits.is_none() => Some(address),
            _ => None,
        }
    }

    pub(crate) fn with_type(&self, ty: Type) -> Self {
        Self { ty, ..self.clone() }
    }

    /// Whether it is a bit field.
    pub(crate) fn is_bit_field(&self) -> bool {
        self.bits.is_some()
    }

    /// Its bytes, as they are in memory.
    ///
    /// # Errors
    ///
    /// They cannot be read, or are too many.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let size = self.program.complete(&self.ty)?.size()?;
        self.part(0, size)
    }

    /// `size` bytes of it from `offset` on.
    fn part(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        if size > MAX_BYTES {
            return Err(Error::Limit { what: format!("the size of a value of type {}", self.ty), limit: MAX_BYTES });
        }
        let length = usize::try_from(size).unwrap_or(0);
        match &self.place {
            Place::Memory(address) => {
                let mut bytes = vec![0; length];
                self.program.read(address.wrapping_add(offset), &mut bytes)?;
                Ok(bytes)
            }
            Place::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let part = bytes.get(start..start.saturating_add(length));
                part.map(<[u8]>::to_vec).ok_or_else(|| Error::ty(format!("a value of type {} ends before", self.ty)))
            }
        }
    }

    /// The number in its bytes, without a sign.
    fn raw(&self) -> Result<u128> {
        let big = self.program.is_big_endian();
        let join = |bytes: &[u8]| match big {
            true => bytes.iter().fold(0, |sum: u128, &byte| sum << 8 | u128::from(byte)),
            false => bytes.iter().rev().fold(0, |sum: u128, &byte| sum << 8 | u128::from(byte)),
        };
        match self.bits {
            None => {
                let bytes = self.bytes()?;
                if bytes.len() > 16 {
                    return Err(Error::ty(format!("{} is not a number", self.ty)));
                }
                Ok(join(&bytes))
            }
            Some(bits) => {
                let first = bits.start % 8;
                let length = (first + bits.size).div_ceil(8);
                if bits.size > 120 {
                    return Err(Error::ty(format!("a bit field of {} bits", bits.size)));
                }
                let number = join(&self.part(bits.start / 8, length)?);
                let shift = if big { length * 8 - first - bits.size } else { first };
                Ok(number >> shift & ((1 << bits.size) - 1))
            }
        }
    }

    /// Width of its number in bits.
    pub(crate) fn width(&self) -> Result<u64> {
        match self.bits {
            Some(bits) => Ok(bits.size),
            None => Ok(self.program.complete(&self.ty)?.size()?.saturating_mul(8)),
        }
    }

    /// Its number: of integers, characters, truth values, enumerations and pointers; of arrays and functions their address.
    ///
    /// # Errors
    ///
    /// It is of another kind, or cannot be read.
    pub fn integer(&self) -> Result<i128> {
        let ty = self.program.complete(&self.ty)?;
        let signed = match ty.kind() {
            TypeKind::Base(Encoding::Signed | Encoding::SignedChar) => true,
            TypeKind::Base(Encoding::Unsigned | Encoding::UnsignedChar | Encoding::Boolean) | TypeKind::Pointer => {
                false
            }
            TypeKind::Enum => ty.is_signed_enum(),
            TypeKind::Base(Encoding::Float) => {
                let number = self.float()?;
                return Ok(number as i128);
            }
            TypeKind::Array | TypeKind::Function => {
                let address = self.address();
                return address
                    .map(i128::from)
                    .ok_or_else(|| Error::ty(format!("a value of type {} has no address", self.ty)));
            }
            _ => return Err(Error::ty(format!("{} is not a number", self.ty))),
        };
        let (raw, width) = (self.raw()?, self.width()?);
        if signed && width > 0 && width < 128 && raw >> (width - 1) & 1 == 1 {
            return Ok((raw | u128::MAX << width) as i128);
        }
        Ok(raw as i128)
    }

    /// Its number, modulo 2^64.
    ///
    /// # Errors
    ///
    /// As [`Value::integer`].
    pub fn unsigned(&self) -> Result<u64> {
        self.integer().map(|number| number as u64)
    }

    /// Its number as a floating-point one.
    ///
    /// # Errors
    ///
    /// It is not a number, or cannot be read.
    pub fn float(&self) -> Result<f64> {
        let ty = self.program.complete(&self.ty)?;
        if ty.kind() != TypeKind::Base(Encoding::Float) {
            return self.integer().map(|number| number as f64);
        }
        let raw = self.raw()?;
        match ty.size()? {
            4 => Ok(f32::from_bits(raw as u32).into()),
            8 => Ok(f64::from_bits(raw as u64)),
            10 | 12 | 16 if self.program.architecture().is_x86() => Ok(extended(raw)),
            _ => Err(Error::ty(format!("{} is of a format that is not known", self.ty))),
        }
    }

    /// Whether it is 0, a null pointer, or false.
    ///
    /// # Errors
    ///
    /// As [`Value::integer`].
    pub fn is_zero(&self) -> Result<bool> {
        match self.program.complete(&self.ty)?.kind() {
            TypeKind::Base(Encoding::Float) => Ok(self.float()? == 0.0),
            _ => Ok(self.integer()? == 0),
        }
    }

    /// A member of a structure or union; of a pointer to one, a member of what it points to.
    ///
    /// # Errors
    ///
    /// There is no such member, or a pointer cannot be read.
    pub fn field(&self, name: &str) -> Result<Self> {
        let ty = self.program.complete(&self.ty)?;
        if ty.kind() == TypeKind::Pointer {
            return self.deref()?.field_here(name);
        }
        self.field_here(name)
    }

    fn field_here(&self, name: &str) -> Result<Self> {
        let field = self.program.complete(&self.ty)?.field(name)?;
        Ok(self.member(&field))
    }

    pub(crate) fn member(&self, field: &crate::types::Field) -> Self {
        let offset = if field.bits.is_some() { 0 } else { field.offset };
        let place = match &self.place {
            Place::Memory(address) => Place::Memory(address.wrapping_add(offset)),
            Place::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                Place::Bytes(Arc::new(bytes.get(start..).unwrap_or_default().to_vec()))
            }
        };
        Self { program: self.program.clone(), ty: field.ty.clone(), place, bits: field.bits }
    }

    /// Members one after another, by a path: `"td_proc.p_comm"`. Pointers on the way are followed.
    ///
    /// # Errors
    ///
    /// As [`Value::field`].
    pub fn path(&self, path: &str) -> Result<Self> {
        let names = path.split("->").flat_map(|part| part.split('.'));
        names.filter(|name| !name.is_empty()).try_fold(self.clone(), |value, name| value.field(name.trim()))
    }

    /// What a pointer points to; the first element of an array.
    ///
    /// # Errors
    ///
    /// It is no pointer, points to `void`, or cannot be read. That what it points to can be read is not looked at.
    pub fn deref(&self) -> Result<Self> {
        let ty = self.program.complete(&self.ty)?;
        match ty.kind() {
            TypeKind::Pointer => Ok(Self::at(&self.program, ty.target()?, self.unsigned()?)),
            TypeKind::Array => self.element(0),
            TypeKind::Function => Ok(self.clone()),
            _ => Err(Error::ty(format!("{} is not a pointer", self.ty))),
        }
    }

    /// An element of an array, also outside of its bounds where it is in memory; of a pointer, what it points to so many
    /// elements further on.
    ///
    /// # Errors
    ///
    /// It is neither, or the elements have no size.
    pub fn element(&self, index: i128) -> Result<Self> {
        let ty = self.program.complete(&self.ty)?;
        let element = match ty.kind() {
            TypeKind::Pointer | TypeKind::Array => ty.target()?,
            _ => return Err(Error::ty(format!("{} is not an array or pointer", self.ty))),
        };
        let size = self.program.complete(&element)?.size()?;
        let offset = index.wrapping_mul(size.into()) as u64;
        let place = match (&self.place, ty.kind()) {
            (_, TypeKind::Pointer) => Place::Memory(self.unsigned()?.wrapping_add(offset)),
            (Place::Memory(address), _) => Place::Memory(address.wrapping_add(offset)),
            (Place::Bytes(bytes), _) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
                let part = bytes.get(start..end);
                Place::Bytes(Arc::new(
                    part.ok_or_else(|| Error::ty(format!("{} has no element {index}", self.ty)))?.to_vec(),
                ))
            }
        };
        Ok(Self { program: self.program.clone(), ty: element, place, bits: None })
    }

    /// The elements of an array, at most `limit`.
    ///
    /// # Errors
    ///
    /// It is no array, or its elements have no size.
    pub fn elements(&self, limit: u64) -> Result<Vec<Self>> {
        let ty = self.program.complete(&self.ty)?;
        if ty.kind() != TypeKind::Array {
            return Err(Error::ty(format!("{} is not an array", self.ty)));
        }
        let count = ty.count().unwrap_or(0).min(limit);
        (0..count).map(|index| self.element(index.into())).collect()
    }

    /// A pointer to it.
    ///
    /// # Errors
    ///
    /// It is not in memory, or a bit field.
    pub fn address_of(&self) -> Result<Self> {
        let address = self.address().ok_or_else(|| {
            let what = if self.bits.is_some() { "a bit field" } else { "a value that is not in memory" };
            Error::ty(format!("{what} has no address"))
        })?;
        Self::number(&self.program, self.ty.pointer(), address.into())
    }

    /// The value converted to another type, as a cast in C; to a structure or array of the same place in memory where C
    /// has no such cast.
    ///
    /// # Errors
    ///
    /// There is no way from the one type to the other.
    pub fn cast(&self, ty: &Type) -> Result<Self> {
        let target = self.program.complete(ty)?;
        match target.kind() {
            TypeKind::Base(Encoding::Float) => {
                let number = self.float()?;
                match target.size()? {
                    4 => Self::number(&self.program, ty.clone(), (number as f32).to_bits().into()),
                    8 => Self::number(&self.program, ty.clone(), number.to_bits().into()),
                    _ => Err(Error::ty(format!("{ty} is of a format that cannot be made"))),
                }
            }
            TypeKind::Base(Encoding::Boolean) => Self::number(&self.program, ty.clone(), (!self.is_zero()?).into()),
            // A symbol without a type is taken for what it is cast to.
            _ if self.ty.kind() == TypeKind::Void && self.address().is_some() => Ok(self.with_type(ty.clone())),
            TypeKind::Base(_) | TypeKind::Pointer | TypeKind::Enum => {
                Self::number(&self.program, ty.clone(), self.integer()?)
            }
            TypeKind::Void => Ok(self.with_type(ty.clone())),
            _ if self.address().is_some() => Ok(self.with_type(ty.clone())),
            _ => Err(Error::ty(format!("{} cannot be converted to {ty}", self.ty))),
        }
    }

    /// The text of an array of characters, or what a pointer to characters points to, up to the first NUL or `limit`
    /// bytes. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    ///
    /// It is neither, or cannot be read.
    pub fn string(&self, limit: usize) -> Result<String> {
        let ty = self.program.complete(&self.ty)?;
        let bytes = match ty.kind() {
            TypeKind::Pointer => self.program.read_string(self.unsigned()?, limit)?,
            TypeKind::Array => {
                let limit = match ty.count() {
                    Some(count) if count > 0 => usize::try_from(count).unwrap_or(usize::MAX).min(limit),
                    _ => limit,
                };
                match &self.place {
                    Place::Memory(address) => self.program.read_string(*address, limit)?,
                    Place::Bytes(bytes) => {
                        let end =
                            bytes.iter().take(limit).position(|&byte| byte == 0).unwrap_or(bytes.len().min(limit));
                        bytes.get(..end).unwrap_or_default().to_vec()
                    }
                }
            }
            _ => return Err(Error::ty(format!("{} is not a string", self.ty))),
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The name of its number in its enumeration, if it has one.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn enumerator(&self) -> Result<Option<String>> {
        let ty = self.program.complete(&self.ty)?;
        let number = self.integer()?;
        Ok(ty.enumerators().into_iter().find(|(_, value)| *value == number).map(|(name, _)| name))
    }

    /// The value in C.
    ///
    /// # Errors
    ///
    /// None of it can be read. Parts that cannot be read are shown as such.
    pub fn show(&self, format: &Format) -> Result<String> {
        crate::print::show(self, format)
    }
}

/// The x87's number of 80 bits: an explicit leading bit, and 16383 added to the exponent.
fn extended(raw: u128) -> f64 {
    let fraction = raw as u64;
    let exponent = (raw >> 64 & 0x7fff) as i32;
    let sign = if raw >> 79 & 1 == 1 { -1.0 } else { 1.0 };
    match (exponent, fraction) {
        (0, 0) => 0.0 * sign,
        (0x7fff, fraction) if fraction << 1 == 0 => f64::INFINITY * sign,
        (0x7fff, _) => f64::NAN,
        _ => sign * fraction as f64 * 2f64.powi(exponent - 16383 - 63),
    }
}
