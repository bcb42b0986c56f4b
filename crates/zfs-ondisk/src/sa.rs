//! System attributes (`sys/sa_impl.h`): what a file is, in the bonus buffer of
//! its dnode and, where that is too small, in a spill block.
//!
//! A file system names its attributes in a *registry* and lists the orders in
//! which they are stored, the *layouts*. A buffer begins with a header:
//!
//! ```text
//! 0  magic (32 bit)
//! 4  layout number (10 bit), header length in units of 8 bytes (6 bit)
//! 6  lengths (16 bit each) of the attributes of variable size, in order
//! ```
//!
//! The attributes follow, each at a multiple of 8 bytes.

use std::collections::HashMap;

use crate::bytes::{Put, Truncated, View};

/// "ZFS SA"
pub const MAGIC: u32 = 0x2f_505a;
/// Names in the SA master node: the registry.
pub const REGISTRY: &str = "REGISTRY";
/// Names in the SA master node: the layouts.
pub const LAYOUTS: &str = "LAYOUTS";
/// The first number of a layout that a file system may choose.
pub const FIRST_LAYOUT: u16 = 2;
/// The largest spill block in bytes.
pub const MAX_SPILL: usize = 128 << 10;

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $size:literal, $swap:literal;)*) => {
        /// An attribute of files. The numbers are those that OpenZFS registers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Attribute {
            $($(#[$doc])* $name = $number,)*
        }

        impl Attribute {
            /// All attributes, by number.
            pub const ALL: &[Attribute] = &[$(Attribute::$name),*];

            /// The name in the registry.
            pub fn name(self) -> &'static str {
                match self { $(Attribute::$name => $text,)* }
            }

            /// Bytes of the value; 0 if that varies.
            pub fn size(self) -> usize {
                match self { $(Attribute::$name => $size,)* }
            }

            fn byte_swap(self) -> u64 {
                match self { $(Attribute::$name => $swap,)* }
            }
        }
    };
}

attributes! {
    /// Last access: seconds, nanoseconds.
    Atime = 0, "ZPL_ATIME", 16, 0;
    /// Last change of the contents.
    Mtime = 1, "ZPL_MTIME", 16, 0;
    /// Last change of the attributes.
    Ctime = 2, "ZPL_CTIME", 16, 0;
    /// Birth.
    Crtime = 3, "ZPL_CRTIME", 16, 0;
    /// Transaction group of birth.
    Gen = 4, "ZPL_GEN", 8, 0;
    /// Type and permissions, as in `st_mode`.
    Mode = 5, "ZPL_MODE", 8, 0;
    /// Length in bytes; of a directory, entries with `.` and `..`.
    Size = 6, "ZPL_SIZE", 8, 0;
    /// Object of the directory; of a root, itself.
    Parent = 7, "ZPL_PARENT", 8, 0;
    /// Number of names.
    Links = 8, "ZPL_LINKS", 8, 0;
    /// Object of the directory of extended attributes.
    Xattr = 9, "ZPL_XATTR", 8, 0;
    /// Device number.
    Rdev = 10, "ZPL_RDEV", 8, 0;
    /// Bits of [`crate::znode::flag`].
    Flags = 11, "ZPL_FLAGS", 8, 0;
    /// Owner.
    Uid = 12, "ZPL_UID", 8, 0;
    /// Group.
    Gid = 13, "ZPL_GID", 8, 0;
    /// Unused.
    Pad = 14, "ZPL_PAD", 32, 0;
    /// The ACL of file systems of old.
    ZnodeAcl = 15, "ZPL_ZNODE_ACL", 88, 3;
    /// Entries of the ACL.
    DaclCount = 16, "ZPL_DACL_COUNT", 8, 0;
    /// Target of a symbolic link.
    Symlink = 17, "ZPL_SYMLINK", 0, 3;
    /// Result of a scan for viruses.
    Scanstamp = 18, "ZPL_SCANSTAMP", 32, 3;
    /// The ACL ([`crate::acl`]).
    DaclAces = 19, "ZPL_DACL_ACES", 0, 4;
    /// Extended attributes: an XDR packed nvlist of byte arrays.
    Dxattr = 20, "ZPL_DXATTR", 0, 3;
    /// Project.
    Projid = 21, "ZPL_PROJID", 8, 0;
}

impl Attribute {
    /// The value in the registry: length, how to swap bytes, number.
    pub fn registration(self) -> u64 {
        (self.size() as u64) << 24 | self.byte_swap() << 16 | self as u64
    }
}

/// The layouts of a file system being written: an order of attributes gets the
/// next number when it first occurs.
#[derive(Clone, Debug, Default)]
pub struct Layouts {
    orders: Vec<Vec<Attribute>>,
}

impl Layouts {
    /// The number of the layout with this order.
    pub fn number(&mut self, order: &[Attribute]) -> u16 {
        let index = self.orders.iter().position(|known| known == order).unwrap_or_else(|| {
            self.orders.push(order.to_vec());
            self.orders.len() - 1
        });
        FIRST_LAYOUT + index as u16
    }

    /// Layouts by number.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[Attribute])> {
        self.orders.iter().enumerate().map(|(index, order)| (FIRST_LAYOUT + index as u16, order.as_slice()))
    }
}

/// Attributes in their on-disk form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The bonus buffer.
    pub bonus: Vec<u8>,
    /// The contents of the spill block, not padded.
    pub spill: Option<Vec<u8>>,
}

/// Attributes do not fit even with a spill block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attributes take {size} bytes and a spill block holds {MAX_SPILL}")]
pub struct TooLong {
    /// Bytes that the attributes take.
    pub size: usize,
}

/// Packs attributes, in the given order, into a bonus buffer of `capacity`
/// bytes; if they do not fit, into one of `capacity_with_spill` bytes and a
/// spill block, which takes the attributes from the first that does not fit on.
///
/// # Errors
/// [`TooLong`] if the spill block is not long enough either.
pub fn pack(
    attributes: &[(Attribute, Vec<u8>)],
    capacity: usize,
    capacity_with_spill: usize,
    layouts: &mut Layouts,
) -> Result<Packed, TooLong> {
    if packed_size(attributes) <= capacity {
        return Ok(Packed { bonus: pack_buffer(attributes, layouts), spill: None });
    }
    let fits = |count: &usize| packed_size(&attributes[..*count]) <= capacity_with_spill;
    let split = (0..attributes.len()).rev().find(fits).unwrap_or(0);
    let (head, tail) = attributes.split_at(split);
    let size = packed_size(tail);
    if size > MAX_SPILL {
        return Err(TooLong { size });
    }
    Ok(Packed { bonus: pack_buffer(head, layouts), spill: Some(pack_buffer(tail, layouts)) })
}

/// The registry and layouts of a file system being read.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    attributes: HashMap<u16, (String, usize)>,
    layouts: HashMap<u16, Vec<u16>>,
}

/// Why a buffer's attributes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends too early.
    #[error("system attributes: {0}")]
    Truncated(#[from] Truncated),
    /// It is no buffer of attributes.
    #[error("system attributes: magic number {0:#x} found, {MAGIC:#x} expected")]
    Magic(u32),
    /// Its layout is not among those of the file system.
    #[error("system attributes: layout {0} is not known")]
    Layout(u16),
    /// Its layout has an attribute that is not registered.
    #[error("system attributes: attribute {0} is not registered")]
    Unregistered(u16),
}

impl Schema {
    /// Adds an attribute from an entry of the registry.
    pub fn register(&mut self, name: &str, registration: u64) {
        self.attributes.insert(registration as u16, (name.to_owned(), (registration >> 24) as u16 as usize));
    }

    /// Adds a layout from an entry of the list of layouts.
    pub fn add_layout(&mut self, number: u16, order: Vec<u16>) {
        self.layouts.insert(number, order);
    }

    /// The attributes of a buffer by name, in their order, as stored.
    ///
    /// # Errors
    /// If the buffer contradicts itself or the schema.
    pub fn attributes<'a>(&self, view: &View<'a>) -> Result<Vec<(&str, View<'a>)>, Error> {
        let magic = view.u32(0)?;
        if magic != MAGIC {
            return Err(Error::Magic(magic));
        }
        let info = view.u16(4)?;
        // Number 0 stands for the layout of file systems of old, which has number 1.
        let number = (info & 0x3ff).max(1);
        let order = self.layouts.get(&number).ok_or(Error::Layout(number))?;
        let mut offset = (info >> 10) as usize * 8;
        let mut varying = 0;
        let mut found = Vec::with_capacity(order.len());
        for &attribute in order {
            let (name, size) = self.attributes.get(&attribute).ok_or(Error::Unregistered(attribute))?;
            let size = match size {
                0 => {
                    varying += 1;
                    view.u16(6 + (varying - 1) * 2)? as usize
                }
                &size => size,
            };
            found.push((name.as_str(), view.view(offset, size)?));
            offset += size.next_multiple_of(8);
        }
        Ok(found)
    }
}

fn varying(attributes: &[(Attribute, Vec<u8>)]) -> impl Iterator<Item = &Vec<u8>> {
    attributes.iter().filter(|(attribute, _)| attribute.size() == 0).map(|(_, value)| value)
}

fn header_size(attributes: &[(Attribute, Vec<u8>)]) -> usize {
    (6 + varying(attributes).count() * 2).next_multiple_of(8).max(8)
}

fn packed_size(attributes: &[(Attribute, Vec<u8>)]) -> usize {
    attributes.iter().fold(header_size(attributes), |size, (_, value)| size + value.len().next_multiple_of(8))
}

fn pack_buffer(attributes: &[(Attribute, Vec<u8>)], layouts: &mut Layouts) -> Vec<u8> {
    let order: Vec<Attribute> = attributes.iter().map(|(attribute, _)| *attribute).collect();
    let header = header_size(attributes);
    let mut buffer = vec![0; packed_size(attributes)];
    buffer.put_u32(0, MAGIC);
    buffer.put_u16(4, layouts.number(&order) | ((header / 8) as u16) << 10);
    for (index, value) in varying(attributes).enumerate() {
        buffer.put_u16(6 + index * 2, value.len() as u16);
    }
    let mut offset = header;
    for (_, value) in attributes {
        buffer.put_bytes(offset, value);
        offset += value.len().next_multiple_of(8);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;

    fn schema(layouts: &Layouts) -> Schema {
        let mut schema = Schema::default();
        for &attribute in Attribute::ALL {
            schema.register(attribute.name(), attribute.registration());
        }
        for (number, order) in layouts.iter() {
            schema.add_layout(number, order.iter().map(|&attribute| attribute as u16).collect());
        }
        schema
    }

    #[test]
    fn registrations_are_those_of_openzfs() {
        assert_eq!(Attribute::Crtime.registration(), 0x1000_0003);
        assert_eq!(Attribute::DaclAces.registration(), 0x4_0013);
        assert_eq!(Attribute::ZnodeAcl.registration(), 0x5803_000f);
    }

    #[test]
    fn attributes_are_read_as_they_were_packed() {
        let attributes =
            vec![(Attribute::Mode, vec![1; 8]), (Attribute::DaclAces, vec![2; 24]), (Attribute::Symlink, vec![3; 13])];
        let mut layouts = Layouts::default();
        let packed = pack(&attributes, 320, 192, &mut layouts).unwrap();
        assert_eq!(packed.spill, None);
        let schema = schema(&layouts);
        let found = schema.attributes(&View::new(&packed.bonus, ByteOrder::Little)).unwrap();
        let found: Vec<_> = found.iter().map(|(name, view)| (*name, view.as_bytes().to_vec())).collect();
        let expected: Vec<_> = attributes.into_iter().map(|(attribute, value)| (attribute.name(), value)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_does_not_fit_goes_to_the_spill_block() {
        let attributes = vec![(Attribute::Mode, vec![1; 8]), (Attribute::Symlink, vec![3; 1000])];
        let mut layouts = Layouts::default();
        let packed = pack(&attributes, 320, 192, &mut layouts).unwrap();
        assert_eq!(packed.bonus.len(), 16);
        let spill = packed.spill.unwrap();
        let schema = schema(&layouts);
        let found = schema.attributes(&View::new(&spill, ByteOrder::Little)).unwrap();
        assert_eq!((found[0].0, found[0].1.len()), ("ZPL_SYMLINK", 1000));
        assert_eq!(layouts.iter().count(), 2);
    }

    #[test]
    fn attributes_longer_than_a_spill_block_are_refused() {
        let attributes = vec![(Attribute::Dxattr, vec![0; MAX_SPILL])];
        assert!(pack(&attributes, 320, 192, &mut Layouts::default()).is_err());
    }
}
