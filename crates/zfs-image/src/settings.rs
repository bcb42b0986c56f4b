//! What the properties of a dataset mean for the way it is written.

use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::{Compression, Function};
use zfs_ondisk::crypt::Suite;
use zfs_ondisk::dnode::SLOT_SIZE;
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::property::{Assignment, DefaultValue, Property, StoredValue};
use zfs_ondisk::zap::NORM_TO_UPPER;

use crate::allocator::MAX_COPIES;
use crate::block::{Policies, Policy, Redundancy};
use crate::error::Error;

/// Values of `dnodesize` (`zfs_dnsize_type_t`): 0 is `legacy`.
const DNODE_SIZE_AUTO: u64 = 1;
/// What `auto` stands for.
const AUTO_DNODE_SIZE: u64 = 1024;
/// The largest block without the feature `large_blocks`.
const OLD_MAX_BLOCK: usize = 128 << 10;

/// The largest block that CCM encrypts with the 12 bytes that OpenZFS's vectors have,
/// as far as records go: it is shorter than 2^24 bytes.
const MAX_CCM_BLOCK: usize = 8 << 20;

/// Where small extended attributes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XattrStyle {
    /// Among the system attributes.
    System,
    /// Into hidden directories.
    Directory,
}

/// How a dataset is written.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) policies: Policies,
    /// The largest block of a file in bytes.
    pub(crate) record_size: usize,
    /// Slots of 512 bytes that a file's dnode takes.
    pub(crate) dnode_slots: usize,
    pub(crate) xattrs: XattrStyle,
    /// POSIX ACLs are kept.
    pub(crate) posix_acls: bool,
    /// How names are normalized (`U8_TEXTPREP_...`).
    pub(crate) norm_flags: u64,
    /// Features that the dataset activates.
    pub(crate) features: FeatureSet,
}

/// A dataset's own properties and its ancestors', nearest first.
pub(crate) struct Properties<'a>(pub(crate) Vec<&'a [Assignment]>);

impl Properties<'_> {
    /// The value in force of a property with numbers for values.
    pub(crate) fn number(&self, name: &str) -> u64 {
        match self.find(name) {
            Some(StoredValue::Number(number)) => *number,
            _ => match Property::find(name).map(|property| property.default) {
                Some(DefaultValue::Number(number)) => number,
                Some(DefaultValue::ByPlatform { freebsd, .. }) => freebsd,
                _ => 0,
            },
        }
    }

    /// The value that the dataset itself has of a property.
    pub(crate) fn own(&self, name: &str) -> Option<&StoredValue> {
        find(self.0[0], name)
    }

    fn find(&self, name: &str) -> Option<&StoredValue> {
        let inherited = Property::find(name).is_none_or(|property| property.inherited);
        let depth = if inherited { self.0.len() } else { 1 };
        self.0[..depth].iter().find_map(|own| find(own, name))
    }
}

fn find<'a>(own: &'a [Assignment], name: &str) -> Option<&'a StoredValue> {
    let is_named = |assignment: &&Assignment| {
        assignment.property.map_or(assignment.key.as_str(), |property| property.name) == name
    };
    // The last of several assignments counts.
    own.iter().rev().find(is_named).map(|assignment| &assignment.value)
}

impl Settings {
    /// The same for dataset `index`, which is encrypted.
    pub(crate) fn encrypted(mut self, name: &str, index: usize, suite: Suite) -> Result<Self, Error> {
        let failed = |what: &str| Err(Error::Spec(format!("dataset {name}: {what}")));
        if self.policies.data.copies == MAX_COPIES {
            return failed("an encrypted dataset cannot have copies=3");
        }
        if self.record_size > MAX_CCM_BLOCK && [Suite::Aes128Ccm, Suite::Aes192Ccm, Suite::Aes256Ccm].contains(&suite) {
            return failed("CCM cannot encrypt blocks of 16 MiB; recordsize=8m is possible, and GCM");
        }
        for policy in [&mut self.policies.data, &mut self.policies.metadata] {
            policy.cipher = Some(index);
        }
        self.features.insert(Feature::Encryption);
        Ok(self)
    }

    /// The settings of the dataset `name` in a pool with `features`.
    pub(crate) fn of(name: &str, properties: &Properties<'_>, features: FeatureSet) -> Result<Self, Error> {
        let lz4 = features.contains(Feature::Lz4Compress);
        let invalid = |what: String| Error::Spec(format!("dataset {name}: {what}"));
        let compression = Compression::from_property(properties.number("compression"))
            .map_err(|error| invalid(error.to_string()))?
            .resolve(lz4);
        let checksum = match Checksum::from_number(properties.number("checksum") as u8) {
            Some(Checksum::On) | None => Checksum::Fletcher4,
            Some(checksum) => checksum,
        };
        let metadata_checksum = match checksum {
            Checksum::Sha256 | Checksum::Sha512 | Checksum::Skein | Checksum::Edonr | Checksum::Blake3 => checksum,
            _ => Checksum::Fletcher4,
        };
        let copies = properties.number("copies") as usize;
        let policies = Policies {
            data: Policy { compression, checksum, copies, cipher: None },
            metadata: Policy {
                compression: Compression::On.resolve(lz4),
                checksum: metadata_checksum,
                copies,
                cipher: None,
            },
            redundancy: match properties.number("redundant_metadata") {
                0 => Redundancy::All,
                1 => Redundancy::Most,
                2 => Redundancy::Some,
                _ => Redundancy::None,
            },
        };
        let record_size = properties.number("recordsize") as usize;
        let dnode_size = match properties.number("dnodesize") {
            0 => SLOT_SIZE as u64,
            DNODE_SIZE_AUTO => AUTO_DNODE_SIZE,
            size => size,
        };
        let dnode_slots = dnode_size as usize / SLOT_SIZE;
        let needed = [
            (record_size > OLD_MAX_BLOCK, Feature::LargeBlocks),
            (dnode_slots > 1, Feature::LargeDnode),
            (compression.function() == Function::Lz4, Feature::Lz4Compress),
            (compression.function() == Function::Zstd, Feature::ZstdCompress),
            (checksum == Checksum::Sha512, Feature::Sha512),
            (checksum == Checksum::Skein, Feature::Skein),
            (checksum == Checksum::Edonr, Feature::Edonr),
            (checksum == Checksum::Blake3, Feature::Blake3),
        ];
        let mut active = FeatureSet::EMPTY;
        for feature in needed.iter().filter(|(needed, _)| *needed).map(|(_, feature)| *feature) {
            if !features.contains(feature) {
                return Err(invalid(format!(
                    "its properties need the pool feature {}, which the compatibility set leaves out",
                    feature.name()
                )));
            }
            if feature.per_dataset() {
                active.insert(feature);
            }
        }
        for feature in [Feature::UserobjAccounting, Feature::ProjectQuota] {
            if features.contains(feature) {
                active.insert(feature);
            }
        }
        // Systems without feature flags read extended attributes from directories only.
        let system_xattrs =
            properties.number("xattr") == XATTR_SA && (!features.is_empty() || properties.find("xattr").is_some());
        let case_folded = properties.number("casesensitivity") != 0;
        Ok(Self {
            policies,
            record_size,
            dnode_slots,
            xattrs: if system_xattrs { XattrStyle::System } else { XattrStyle::Directory },
            posix_acls: properties.number("acltype") == ACLTYPE_POSIX,
            norm_flags: properties.number("normalization") | if case_folded { NORM_TO_UPPER } else { 0 },
            features: active,
        })
    }
}

/// `xattr=sa` (`ZFS_XATTR_SA`).
const XATTR_SA: u64 = 2;
/// `acltype=posix` (`ZFS_ACLTYPE_POSIX`).
const ACLTYPE_POSIX: u64 = 1;
