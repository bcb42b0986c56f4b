//! Numbers and texts at fixed places of a structure.

/// The big-endian 32-bit number at `at`; 0 past the end.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// The big-endian 64-bit number at `at`; 0 past the end.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}

/// The `N` bytes from `at` on; zeros where there are not as many.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let part = at.checked_add(N).and_then(|end| bytes.get(at..end));
    part.and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

/// The text of a field of `size` bytes at `at`, which ends at its first NUL. What is no UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8], at: usize, size: usize) -> String {
    let field = bytes.get(at..at.saturating_add(size)).unwrap_or_default();
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// Puts `value` at `at`, as far as there is room.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

/// Puts `text` into the field of `size` bytes at `at`: cut between two characters where it is too long for the field
/// and the NUL at its end.
pub(crate) fn put_text(bytes: &mut [u8], at: usize, size: usize, text: &str) {
    let mut end = text.len().min(size.saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put(bytes, at, text.as_bytes().get(..end).unwrap_or_default());
}
