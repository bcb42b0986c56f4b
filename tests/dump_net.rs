//! `tine dump receive` and `tine dump send`, over the loopback: many clients, bad networks, servers that are killed,
//! disks that are full, packets that no kernel sends.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::command::{self, Ran};
use common::peer;
use netdump::message::{Kind, Message};
use serde_json::Value;
use tempfile::TempDir;
use vmcore::info::{Info, Status};
use vmcore::ranges::Ranges;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// A directory of a test's own, with a dump to send.
struct Place {
    folder: TempDir,
    contents: Vec<u8>,
}

impl Place {
    fn new(size: usize) -> Place {
        let folder = tempfile::tempdir().expect("a directory can be made");
        // Runs of zeros, as memory has, and of what does not look alike.
        let contents: Vec<u8> =
            (0..size).map(|at| if at / 20_000 % 4 == 3 { 0 } else { (at * 31 + at / 977) as u8 }).collect();
        fs::write(folder.path().join("core"), &contents).expect("a file can be written");
        fs::create_dir(folder.path().join("dumps")).expect("a directory can be made");
        Place { folder, contents }
    }

    fn dumps(&self) -> PathBuf {
        self.folder.path().join("dumps")
    }

    fn dump(&self, name: &str) -> PathBuf {
        self.dumps().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.dump(name)).unwrap_or_else(|error| panic!("{name}: {error}; there are {:?}", self.names()))
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("it is text")
    }

    fn info(&self, name: &str) -> Info {
        Info::parse(&self.text(name)).expect("it is an info file")
    }

    fn names(&self) -> Vec<String> {
        names(&self.dumps())
    }

    fn server(&self, arguments: &[&str]) -> Server {
        Server::start(&self.dumps(), arguments)
    }

    /// Sends the dump, as options say.
    fn send(&self, server: &Server, arguments: &[&str]) -> Ran {
        let mut command = Command::new(TINE);
        command.args(["dump", "send", "--server", &server.address.to_string(), "core"]);
        command.args(arguments).current_dir(self.folder.path());
        command::run(&mut command, LIMIT)
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory can be read");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("it has entries").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A server whose events are read.
struct Server {
    child: Child,
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    events: mpsc::Receiver<Value>,
    seen: Vec<Value>,
}

impl Server {
    fn start(directory: &Path, arguments: &[&str]) -> Server {
        let mut command = Command::new(TINE);
        command.args(["dump", "receive", "--json", "--numeric", "--dir"]).arg(directory);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !arguments.contains(&"--ack-port") {
            command.args(["--ack-port", "0"]);
        }
        Server::run(command.args(arguments))
    }

    fn run(command: &mut Command) -> Server {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut server = Server { child, address: nowhere, metrics: None, events, seen: Vec::new() };
        server.address =
            server.wait("listening")["address"].as_str().and_then(|text| text.parse().ok()).expect("it is");
        server
    }

    fn with_metrics(mut self) -> Server {
        self.metrics = self.wait("metrics")["address"].as_str().and_then(|text| text.parse().ok());
        self
    }

    /// The next event of that name.
    #[track_caller]
    fn wait(&mut self, name: &str) -> Value {
        self.wait_for(name, |event| event["event"] == name)
    }

    #[track_caller]
    fn wait_for(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else { panic!("no {what} after {:#?}", self.seen) };
            self.seen.push(event.clone());
            if is(&event) {
                return event;
            }
        }
    }

    /// The next dump that has ended.
    #[track_caller]
    fn ended(&mut self) -> Value {
        self.wait_for("end of a dump", |event| !event["end"].is_null())
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// Ends it as a service manager does, and gives its exit status.
    fn stop(&mut self) -> i32 {
        self.signal("-TERM");
        self.exit()
    }

    fn exit(&mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code().unwrap_or(-1);
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that sends packets one by one.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    fn new(server: &Server) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("it is more than 0");
        Client { socket, server: server.address }
    }

    fn send(&self, kind: Kind, sequence: u32, offset: u64, data: &[u8]) {
        let message = Message { kind, sequence, offset, data };
        self.send_bytes(&[&message.header()[..], data].concat());
    }

    fn send_bytes(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).expect("it can be sent");
    }

    /// Waits for an acknowledgement; what is sent after that goes where it came from.
    #[track_caller]
    fn acknowledged(&mut self, sequence: u32) {
        let mut buffer = [0; 16];
        let (size, from) = self.socket.recv_from(&mut buffer).expect("there is an answer");
        assert_eq!(buffer[..size], sequence.to_be_bytes());
        self.server = from;
    }

    fn begin(server: &Server, path: &[u8]) -> Client {
        let mut client = Client::new(server);
        client.send(Kind::Herald, 1, 0, path);
        client.acknowledged(1);
        client
    }
}

#[test]
fn a_dump_arrives_whole_with_its_info_manifest_and_links() {
    let place = Place::new(3_000_000);
    let mut server = place.server(&[]);
    let sent = place.send(&server, &["--ack-port", "0"]).succeeds();
    assert!(sent.text().contains(": finished\n"), "{sent}");
    let ended = server.ended();
    assert_eq!((&ended["event"], &ended["end"]), (&"whole".into(), &"finished".into()));
    assert!(place.read("vmcore.127.0.0.1.0") == place.contents);
    let files = ["SHA256.127.0.0.1.0", "bounds.127.0.0.1", "info.127.0.0.1.0", "info.127.0.0.1.last"];
    assert_eq!(place.names(), [&files[..], &["vmcore.127.0.0.1.0", "vmcore.127.0.0.1.last"]].concat());
    let info = place.info("info.127.0.0.1.0");
    assert_eq!((info.status, info.source.as_str()), (Status::Good, "127.0.0.1 [127.0.0.1]"));
    assert_eq!(info.header.map(|header| header.dump_length), Some(3_000_000));
    let manifest = format!("SHA256 (vmcore.127.0.0.1.0) = {}\n", ended["sha256"].as_str().unwrap_or_default());
    assert_eq!(place.text("SHA256.127.0.0.1.0"), manifest);
    assert_eq!(vmcore::store::verify(&place.dump("vmcore.127.0.0.1.0"), &manifest).expect("it is read"), Some(true));
    let metadata = fs::metadata(place.dump("vmcore.127.0.0.1.0")).expect("it is there");
    assert!(metadata.blocks() * 512 < 2_600_000, "pages of zeros take no space: {}", metadata.blocks() * 512);
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // Every other command reads it.
    let mut info = Command::new(TINE);
    let told = command::run(info.args(["dump", "info", "--json"]).arg(place.dump("vmcore.127.0.0.1.0")), LIMIT);
    let told: Value = serde_json::from_str(&told.text()).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!((&told["hostname"], &told["parity_ok"]), (&"drill".into(), &true.into()), "{told}");
    // The next has the next number.
    place.send(&server, &["--ack-port", "0"]).succeeds();
    server.ended();
    assert!(place.read("vmcore.127.0.0.1.1") == place.contents);
    assert_eq!(server.stop(), 0);
}

#[test]
fn clients_with_addresses_of_their_own_answer_at_the_port_of_kernels() {
    let place = Place::new(500_000);
    // Another port than 20024: other tests, and servers of the machine, may use that.
    let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port is free");
    let port = free.port().to_string();
    if UdpSocket::bind("127.0.0.2:0").is_err() {
        println!("skipped: this host has no address 127.0.0.2");
        return;
    }
    let mut server = place.server(&["--ack-port", &port]);
    place.send(&server, &["--ack-port", &port, "--clients", "5"]).succeeds();
    (0..5).for_each(|_| assert_eq!(server.ended()["event"], "whole"));
    for host in 1..=5 {
        assert!(place.read(&format!("vmcore.127.0.0.{host}.0")) == place.contents);
    }
}

#[test]
fn ipv6_and_several_addresses_are_listened_to() {
    let place = Place::new(100_000);
    if UdpSocket::bind("[::1]:0").is_err() {
        println!("skipped: this host has no IPv6");
        return;
    }
    let mut server = place.server(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    place.send(&server, &["--ack-port", "0"]).succeeds();
    assert_eq!(server.ended()["host"], "127.0.0.1");
    let address = server.seen.iter().find_map(|event| {
        event["address"].as_str().and_then(|text| text.parse::<SocketAddr>().ok()).filter(SocketAddr::is_ipv6)
    });
    server.address = address.expect("it listens there, too");
    place.send(&server, &["--ack-port", "0", "--mtu", "1280"]).succeeds();
    assert_eq!(server.ended()["host"], "::1");
    assert!(place.read("vmcore.::1.0") == place.contents);
}

#[test]
fn no_dump_is_lost_on_a_bad_network_with_many_clients() {
    let place = Place::new(150_000);
    let mut server = place.server(&[]);
    let bad = ["--loss", "20%", "--reorder", "5%", "--duplicate", "5%", "--wait", "100ms", "--retries", "150"];
    place.send(&server, &[&["--ack-port", "0", "--clients", "50"][..], &bad].concat()).succeeds();
    for _ in 0..50 {
        let ended = server.ended();
        assert_eq!(ended["event"], "whole", "{ended}");
        assert!(ended["missed"].as_u64() > Some(0), "{ended}");
    }
    for number in 0..50 {
        assert!(place.read(&format!("vmcore.127.0.0.1.{number}")) == place.contents, "{number}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_kernel_that_believes_it_has_finished_leaves_a_dump_that_is_called_incomplete() {
    let place = Place::new(2_000_000);
    let mut server = place.server(&["--count", "1"]);
    let forgetful = ["--ack-port", "0", "--forgetful", "--loss", "5%", "--wait", "50ms", "--retries", "200"];
    let sent = place.send(&server, &forgetful).succeeds();
    assert!(sent.text().contains("finished"), "{sent}");
    let ended = server.ended();
    assert_eq!((&ended["event"], &ended["end"]), (&"incomplete".into(), &"finished".into()));
    let data = place.read("vmcore.127.0.0.1.0.incomplete");
    let there = Ranges::parse(&place.text("ranges.127.0.0.1.0")).expect("they are ranges");
    for range in there.iter() {
        let range = range.start as usize..range.end as usize;
        assert!(data[range.clone()] == place.contents[range]);
    }
    let info = place.info("info.127.0.0.1.0");
    assert_eq!(info.status, Status::Incomplete);
    assert_eq!(info.missing.bytes, 2_000_000 - there.covered());
    assert_eq!(ended["missing_bytes"], info.missing.bytes);
    // With a number of dumps to wait for, the status says that not all are whole.
    assert_eq!(server.exit(), 1);
}

#[test]
fn a_client_that_falls_silent_leaves_a_partial_dump_and_one_that_starts_over_gets_another() {
    let place = Place::new(1_000_000);
    let mut server = place.server(&["--silence", "2s"]);
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port is free").port();
    let port = port.to_string();
    let died = place.send(&server, &["--ack-port", &port, "--die-after", "300k"]).succeeds();
    assert!(died.text().contains("fell silent"), "{died}");
    // The same client, with the same address: at once, as no machine can, but a test.
    place.send(&server, &["--ack-port", &port]).succeeds();
    let (partial, whole) = (server.ended(), server.ended());
    assert_eq!((&partial["event"], &partial["end"]), (&"partial".into(), &"started-over".into()));
    assert_eq!(whole["event"], "whole");
    assert!(place.read("vmcore.127.0.0.1.1") == place.contents);
    let there = Ranges::parse(&place.text("ranges.127.0.0.1.0")).expect("they are ranges");
    assert!(there.covered() >= 300_000 && there.len() == 1, "{there:?}");
    let end = there.end() as usize;
    assert!(place.read("vmcore.127.0.0.1.0.partial")[..end] == place.contents[..end]);
    // And nobody comes again after this one.
    place.send(&server, &["--ack-port", &port, "--die-after", "300k"]).succeeds();
    let silent = server.ended();
    assert_eq!((&silent["event"], &silent["end"]), (&"partial".into(), &"silent".into()));
    assert_eq!(place.info("info.127.0.0.1.2").status, Status::Partial);
}

#[test]
fn a_stop_keeps_unfinished_dumps_as_partial() {
    let place = Place::new(300_000);
    for signal in ["-TERM", "-INT"] {
        let mut server = place.server(&[]);
        let mut client = Client::begin(&server, b"");
        client.send(Kind::Vmcore, 2, 0, &place.contents[..1448]);
        client.acknowledged(2);
        server.signal(signal);
        let ended = server.ended();
        assert_eq!((&ended["event"], &ended["end"]), (&"partial".into(), &"stopped".into()));
        server.wait("stopped");
        assert_eq!(server.exit(), 0);
        let file = ended["file"].as_str().expect("it has a file");
        assert_eq!(place.read(file), &place.contents[..1448]);
    }
    assert_eq!(place.text("ranges.127.0.0.1.1").lines().last(), Some("0 1448"));
}

#[test]
fn a_server_that_was_killed_goes_on_where_it_was() {
    let place = Place::new(20_000_000);
    let mut server = place.server(&[]);
    let mut command = Command::new(TINE);
    command.args(["dump", "send", "--server", &server.address.to_string(), "core", "--ack-port", "0", "--rate", "8m"]);
    let sender = command.current_dir(place.folder.path()).stdout(Stdio::null()).spawn();
    let mut sender = sender.expect("the client starts");
    // A key or header that came before is not lost, either: this client sends them before it is killed.
    let mut other = Client::begin(&server, b"");
    other.send(Kind::Key, 2, 0, &[5; 100]);
    other.acknowledged(2);
    other.send(Kind::Vmcore, 3, 0, &[6; 1000]);
    other.acknowledged(3);
    server.wait_for("progress", |event| event["event"] == "progress" && event["bytes"].as_u64() > Some(4_000_000));
    server.signal("-KILL");
    server.exit();
    assert!(place.names().contains(&"vmcore.127.0.0.1.0.partial".to_owned()), "{:?}", place.names());
    let listen = server.address.to_string();
    let mut server = place.server(&["--listen", &listen]);
    let resumed = [server.wait("resumed"), server.wait("resumed")];
    assert!(resumed.iter().any(|event| event["bytes"].as_u64() > Some(4_000_000)), "{resumed:?}");
    other.send(Kind::Vmcore, 4, 1000, &[7; 1000]);
    other.acknowledged(4);
    let whole = server.ended();
    assert_eq!(whole["event"], "whole", "{whole}");
    assert!(sender.wait().is_ok_and(|status| status.success()));
    let file = whole["file"].as_str().expect("it has a file");
    assert!(place.read(file) == place.contents);
    assert_eq!(server.stop(), 0);
    let number = if file.ends_with(".0") { 1 } else { 0 };
    assert_eq!(place.read(&format!("key.127.0.0.1.{number}")), [5; 100]);
    let data = place.read(&format!("vmcore_encrypted.127.0.0.1.{number}.partial"));
    assert_eq!(data, [vec![6; 1000], vec![7; 1000]].concat());
}

#[test]
fn what_a_killed_server_left_is_partial_when_no_client_goes_on() {
    let place = Place::new(1000);
    let mut server = place.server(&[]);
    let mut client = Client::begin(&server, b"lab/one\0");
    client.send(Kind::Vmcore, 2, 0, &[6; 1000]);
    client.acknowledged(2);
    client.send(Kind::Vmcore, 4, 2000, &[6; 500]);
    client.acknowledged(4);
    server.signal("-KILL");
    server.exit();
    thread::sleep(Duration::from_millis(1100));
    let mut server = place.server(&["--silence", "1s"]);
    let ended = server.ended();
    assert_eq!((&ended["event"], &ended["bytes"]), (&"partial".into(), &1500.into()));
    assert_eq!(place.info("lab/one/info.127.0.0.1.0").status, Status::Partial);
    assert!(place.text("lab/one/ranges.127.0.0.1.0").ends_with("\n0 1000\n2000 2500\n"));
}

#[test]
fn paths_lead_below_the_directory_and_nowhere_else() {
    let place = Place::new(10_000);
    let outside = place.folder.path().join("outside");
    fs::create_dir(&outside).expect("a directory can be made");
    std::os::unix::fs::symlink(&outside, place.dump("link")).expect("a link can be made");
    let mut server = place.server(&[]);
    place.send(&server, &["--ack-port", "0", "--path", "lab/one"]).succeeds();
    assert_eq!(server.ended()["file"], "lab/one/vmcore.127.0.0.1.0");
    let absolute = outside.display().to_string();
    for path in ["../outside", "lab/../../outside", &absolute, "link", "link/x", "..", "/"] {
        place.send(&server, &["--ack-port", "0", "--path", path]).succeeds();
        let began = server.seen.iter().rev().find(|event| event["event"] == "began").cloned();
        let ended = server.ended();
        let began = began.filter(|event| event["dump"] == ended["dump"]).unwrap_or_else(|| {
            server.seen.iter().rev().find(|event| event["event"] == "began").cloned().expect("it began")
        });
        assert_eq!(began["path_refused"], path);
        let file = ended["file"].as_str().expect("it has a file");
        assert!(file.starts_with("vmcore.127.0.0.1."), "{path}: {file}");
    }
    assert!(names(&outside).is_empty());
}

#[test]
fn what_is_compressed_on_the_way_unpacks_to_the_same() {
    let place = Place::new(5_000_000);
    let mut server = place.server(&["--compress"]);
    place
        .send(&server, &["--ack-port", "0", "--reorder", "3%", "--loss", "1%", "--wait", "100ms", "--retries", "60"])
        .succeeds();
    let ended = server.ended();
    assert_eq!(ended["file"], "vmcore.127.0.0.1.0.zst");
    let packed = place.read("vmcore.127.0.0.1.0.zst");
    assert!(packed.len() < place.contents.len() / 2);
    assert!(zstd::decode_all(&packed[..]).expect("it unpacks") == place.contents);
    let manifest = place.text("SHA256.127.0.0.1.0");
    let verdict = vmcore::store::verify(&place.dump("vmcore.127.0.0.1.0.zst"), &manifest);
    assert_eq!(verdict.expect("it is read"), Some(true));
}

#[test]
fn an_encrypted_dump_has_its_key_beside_it() {
    let place = Place::new(100_000);
    let key = vmcore::key::DumpKey { cipher: vmcore::key::Cipher::Aes256Cbc, iv: [1; 32], encrypted_key: vec![2; 256] };
    let key = key.build(4096);
    fs::write(place.folder.path().join("key"), &key).expect("a file can be written");
    let mut server = place.server(&[]);
    for (number, first) in [&[][..], &["--key-first"]].into_iter().enumerate() {
        place.send(&server, &[&["--ack-port", "0", "--key", "key"][..], first].concat()).succeeds();
        let ended = server.ended();
        assert_eq!(
            (&ended["event"], &ended["file"]),
            (&"whole".into(), &format!("vmcore_encrypted.127.0.0.1.{number}").into())
        );
        assert_eq!(place.read(&format!("key.127.0.0.1.{number}")), key);
        let info = place.info(&format!("info.127.0.0.1.{number}"));
        assert_eq!(info.encryption, Some(vmcore::key::Cipher::Aes256Cbc));
    }
}

#[test]
fn only_clients_that_are_allowed_are_answered() {
    let place = Place::new(10_000);
    let mut server = place.server(&["--allow", "192.0.2.0/24,2001:db8::/32"]);
    let refused = place.send(&server, &["--ack-port", "0", "--wait", "20ms", "--retries", "2"]).ends_with(3);
    assert!(refused.errors().contains("does not answer"), "{refused}");
    assert_eq!(server.wait("refused")["client"], "127.0.0.1");
    assert!(place.names().is_empty());
    let mut server = place.server(&["--allow", "192.0.2.0/24", "--allow", "127.0.0.0/8"]);
    place.send(&server, &["--ack-port", "0"]).succeeds();
    assert_eq!(server.ended()["event"], "whole");
}

#[test]
fn quotas_end_dumps_and_keep_what_there_is() {
    let place = Place::new(1_000_000);
    let quick = ["--ack-port", "0", "--wait", "100ms", "--retries", "20"];
    let mut server = place.server(&["--quota-client", "400k"]);
    place.send(&server, &quick).ends_with(3);
    let ended = server.ended();
    assert_eq!((&ended["event"], &ended["end"]), (&"partial".into(), &"quota".into()));
    let bytes = ended["bytes"].as_u64().expect("it is a number");
    assert!((300_000..=400 << 10).contains(&bytes), "{bytes}");
    // What is there counts.
    place.send(&server, &quick).ends_with(3);
    assert!(server.ended()["bytes"].as_u64() < Some(150_000));
    assert_eq!(server.stop(), 0);
    let mut server = place.server(&["--quota-total", "300k"]);
    place.send(&server, &quick).ends_with(3);
    let why = server.wait("refused")["why"].to_string();
    assert!(why.contains("no more are allowed"), "{why}");
}

#[test]
fn a_rate_slows_clients_down_without_packets_sent_again() {
    let place = Place::new(600_000);
    let mut server = place.server(&["--rate", "400k"]);
    let sent = place.send(&server, &["--ack-port", "0", "--write-size", "16k", "--wait", "20s", "--json"]).succeeds();
    assert!(sent.elapsed > Duration::from_millis(1100), "{sent}");
    let report: Value = serde_json::from_str(&sent.text()).expect("it is JSON");
    assert_eq!(report["clients"][0]["repeated"], 0, "{report}");
    assert_eq!(server.ended()["event"], "whole");
}

#[test]
fn a_dump_may_take_only_so_long() {
    let place = Place::new(1_000_000);
    let mut server = place.server(&["--time-limit", "1s"]);
    place.send(&server, &["--ack-port", "0", "--rate", "300k", "--wait", "200ms", "--retries", "10"]).ends_with(3);
    let ended = server.ended();
    assert_eq!((&ended["event"], &ended["end"]), (&"partial".into(), &"time-limit".into()));
}

#[test]
fn a_full_disk_keeps_what_there_is_and_takes_no_new_dumps() {
    let place = Place::new(12_000_000);
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(place.dumps()).output();
    if !mount.is_ok_and(|ran| ran.status.success()) {
        println!("skipped: a small tmpfs cannot be mounted here");
        return;
    }
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _mounted = Mounted(place.dumps());
    let quick = ["--ack-port", "0", "--wait", "100ms", "--retries", "20"];
    let mut server = place.server(&[]);
    place.send(&server, &quick).ends_with(3);
    let ended = server.ended();
    assert_eq!((&ended["event"], &ended["end"]), (&"partial".into(), &"storage".into()), "{ended}");
    let there = Ranges::parse(&place.text("ranges.127.0.0.1.0")).expect("they are ranges");
    assert!(there.covered() > 5_000_000);
    let data = place.read("vmcore.127.0.0.1.0.partial");
    for range in there.iter() {
        let range = range.start as usize..range.end as usize;
        assert!(data[range.clone()] == place.contents[range]);
    }
    assert_eq!(place.info("info.127.0.0.1.0").status, Status::Partial);
    place.send(&server, &quick).ends_with(3);
    let why = server.wait("refused")["why"].to_string();
    assert!(why.contains("the disk is full"), "{why}");
    // With room again, dumps are taken again.
    fs::remove_file(place.dump("vmcore.127.0.0.1.0.partial")).expect("it can be removed");
    fs::write(place.folder.path().join("core"), &place.contents[..100_000]).expect("it can be written");
    place.send(&server, &["--ack-port", "0"]).succeeds();
    assert_eq!(server.ended()["event"], "whole");
    assert_eq!(server.stop(), 0);
    // And a floor is kept free.
    let mut server = place.server(&["--free-space", "100m"]);
    place.send(&server, &quick).ends_with(3);
    server.wait("refused");
}

#[test]
fn a_script_is_run_with_the_arguments_of_netdumpd() {
    let place = Place::new(100_000);
    let script = place.folder.path().join("script");
    let told = place.folder.path().join("told");
    let text =
        format!("#!/bin/sh\n[ -s \"$5\" ] && [ -s \"$4\" ] && echo \"$# $*\" >>{}\necho noise\n", told.display());
    fs::write(&script, text).expect("a file can be written");
    let path = script.display().to_string();
    let refused = Command::new(TINE).args(["dump", "receive", "--dir", ".", "--exec", &path]).output();
    assert_eq!(refused.expect("it runs").status.code(), Some(3), "it cannot be run yet");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the mode can be set");
    let mut server = place.server(&["--exec", &path]);
    place.send(&server, &["--ack-port", "0", "--path", "lab"]).succeeds();
    server.ended();
    let mut client = Client::begin(&server, b"");
    client.send(Kind::Vmcore, 2, 0, b"memory");
    client.acknowledged(2);
    assert_eq!(server.stop(), 0);
    let told = fs::read_to_string(told).expect("it ran");
    assert_eq!(
        told,
        "5 success 127.0.0.1 127.0.0.1 lab/info.127.0.0.1.0 lab/vmcore.127.0.0.1.0\n\
         5 timeout 127.0.0.1 127.0.0.1 info.127.0.0.1.0 vmcore.127.0.0.1.0.partial\n"
    );
}

#[test]
fn metrics_tell_what_is_going_on() {
    let place = Place::new(100_000);
    let mut server = place.server(&["--metrics", "127.0.0.1:0"]).with_metrics();
    place.send(&server, &["--ack-port", "0"]).succeeds();
    server.ended();
    let mut client = Client::begin(&server, b"");
    client.send(Kind::Vmcore, 2, 0, b"memory");
    client.acknowledged(2);
    let page = || {
        let mut stream = TcpStream::connect(server.metrics.expect("it is known")).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        let numbers: BTreeMap<String, f64> = page
            .lines()
            .filter(|line| line.starts_with("tine_netdump_"))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| {
                Some((name.trim_start_matches("tine_netdump_").to_owned(), value.parse().ok()?))
            })
            .collect();
        numbers
    };
    let deadline = Instant::now() + LIMIT;
    while page().get("dumps_active") != Some(&1.0) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    let page = page();
    assert_eq!(page["dumps_ended_total{state=\"whole\"}"], 1.0, "{page:?}");
    assert_eq!(page["dump_bytes{host=\"127.0.0.1\",number=\"1\"}"], 6.0, "{page:?}");
    assert!(page["packets_total"] > 70.0 && page["bytes_total"] > 100_000.0, "{page:?}");
    let outside = Command::new(TINE).args(["dump", "receive", "--dir", ".", "--metrics", "192.0.2.1:80"]).output();
    assert_eq!(outside.expect("it runs").status.code(), Some(2));
}

#[test]
fn packets_that_no_kernel_sends_do_no_harm() {
    let place = Place::new(200_000);
    let mut server = place.server(&["--clients", "8"]);
    let mut client = Client::begin(&server, b"");
    client.send(Kind::Vmcore, 2, 0, &place.contents[..1448]);
    client.acknowledged(2);
    let stranger = Client::new(&server);
    for seed in 0..2000u64 {
        let mut bytes = [&[0u8; 24][..], &[9; 40]].concat();
        let mut number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in &mut bytes {
            number ^= number >> 27;
            number = number.wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = if number % 3 == 0 { (number >> 32) as u8 } else { 0 };
        }
        // Right in all but one field, or in none.
        let message = Message { kind: Kind::Vmcore, sequence: 3, offset: 1448, data: &[9; 40] };
        let field = (seed % 7) as usize;
        if field < 6 {
            let at = [0, 4, 8, 12, 16, 20][field];
            let right = message.header();
            (0..24).filter(|&byte| !(at..at + 4).contains(&byte)).for_each(|byte| bytes[byte] = right[byte]);
        }
        bytes.truncate(64 - (seed % 64) as usize * usize::from(seed % 11 == 0));
        // To the client's own port, from another; and to that where everyone begins.
        stranger.socket.send_to(&bytes, client.server).expect("it can be sent");
        stranger.send_bytes(&bytes);
    }
    stranger.socket.send_to(&vec![1; 65_000], server.address).expect("it can be sent");
    stranger.socket.send_to(&[], server.address).expect("it can be sent");
    // The client has noticed nothing.
    client.send(Kind::Vmcore, 3, 1448, &place.contents[1448..2000]);
    client.acknowledged(3);
    place.send(&server, &["--ack-port", "0"]).succeeds();
    server.wait_for("whole dump", |event| event["event"] == "whole");
    assert_eq!(server.stop(), 0);
    for name in place.names() {
        assert!(!name.contains(".new"), "{name}");
    }
    let first = place.read("vmcore.127.0.0.1.0.partial");
    assert_eq!(first, &place.contents[..2000]);
}

#[test]
fn a_user_without_privileges_is_enough_and_root_becomes_one() {
    let place = Place::new(50_000);
    let root = Command::new("id").arg("-u").output().is_ok_and(|ran| ran.stdout == b"0\n");
    let unknown = ["dump", "receive", "--dir", ".", "--listen", "127.0.0.1:0", "--user", "no-such-user"];
    let unknown = Command::new(TINE).args(unknown).output().expect("it runs");
    assert_eq!(unknown.status.code(), Some(2));
    if !root {
        println!("skipped: only root can become another user");
        return;
    }
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).expect("the mode can be set");
    let refused = Command::new(TINE)
        .args(["dump", "receive", "--listen", "127.0.0.1:0", "--user", "nobody", "--dir"])
        .arg(place.dumps())
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(3), "nobody cannot write there");
    fs::set_permissions(place.dumps(), fs::Permissions::from_mode(0o777)).expect("the mode can be set");
    let mut server = place.server(&["--user", "nobody"]);
    place.send(&server, &["--ack-port", "0"]).succeeds();
    assert_eq!(server.ended()["event"], "whole");
    let owner = fs::metadata(place.dump("vmcore.127.0.0.1.0")).expect("it is there").uid();
    assert_ne!(owner, 0);
    assert_eq!(server.stop(), 0);
}

/// What a service starts, without the program's path.
fn started_by(line: &str) -> Vec<String> {
    let words: Vec<String> = line.split_whitespace().map(ToOwned::to_owned).collect();
    let at = words.windows(2).position(|pair| pair[0] == "dump" && pair[1] == "receive").expect("it starts the server");
    words[at..].to_vec()
}

/// Starts what a service does, at a port and with a directory that are the test's.
fn check_service(place: &Place, words: &[String]) {
    let mut command = Command::new(TINE);
    command.args(words).args(["--json", "--numeric", "--ack-port", "0"]);
    let mut server = Server::run(&mut command);
    place.send(&server, &["--ack-port", "0"]).succeeds();
    assert_eq!(server.ended()["event"], "whole");
    assert_eq!(server.stop(), 0);
}

#[test]
fn the_systemd_unit_starts_a_server() {
    let place = Place::new(10_000);
    let path = common::project().join("contrib/systemd/tine-netdump.service");
    let unit = fs::read_to_string(&path).expect("it is there");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("it starts something");
    let dumps = place.dumps().display().to_string();
    let words = started_by(&line.replace("${NETDUMP_DIR}", &dumps).replace("$NETDUMP_FLAGS", ""));
    let words: Vec<_> = words.into_iter().map(|word| word.replace("0.0.0.0:20023", "127.0.0.1:0")).collect();
    check_service(&place, &words);
    let Some(systemd) = peer::Peer::find("the_systemd_unit_starts_a_server", "systemd-analyze") else { return };
    // The user and the manual are those of an installation.
    let installed = |line: &&str| !line.starts_with("User=") && !line.starts_with("Documentation=");
    let unit: Vec<_> = unit.lines().filter(installed).collect();
    let unit = unit.join("\n").replace("/usr/local/bin/tine", TINE);
    let copy = place.folder.path().join("tine-netdump.service");
    fs::write(&copy, unit).expect("a file can be written");
    let verdict = command::run(systemd.command().arg("verify").arg(&copy), LIMIT);
    assert!(!verdict.errors().contains("tine-netdump"), "{verdict}");
}

#[test]
fn the_rc_script_starts_a_server() {
    let place = Place::new(10_000);
    // What it needs of rc.subr: it says what would be run.
    let rc = "load_rc_config() { tine_netdump_enable=YES; tine_netdump_dir=$DUMPS; tine_netdump_listen=127.0.0.1:0; \
              tine_netdump_user=root; tine_netdump_flags=--quiet; }\n\
              run_rc_command() { echo \"$1: $command $command_args\"; }\n";
    let subr = place.folder.path().join("rc.subr");
    fs::write(&subr, rc).expect("a file can be written");
    let script = fs::read_to_string(common::project().join("contrib/rc.d/tine_netdump")).expect("it is there");
    let script = script.replace("/etc/rc.subr", &subr.display().to_string());
    let ran = command::run(
        Command::new("sh").args(["-c", &script, "tine_netdump", "start"]).env("DUMPS", place.dumps()),
        LIMIT,
    );
    let line = ran.succeeds().text();
    assert!(line.starts_with("start: /usr/sbin/daemon -c -p /var/run/tine_netdump.pid -S -T tine_netdump "), "{line}");
    let mut words = started_by(&line);
    assert_eq!(words.last().map(String::as_str), Some("--quiet"));
    if Command::new("id").arg("-u").output().is_ok_and(|ran| ran.stdout != b"0\n") {
        words.retain(|word| word != "--user" && word != "root");
    }
    check_service(&place, &words);
}

#[test]
fn wrong_command_lines_are_told_with_the_way_out() {
    let place = Place::new(1000);
    let told = |arguments: &[&str], code: i32| {
        let mut command = Command::new(TINE);
        command.arg("dump").args(arguments).current_dir(place.folder.path());
        command::run(&mut command, LIMIT).ends_with(code).errors()
    };
    let error = told(&["receive", "--dir", "missing/dumps", "--listen", "127.0.0.1:0"], 3);
    assert!(error.contains("cannot make the directory missing/dumps: "), "{error}");
    let error = told(&["receive", "--dir", "dumps", "--listen", "nowhere"], 2);
    assert!(error.contains("0.0.0.0:20023"), "{error}");
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it has one").to_string();
    let error = told(&["receive", "--dir", "dumps", "--listen", &address], 3);
    assert!(error.contains("another server is there"), "{error}");
    let error = told(&["send", "--server", &address, "missing"], 3);
    assert!(error.contains("cannot read missing"), "{error}");
    let error = told(&["send", "--server", &address, "core", "--ack-port", "0", "--wait", "10ms", "--retries", "1"], 3);
    assert!(error.contains("does not answer: a Herald message was sent 2 times"), "{error}");
    told(&["send", "--server", &address, "core", "--loss", "200%"], 2);
    told(&["receive", "--dir", "dumps", "--allow", "lab"], 2);
}
