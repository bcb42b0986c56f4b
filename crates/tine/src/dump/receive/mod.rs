//! `tine dump receive`: the server of netdump(4).

mod address;
mod events;
mod hosts;
mod metrics;
mod screen;
mod script;
mod user;

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use netdump::message::{ACK_PORT, PORT};
use netdump::network::Network;
use netdump::receiver::Limits;
use netdump::server::{Config, Event, Outcome, Server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use vmcore::names::State;

use crate::failure::Failure;
use crate::values;
use events::Reporter;
use hosts::Hosts;
use metrics::Metrics;
use screen::Screen;
use script::Script;

pub(super) use address::{duration, server_address};

/// How long the program sleeps when nothing comes.
const PAUSE: Duration = Duration::from_millis(500);
/// How often what changes all the time is shown.
const REFRESH: Duration = Duration::from_millis(250);

/// Catch the dumps that panicking FreeBSD kernels send over the network: the server of netdump(4)
///
/// Each dump becomes vmcore.HOST.N with info.HOST.N and SHA256.HOST.N; one that the kernel encrypted is called
/// vmcore_encrypted, and has key.HOST.N. One that was finished with bytes missing is vmcore.HOST.N.incomplete, one that
/// was never finished vmcore.HOST.N.partial; of both, ranges.HOST.N says which bytes are there.
#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// Where the dumps go, a directory that is made if need be; paths that clients ask for are below it
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where to listen: an address, a port after a colon, or both; may be given more than once [default: port 20023 of
    /// all addresses]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address::listen, help_heading = "Network")]
    listen: Vec<SocketAddr>,
    /// The clients' port to which acknowledgements go; 0 is the one that a message came from
    #[arg(long, value_name = "PORT", default_value_t = ACK_PORT, help_heading = "Network")]
    ack_port: u16,
    /// A network of clients that are let in, such as 192.0.2.0/24; may be given more than once [default: all]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', help_heading = "Limits")]
    allow: Vec<Network>,
    /// How much the dumps of one client may take, with those that are there
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    quota_client: Option<u64>,
    /// How much all dumps may take, with those that are there
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    quota_total: Option<u64>,
    /// How much of the disk is left free
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    free_space: Option<u64>,
    /// Bytes a second from each client
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    rate: Option<u64>,
    /// How long a dump may take, such as 2h
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    time_limit: Option<Duration>,
    /// After which silence of its client a dump is given up
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m", help_heading = "Limits")]
    silence: Duration,
    /// How many dumps are received at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096),
          help_heading = "Limits")]
    clients: u16,
    /// Compress with Zstandard as the dump comes, at this level [default level: 3]
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "3",
          value_parser = clap::value_parser!(i32).range(1..=22))]
    compress: Option<i32>,
    /// Run a program after each dump, with the arguments that netdumpd(8) gives: the outcome (success, incomplete,
    /// timeout or error), the client's address and name, the info file and the dump, as paths in the directory
    #[arg(long, value_name = "SCRIPT")]
    exec: Option<PathBuf>,
    /// Become this user, and perhaps group, when the ports are open
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Names of clients, as in /etc/hosts
    #[arg(long, value_name = "FILE", default_value = "/etc/hosts", conflicts_with = "numeric")]
    hosts: PathBuf,
    /// Call clients by their addresses
    #[arg(long)]
    numeric: bool,
    /// End when so many dumps have ended
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Serve metrics for Prometheus at this address, which must be of the loopback
    #[arg(long, value_name = "ADDR:PORT", value_parser = address::loopback, help_heading = "Output")]
    metrics: Option<SocketAddr>,
    /// Write what happens to standard output as JSON, one object a line
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Say nothing unless something goes wrong
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

/// Makes a directory for dumps, which only its owner can read, unless it is there; not those above it.
pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Failure::work(format_args!("cannot make the directory {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

impl Receive {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            // The second time, nothing is waited for.
            signal_hook::flag::register_conditional_shutdown(signal, 3, Arc::clone(&stop))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
                .map_err(|error| Failure::work("cannot wait for signals", error))?;
        }
        let script = self.exec.as_deref().map(Script::new).transpose()?;
        let user = self.user.as_deref().map(user::find).transpose()?;
        // The directory of another user has to be made by hand: it would belong to this one.
        if user.is_none() {
            make_directory(&self.dir)?;
        }
        let mut server = Server::bind(self.config()).map_err(|error| self.bind_failure(&error))?;
        let mut metrics = self.metrics.map(Metrics::bind).transpose()?;
        if let Some(user) = user {
            user.become_it()?;
        }
        // Better now than when a kernel panics.
        tempfile::tempfile_in(&self.dir)
            .map_err(|error| Failure::work(format_args!("cannot write to {}", self.dir.display()), error))?;
        let screen = Screen::new(self.quiet || self.json);
        let mut reporter = Reporter::new(self.json, self.quiet, screen, self.dir.clone());
        reporter.listening(&server.addresses(), metrics.as_ref().map(Metrics::address))?;
        self.serve(&mut server, &stop, script, metrics.as_mut(), &mut reporter)
    }

    fn config(&self) -> Config {
        let everywhere = || vec![SocketAddr::from(([0; 4], PORT)), SocketAddr::from(([0u16; 8], PORT))];
        let hosts = (!self.numeric).then(|| Hosts::new(self.hosts.clone()));
        Config {
            listen: if self.listen.is_empty() { everywhere() } else { self.listen.clone() },
            ack_port: self.ack_port,
            limits: Limits {
                clients: self.clients.into(),
                silence: self.silence,
                longest: self.time_limit,
                rate: self.rate,
                ..Limits::default()
            },
            allow: self.allow.clone(),
            quota_client: self.quota_client,
            quota_total: self.quota_total,
            free_space: self.free_space.unwrap_or(0),
            compress: self.compress,
            name: Box::new(move |address| hosts.as_ref()?.name(address)),
            ..Config::new(self.dir.clone())
        }
    }

    fn bind_failure(&self, error: &netdump::server::Error) -> Failure {
        use netdump::server::Error;
        use std::io::ErrorKind;
        Failure::Work(match error {
            Error::Listen { error: cause, .. } if cause.kind() == ErrorKind::AddrInUse => {
                format!("{error}; another server is there: stop it, or give another port with --listen")
            }
            Error::Listen { error: cause, .. } if cause.kind() == ErrorKind::PermissionDenied => {
                format!("{error}; give a port above 1023 with --listen")
            }
            Error::Listen { .. } if self.listen.is_empty() => format!("{error}; give an address with --listen"),
            _ => error.to_string(),
        })
    }

    fn serve(
        &self,
        server: &mut Server,
        stop: &AtomicBool,
        script: Option<Script>,
        mut metrics: Option<&mut Metrics>,
        reporter: &mut Reporter,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut refreshed = began;
        let mut stopping = false;
        let mut left = self.count;
        let mut all_whole = true;
        server.recover(began.elapsed(), SystemTime::now());
        loop {
            for event in server.events() {
                if let Event::Ended(ended) = &event
                    && !matches!(ended.outcome, Outcome::Nothing)
                {
                    all_whole &= matches!(&ended.outcome, Outcome::Stored(stored) if stored.state == State::Whole);
                    left = left.map(|left| left.saturating_sub(1));
                    if let Some(script) = &script {
                        script.run(ended, &self.dir);
                    }
                }
                reporter.event(&event)?;
            }
            if refreshed.elapsed() >= REFRESH {
                refreshed = Instant::now();
                let progress = server.progress();
                reporter.progress(&progress, began.elapsed())?;
                if let Some(metrics) = &mut metrics {
                    metrics.show(&server.totals(), &progress);
                }
            }
            if !stopping && (stop.load(Ordering::Relaxed) || left == Some(0)) {
                stopping = true;
                server.stop(began.elapsed());
                continue;
            }
            if stopping && !server.is_busy() {
                break;
            }
            server.wait(began.elapsed(), PAUSE).map_err(|error| Failure::Work(error.to_string()))?;
            server.turn(began.elapsed());
        }
        if let Some(script) = script {
            script.wait();
        }
        reporter.stopped()?;
        if self.count.is_some() && !all_whole { Err(Failure::Found) } else { Ok(()) }
    }
}
