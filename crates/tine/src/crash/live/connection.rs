//! The line to a stub: TCP, or a serial line.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::termios::{self, OptionalActions, SpecialCodeIndex};

use crate::failure::Failure;

/// A stub that says nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both directions.
pub(super) struct Connection {
    pub(super) from: Box<dyn Read + Send>,
    pub(super) to: Box<dyn Write + Send>,
}

/// Opens the line to a stub.
pub(super) fn open(place: &str, speed: u32) -> Result<Connection, Failure> {
    let failed = |error| Failure::work(format_args!("cannot connect to {place}"), error);
    if place.contains('/') {
        return serial(place, speed).map_err(|error| Failure::work(format_args!("cannot open {place}"), error));
    }
    let host = if place.starts_with(':') { format!("127.0.0.1{place}") } else { place.to_owned() };
    let addresses = host.to_socket_addrs();
    let addresses: Vec<_> = addresses
        .map_err(|error| Failure::Usage(format!("{place} is no ADDR:PORT, nor a serial line (/dev/...): {error}")))?
        .collect();
    let stream = TcpStream::connect(addresses.as_slice()).map_err(failed)?;
    let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
    let from = set.and_then(|()| stream.try_clone()).map_err(failed)?;
    Ok(Connection { from: Box::new(from), to: Box::new(stream) })
}

fn serial(place: &str, speed: u32) -> std::io::Result<Connection> {
    // Without waiting for a modem's carrier, and without becoming this program's terminal.
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits();
    let line = OpenOptions::new().read(true).write(true).custom_flags(flags.cast_signed()).open(place)?;
    let mut settings = termios::tcgetattr(&line)?;
    settings.make_raw();
    settings.set_speed(speed)?;
    settings.control_modes |= termios::ControlModes::CLOCAL | termios::ControlModes::CREAD;
    settings.special_codes[SpecialCodeIndex::VMIN] = 0;
    // Tenths of a second, of which there is room for no more.
    settings.special_codes[SpecialCodeIndex::VTIME] = 250;
    termios::tcsetattr(&line, OptionalActions::Flush, &settings)?;
    let plain = rustix::fs::fcntl_getfl(&line)? - OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&line, plain)?;
    Ok(Connection { from: Box::new(line.try_clone()?), to: Box::new(line) })
}
