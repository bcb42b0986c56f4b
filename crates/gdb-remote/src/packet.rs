//! Packets: `$` payload `#` checksum, and what stands between them.
//!
//! The bytes `#`, `$`, `}` and `*` of a payload are sent as `}` and the byte XOR 0x20; `*` and a count repeat the byte
//! before them. (GDB manual, appendix E, "Overview" and "Packets".)

use std::io::{self, BufRead, Write};

/// A payload longer than this is refused. GDB's own limit is 16 KiB unless a stub says otherwise.
pub const LONGEST: usize = 1 << 20;

const ESCAPE: u8 = b'}';
const ESCAPED: u8 = 0x20;
/// What the count of a repetition is counted from.
const FEWEST: u8 = 29;

/// What can arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A payload, its escapes and repetitions undone.
    Packet(Vec<u8>),
    /// A packet whose checksum is wrong, or that is too long.
    Broken,
    /// `+`: the other side has understood.
    Ack,
    /// `-`: it wants the last packet again.
    Nak,
    /// A byte 3: it wants the target to stop.
    Interrupt,
    /// The other side is gone.
    End,
}

/// Reads what comes next. Bytes outside of packets that mean nothing are passed over.
///
/// # Errors
/// If reading fails.
pub fn read(from: &mut impl BufRead) -> io::Result<Event> {
    loop {
        match byte(from)? {
            None => return Ok(Event::End),
            Some(b'$') => return payload(from),
            Some(b'+') => return Ok(Event::Ack),
            Some(b'-') => return Ok(Event::Nak),
            Some(3) => return Ok(Event::Interrupt),
            Some(_) => {}
        }
    }
}

/// Writes a payload as a packet.
///
/// # Errors
/// If writing fails.
pub fn write(to: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let mut packet = Vec::with_capacity(payload.len() + 4);
    packet.push(b'$');
    for &byte in payload {
        if matches!(byte, b'#' | b'$' | b'*' | ESCAPE) {
            packet.extend([ESCAPE, byte ^ ESCAPED]);
        } else {
            packet.push(byte);
        }
    }
    let sum = packet.iter().skip(1).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    packet.extend(format!("#{sum:02x}").bytes());
    to.write_all(&packet)?;
    to.flush()
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for; `None` if they are none, or one is left over.
pub fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let pairs = digits.chunks(2);
    pairs.map(|pair| if pair.len() == 2 { u8::try_from(number(pair)?).ok() } else { None }).collect()
}

/// A number in hexadecimal digits, most significant first.
pub fn number(digits: &[u8]) -> Option<u64> {
    // `from_str_radix` would take a sign.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn byte(from: &mut impl BufRead) -> io::Result<Option<u8>> {
    let first = from.fill_buf()?.first().copied();
    if first.is_some() {
        from.consume(1);
    }
    Ok(first)
}

/// The rest of a packet, after its `$`.
fn payload(from: &mut impl BufRead) -> io::Result<Event> {
    let (mut payload, mut sum, mut is_escaped) = (Vec::new(), 0u8, false);
    let mut is_whole = true;
    loop {
        let Some(next) = byte(from)? else { return Ok(Event::End) };
        match next {
            b'#' => break,
            // The one before was cut off.
            b'$' => {
                (sum, is_escaped, is_whole) = (0, false, true);
                payload.clear();
                continue;
            }
            _ if is_escaped => {
                payload.push(next ^ ESCAPED);
                is_escaped = false;
            }
            ESCAPE => is_escaped = true,
            b'*' => {
                sum = sum.wrapping_add(next);
                let Some(count) = byte(from)? else { return Ok(Event::End) };
                sum = sum.wrapping_add(count);
                match (payload.last().copied(), count.checked_sub(FEWEST)) {
                    (Some(last), Some(count)) => payload.extend(std::iter::repeat_n(last, count.into())),
                    _ => is_whole = false,
                }
                is_whole &= payload.len() <= LONGEST;
                continue;
            }
            _ => payload.push(next),
        }
        sum = sum.wrapping_add(next);
        if payload.len() > LONGEST {
            is_whole = false;
            payload.clear();
        }
    }
    let mut digits = [0; 2];
    for digit in &mut digits {
        match byte(from)? {
            Some(next) => *digit = next,
            None => return Ok(Event::End),
        }
    }
    if is_whole && !is_escaped && number(&digits) == Some(sum.into()) {
        Ok(Event::Packet(payload))
    } else {
        Ok(Event::Broken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repetitions_are_undone() {
        assert_eq!(read(&mut &b"$0* #7a"[..]).unwrap(), Event::Packet(b"0000".to_vec()));
        assert_eq!(read(&mut &b"$* #4a"[..]).unwrap(), Event::Broken);
    }

    #[test]
    fn a_wrong_checksum_is_told() {
        assert_eq!(read(&mut &b"$OK#9a"[..]).unwrap(), Event::Packet(b"OK".to_vec()));
        assert_eq!(read(&mut &b"$OK#9b"[..]).unwrap(), Event::Broken);
        assert_eq!(read(&mut &b"$OK#+a"[..]).unwrap(), Event::Broken);
        assert_eq!(read(&mut &b"$OK"[..]).unwrap(), Event::End);
    }

    #[test]
    fn a_packet_that_was_cut_off_does_not_hide_the_next() {
        assert_eq!(read(&mut &b"noise$m12$OK#9a"[..]).unwrap(), Event::Packet(b"OK".to_vec()));
    }

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(number(b"fF"), Some(255));
        for wrong in [&b""[..], b"+1", b"-1", b"g", b"11111111111111111"] {
            assert_eq!(number(wrong), None);
        }
        assert_eq!(from_hex(b"00ff"), Some(vec![0, 255]));
        assert_eq!(from_hex(b"0"), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(payload: Vec<u8>) {
            let mut packet = Vec::new();
            write(&mut packet, &payload).unwrap();
            prop_assert_eq!(read(&mut &packet[..]).unwrap(), Event::Packet(payload));
        }

        #[test]
        fn anything_can_be_read(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while read(&mut rest).unwrap() != Event::End {}
        }
    }
}
