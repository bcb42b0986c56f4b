//! The picture as SVG: what is seen without the script, the data and the script.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::picture::{Drawn, DrawnLane, Section};
use super::{data, escaped};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

// The script has the same numbers.
const WIDTH: f64 = 1200.0;
const LEFT: f64 = 180.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 34.0;
const ROW: f64 = 16.0;
const HEAD: f64 = 50.0;
const LANE_GAP: f64 = 8.0;
const SECTION_GAP: f64 = 26.0;
const FOOT: f64 = 22.0;
const LETTER: f64 = 6.7;
/// Boxes narrower than this are drawn as one.
const NARROW: f64 = 1.5;

/// Writes the picture; with what a file of its own needs, if `alone`.
pub(super) fn write(title: &str, sections: &[Section], alone: bool, out: &mut dyn Write) -> io::Result<()> {
    let height: f64 = TOP + sections.iter().map(height).sum::<f64>() + FOOT;
    if alone {
        writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    }
    writeln!(
        out,
        "<svg class=\"tine-boot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">"
    )?;
    writeln!(out, "<title>{}</title>", escaped(title))?;
    writeln!(out, "<style><![CDATA[\n{STYLE}]]></style>")?;
    writeln!(out, "<rect class=\"ground\" width=\"100%\" height=\"100%\"/>")?;
    writeln!(out, "<g class=\"all\">")?;
    let length = longest(sections);
    let mut y = TOP;
    for section in sections {
        write_section(section, length, y, out)?;
        y += self::height(section);
    }
    writeln!(out, "</g>")?;
    legend(sections, height - 12.0, out)?;
    write!(out, "<script><![CDATA[\nconst SECTIONS = ")?;
    data::write(sections, out)?;
    writeln!(out, ";\n{SCRIPT}]]></script>\n</svg>")
}

/// What the colours mean, of those that there are.
fn legend(sections: &[Section], y: f64, out: &mut dyn Write) -> io::Result<()> {
    const MEANINGS: [(&str, &str); 10] = [
        ("k0", "function"),
        ("d", "driver"),
        ("w", "wait"),
        ("r", "rc script"),
        ("p", "process"),
        ("l", "console line"),
        ("many", "many narrow ones"),
        ("s2", "slower"),
        ("b2", "faster"),
        ("n", "no difference"),
    ];
    let is_there = |class: &str| {
        let alike = |label: &str| label == class || (class.len() == 2 && label.len() == 2 && label[..1] == class[..1]);
        sections.iter().flat_map(|section| &section.labels).any(|label| alike(&label.class))
    };
    writeln!(out, "<g class=\"legend\">")?;
    let mut x = LEFT;
    for (class, meaning) in MEANINGS.into_iter().filter(|&(class, _)| class == "many" || is_there(class)) {
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"12\" height=\"10\"/><text x=\"{:.0}\" y=\"{y:.0}\">{meaning}</text>",
            y - 9.0,
            x + 16.0
        )?;
        x += 16.0 + LETTER * meaning.len() as f64 + 18.0;
    }
    writeln!(out, "</g>")
}

/// How long the section that is longest takes, as a number of seconds, or of ticks where these are not known.
fn longest(sections: &[Section]) -> f64 {
    sections.iter().map(|section| section.length as f64 / scale(section)).fold(f64::MIN_POSITIVE, f64::max)
}

fn scale(section: &Section) -> f64 {
    section.hertz.map_or(1.0, |hertz| hertz as f64)
}

fn height(section: &Section) -> f64 {
    HEAD + section.lanes.iter().map(lane_height).sum::<f64>() + SECTION_GAP
}

fn lane_height(lane: &DrawnLane) -> f64 {
    f64::from(lane.rows.max(2)) * ROW + LANE_GAP
}

fn write_section(section: &Section, longest: f64, top: f64, out: &mut dyn Write) -> io::Result<()> {
    let per_unit = (WIDTH - LEFT - RIGHT) / longest / scale(section);
    writeln!(out, "<g>")?;
    writeln!(out, "<text class=\"title\" x=\"{LEFT}\" y=\"{}\">{}</text>", top + 14.0, escaped(&section.title))?;
    writeln!(out, "<text class=\"subtitle\" x=\"{LEFT}\" y=\"{}\">{}</text>", top + 29.0, escaped(&section.subtitle))?;
    let bottom = top + height(section) - SECTION_GAP;
    axis(section, longest, top + HEAD, bottom, out)?;
    if let Some(done) = section.done {
        let x = LEFT + done as f64 * per_unit;
        writeln!(out, "<path class=\"done\" d=\"M{x:.2} {:.2}V{bottom:.2}\"/>", top + HEAD - 4.0)?;
    }
    let mut y = top + HEAD;
    for lane in &section.lanes {
        write_lane(section, lane, per_unit, y, out)?;
        y += lane_height(lane);
    }
    writeln!(out, "</g>")
}

fn axis(section: &Section, longest: f64, top: f64, bottom: f64, out: &mut dyn Write) -> io::Result<()> {
    let offset = section.offset as f64 / scale(section);
    let step = step(longest / 10.0);
    let per_second = (WIDTH - LEFT - RIGHT) / longest;
    let mut grid = String::new();
    let first = (offset / step).ceil();
    for at in 0..64 {
        let time = (first + f64::from(at)) * step;
        if time > offset + longest {
            break;
        }
        let x = LEFT + (time - offset) * per_second;
        let _ = write!(grid, "M{x:.2} {:.2}V{bottom:.2}", top - 4.0);
        let label = time_label(time, step, section.hertz.is_some());
        writeln!(out, "<text class=\"time\" x=\"{x:.2}\" y=\"{:.2}\">{label}</text>", top - 7.0)?;
    }
    writeln!(out, "<path class=\"grid\" d=\"{grid}\"/>")
}

/// 1, 2 or 5 times a power of ten, not less than `least`.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= least * 0.999).unwrap_or(power)
}

/// A time on the axis, with as many digits as the steps need.
fn time_label(time: f64, step: f64, in_seconds: bool) -> String {
    let (factor, unit) = match (in_seconds, step) {
        (true, 0.1..) => (1.0, "s"),
        (true, 0.000_1..) => (1e3, "ms"),
        (true, 0.000_000_1..) => (1e6, "us"),
        (true, _) => (1e9, "ns"),
        (false, 1e8..) => (1e-9, "G"),
        (false, 1e5..) => (1e-6, "M"),
        (false, 1e2..) => (1e-3, "k"),
        (false, _) => (1.0, ""),
    };
    let digits = (-(step * factor).log10().floor()).max(0.0) as usize;
    format!("{:.digits$} {unit}", time * factor).trim_end().to_owned()
}

fn write_lane(section: &Section, lane: &DrawnLane, per_unit: f64, top: f64, out: &mut dyn Write) -> io::Result<()> {
    let x = LEFT - 8.0;
    writeln!(out, "<text class=\"lane\" x=\"{x}\" y=\"{:.2}\">{}</text>", top + 12.0, escaped(&cut(&lane.title, 25)))?;
    writeln!(
        out,
        "<text class=\"sub\" x=\"{x}\" y=\"{:.2}\">{}</text>",
        top + 24.0,
        escaped(&cut(&lane.subtitle, 31))
    )?;
    let clock = section.clock();
    let mut rows: Vec<Vec<Drawn>> = vec![Vec::new(); usize::from(lane.rows)];
    for drawn in &lane.boxes {
        if let Some(row) = rows.get_mut(usize::from(drawn.row)) {
            row.push(*drawn);
        }
    }
    for (row, boxes) in rows.iter().enumerate() {
        let y = top + row as f64 * ROW;
        let mut blocks = String::new();
        // The block of narrow boxes that is not written yet.
        let mut block: Option<(f64, f64)> = None;
        let mut flush = |block: &mut Option<(f64, f64)>| {
            if let Some((from, to)) = block.take() {
                let _ = write!(blocks, "M{from:.2} {y:.2}h{:.2}v15h-{0:.2}z", (to - from).max(0.4));
            }
        };
        for drawn in boxes {
            let (from, to) = (LEFT + drawn.start as f64 * per_unit, LEFT + drawn.end as f64 * per_unit);
            let width = to - from;
            if width < NARROW {
                match &mut block {
                    Some((_, end)) if from - *end < 1.0 => *end = end.max(to),
                    _ => {
                        flush(&mut block);
                        block = Some((from, to));
                    }
                }
                continue;
            }
            flush(&mut block);
            let Some(label) = section.labels.get(drawn.label as usize) else { continue };
            let title = format!("{} {}", label.text, clock.show(drawn.end - drawn.start));
            write!(
                out,
                "<g><title>{}{}</title><rect class=\"{}\" x=\"{from:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"15\"/>",
                escaped(&title),
                escaped(&label.note),
                label.class
            )?;
            let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
            if letters >= 3 {
                let shown = cut(&label.text, letters);
                write!(out, "<text x=\"{:.2}\" y=\"{:.2}\">{}</text>", from + 3.0, y + 11.5, escaped(&shown))?;
            }
            writeln!(out, "</g>")?;
        }
        flush(&mut block);
        if !blocks.is_empty() {
            writeln!(out, "<path class=\"many\" d=\"{blocks}\"/>")?;
        }
    }
    Ok(())
}

/// The beginning of a text, with dots where something is left out.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(2)).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_axis_are_round() {
        assert_eq!([0.7, 1.0, 1.3, 3.0, 600.0].map(step), [1.0, 1.0, 2.0, 5.0, 1000.0]);
        assert_eq!(time_label(1.5, 0.5, true), "1.5 s");
        assert_eq!(time_label(0.02, 0.01, true), "20 ms");
        assert_eq!(time_label(2e9, 1e9, false), "2 G");
    }

    #[test]
    fn names_are_cut_to_what_fits() {
        assert_eq!(cut("SYSINIT configure2", 10), "SYSINIT ..");
        assert_eq!(cut("DELAY", 5), "DELAY");
    }
}
