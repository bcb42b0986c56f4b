//! What goes over the wire: messages from the client, acknowledgements from the server
//! (`sys/net/debugnet.h`, `sys/netinet/netdump/netdump.h`). Every field is big-endian.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | kind |
//! | 4 | 4 | sequence number |
//! | 8 | 8 | offset of the data, in bytes |
//! | 16 | 4 | size of the data, in bytes |
//! | 20 | 4 | for the consumer of the protocol; netdump sends 0 |
//! | 24 | | the data |

/// The port to which heralds are sent.
pub const PORT: u16 = 20023;
/// The client's port, to which acknowledgements are sent.
pub const ACK_PORT: u16 = 20024;
/// The size in bytes of what is before the data of a message.
pub const HEADER_SIZE: usize = 24;
/// The size in bytes of an acknowledgement.
pub const ACK_SIZE: usize = 4;
/// How many packets a client has on the way at a time, at most (`DEBUGNET_MAX_IN_FLIGHT`).
pub const MAX_IN_FLIGHT: usize = 64;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client begins, perhaps with a path for its dump.
    Herald,
    /// The client has sent everything.
    Finished,
    /// Bytes of the dump.
    Vmcore,
    /// The kernel dump header.
    Header,
    /// Bytes of the key block of an encrypted dump.
    Key,
}

impl Kind {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Kind::Herald => 1,
            Kind::Finished => 2,
            Kind::Vmcore => 3,
            Kind::Header => 4,
            Kind::Key => 5,
        }
    }

    /// The kind of that number.
    pub fn from_number(number: u32) -> Option<Kind> {
        [Kind::Herald, Kind::Finished, Kind::Vmcore, Kind::Header, Kind::Key]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// A message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its number: 1 for the herald, one more for each packet after it.
    pub sequence: u32,
    /// Where the data belong, in bytes.
    pub offset: u64,
    /// What it brings.
    pub data: &'a [u8],
}

/// Why a packet is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It is too short.
    #[error("{size} bytes, where a message has at least 24")]
    Short {
        /// Its size in bytes.
        size: usize,
    },
    /// It does not have as many data as it says.
    #[error("{there} bytes of data, where {said} are announced")]
    Length {
        /// What it says.
        said: u32,
        /// What is there.
        there: usize,
    },
    /// Its kind is not known.
    #[error("a message of kind {number}: 1 to 5 are known")]
    Kind {
        /// The number of its kind.
        number: u32,
    },
    /// Its data do not belong where it says they do.
    #[error("{size} bytes at offset {offset}, where they cannot be")]
    Offset {
        /// The offset.
        offset: u64,
        /// The size of the data.
        size: usize,
    },
}

impl<'a> Message<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// If it is no message, or its data would end behind 2^63 - 1, the last offset that a file can have.
    pub fn parse(packet: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let short = Malformed::Short { size: packet.len() };
        let (header, data) = packet.split_first_chunk::<HEADER_SIZE>().ok_or(short)?;
        let [kind, sequence, high, low, said, _] = *header.as_chunks::<4>().0 else { return Err(short) };
        let number = u32::from_be_bytes(kind);
        let kind = Kind::from_number(number).ok_or(Malformed::Kind { number })?;
        let said = u32::from_be_bytes(said);
        if usize::try_from(said) != Ok(data.len()) {
            return Err(Malformed::Length { said, there: data.len() });
        }
        let offset = u64::from(u32::from_be_bytes(high)) << 32 | u64::from(u32::from_be_bytes(low));
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Malformed::Offset { offset, size: data.len() });
        }
        Ok(Message { kind, sequence: u32::from_be_bytes(sequence), offset, data })
    }

    /// What is sent before the data.
    pub fn header(&self) -> [u8; HEADER_SIZE] {
        let mut header = [0; HEADER_SIZE];
        let size = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        let fields = [self.kind.number(), self.sequence, (self.offset >> 32) as u32, self.offset as u32, size];
        for (to, field) in header.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *to = field.to_be_bytes();
        }
        header
    }
}

/// The acknowledgement of a message.
pub fn acknowledgement(sequence: u32) -> [u8; ACK_SIZE] {
    sequence.to_be_bytes()
}

/// The sequence number that a packet acknowledges, if it is an acknowledgement.
pub fn acknowledged(packet: &[u8]) -> Option<u32> {
    packet.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first packets of a real dump begin like these.
    #[test]
    fn a_message_has_its_fields_where_the_kernel_puts_them() {
        let message = Message { kind: Kind::Vmcore, sequence: 0x0102_0304, offset: 0x0a_0000_1448, data: b"abc" };
        let header = message.header();
        assert_eq!(
            header,
            [0, 0, 0, 3, 1, 2, 3, 4, 0, 0, 0, 0x0a, 0, 0, 0x14, 0x48, 0, 0, 0, 3, 0, 0, 0, 0],
            "{header:x?}"
        );
        assert_eq!(acknowledgement(0x0102_0304), [1, 2, 3, 4]);
    }

    #[test]
    fn every_field_that_lies_is_seen() {
        let packet = |change: fn(&mut Vec<u8>)| {
            let message = Message { kind: Kind::Key, sequence: 7, offset: 0, data: b"abc" };
            let mut packet = [&message.header()[..], message.data].concat();
            change(&mut packet);
            Message::parse(&packet).map(|message| message.kind)
        };
        assert_eq!(packet(|_| ()), Ok(Kind::Key));
        assert_eq!(packet(|packet| packet.truncate(23)), Err(Malformed::Short { size: 23 }));
        assert_eq!(packet(|packet| packet.push(0)), Err(Malformed::Length { said: 3, there: 4 }));
        assert_eq!(packet(|packet| packet[16] = 0xff), Err(Malformed::Length { said: 0xff00_0003, there: 3 }));
        assert_eq!(packet(|packet| packet[3] = 6), Err(Malformed::Kind { number: 6 }));
        assert_eq!(packet(|packet| packet[3] = 0), Err(Malformed::Kind { number: 0 }));
        let far = Err(Malformed::Offset { offset: u64::MAX - 2, size: 3 });
        assert_eq!(packet(|packet| (packet[8..15].fill(0xff), packet[15] = 0xfd).1), far);
        assert_eq!(packet(|packet| packet[8] = 0x80), Err(Malformed::Offset { offset: 1 << 63, size: 3 }));
    }

    proptest! {
        #[test]
        fn what_was_made_is_read_back(kind in 1..=5u32, sequence: u32, offset in 0..1u64 << 62, data: Vec<u8>) {
            let message = Message { kind: Kind::from_number(kind).unwrap(), sequence, offset, data: &data };
            let packet = [&message.header()[..], &data].concat();
            prop_assert_eq!(Message::parse(&packet), Ok(message));
            prop_assert_eq!(acknowledged(&acknowledgement(sequence)), Some(sequence));
        }

        #[test]
        fn any_bytes_are_a_message_or_refused(packet: Vec<u8>) {
            let _ = Message::parse(&packet);
            let _ = acknowledged(&packet);
        }
    }
}
