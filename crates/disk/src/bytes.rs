//! Integers in byte slices; zeros where the slice has ended. Those who read
//! structures here have read them whole, so that nothing is lost by that.

macro_rules! integers {
    ($($name:ident $type:ty, $from:ident;)*) => {
        $(pub(crate) fn $name(bytes: &[u8], offset: usize) -> $type {
            <$type>::$from(array(bytes, offset))
        })*
    };
}

integers! {
    le16 u16, from_le_bytes;
    le32 u32, from_le_bytes;
    le64 u64, from_le_bytes;
    be32 u32, from_be_bytes;
    be64 u64, from_be_bytes;
}

/// `N` bytes at `offset`.
pub(crate) fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let found = offset.checked_add(N).and_then(|end| bytes.get(offset..end));
    found.and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}

/// Part of a slice; empty where there is none.
pub(crate) fn slice(bytes: &[u8], offset: usize, length: usize) -> &[u8] {
    offset.checked_add(length).and_then(|end| bytes.get(offset..end)).unwrap_or_default()
}

/// Puts bytes at `offset` of a structure that has room for them.
pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = offset.checked_add(value.len()).and_then(|end| bytes.get_mut(offset..end)) {
        place.copy_from_slice(value);
    }
}
