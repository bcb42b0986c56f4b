//! Why the memory of a dump cannot be opened, and why a piece of it cannot be read.

use std::io;

use crate::arch::Architecture;

/// Why the memory of a dump cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes of the dump cannot be read.
    #[error("{what} of the dump cannot be read: {source}")]
    Io {
        /// Which part.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are no dump that is known.
    #[error("this is no kernel dump: it begins with {found}, neither as a minidump nor as an ELF core")]
    NotADump {
        /// The first bytes.
        found: String,
    },
    /// A version of the format that is not known.
    #[error("the minidump of {architecture} has version {found}; versions 1 to {newest} are known")]
    Version {
        /// The architecture.
        architecture: Architecture,
        /// The version in the header.
        found: u32,
        /// The newest that is known.
        newest: u32,
    },
    /// A value that cannot be.
    #[error("{what} is {found}, expected {expected}")]
    Malformed {
        /// Structure and field.
        what: &'static str,
        /// The value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A part of the format that this reader does not know.
    #[error("{what} is not supported")]
    Unsupported {
        /// The part.
        what: String,
    },
}

impl Error {
    pub(crate) fn malformed(what: &'static str, found: impl ToString, expected: impl ToString) -> Self {
        Self::Malformed { what, found: found.to_string(), expected: expected.to_string() }
    }
}

/// Why an address cannot be read or translated. Memory that is missing is never read as zeros.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No page is mapped at the virtual address.
    #[error("virtual address {address:#x} is not mapped")]
    NotMapped {
        /// The virtual address.
        address: u64,
    },
    /// The physical page is not in the dump.
    #[error("{}physical address {physical:#x} is not in the dump", via(.address))]
    NotPresent {
        /// The virtual address that led there, if it was one.
        address: Option<u64>,
        /// The physical address.
        physical: u64,
    },
    /// The page is in the dump, but its bytes never arrived, or the file ends before them.
    #[error("{}physical address {physical:#x} is at byte {offset} of the dump, which never arrived", via(.address))]
    Lost {
        /// The virtual address that led there, if it was one.
        address: Option<u64>,
        /// The physical address.
        physical: u64,
        /// Where in the dump its bytes should be.
        offset: u64,
    },
    /// A page of page tables that is needed is not in the dump.
    #[error(
        "virtual address {address:#x} cannot be translated: the page table at physical address {table:#x} is not in the dump"
    )]
    NoTable {
        /// The virtual address.
        address: u64,
        /// The physical address of the table's entry.
        table: u64,
    },
    /// Nothing says where the kernel's page tables are.
    #[error("virtual address {address:#x} cannot be translated: {why}")]
    NoTables {
        /// The virtual address.
        address: u64,
        /// Why, and what to do.
        why: &'static str,
    },
    /// More page tables than there are pages: they refer to each other.
    #[error(
        "the page tables are absurd: walking from virtual address {address:#x} on visits more tables than the dump has pages"
    )]
    Absurd {
        /// The virtual address that was reached.
        address: u64,
    },
    /// No message buffer where one should be.
    #[error("there is no message buffer at virtual address {address:#x}: {found}")]
    NoMessageBuffer {
        /// The virtual address of its structure.
        address: u64,
        /// What is there.
        found: String,
    },
    /// The range wraps around the end of the address space.
    #[error("{length} bytes from address {address:#x} on go beyond the end of the address space")]
    Wraps {
        /// The first address.
        address: u64,
        /// How many bytes were asked for.
        length: u64,
    },
    /// The bytes cannot be read.
    #[error("{}physical address {physical:#x} cannot be read: {source}", via(.address))]
    Io {
        /// The virtual address that led there, if it was one.
        address: Option<u64>,
        /// The physical address; for tables inside the dump's own structures, the place in the file.
        physical: u64,
        /// What the system says.
        source: io::Error,
    },
}

fn via(address: &Option<u64>) -> String {
    address.map_or_else(String::new, |address| format!("virtual address {address:#x}: "))
}

impl Fault {
    /// The same fault, met on the way from virtual address `address`.
    pub(crate) fn at(self, address: u64) -> Self {
        let address = Some(address);
        match self {
            Self::NotPresent { physical, .. } => Self::NotPresent { address, physical },
            Self::Lost { physical, offset, .. } => Self::Lost { address, physical, offset },
            Self::Io { physical, source, .. } => Self::Io { address, physical, source },
            other => other,
        }
    }
}
