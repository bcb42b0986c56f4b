//! What happened, as lines of a log for people and programs, or as JSON.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netdump::receiver::Ending;
use netdump::server::{Ended, Event, Outcome, Progress};
use serde_json::{Map, Value, json};
use vmcore::names::State;

use super::screen::Screen;
use crate::failure::Failure;
use crate::output;

/// How often `--json` tells how far dumps are.
const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Reporter {
    json: bool,
    quiet: bool,
    screen: Screen,
    /// Names are told without it.
    directory: PathBuf,
    progress_told: Duration,
}

impl Reporter {
    pub(super) fn new(json: bool, quiet: bool, screen: Screen, directory: PathBuf) -> Reporter {
        let directory = directory.canonicalize().unwrap_or(directory);
        Reporter { json, quiet, screen, directory, progress_told: Duration::ZERO }
    }

    pub(super) fn listening(&self, addresses: &[SocketAddr], metrics: Option<SocketAddr>) -> Result<(), Failure> {
        for address in addresses {
            self.tell("listening", &[("address", json!(address.to_string()))], false)?;
        }
        if let Some(address) = metrics {
            self.tell("metrics", &[("address", json!(address.to_string()))], false)?;
        }
        Ok(())
    }

    pub(super) fn stopped(&self) -> Result<(), Failure> {
        self.tell("stopped", &[], false)
    }

    pub(super) fn event(&self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Began { dump, client, refused_path } => {
                let mut fields = vec![
                    ("dump", json!(dump.0)),
                    ("client", json!(client.address.ip().to_canonical().to_string())),
                    ("host", json!(client.host)),
                    ("number", json!(client.names.number())),
                    ("directory", json!(self.below(client.names.directory()))),
                ];
                if let Some((path, why)) = refused_path {
                    fields.push(("path_refused", json!(path)));
                    fields.push(("why", json!(why)));
                }
                self.tell("began", &fields, refused_path.is_some())
            }
            Event::Resumed { dump, client, bytes } => self.tell(
                "resumed",
                &[
                    ("dump", json!(dump.0)),
                    ("client", json!(client.address.ip().to_canonical().to_string())),
                    ("host", json!(client.host)),
                    ("number", json!(client.names.number())),
                    ("bytes", json!(bytes)),
                ],
                false,
            ),
            Event::Refused { address, why } => {
                let fields = [("client", json!(address.to_canonical().to_string())), ("why", json!(why))];
                self.tell("refused", &fields, true)
            }
            Event::Ended(ended) => self.ended(ended),
        }
    }

    fn ended(&self, ended: &Ended) -> Result<(), Failure> {
        let Ended { client, how, bytes, elapsed, counters, outcome, .. } = ended;
        let seconds = elapsed.as_secs_f64();
        let mut fields = vec![
            ("client", json!(client.address.ip().to_canonical().to_string())),
            ("host", json!(client.host)),
            ("number", json!(client.names.number())),
            ("end", json!(ending(how))),
            ("bytes", json!(bytes)),
            ("seconds", json!((seconds * 1000.0).round() / 1000.0)),
            ("packets", json!(counters.packets)),
            ("repeated", json!(counters.repeated)),
            ("missed", json!(counters.missed)),
            ("ignored", json!(counters.ignored)),
        ];
        if ended.dump.0 != u64::MAX {
            fields.insert(0, ("dump", json!(ended.dump.0)));
        }
        if let Ending::Storage(why) = how {
            fields.push(("why", json!(why)));
        }
        let name = match outcome {
            Outcome::Stored(stored) => {
                fields.push(("file", json!(self.below(&stored.data))));
                fields.push(("size", json!(stored.size)));
                let sha256: String = stored.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
                fields.push(("sha256", json!(sha256)));
                if stored.info.missing.bytes > 0 {
                    fields.push(("missing_bytes", json!(stored.info.missing.bytes)));
                    fields.push(("missing_ranges", json!(stored.info.missing.count)));
                }
                if let Some(header) = &stored.info.header {
                    fields.push(("panic_string", json!(header.panic_string)));
                    fields.push(("parity_ok", json!(header.parity_ok)));
                }
                match stored.state {
                    State::Whole => "whole",
                    State::Incomplete => "incomplete",
                    State::Partial => "partial",
                }
            }
            Outcome::Nothing => "nothing",
            Outcome::Failed(why) => {
                fields.push(("error", json!(why)));
                "failed"
            }
        };
        self.tell(name, &fields, matches!(outcome, Outcome::Failed(_)))
    }

    /// Shows how far dumps are.
    pub(super) fn progress(&mut self, progress: &[Progress], now: Duration) -> Result<(), Failure> {
        self.screen.update(progress, now);
        if !self.json || progress.is_empty() || now.saturating_sub(self.progress_told) < EVERY {
            return Ok(());
        }
        self.progress_told = now;
        for dump in progress {
            let seconds = now.saturating_sub(dump.began).as_secs_f64();
            let fields = [
                ("dump", json!(dump.dump.0)),
                ("client", json!(dump.client.address.ip().to_canonical().to_string())),
                ("bytes", json!(dump.bytes)),
                ("seconds", json!((seconds * 1000.0).round() / 1000.0)),
                ("loss", json!((dump.counters.loss() * 10_000.0).round() / 10_000.0)),
            ];
            self.tell("progress", &fields, false)?;
        }
        Ok(())
    }

    /// A line: `wrong` ones are told even if nothing else is.
    fn tell(&self, event: &str, fields: &[(&str, Value)], wrong: bool) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let time = vmcore::time::utc(now).replacen(' ', "T", 1).replace(" +0000", "Z");
        if self.json {
            let mut object = Map::new();
            object.insert("event".to_owned(), json!(event));
            object.insert("time".to_owned(), json!(time));
            object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            return output::print(&format!("{}\n", Value::Object(object)));
        }
        if !self.quiet || wrong {
            let fields: String = fields.iter().map(|(name, value)| format!(" {name}={}", plain(value))).collect();
            self.screen.say(&format!("{time} {event}{fields}"));
        }
        Ok(())
    }

    fn below(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.directory).unwrap_or(path);
        if below.as_os_str().is_empty() { ".".to_owned() } else { below.to_string_lossy().into_owned() }
    }
}

/// A value as it is in a log: without quotes where that can be read.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && text.chars().all(|char| char.is_ascii_graphic() && char != '"') => {
            text.clone()
        }
        other => other.to_string(),
    }
}

fn ending(how: &Ending) -> &'static str {
    match how {
        Ending::Finished => "finished",
        Ending::Silent => "silent",
        Ending::StartedOver => "started-over",
        Ending::TooLong => "time-limit",
        Ending::Quota => "quota",
        Ending::Scattered => "scattered",
        Ending::Stopped => "stopped",
        Ending::Storage(_) => "storage",
    }
}
