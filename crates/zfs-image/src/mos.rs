//! The meta object set: the objects that a pool keeps about itself.
//!
//! Some of them tell how much space is allocated, and they take space
//! themselves. So the object set is written with assumptions, first to nowhere,
//! until they hold ([`Assumptions`]).

mod config;
mod datasets;
mod writer;

use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::bpobj;
use zfs_ondisk::bytes::Put;
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::objset::{self, ObjectSet};
use zfs_ondisk::spacemap;
use zfs_ondisk::uberblock::VERSION_FEATURES;
use zfs_ondisk::zap::ZapContents;

use crate::block::Address;
use crate::encryption::StoredKey;
use crate::error::Error;
use crate::filesystem::Written;
use crate::geometry::Geometry;
use crate::guids::Seed;
use crate::plan::Plan;
use crate::spec::PoolSpec;
use crate::store::{BIRTH_TXG, Store, Usage};
use crate::vdev::{Shape, VdevKind};

pub(crate) use config::label_config;
pub(crate) use datasets::pool_txg;
use writer::MosWriter;

/// The object directory (`DMU_POOL_DIRECTORY_OBJECT`).
const DIRECTORY: ObjectId = ObjectId(1);
/// Bytes of a block of the packed configuration (`SPA_CONFIG_BLOCKSIZE`).
const CONFIG_BLOCK_SIZE: usize = 16 << 10;
/// Bytes of a block of a space map (`zfs_metaslab_sm_blksz_no_log`).
const SPACE_MAP_BLOCK_SIZE: usize = 4 << 10;

/// What the object set is made from.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) spec: &'a PoolSpec,
    pub(crate) plan: &'a Plan,
    /// The datasets of the plan on the device.
    pub(crate) written: &'a [Written],
    /// The keys of those that are encrypted, as they are stored.
    pub(crate) keys: &'a [Option<StoredKey>],
    pub(crate) seed: Seed,
    pub(crate) guids: &'a PoolGuids,
    pub(crate) shape: Shape,
    /// The transaction group that the pool is in.
    pub(crate) txg: u64,
}

/// GUIDs of the pool and its vdevs.
#[derive(Clone, Debug)]
pub(crate) struct PoolGuids {
    pub(crate) pool: u64,
    /// Of the top-level vdevs, and of the devices of each if it is not a device itself.
    pub(crate) vdevs: Vec<(u64, Vec<u64>)>,
}

impl PoolGuids {
    pub(crate) fn new(pool: u64, shape: Shape, seed: &Seed) -> Self {
        let vdev = |top: usize| {
            let name = if top == 0 { "vdev".to_owned() } else { format!("vdev {top}") };
            let device = |child: usize| seed.number(&format!("device {top} {child}"));
            let devices = if shape.kind == VdevKind::Single { 0 } else { shape.children };
            (seed.number(&name), (0..devices).map(device).collect())
        };
        Self { pool, vdevs: (0..shape.count).map(vdev).collect() }
    }

    /// What the uberblock has of them.
    pub(crate) fn sum(&self) -> u64 {
        let vdevs = self.vdevs.iter().flat_map(|(top, devices)| devices.iter().chain([top]));
        vdevs.fold(self.pool, |sum, guid| sum.wrapping_add(*guid))
    }

    /// Of a device.
    pub(crate) fn device(&self, top: usize, child: usize) -> u64 {
        let (guid, devices) = &self.vdevs[top];
        devices.get(child).copied().unwrap_or(*guid)
    }
}

/// What the object set says about space, its own included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assumptions {
    /// Bytes allocated in each metaslab.
    pub(crate) metaslabs: Vec<u64>,
    /// Space of the object set.
    pub(crate) usage: Usage,
    pub(crate) geometry: Geometry,
}

/// The object set on the device, or written to nowhere.
pub(crate) struct Mos {
    pub(crate) root: BlockPointer,
    pub(crate) usage: Usage,
    /// The objects with the space maps of each top-level vdev, which the labels name.
    pub(crate) metaslab_arrays: Vec<ObjectId>,
    pub(crate) active: FeatureSet,
    /// Bytes that datasets have reserved beyond what they use.
    pub(crate) reserved: u64,
}

/// Writes the object set.
pub(crate) fn write(store: &mut Store<'_>, input: Input<'_>, assumptions: &Assumptions) -> Result<Mos, Error> {
    store.take_usage();
    let spec = input.spec;
    let mut writer = MosWriter::new(store, spec.features, input.seed);
    let directory = writer.allocate();
    debug_assert_eq!(directory, DIRECTORY);
    let mut contents = ZapContents::new();
    contents.set("creation_version", VERSION_FEATURES).set("deflate", 1);

    let free = writer.bpobj(bpobj::BLOCK_SIZE)?;
    let sync = writer.bpobj(CONFIG_BLOCK_SIZE)?;
    contents.set("free_bpobj", free.0).set("sync_bplist", sync.0);

    let datasets = datasets::write(&mut writer, input, assumptions)?;
    contents.set("root_dataset", datasets.root_dir.0);
    if let Some(empty) = writer.shared_empty_bpobj() {
        contents.set("empty_bpobj", empty.0);
    }

    let mut properties = ZapContents::new();
    if let Some(bootfs) = datasets.bootfs {
        properties.set("bootfs", bootfs.0);
    }
    for property in &spec.properties {
        if !config::holds(property) {
            writer::set_property(&mut properties, property);
        }
    }
    let object = writer.table(ObjectType::POOL_PROPS, &properties)?;
    contents.set("pool_props", object.0);

    let metaslab_arrays = (0..input.shape.count)
        .map(|vdev| space_maps(&mut writer, assumptions, spec, (vdev, input.shape.count)))
        .collect::<Result<Vec<_>, Error>>()?;

    let counts = writer.feature_counts(&datasets, assumptions);
    let active: FeatureSet = counts.iter().filter(|(_, count)| *count > 0).map(|(feature, _)| *feature).collect();
    write_features(&mut writer, spec.features, &counts, &mut contents)?;
    if !active.intersection(salted()).is_empty() {
        contents.set_bytes("org.illumos:checksum_salt", writer.salt().to_vec());
    }

    let packed = config::pool_config(input, &assumptions.geometry, &metaslab_arrays, active).to_xdr()?;
    let object = writer.data(ObjectType::PACKED_NVLIST, CONFIG_BLOCK_SIZE, &packed, |dnode| {
        dnode.bonus_type = ObjectType::PACKED_NVLIST_SIZE;
        dnode.bonus = (packed.len() as u64).to_le_bytes().to_vec();
    })?;
    contents.set("config", object.0);
    writer.put_table(directory, ObjectType::OBJECT_DIRECTORY, &contents)?;

    let meta_dnode = writer.finish()?;
    let fill = meta_dnode.pointers.iter().map(BlockPointer::fill).sum();
    let object_set = ObjectSet {
        meta_dnode,
        zil_header: [0; objset::ZIL_HEADER_SIZE],
        kind: objset::Kind::Meta as u64,
        flags: 0,
        user_used: None,
        group_used: None,
        project_used: None,
    };
    let size = if spec.features.contains(Feature::ProjectQuota) { objset::SIZE_V3 } else { objset::SIZE_V2 };
    let policy = writer::policies(spec.features).of(ObjectType::OBJSET, 0);
    let root = store.write(&policy, Address::ROOT, fill, &object_set.to_bytes(size))?;
    Ok(Mos { root, usage: store.take_usage(), metaslab_arrays, active, reserved: datasets.reserved })
}

/// Writes the space maps of a top-level vdev, of so many, and the array of their objects.
fn space_maps(
    writer: &mut MosWriter<'_, '_>,
    assumptions: &Assumptions,
    spec: &PoolSpec,
    (vdev, vdevs): (usize, usize),
) -> Result<ObjectId, Error> {
    let Geometry { metaslab_shift, metaslabs, .. } = assumptions.geometry;
    let histogram = spec.features.contains(Feature::SpacemapHistogram);
    let mut array = vec![0u8; (metaslabs * 8).next_power_of_two().max(512)];
    let room = 1u64 << (metaslab_shift - spec.ashift);
    // A pool that is too small is told so in the end; until then it has no room
    // for the space maps past its end.
    let own = assumptions.metaslabs.iter().skip(vdev).step_by(vdevs);
    for (index, &used) in own.enumerate().take(metaslabs) {
        if used == 0 {
            continue;
        }
        let units = used >> spec.ashift;
        let entries: Vec<u8> = spacemap::allocations(0, units).flat_map(u64::to_le_bytes).collect();
        let object = writer.allocate();
        let words = entries.len() as u64 / 8;
        writer.put_data(object, ObjectType::SPACE_MAP, SPACE_MAP_BLOCK_SIZE, &entries, |dnode| {
            dnode.bonus_type = ObjectType::SPACE_MAP_HEADER;
            dnode.bonus = spacemap::header(object.0, words, used, [room - units].into_iter(), histogram);
            if !histogram {
                // OpenZFS tells whether there is a histogram by the room for a bonus:
                // three pointers leave too little for one.
                dnode.pointers.resize(3, BlockPointer::HOLE);
            }
        })?;
        array.put_u64(index * 8, object.0);
    }
    // A power of two, so that the array can take more blocks as the pool grows.
    let block_size = array.len().min(128 << 10);
    writer.data(ObjectType::OBJECT_ARRAY, block_size, &array[..metaslabs * 8], |_| ())
}

fn write_features(
    writer: &mut MosWriter<'_, '_>,
    enabled: FeatureSet,
    counts: &[(Feature, u64)],
    contents: &mut ZapContents,
) -> Result<(), Error> {
    let (mut for_read, mut for_write) = (ZapContents::new(), ZapContents::new());
    let (mut descriptions, mut enabled_txg) = (ZapContents::new(), ZapContents::new());
    for &(feature, count) in counts {
        let table = if feature.read_only_compatible() { &mut for_write } else { &mut for_read };
        table.set(feature.guid(), count);
        descriptions.set_text(feature.guid(), feature.description());
        enabled_txg.set(feature.guid(), BIRTH_TXG);
    }
    let mut add = |name: &str, table: &ZapContents| -> Result<(), Error> {
        let object = writer.table(ObjectType::OTN_ZAP_METADATA, table)?;
        contents.set(name, object.0);
        Ok(())
    };
    add("features_for_read", &for_read)?;
    add("features_for_write", &for_write)?;
    add("feature_descriptions", &descriptions)?;
    if enabled.contains(Feature::EnabledTxg) {
        add("feature_enabled_txg", &enabled_txg)?;
    }
    Ok(())
}

fn salted() -> FeatureSet {
    [Feature::Skein, Feature::Edonr, Feature::Blake3].into_iter().collect()
}
