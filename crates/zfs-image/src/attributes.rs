//! What a file of the tree is, as system attributes.

use tree::{Kind, Namespace, Node, NodeId, Timestamp, Tree, Who, Xattr};
use zfs_ondisk::acl::{self, Ace};
use zfs_ondisk::nvlist::{NvList, Value};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::sa::Attribute;
use zfs_ondisk::znode::{self, flag};

use crate::error::Error;
use crate::settings::XattrStyle;
use crate::store::BIRTH_TXG;

/// The longest packed list of extended attributes among the system attributes
/// (`DXATTR_MAX_SA_SIZE`).
const MAX_DXATTR: usize = 64 << 10;
/// The longest extended attribute there (`DXATTR_MAX_ENTRY_SIZE`).
const MAX_DXATTR_ENTRY: usize = 32 << 10;

/// A file's place among the objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The directory it is in.
    pub(crate) parent: ObjectId,
    /// Its names, or for a directory 2 and its subdirectories.
    pub(crate) links: u64,
    /// Its bytes, or for a directory 2 and its entries.
    pub(crate) size: u64,
    /// Its directory of extended attributes.
    pub(crate) xattr_directory: Option<ObjectId>,
}

/// Where a node's extended attributes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum XattrPlan {
    /// There are none.
    None,
    /// Among its system attributes.
    System,
    /// Into a directory with a file each: these, by their index.
    Directory(Vec<usize>),
}

/// Type and permissions of a node, as in `st_mode`.
pub(crate) fn mode(tree: &Tree, node: NodeId) -> u32 {
    mode_of(&tree.node(node))
}

/// A path for messages.
pub(crate) fn printable(path: &[u8]) -> String {
    path.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

/// Where the extended attributes of a node go.
pub(crate) fn xattr_plan(tree: &Tree, node: NodeId, style: XattrStyle, posix_acls: bool) -> Result<XattrPlan, Error> {
    let kept: Vec<usize> = tree
        .xattrs(node)
        .iter()
        .enumerate()
        .filter(|(_, xattr)| posix_acls || xattr.namespace != Namespace::PosixAcl)
        .map(|(index, _)| index)
        .collect();
    if kept.is_empty() {
        return Ok(XattrPlan::None);
    }
    let small = tree.xattrs(node).iter().all(|xattr| xattr.value.len() <= MAX_DXATTR_ENTRY);
    if style == XattrStyle::System && small && dxattr(tree.xattrs(node), posix_acls)?.len() <= MAX_DXATTR {
        return Ok(XattrPlan::System);
    }
    Ok(XattrPlan::Directory(kept))
}

/// The name under which FreeBSD and Linux find an extended attribute. User
/// attributes have none of Linux's prefix, which FreeBSD would not understand.
pub(crate) fn xattr_name(xattr: &Xattr) -> Vec<u8> {
    let prefix = match xattr.namespace {
        Namespace::User => "",
        Namespace::System => "freebsd:system:",
        Namespace::Trusted | Namespace::Security | Namespace::PosixAcl => xattr.namespace.linux_prefix(),
    };
    [prefix.as_bytes(), &xattr.name].concat()
}

/// The system attributes of a node of the tree, in the order in which FreeBSD's
/// loader expects them.
pub(crate) fn of_node(
    tree: &Tree,
    id: NodeId,
    place: &Place,
    xattrs: &XattrPlan,
    posix_acls: bool,
) -> Result<Vec<(Attribute, Vec<u8>)>, Error> {
    let node = tree.node(id);
    let given = tree.acl(id);
    let acl = given.map_or_else(|| acl::trivial(node.mode.into(), node.kind == Kind::Directory), convert_acl);
    let mut flags = znode::flags_from_file_flags(node.flags) | flag::ARCHIVE | flag::AV_MODIFIED;
    if given.is_none() {
        flags |= flag::ACL_TRIVIAL;
    }
    let mut attributes = common(&node, mode_of(&node), flags, place, &acl);
    if matches!(node.kind, Kind::CharDevice | Kind::BlockDevice) {
        let (major, minor) = tree.device(id);
        let links = attributes.iter().position(|(attribute, _)| *attribute == Attribute::Links);
        attributes.insert(links.map_or(0, |at| at + 1), word(Attribute::Rdev, znode::device_number(major, minor)));
    }
    if node.kind == Kind::Symlink {
        attributes.push((Attribute::Symlink, tree.symlink_target(id).to_vec()));
    }
    if *xattrs == XattrPlan::System {
        attributes.push((Attribute::Dxattr, dxattr(tree.xattrs(id), posix_acls)?));
    }
    Ok(attributes)
}

/// The system attributes of the root directory of a file system without files.
pub(crate) fn of_empty_root(object: ObjectId, creation_time: u64) -> Vec<(Attribute, Vec<u8>)> {
    let mtime = Timestamp { seconds: creation_time as i64, nanoseconds: 0 };
    let node = Node { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, flags: 0, mtime, links: 2, size: 0 };
    let flags = flag::ACL_TRIVIAL | flag::ARCHIVE | flag::AV_MODIFIED;
    let place = Place { parent: object, links: 2, size: 2, xattr_directory: None };
    common(&node, mode_of(&node), flags, &place, &acl::trivial(node.mode.into(), true))
}

/// The system attributes of the hidden directory of a node's extended
/// attributes, or of a file in it.
pub(crate) fn of_xattr(tree: &Tree, owner: NodeId, directory: bool, place: &Place) -> Vec<(Attribute, Vec<u8>)> {
    let node = tree.node(owner);
    let mode = if directory { 0o041777 } else { 0o100644 };
    let flags = flag::XATTR | flag::ACL_TRIVIAL | flag::ARCHIVE | flag::AV_MODIFIED;
    common(&node, mode, flags, place, &acl::trivial(mode, directory))
}

fn common(node: &Node, mode: u32, flags: u64, place: &Place, acl: &[Ace]) -> Vec<(Attribute, Vec<u8>)> {
    let inherits = acl.iter().any(|ace| ace.flags & (acl::flag::FILE_INHERIT | acl::flag::DIRECTORY_INHERIT) != 0);
    let mut flags = flags | flag::ACL_AUTO_INHERIT;
    if mode & 0o111 == 0o111 {
        flags |= flag::NO_EXECS_DENIED;
    }
    if inherits {
        flags |= flag::INHERIT_ACE;
    }
    let mut attributes = vec![
        word(Attribute::Mode, mode.into()),
        word(Attribute::Size, place.size),
        word(Attribute::Gen, BIRTH_TXG),
        word(Attribute::Uid, node.uid.into()),
        word(Attribute::Gid, node.gid.into()),
        word(Attribute::Parent, place.parent.0),
        word(Attribute::Flags, flags),
        // Only the time of modification comes from the tree: the others would
        // tell when it was read or copied.
        time(Attribute::Atime, node.mtime),
        time(Attribute::Mtime, node.mtime),
        time(Attribute::Ctime, node.mtime),
        time(Attribute::Crtime, node.mtime),
        word(Attribute::Links, place.links),
        word(Attribute::DaclCount, acl.len() as u64),
        (Attribute::DaclAces, acl::to_bytes(acl)),
    ];
    if let Some(directory) = place.xattr_directory {
        attributes.push(word(Attribute::Xattr, directory.0));
    }
    attributes
}

fn mode_of(node: &Node) -> u32 {
    let kind = match node.kind {
        Kind::Fifo => 0o010000,
        Kind::CharDevice => 0o020000,
        Kind::Directory => 0o040000,
        Kind::BlockDevice => 0o060000,
        Kind::File => 0o100000,
        Kind::Symlink => 0o120000,
    };
    kind | u32::from(node.mode)
}

fn word(attribute: Attribute, value: u64) -> (Attribute, Vec<u8>) {
    (attribute, value.to_le_bytes().to_vec())
}

fn time(attribute: Attribute, time: Timestamp) -> (Attribute, Vec<u8>) {
    let words = [time.seconds as u64, u64::from(time.nanoseconds)];
    (attribute, words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

fn dxattr(xattrs: &[Xattr], posix_acls: bool) -> Result<Vec<u8>, Error> {
    let mut list = NvList::new();
    for xattr in xattrs {
        if posix_acls || xattr.namespace != Namespace::PosixAcl {
            list.set(xattr_name(xattr), Value::ByteArray(xattr.value.to_vec()));
        }
    }
    Ok(list.to_xdr()?)
}

fn convert_acl(entries: &[tree::Ace]) -> Vec<Ace> {
    entries
        .iter()
        .map(|entry| {
            let (flags, who) = match entry.who {
                Who::Owner => (acl::flag::OWNER, None),
                Who::Group => (acl::flag::GROUP | acl::flag::IDENTIFIER_GROUP, None),
                Who::Everyone => (acl::flag::EVERYONE, None),
                Who::User(id) => (0, Some(id.into())),
                Who::NamedGroup(id) => (acl::flag::IDENTIFIER_GROUP, Some(id.into())),
            };
            Ace { kind: entry.kind as u16, flags: entry.flags | flags, permissions: entry.mask, who }
        })
        .collect()
}
