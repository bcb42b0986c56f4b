//! A client that is being served: its socket, its files, and what it is to be told.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use vmcore::store::{Options, Writer};

use super::Client;
use super::journal::{Journal, Told};
use crate::message::{ACK_SIZE, acknowledgement};
use crate::receiver::{Gathered, Moment};
use crate::udp::Socket;

pub(super) struct Live {
    pub(super) client: Client,
    /// Where its messages come. Another dump of the client, which began while this one was received, has the same.
    pub(super) socket: Arc<Socket>,
    /// The address of the socket.
    pub(super) local: SocketAddr,
    pub(super) directory: PathBuf,
    /// When its dump ended, as long as that is being finished.
    pub(super) finishing: Option<Moment>,
    ack_to: SocketAddr,
    writer: Option<Writer>,
    journal: Option<Journal>,
    runs: Vec<Range<u64>>,
    acknowledgements: Vec<u8>,
}

impl Live {
    pub(super) fn begin(client: Client, socket: Arc<Socket>, ack_to: SocketAddr, options: Options) -> io::Result<Live> {
        let local = socket.address()?;
        // Of a compressed dump, chunks are in memory until they are full: what came could not be told to another server.
        let journal = match options.compress {
            None => Some(Journal::create(client.names.ranges(), local, client.address)?),
            Some(_) => None,
        };
        let writer = Writer::create(client.names.clone(), options);
        let writer = writer.inspect_err(|_| drop(std::fs::remove_file(client.names.ranges())))?;
        Ok(Live::new(client, socket, local, ack_to, writer, journal))
    }

    /// A dump that another server began.
    pub(super) fn resume(client: Client, socket: Arc<Socket>, ack_to: SocketAddr, told: &Told) -> io::Result<Live> {
        let options = Options::default();
        let local = socket.address()?;
        let mut journal = Journal::create(client.names.ranges(), local, client.address)?;
        journal.rewrite(&told.gathered)?;
        let writer = Writer::resume(client.names.clone(), options, told.gathered.ranges.clone())?;
        Ok(Live::new(client, socket, local, ack_to, writer, Some(journal)))
    }

    fn new(
        client: Client,
        socket: Arc<Socket>,
        local: SocketAddr,
        ack_to: SocketAddr,
        writer: Writer,
        journal: Option<Journal>,
    ) -> Live {
        Live {
            directory: client.names.directory().to_owned(),
            client,
            socket,
            local,
            finishing: None,
            ack_to,
            writer: Some(writer),
            journal,
            runs: Vec::new(),
            acknowledgements: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write_at(data, offset)?;
        let end = offset + data.len() as u64;
        match self.runs.last_mut() {
            Some(run) if run.end == offset => run.end = end,
            _ => self.runs.push(offset..end),
        }
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, sequence: u32, copies: u8) {
        (0..copies).for_each(|_| self.acknowledgements.extend(acknowledgement(sequence)));
    }

    pub(super) fn is_touched(&self) -> bool {
        !self.runs.is_empty() || !self.acknowledgements.is_empty()
    }

    /// Writes what came, and whether there was any.
    pub(super) fn flush(&mut self, gathered: Option<&Gathered>) -> io::Result<bool> {
        let wrote = !self.runs.is_empty();
        if let Some(writer) = &mut self.writer {
            writer.flush()?;
        }
        if let Some(journal) = &mut self.journal {
            journal.record(&self.runs, gathered)?;
        }
        self.runs.clear();
        Ok(wrote)
    }

    /// Sends the acknowledgements, and says how many. One that cannot be sent is lost like any other.
    pub(super) fn send(&mut self) -> u64 {
        let count = self.acknowledgements.len() / ACK_SIZE;
        let _ = self.socket.send(&self.acknowledgements, ACK_SIZE, self.ack_to);
        self.acknowledgements.clear();
        count as u64
    }

    /// Leaves unsaid what was to be said.
    pub(super) fn silence(&mut self) {
        self.acknowledgements.clear();
        self.runs.clear();
    }

    /// What the dump is finished with.
    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        self.journal = None;
        self.writer.take()
    }
}
