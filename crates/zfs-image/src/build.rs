//! From a tree and a specification to an image.

use std::collections::BTreeMap;

use tree::{Kind, Tree};
use zfs_ondisk::feature::Feature;
use zfs_ondisk::label;
use zfs_ondisk::uberblock::{Uberblock, VERSION_FEATURES};

use crate::allocator::Allocator;
use crate::block::Format;
use crate::device::Device;
use crate::encryption::{self, Keys};
use crate::error::Error;
use crate::filesystem::{self, Context, Written};
use crate::geometry::{self, Geometry};
use crate::guids::Seed;
use crate::mos::{self, Assumptions, Input, Mos, PoolGuids};
use crate::pipeline::Pipeline;
use crate::plan::{Origin, Plan};
use crate::progress::Progress;
use crate::spec::{self, PoolSpec};
use crate::store::{Store, Usage};
use crate::vdev::{Shape, Vdevs};

/// Transaction groups whose blocks OpenZFS verifies on import, counted back from
/// the uberblock's (`TXG_DEFER_SIZE` and the one that is open).
const VERIFIED_TXGS: u64 = 4;
/// Memory for the threads' buffers, beside the outputs under way.
const FIXED_MEMORY: u64 = 24 << 20;

/// Memory for outputs under way that a build does not go beyond if it has more.
const MAX_BUFFERS: u64 = 4 << 20;

/// What a build may use.
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    /// Threads that read, compress and checksum.
    pub threads: usize,
    /// Bytes of memory, about.
    pub memory: u64,
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The pool's GUID.
    pub pool_guid: u64,
    /// Size of each image in bytes.
    pub size: u64,
    /// Bytes allocated in all, without the usual parity and further sides of mirrors.
    pub allocated: u64,
    /// Size of a metaslab in bytes.
    pub metaslab_size: u64,
    /// Its datasets by name.
    pub datasets: Vec<DatasetSummary>,
}

/// What was built of one dataset.
#[derive(Clone, Debug)]
pub struct DatasetSummary {
    /// Its name.
    pub name: String,
    /// The snapshot of which it is a clone.
    pub origin: Option<String>,
    /// Files, directories and all else in it.
    pub files: u64,
    /// Bytes that it references.
    pub referenced: u64,
    /// The same without copies and rounding.
    pub compressed: u64,
    /// The same before compression.
    pub logical: u64,
    /// Names of its snapshots.
    pub snapshots: Vec<String>,
}

/// Builds the pool `spec` with the files of `tree` on an empty `device`.
///
/// The same tree and specification give the same bytes, whatever the resources.
///
/// # Errors
/// If the specification contradicts itself or the tree, a source cannot be read
/// or the device cannot be written. What is on the device then is no pool.
pub fn build(
    tree: &Tree,
    spec: &PoolSpec,
    resources: Resources,
    device: &dyn Device,
    progress: &dyn Progress,
) -> Result<Summary, Error> {
    build_on(tree, spec, resources, &[device], progress)
}

/// The same on several devices, which make up the vdevs of [`PoolSpec::vdev`] in their
/// order.
///
/// # Errors
/// As [`build`], and if they cannot make up these vdevs.
pub fn build_on(
    tree: &Tree,
    spec: &PoolSpec,
    resources: Resources,
    devices: &[&dyn Device],
    progress: &dyn Progress,
) -> Result<Summary, Error> {
    spec::check(spec)?;
    let shape = spec.vdev.shape(devices.len(), spec.ashift)?;
    let vdevs = Vdevs::new(shape, devices);
    let plan = Plan::new(tree, spec)?;
    let buffers = buffers(tree, &plan, resources, shape)?;
    let (bytes, files) = totals(tree, &plan);
    progress.start(bytes, files);

    let seed = Seed::of_spec(spec);
    let Keys { ciphers, stored: keys } = match plan.datasets.iter().any(|dataset| dataset.encryption.is_some()) {
        true => encryption::keys(&spec.datasets, &plan.datasets, &seed.with_files(tree, &plan))?,
        false => Keys::default(),
    };
    let embed = spec.features.contains(Feature::EmbeddedData);
    let format = Format { ashift: spec.ashift, salt: seed.salt(), embed, ciphers };
    let space = match spec.size {
        Some(size) => Geometry::of_devices(size, 0, shape).allocatable(),
        None => shape.allocated_size(bytes + files * 1024) / shape.count as u64,
    };
    let record_size = plan.datasets.iter().map(|dataset| dataset.settings.record_size as u64).max().unwrap_or(0);
    let metaslab_shift = match spec.metaslab_size {
        Some(size) => size.ilog2(),
        // Room for some of the largest blocks in each.
        None => geometry::metaslab_shift(space.max(record_size * 64)),
    };
    let fixed = spec.size.map(|size| Geometry::of_devices(size, metaslab_shift, shape));
    let allocator = Allocator::new(shape, metaslab_shift, fixed.map(|geometry| geometry.metaslabs));
    let mut store = Store::new(&format, allocator, vdevs);
    let context =
        Context { tree, plan: &plan, creation_time: spec.creation_time, seed: seed.number("directories"), progress };
    let written = std::thread::scope(|scope| {
        let mut pipeline = Pipeline::start(scope, resources.threads.max(1), buffers, tree, &format, vdevs);
        (0..plan.datasets.len())
            .filter(|&index| plan.datasets[index].origin.is_none())
            .map(|index| Ok((index, filesystem::write(context, index, &mut store, &mut pipeline)?)))
            .collect::<Result<BTreeMap<usize, Written>, Error>>()
    })?;
    // Clones have what their origins have.
    let files_of = |index: usize| plan.datasets[index].origin.map_or(index, |origin| origin.dataset);
    let written: Vec<Written> = (0..plan.datasets.len()).map(|index| written[&files_of(index)]).collect();

    let seed = seed.with_contents(written.iter().map(|dataset| &dataset.root));
    let guids = PoolGuids::new(spec.guid.unwrap_or_else(|| seed.number("pool")), shape, &seed);
    let input = Input {
        spec,
        plan: &plan,
        written: &written,
        keys: &keys,
        seed,
        guids: &guids,
        shape,
        txg: mos::pool_txg(&plan),
    };
    let (mos, geometry) = write_mos(&mut store, input, metaslab_shift, fixed)?;

    let allocated = shape.deflated(store.allocator.total());
    let taken = allocated + mos.reserved;
    if store.allocator.overflowed() || !geometry.has_room_for(taken) {
        let metaslabs = store.allocator.used().len();
        let needed = Geometry::for_contents(taken, metaslabs, metaslab_shift, shape).size;
        return Err(Error::TooSmall { size: geometry.size, needed });
    }
    write_labels(vdevs, input, &mos, &geometry)?;
    Ok(summary(input, &geometry, allocated))
}

/// Writes the MOS: first to nowhere, until it says of space what is so.
fn write_mos(
    store: &mut Store<'_>,
    input: Input<'_>,
    metaslab_shift: u32,
    fixed: Option<Geometry>,
) -> Result<(Mos, Geometry), Error> {
    let geometry = |metaslabs: &[u64], reserved: u64| {
        let used = input.shape.deflated(metaslabs.iter().sum()) + reserved;
        fixed.unwrap_or_else(|| Geometry::for_contents(used, metaslabs.len(), metaslab_shift, input.shape))
    };
    let used = store.allocator.used().to_vec();
    let mut assumptions = Assumptions { geometry: geometry(&used, 0), metaslabs: used, usage: Usage::default() };
    loop {
        let (mos, after) = store.rehearse(|store| mos::write(store, input, &assumptions))?;
        let found = Assumptions { geometry: geometry(&after, mos.reserved), metaslabs: after, usage: mos.usage };
        if found == assumptions {
            let mos = mos::write(store, input, &assumptions)?;
            store.flush()?;
            return Ok((mos, assumptions.geometry));
        }
        assumptions = found;
    }
}

fn write_labels(vdevs: Vdevs<'_>, input: Input<'_>, mos: &Mos, geometry: &Geometry) -> Result<(), Error> {
    let spec = input.spec;
    let uberblock = Uberblock {
        version: VERSION_FEATURES,
        txg: if spec.verify_on_import { input.txg } else { input.txg + VERIFIED_TXGS },
        guid_sum: input.guids.sum(),
        timestamp: spec.creation_time,
        root: mos.root,
        software_version: VERSION_FEATURES,
        checkpoint_txg: 0,
        raidz_reflow_info: 0,
    };
    for vdev in 0..input.shape.count {
        for (child, device) in vdevs.children(vdev).iter().enumerate() {
            let config = mos::label_config(input, geometry, mos, (vdev, child)).to_xdr()?;
            device.set_size(geometry.size)?;
            for index in 0..label::COUNT {
                let offset = label::offset(index, geometry.size);
                let bytes = label::build(offset, &config, spec.ashift, uberblock.txg, |slot| uberblock.write(slot))?;
                device.write_at(&bytes, offset)?;
            }
        }
    }
    Ok(())
}

/// Bytes of regular files, and objects, that will be written.
fn totals(tree: &Tree, plan: &Plan) -> (u64, u64) {
    let files = plan.datasets.iter().flat_map(|dataset| &dataset.files);
    files.fold((0, 0), |(bytes, count), &file| {
        let node = tree.node(file);
        (bytes + if node.kind == Kind::File { node.size } else { 0 }, count + 1)
    })
}

/// The memory left for buffers, once tree and plan have theirs.
fn buffers(tree: &Tree, plan: &Plan, resources: Resources, shape: Shape) -> Result<u64, Error> {
    let taken = tree.memory() as u64 + plan.memory() + FIXED_MEMORY;
    let largest = plan.datasets.iter().map(|dataset| dataset.settings.record_size as u64).max().unwrap_or(0);
    // Every thread needs a block, its compressed form and an output.
    let buffers = (resources.threads.max(1) as u64) * 3 * largest.max(1 << 20);
    // Parity is put beside an output when it is written.
    let rows = if shape.width() > 1 { shape.allocated_size(largest.max(1 << 20)) } else { 0 };
    let least = buffers + rows;
    match resources.memory.checked_sub(taken + least) {
        // A few batches are enough to keep the threads busy, and fewer stay in the caches.
        Some(rest) => Ok(buffers + (rest / 2).min(MAX_BUFFERS)),
        None => Err(Error::Memory {
            what: "the list of all files, with buffers for the largest blocks,",
            needed: taken + least,
            limit: resources.memory,
        }),
    }
}

fn summary(input: Input<'_>, geometry: &Geometry, allocated: u64) -> Summary {
    let all = &input.plan.datasets;
    let datasets = all.iter().zip(input.written).map(|(dataset, written)| DatasetSummary {
        name: dataset.name.clone(),
        origin: dataset
            .origin
            .map(|Origin { dataset, snapshot }| format!("{}@{}", all[dataset].name, all[dataset].snapshots[snapshot])),
        files: dataset.origin.map_or(dataset, |origin| &all[origin.dataset]).files.len() as u64,
        referenced: written.usage.allocated,
        compressed: written.usage.compressed,
        logical: written.usage.uncompressed,
        snapshots: dataset.snapshots.clone(),
    });
    Summary {
        pool_guid: input.guids.pool,
        size: geometry.size,
        allocated,
        metaslab_size: 1 << geometry.metaslab_shift,
        datasets: datasets.collect(),
    }
}
