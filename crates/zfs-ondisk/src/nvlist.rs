//! Name-value lists and their packed form (`sys/nvpair.h`, `nvpair.c`).
//!
//! Vdev labels, the pool configuration, and extended attributes kept in system
//! attributes are nvlists. A packed list begins with four bytes: the encoding,
//! the byte order of the machine that packed it, and two reserved bytes.
//! Labels and extended attributes use XDR ([`NvList::to_xdr`]); `native`
//! ([`NvList::to_native`]) is the in-memory layout of OpenZFS, found in some
//! ioctls and send streams. [`NvList::decode`] reads both.
//!
//! Names and strings are bytes without a NUL: extended attributes need not be
//! named in UTF-8.

mod codec;
mod native;
mod xdr;

/// Lists nested deeper than this are refused, both ways: the kernel's own limit.
pub const MAX_DEPTH: usize = 20;

/// The names of a list are unique (`NV_UNIQUE_NAME`): what nearly every list has.
pub const UNIQUE_NAME: u32 = 1;

const ENCODE_NATIVE: u8 = 0;
const ENCODE_XDR: u8 = 1;
const LITTLE_ENDIAN: u8 = 1;
const HEADER_LEN: usize = 4;

/// A list that cannot be decoded, encoded, or lacks what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvError {
    /// The packed list ends too early, or a pair runs past its own end.
    #[error("packed nvlist ends at byte {have}: {need} bytes expected at byte {at}")]
    Truncated {
        /// Where in the packed list, in bytes.
        at: usize,
        /// How many bytes were expected there.
        need: usize,
        /// Where the list (or the pair) ends.
        have: usize,
    },
    /// A field of the packed list has an impossible value.
    #[error("packed nvlist, byte {at}: {expected} expected, found {found}")]
    Malformed {
        /// Where in the packed list, in bytes.
        at: usize,
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: u64,
    },
    /// Lists are nested more than [`MAX_DEPTH`] deep.
    #[error("nvlists nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A packed list must be smaller than 2 GiB, a name shorter than 32 KiB.
    #[error("nvlist too large to pack at key {0:?}")]
    TooLarge(String),
    /// A name or string contains a NUL byte, which packed lists cannot carry.
    #[error("nvlist key or string {0:?} contains a NUL byte")]
    Nul(String),
    /// The list has no such key.
    #[error("nvlist has no key {0:?}")]
    Missing(String),
    /// The key's value is of another type.
    #[error("nvlist key {key:?} is {found}, but {expected} was expected")]
    WrongType {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The type that the value has.
        found: &'static str,
    },
}

/// Declares [`Value`] together with the numbers of `data_type_t`, so that the
/// two cannot drift apart.
macro_rules! values {
    ($($(#[$doc:meta])* $name:ident $(($type:ty))? = $code:literal, $text:literal;)*) => {
        /// A value of a list: one variant per `data_type_t`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Value {
            $($(#[$doc])* $name $(($type))?,)*
        }

        impl Value {
            /// The number of the type (`data_type_t`).
            pub fn type_code(&self) -> u32 {
                match self {
                    $(Value::$name { .. } => $code,)*
                }
            }

            /// The type in words, for messages.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Value::$name { .. } => $text,)*
                }
            }
        }
    };
}

values! {
    /// No value: the presence of the key is the information.
    Boolean = 1, "a flag";
    /// An 8-bit unsigned integer, as text.
    Byte(u8) = 2, "a byte";
    /// A 16-bit signed integer.
    Int16(i16) = 3, "an int16";
    /// A 16-bit unsigned integer.
    UInt16(u16) = 4, "a uint16";
    /// A 32-bit signed integer.
    Int32(i32) = 5, "an int32";
    /// A 32-bit unsigned integer.
    UInt32(u32) = 6, "a uint32";
    /// A 64-bit signed integer.
    Int64(i64) = 7, "an int64";
    /// A 64-bit unsigned integer.
    UInt64(u64) = 8, "a uint64";
    /// A string: bytes without a NUL.
    String(Vec<u8>) = 9, "a string";
    /// Opaque bytes.
    ByteArray(Vec<u8>) = 10, "a byte array";
    /// 16-bit signed integers.
    Int16Array(Vec<i16>) = 11, "an int16 array";
    /// 16-bit unsigned integers.
    UInt16Array(Vec<u16>) = 12, "a uint16 array";
    /// 32-bit signed integers.
    Int32Array(Vec<i32>) = 13, "an int32 array";
    /// 32-bit unsigned integers.
    UInt32Array(Vec<u32>) = 14, "a uint32 array";
    /// 64-bit signed integers.
    Int64Array(Vec<i64>) = 15, "an int64 array";
    /// 64-bit unsigned integers.
    UInt64Array(Vec<u64>) = 16, "a uint64 array";
    /// Strings: bytes without a NUL.
    StringArray(Vec<Vec<u8>>) = 17, "a string array";
    /// A time in nanoseconds since an arbitrary point (`hrtime_t`).
    HrTime(i64) = 18, "an hrtime";
    /// A list.
    NvList(NvList) = 19, "an nvlist";
    /// Lists.
    NvListArray(Vec<NvList>) = 20, "an nvlist array";
    /// True or false.
    BooleanValue(bool) = 21, "a boolean";
    /// An 8-bit signed integer.
    Int8(i8) = 22, "an int8";
    /// An 8-bit unsigned integer.
    UInt8(u8) = 23, "a uint8";
    /// Trues and falses.
    BooleanArray(Vec<bool>) = 24, "a boolean array";
    /// 8-bit signed integers.
    Int8Array(Vec<i8>) = 25, "an int8 array";
    /// 8-bit unsigned integers.
    UInt8Array(Vec<u8>) = 26, "a uint8 array";
    /// The bits of an IEEE 754 double, so that values compare exactly.
    Double(u64) = 27, "a double";
}

impl From<u64> for Value {
    fn from(v: u64) -> Self {
        Value::UInt64(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Value::String(v.into())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Value::String(v.into())
    }
}

impl From<Vec<u64>> for Value {
    fn from(v: Vec<u64>) -> Self {
        Value::UInt64Array(v)
    }
}

impl From<NvList> for Value {
    fn from(v: NvList) -> Self {
        Value::NvList(v)
    }
}

impl From<Vec<NvList>> for Value {
    fn from(v: Vec<NvList>) -> Self {
        Value::NvListArray(v)
    }
}

/// A list of names and values, in the order in which they were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvList {
    flags: u32,
    pairs: Vec<(Vec<u8>, Value)>,
}

impl Default for NvList {
    fn default() -> Self {
        NvList { flags: UNIQUE_NAME, pairs: Vec::new() }
    }
}

impl NvList {
    /// An empty list of unique names.
    pub fn new() -> Self {
        Self::default()
    }

    /// The list with a pair set; see [`NvList::set`].
    #[must_use]
    pub fn with(mut self, name: impl AsRef<[u8]>, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a pair: a new name goes to the end, as does a known one whose old
    /// value is dropped (unless the list does not have unique names).
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl Into<Value>) {
        let name = name.as_ref();
        if self.flags & UNIQUE_NAME != 0 {
            self.pairs.retain(|(n, _)| n != name);
        }
        self.pairs.push((name.to_vec(), value.into()));
    }

    /// The persistent flags (`nvl_nvflag`), such as [`UNIQUE_NAME`].
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.pairs.iter().map(|(n, v)| (n.as_slice(), v))
    }

    /// The value of `name`; the last one, if the name was given twice.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&Value> {
        let name = name.as_ref();
        self.pairs.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Whether `name` has a value.
    pub fn contains(&self, name: impl AsRef<[u8]>) -> bool {
        self.get(name).is_some()
    }

    /// The `uint64` of `name`.
    ///
    /// # Errors
    /// [`NvError::Missing`] or [`NvError::WrongType`], naming the key; so do
    /// all typed getters below.
    pub fn u64(&self, name: &str) -> Result<u64, NvError> {
        self.typed(name, "a uint64", |v| match v {
            Value::UInt64(n) => Some(*n),
            _ => None,
        })
    }

    /// The `uint64` array of `name`.
    pub fn u64s(&self, name: &str) -> Result<&[u64], NvError> {
        self.typed(name, "a uint64 array", |v| match v {
            Value::UInt64Array(n) => Some(n.as_slice()),
            _ => None,
        })
    }

    /// The string of `name`, which must be UTF-8.
    pub fn str(&self, name: &str) -> Result<&str, NvError> {
        self.typed(name, "a UTF-8 string", |v| match v {
            Value::String(s) => std::str::from_utf8(s).ok(),
            _ => None,
        })
    }

    /// The bytes of `name`: of a string, or of an array of bytes.
    pub fn bytes(&self, name: &str) -> Result<&[u8], NvError> {
        self.typed(name, "a string or a byte array", |v| match v {
            Value::String(s) | Value::ByteArray(s) | Value::UInt8Array(s) => Some(s.as_slice()),
            _ => None,
        })
    }

    /// The boolean of `name`; a key without a value counts as true.
    pub fn bool(&self, name: &str) -> Result<bool, NvError> {
        self.typed(name, "a boolean", |v| match v {
            Value::BooleanValue(b) => Some(*b),
            Value::Boolean => Some(true),
            _ => None,
        })
    }

    /// The list of `name`.
    pub fn list(&self, name: &str) -> Result<&NvList, NvError> {
        self.typed(name, "an nvlist", |v| match v {
            Value::NvList(l) => Some(l),
            _ => None,
        })
    }

    /// The lists of `name`.
    pub fn lists(&self, name: &str) -> Result<&[NvList], NvError> {
        self.typed(name, "an nvlist array", |v| match v {
            Value::NvListArray(l) => Some(l.as_slice()),
            _ => None,
        })
    }

    /// The packed list in XDR, with its four header bytes.
    ///
    /// # Errors
    /// A NUL in a name or string, too deep a list, or one too large to pack.
    pub fn to_xdr(&self) -> Result<Vec<u8>, NvError> {
        xdr::encode(self)
    }

    /// The packed list in the native encoding of a little-endian machine, with
    /// its four header bytes.
    ///
    /// # Errors
    /// As [`NvList::to_xdr`].
    pub fn to_native(&self) -> Result<Vec<u8>, NvError> {
        native::encode(self)
    }

    /// Decodes a packed list in either encoding and byte order. What follows
    /// the list is ignored: labels and objects are padded.
    ///
    /// # Errors
    /// What is wrong with the list, and at which byte of `packed`.
    pub fn decode(packed: &[u8]) -> Result<NvList, NvError> {
        let &[encoding, endian, _, _, ..] = packed else {
            return Err(NvError::Truncated { at: 0, need: HEADER_LEN, have: packed.len() });
        };
        match (encoding, endian) {
            (ENCODE_XDR, _) => xdr::decode(packed),
            (ENCODE_NATIVE, LITTLE_ENDIAN) => native::decode(packed, crate::bytes::ByteOrder::Little),
            (ENCODE_NATIVE, 0) => native::decode(packed, crate::bytes::ByteOrder::Big),
            (ENCODE_NATIVE, other) => {
                Err(NvError::Malformed { at: 1, expected: "a byte order, 0 or 1,", found: other.into() })
            }
            (other, _) => Err(NvError::Malformed { at: 0, expected: "an encoding, 0 or 1,", found: other.into() }),
        }
    }

    fn typed<'a, T>(
        &'a self,
        name: &str,
        expected: &'static str,
        pick: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, NvError> {
        let value = self.get(name).ok_or_else(|| NvError::Missing(name.into()))?;
        pick(value).ok_or_else(|| NvError::WrongType { key: name.into(), expected, found: value.type_name() })
    }
}

#[cfg(test)]
mod tests;
