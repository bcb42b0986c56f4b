//! A server of one debugger: it shows a [`Target`] and changes nothing.

use std::io::{self, BufRead, Write};

use crate::packet::{self, Event, from_hex, number, to_hex};
use crate::registers::{Architecture, Register};
use crate::target::{Target, ThreadId};

/// Bytes of memory that one answer has at most.
const MOST_MEMORY: usize = 64 << 10;
/// A packet is sent again so often if the other side did not understand it.
const TRIES: usize = 8;
/// The number of the signal that a thread that stands still is said to have got: SIGTRAP.
const SIGNAL: u8 = 5;
/// An answer that means failure. The number has no meaning.
const FAILED: &str = "E01";

/// Answers a debugger until it leaves.
///
/// # Errors
/// If the connection fails.
pub fn serve(target: &dyn Target, from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    let mut session = Session { target, thread: None, is_acknowledged: true };
    loop {
        match packet::read(from)? {
            Event::End => return Ok(()),
            // What stands still cannot be stopped, but an answer is waited for.
            Event::Interrupt => session.send(session.stopped(session.current()).as_bytes(), from, to)?,
            Event::Broken => to.write_all(b"-").and_then(|()| to.flush())?,
            Event::Ack | Event::Nak => {}
            Event::Packet(packet) => {
                if session.is_acknowledged {
                    to.write_all(b"+")?;
                }
                match session.answer(&packet) {
                    Answer::Text(text) => session.send(text.as_bytes(), from, to)?,
                    Answer::Bytes(bytes) => session.send(&bytes, from, to)?,
                    Answer::Resume => {
                        let text = to_hex(b"This does not run: it is what a kernel left behind.\n");
                        session.send(format!("O{text}").as_bytes(), from, to)?;
                        session.send(session.stopped(session.current()).as_bytes(), from, to)?;
                    }
                    Answer::Leave => return session.send(b"OK", from, to),
                    Answer::Kill => return Ok(()),
                }
                if packet == b"QStartNoAckMode" {
                    session.is_acknowledged = false;
                }
            }
        }
    }
}

enum Answer {
    Text(String),
    Bytes(Vec<u8>),
    /// The target cannot be continued.
    Resume,
    /// The debugger leaves.
    Leave,
    /// It leaves without waiting for an answer.
    Kill,
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

struct Session<'a> {
    target: &'a dyn Target,
    /// The thread whose registers are asked for; `None` for the first.
    thread: Option<ThreadId>,
    /// Whether each packet is acknowledged, as it is until both sides agree otherwise.
    is_acknowledged: bool,
}

impl Session<'_> {
    fn send(&self, payload: &[u8], from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
        for _ in 0..TRIES {
            packet::write(to, payload)?;
            if !self.is_acknowledged || packet::read(from)? != Event::Nak {
                break;
            }
        }
        Ok(())
    }

    fn current(&self) -> ThreadId {
        self.thread.or_else(|| self.target.threads().first().copied()).unwrap_or(1)
    }

    fn answer(&mut self, packet: &[u8]) -> Answer {
        let Some((&kind, rest)) = packet.split_first() else { return "".into() };
        match kind {
            b'?' => Answer::Text(self.stopped(self.current())),
            b'g' => Answer::Text(self.registers(self.current())),
            b'p' => self.register(rest),
            b'm' => self.memory(rest).map_or(FAILED.into(), |bytes| Answer::Text(to_hex(&bytes))),
            b'x' => self.binary_memory(rest),
            b'H' => self.select(rest),
            b'T' => match thread(rest).is_some_and(|thread| self.target.threads().contains(&thread)) {
                true => "OK".into(),
                false => FAILED.into(),
            },
            // Nothing can be written.
            b'G' | b'P' | b'M' | b'X' => FAILED.into(),
            b'c' | b'C' | b's' | b'S' => Answer::Resume,
            b'D' => Answer::Leave,
            b'k' => Answer::Kill,
            b'q' | b'Q' | b'v' | b'j' => self.query(packet),
            _ => "".into(),
        }
    }

    fn query(&self, packet: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(packet);
        let end = text.find([':', ';', ',']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let rest = rest.get(1..).unwrap_or_default();
        match name {
            "qSupported" => Answer::Text(format!(
                "PacketSize={:x};QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;qXfer:libraries:read+;\
                 vContSupported+",
                2 * MOST_MEMORY + 16
            )),
            "QStartNoAckMode" | "QThreadSuffixSupported" | "QListThreadsInStopReply" | "QEnableErrorStrings" => {
                "OK".into()
            }
            "qSymbol" => "OK".into(),
            "qAttached" => "1".into(),
            "qC" => Answer::Text(format!("QC{:x}", self.current())),
            "qOffsets" => {
                let slide = self.target.slide();
                Answer::Text(format!("Text={slide:x};Data={slide:x};Bss={slide:x}"))
            }
            "qfThreadInfo" => {
                let threads: Vec<String> = self.target.threads().iter().map(|thread| format!("{thread:x}")).collect();
                Answer::Text(format!("m{}", threads.join(",")))
            }
            "qsThreadInfo" => "l".into(),
            "qThreadExtraInfo" => match thread(rest.as_bytes()).and_then(|thread| self.target.thread_name(thread)) {
                Some(name) => Answer::Text(to_hex(name.as_bytes())),
                None => "".into(),
            },
            "qRcmd" => self.monitor(rest),
            "qXfer" => self.document(rest),
            "qHostInfo" => {
                let architecture = self.target.architecture();
                let triple = to_hex(architecture.triple().as_bytes());
                Answer::Text(format!("triple:{triple};ptrsize:{};endian:little;", architecture.address_size()))
            }
            "qProcessInfo" => {
                let architecture = self.target.architecture();
                let triple = to_hex(architecture.triple().as_bytes());
                let size = architecture.address_size();
                Answer::Text(format!("pid:1;parent-pid:0;triple:{triple};ptrsize:{size};endian:little;"))
            }
            "vCont?" => "vCont;c;C;s;S".into(),
            "vCont" => Answer::Resume,
            "vKill" => Answer::Leave,
            "jThreadsInfo" => Answer::Text(self.threads_json()),
            _ => match text.strip_prefix("qThreadStopInfo").and_then(|rest| thread(rest.as_bytes())) {
                Some(thread) => Answer::Text(self.stopped(thread)),
                None => "".into(),
            },
        }
    }

    /// Why a thread stands still: as the others do.
    fn stopped(&self, thread: ThreadId) -> String {
        let mut text = format!("T{SIGNAL:02x}thread:{thread:x};");
        if let Some(name) = self.target.thread_name(thread) {
            text += &format!("hexname:{};", to_hex(name.as_bytes()));
        }
        text
    }

    fn registers(&self, thread: ThreadId) -> String {
        let values = self.target.registers(thread);
        let registers = self.target.architecture().registers().iter().enumerate();
        registers.map(|(number, register)| value(register, values.get(number).copied().flatten())).collect()
    }

    fn register(&self, rest: &[u8]) -> Answer {
        // LLDB may name the thread after the number.
        let digits = rest.split(|&byte| byte == b';').next().unwrap_or_default();
        let of = named_thread(rest).unwrap_or_else(|| self.current());
        let number = number(digits).and_then(|number| usize::try_from(number).ok());
        match number.and_then(|number| Some((number, self.target.architecture().registers().get(number)?))) {
            Some((number, register)) => {
                let known = self.target.registers(of).get(number).copied().flatten();
                Answer::Text(value(register, known))
            }
            None => FAILED.into(),
        }
    }

    /// Memory at `ADDRESS,LENGTH`, as far as it is there; `None` if not even the first byte is.
    fn memory(&self, rest: &[u8]) -> Option<Vec<u8>> {
        let mut parts = rest.split(|&byte| byte == b',' || byte == b';');
        let address = number(parts.next()?)?;
        let length = usize::try_from(number(parts.next()?)?).ok()?;
        let mut bytes = vec![0; length.min(MOST_MEMORY)];
        let read = self.target.read(address, &mut bytes);
        bytes.truncate(read);
        (read > 0 || length == 0).then_some(bytes)
    }

    /// The same as bytes, as LLDB wants it. A length of 0 asks whether this is known.
    fn binary_memory(&self, rest: &[u8]) -> Answer {
        match self.memory(rest) {
            Some(bytes) if bytes.is_empty() => "OK".into(),
            Some(bytes) => Answer::Bytes(bytes),
            None => FAILED.into(),
        }
    }

    fn select(&mut self, rest: &[u8]) -> Answer {
        let Some((&operation, id)) = rest.split_first() else { return FAILED.into() };
        match (operation, id) {
            // -1 is all, 0 is any.
            (_, b"-1" | b"0") => {}
            (b'g', id) => match thread(id).filter(|thread| self.target.threads().contains(thread)) {
                Some(thread) => self.thread = Some(thread),
                None => return FAILED.into(),
            },
            _ => {}
        }
        "OK".into()
    }

    fn monitor(&self, rest: &str) -> Answer {
        let command = from_hex(rest.as_bytes()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let Some(command) = command else { return FAILED.into() };
        let said = self.target.monitor(command.trim()).unwrap_or_else(|| format!("there is no command {command:?}\n"));
        match said.is_empty() {
            true => "OK".into(),
            false => Answer::Text(to_hex(said.as_bytes())),
        }
    }

    /// A part of a document: `OBJECT:read:ANNEX:OFFSET,LENGTH`.
    fn document(&self, request: &str) -> Answer {
        let mut words = request.split(':');
        let document = match (words.next(), words.next(), words.next()) {
            (Some("features"), Some("read"), Some("target.xml")) => self.target.architecture().description(),
            (Some("threads"), Some("read"), Some("")) => self.threads_xml(),
            (Some("libraries"), Some("read"), Some("")) => self.libraries_xml(),
            _ => return "E00".into(),
        };
        let range = words.next().and_then(|range| range.split_once(','));
        let range = range.and_then(|(offset, length)| Some((number(offset.as_bytes())?, number(length.as_bytes())?)));
        let Some((offset, length)) = range else { return FAILED.into() };
        let bytes = document.as_bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX).min(MOST_MEMORY)).min(bytes.len());
        let mut answer = vec![if end < bytes.len() { b'm' } else { b'l' }];
        answer.extend(bytes.get(start..end).unwrap_or_default());
        Answer::Bytes(answer)
    }

    fn threads_xml(&self) -> String {
        let mut text = "<?xml version=\"1.0\"?>\n<threads>\n".to_owned();
        for thread in self.target.threads() {
            let name = self.target.thread_name(thread).map(|name| format!(" name=\"{}\"", escaped(&name)));
            text += &format!("<thread id=\"{thread:x}\"{}/>\n", name.unwrap_or_default());
        }
        text + "</threads>\n"
    }

    fn libraries_xml(&self) -> String {
        let mut text = "<library-list>\n".to_owned();
        for (name, address) in self.target.modules() {
            let name = escaped(&name);
            text += &format!("<library name=\"{name}\"><section address=\"0x{address:x}\"/></library>\n");
        }
        text + "</library-list>\n"
    }

    /// What LLDB asks for all threads at once.
    fn threads_json(&self) -> String {
        let thread = |id: &ThreadId| {
            let name = self.target.thread_name(*id).map(|name| format!(",\"name\":\"{}\"", json_escaped(&name)));
            format!("{{\"tid\":{id},\"signal\":{SIGNAL}{}}}", name.unwrap_or_default())
        };
        format!("[{}]", self.target.threads().iter().map(thread).collect::<Vec<String>>().join(","))
    }
}

/// A value in the target's order of bytes, which is the least significant first for all processors here; `x` for what
/// is not known.
fn value(register: &Register, value: Option<u64>) -> String {
    let size = usize::from(register.bits / 8);
    match value {
        Some(value) if size <= 8 => to_hex(value.to_le_bytes().get(..size).unwrap_or_default()),
        _ => "x".repeat(2 * size),
    }
}

/// A thread's number; `pPROCESS.THREAD` is understood, too.
fn thread(id: &[u8]) -> Option<ThreadId> {
    let digits = match id.strip_prefix(b"p") {
        Some(rest) => rest.split(|&byte| byte == b'.').nth(1)?,
        None => id,
    };
    number(digits)
}

/// The thread in `...;thread:ID;`.
fn named_thread(rest: &[u8]) -> Option<ThreadId> {
    let mut parts = rest.split(|&byte| byte == b';');
    parts.find_map(|part| thread(part.strip_prefix(b"thread:")?))
}

fn escaped(text: &str) -> String {
    let plain = text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    plain.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn json_escaped(text: &str) -> String {
    let plain = text.replace('\\', "\\\\").replace('"', "\\\"");
    plain.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The values in an answer to `g`, by register.
pub(crate) fn values(architecture: Architecture, digits: &[u8]) -> Vec<Option<u64>> {
    let mut at = 0;
    let registers = architecture.registers().iter();
    registers
        .map(|register| {
            let size = usize::from(register.bits / 8);
            let bytes = digits.get(at..at + 2 * size).and_then(from_hex);
            at += 2 * size;
            let mut word = [0; 8];
            word.get_mut(..size)?.copy_from_slice(&bytes?);
            Some(u64::from_le_bytes(word))
        })
        .collect()
}
