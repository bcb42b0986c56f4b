//! Metrics for Prometheus, on a port of the loopback.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use netdump::server::{Progress, Totals};

use crate::failure::Failure;

/// How long a reader may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most that is read of a request.
const LONGEST_REQUEST: usize = 4096;
/// The most that is passed over after the answer.
const LONGEST_UNREAD: u64 = 1 << 20;

/// The page, and the thread that serves it.
pub(super) struct Metrics {
    address: SocketAddr,
    page: Arc<Mutex<String>>,
}

impl Metrics {
    pub(super) fn bind(address: SocketAddr) -> Result<Metrics, Failure> {
        let failed = |error| Failure::work(format_args!("cannot serve metrics at {address}"), error);
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let page = Arc::new(Mutex::new(page(&Totals::default(), &[])));
        let served = Arc::clone(&page);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let page = served.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Who does not read it does not need it.
                let _ = serve(stream, &page);
            }
        });
        Ok(Metrics { address, page })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn show(&mut self, totals: &Totals, progress: &[Progress]) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page(totals, progress);
    }
}

/// Answers one request.
fn serve(mut stream: TcpStream, page: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < LONGEST_REQUEST {
        match stream.read(&mut buffer)? {
            0 => break,
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let (status, body) = match request.split(|&byte| byte == b' ').collect::<Vec<_>>()[..] {
        [b"GET", b"/metrics" | b"/", ..] => ("200 OK", page),
        [b"GET", ..] => ("404 Not Found", "the metrics are at /metrics\n"),
        _ => ("400 Bad Request", "GET /metrics was expected\n"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    // With something left unread, closing would take back the answer.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut stream.take(LONGEST_UNREAD), &mut io::sink())?;
    Ok(())
}

fn page(totals: &Totals, progress: &[Progress]) -> String {
    let mut page = String::new();
    let mut family = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        // Writing to a text cannot fail.
        let _ = writeln!(page, "# HELP tine_netdump_{name} {help}\n# TYPE tine_netdump_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(page, "tine_netdump_{name}{labels} {value}");
        }
    };
    let one = |value: u64| vec![(String::new(), value as f64)];
    family("packets_total", "counter", "Packets that came.", &one(totals.packets));
    family("bytes_total", "counter", "Bytes of all packets that came.", &one(totals.bytes));
    family("ignored_packets_total", "counter", "Packets that were ignored.", &one(totals.ignored));
    family("acknowledgements_total", "counter", "Acknowledgements that were sent.", &one(totals.acknowledgements));
    family("refused_total", "counter", "Clients that were not let in.", &one(totals.refused));
    family("dumps_began_total", "counter", "Dumps that began.", &one(totals.began));
    let states = [
        ("whole", totals.whole),
        ("incomplete", totals.incomplete),
        ("partial", totals.partial),
        ("failed", totals.failed),
    ];
    let states: Vec<_> = states.map(|(state, count)| (format!("{{state=\"{state}\"}}"), count as f64)).into();
    family("dumps_ended_total", "counter", "Dumps that ended, by what became of them.", &states);
    family("dumps_active", "gauge", "Dumps that are being received.", &one(progress.len() as u64));
    let each = |value: fn(&Progress) -> f64| -> Vec<(String, f64)> {
        let label = |dump: &Progress| {
            let (host, number) = (dump.client.names.host().unwrap_or_default(), dump.client.names.number());
            format!("{{host=\"{host}\",number=\"{number}\"}}")
        };
        progress.iter().map(|dump| (label(dump), value(dump))).collect()
    };
    family("dump_bytes", "gauge", "Bytes that came of a dump.", &each(|dump| dump.bytes as f64));
    family("dump_loss_ratio", "gauge", "Packets that were late or lost, of all.", &each(|dump| dump.counters.loss()));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    #[test]
    fn the_page_is_served_to_those_who_ask_for_it() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut metrics = Metrics::bind(address).expect("a port is free");
        metrics.show(&Totals { packets: 7, whole: 2, ..Totals::default() }, &[]);
        let answer = ask(metrics.address(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\ntine_netdump_packets_total 7\n"), "{answer}");
        assert!(answer.contains("\ntine_netdump_dumps_ended_total{state=\"whole\"} 2\n"), "{answer}");
        assert!(ask(metrics.address(), "GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(ask(metrics.address(), &"x".repeat(5000)).starts_with("HTTP/1.1 400"));
    }
}
