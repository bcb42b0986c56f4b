//! GDB and LLDB attach to the server, and our own client does.

#[path = "../../../tests/common/peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod peer;

use std::io::{BufReader, BufWriter};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use gdb_remote::{Architecture, Client, Target, ThreadId, server};

/// The project's own folder, for `peer`.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const MEMORY: u64 = 0xffff_ffff_8020_0000;

/// Two threads and two pages.
struct Still {
    architecture: Architecture,
    memory: Vec<u8>,
}

impl Still {
    fn new(architecture: Architecture) -> Self {
        let memory = (0..0x2000u32).map(|at| (at * 7 + (at >> 8)) as u8).collect();
        Self { architecture, memory }
    }

    fn word(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.memory[offset..offset + 8].try_into().unwrap())
    }
}

impl Target for Still {
    fn architecture(&self) -> Architecture {
        self.architecture
    }

    fn threads(&self) -> Vec<ThreadId> {
        vec![100_077, 100_002]
    }

    fn thread_name(&self, thread: ThreadId) -> Option<String> {
        Some(if thread == 100_077 { "sysctl; <#$*}>" } else { "idle" }.to_owned())
    }

    fn registers(&self, thread: ThreadId) -> Vec<Option<u64>> {
        let mut values = vec![None; self.architecture.registers().len()];
        for (name, value) in [("rip", MEMORY + 0x123), ("pc", MEMORY + 0x123), ("rsp", MEMORY + 0x800), ("sp", thread)]
        {
            if let Some(number) = self.architecture.number(name) {
                values[number] = Some(value);
            }
        }
        values
    }

    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let start = usize::try_from(address.wrapping_sub(MEMORY)).unwrap_or(usize::MAX).min(self.memory.len());
        let length = buf.len().min(self.memory.len() - start);
        buf[..length].copy_from_slice(&self.memory[start..start + length]);
        length
    }

    fn modules(&self) -> Vec<(String, u64)> {
        vec![("a<b.ko".into(), MEMORY)]
    }

    fn monitor(&self, command: &str) -> Option<String> {
        (command == "who").then(|| "me\n".to_owned())
    }
}

/// The address of a server for one debugger, and the thread it runs in.
fn serving(architecture: Architecture) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut from = BufReader::new(stream.try_clone().unwrap());
        // A debugger that was killed leaves a broken connection.
        let _ = server::serve(&Still::new(architecture), &mut from, &mut BufWriter::new(stream));
    });
    (address, server)
}

fn output(command: &mut Command) -> String {
    let ran = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr)
}

#[test]
fn gdb_attaches_lists_threads_and_reads() {
    let Some(gdb) = peer::Peer::find("gdb_attaches_lists_threads_and_reads", "gdb") else { return };
    let (address, server) = serving(Architecture::Amd64);
    let said = output(
        gdb.command()
            .args(["-nx", "-batch", "-ex", &format!("target remote {address}")])
            .args(["-ex", "info threads", "-ex", "info registers rip rax", "-ex", "x/2gx 0xffffffff80200010"])
            .args(["-ex", "x/1bx 0xffffffff80202000", "-ex", "continue", "-ex", "monitor who", "-ex", "detach"]),
    );
    let still = Still::new(Architecture::Amd64);
    for expected in [
        "100077",
        "sysctl; <#$*}>",
        "idle",
        "0xffffffff80200123",
        "<unavailable>",
        &format!("{:#018x}", still.word(0x10)),
        &format!("{:#018x}", still.word(0x18)),
        "Cannot access memory at address 0xffffffff80202000",
        "This does not run",
        "me\n",
        "detached",
    ] {
        assert!(said.contains(expected), "{expected:?} was expected:\n{said}");
    }
    server.join().unwrap();
}

#[test]
fn lldb_attaches_lists_threads_and_reads() {
    let Some(lldb) = peer::Peer::find("lldb_attaches_lists_threads_and_reads", "lldb") else { return };
    for (architecture, pc) in [(Architecture::Amd64, "rip"), (Architecture::Arm64, "pc")] {
        let (address, server) = serving(architecture);
        let said = output(
            lldb.command()
                .args(["-x", "-b", "-o", &format!("gdb-remote {address}"), "-o", "thread list"])
                .args(["-o", &format!("register read {pc}"), "-o", "memory read -fx -s8 -c2 0xffffffff80200010"])
                .args(["-o", "process detach"]),
        );
        let still = Still::new(architecture);
        for expected in [
            "100077",
            "sysctl; <#$*}>",
            "idle",
            "0xffffffff80200123",
            &format!("{:#018x}", still.word(0x10)),
            &format!("{:#018x}", still.word(0x18)),
        ] {
            assert!(said.contains(expected), "{expected:?} was expected:\n{said}");
        }
        server.join().unwrap();
    }
}

#[test]
fn the_client_reads_what_the_server_shows() {
    for architecture in [Architecture::Amd64, Architecture::Arm64, Architecture::I386, Architecture::Riscv64] {
        let (address, server) = serving(architecture);
        let stream = TcpStream::connect(address).unwrap();
        let from = BufReader::new(stream.try_clone().unwrap());
        let mut client = Client::connect(from, stream, architecture).unwrap();
        let still = Still::new(architecture);
        assert_eq!(client.threads().unwrap(), still.threads());
        assert_eq!(client.thread_name(100_077).unwrap(), still.thread_name(100_077));
        let mut expected = still.registers(100_002);
        if architecture == Architecture::I386 {
            expected.iter_mut().flatten().for_each(|value| *value &= 0xffff_ffff);
        }
        assert_eq!(client.registers(100_002).unwrap(), expected);
        assert!(client.registers(3).is_err());
        let mut memory = vec![0; 0x3000];
        assert_eq!(client.read(MEMORY, &mut memory).unwrap(), 0x2000);
        assert_eq!(memory[..0x2000], still.memory);
        assert_eq!(client.read(0x1000, &mut memory).unwrap(), 0);
        assert_eq!(client.monitor("who").unwrap(), "me\n");
        client.detach().unwrap();
        server.join().unwrap();
    }
}
