//! From a tree to a value.

use super::Names;
use super::parse::Tree;
use super::type_name::base;
use crate::dwarf::node::Encoding;
use crate::error::{Error, Result};
use crate::program::Program;
use crate::types::{Type, TypeKind};
use crate::value::Value;

/// Elements that `@` may ask for.
const MAX_ELEMENTS: i128 = 1 << 24;

pub(super) struct Evaluation<'e> {
    pub(super) program: &'e Program,
    pub(super) names: &'e dyn Names,
}

/// The type that arithmetic is done in.
#[derive(Clone, Copy, PartialEq)]
enum Arithmetic {
    Integer { bits: u32, signed: bool },
    Float,
}

impl Evaluation<'_> {
    pub(super) fn value(&self, tree: &Tree) -> Result<Value> {
        match tree {
            Tree::Integer { value, unsigned, long, decimal } => self.literal(*value, *unsigned, *long, *decimal),
            Tree::Float(value) => Value::number(self.program, base(self.program, "double")?, value.to_bits().into()),
            Tree::Character(value) => Value::number(self.program, base(self.program, "char")?, (*value).into()),
            Tree::Text(text) => {
                let ty = base(self.program, "char")?.array(text.len() as u64 + 1);
                Ok(Value::of_bytes(self.program, ty, [text.as_slice(), &[0]].concat()))
            }
            Tree::Name(name) => self.name(name),
            Tree::Dollar(name) => {
                let found = self.names.dollar(self.program, name)?;
                found.ok_or_else(|| Error::ty(format!("${name} has no value here")))
            }
            Tree::OfFile(file, name) => self.program.variable_of(file, name),
            Tree::Unary(sign, operand) => self.unary(sign, operand),
            Tree::Binary(sign, left, right) => self.binary(sign, left, right),
            Tree::Choice(condition, yes, no) => match self.truth(condition)? {
                true => self.value(yes),
                false => self.value(no),
            },
            Tree::Cast(ty, operand) => self.value(operand)?.cast(ty),
            Tree::At(ty, address) => Ok(Value::at(self.program, ty.clone(), self.value(address)?.unsigned()?)),
            Tree::SizeOf(operand) => {
                let value = self.value(operand)?;
                if value.is_bit_field() {
                    return Err(Error::ty("a bit field has no size"));
                }
                self.size(value.ty())
            }
            Tree::SizeOfType(ty) => self.size(ty),
            Tree::OffsetOf(ty, member) => self.unsigned_long(self.program.complete(ty)?.offset_of(member)?),
            Tree::Container(pointer, ty, member) => {
                let offset = self.program.complete(ty)?.offset_of(member)?;
                let address = self.value(pointer)?.unsigned()?.wrapping_sub(offset);
                Value::number(self.program, ty.pointer(), address.into())
            }
            Tree::Index(array, index) => {
                let (array, index) = (self.value(array)?, self.value(index)?);
                // C allows `2[names]` as well.
                match self.program.complete(array.ty())?.kind() {
                    TypeKind::Array | TypeKind::Pointer => array.element(index.integer()?),
                    _ => index.element(array.integer()?),
                }
            }
            // A dot on a pointer is taken for an arrow: there is nothing else it could mean.
            Tree::Field(value, name) | Tree::Arrow(value, name) => self.value(value)?.field(name),
            Tree::Call(name, arguments) => {
                let arguments: Vec<Value> = arguments.iter().map(|tree| self.value(tree)).collect::<Result<_>>()?;
                let found = self.names.call(self.program, name, &arguments)?;
                found.ok_or_else(|| Error::ty(format!("functions such as {name} cannot be called")))
            }
        }
    }

    fn name(&self, name: &str) -> Result<Value> {
        if let Some(value) = self.names.variable(self.program, name)? {
            return Ok(value);
        }
        let known = || {
            if let Some(value) = self.program.find_variable(name)? {
                return Ok(Some(value));
            }
            if let Some(value) = self.program.function(name)? {
                return Ok(Some(value));
            }
            let Some((ty, number)) = self.program.enumerator(name)? else { return Ok(None) };
            Value::number(self.program, ty, number).map(Some)
        };
        match known() {
            Ok(Some(value)) => Ok(value),
            // What only the symbol table knows has an address and no type.
            missing => match (self.program.symbol(name), missing) {
                (Ok(symbol), _) => Ok(Value::at(self.program, Type::void(self.program.first()?), symbol.address)),
                (Err(_), Err(Error::NoDebugInfo { .. }) | Ok(_)) => Err(self.program.not_found("symbol", name)),
                (Err(_), Err(error)) => Err(error),
            },
        }
    }

    /// C11, 6.4.4.1: the first of the types that can hold the number.
    fn literal(&self, value: u128, unsigned: bool, long: bool, decimal: bool) -> Result<Value> {
        let word = u32::from(self.program.architecture().word()) * 8;
        let fits = |bits: u32| value >> bits == 0;
        let choices = [
            ("int", 31, !unsigned && !long),
            ("unsigned int", 32, !long && (unsigned || !decimal)),
            ("long", word - 1, !unsigned),
            ("unsigned long", word, unsigned || !decimal),
            ("long long", 63, !unsigned),
            ("unsigned long long", 64, true),
        ];
        let name =
            choices.into_iter().find(|&(_, bits, allowed)| allowed && fits(bits)).map_or("unsigned long long", |c| c.0);
        Value::number(self.program, base(self.program, name)?, value as i128)
    }

    fn unsigned_long(&self, value: u64) -> Result<Value> {
        Value::number(self.program, base(self.program, "unsigned long")?, value.into())
    }

    fn size(&self, ty: &Type) -> Result<Value> {
        self.unsigned_long(self.program.complete(ty)?.size()?)
    }

    fn truth(&self, tree: &Tree) -> Result<bool> {
        Ok(!self.value(tree)?.is_zero()?)
    }

    fn int(&self, value: i128) -> Result<Value> {
        Value::number(self.program, base(self.program, "int")?, value)
    }

    fn unary(&self, sign: &str, operand: &Tree) -> Result<Value> {
        if sign == "!" {
            let value = self.truth(operand)?;
            return self.int((!value).into());
        }
        let value = self.value(operand)?;
        match sign {
            "&" => value.address_of(),
            "*" => match self.program.complete(value.ty())?.kind() {
                // As in a debugger: an integer is an address of a word.
                TypeKind::Base(Encoding::Signed | Encoding::Unsigned) => {
                    Ok(Value::at(self.program, base(self.program, "long")?, value.unsigned()?))
                }
                _ => value.deref(),
            },
            _ => match (self.arithmetic(&value)?, sign) {
                (Arithmetic::Float, "-") => self.float(-value.float()?),
                (Arithmetic::Float, "+") => self.float(value.float()?),
                (Arithmetic::Float, _) => Err(Error::ty("~ needs an integer")),
                (kind, "-") => self.integer(kind, value.integer()?.wrapping_neg()),
                (kind, "~") => self.integer(kind, !value.integer()?),
                (kind, _) => self.integer(kind, value.integer()?),
            },
        }
    }

    fn float(&self, value: f64) -> Result<Value> {
        Value::number(self.program, base(self.program, "double")?, value.to_bits().into())
    }

    fn integer(&self, kind: Arithmetic, value: i128) -> Result<Value> {
        let word = u32::from(self.program.architecture().word()) * 8;
        let name = match kind {
            Arithmetic::Integer { bits: 128, signed: true } => "__int128",
            Arithmetic::Integer { bits: 128, signed: false } => "unsigned __int128",
            Arithmetic::Integer { bits: 64, signed: true } if word == 64 => "long",
            Arithmetic::Integer { bits: 64, signed: false } if word == 64 => "unsigned long",
            Arithmetic::Integer { bits: 64, signed: true } => "long long",
            Arithmetic::Integer { bits: 64, signed: false } => "unsigned long long",
            Arithmetic::Integer { signed: false, .. } => "unsigned int",
            _ => "int",
        };
        Value::number(self.program, base(self.program, name)?, value)
    }

    /// The type that a number is promoted to (C11, 6.3.1.1).
    fn arithmetic(&self, value: &Value) -> Result<Arithmetic> {
        let ty = self.program.complete(value.ty())?;
        let int = Arithmetic::Integer { bits: 32, signed: true };
        match ty.kind() {
            TypeKind::Base(Encoding::Float) => Ok(Arithmetic::Float),
            TypeKind::Base(Encoding::Boolean | Encoding::SignedChar | Encoding::UnsignedChar) => Ok(int),
            TypeKind::Base(encoding @ (Encoding::Signed | Encoding::Unsigned)) => {
                let signed = encoding == Encoding::Signed;
                match ty.size()? {
                    0..=3 => Ok(int),
                    _ if value.is_bit_field() && ty.size()? <= 4 => Ok(int),
                    4 => Ok(Arithmetic::Integer { bits: 32, signed }),
                    8 => Ok(Arithmetic::Integer { bits: 64, signed }),
                    _ => Ok(Arithmetic::Integer { bits: 128, signed }),
                }
            }
            TypeKind::Enum if ty.size().unwrap_or(4) > 4 => Ok(Arithmetic::Integer { bits: 64, signed: true }),
            TypeKind::Enum => Ok(int),
            TypeKind::Pointer | TypeKind::Array | TypeKind::Function => {
                Ok(Arithmetic::Integer { bits: u32::from(self.program.architecture().word()) * 8, signed: false })
            }
            TypeKind::Void => {
                Err(Error::ty("a symbol without debug information has no type: cast it, as in (int)NAME, or use &NAME"))
            }
            _ => Err(Error::ty(format!("{} is not a number", value.ty()))),
        }
    }

    fn is_address(&self, value: &Value) -> Result<bool> {
        Ok(matches!(self.program.complete(value.ty())?.kind(), TypeKind::Pointer | TypeKind::Array))
    }

    fn binary(&self, sign: &'static str, left: &Tree, right: &Tree) -> Result<Value> {
        match sign {
            "," => {
                self.value(left)?;
                return self.value(right);
            }
            "&&" => return self.int((self.truth(left)? && self.truth(right)?).into()),
            "||" => return self.int((self.truth(left)? || self.truth(right)?).into()),
            _ => {}
        }
        let (left, right) = match (self.value(left), self.value(right)) {
            (Ok(left), Err(error)) => {
                let right = self.constant_of(&left, right).ok_or(error)?;
                (left, right)
            }
            (Err(error), Ok(right)) => (self.constant_of(&right, left).ok_or(error)?, right),
            (left, right) => (left?, right?),
        };
        if sign == "@" {
            let count = right.integer()?;
            if !(1..=MAX_ELEMENTS).contains(&count) {
                return Err(Error::ty(format!("{count} is not a number of elements that can be shown")));
            }
            let address = left.address().ok_or_else(|| Error::ty("only what is in memory can be followed by @"))?;
            return Ok(Value::at(self.program, left.ty().array(count as u64), address));
        }
        let addresses = (self.is_address(&left)?, self.is_address(&right)?);
        match (sign, addresses) {
            ("+", (true, false)) => self.moved(&left, right.integer()?),
            ("+", (false, true)) => self.moved(&right, left.integer()?),
            ("-", (true, false)) => self.moved(&left, right.integer()?.wrapping_neg()),
            ("-", (true, true)) => self.difference(&left, &right),
            _ => self.calculate(sign, &left, &right),
        }
    }

    /// A name as a constant of the enumeration that `value` is of: that may be one within a structure, whose constants are
    /// in no index (`p->p_state == PRS_NORMAL`).
    fn constant_of(&self, value: &Value, tree: &Tree) -> Option<Value> {
        let Tree::Name(name) = tree else { return None };
        let ty = self.program.complete(value.ty()).ok().filter(|ty| ty.kind() == TypeKind::Enum)?;
        let (_, number) = ty.enumerators().into_iter().find(|(constant, _)| constant == name)?;
        Value::number(self.program, ty, number).ok()
    }

    /// A pointer so many elements further on.
    fn moved(&self, pointer: &Value, count: i128) -> Result<Value> {
        let ty = self.program.complete(pointer.ty())?;
        let (target, pointer_type) = match ty.kind() {
            TypeKind::Array => (ty.target()?, ty.target()?.pointer()),
            _ => (ty.target()?, pointer.ty().clone()),
        };
        let address = pointer.unsigned()?.wrapping_add(count.wrapping_mul(self.step(&target)?) as u64);
        Value::number(self.program, pointer_type, address.into())
    }

    /// What a pointer moves by: `void` and functions count as bytes, as GNU C has it.
    fn step(&self, target: &Type) -> Result<i128> {
        let target = self.program.complete(target)?;
        match target.kind() {
            TypeKind::Void | TypeKind::Function => Ok(1),
            _ => Ok(target.size()?.into()),
        }
    }

    fn difference(&self, left: &Value, right: &Value) -> Result<Value> {
        let step = self.step(&self.program.complete(left.ty())?.target()?)?;
        if step == 0 || step != self.step(&self.program.complete(right.ty())?.target()?)? {
            return Err(Error::ty(format!("{} and {} point to elements of different sizes", left.ty(), right.ty())));
        }
        let bytes = left.unsigned()?.wrapping_sub(right.unsigned()?) as i64;
        Value::number(self.program, base(self.program, "long")?, i128::from(bytes) / step)
    }

    fn calculate(&self, sign: &str, left: &Value, right: &Value) -> Result<Value> {
        let kinds = (self.arithmetic(left)?, self.arithmetic(right)?);
        let (Arithmetic::Integer { bits, signed }, Arithmetic::Integer { bits: other, signed: other_signed }) = kinds
        else {
            return self.calculate_float(sign, left.float()?, right.float()?);
        };
        let (a, b) = (left.integer()?, right.integer()?);
        if matches!(sign, "<<" | ">>") {
            // The type is the left one's alone; what is shifted out entirely is gone.
            let count = u32::try_from(b).ok().filter(|&count| count < bits);
            let value = match (sign, count) {
                ("<<", Some(count)) => a.wrapping_shl(count),
                (_, Some(count)) => a >> count,
                ("<<", None) => 0,
                (_, None) => {
                    if a < 0 {
                        -1
                    } else {
                        0
                    }
                }
            };
            return self.integer(kinds.0, value);
        }
        let kind = match bits.cmp(&other) {
            std::cmp::Ordering::Greater => kinds.0,
            std::cmp::Ordering::Less => kinds.1,
            std::cmp::Ordering::Equal => Arithmetic::Integer { bits, signed: signed && other_signed },
        };
        let (a, b) = (convert(a, kind), convert(b, kind));
        let value = match sign {
            "+" => a.wrapping_add(b),
            "-" => a.wrapping_sub(b),
            "*" => a.wrapping_mul(b),
            "/" | "%" if b == 0 => return Err(Error::ty("a division by zero")),
            "/" => a.wrapping_div(b),
            "%" => a.wrapping_rem(b),
            "&" => a & b,
            "|" => a | b,
            "^" => a ^ b,
            "==" => return self.int((a == b).into()),
            "!=" => return self.int((a != b).into()),
            "<" => return self.int((a < b).into()),
            ">" => return self.int((a > b).into()),
            "<=" => return self.int((a <= b).into()),
            _ => return self.int((a >= b).into()),
        };
        self.integer(kind, value)
    }

    fn calculate_float(&self, sign: &str, a: f64, b: f64) -> Result<Value> {
        match sign {
            "+" => self.float(a + b),
            "-" => self.float(a - b),
            "*" => self.float(a * b),
            "/" => self.float(a / b),
            "==" => self.int((a == b).into()),
            "!=" => self.int((a != b).into()),
            "<" => self.int((a < b).into()),
            ">" => self.int((a > b).into()),
            "<=" => self.int((a <= b).into()),
            ">=" => self.int((a >= b).into()),
            _ => Err(Error::ty(format!("{sign} needs integers"))),
        }
    }
}

/// A number as the type that both operands are converted to has it.
fn convert(value: i128, kind: Arithmetic) -> i128 {
    match kind {
        Arithmetic::Integer { bits, signed: false } if bits < 128 => value & ((1 << bits) - 1),
        _ => value,
    }
}
