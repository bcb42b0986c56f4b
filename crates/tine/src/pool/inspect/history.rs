//! `tine pool inspect history`: what was done to the pool, and what happened in it.

use std::fmt::Write as _;

use zfs_ondisk::history::key;
use zfs_ondisk::nvlist::{NvList, Value};
use zfs_pool::{Error, Pool};

use super::dump::Dump;
use super::nvlist;
use super::shown::{Shown, date, printable};

/// Dumps the history. Internal events are left out unless `all`; with `long` each line ends with who did it.
pub(crate) fn dump(dump: &mut Dump, pool: &Pool, all: bool, long: bool) -> Result<(), Error> {
    let Some(history) = pool.history()? else {
        dump.field("records", Shown::new("the pool has no history", serde_json::json!([])));
        return Ok(());
    };
    let header = *history.header();
    if dump.is_json() || long {
        dump.section("header", |dump| {
            dump.field("object", history.object().0);
            dump.field("size", Shown::size(header.size));
            dump.field("create length", header.create_length);
            dump.field("begin", Shown::from(header.begin).note(format!("at {}", header.physical(header.begin))));
            dump.field("end", Shown::from(header.end).note(format!("at {}", header.physical(header.end))));
            dump.field("records lost", header.lost);
        });
        dump.space();
    }
    dump.list("records", |dump| {
        for record in history {
            match record {
                _ if !dump.is_read() => return,
                Ok(record) if dump.is_json() => dump.item("", |dump| {
                    dump.field("position", record.position);
                    if let Ok(time) = record.values.u64(key::TIME) {
                        dump.field("time", time);
                    }
                    nvlist::dump(dump, "values", &record.values);
                }),
                Ok(record) if all || record.values.contains(key::COMMAND) => {
                    lines(&record.values, long).iter().for_each(|line| dump.text(line));
                }
                Ok(_) => {}
                Err(error) => dump.item("", |dump| dump.fault("fault", error)),
            }
        }
    });
    Ok(())
}

/// A record as `zpool history` shows it, with the time in UTC.
fn lines(record: &NvList, long: bool) -> Vec<String> {
    let text = |name: &str| printable(record.bytes(name).unwrap_or_default());
    let number = |name: &str| record.u64(name).unwrap_or(0);
    let mut line = match record.u64(key::TIME).ok().and_then(date) {
        Some(date) => date.trim_end_matches(" UTC").replace(' ', "."),
        None => "-".to_owned(),
    };
    if let Some(Value::Int64(elapsed)) = record.get(key::ELAPSED) {
        add(&mut line, format_args!(" ({}ms)", elapsed / 1_000_000));
    }
    let mut more = Vec::new();
    if record.contains(key::COMMAND) {
        add(&mut line, format_args!(" {}", text(key::COMMAND)));
    } else if record.contains(key::EVENT) {
        let (event, txg) = (number(key::EVENT), number(key::TXG));
        add(&mut line, format_args!(" [internal event {event} txg:{txg}] {}", text(key::TEXT)));
    } else if record.contains(key::NAME) {
        add(&mut line, format_args!(" [txg:{}] {}", number(key::TXG), text(key::NAME)));
        if record.contains(key::DATASET) {
            add(&mut line, format_args!(" {} ({})", text(key::DATASET), number(key::DATASET_ID)));
        }
        add(&mut line, format_args!(" {}", text(key::TEXT)));
    } else if record.contains(key::IOCTL) {
        add(&mut line, format_args!(" ioctl {}", text(key::IOCTL)));
        for (name, title) in [(key::INPUT, "input"), (key::OUTPUT, "output")] {
            if let Ok(list) = record.list(name) {
                more.push(format!("    {title}"));
                more.extend(nvlist::lines(list).into_iter().map(|line| format!("      {line}")));
            }
        }
        if let Some(Value::Int64(error)) = record.get(key::ERROR) {
            more.push(format!("    errno {error}"));
        }
    } else {
        line.push_str(" unrecognized record");
        more.extend(nvlist::lines(record).into_iter().map(|line| format!("    {line}")));
    }
    if long {
        line.push_str(" [");
        if record.contains(key::WHO) {
            add(&mut line, format_args!("user {} ", number(key::WHO)));
        }
        if record.contains(key::HOST) {
            add(&mut line, format_args!("on {}", text(key::HOST)));
        }
        if record.contains(key::ZONE) {
            add(&mut line, format_args!(":{}", text(key::ZONE)));
        }
        line.push(']');
    }
    more.insert(0, line);
    more
}

fn add(line: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = line.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_events_read_as_zpool_history_has_them() {
        let command = NvList::new()
            .with(key::TIME, 1_795_322_978)
            .with(key::COMMAND, "zpool create snap /dev/vdb")
            .with(key::WHO, 0)
            .with(key::HOST, "zvm")
            .with(key::ZONE, "linux");
        assert_eq!(lines(&command, false), ["2026-11-22.04:49:38 zpool create snap /dev/vdb"]);
        assert_eq!(lines(&command, true), ["2026-11-22.04:49:38 zpool create snap /dev/vdb [user 0 on zvm:linux]"]);
        let event = NvList::new()
            .with(key::TIME, 1_795_322_979)
            .with(key::TXG, 9)
            .with(key::NAME, "snapshot")
            .with(key::DATASET, "snap/a@s1")
            .with(key::DATASET_ID, 77)
            .with(key::TEXT, " ");
        assert_eq!(lines(&event, false), ["2026-11-22.04:49:39 [txg:9] snapshot snap/a@s1 (77)  "]);
    }
}
