//! A differential chart: call paths as wide as the longer side is, red where they became slower and blue where faster.

use std::io::{self, Write};

use super::picture::{Drawn, DrawnLane, Label, Section};
use super::{escaped, html, svg};
use crate::diff::{Diff, DiffUnit, PathDiff, change};
use crate::timeline::Ending;

impl Diff {
    /// Writes the differential chart as an SVG file.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_svg(&self, title: &str, out: &mut dyn Write) -> io::Result<()> {
        svg::write(title, &[self.section(title)], true, out)
    }

    /// Writes it as an HTML file, with a table of the differences.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_html(&self, title: &str, out: &mut dyn Write) -> io::Result<()> {
        html::begin(title, out)?;
        svg::write(title, &[self.section(title)], false, out)?;
        writeln!(out, "</div>\n<section><h2>What differs</h2>")?;
        writeln!(
            out,
            "<table><tr><th>change</th><th>before</th><th>now</th><th class=\"name\">call path, time in itself</th></tr>"
        )?;
        for path in self.changes() {
            let (last, above) = path.frames.split_last().map_or(("", &[][..]), |(last, above)| (last.as_str(), above));
            let above = above.join(" > ");
            writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"name\"><a>{}</a> <i>in {}</i></td></tr>",
                self.show_change(path.base_own, path.new_own),
                self.show(path.base_own.median),
                self.show(path.new_own.median),
                escaped(last),
                escaped(&above)
            )?;
        }
        writeln!(out, "</table></section>")?;
        html::end(out)
    }

    fn section(&self, title: &str) -> Section {
        let count = self.paths.len();
        let mut width = vec![0u64; count];
        for (at, (parent, path)) in self.paths.iter().enumerate().rev() {
            width[at] = width[at].saturating_add(path.base_own.median.max(path.new_own.median));
            if let Some(parent) = *parent {
                width[parent] = width[parent].saturating_add(width[at]);
            }
        }
        // Children stand in the order of their numbers, behind one another, each where the one before ends.
        let mut next = vec![0u64; count];
        let mut roots = 0u64;
        let (mut boxes, mut labels) = (Vec::new(), Vec::new());
        for (at, (parent, path)) in self.paths.iter().enumerate() {
            let place = parent.map_or(&mut roots, |parent| &mut next[parent]);
            let start = *place;
            *place = place.saturating_add(width[at]);
            next[at] = start;
            labels.push(self.label(path));
            boxes.push(Drawn {
                start,
                end: start.saturating_add(width[at]),
                label: at as u32,
                row: u16::try_from(path.frames.len() - 1).unwrap_or(u16::MAX),
                ending: Ending::Told,
            });
        }
        boxes.retain(|drawn| drawn.end > drawn.start && drawn.row < 64);
        boxes.sort_by_key(|drawn| (drawn.start, drawn.row));
        let rows = boxes.iter().map(|drawn| drawn.row + 1).max().unwrap_or(1);
        Section {
            title: title.to_owned(),
            subtitle: format!(
                "before {}, now {}: {}; width: the longer of both; red: slower, blue: faster",
                self.show(self.base.median),
                self.show(self.new.median),
                self.show_change(self.base, self.new)
            ),
            hertz: (self.unit == DiffUnit::Nanos).then_some(1_000_000_000),
            offset: 0,
            length: roots.max(1),
            whole: roots,
            done: None,
            labels,
            lanes: vec![DrawnLane {
                title: "call paths".to_owned(),
                subtitle: "both sides".to_owned(),
                rows,
                boxes,
                marks: Vec::new(),
            }],
        }
    }

    fn label(&self, path: &PathDiff) -> Label {
        let more = change(path.base, path.new);
        let part = more.unsigned_abs() as f64 / path.base.median.max(path.new.median).max(1) as f64;
        let degree = if part >= 0.5 {
            3
        } else if part >= 0.1 {
            2
        } else {
            1
        };
        let class = match (path.differs, more > 0) {
            (false, _) => "n".to_owned(),
            (true, true) => format!("s{degree}"),
            (true, false) => format!("b{degree}"),
        };
        let noise = if path.differs || more == 0 { "" } else { ", within noise" };
        Label {
            text: path.frames.last().cloned().unwrap_or_default(),
            class,
            note: format!(
                " before {}, now {}: {}{noise}",
                self.show(path.base.median),
                self.show(path.new.median),
                self.show_change(path.base, path.new)
            ),
        }
    }
}
