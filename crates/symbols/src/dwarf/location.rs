//! Where a variable is: DWARF expressions (DWARF 5, 2.5 and 2.6) over the registers of a frame and memory.

use gimli::{AttributeValue, DwAt, EvaluationResult, Expression, Location, UnitOffset, Value};

use super::{DebugInfo, Die, Entry, Slice, Unit};
use crate::architecture::Registers;
use crate::error::{Error, Result};
use crate::memory::Memory;

/// Operations that one expression may take, loops included.
const MAX_OPERATIONS: u32 = 10_000;
/// Expressions that one may ask for: frame bases, entry values, calls.
const MAX_DEPTH: u32 = 8;
/// Bytes of a variable that is put together from registers.
const MAX_PIECES: u64 = 1 << 16;

/// A frame, as far as an expression can ask.
#[derive(Clone, Copy)]
pub(crate) struct Context<'c> {
    pub(crate) memory: &'c dyn Memory,
    /// Registers, where the address belongs to a frame.
    pub(crate) registers: Option<&'c Registers>,
    /// Canonical frame address, if the frame has one.
    pub(crate) cfa: Option<u64>,
    /// Address within the function, as linked.
    pub(crate) address: u64,
    /// What addresses of the file differ by in memory.
    pub(crate) slide: u64,
    /// The frame that called this one: for values at entry.
    pub(crate) caller: Option<&'c Caller<'c>>,
}

/// The calling frame, for `DW_OP_entry_value`.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'c> {
    pub(crate) info: &'c DebugInfo,
    pub(crate) context: Context<'c>,
    /// The return address, as linked.
    pub(crate) return_address: u64,
}

/// Something that a call passes.
#[derive(Clone, Copy)]
enum Passed {
    Register(gimli::Register),
    Parameter(Die),
}

fn not_told() -> Error {
    Error::unavailable("its value at the function's entry", "is not told by the caller")
}

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Memory(u64),
    /// Not in memory: its bytes.
    Bytes(Vec<u8>),
}

impl DebugInfo {
    /// Where the variable of an entry is; `size` is its type's, in bytes.
    pub(crate) fn locate(&self, die: Die, name: &str, size: u64, context: &Context<'_>) -> Result<Found> {
        self.find(die, name, size, context).map_err(|error| match error {
            Error::Unavailable { what, why } if what != name => {
                Error::unavailable(name, format!("is not known here: {what} {why}"))
            }
            error => error,
        })
    }

    fn find(&self, die: Die, name: &str, size: u64, context: &Context<'_>) -> Result<Found> {
        let unit = self.unit(die.unit)?;
        let entry = self.entry(&unit, die.offset)?;
        if let Some(value) = entry.attr_value(gimli::DW_AT_const_value) {
            return self.constant(value, size, name);
        }
        let Some(expression) = self.expression(&unit, &entry, gimli::DW_AT_location, context.address)? else {
            // The location may stand at the declaration that the entry completes, and a constant at the origin.
            if let Some(origin) = self.origin(&unit, &entry)? {
                let unit = self.unit(origin.unit)?;
                let entry = self.entry(&unit, origin.offset)?;
                if let Some(value) = entry.attr_value(gimli::DW_AT_const_value) {
                    return self.constant(value, size, name);
                }
            }
            return Err(Error::unavailable(name, "is optimized out"));
        };
        self.pieces(&unit, expression, name, size, context)
    }

    fn constant(&self, value: AttributeValue<Slice<'_>>, size: u64, name: &str) -> Result<Found> {
        let size = usize::try_from(size.min(MAX_PIECES)).unwrap_or(0);
        let mut bytes = match value {
            AttributeValue::Block(block) => return Ok(Found::Bytes(block.slice().to_vec())),
            AttributeValue::String(string) => return Ok(Found::Bytes([string.slice(), &[0]].concat())),
            AttributeValue::Data16(number) => number.to_le_bytes().to_vec(),
            other => {
                let number = other.udata_value().or_else(|| other.sdata_value().map(|number| number as u64));
                let number = number.ok_or_else(|| Error::unavailable(name, "has a constant that is not a number"))?;
                let sign = if matches!(other, AttributeValue::Sdata(number) if number < 0) { 0xff } else { 0 };
                let mut bytes = number.to_le_bytes().to_vec();
                bytes.resize(16, sign);
                bytes
            }
        };
        bytes.resize(size, 0);
        if self.endian == gimli::RunTimeEndian::Big {
            bytes.reverse();
        }
        Ok(Found::Bytes(bytes))
    }

    /// The expression of an attribute that holds at an address: its own, or one of a list.
    fn expression<'a>(
        &'a self,
        unit: &Unit<'a>,
        entry: &Entry<'a>,
        name: DwAt,
        address: u64,
    ) -> Result<Option<Expression<Slice<'a>>>> {
        let Some(value) = entry.attr_value(name) else { return Ok(None) };
        if let AttributeValue::Exprloc(expression) = value {
            return Ok((!expression.0.is_empty()).then_some(expression));
        }
        // DWARF 2 and 3 write expressions as blocks.
        if let AttributeValue::Block(block) = value {
            return Ok((!block.is_empty()).then_some(Expression(block)));
        }
        let fault = |error| self.fault("location lists", error);
        let place = self.place(unit.index)?;
        let dwarf = self.dwarf(place.file, place.skeleton, true)?;
        let Some(mut list) = dwarf.attr_locations(&unit.unit, value).map_err(fault)? else { return Ok(None) };
        while let Some(entry) = list.next().map_err(fault)? {
            if (entry.range.begin..entry.range.end).contains(&address) {
                return Ok((!entry.data.0.is_empty()).then_some(entry.data));
            }
        }
        Ok(None)
    }

    /// Evaluates a location and gathers its pieces.
    fn pieces<'a>(
        &self,
        unit: &Unit<'a>,
        expression: Expression<Slice<'a>>,
        name: &str,
        size: u64,
        context: &Context<'_>,
    ) -> Result<Found> {
        // Of a static variable that the linker left out, the address is 0.
        let first = expression.operations(unit.unit.encoding()).next();
        if matches!(first, Ok(Some(gimli::Operation::Address { address: 0 }))) {
            return Err(Error::unavailable(name, "is optimized out"));
        }
        let pieces = self.evaluate(unit, expression, name, context, 0)?;
        if let [gimli::Piece { size_in_bits: None, location: Location::Address { address }, .. }] = pieces.as_slice() {
            return Ok(Found::Memory(*address));
        }
        let mut bytes = Vec::new();
        for piece in &pieces {
            let bits = piece.size_in_bits.unwrap_or(size.saturating_mul(8));
            if bits % 8 != 0 || piece.bit_offset.unwrap_or(0) != 0 {
                return Err(Error::unavailable(name, "is split into bits, which is not supported"));
            }
            let length = bits / 8;
            if bytes.len() as u64 + length > MAX_PIECES {
                return Err(Error::Limit { what: format!("the size of {name} in pieces"), limit: MAX_PIECES });
            }
            let length = usize::try_from(length).unwrap_or(0);
            let mut part = match &piece.location {
                Location::Empty => return Err(Error::unavailable(name, "is optimized out")),
                Location::Register { register } => self.register(context, register.0)?.to_le_bytes().to_vec(),
                Location::Value { value } => {
                    value.to_u64(u64::MAX).map_err(|error| self.fault("an expression", error))?.to_le_bytes().to_vec()
                }
                Location::Address { address } => {
                    let mut part = vec![0; length];
                    context.memory.read(*address, &mut part)?;
                    bytes.extend(part);
                    continue;
                }
                Location::Bytes { value } => {
                    bytes.extend(value.slice().iter().copied().chain(std::iter::repeat(0)).take(length));
                    continue;
                }
                Location::ImplicitPointer { .. } => {
                    return Err(Error::unavailable(name, "is a pointer that is optimized out"));
                }
            };
            part.resize(length, 0);
            if self.endian == gimli::RunTimeEndian::Big {
                part.reverse();
            }
            bytes.extend(part);
        }
        Ok(Found::Bytes(bytes))
    }

    fn register(&self, context: &Context<'_>, number: u16) -> Result<u64> {
        let registers =
            context.registers.ok_or_else(|| Error::unavailable("a register", "is not known outside of a frame"))?;
        registers.get(number).ok_or_else(|| {
            let names = registers.architecture().register_names();
            let name =
                names.get(usize::from(number)).map_or_else(|| format!("register {number}"), |&name| name.to_owned());
            Error::unavailable(name, "is not known in this frame")
        })
    }

    /// The value of an expression that is not a location.
    fn value<'a>(
        &self,
        unit: &Unit<'a>,
        expression: Expression<Slice<'a>>,
        context: &Context<'_>,
        depth: u32,
    ) -> Result<u64> {
        let pieces = self.evaluate(unit, expression, "a value", context, depth)?;
        match pieces.as_slice() {
            [piece] => match &piece.location {
                Location::Address { address } => Ok(*address),
                Location::Value { value } => value.to_u64(u64::MAX).map_err(|error| self.fault("an expression", error)),
                Location::Register { register } => self.register(context, register.0),
                _ => Err(Error::unavailable("a value", "is optimized out")),
            },
            _ => Err(Error::unavailable("a value", "is in pieces")),
        }
    }

    fn evaluate<'a>(
        &self,
        unit: &Unit<'a>,
        expression: Expression<Slice<'a>>,
        name: &str,
        context: &Context<'_>,
        depth: u32,
    ) -> Result<Vec<gimli::Piece<Slice<'a>>>> {
        if depth > MAX_DEPTH {
            return Err(Error::Limit { what: format!("the depth of the location of {name}"), limit: MAX_DEPTH.into() });
        }
        let fault = |error| self.fault(&format!("the location of {name}"), error);
        let mut evaluation = expression.evaluation(unit.unit.encoding());
        evaluation.set_max_iterations(MAX_OPERATIONS);
        let mut state = evaluation.evaluate().map_err(fault)?;
        loop {
            state = match state {
                EvaluationResult::Complete => return Ok(evaluation.result()),
                EvaluationResult::RequiresMemory { address, size, base_type, .. } => {
                    let mut bytes = [0; 8];
                    let part = bytes
                        .get_mut(..usize::from(size))
                        .ok_or_else(|| self.damage("an expression", "a read of more than 8 bytes"))?;
                    context.memory.read(address, part)?;
                    let number = if self.endian == gimli::RunTimeEndian::Big {
                        part.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
                    } else {
                        part.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
                    };
                    evaluation.resume_with_memory(self.typed(unit, base_type, number)?)
                }
                EvaluationResult::RequiresRegister { register, base_type } => {
                    let number = self.register(context, register.0)?;
                    evaluation.resume_with_register(self.typed(unit, base_type, number)?)
                }
                EvaluationResult::RequiresFrameBase => {
                    evaluation.resume_with_frame_base(self.frame_base(context, depth)?)
                }
                EvaluationResult::RequiresCallFrameCfa => {
                    let cfa = context
                        .cfa
                        .ok_or_else(|| Error::unavailable("the frame address", "is not known in this frame"))?;
                    evaluation.resume_with_call_frame_cfa(cfa)
                }
                EvaluationResult::RequiresEntryValue(inner) => {
                    let number = self.entry_value(unit, inner, context, depth)?;
                    evaluation.resume_with_entry_value(Value::Generic(number))
                }
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    evaluation.resume_with_relocated_address(address.wrapping_add(context.slide))
                }
                EvaluationResult::RequiresIndexedAddress { index, relocate } => {
                    let address = unit.dwarf.address(&unit.unit, index).map_err(fault)?;
                    let slide = if relocate { context.slide } else { 0 };
                    evaluation.resume_with_indexed_address(address.wrapping_add(slide))
                }
                EvaluationResult::RequiresBaseType(offset) => {
                    evaluation.resume_with_base_type(self.value_type(unit, offset)?)
                }
                EvaluationResult::RequiresTls(_) => {
                    return Err(Error::unavailable(name, "belongs to a thread of a program, which is not supported"));
                }
                EvaluationResult::RequiresParameterRef(offset) => {
                    let parameter = Passed::Parameter(Die { unit: unit.index, offset: offset.0 });
                    let caller = context.caller.ok_or_else(not_told)?;
                    let number = self.passed(parameter, caller, depth)?.ok_or_else(not_told)?;
                    evaluation.resume_with_parameter_ref(number)
                }
                EvaluationResult::RequiresAtLocation(_) => {
                    return Err(Error::unavailable(name, "has a location of a kind that is not supported"));
                }
                _ => return Err(Error::unavailable(name, "has a location of a machine that is not supported")),
            }
            .map_err(fault)?;
        }
    }

    fn value_type(&self, unit: &Unit<'_>, offset: UnitOffset) -> Result<gimli::ValueType> {
        if offset.0 == 0 {
            return Ok(gimli::ValueType::Generic);
        }
        let entry = self.entry(unit, offset.0)?;
        let ty = gimli::ValueType::from_entry(&entry).map_err(|error| self.fault("a base type", error))?;
        ty.ok_or_else(|| self.damage("an expression", "a type that is not a base type"))
    }

    fn typed(&self, unit: &Unit<'_>, base_type: UnitOffset, number: u64) -> Result<Value> {
        let ty = self.value_type(unit, base_type)?;
        Value::from_u64(ty, number).map_err(|error| self.fault("an expression", error))
    }

    fn frame_base(&self, context: &Context<'_>, depth: u32) -> Result<u64> {
        let unknown = || Error::unavailable("the frame base", "is not known in this frame");
        let function = self.function_at(context.address)?.ok_or_else(unknown)?;
        let unit = self.unit(function.unit)?;
        let entry = self.entry(&unit, function.offset)?;
        let expression =
            self.expression(&unit, &entry, gimli::DW_AT_frame_base, context.address)?.ok_or_else(unknown)?;
        self.value(&unit, expression, context, depth + 1)
    }

    /// The value that a register or a piece of memory had when the function was entered: the caller's call site tells
    /// what it passed (DWARF 5, 3.4; before that, GNU's extension).
    fn entry_value<'a>(
        &self,
        unit: &Unit<'a>,
        inner: Expression<Slice<'a>>,
        context: &Context<'_>,
        depth: u32,
    ) -> Result<u64> {
        let caller = context.caller.ok_or_else(not_told)?;
        let mut operations = inner.operations(unit.unit.encoding());
        let register = match operations.next() {
            Ok(Some(gimli::Operation::Register { register })) => register,
            Ok(Some(gimli::Operation::RegisterOffset { register, offset: 0, .. })) => register,
            _ => return Err(not_told()),
        };
        // A register that functions give back is the same in the caller.
        let preserved = caller.context.registers.filter(|registers| registers.architecture().is_preserved(register.0));
        if let Some(value) = preserved.and_then(|registers| registers.dwarf(register)) {
            return Ok(value);
        }
        self.passed(Passed::Register(register), caller, depth)?.ok_or_else(not_told)
    }

    /// What the caller passed.
    fn passed(&self, what: Passed, caller: &Caller<'_>, depth: u32) -> Result<Option<u64>> {
        // Numbers of units are an image's own.
        if matches!(what, Passed::Parameter(_)) && !std::ptr::eq(self, caller.info) {
            return Ok(None);
        }
        match caller.info.function_at(caller.context.address)? {
            Some(function) => caller.info.call_site_value(function, what, caller, depth),
            None => Ok(None),
        }
    }

    /// What the call that returns to the caller's address passed.
    fn call_site_value(&self, function: Die, what: Passed, caller: &Caller<'_>, depth: u32) -> Result<Option<u64>> {
        let unit = self.unit(function.unit)?;
        let mut pending = vec![(function, 0)];
        let mut site = None;
        while let Some((die, level)) = pending.pop() {
            self.children(&unit, die, &mut |child| {
                let at = Die { unit: die.unit, offset: child.offset().0 };
                match child.tag() {
                    gimli::DW_TAG_call_site | gimli::DW_TAG_GNU_call_site => {
                        let address = [gimli::DW_AT_call_return_pc, gimli::DW_AT_low_pc].into_iter().find_map(|name| {
                            let value = child.attr_value(name)?;
                            unit.dwarf.attr_address(&unit.unit, value).ok().flatten()
                        });
                        if address == Some(caller.return_address) {
                            site = Some(at);
                        }
                    }
                    gimli::DW_TAG_inlined_subroutine | gimli::DW_TAG_lexical_block if level < 64 => {
                        pending.push((at, level + 1));
                    }
                    _ => {}
                }
                Ok(())
            })?;
            if site.is_some() {
                break;
            }
        }
        let Some(site) = site else { return Ok(None) };
        let mut value = None;
        self.children(&unit, site, &mut |child| {
            if !matches!(child.tag(), gimli::DW_TAG_call_site_parameter | gimli::DW_TAG_GNU_call_site_parameter) {
                return Ok(());
            }
            let meant = match what {
                Passed::Register(register) => {
                    let place = self.expression(&unit, child, gimli::DW_AT_location, 0)?;
                    let place = place.and_then(|place| place.operations(unit.unit.encoding()).next().ok().flatten());
                    matches!(place, Some(gimli::Operation::Register { register: found }) if found == register)
                }
                Passed::Parameter(die) => {
                    let names = [gimli::DW_AT_call_parameter, gimli::DW_AT_abstract_origin];
                    names
                        .into_iter()
                        .any(|name| matches!(self.reference(&unit, child, name), Ok(Some(found)) if found == die))
                }
            };
            if meant {
                for name in [gimli::DW_AT_call_value, gimli::DW_AT_GNU_call_site_value] {
                    if let Some(expression) = self.expression(&unit, child, name, 0)? {
                        value = Some(self.value(&unit, expression, &caller.context, depth + 1)?);
                    }
                }
            }
            Ok(())
        })?;
        Ok(value)
    }
}
