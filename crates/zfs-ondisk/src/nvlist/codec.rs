//! What the two encodings have in common: which value is made of which parts.
//!
//! An encoding says how an integer, an array, a string or a nested list lies
//! in the buffer ([`Source`], [`Sink`]); this module says which of them each
//! type of value consists of.

use super::{MAX_DEPTH, NvError, NvList, Value};

/// The parts of a packed pair's value, in order.
pub(super) trait Source {
    /// Where the next part begins, in bytes.
    fn position(&self) -> usize;
    /// An integer of `width` bytes, in the low bytes of the result.
    fn int(&mut self, width: usize) -> Result<u64, NvError>;
    /// The beginning of an array of `count` integers of `width` bytes: checks
    /// that they all are there.
    fn array(&mut self, count: usize, width: usize) -> Result<(), NvError>;
    /// `count` bytes.
    fn opaque(&mut self, count: usize) -> Result<Vec<u8>, NvError>;
    /// A string.
    fn string(&mut self) -> Result<Vec<u8>, NvError>;
    /// `count` strings.
    fn strings(&mut self, count: usize) -> Result<Vec<Vec<u8>>, NvError>;
    /// `count` nested lists, as one value or as elements of an array.
    fn lists(&mut self, count: usize, array: bool, depth: usize) -> Result<Vec<NvList>, NvError>;
}

/// Reads the value of a pair of type `code` with `count` elements.
pub(super) fn read_value<S: Source>(source: &mut S, code: u32, count: usize, depth: usize) -> Result<Value, NvError> {
    let elements = match code {
        1 => Some(0),
        2..=9 | 18 | 19 | 21..=23 | 27 => Some(1),
        _ => None,
    };
    if let Some(expected) = elements
        && count != expected
    {
        return Err(NvError::Malformed {
            at: source.position(),
            expected: "as many elements as the type has",
            found: count as u64,
        });
    }
    let s = source;
    Ok(match code {
        1 => Value::Boolean,
        2 => Value::Byte(s.int(1)? as u8),
        3 => Value::Int16(s.int(2)? as i16),
        4 => Value::UInt16(s.int(2)? as u16),
        5 => Value::Int32(s.int(4)? as i32),
        6 => Value::UInt32(s.int(4)? as u32),
        7 => Value::Int64(s.int(8)? as i64),
        8 => Value::UInt64(s.int(8)?),
        9 => Value::String(s.string()?),
        10 => Value::ByteArray(s.opaque(count)?),
        11 => Value::Int16Array(ints(s, count, 2, |v| v as i16)?),
        12 => Value::UInt16Array(ints(s, count, 2, |v| v as u16)?),
        13 => Value::Int32Array(ints(s, count, 4, |v| v as i32)?),
        14 => Value::UInt32Array(ints(s, count, 4, |v| v as u32)?),
        15 => Value::Int64Array(ints(s, count, 8, |v| v as i64)?),
        16 => Value::UInt64Array(ints(s, count, 8, |v| v)?),
        17 => Value::StringArray(s.strings(count)?),
        18 => Value::HrTime(s.int(8)? as i64),
        19 | 20 if depth >= MAX_DEPTH => return Err(NvError::TooDeep),
        19 => Value::NvList(s.lists(1, false, depth + 1)?.pop().unwrap_or_default()),
        20 => Value::NvListArray(s.lists(count, true, depth + 1)?),
        21 => Value::BooleanValue(boolean(s)?),
        22 => Value::Int8(s.int(1)? as i8),
        23 => Value::UInt8(s.int(1)? as u8),
        24 => {
            s.array(count, 4)?;
            Value::BooleanArray((0..count).map(|_| boolean(s)).collect::<Result<_, _>>()?)
        }
        25 => Value::Int8Array(ints(s, count, 1, |v| v as i8)?),
        26 => Value::UInt8Array(ints(s, count, 1, |v| v as u8)?),
        27 => Value::Double(s.int(8)?),
        other => {
            return Err(NvError::Malformed { at: s.position(), expected: "a type from 1 to 27", found: other.into() });
        }
    })
}

fn ints<S: Source, T>(
    source: &mut S,
    count: usize,
    width: usize,
    narrow: impl Fn(u64) -> T,
) -> Result<Vec<T>, NvError> {
    source.array(count, width)?;
    (0..count).map(|_| source.int(width).map(&narrow)).collect()
}

fn boolean<S: Source>(source: &mut S) -> Result<bool, NvError> {
    let at = source.position();
    match source.int(4)? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(NvError::Malformed { at, expected: "a boolean, 0 or 1,", found }),
    }
}

/// Where the parts of a value go.
pub(super) trait Sink {
    /// The low `width` bytes of an integer.
    fn int(&mut self, value: u64, width: usize);
    /// The beginning of an array of `count` integers.
    fn array(&mut self, count: usize);
    /// Bytes.
    fn opaque(&mut self, bytes: &[u8]);
    /// A string.
    fn string(&mut self, bytes: &[u8]);
    /// Strings.
    fn strings(&mut self, strings: &[Vec<u8>]);
    /// Nested lists, as one value or as elements of an array.
    fn lists(&mut self, lists: &[NvList], array: bool, depth: usize) -> Result<(), NvError>;
}

/// Writes a value, nested `depth` lists deep.
pub(super) fn write_value<S: Sink>(sink: &mut S, value: &Value, depth: usize) -> Result<(), NvError> {
    let s = sink;
    match value {
        Value::Boolean => {}
        Value::Byte(v) | Value::UInt8(v) => s.int((*v).into(), 1),
        Value::Int8(v) => s.int((*v as u8).into(), 1),
        Value::Int16(v) => s.int((*v as u16).into(), 2),
        Value::UInt16(v) => s.int((*v).into(), 2),
        Value::Int32(v) => s.int((*v as u32).into(), 4),
        Value::UInt32(v) => s.int((*v).into(), 4),
        Value::Int64(v) | Value::HrTime(v) => s.int(*v as u64, 8),
        Value::UInt64(v) | Value::Double(v) => s.int(*v, 8),
        Value::BooleanValue(v) => s.int((*v).into(), 4),
        Value::String(v) => s.string(v),
        Value::ByteArray(v) => s.opaque(v),
        Value::Int8Array(v) => array(s, v, 1, |v| (v as u8).into()),
        Value::UInt8Array(v) => array(s, v, 1, u64::from),
        Value::Int16Array(v) => array(s, v, 2, |v| (v as u16).into()),
        Value::UInt16Array(v) => array(s, v, 2, u64::from),
        Value::Int32Array(v) => array(s, v, 4, |v| (v as u32).into()),
        Value::UInt32Array(v) => array(s, v, 4, u64::from),
        Value::BooleanArray(v) => array(s, v, 4, u64::from),
        Value::Int64Array(v) => array(s, v, 8, |v| v as u64),
        Value::UInt64Array(v) => array(s, v, 8, |v| v),
        Value::StringArray(v) => s.strings(v),
        Value::NvList(_) | Value::NvListArray(_) if depth >= MAX_DEPTH => {
            return Err(NvError::TooDeep);
        }
        Value::NvList(v) => s.lists(std::slice::from_ref(v), false, depth + 1)?,
        Value::NvListArray(v) => s.lists(v, true, depth + 1)?,
    }
    Ok(())
}

fn array<S: Sink, T: Copy>(sink: &mut S, values: &[T], width: usize, widen: impl Fn(T) -> u64) {
    sink.array(values.len());
    for &v in values {
        sink.int(widen(v), width);
    }
}

/// The number of elements that a pair records (`nvp_value_elem`).
pub(super) fn element_count(value: &Value) -> usize {
    match value {
        Value::Boolean => 0,
        Value::ByteArray(v) | Value::UInt8Array(v) => v.len(),
        Value::Int8Array(v) => v.len(),
        Value::Int16Array(v) => v.len(),
        Value::UInt16Array(v) => v.len(),
        Value::Int32Array(v) => v.len(),
        Value::UInt32Array(v) => v.len(),
        Value::Int64Array(v) => v.len(),
        Value::UInt64Array(v) => v.len(),
        Value::BooleanArray(v) => v.len(),
        Value::StringArray(v) => v.len(),
        Value::NvListArray(v) => v.len(),
        _ => 1,
    }
}

/// The size of the value in OpenZFS's memory, without nested lists' pairs.
/// Both encodings record it as part of [`pair_size`].
fn value_size(value: &Value) -> usize {
    match value {
        Value::Boolean => 0,
        Value::Byte(_) | Value::Int8(_) | Value::UInt8(_) => 1,
        Value::Int16(_) | Value::UInt16(_) => 2,
        Value::Int32(_) | Value::UInt32(_) | Value::BooleanValue(_) => 4,
        Value::Int64(_) | Value::UInt64(_) | Value::HrTime(_) | Value::Double(_) => 8,
        Value::String(v) => v.len() + 1,
        Value::ByteArray(v) | Value::UInt8Array(v) => v.len(),
        Value::Int8Array(v) => v.len(),
        Value::Int16Array(v) => 2 * v.len(),
        Value::UInt16Array(v) => 2 * v.len(),
        Value::Int32Array(v) => 4 * v.len(),
        Value::UInt32Array(v) => 4 * v.len(),
        Value::BooleanArray(v) => 4 * v.len(),
        Value::Int64Array(v) => 8 * v.len(),
        Value::UInt64Array(v) => 8 * v.len(),
        Value::StringArray(v) => v.iter().map(|s| POINTER_LEN + s.len() + 1).sum(),
        Value::NvList(_) => NVLIST_LEN,
        Value::NvListArray(v) => (POINTER_LEN + NVLIST_LEN) * v.len(),
    }
}

/// `sizeof (nvpair_t)`: the fixed part of a pair in OpenZFS's memory.
pub(super) const PAIR_LEN: usize = 16;
/// `sizeof (nvlist_t)`.
pub(super) const NVLIST_LEN: usize = 24;
/// The room of a pointer in a packed pair, on any machine.
pub(super) const POINTER_LEN: usize = 8;

/// The size of a pair in OpenZFS's memory (`nvp_size`), checked to fit its field.
pub(super) fn pair_size(name: &[u8], value: &Value) -> Result<usize, NvError> {
    let has_nul = |s: &[u8]| s.contains(&0);
    if has_nul(name) {
        return Err(NvError::Nul(lossy(name)));
    }
    match value {
        Value::String(s) if has_nul(s) => return Err(NvError::Nul(lossy(s))),
        Value::StringArray(v) => {
            if let Some(s) = v.iter().find(|s| has_nul(s)) {
                return Err(NvError::Nul(lossy(s)));
            }
        }
        _ => {}
    }
    let size = value_offset(name.len() + 1) + value_size(value).next_multiple_of(8);
    if name.len() >= i16::MAX as usize || size > i32::MAX as usize {
        return Err(NvError::TooLarge(lossy(name)));
    }
    Ok(size)
}

/// Where in a pair the value begins, given the length of the name with its NUL.
pub(super) fn value_offset(name_len: usize) -> usize {
    (PAIR_LEN + name_len).next_multiple_of(8)
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
