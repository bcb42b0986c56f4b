//! The file `ranges.HOST.N` while a dump is received: each run of bytes that was written gets a line before it is
//! acknowledged. So it is true whenever the server is killed, and the next server can go on.
//!
//! Lines that are comments to everyone else say what only a server needs: the addresses, the header, the key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use vmcore::header;
use vmcore::ranges::Ranges;

use crate::receiver::Gathered;

/// Lines until the file is written anew, with ranges that touch as one.
const MOST_LINES: usize = 65_536;
/// The largest file that is read.
const LARGEST: u64 = 16 << 20;

pub(super) struct Journal {
    path: PathBuf,
    file: File,
    addresses: String,
    lines: usize,
    header: bool,
    key: u64,
}

/// What a journal says of a dump that was not finished.
pub(super) struct Told {
    /// The server's address for this client.
    pub(super) local: SocketAddr,
    /// The address by which the client is known.
    pub(super) peer: SocketAddr,
    pub(super) gathered: Gathered,
}

impl Journal {
    /// A new journal in the place of what is there.
    pub(super) fn create(path: PathBuf, local: SocketAddr, peer: SocketAddr) -> io::Result<Journal> {
        let addresses = format!("# netdump {local} {peer}\n");
        let file = write_new(&path, &addresses)?;
        Ok(Journal { path, file, addresses, lines: 0, header: false, key: 0 })
    }

    /// Writes down runs that came, and what else of `gathered` was not written down yet.
    pub(super) fn record(&mut self, runs: &[Range<u64>], gathered: Option<&Gathered>) -> io::Result<()> {
        let mut lines: String = runs.iter().map(|run| format!("{} {}\n", run.start, run.end)).collect();
        if let Some(gathered) = gathered {
            self.lines += runs.len();
            if self.lines > MOST_LINES {
                return self.rewrite(gathered);
            }
            lines.push_str(&self.more(gathered));
        }
        if lines.is_empty() { Ok(()) } else { self.file.write_all(lines.as_bytes()) }
    }

    fn more(&mut self, gathered: &Gathered) -> String {
        let mut lines = String::new();
        if let Some(header) = gathered.header.as_deref().filter(|_| !self.header) {
            lines.push_str(&format!("# header {}\n", hex(header)));
            self.header = true;
        }
        if gathered.key_ranges.covered() != self.key {
            for range in gathered.key_ranges.iter() {
                let bytes = gathered.key.get(range.start as usize..range.end as usize).unwrap_or_default();
                lines.push_str(&format!("# key {} {}\n", range.start, hex(bytes)));
            }
            self.key = gathered.key_ranges.covered();
        }
        lines
    }

    /// Writes the journal anew.
    pub(super) fn rewrite(&mut self, gathered: &Gathered) -> io::Result<()> {
        (self.header, self.key, self.lines) = (false, 0, gathered.ranges.len());
        let more = self.more(gathered);
        let text = format!("{}{}{more}", self.addresses, gathered.ranges);
        self.file = write_new(&self.path, &text)?;
        Ok(())
    }
}

/// Reads a journal; none if it is none.
pub(super) fn read(path: &Path) -> Option<Told> {
    let size = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    if size > LARGEST {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    // A line that was being written when the power went is not whole.
    let text = text.get(..text.rfind('\n')? + 1)?;
    let (first, _) = text.split_once('\n')?;
    let (local, peer) = first.strip_prefix("# netdump ")?.split_once(' ')?;
    let mut gathered = Gathered { ranges: Ranges::parse(text).ok()?, ..Gathered::default() };
    for line in text.lines() {
        if let Some(bytes) = line.strip_prefix("# header ").and_then(unhex) {
            gathered.header = <[u8; header::SIZE]>::try_from(bytes).ok().map(Box::new);
        } else if let Some((offset, bytes)) = line.strip_prefix("# key ").and_then(|rest| rest.split_once(' '))
            && let (Ok(offset), Some(bytes)) = (offset.parse::<u16>(), unhex(bytes))
        {
            let end = usize::from(offset) + bytes.len();
            gathered.key.resize(end.max(gathered.key.len()), 0);
            gathered.key_ranges.insert(u64::from(offset)..end as u64);
            if let Some(to) = gathered.key.get_mut(usize::from(offset)..end) {
                to.copy_from_slice(&bytes);
            }
        }
    }
    Some(Told { local: local.parse().ok()?, peer: peer.parse().ok()?, gathered })
}

/// Puts a file with this text in the place of what is there, and opens it to be added to.
fn write_new(path: &Path, text: &str) -> io::Result<File> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&beside)?;
    let done = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&beside, path));
    done.inspect_err(|_| drop(fs::remove_file(&beside)))?;
    Ok(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = pairs.iter().map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of ranges may have one")]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_back_by_servers_and_by_all_who_read_ranges() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ranges.box.0");
        let (local, peer) = ("127.0.0.1:4000".parse().unwrap(), "[fe80::1%2]:0".parse().unwrap());
        let mut journal = Journal::create(path.clone(), local, peer).unwrap();
        let mut gathered = Gathered::default();
        journal.record(&[0..1448, 2896..4096], Some(&gathered)).unwrap();
        gathered.header = Some(Box::new([0xa5; 512]));
        gathered.key = vec![1, 2, 3, 0, 5];
        gathered.key_ranges = [0..3, 4..5].into_iter().collect();
        journal.record(&[1448..2896], Some(&gathered)).unwrap();
        let check = |expected: &Gathered| {
            let told = read(&path).unwrap();
            assert_eq!((told.local, told.peer), (local, peer));
            assert_eq!(&told.gathered, expected);
        };
        gathered.ranges.insert(0..4096);
        check(&gathered);
        journal.rewrite(&gathered).unwrap();
        check(&gathered);
        journal.record(&[5000..6000], None).unwrap();
        // What was not written to its end does not count.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"7000 80").unwrap();
        gathered.ranges.insert(5000..6000);
        check(&gathered);
    }

    #[test]
    fn any_other_file_is_no_journal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ranges.box.0");
        for text in
            ["", "0 5\n", "# netdump\n", "# netdump a b\n0 5\n", "# netdump 1.2.3.4:5 1.2.3.4:6\n5 0\n", "\u{fffd}"]
        {
            fs::write(&path, text).unwrap();
            assert!(read(&path).is_none(), "{text}");
        }
        fs::write(&path, "# netdump 1.2.3.4:5 1.2.3.4:6\n# header 00\n# key 70000 00\n# key 1 0\n").unwrap();
        assert_eq!(read(&path).unwrap().gathered, Gathered::default());
        assert!(read(directory.path()).is_none());
    }
}
