//! Names of FreeBSD's file flags, as chflags(1), mtree(5) and archives write them.

/// Names and bits: `sys/stat.h`; spellings as in `strtofflags(3)`.
const FLAGS: &[(&str, u32)] = &[
    ("nodump", 0x1),
    ("uchg", 0x2),
    ("uchange", 0x2),
    ("uimmutable", 0x2),
    ("uappnd", 0x4),
    ("uappend", 0x4),
    ("opaque", 0x8),
    ("uunlnk", 0x10),
    ("uunlink", 0x10),
    ("usystem", 0x80),
    ("system", 0x80),
    ("usparse", 0x100),
    ("sparse", 0x100),
    ("uoffline", 0x200),
    ("offline", 0x200),
    ("ureparse", 0x400),
    ("reparse", 0x400),
    ("uarch", 0x800),
    ("uarchive", 0x800),
    ("urdonly", 0x1000),
    ("rdonly", 0x1000),
    ("readonly", 0x1000),
    ("uhidden", 0x8000),
    ("hidden", 0x8000),
    ("arch", 0x1_0000),
    ("archived", 0x1_0000),
    ("schg", 0x2_0000),
    ("schange", 0x2_0000),
    ("simmutable", 0x2_0000),
    ("sappnd", 0x4_0000),
    ("sappend", 0x4_0000),
    ("sunlnk", 0x10_0000),
    ("sunlink", 0x10_0000),
    ("snapshot", 0x20_0000),
];

/// Applies a comma-separated list, such as `schg,uarch`, to flags; `no` before a name clears it and `none` alone
/// clears all. The error is the name that is not known.
pub(crate) fn parse(list: &[u8], mut flags: u32) -> Result<u32, &[u8]> {
    if list == b"none" {
        return Ok(0);
    }
    for name in list.split(|&byte| byte == b',').filter(|name| !name.is_empty()) {
        if let Some(bit) = find(name) {
            flags |= bit;
        } else if name == b"dump" {
            flags &= !0x1;
        } else if let Some(bit) = name.strip_prefix(b"no").and_then(find) {
            flags &= !bit;
        } else {
            return Err(name);
        }
    }
    Ok(flags)
}

fn find(name: &[u8]) -> Option<u32> {
    FLAGS.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, bit)| *bit)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_set_and_clear_bits() {
        assert_eq!(parse(b"schg,uarch", 0), Ok(0x2_0800));
        assert_eq!(parse(b"nodump", 0), Ok(1));
        assert_eq!(parse(b"dump,noschg", 0x2_0001), Ok(0));
        assert_eq!(parse(b"none", 0xffff), Ok(0));
        assert_eq!(parse(b"sunlnk,shiny", 0), Err(&b"shiny"[..]));
    }
}
