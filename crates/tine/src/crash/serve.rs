//! `tine crash serve`: the dump as a target of gdb and lldb.

use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use crash::Crash;
use crash::threads::Thread;
use gdb_remote::{Architecture, Target, ThreadId, server};

use super::{Session, interrupt, memory, processes};
use crate::failure::Failure;
use crate::output;

/// Between two looks at whether there is somebody to serve, or work is interrupted.
const PAUSE: Duration = Duration::from_millis(20);

/// Serve the dump to gdb and lldb, for reading (GDB Remote Serial Protocol)
///
/// `lldb KERNEL -o 'gdb-remote 127.0.0.1:2345'`, `gdb -ex 'set osabi none' -ex 'file KERNEL' -ex 'target remote
/// 127.0.0.1:2345'` (`set osabi` is for a gdb that was built without FreeBSD, which refuses its kernels). Ends when it
/// is interrupted.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The address and port to listen on; port 0 is one that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:2345")]
    listen: SocketAddr,
    /// End when the first debugger has left
    #[arg(long)]
    once: bool,
}

impl Serve {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let architecture = match session.crash.program().architecture() {
            symbols::Architecture::Amd64 => Architecture::Amd64,
            symbols::Architecture::Arm64 => Architecture::Arm64,
            symbols::Architecture::I386 => Architecture::I386,
            symbols::Architecture::Riscv64 => Architecture::Riscv64,
        };
        let mut threads: Vec<Thread> =
            processes::read(session)?.into_iter().flat_map(|process| process.threads).collect();
        let dumping = session.crash.dumping_thread().ok();
        threads.sort_by_key(|thread| Some(thread.tid) != dumping);
        let target = Dump { session, architecture, threads };
        let failed = |error| Failure::work(format_args!("cannot listen on {}", self.listen), error);
        let listener = TcpListener::bind(self.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if session.json {
            output::print_json(&serde_json::json!({ "listening": address.to_string() }))?;
        } else {
            output::print(&format!("listening on {address}\n"))?;
        }
        listener.set_nonblocking(true).map_err(failed)?;
        // In a shell, Ctrl-C ends the wait and the connection.
        while !interrupt::is_wanted() {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            let served = serve(&target, stream);
            // A debugger that vanishes is no reason not to serve the next.
            if let Err(error) = served {
                output::warn("tine", &[format!("the debugger's connection: {error}")]);
            }
            if self.once {
                break;
            }
        }
        Ok(())
    }
}

/// Serves a debugger until it leaves or work is interrupted.
fn serve(target: &Dump<'_>, stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let _ = stream.set_nodelay(true);
    let (from, line) = (stream.try_clone()?, stream.try_clone()?);
    let left = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !left.load(Ordering::Relaxed) {
                if interrupt::is_wanted() {
                    let _ = line.shutdown(Shutdown::Both);
                    return;
                }
                thread::park_timeout(PAUSE);
            }
        });
        let served = server::serve(target, &mut BufReader::new(from), &mut BufWriter::new(stream));
        left.store(true, Ordering::Relaxed);
        served
    })
}

struct Dump<'s> {
    session: &'s Session<'s>,
    architecture: Architecture,
    threads: Vec<Thread>,
}

impl Dump<'_> {
    fn crash(&self) -> &Crash {
        self.session.crash
    }

    fn thread(&self, id: ThreadId) -> Option<&Thread> {
        self.threads.iter().find(|thread| id_of(thread) == id)
    }
}

/// Threads of kernels have numbers from 100000 on, the swapper's among them.
fn id_of(thread: &Thread) -> ThreadId {
    u64::try_from(thread.tid).unwrap_or(1)
}

impl Target for Dump<'_> {
    fn architecture(&self) -> Architecture {
        self.architecture
    }

    fn threads(&self) -> Vec<ThreadId> {
        match self.threads.iter().map(id_of).collect::<Vec<_>>() {
            none if none.is_empty() => vec![1],
            threads => threads,
        }
    }

    fn thread_name(&self, thread: ThreadId) -> Option<String> {
        let thread = self.thread(thread)?;
        let name = if thread.name == thread.process || thread.name.is_empty() {
            thread.process.clone()
        } else {
            format!("{}/{}", thread.process, thread.name)
        };
        Some(name)
    }

    fn registers(&self, thread: ThreadId) -> Vec<Option<u64>> {
        let known = match self.thread(thread) {
            Some(thread) => self.crash().thread_registers(thread).map(|(registers, _)| registers),
            None => self.crash().dumping_registers(),
        };
        let Ok(known) = known else { return Vec::new() };
        let by_name = |register: &gdb_remote::Register| match (self.architecture, register.name) {
            // The names that gdb has for what others call differently.
            (Architecture::Arm64, "x29") => known.fp(),
            (Architecture::Riscv64, "fp") => known.fp(),
            (_, "rip" | "eip" | "pc") => known.pc(),
            (_, "rsp" | "esp" | "sp") => known.sp(),
            (_, name) => known.by_name(name),
        };
        self.architecture.registers().iter().map(by_name).collect()
    }

    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        memory::read(self.session, address, buf)
    }

    fn modules(&self) -> Vec<(String, u64)> {
        let images = self.crash().program().images().iter().skip(1);
        let modules = crash::modules::modules(self.crash()).unwrap_or_default();
        images
            .filter_map(|image| modules.iter().find(|module| module.name == image.name()))
            .map(|module| (module.name.clone(), module.address))
            .collect()
    }

    fn monitor(&self, command: &str) -> Option<String> {
        let report = || crash::messages::messages(self.crash());
        match command {
            "help" => Some("msgbuf    what the kernel printed\npanic     what it died of\n".to_owned()),
            "msgbuf" => Some(report().map_or_else(|error| format!("{error}\n"), |messages| messages.text)),
            "panic" => Some(format!("{}\n", crash::panic::message(self.crash()).unwrap_or("no panic".to_owned()))),
            _ => None,
        }
    }
}
