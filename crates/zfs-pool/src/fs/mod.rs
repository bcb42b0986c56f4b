//! The files of a dataset.

mod attributes;
mod changes;
mod contents;
mod cursor;
mod lookup;
mod names;
pub(crate) mod volume;
mod xattr;

use std::sync::Arc;

use zfs_ondisk::acl::Ace;
use zfs_ondisk::bytes::View;
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::sa::{self, Schema};
use zfs_ondisk::znode::{self, master};

use crate::dataset::Dataset;
use crate::error::Error;
use crate::object::{Object, ObjectSet};
use crate::zap::Zap;

pub(crate) use attributes::Stored;
pub use attributes::{Attributes, FileType, Time, sa_view};
pub use changes::changed_objects;
pub use contents::{Contents, Extents, Piece, PieceBytes, Pieces};
use names::NameRules;
pub use volume::Volume;
pub use xattr::Xattr;

/// The longest target of a symbolic link in bytes.
const MAX_LINK: u64 = 64 << 10;

/// The file system of a dataset or snapshot. Clones share everything.
#[derive(Clone)]
pub struct FileSystem(Arc<Inner>);

struct Inner {
    set: ObjectSet,
    schema: Schema,
    root: ObjectId,
    delete_queue: Option<ObjectId>,
    rules: NameRules,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: Vec<u8>,
    /// The file.
    pub object: ObjectId,
    /// The type of the file, as the directory has it.
    pub file_type: Option<FileType>,
}

/// A directory being listed.
pub struct Directory {
    zap: Zap,
    rules: NameRules,
}

/// A file of any type: its object and its attributes.
#[derive(Clone)]
pub struct File {
    fs: FileSystem,
    object: Object,
    stored: Arc<Stored>,
}

impl FileSystem {
    /// Opens the file system of a dataset or snapshot.
    ///
    /// # Errors
    /// [`Error::NotA`] if it is none, or if what all files need cannot be read.
    pub fn open(dataset: &Dataset) -> Result<Self, Error> {
        match dataset.objects()? {
            Some(set) => Self::from_objects(set),
            None => Err(Error::NotA("file system")),
        }
    }

    /// Opens the file system that is in an object set.
    ///
    /// # Errors
    /// As [`FileSystem::open`].
    pub fn from_objects(set: ObjectSet) -> Result<Self, Error> {
        if set.kind() != Some(zfs_ondisk::objset::Kind::FileSystem) {
            return Err(Error::NotA("file system"));
        }
        let object = set.object(ObjectId(master::OBJECT))?;
        let mut node = object.zap()?;
        let root = node.number(master::ROOT)?.ok_or_else(|| {
            object.failed(Error::Malformed {
                what: "the entry 'ROOT' of the master node",
                found: "missing".into(),
                expected: "an object",
            })
        })?;
        let delete_queue = node.number(master::DELETE_QUEUE)?.map(ObjectId);
        let mut schema = Schema::default();
        if let Some(attributes) = node.number(master::SA_ATTRS)? {
            schema = read_schema(&set, ObjectId(attributes))?;
        }
        let case = node.number(master::CASE_SENSITIVITY)?.unwrap_or(0);
        let rules = NameRules::new(case, node.number(master::NORMALIZATION)?.unwrap_or(0));
        let root = ObjectId(root);
        Ok(Self(Arc::new(Inner { set, schema, root, delete_queue, rules })))
    }

    /// Its objects.
    pub fn objects(&self) -> &ObjectSet {
        &self.0.set
    }

    /// The root directory.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn root(&self) -> Result<File, Error> {
        self.file(self.0.root)
    }

    /// The file that is an object.
    ///
    /// # Errors
    /// If the object is none, or cannot be read.
    pub fn file(&self, id: ObjectId) -> Result<File, Error> {
        self.file_of(self.0.set.object(id)?)
    }

    /// The file that is an object; `None` if the object is not allocated, is no file, or is a part of one that is kept in
    /// an object of its own, as an extended attribute may be.
    ///
    /// # Errors
    /// If the object cannot be read.
    pub fn find_file(&self, id: ObjectId) -> Result<Option<File>, Error> {
        let object = match self.0.set.object(id) {
            Ok(object) => object,
            Err(error) if matches!(error.cause(), Error::NotAllocated) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !matches!(object.dnode().bonus_type, ObjectType::SA | ObjectType::ZNODE) {
            return Ok(None);
        }
        let file = self.file_of(object)?;
        Ok(Some(file).filter(|file| file.attributes().flags & znode::flag::XATTR == 0))
    }

    pub(crate) fn file_of(&self, object: Object) -> Result<File, Error> {
        let stored = Stored::read(&object, &self.0.schema)?;
        Ok(File { fs: self.clone(), object, stored: Arc::new(stored) })
    }

    /// Its system attributes and their layouts.
    pub fn schema(&self) -> &Schema {
        &self.0.schema
    }

    pub(crate) fn root_id(&self) -> ObjectId {
        self.0.root
    }

    pub(crate) fn delete_queue(&self) -> Option<ObjectId> {
        self.0.delete_queue
    }
}

fn read_schema(set: &ObjectSet, id: ObjectId) -> Result<Schema, Error> {
    let mut schema = Schema::default();
    let mut node = set.object(id)?.zap()?;
    let mut table = |name| -> Result<Option<Zap>, Error> {
        node.number(name)?.map(|id| set.object(ObjectId(id))?.zap()).transpose()
    };
    if let Some(mut registry) = table(sa::REGISTRY)? {
        for entry in registry.iter() {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            schema.register(&name, entry.number().unwrap_or(0));
        }
    }
    if let Some(mut layouts) = table(sa::LAYOUTS)? {
        for entry in layouts.iter() {
            let entry = entry?;
            let number = String::from_utf8_lossy(&entry.name).parse();
            // A name that is no number belongs to no buffer.
            if let Ok(number) = number {
                schema.add_layout(number, entry.values.iter().map(|&value| value as u16).collect());
            }
        }
    }
    Ok(schema)
}

impl Directory {
    /// All entries, or the first error, in the order in which they are stored. No
    /// more than a leaf of them is in memory.
    pub fn entries(&mut self) -> impl Iterator<Item = Result<DirEntry, Error>> + '_ {
        let object = self.zap.object().clone();
        self.zap.iter().map(move |entry| dir_entry(&object, entry?))
    }
}

fn dir_entry(object: &Object, entry: zfs_ondisk::zap::Entry) -> Result<DirEntry, Error> {
    let value = entry.number().ok_or_else(|| {
        object.failed(Error::Malformed {
            what: "value of a directory entry",
            found: format!("{} integers", entry.values.len()),
            expected: "one integer",
        })
    })?;
    let (kind, id) = znode::parse_dirent(value);
    Ok(DirEntry { name: entry.name, object: id, file_type: FileType::from_number(kind) })
}

impl File {
    /// Its file system.
    pub fn file_system(&self) -> &FileSystem {
        &self.fs
    }

    /// Its object.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Its attributes.
    pub fn attributes(&self) -> &Attributes {
        &self.stored.attributes
    }

    /// Its names, if it is a directory.
    ///
    /// # Errors
    /// [`Error::NotA`] if it is none, or if it cannot be read.
    pub fn directory(&self) -> Result<Directory, Error> {
        if !self.attributes().is_dir() {
            return Err(self.object.failed(Error::NotA("directory")));
        }
        Ok(Directory { zap: self.object.zap()?, rules: self.fs.0.rules })
    }

    /// The directory of extended attributes, if it has one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn xattr_dir(&self) -> Result<Option<Directory>, Error> {
        self.attributes().xattr_dir.map(|id| self.fs.file(id)?.directory()).transpose()
    }

    /// Reads the contents from `offset` on into `buf`, and gives the number of
    /// bytes read: less than `buf` has at the end of the file only.
    ///
    /// # Errors
    /// If a block cannot be read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        self.contents().read_at(offset, buf)
    }

    /// The ranges of bytes that hold data; between them are holes. They are
    /// blocks, merged where they adjoin.
    pub fn extents(&self) -> Extents {
        self.contents().extents()
    }

    /// Its bytes: of a regular file, or of a long symbolic link's target.
    pub fn contents(&self) -> Contents {
        Contents::new(self.object.clone(), self.attributes().size)
    }

    /// The target, if it is a symbolic link.
    ///
    /// # Errors
    /// [`Error::NotA`] if it is none, or if it cannot be read.
    pub fn link_target(&self) -> Result<Vec<u8>, Error> {
        if self.attributes().file_type() != Some(FileType::Symlink) {
            return Err(self.object.failed(Error::NotA("symbolic link")));
        }
        match &self.stored.symlink {
            Some(target) => Ok(target.clone()),
            None => self.whole(MAX_LINK),
        }
    }

    /// The access control list; `None` if there is none beside the mode.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn acl(&self) -> Result<Option<Vec<Ace>>, Error> {
        self.stored.acl(&self.object).map_err(|error| self.object.failed(error))
    }

    /// The system attributes in the bonus buffer, in the order in which they are
    /// stored there.
    pub(crate) fn bonus_attributes(&self) -> Result<Vec<(&str, View<'_>)>, Error> {
        let view = sa_view(self.object.bonus().as_bytes());
        Ok(self.fs.schema().attributes(&view)?)
    }

    fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The whole contents, if they are no longer than `limit` bytes.
    fn whole(&self, limit: u64) -> Result<Vec<u8>, Error> {
        let size = self.attributes().size;
        if size > limit {
            return Err(self.object.failed(Error::Malformed {
                what: "length of a file read at once",
                found: size.to_string(),
                expected: "less",
            }));
        }
        let mut contents = vec![0; size as usize];
        self.object.read_at(0, &mut contents)?;
        Ok(contents)
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:?}", self.object, self.attributes())
    }
}
