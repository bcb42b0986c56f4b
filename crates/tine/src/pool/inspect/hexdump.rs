//! Bytes as `hexdump -C` shows them.

/// Bytes in a line.
const WIDTH: usize = 16;

/// The lines of `bytes`, the first of which is at `offset`. Lines that repeat the one before are left out and marked
/// by a star.
pub(crate) fn lines(bytes: &[u8], offset: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut before: Option<&[u8]> = None;
    let mut starred = false;
    for (index, chunk) in bytes.chunks(WIDTH).enumerate() {
        if before == Some(chunk) && chunk.len() == WIDTH {
            if !starred {
                lines.push("*".to_owned());
            }
            starred = true;
            continue;
        }
        (before, starred) = (Some(chunk), false);
        lines.push(line(chunk, offset.wrapping_add((index * WIDTH) as u64)));
    }
    lines.push(format!("{:08x}", offset.wrapping_add(bytes.len() as u64)));
    lines
}

fn line(chunk: &[u8], offset: u64) -> String {
    let mut line = format!("{offset:08x} ");
    for at in 0..WIDTH {
        if at % 8 == 0 {
            line.push(' ');
        }
        match chunk.get(at) {
            Some(byte) => line.push_str(&format!("{byte:02x} ")),
            None => line.push_str("   "),
        }
    }
    let text = chunk.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' });
    format!("{line} |{}|", text.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_hexdump() {
        let mut bytes = vec![0; 64];
        bytes.extend(b"ZFS pool\n");
        let expected = [
            "00001000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|",
            "*",
            "00001040  5a 46 53 20 70 6f 6f 6c  0a                       |ZFS pool.|",
            "00001049",
        ];
        assert_eq!(lines(&bytes, 0x1000), expected);
        assert_eq!(lines(&[], 0), ["00000000"]);
    }
}
