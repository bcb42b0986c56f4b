//! Folded stacks: `frame;frame;frame count`, as tools that draw flame graphs take them.

use std::io::{self, Write};

use crate::timeline::{Segment, Timeline};

impl Timeline {
    /// Writes a line for each call path that has time of its own, in the order in which they appear. Counts are ticks
    /// of the cycle counter, or microseconds, by the timeline's clock.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_folded(&self, out: &mut dyn Write) -> io::Result<()> {
        let segments = || self.path.iter().chain(&self.beside);
        let own = self.own_times(segments().copied());
        let mut written = vec![false; own.len()];
        for Segment { stack, .. } in segments() {
            let at = stack.index();
            let (Some(time), Some(written)) = (own.get(at), written.get_mut(at)) else { continue };
            if !std::mem::replace(written, true) && *time > 0 {
                writeln!(out, "{} {time}", self.stacks.text(*stack, &self.names))?;
            }
        }
        Ok(())
    }
}
