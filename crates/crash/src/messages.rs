//! The message buffer (`sys/msgbuf.h`): what the kernel printed last.

use serde::Serialize;

use crate::dump::Crash;
use crate::error::{Error, Result};

/// The largest buffer that is read from a live kernel.
const MOST: u64 = 64 << 20;

/// What the kernel printed, the oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct Messages {
    /// All of it, without the priorities such as `<118>` that begin the messages of user programs.
    pub text: String,
    /// Its end: what nobody had read when the kernel stopped, and so is in no log.
    pub unread: String,
    /// Whether it is known where the text begins; if not, the newest may stand first.
    pub ordered: bool,
}

/// Reads the message buffer.
///
/// # Errors
/// If it is not there.
pub fn messages(crash: &Crash) -> Result<Messages> {
    let pointer = crash.program().symbol("msgbufp").and_then(|symbol| crash.program().read_word(symbol.address));
    if let Some(dump) = crash.dump() {
        let by_symbol = pointer.as_ref().ok().and_then(|at| dump.memory.message_buffer_at(*at).ok());
        // A minidump has a copy of it.
        let found = match by_symbol {
            Some(found) => Some(found),
            None => dump.memory.message_buffer().map_err(|fault| Error::absent(fault.to_string()))?,
        };
        let found = found.ok_or_else(|| Error::absent("the message buffer is not in the dump"))?;
        let (text, unread) = (plain(&found.text), plain(found.unread_text()));
        return Ok(Messages { text, unread, ordered: found.ordered });
    }
    let program = crash.program();
    let buffer = program.variable("msgbufp")?.deref()?;
    let field = |name: &str| buffer.field(name)?.unsigned();
    let (size, written, read) = (field("msg_size")?, field("msg_wseq")?, field("msg_rseq")?);
    if size == 0 || size > MOST {
        return Err(Error::absent(format!("the message buffer has a size of {size} bytes, which cannot be")));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    program.read(field("msg_ptr")?, &mut bytes).map_err(symbols::Error::from)?;
    bytes.rotate_left(usize::try_from(written % size).unwrap_or(0));
    let waiting = usize::try_from(written.saturating_sub(read).min(size)).unwrap_or(0);
    let unread = bytes.split_at(bytes.len().saturating_sub(waiting)).1.to_vec();
    Ok(Messages { text: plain(&bytes), unread: plain(&unread), ordered: true })
}

/// Text without what was never written and without priorities at the beginning of lines.
fn plain(bytes: &[u8]) -> String {
    let written: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&written);
    let mut plain = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        plain += without_priority(line);
    }
    plain
}

fn without_priority(line: &str) -> &str {
    let rest = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match rest {
        Some((number, rest)) if (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            rest
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_left_out_and_nothing_else() {
        assert_eq!(plain(b"\0\0<118>Mounting\n<5>a <6>b\n<x>c\n<>\n<1234>"), "Mounting\na <6>b\n<x>c\n<>\n<1234>");
    }
}
