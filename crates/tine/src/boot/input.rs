//! The logs of a command: read, out of kernel dumps too, put together into boots, and cut to what is wanted.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use boottrace::{Clock, Log, Selection, Timeline};
use clap::Args;

use super::vmcore;
use crate::dump;
use crate::failure::Failure;
use crate::output::{self, Verbosity};

/// What of the logs is wanted.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wanted {
    /// Only from this time on: 2s, 500ms, 250us, 10% of the whole, or ticks of the clock, as in 1000000t
    #[arg(long, value_name = "TIME", help_heading = "Part")]
    since: Option<Moment>,
    /// Only up to this time
    #[arg(long, value_name = "TIME", help_heading = "Part")]
    until: Option<Moment>,
    /// Only threads, processes and tables of this name, or with it in their names; also main, loader, rc, boot, run, shutdown
    #[arg(long, value_name = "NAME", help_heading = "Part")]
    thread: Vec<String>,
    /// Only so many frames of each call path; deeper ones count for their callers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Part")]
    depth: Option<u32>,
    #[command(flatten)]
    pub(crate) input: Input,
}

/// How logs are read.
#[derive(Clone, Debug, Args)]
pub(crate) struct Input {
    /// Frequency of the clock of debug.tslog: 2750339982, 2750MHz, 2.75GHz [default: as the log tells]
    #[arg(long, value_name = "HZ", value_parser = frequency, help_heading = "Input")]
    tsc_freq: Option<u64>,
    /// The kernel that made a dump among the logs, the folder that it is in, or the root of its system [default: looked
    /// for beside the dump]
    #[arg(short, long, value_name = "KERNEL", help_heading = "Input")]
    kernel: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(flatten)]
    dump: dump::reading::Reading,
}

/// A boot, and what it was read from.
pub(crate) struct Boot {
    pub(crate) name: String,
    pub(crate) timeline: Timeline,
}

impl Wanted {
    /// The same, up to where a boot is done, if it is not said up to where, and what comes later takes much longer.
    pub(crate) fn booted(&self, boot: Boot) -> Boot {
        let Boot { name, timeline } = boot;
        let Some(booted) = timeline.booted().filter(|_| self.until.is_none()) else { return Boot { name, timeline } };
        let later = timeline.clock.show(timeline.end - timeline.start - booted);
        let told = format!("{name}: the last {later} are not drawn: the boot was done (--until 100% draws all)");
        output::warnings("tine", &[told], self.input.verbosity);
        let timeline = timeline.select(&Selection { until: Some(booted), ..Selection::default() });
        Boot { name, timeline }
    }

    /// All boots of the files, with what is wanted of them.
    pub(crate) fn boots(&self, files: &[PathBuf]) -> Result<Vec<Boot>, Failure> {
        let boots = self.input.boots(files)?;
        boots.into_iter().map(|boot| self.part(boot)).collect()
    }

    /// The only boot of the files, or the one with this number.
    pub(crate) fn boot(&self, files: &[PathBuf], number: Option<usize>) -> Result<Boot, Failure> {
        let mut boots = self.input.boots(files)?;
        let count = boots.len();
        let at = match (number, count) {
            (None, 1) => 0,
            (None, _) => {
                return Err(Failure::Usage(format!(
                    "these are the traces of {count} boots: choose one with --boot 1 to {count}"
                )));
            }
            (Some(number), _) if number >= 1 && number <= count => number - 1,
            (Some(number), _) => {
                let there = if count == 1 { "only one".to_owned() } else { format!("1 to {count}") };
                return Err(Failure::Usage(format!("there is no boot {number}: there is {there}")));
            }
        };
        self.part(boots.swap_remove(at))
    }

    fn part(&self, mut boot: Boot) -> Result<Boot, Failure> {
        let Timeline { clock, start, end, .. } = &boot.timeline;
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.units(clock, end - start)).transpose();
        let selection = Selection {
            since: moment(self.since)?,
            until: moment(self.until)?,
            threads: self.thread.clone(),
            depth: self.depth,
        };
        boot.timeline = boot.timeline.select(&selection);
        if !self.thread.is_empty() && boot.timeline.lanes.is_empty() {
            return Err(Failure::Work(format!(
                "{}: no thread has '{}' in its name",
                boot.name,
                self.thread.join("' or '")
            )));
        }
        Ok(boot)
    }
}

impl Input {
    /// All boots of the files, in their order. What is wrong with them is told.
    pub(crate) fn boots(&self, files: &[PathBuf]) -> Result<Vec<Boot>, Failure> {
        let mut boots: Vec<(Vec<&Path>, usize, Log)> = Vec::new();
        for file in files {
            let mut found =
                if vmcore::is_dump(file) { vec![self.trace_of_dump(file)?] } else { boottrace::read(&bytes(file)?) };
            found.retain(|log| !log.sources().is_empty());
            if found.is_empty() {
                return Err(Failure::work(file.display(), boottrace::Error::NoTrace));
            }
            for (number, log) in (1..).zip(found) {
                match boots.last_mut() {
                    // One file holds several boots in turn, several files may hold parts of one.
                    Some((names, _, before)) if names.last() != Some(&file.as_path()) && before.completes(&log) => {
                        names.push(file);
                        before.absorb(log);
                    }
                    _ => boots.push((vec![file], number, log)),
                }
            }
        }
        boots.into_iter().map(|(files, number, log)| self.boot(&files, number, log)).collect()
    }

    fn trace_of_dump(&self, file: &Path) -> Result<Log, Failure> {
        let contents = self.dump.options()?;
        let options = crash::Options { kernel: self.kernel.clone(), contents, ..crash::Options::default() };
        vmcore::trace(file, &options, self.verbosity)
    }

    fn boot(&self, files: &[&Path], number: usize, log: Log) -> Result<Boot, Failure> {
        let names: Vec<String> = files.iter().map(|file| shown(file)).collect();
        let mut name = names.join(" + ");
        if number > 1 {
            name = format!("{name}, boot {number}");
        }
        let timeline = log.timeline(self.tsc_freq).map_err(|error| Failure::work(&name, error))?;
        let joined = (files.len() > 1).then(|| "taken for parts of one boot".to_owned());
        let sentences = timeline.faults.sentences().into_iter().chain(timeline.notes.iter().cloned()).chain(joined);
        let told: Vec<String> = sentences.map(|sentence| format!("{name}: {sentence}")).collect();
        output::warnings("tine", &told, self.verbosity);
        Ok(Boot { name, timeline })
    }
}

fn shown(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() }
}

fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map_err(|error| Failure::work("cannot read standard input", error))?;
        if vmcore::begins_dump(&bytes) {
            return Err(Failure::Usage("a kernel dump cannot be read from standard input: give its file".to_owned()));
        }
        return Ok(bytes);
    }
    fs::read(file).map_err(|error| Failure::work(format_args!("cannot read {}", file.display()), error))
}

/// A time of a log as the command line has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    Seconds(f64),
    Percent(f64),
    Units(u64),
}

impl Moment {
    /// In units of the clock; `whole` is what 100 % are.
    pub(crate) fn units(self, clock: &Clock, whole: u64) -> Result<u64, Failure> {
        match self {
            Moment::Units(units) => Ok(units),
            Moment::Percent(percent) => Ok((whole as f64 * percent / 100.0).round() as u64),
            Moment::Seconds(seconds) => clock.units(seconds).ok_or_else(|| {
                Failure::Usage(
                    "the log does not tell the frequency of its clock: give it with --tsc-freq, or times in ticks (1000000t) or %"
                        .to_owned(),
                )
            }),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let wrong = || format!("'{text}' is no time: 2s, 500ms, 250us, 10ns, 10% and 1000t are");
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let value: f64 = number.parse().map_err(|_| wrong())?;
        match unit {
            "s" => Ok(Moment::Seconds(value)),
            "ms" => Ok(Moment::Seconds(value / 1e3)),
            "us" => Ok(Moment::Seconds(value / 1e6)),
            "ns" => Ok(Moment::Seconds(value / 1e9)),
            "%" => Ok(Moment::Percent(value)),
            "t" => number.parse().map(Moment::Units).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

/// `2750339982`, `2750MHz`, `2.75GHz`.
fn frequency(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no frequency: 2750339982, 2750MHz and 2.75GHz are");
    let lower = text.to_ascii_lowercase();
    let (number, factor) = match lower.strip_suffix("hz").unwrap_or(&lower) {
        rest if rest.ends_with('g') => (&rest[..rest.len() - 1], 1e9),
        rest if rest.ends_with('m') => (&rest[..rest.len() - 1], 1e6),
        rest if rest.ends_with('k') => (&rest[..rest.len() - 1], 1e3),
        rest => (rest, 1.0),
    };
    if factor == 1.0
        && let Ok(hertz @ 1..) = number.parse::<u64>()
    {
        return Ok(hertz);
    }
    let hertz = number.trim().parse::<f64>().map_err(|_| wrong())? * factor;
    if (1.0..1e12).contains(&hertz) { Ok(hertz.round() as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!("2s".parse(), Ok(Moment::Seconds(2.0)));
        assert_eq!("1.5ms".parse(), Ok(Moment::Seconds(0.0015)));
        assert_eq!("5%".parse(), Ok(Moment::Percent(5.0)));
        assert_eq!("18446744073709551615t".parse(), Ok(Moment::Units(u64::MAX)));
        for wrong in ["", "2", "s", "2h", "-2s", "1.5t", "1.2.3s"] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_frequency_may_have_a_prefix() {
        assert_eq!(frequency("2750339982"), Ok(2_750_339_982));
        assert_eq!(frequency("2.75GHz"), Ok(2_750_000_000));
        assert_eq!(frequency("62.5m"), Ok(62_500_000));
        for wrong in ["", "0", "GHz", "-1", "1e99", "inf"] {
            assert!(frequency(wrong).is_err(), "{wrong}");
        }
    }
}
