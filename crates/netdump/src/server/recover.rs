//! What another server left unfinished: it goes on where its client may still send, and is finished as partial where
//! not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use vmcore::info::{Info, Missing, Status};
use vmcore::names::{Kind, Names, State};
use vmcore::ranges::Ranges;
use vmcore::store::{self, Writer};

use super::finish::{finish, source};
use super::journal::{self, Told};
use super::live::Live;
use super::{Client, Ended, Event, Outcome, Server, place};
use crate::receiver::{Counters, DumpId, Ending, Moment};
use crate::udp::Socket;

impl Server {
    /// Takes up what another server left unfinished in the directory: the ports are opened again at which its clients
    /// send, if the last of a dump came no longer ago than a client may be silent. `clock` is what the clock says, to
    /// compare with the times of files.
    pub fn recover(&mut self, now: Moment, clock: SystemTime) {
        let mut left = Vec::new();
        place::walk(&self.config.directory, &mut |path, metadata| {
            // The info file of a dump that is being received is empty.
            let info = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("info."));
            if info && metadata.len() == 0 {
                left.extend(unfinished(path));
            }
        });
        left.sort();
        for data in left {
            let Some(names) = Names::of(&data) else { continue };
            match journal::read(&names.ranges()) {
                Some(told) => self.take_up(now, clock, names, told),
                None => self.label(names, &data),
            }
        }
    }

    fn take_up(&mut self, now: Moment, clock: SystemTime, names: Names, told: Told) {
        let host = names.host().unwrap_or_default().to_owned();
        let client = Client { address: told.peer, host, names };
        let age = fs::metadata(client.names.ranges())
            .and_then(|metadata| metadata.modified())
            .map_or(Duration::MAX, |written| clock.duration_since(written).unwrap_or_default());
        if age < self.config.limits.silence && self.go_on(now, &client, &told).is_ok() {
            return;
        }
        let bytes = told.gathered.ranges.covered();
        let outcome = partial(&client, &told).map_or_else(
            |error| Outcome::Failed(error.to_string()),
            |stored| stored.map_or(Outcome::Nothing, |stored| Outcome::Stored(Box::new(stored))),
        );
        self.left_behind(client, bytes, outcome);
    }

    fn go_on(&mut self, now: Moment, client: &Client, told: &Told) -> io::Result<()> {
        let socket = Arc::new(Socket::bind(told.local)?);
        let (room, all) = self.room(&self.config.directory, &client.host).map_err(io::Error::other)?;
        let dump = self.receiver.resume(now, told.peer, told.gathered.clone()).map_err(io::Error::other)?;
        let live = Live::resume(client.clone(), socket, self.ack_to(told.peer), told);
        let live = live.inspect_err(|_| self.receiver.forget(dump))?;
        self.receiver.allow(dump, room.map(|room| room.saturating_add(told.gathered.ranges.end())), all);
        self.lives.insert(dump, live);
        self.totals.began += 1;
        let bytes = told.gathered.ranges.covered();
        self.events.push(Event::Resumed { dump, client: client.clone(), bytes });
        Ok(())
    }

    /// A dump of which it is not known which bytes came: its file says that it is partial, and so does its info file.
    fn label(&mut self, names: Names, data: &Path) {
        let host = names.host().unwrap_or_default().to_owned();
        let size = fs::metadata(data).map_or(0, |metadata| metadata.len());
        let info = Info {
            source: host.clone(),
            header: None,
            encryption: None,
            bounds: names.number(),
            status: Status::Partial,
            received: None,
            missing: Missing::of(&Ranges::new(), 0),
        };
        let written = fs::write(names.info(), info.to_string());
        let outcome = Outcome::Failed(match written {
            Ok(()) => format!("{} was left by another server, and nothing tells which bytes are there", data.display()),
            Err(error) => format!("cannot write {}: {error}", names.info().display()),
        });
        let client = Client { address: ([0; 4], 0).into(), host, names };
        self.left_behind(client, size, outcome);
    }

    fn left_behind(&mut self, client: Client, bytes: u64, outcome: Outcome) {
        match &outcome {
            Outcome::Stored(_) => self.totals.partial += 1,
            Outcome::Nothing => {}
            Outcome::Failed(_) => self.totals.failed += 1,
        }
        self.events.push(Event::Ended(Box::new(Ended {
            dump: DumpId(u64::MAX),
            client,
            how: Ending::Silent,
            bytes,
            elapsed: Duration::ZERO,
            counters: Counters::default(),
            outcome,
        })));
    }
}

/// The data of the dump whose info file is `info`, if it is not finished.
fn unfinished(info: &Path) -> Option<PathBuf> {
    let name = info.file_name()?.to_str()?.strip_prefix("info.")?;
    let names = Names::of(&info.with_file_name(format!("vmcore.{name}")))?;
    names.host()?;
    let data = names.data(Kind::Core, "", State::Partial);
    data.symlink_metadata().ok()?.is_file().then_some(data)
}

fn partial(client: &Client, told: &Told) -> io::Result<Option<store::Stored>> {
    let writer = Writer::resume(client.names.clone(), store::Options::default(), told.gathered.ranges.clone())?;
    finish(writer, &Ending::Silent, &told.gathered, source(client))
}
