//! What the script draws from: the sections as JavaScript, times packed into letters.

use std::io::{self, Write};

use super::picture::Section;
use crate::timeline::Ending;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes a number, five bits a letter, the lowest first; the sixth says that more follow.
fn put(packed: &mut Vec<u8>, mut number: u64) {
    loop {
        let more = u64::from(number > 31) << 5;
        packed.push(DIGITS[(number & 31 | more) as usize]);
        number >>= 5;
        if more == 0 {
            return;
        }
    }
}

/// Writes an array of sections.
pub(super) fn write(sections: &[Section], out: &mut dyn Write) -> io::Result<()> {
    write!(out, "[")?;
    for (at, section) in sections.iter().enumerate() {
        write!(
            out,
            "{}{{hertz:{},offset:{},length:{},whole:{},done:{},title:{},subtitle:{},labels:[",
            if at == 0 { "" } else { ",\n" },
            section.hertz.map_or("null".to_owned(), |hertz| hertz.to_string()),
            section.offset,
            section.length,
            section.whole,
            section.done.map_or("null".to_owned(), |done| done.to_string()),
            quoted(&section.title),
            quoted(&section.subtitle)
        )?;
        for (at, label) in section.labels.iter().enumerate() {
            let separator = if at == 0 { "" } else { ",\n" };
            write!(out, "{separator}[{},{}", quoted(&label.text), quoted(&label.class))?;
            if !label.note.is_empty() {
                write!(out, ",{}", quoted(&label.note))?;
            }
            write!(out, "]")?;
        }
        write!(out, "],lanes:[")?;
        for (at, lane) in section.lanes.iter().enumerate() {
            let mut boxes = Vec::with_capacity(lane.boxes.len() * 12);
            let mut before = 0;
            for drawn in &lane.boxes {
                let ending = match drawn.ending {
                    Ending::Told => 0,
                    Ending::Caller => 1,
                    Ending::Open => 2,
                };
                put(&mut boxes, drawn.start.saturating_sub(before));
                put(&mut boxes, drawn.end.saturating_sub(drawn.start));
                put(&mut boxes, u64::from(drawn.label));
                put(&mut boxes, u64::from(drawn.row) * 4 + ending);
                before = before.max(drawn.start);
            }
            let mut marks = Vec::new();
            let mut before = 0;
            for &(time, label) in &lane.marks {
                put(&mut marks, time.saturating_sub(before));
                put(&mut marks, u64::from(label));
                before = before.max(time);
            }
            write!(
                out,
                "{}{{title:{},subtitle:{},rows:{},boxes:\"",
                if at == 0 { "" } else { ",\n" },
                quoted(&lane.title),
                quoted(&lane.subtitle),
                lane.rows
            )?;
            out.write_all(&boxes)?;
            write!(out, "\",marks:\"")?;
            out.write_all(&marks)?;
            write!(out, "\"}}")?;
        }
        write!(out, "]}}")?;
    }
    write!(out, "]")
}

/// A string of JavaScript that may stand in XML and HTML.
fn quoted(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
    quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").replace('\u{2028}', "\\u2028")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the script does it.
    fn get(packed: &[u8]) -> Vec<u64> {
        let (mut numbers, mut number, mut shift) = (Vec::new(), 0u64, 0);
        for letter in packed {
            let digit = DIGITS.iter().position(|digit| digit == letter).expect("it is a digit") as u64;
            number |= (digit & 31) << shift;
            shift += 5;
            if digit & 32 == 0 {
                numbers.push(number);
                (number, shift) = (0, 0);
            }
        }
        numbers
    }

    #[test]
    fn packed_numbers_come_back() {
        let numbers = [0, 1, 31, 32, 1023, 1024, 20_008_556_869, u64::MAX];
        let mut packed = Vec::new();
        numbers.iter().for_each(|&number| put(&mut packed, number));
        assert_eq!(get(&packed), numbers);
        assert_eq!(packed.len(), 1 + 1 + 1 + 2 + 2 + 3 + 7 + 13);
    }

    #[test]
    fn no_name_ends_the_script() {
        assert_eq!(quoted("]]></script>&"), "\"]]\\u003e\\u003c/script\\u003e\\u0026\"");
    }
}
