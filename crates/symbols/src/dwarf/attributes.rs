//! Attributes read as what they are used for.

use gimli::{AttributeValue, DwAt};

use super::{DebugInfo, Die, Entry, Slice, Unit};
use crate::error::Result;

impl DebugInfo {
    /// A string attribute.
    pub(crate) fn string<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>, name: DwAt) -> Option<String> {
        let value = entry.attr_value(name)?;
        Some(text(unit.string(value)?))
    }

    /// A reference attribute.
    pub(crate) fn reference<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>, name: DwAt) -> Result<Option<Die>> {
        entry.attr_value(name).map_or(Ok(None), |value| self.resolve(unit.index, &value))
    }

    /// The name of an entry, or of the one that it completes or stands for.
    pub(crate) fn name_of(&self, die: Die) -> Result<Option<String>> {
        let mut die = die;
        // An instance refers to its abstract function, that one to its declaration.
        for _ in 0..8 {
            let unit = self.unit(die.unit)?;
            let entry = self.entry(&unit, die.offset)?;
            if let Some(name) = self.string(&unit, &entry, gimli::DW_AT_name) {
                return Ok(Some(name));
            }
            match self.origin(&unit, &entry)? {
                Some(origin) => die = origin,
                None => break,
            }
        }
        Ok(None)
    }

    /// The entry that this one is an instance or the definition of.
    pub(crate) fn origin<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> Result<Option<Die>> {
        match self.reference(unit, entry, gimli::DW_AT_abstract_origin)? {
            Some(die) => Ok(Some(die)),
            None => self.reference(unit, entry, gimli::DW_AT_specification),
        }
    }
}

impl<'a> Unit<'a> {
    pub(crate) fn string(&self, value: AttributeValue<Slice<'a>>) -> Option<Slice<'a>> {
        self.dwarf.attr_string(&self.unit, value).ok()
    }
}

/// Whether a flag is set.
pub(crate) fn flag(entry: &Entry<'_>, name: DwAt) -> bool {
    matches!(entry.attr_value(name), Some(AttributeValue::Flag(true)))
}

/// A constant that cannot be negative.
pub(crate) fn unsigned(entry: &Entry<'_>, name: DwAt) -> Option<u64> {
    entry.attr_value(name).and_then(|value| value.udata_value())
}

/// A constant of either sign. The compilers of old wrote unsigned ones into signed forms; `sdata_value` follows the form.
pub(crate) fn signed(entry: &Entry<'_>, name: DwAt) -> Option<i128> {
    let value = entry.attr_value(name)?;
    match value {
        AttributeValue::Udata(value) => Some(value.into()),
        AttributeValue::Data1(value) => Some(value.into()),
        AttributeValue::Data2(value) => Some(value.into()),
        AttributeValue::Data4(value) => Some(value.into()),
        AttributeValue::Data8(value) => Some(value.into()),
        AttributeValue::Data16(value) => Some(value as i128),
        other => other.sdata_value().map(Into::into),
    }
}

pub(crate) fn text(slice: Slice<'_>) -> String {
    String::from_utf8_lossy(slice.slice()).into_owned()
}
