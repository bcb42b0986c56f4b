//! A drill: a dump of a machine that never was, sent over the loopback and caught.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;

use vmcore::forge::{Kind, golden};

use super::{say, shown};
use crate::cli;
use crate::failure::Failure;

/// Sends a dump to a server of its own, and gives the file that the server made of it.
pub(super) fn drill(dir: &Path) -> Result<PathBuf, Failure> {
    let sent = dir.join("vmcore.sent");
    fs::write(&sent, golden(Kind::AMD64).forge.minidump()).map_err(|error| Failure::work(sent.display(), error))?;
    let caught = dir.join("crash");
    match fs::remove_dir_all(&caught) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::work(caught.display(), error));
        }
        _ => fs::create_dir_all(&caught).map_err(|error| Failure::work(caught.display(), error))?,
    }
    let server = free_address().map_err(|error| Failure::work("cannot use the loopback", error))?.to_string();
    let options = format!("--listen {server} --ack-port 0 --count 1 --numeric -q");
    let mut receive: Vec<OsString> = ["tine", "dump", "receive", "--dir"].map(OsString::from).to_vec();
    receive.push(caught.as_os_str().to_owned());
    receive.extend(options.split(' ').map(OsString::from));
    let text: Vec<_> = receive.iter().map(|word| word.to_string_lossy()).collect();
    say(&format!("   $ {} &", text.join(" ")))?;
    let receiver = thread::spawn(move || cli::run(receive));
    shown(&["dump", "send", "--server"], &[Path::new(&server), &sent], "--ack-port 0 --loss 1% --wait 10ms")?;
    receiver.join().unwrap_or_else(|_| Err(Failure::Work("the server of dumps ended early".to_owned())))?;
    Ok(caught.join("vmcore.127.0.0.1.0"))
}

/// An address of the loopback that nobody listens on.
fn free_address() -> std::io::Result<SocketAddr> {
    UdpSocket::bind("127.0.0.1:0")?.local_addr()
}
