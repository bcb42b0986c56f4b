//! `tine dump send`: the client of netdump(4), for drills.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use disk::ReadAt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use netdump::client::{Manner, Plan, WRITE_SIZE};
use netdump::drill::{self, Counts, Drill, Network, client_address};
use netdump::message::{ACK_PORT, HEADER_SIZE};
use serde_json::json;
use vmcore::header::{self, Compression, Header, Magic};
use vmcore::info::Info;
use vmcore::names::Names;
use zfs_ondisk::property::format_size;

use super::receive::{duration, server_address};
use crate::failure::Failure;
use crate::{output, values};

/// The headers of IPv4 and UDP, and of IPv6 and UDP.
const HEADERS: [u16; 2] = [20 + 8, 40 + 8];

/// Send a dump to a netdump server as a panicking kernel does, for drills: in bursts, with retries, and over a network
/// as bad as is wanted
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The dump: a vmcore file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The server
    #[arg(long, value_name = "ADDR:PORT", value_parser = server_address)]
    server: SocketAddr,
    /// The port at which acknowledgements arrive; 0 is one that the host chooses, for a server that answers there
    #[arg(long, value_name = "PORT", default_value_t = ACK_PORT, help_heading = "Network")]
    ack_port: u16,
    /// The address of the client [default: on the loopback of IPv4, 127.0.0.1 for the first, 127.0.0.2 for the second]
    #[arg(long, value_name = "ADDR", help_heading = "Network")]
    bind: Option<IpAddr>,
    /// The kernel dump header: its 512 bytes, or an info file [default: the info file beside FILE, or one that is made]
    #[arg(long, value_name = "FILE", help_heading = "Dump")]
    header: Option<PathBuf>,
    /// The key of an encrypted dump [default: the key file beside FILE]
    #[arg(long, value_name = "FILE", help_heading = "Dump")]
    key: Option<PathBuf>,
    /// Send the key before the data, as newer kernels do, and not after the header
    #[arg(long, help_heading = "Dump")]
    key_first: bool,
    /// The directory on the server that is asked for
    #[arg(long, value_name = "PATH", help_heading = "Dump")]
    path: Option<String>,
    /// How many clients send the dump at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,
    /// The part of packets and acknowledgements that are lost, such as 20% or 0.2
    #[arg(long, value_name = "PART", default_value = "0", value_parser = part, help_heading = "Drill")]
    loss: f64,
    /// The part of packets that others overtake
    #[arg(long, value_name = "PART", default_value = "0", value_parser = part, help_heading = "Drill")]
    reorder: f64,
    /// The part of packets that arrive twice
    #[arg(long, value_name = "PART", default_value = "0", value_parser = part, help_heading = "Drill")]
    duplicate: f64,
    /// Bytes a second of each client, at most
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Drill")]
    rate: Option<u64>,
    /// Fall silent after so many bytes
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Drill")]
    die_after: Option<u64>,
    /// What decides which packets are lost
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Drill")]
    seed: u64,
    /// How long acknowledgements are waited for before packets are sent again
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s", help_heading = "Drill")]
    wait: Duration,
    /// How often packets are sent again
    #[arg(long, value_name = "N", default_value_t = 11, help_heading = "Drill")]
    retries: u32,
    /// Bytes that are sent before acknowledgements are waited for: 4k or 64k as kernels do it
    #[arg(long, value_name = "SIZE", value_parser = write_size, default_value = "64k", help_heading = "Drill")]
    write_size: usize,
    /// The largest packet of the network, with all headers
    #[arg(long, value_name = "BYTES", default_value_t = 1500,
          value_parser = clap::value_parser!(u16).range(576..=9000), help_heading = "Drill")]
    mtu: u16,
    /// Keep track of acknowledgements as FreeBSD's kernel does, which can lose data for good: packets 33 and above of a
    /// write pass for those before
    #[arg(long, help_heading = "Drill")]
    forgetful: bool,
    /// Report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Say nothing unless something goes wrong
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

/// How one client fared.
struct Fared {
    address: SocketAddr,
    counts: Counts,
    seconds: f64,
    died: bool,
    failure: Option<drill::Error>,
}

impl Send {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let contents = Contents::open(&self.file)?;
        let plan = self.plan(&contents)?;
        let began = Instant::now();
        let bar = self.bar(&contents);
        let fared: Vec<Fared> = thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|number| {
                    let (plan, contents, bar) = (plan.clone(), &contents, &bar);
                    scope.spawn(move || self.client(number, plan, contents, bar))
                })
                .collect();
            clients.into_iter().map(|client| client.join().expect("a client does not panic")).collect()
        });
        bar.finish_and_clear();
        self.report(&fared, began.elapsed().as_secs_f64())
    }

    fn client(&self, number: u32, plan: Plan, contents: &Contents, bar: &ProgressBar) -> Fared {
        let address = match self.bind {
            Some(ip) => SocketAddr::new(ip, self.ack_port),
            None => client_address(self.server, self.ack_port, number),
        };
        let headers = HEADERS[usize::from(self.server.is_ipv6())];
        let manner = Manner {
            write_size: self.write_size,
            packet_data: usize::from(self.mtu - headers) - HEADER_SIZE,
            wait: self.wait,
            retries: self.retries,
            forgetful: self.forgetful,
        };
        let network = Network { loss: self.loss, reorder: self.reorder, duplicate: self.duplicate, rate: self.rate };
        let began = Instant::now();
        let mut fared = Fared { address, counts: Counts::default(), seconds: 0.0, died: false, failure: None };
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number));
        let drill = Drill::new(plan, manner, network, contents, (address, self.server), seed);
        let result = drill.and_then(|mut drill| {
            drill.run(&|| began.elapsed(), &mut |counts| {
                bar.inc(counts.bytes - fared.counts.bytes);
                fared.counts = *counts;
                fared.died = self.die_after.is_some_and(|enough| counts.bytes >= enough);
                fared.died
            })
        });
        match result {
            Ok(counts) => fared.counts = counts,
            Err(error) => fared.failure = Some(error),
        }
        fared.seconds = began.elapsed().as_secs_f64();
        fared
    }

    /// How much is sent, on standard error if that is a terminal.
    fn bar(&self, contents: &Contents) -> ProgressBar {
        let hidden = self.quiet || self.json;
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(contents.size * u64::from(self.clients)), target);
        let style = "{wide_bar} {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar
    }

    fn plan(&self, contents: &Contents) -> Result<Plan, Failure> {
        let beside = Names::of(&self.file);
        let key_path = self.key.clone().or_else(|| beside.as_ref().map(Names::key).filter(|path| path.exists()));
        let key = match &key_path {
            Some(path) => fs::read(path).map_err(|error| Failure::work(path.display(), error))?,
            None => Vec::new(),
        };
        if key.len() > WRITE_SIZE {
            let path = key_path.unwrap_or_default();
            return Err(Failure::Work(format!("{} is no key of a dump: it is too large", path.display())));
        }
        let header = match &self.header {
            Some(path) => Some(read_header(path)?),
            // One that cannot be read was not asked for.
            None => {
                beside.map(|names| names.info()).filter(|path| path.exists()).and_then(|path| read_header(&path).ok())
            }
        };
        let header = match header {
            Some(Given::Bytes(bytes)) => bytes,
            Some(Given::Told(told)) => made_header(*told, contents, key.len())?,
            None => made_header(self.invented(contents), contents, key.len())?,
        };
        Ok(Plan {
            path: self.path.clone(),
            length: contents.size,
            header: Some(header),
            key,
            key_first: self.key_first,
        })
    }

    /// A header for a dump that has none.
    fn invented(&self, contents: &Contents) -> Header {
        let start = contents.start();
        let architecture = start.strip_prefix(b"minidump FreeBSD/").map_or("amd64".to_owned(), |name| {
            let name = name.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Header {
            magic: Magic::Kernel,
            architecture_version: if architecture == "arm64" { 1 } else { 2 },
            architecture,
            version: 4,
            dump_length: contents.size,
            dump_extent: contents.size,
            dump_time: now,
            key_size: 0,
            block_size: 4096,
            compression: Compression::None,
            hostname: "drill".to_owned(),
            version_string: "a drill with tine dump send\n".to_owned(),
            panic_string: "drill".to_owned(),
            parity: 0,
            parity_ok: true,
        }
    }

    fn report(&self, fared: &[Fared], seconds: f64) -> Result<(), Failure> {
        let bytes: u64 = fared.iter().map(|client| client.counts.bytes).sum();
        let rate = if seconds > 0.0 { (bytes as f64 / seconds) as u64 } else { 0 };
        if self.json {
            let clients: Vec<_> = fared
                .iter()
                .map(|client| {
                    let Counts { bytes, packets, repeated, lost } = client.counts;
                    json!({
                        "address": client.address.to_string(),
                        "finished": client.failure.is_none() && !client.died,
                        "died": client.died,
                        "error": client.failure.as_ref().map(ToString::to_string),
                        "bytes": bytes,
                        "packets": packets,
                        "repeated": repeated,
                        "lost": lost,
                        "seconds": client.seconds,
                    })
                })
                .collect();
            let server = self.server.to_string();
            output::print_json(&json!({
                "server": server, "clients": clients, "bytes": bytes, "seconds": seconds, "bytes_per_second": rate,
            }))?;
        } else if !self.quiet {
            let mut text = String::new();
            for (client, number) in fared.iter().zip(1..) {
                let Counts { bytes, packets, repeated, lost } = client.counts;
                let how = match &client.failure {
                    Some(error) => error.to_string(),
                    None if client.died => "fell silent, as it was told to".to_owned(),
                    None => "finished".to_owned(),
                };
                text.push_str(&format!(
                    "{number}: {} in {:.2} s, {packets} packets, {repeated} again, {lost} lost: {how}\n",
                    format_size(bytes),
                    client.seconds
                ));
            }
            if fared.len() > 1 {
                text.push_str(&format!("all: {} in {seconds:.2} s, {}/s\n", format_size(bytes), format_size(rate)));
            }
            output::print(&text)?;
        }
        let failed: Vec<_> = fared.iter().filter_map(|client| client.failure.as_ref()).collect();
        match failed[..] {
            [] => Ok(()),
            [error, ..] => {
                let hint = match error {
                    drill::Error::Bind { error, .. } if error.kind() == io::ErrorKind::AddrNotAvailable => {
                        "; with --ack-port 0 on both sides, all clients can have one address"
                    }
                    drill::Error::Silence { .. } => "; does it listen there, and answer to this --ack-port?",
                    _ => "",
                };
                let of = if fared.len() > 1 {
                    format!("{} of {} clients: ", failed.len(), fared.len())
                } else {
                    String::new()
                };
                Err(Failure::Work(format!("{of}{error}{hint}")))
            }
        }
    }
}

/// A header as it was given.
enum Given {
    Bytes(Box<[u8; header::SIZE]>),
    Told(Box<Header>),
}

fn read_header(path: &Path) -> Result<Given, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::work(format_args!("cannot use {} as a header", path.display()), error);
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    if let Some(header) = bytes.first_chunk()
        && Header::parse(header).is_ok()
    {
        return Ok(Given::Bytes(Box::new(*header)));
    }
    let info = Info::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| failed(&error))?;
    let header = info.header.ok_or_else(|| failed(&"it tells of no header"))?;
    Ok(Given::Told(Box::new(header)))
}

/// The bytes of a header that fits the dump.
fn made_header(told: Header, contents: &Contents, key_size: usize) -> Result<Box<[u8; header::SIZE]>, Failure> {
    let compression = match contents.start() {
        _ if key_size > 0 => told.compression,
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    };
    let key_size = u32::try_from(key_size).unwrap_or(u32::MAX);
    let version = if told.version == 0 { 4 } else { told.version };
    let header = Header { version, dump_length: contents.size, key_size, compression, ..told };
    header.build().map(Box::new).map_err(|error| Failure::Work(error.to_string()))
}

/// The file that is sent.
struct Contents {
    file: File,
    size: u64,
    start: Vec<u8>,
}

impl Contents {
    fn open(path: &Path) -> Result<Contents, Failure> {
        let failed = |error| Failure::work(format_args!("cannot read {}", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Failure::Work(format!("{} is no regular file: give a vmcore file", path.display())));
        }
        let size = metadata.len();
        let mut start = vec![0; 64.min(size) as usize];
        file.read_exact_at(&mut start, 0).map_err(failed)?;
        Ok(Contents { file, size, start })
    }

    fn start(&self) -> &[u8] {
        &self.start
    }
}

impl ReadAt for Contents {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// A part of all: `20%` or `0.2`; from 1 on, numbers are percents without the sign.
fn part(text: &str) -> Result<f64, String> {
    let (number, percent) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
    let number: f64 = number.parse().map_err(|_| "a part such as 20% or 0.2 was expected".to_owned())?;
    let part = if percent || number >= 1.0 { number / 100.0 } else { number };
    if (0.0..=1.0).contains(&part) { Ok(part) } else { Err("a part is from 0% to 100%".to_owned()) }
}

fn write_size(text: &str) -> Result<usize, String> {
    match usize::try_from(values::size(text)?) {
        Ok(size) if (512..=WRITE_SIZE).contains(&size) => Ok(size),
        _ => Err("a size from 512 to 64k was expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_fractions_or_percents() {
        for (text, expected) in [("0", 0.0), ("0.2", 0.2), ("20%", 0.2), ("20", 0.2), ("1", 0.01), ("0.5%", 0.005)] {
            let part = part(text).expect("it is a part");
            assert!((part - expected).abs() < 1e-9, "{text}");
        }
        for wrong in ["", "-1", "101%", "x", "nan"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
