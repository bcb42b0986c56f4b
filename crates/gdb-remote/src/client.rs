//! A client that reads from a stub and writes nothing.

use std::io::{self, BufRead, Write};

use crate::packet::{self, Event, from_hex, number, to_hex};
use crate::registers::Architecture;
use crate::server::values;
use crate::target::ThreadId;

/// A packet is sent again so often.
const TRIES: usize = 4;
/// Bytes of memory asked for at once, unless the stub takes less.
const MEMORY: usize = 2048;
/// More threads than these are not listed.
const MOST_THREADS: usize = 1 << 20;
/// What a stub says on its console while it is asked something is passed over, up to so many packets.
const MOST_CONSOLE: usize = 1 << 12;

/// Why a stub cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("the connection to the stub failed: {0}")]
    Connection(#[from] io::Error),
    /// The stub is gone.
    #[error("the stub closed the connection when {question:?} was asked")]
    Gone {
        /// What was sent.
        question: String,
    },
    /// The stub did not understand a packet, or was not understood.
    #[error("the stub and {question:?} did not get through in {TRIES} tries: is it a GDB stub, at the right speed?")]
    Garbled {
        /// What was sent.
        question: String,
    },
    /// The answer is none that the protocol knows.
    #[error("the stub answered {answer:?} to {question:?}, expected {expected}")]
    Unexpected {
        /// What was sent.
        question: String,
        /// What came.
        answer: String,
        /// What the protocol has.
        expected: &'static str,
    },
}

/// A connection to a stub.
pub struct Client<R, W> {
    from: R,
    to: W,
    architecture: Architecture,
    is_acknowledged: bool,
    memory: usize,
}

impl<R: BufRead, W: Write> Client<R, W> {
    /// Begins to talk to a stub of a target with this processor. Most stubs stop their target now.
    ///
    /// # Errors
    /// If the connection fails, or what is at its other end is no stub.
    pub fn connect(from: R, to: W, architecture: Architecture) -> Result<Self, Error> {
        let mut client = Self { from, to, architecture, is_acknowledged: true, memory: MEMORY };
        let supported = client.ask("qSupported:xmlRegisters=i386")?;
        for word in supported.split(|&byte| byte == b';') {
            if let Some(size) = word.strip_prefix(b"PacketSize=").and_then(number) {
                client.memory = (usize::try_from(size).unwrap_or(MEMORY).saturating_sub(16) / 2).clamp(16, MEMORY);
            }
            if word == b"QStartNoAckMode+" && client.ask("QStartNoAckMode")? == b"OK" {
                client.is_acknowledged = false;
            }
        }
        let stopped = client.ask("?")?;
        if !is_stop(&stopped) {
            return Err(unexpected("?", &stopped, "a target that was stopped"));
        }
        Ok(client)
    }

    /// The threads that the stub has: of QEMU, the processors.
    ///
    /// # Errors
    /// If the stub cannot be asked.
    pub fn threads(&mut self) -> Result<Vec<ThreadId>, Error> {
        let mut threads = Vec::new();
        let mut question = "qfThreadInfo";
        loop {
            let answer = self.ask(question)?;
            match answer.split_first() {
                Some((b'm', list)) => {
                    threads.extend(list.split(|&byte| byte == b',').filter_map(|id| number(last_part(id))));
                }
                // Those without threads do not know the question.
                Some((b'l', _)) | None => return Ok(threads),
                Some(_) => return Err(unexpected(question, &answer, "threads")),
            }
            if threads.len() > MOST_THREADS {
                return Err(unexpected(question, &answer, "an end of its threads"));
            }
            question = "qsThreadInfo";
        }
    }

    /// What the stub calls a thread; `None` if it has no name for it.
    ///
    /// # Errors
    /// If the stub cannot be asked.
    pub fn thread_name(&mut self, thread: ThreadId) -> Result<Option<String>, Error> {
        let answer = self.ask(&format!("qThreadExtraInfo,{thread:x}"))?;
        let name = from_hex(&answer).filter(|name| !name.is_empty());
        Ok(name.map(|name| String::from_utf8_lossy(&name).into_owned()))
    }

    /// The registers of a thread, by their numbers in [`Architecture::registers`].
    ///
    /// # Errors
    /// If the stub cannot be asked, or does not know the thread.
    pub fn registers(&mut self, thread: ThreadId) -> Result<Vec<Option<u64>>, Error> {
        self.select(thread)?;
        let answer = self.ask("g")?;
        // An error has three characters; registers have more.
        if answer.len() < 8 {
            return Err(unexpected("g", &answer, "registers"));
        }
        Ok(values(self.architecture, &answer))
    }

    /// Chooses the thread whose registers, and, of QEMU, whose memory is read from now on.
    ///
    /// # Errors
    /// As [`Client::registers`].
    pub fn select(&mut self, thread: ThreadId) -> Result<(), Error> {
        let question = format!("Hg{thread:x}");
        match self.ask(&question)? {
            answer if answer == b"OK" => Ok(()),
            answer => Err(unexpected(&question, &answer, "OK")),
        }
    }

    /// The thread that the stub looks at; `None` if it does not tell.
    ///
    /// # Errors
    /// If the stub cannot be asked.
    pub fn current(&mut self) -> Result<Option<ThreadId>, Error> {
        let answer = self.ask("qC")?;
        Ok(answer.strip_prefix(b"QC").and_then(|id| number(last_part(id))))
    }

    /// Reads memory at a virtual address, and gives how much could be read before the first byte that is not there.
    ///
    /// # Errors
    /// If the stub cannot be asked.
    pub fn read(&mut self, address: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while let Some(part) = buf.get_mut(done..).filter(|part| !part.is_empty()) {
            let wanted = part.len().min(self.memory);
            let question = format!("m{:x},{wanted:x}", address.wrapping_add(done as u64));
            let answer = self.ask(&question)?;
            if answer.len() == 3 && answer.first() == Some(&b'E') {
                break;
            }
            let Some(bytes) = from_hex(&answer) else { return Err(unexpected(&question, &answer, "memory")) };
            match part.get_mut(..bytes.len()) {
                Some(_) if bytes.is_empty() => break,
                Some(place) => place.copy_from_slice(&bytes),
                None => return Err(unexpected(&question, &answer, "no more memory than was asked for")),
            }
            done += bytes.len();
        }
        Ok(done)
    }

    /// What the stub answers to a command of its own (`monitor` in GDB).
    ///
    /// # Errors
    /// If the stub cannot be asked.
    pub fn monitor(&mut self, command: &str) -> Result<String, Error> {
        let mut said = Vec::new();
        let mut answer = self.ask_raw(&format!("qRcmd,{}", to_hex(command.as_bytes())))?;
        for _ in 0..MOST_CONSOLE {
            match answer.split_first() {
                Some((b'O', text)) if answer != b"OK" => {
                    said.extend(from_hex(text).unwrap_or_default());
                    answer = self.receive(command)?;
                }
                _ => break,
            }
        }
        if answer != b"OK" {
            said.extend(from_hex(&answer).unwrap_or_default());
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// Lets the target go on, and leaves.
    ///
    /// # Errors
    /// If the stub cannot be asked.
    pub fn detach(mut self) -> Result<(), Error> {
        // Some stubs are gone before they answer.
        match self.ask("D") {
            Ok(_) | Err(Error::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, question: &str) -> Result<Vec<u8>, Error> {
        let mut answer = self.ask_raw(question)?;
        for _ in 0..MOST_CONSOLE {
            let is_console = answer.first() == Some(&b'O') && answer != b"OK";
            // A kernel's own stub says by itself that it has stopped, before anybody asks.
            let is_news = question != "?" && is_stop(&answer);
            if !is_console && !is_news {
                return Ok(answer);
            }
            answer = self.receive(question)?;
        }
        Err(unexpected(question, &answer, "an answer after so much text"))
    }

    fn ask_raw(&mut self, question: &str) -> Result<Vec<u8>, Error> {
        for _ in 0..TRIES {
            packet::write(&mut self.to, question.as_bytes())?;
            if !self.is_acknowledged {
                return self.receive(question);
            }
            loop {
                match packet::read(&mut self.from)? {
                    Event::Ack => return self.receive(question),
                    // Its acknowledgement was lost.
                    Event::Packet(answer) => return self.acknowledge().map(|()| answer),
                    Event::Interrupt => {}
                    Event::Nak | Event::Broken => break,
                    Event::End => return Err(Error::Gone { question: question.to_owned() }),
                }
            }
        }
        Err(Error::Garbled { question: question.to_owned() })
    }

    fn receive(&mut self, question: &str) -> Result<Vec<u8>, Error> {
        for _ in 0..TRIES {
            match packet::read(&mut self.from)? {
                Event::Packet(answer) => return self.acknowledge().map(|()| answer),
                Event::Broken => self.to.write_all(b"-").and_then(|()| self.to.flush())?,
                Event::End => return Err(Error::Gone { question: question.to_owned() }),
                Event::Ack | Event::Nak | Event::Interrupt => {}
            }
        }
        Err(Error::Garbled { question: question.to_owned() })
    }

    fn acknowledge(&mut self) -> Result<(), Error> {
        if self.is_acknowledged {
            self.to.write_all(b"+")?;
            self.to.flush()?;
        }
        Ok(())
    }
}

/// Whether an answer says that the target has stopped: `T05...`, `S05`.
fn is_stop(answer: &[u8]) -> bool {
    matches!(answer, [b'T' | b'S', one, two, ..] if one.is_ascii_hexdigit() && two.is_ascii_hexdigit())
}

/// The thread of `pPROCESS.THREAD`.
fn last_part(id: &[u8]) -> &[u8] {
    id.rsplit(|&byte| byte == b'.').next().unwrap_or(id)
}

fn unexpected(question: &str, answer: &[u8], expected: &'static str) -> Error {
    const SHOWN: usize = 60;
    let answer = String::from_utf8_lossy(answer.get(..SHOWN).unwrap_or(answer)).into_owned();
    Error::Unexpected { question: question.to_owned(), answer, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(payloads: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            bytes.push(b'+');
            packet::write(&mut bytes, payload.as_bytes()).unwrap();
        }
        bytes
    }

    #[test]
    fn a_kernel_that_told_by_itself_that_it_stopped_is_understood() {
        // FreeBSD's stub says so when it is entered, whether or not anybody is there.
        let news = "T0510:92e04d80ffffffff;thread:186d0;";
        let answers = packets(&[news, "PacketSize=1003", "T05thread:186d0;", "QC186d0", "m186a0,186d0", "l"]);
        let mut client = Client::connect(&answers[..], Vec::new(), Architecture::Amd64).unwrap();
        assert_eq!(client.current().unwrap(), Some(100_048));
        assert_eq!(client.threads().unwrap(), [100_000, 100_048]);
    }
}
