//! Timelines as other tools take them.

mod chrome;
mod folded;
mod json;
mod speedscope;

use serde::Serialize;

use crate::clock::Clock;

/// A text as JSON has it, in quotes.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// A value as JSON has it.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Microseconds with three decimals; ticks, where their length is not known.
fn micros(clock: &Clock, units: u64) -> String {
    match clock.hertz {
        Some(hertz) => {
            let nanos = u128::from(units) * 1_000_000_000 / u128::from(hertz.max(1));
            format!("{}.{:03}", nanos / 1000, nanos % 1000)
        }
        None => units.to_string(),
    }
}
