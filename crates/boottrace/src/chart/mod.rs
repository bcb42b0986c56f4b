//! Charts: SVG and HTML files that need nothing else, with a small script for search, zoom and hover.
//!
//! What a file shows without its script is drawn here; the script draws the same from the data in the file, for any part
//! of the time. Spans too narrow to be seen are drawn as one block, and appear when the chart is zoomed.

mod data;
mod diff;
mod html;
mod picture;
mod svg;

use std::io::{self, Write};

use crate::timeline::Timeline;
use picture::Section;

/// A chart of one boot, or of several under each other on one scale.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    sections: Vec<Section>,
    /// What HTML has below the picture.
    pages: Vec<html::Page>,
}

impl Chart {
    /// A chart of boots, each with its name.
    pub fn new(boots: &[(String, Timeline)]) -> Chart {
        let title = match boots {
            [(name, _)] => name.clone(),
            _ => format!("{} boots", boots.len()),
        };
        Chart {
            title,
            sections: boots.iter().map(|(name, timeline)| Section::new(name, timeline)).collect(),
            pages: boots.iter().map(|(name, timeline)| html::Page::new(name, timeline)).collect(),
        }
    }

    /// Writes an SVG file.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_svg(&self, out: &mut dyn Write) -> io::Result<()> {
        svg::write(&self.title, &self.sections, true, out)
    }

    /// Writes an HTML file: the chart, and with it tables, the way to a booted system and the notes.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_html(&self, out: &mut dyn Write) -> io::Result<()> {
        html::write(&self.title, &self.sections, &self.pages, out)
    }
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
    }
    escaped
}
