//! `tine dump receive` and `tine dump send` over the loopback: how much 8 clients bring together, and whether a dump
//! is lost where a fifth of all packets is.
//!
//! ```text
//! cargo bench -p tine --bench netdump [-- RUNS]
//! ```
//!
//! Prints a table in Markdown: the best of several runs, and the worst. Server and clients share the machine. Dumps
//! are kept in memory (/dev/shm), as a disk would be what is measured.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio, exit};

use serde_json::Value;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const MIB: usize = 1 << 20;

struct Server {
    child: Child,
    events: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start(directory: &Path, arguments: &[&str]) -> Server {
        let mut command = Command::new(TINE);
        command.args(["dump", "receive", "--json", "--listen", "127.0.0.1:0", "--ack-port", "0", "--dir"]);
        let child = command.arg(directory).args(arguments).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| fail(&error.to_string()));
        let events = BufReader::new(child.stdout.take().unwrap_or_else(|| fail("the server says nothing")));
        let mut server = Server { child, events, address: String::new() };
        server.address = server.event("address")["address"].as_str().unwrap_or_default().to_owned();
        server
    }

    /// The next event that has a field.
    fn event(&mut self, field: &str) -> Value {
        loop {
            let mut line = String::new();
            if self.events.read_line(&mut line).unwrap_or(0) == 0 {
                fail("the server has ended");
            }
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if !event[field].is_null() {
                return event;
            }
        }
    }

    /// How many of so many dumps are whole, and the CPU seconds that the server took.
    fn end(mut self, dumps: usize) -> (usize, f64) {
        let whole = (0..dumps).filter(|_| self.event("end")["event"] == "whole").count();
        let cpu = cpu(self.child.id());
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        (whole, cpu)
    }
}

/// The CPU seconds of a process, where the host tells.
fn cpu(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn main() {
    let runs: u32 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let work = PathBuf::from("/dev/shm/tine-bench-netdump");
    println!(
        "| job | dumps whole | MB/s, best | worst | server's CPU s of the best |\n| --- | --- | --- | --- | --- |"
    );
    let plain: &[&str] = &["--clients", "8"];
    let pages: &[&str] = &["--clients", "8", "--write-size", "4k"];
    let lossy: &[&str] = &["--clients", "50", "--loss", "20%", "--wait", "20ms", "--retries", "40"];
    for (name, clients, size, arguments, server) in [
        ("8 clients", 8, 192 * MIB, plain, &[][..]),
        ("8 clients, 4096 bytes at a time", 8, 32 * MIB, pages, &[]),
        ("8 clients, compressed on the way", 8, 64 * MIB, plain, &["--compress=1"]),
        ("50 clients, 20 % loss", 50, MIB, lossy, &[]),
    ] {
        let (mut best, mut worst, mut least, mut of_best) = (0.0f64, f64::MAX, clients, 0.0);
        for _ in 0..runs.max(1) {
            let (rate, whole, cpu) = run(&work, clients, size, arguments, server);
            if rate > best {
                (best, of_best) = (rate, cpu);
            }
            worst = worst.min(rate);
            least = least.min(whole);
        }
        println!("| {name} | {least} of {clients} | {best:.0} | {worst:.0} | {of_best:.1} |");
    }
    let _ = fs::remove_dir_all(&work);
}

/// One job: bytes a second of all clients together, from the first packet to the last acknowledgement; how many dumps
/// are whole; what the server took.
fn run(work: &Path, clients: usize, size: usize, arguments: &[&str], server: &[&str]) -> (f64, usize, f64) {
    let _ = fs::remove_dir_all(work);
    let dumps = work.join("dumps");
    let core = work.join("core");
    // Memory that looks like memory: some of it zeros, some of it alike.
    let contents: Vec<u8> =
        (0..size).map(|at| if at / 65_536 % 4 == 3 { 0 } else { (at * 31 + at / 977) as u8 }).collect();
    let made = fs::create_dir_all(&dumps).and_then(|()| fs::write(&core, contents));
    made.unwrap_or_else(|error| fail(&error.to_string()));
    let server = Server::start(&dumps, server);
    let sent = Command::new(TINE)
        .args(["dump", "send", "--json", "--ack-port", "0", "--server", &server.address])
        .args(arguments)
        .arg(&core)
        .output()
        .unwrap_or_else(|error| fail(&error.to_string()));
    let report: Value = serde_json::from_slice(&sent.stdout).unwrap_or_else(|error| fail(&error.to_string()));
    let (whole, cpu) = server.end(clients);
    (report["bytes_per_second"].as_f64().unwrap_or(0.0) / 1e6, whole, cpu)
}

fn fail(why: &str) -> ! {
    eprintln!("{why}");
    exit(1)
}
