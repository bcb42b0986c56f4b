//! `tine image manifest`: the digest of everything in an image, and the packages that are installed in it.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use disk::{ReadAt, fat};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zfs_pool::fs::{FileSystem, FileType};
use zfs_pool::{DatasetKind, Labels, Pool};

use super::contents::{Contents, Disk};
use super::info;
use super::sqlite;
use crate::failure::Failure;
use crate::output;
use crate::pool::describe::type_name;
use crate::pool::out::{Out, json_name};
use crate::pool::walk::{Step, Walk};

/// The database of installed packages, as pkg(8) keeps it.
const PACKAGES: &[u8] = b"var/db/pkg/local.sqlite";
/// The largest one that is read.
const MAX_PACKAGES: u64 = 512 << 20;
/// Bytes that are hashed at a time.
const PIECE: usize = 1 << 20;

/// List the SHA-256 of every file in an image, of its other partitions, and of the image itself
///
/// Lines are as sha256(1) writes them. Files of pools have their dataset before their path, others their partition. Snapshots
/// are left out.
#[derive(Debug, Args)]
pub(crate) struct Manifest {
    /// The image, or a disk; of a pool on several disks, all of them
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// A file that the image was made from: its digest is told, too
    #[arg(long = "input", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Print a software bill of materials instead, in CycloneDX's JSON: the packages that the image's own database
    /// (/var/db/pkg/local.sqlite) knows
    #[arg(long, help_heading = "Output")]
    sbom: bool,
    /// Report as JSON, with owners, modes and the targets of links
    #[arg(long, conflicts_with = "sbom", help_heading = "Output")]
    json: bool,
}

/// All that is said of an image.
#[derive(Serialize)]
struct Report {
    image: FileDigest,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_images: Vec<FileDigest>,
    inputs: Vec<FileDigest>,
    files: Vec<Entry>,
    packages: Vec<Package>,
}

#[derive(Serialize)]
struct FileDigest {
    path: String,
    size: u64,
    sha256: String,
}

/// A file in an image, or a partition that holds none.
#[derive(Serialize)]
struct Entry {
    /// Dataset or partition.
    place: String,
    /// From its root; nothing for a partition as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u64>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// The name as it is, for people.
    #[serde(skip)]
    shown: Vec<u8>,
}

/// An installed package.
#[derive(Clone, Serialize)]
struct Package {
    place: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    origin: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    www: String,
}

impl Manifest {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let disks = self.images.iter().map(|image| Disk::open(image)).collect::<Result<Vec<_>, _>>()?;
        let devices: Vec<&Labels> = disks.iter().flat_map(Disk::pool_devices).collect();
        let mut images = self.images.iter().map(|path| FileDigest::new(path)).collect::<Result<Vec<_>, _>>()?;
        let mut report = Report {
            image: images.remove(0),
            other_images: images,
            inputs: self.inputs.iter().map(|path| FileDigest::new(path)).collect::<Result<_, _>>()?,
            files: Vec::new(),
            packages: Vec::new(),
        };
        let mut warnings = Vec::new();
        let mut listed = HashSet::new();
        for (image, area) in
            self.images.iter().zip(&disks).flat_map(|(image, disk)| disk.areas.iter().map(move |area| (image, area)))
        {
            let name = match &self.images[..] {
                [_] => area.name().to_owned(),
                _ => format!("{}:{}", image.display(), area.name()),
            };
            match &area.contents {
                Contents::Pool(labels) if listed.insert(labels.pool_guid()) => {
                    let of_pool = info::devices_of(labels, &devices);
                    let missing = info::missing(&of_pool);
                    let added = report.add_pool(of_pool, self.sbom, &mut warnings);
                    added.map_err(|failure| match info::needed(&missing) {
                        Some(needed) => Failure::work(image.display(), needed),
                        None => failure,
                    })?;
                }
                Contents::Fat(volume) if !self.sbom => report.add_volume(&name, volume)?,
                Contents::Other if !self.sbom => {
                    let digest = digest_of(area.bytes.as_ref()).map_err(|error| Failure::work(&name, error))?;
                    report.files.push(Entry::data(&name, area.bytes.size(), digest));
                }
                _ => {}
            }
        }
        output::warn("tine", &warnings);
        match (self.sbom, self.json) {
            (true, _) => output::print_json(&report.bill_of_materials()),
            (false, true) => output::print_json(&report),
            (false, false) => report.print(),
        }
    }
}

impl Report {
    fn print(&self) -> Result<(), Failure> {
        let mut out = Out::new()?;
        let files = self.files.iter().filter_map(|file| Some((file.sha256.as_ref()?, &file.shown)));
        for digest in self.inputs.iter().chain([&self.image]).chain(&self.other_images) {
            out.text(&format!("SHA256 ({}) = {}\n", digest.path, digest.sha256))?;
        }
        for (digest, name) in files {
            out.text("SHA256 (")?;
            out.name(name)?;
            out.text(&format!(") = {digest}\n"))?;
        }
        out.finish()
    }

    fn add_volume(&mut self, name: &str, volume: &fat::Volume) -> Result<(), Failure> {
        for file in volume.files()? {
            let digest = if file.is_directory { None } else { Some(hex(&digest_of_fat(volume, &file)?)) };
            self.files.push(Entry {
                place: name.to_owned(),
                shown: format!("{name}:/{}", file.path).into_bytes(),
                path: Some(format!("/{}", file.path)),
                path_bytes: None,
                r#type: if file.is_directory { "directory" } else { "file" },
                mode: None,
                uid: None,
                gid: None,
                size: file.size.into(),
                sha256: digest,
                target: None,
            });
        }
        Ok(())
    }

    fn add_pool(
        &mut self,
        devices: Vec<Labels>,
        packages_only: bool,
        warnings: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let pool = Pool::open(devices.into_iter().map(|labels| labels.device).collect())?;
        for dataset in pool.datasets()?.into_iter().filter(|dataset| dataset.kind == DatasetKind::Head) {
            let files = match dataset.is_volume() {
                Ok(true) => continue,
                Ok(false) => FileSystem::open(&dataset),
                Err(error) => Err(error),
            };
            let files = match files {
                Ok(files) => files,
                Err(zfs_pool::Error::Locked(lock)) => {
                    warnings.push(format!("{}: left out: {lock}", dataset.name));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.add_packages(&dataset.name, &files, warnings)?;
            if !packages_only {
                self.add_files(&dataset.name, &files)?;
            }
        }
        Ok(())
    }

    fn add_files(&mut self, dataset: &str, files: &FileSystem) -> Result<(), Failure> {
        for step in Walk::new(files.root()?) {
            let node = match step {
                Step::Visit(node) => node,
                Step::Leave(_) => continue,
                Step::Damaged(path, error) => {
                    return Err(Failure::work(format_args!("{dataset}:/{}", path.escape_ascii()), error));
                }
            };
            let attributes = node.file.attributes();
            let kind = attributes.file_type();
            let (path, path_bytes) = json_name(&[b"/", &node.path[..]].concat());
            let target = match kind {
                Some(FileType::Symlink) => Some(String::from_utf8_lossy(&node.file.link_target()?).into_owned()),
                _ => None,
            };
            let sha256 = match kind {
                Some(FileType::Regular) => Some(hex(&digest_of_contents(&node.file.contents())?)),
                _ => None,
            };
            self.files.push(Entry {
                place: dataset.to_owned(),
                shown: [dataset.as_bytes(), b":/", &node.path].concat(),
                path: Some(path),
                path_bytes,
                r#type: type_name(kind),
                mode: Some(format!("{:04o}", attributes.mode & 0o7777)),
                uid: Some(attributes.uid),
                gid: Some(attributes.gid),
                size: if kind == Some(FileType::Regular) { attributes.size } else { 0 },
                sha256,
                target,
            });
        }
        Ok(())
    }

    fn add_packages(&mut self, dataset: &str, files: &FileSystem, warnings: &mut Vec<String>) -> Result<(), Failure> {
        let mut found = None;
        // Beside the path itself, where a dataset of its own is mounted: only the last parts are in it.
        for (start, _) in PACKAGES.iter().enumerate().filter(|(at, _)| *at == 0 || PACKAGES[at - 1] == b'/') {
            if let Ok(file) = files.lookup(&PACKAGES[start..])
                && start < b"var/db/pkg/".len()
            {
                found = Some(file);
                break;
            }
        }
        let Some(file) = found else { return Ok(()) };
        let contents = file.contents();
        if contents.size() > MAX_PACKAGES {
            warnings.push(format!("{dataset}: the database of packages is too large to be read"));
            return Ok(());
        }
        let mut bytes = vec![0; contents.size() as usize];
        contents.read_at(0, &mut bytes)?;
        match sqlite::rows(&bytes, "packages", &["name", "version", "origin", "comment", "www"]) {
            Ok(rows) => self.packages.extend(rows.into_iter().map(|row| {
                let [name, version, origin, comment, www] = <[String; 5]>::try_from(row).unwrap_or_default();
                Package { place: dataset.to_owned(), name, version, origin, comment, www }
            })),
            Err(why) => warnings.push(format!("{dataset}: the database of packages cannot be read: {why}")),
        }
        self.packages.sort_by(|a, b| (&a.place, &a.name).cmp(&(&b.place, &b.name)));
        Ok(())
    }

    /// The packages as CycloneDX has them (version 1.5).
    fn bill_of_materials(&self) -> serde_json::Value {
        let component = |package: &Package| {
            let mut component = serde_json::json!({
                "type": "application",
                "bom-ref": format!("{}:{}-{}", package.place, package.name, package.version),
                "name": package.name,
                "version": package.version,
                "description": package.comment,
                "properties": [{ "name": "freebsd:origin", "value": package.origin }],
            });
            if !package.www.is_empty() {
                component["externalReferences"] = serde_json::json!([{ "type": "website", "url": package.www }]);
            }
            component
        };
        serde_json::json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "operating-system",
                    "bom-ref": "image",
                    "name": self.image.path,
                    "hashes": [{ "alg": "SHA-256", "content": self.image.sha256 }],
                },
                "tools": { "components": [{
                    "type": "application", "name": "tine", "version": env!("CARGO_PKG_VERSION"),
                }] },
            },
            "components": self.packages.iter().map(component).collect::<Vec<_>>(),
        })
    }
}

impl Entry {
    fn data(name: &str, size: u64, digest: [u8; 32]) -> Self {
        Self {
            place: name.to_owned(),
            path: None,
            path_bytes: None,
            r#type: "data",
            mode: None,
            uid: None,
            gid: None,
            size,
            sha256: Some(hex(&digest)),
            target: None,
            shown: name.as_bytes().to_vec(),
        }
    }
}

impl FileDigest {
    fn new(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::work(path.display(), error);
        let mut file = File::open(path).map_err(failed)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece).map_err(failed)? {
                0 => break,
                count => {
                    hash.update(&piece[..count]);
                    size += count as u64;
                }
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        Ok(Self { path: path.display().to_string(), size, sha256: hex(&digest) })
    }
}

/// The SHA-256 of a file in a FAT file system.
pub(super) fn digest_of_fat(volume: &fat::Volume, entry: &fat::Entry) -> Result<[u8; 32], Failure> {
    let mut hash = Sha256::new();
    volume.read(entry, |part| {
        hash.update(part);
        Ok::<_, Failure>(())
    })?;
    Ok(hash.finalize().into())
}

fn digest_of(bytes: &dyn ReadAt) -> std::io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    while offset < bytes.size() {
        let length = (bytes.size() - offset).min(PIECE as u64) as usize;
        bytes.read_exact_at(&mut piece[..length], offset)?;
        hash.update(&piece[..length]);
        offset += length as u64;
    }
    Ok(hash.finalize().into())
}

fn digest_of_contents(contents: &zfs_pool::fs::Contents) -> Result<[u8; 32], Failure> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut hash = Sha256::new();
    let zeros = |hash: &mut Sha256, mut count: u64| {
        while count > 0 {
            let part = count.min(ZEROS.len() as u64);
            hash.update(&ZEROS[..part as usize]);
            count -= part;
        }
    };
    let mut position = 0;
    for piece in contents.pieces(1) {
        let bytes = piece.bytes?;
        zeros(&mut hash, piece.range.start - position);
        hash.update(&*bytes);
        position = piece.range.end;
    }
    zeros(&mut hash, contents.size().saturating_sub(position));
    Ok(hash.finalize().into())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
