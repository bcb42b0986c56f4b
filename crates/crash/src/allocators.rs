//! Where the kernel's memory went: types of malloc(9), as `vmstat -m` has them, and zones of uma(9), as `vmstat -z` has.

use serde::Serialize;
use symbols::{TypeKind, Value};

use crate::dump::Crash;
use crate::error::{Error, Result};
use crate::percpu::PerCpu;
use crate::queue;

/// Longest name.
const NAME: usize = 256;
/// Domains of memory (`MAXMEMDOM`).
const MAX_DOMAINS: u64 = 256;

/// What the allocators have given out. What could not be read is told among the problems.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Memory {
    /// Types of malloc(9), those with the most memory first.
    pub types: Vec<MallocType>,
    /// Zones of uma(9), those with the most memory first.
    pub zones: Vec<Zone>,
    /// Pages of physical memory.
    pub pages: Option<Pages>,
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
}

/// A type of malloc(9).
#[derive(Clone, Debug, Serialize)]
pub struct MallocType {
    /// Its name.
    pub name: String,
    /// How many allocations are in use.
    pub in_use: i64,
    /// Bytes in use.
    pub bytes: i64,
    /// How many allocations there were.
    pub requests: u64,
}

/// A zone of uma(9).
#[derive(Clone, Debug, Serialize)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Bytes of an item.
    pub size: u64,
    /// The most items that it may have; 0 if there is no limit.
    pub limit: u64,
    /// Items in use.
    pub used: i64,
    /// Items that are free, in the caches of processors and in slabs.
    pub free: u64,
    /// How many items were asked for.
    pub requests: u64,
    /// How many of the requests failed.
    pub failures: u64,
    /// How often somebody slept for an item.
    pub sleeps: u64,
    /// Items in a bucket of a processor.
    pub bucket: u64,
}

/// Pages of physical memory (`struct vmmeter`), as `vmstat -s` counts them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pages {
    /// Bytes of a page.
    pub size: u64,
    /// All pages.
    pub total: Option<u64>,
    /// Free ones.
    pub free: Option<u64>,
    /// Wired ones.
    pub wired: Option<u64>,
    /// Active ones.
    pub active: Option<u64>,
    /// Inactive ones.
    pub inactive: Option<u64>,
    /// Those to be laundered.
    pub laundry: Option<u64>,
}

impl Zone {
    /// Bytes of its items, the free ones included.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.used).unwrap_or(0).saturating_add(self.free).saturating_mul(self.size)
    }
}

impl Memory {
    /// Reads all of it.
    pub fn of(crash: &Crash) -> Self {
        let mut memory = Self::default();
        let cpus = PerCpu::of(crash);
        let mut problems = Vec::new();
        match types(crash, &cpus, &mut problems) {
            Ok(types) => memory.types = types,
            Err(error) => problems.push(format!("types of malloc: {error}")),
        }
        match zones(crash, &cpus, &mut problems) {
            Ok(zones) => memory.zones = zones,
            Err(error) => problems.push(format!("zones of memory: {error}")),
        }
        memory.types.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        memory.zones.sort_by(|a, b| b.bytes().cmp(&a.bytes()).then_with(|| a.name.cmp(&b.name)));
        memory.pages = pages(crash, &cpus);
        memory.problems = problems;
        memory
    }
}

/// `kmemstatistics` (`sys/kern/kern_malloc.c`).
fn types(crash: &Crash, cpus: &PerCpu, problems: &mut Vec<String>) -> Result<Vec<MallocType>> {
    let first = crash.program().variable("kmemstatistics")?;
    let internal = crash.program().ty("struct malloc_type_internal")?;
    let statistics = crash.program().ty("struct malloc_type_stats")?;
    let chain = queue::chain(first, "ks_next")?;
    problems.extend(chain.broken.map(|why| format!("types of malloc: {why}")));
    let read = |value: &Value| -> Result<MallocType> {
        // Within the type, and before FreeBSD 13 somewhere else.
        let own = match value.resolved_type()?.has_field("ks_mti") {
            true => value.field("ks_mti")?,
            false => crash.program().value(&internal, value.field("ks_handle")?.unsigned()?),
        };
        let stats = own.field("mti_stats")?;
        // An array within the structure, before FreeBSD 12.
        let copies: Vec<Value> = match stats.resolved_type()?.kind() {
            TypeKind::Array => stats.elements(cpus.cpus())?,
            _ => cpus.copies(crash, &statistics, stats.unsigned()?).collect(),
        };
        let sum = |field: &str| -> Result<u64> {
            copies.iter().try_fold(0u64, |sum, copy| Ok(sum.wrapping_add(copy.field(field)?.unsigned()?)))
        };
        let requests = sum("mts_numallocs")?;
        Ok(MallocType {
            name: value.field("ks_shortdesc")?.string(NAME)?,
            in_use: requests.wrapping_sub(sum("mts_numfrees")?) as i64,
            bytes: sum("mts_memalloced")?.wrapping_sub(sum("mts_memfreed")?) as i64,
            requests,
        })
    };
    Ok(each(&chain.elements, "a type of malloc", read, problems))
}

/// `uma_kegs` and `uma_cachezones` (`sys/vm/uma_core.c`).
fn zones(crash: &Crash, cpus: &PerCpu, problems: &mut Vec<String>) -> Result<Vec<Zone>> {
    let domains = crash.program().variable("vm_ndomains").and_then(|count| count.unsigned());
    let domains = domains.unwrap_or(1).min(MAX_DOMAINS);
    let kegs = queue::elements(&crash.program().variable("uma_kegs")?, "uk_link")?;
    problems.extend(kegs.broken.map(|why| format!("zones of memory: {why}")));
    let mut all = Vec::new();
    for keg in &kegs.elements {
        let Ok(list) = keg.field("uk_zones").map_err(Error::from).and_then(|head| queue::elements(&head, "uz_link"))
        else {
            problems.push(format!("zones of memory: the keg at {:#x} cannot be read", keg.address().unwrap_or(0)));
            continue;
        };
        let first = list.elements.first().and_then(Value::address);
        let read = |zone: &Value| {
            let is_first = zone.address() == first;
            ZoneReader { crash, cpus, domains, zone }.read(Some((keg, is_first)))
        };
        all.extend(each(&list.elements, "a zone of memory", read, problems));
    }
    if let Ok(list) = crash.program().variable("uma_cachezones")
        && let Ok(list) = queue::elements(&list, "uz_link")
    {
        let read = |zone: &Value| ZoneReader { crash, cpus, domains, zone }.read(None);
        all.extend(each(&list.elements, "a cache of memory", read, problems));
    }
    Ok(all)
}

struct ZoneReader<'z> {
    crash: &'z Crash,
    cpus: &'z PerCpu,
    domains: u64,
    zone: &'z Value,
}

impl ZoneReader<'_> {
    fn read(&self, keg: Option<(&Value, bool)>) -> Result<Zone> {
        const SECONDARY: u64 = 0x200;
        let zone = self.zone;
        let ty = zone.resolved_type()?;
        let (mut requests, mut frees) = (self.count("uz_allocs")?, self.count("uz_frees")?);
        let mut free = 0u64;
        let caches = zone.field("uz_cpu")?;
        for cpu in 0..self.cpus.cpus() {
            let cache = caches.element(cpu.into())?;
            requests = requests.wrapping_add(cache.field("uc_allocs")?.unsigned()?);
            frees = frees.wrapping_add(cache.field("uc_frees")?.unsigned()?);
            for bucket in ["uc_allocbucket", "uc_freebucket", "uc_crossbucket"] {
                free = free.wrapping_add(in_bucket(&cache, bucket)?);
            }
        }
        let shares = zone.field("uz_flags")?.unsigned()? & SECONDARY != 0;
        // A zone that shares its keg does not count what the keg has.
        let owned = keg.filter(|(_, is_first)| *is_first || !shares).map(|(keg, _)| keg);
        for domain in 0..self.domains {
            free = free.wrapping_add(self.in_domain(domain).unwrap_or(0));
            let of_keg = owned.and_then(|keg| keg.field("uk_domain").ok()?.element(domain.into()).ok());
            if let Some(domain) = of_keg.filter(|domain| has(domain, "ud_free_items")) {
                free = free.wrapping_add(domain.field("ud_free_items")?.unsigned()?);
            }
        }
        if let Some(keg) = owned.filter(|keg| has(keg, "uk_free")) {
            free = free.wrapping_add(keg.field("uk_free")?.unsigned()?);
        }
        let number = |value: &Value, field: &str| value.field(field).and_then(|field| field.unsigned());
        let size = match keg {
            Some((keg, _)) => number(keg, "uk_size")?,
            None => number(zone, "uz_size")?,
        };
        let limit = match keg {
            _ if ty.has_field("uz_max_items") => number(zone, "uz_max_items")?,
            Some((keg, _)) if has(keg, "uk_maxpages") => {
                let pages = number(keg, "uk_maxpages")? / number(keg, "uk_ppera")?.max(1);
                pages.saturating_mul(number(keg, "uk_ipers")?)
            }
            _ => 0,
        };
        let bucket = ["uz_bucket_size", "uz_count"].into_iter().find(|name| ty.has_field(name));
        Ok(Zone {
            name: zone.field("uz_name")?.string(NAME)?,
            size,
            limit,
            used: requests.wrapping_sub(frees) as i64,
            free,
            requests,
            failures: self.count("uz_fails").unwrap_or(0),
            sleeps: number(zone, "uz_sleeps").unwrap_or(0),
            bucket: bucket.map_or(Ok(0), |name| number(zone, name))?,
        })
    }

    /// A number of the zone, which newer kernels keep for each processor by itself.
    fn count(&self, field: &str) -> Result<u64> {
        let value = self.zone.field(field)?;
        let number = value.unsigned()?;
        match value.resolved_type()?.kind() {
            TypeKind::Pointer => Ok(self.cpus.counter(self.crash, number)),
            _ => Ok(number),
        }
    }

    /// Items in the full buckets of a domain: a table of its own, or behind the caches of the processors.
    fn in_domain(&self, domain: u64) -> Result<u64> {
        if has(self.zone, "uz_domain") {
            return Ok(self.zone.field("uz_domain")?.element(domain.into())?.field("uzd_nitems")?.unsigned()?);
        }
        let behind = self.zone.field("uz_cpu")?.element(self.cpus.cpus().into())?;
        let ty = self.crash.program().ty("struct uma_zone_domain")?;
        let size = ty.size()?;
        let at = behind.address().unwrap_or(0).wrapping_add(domain.wrapping_mul(size));
        Ok(self.crash.program().value(&ty, at).field("uzd_nitems")?.unsigned()?)
    }
}

/// Items in a bucket of a processor: a pointer to one, and in newer kernels what counts is beside it.
fn in_bucket(cache: &Value, name: &str) -> Result<u64> {
    if !has(cache, name) {
        return Ok(0);
    }
    let bucket = cache.field(name)?;
    match bucket.resolved_type()?.kind() {
        TypeKind::Pointer if bucket.is_zero()? => Ok(0),
        TypeKind::Pointer => Ok(bucket.field("ub_cnt")?.unsigned()?),
        _ => Ok(bucket.field("ucb_cnt")?.unsigned()?),
    }
}

fn has(value: &Value, field: &str) -> bool {
    value.resolved_type().is_ok_and(|ty| ty.has_field(field))
}

/// What can be read of these; how many cannot is a problem.
fn each<T>(values: &[Value], what: &str, read: impl Fn(&Value) -> Result<T>, problems: &mut Vec<String>) -> Vec<T> {
    let (mut all, mut failed) = (Vec::new(), None);
    for value in values {
        match read(value) {
            Ok(one) => all.push(one),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        problems.push(format!("{what}: {} cannot be read: {error}", values.len() - all.len()));
    }
    all
}

/// `vm_cnt` (`sys/vmmeter.h`), and of newer kernels the queues of each domain.
fn pages(crash: &Crash, cpus: &PerCpu) -> Option<Pages> {
    let program = crash.program();
    let counts = program.variable("vm_cnt").ok()?;
    let one = |name: &str| {
        let value = counts.field(name).ok()?;
        let number = value.unsigned().ok()?;
        match value.resolved_type().ok()?.kind() {
            TypeKind::Pointer => Some(cpus.counter(crash, number)),
            _ => Some(number),
        }
    };
    let domains = program.variable("vm_ndomains").and_then(|count| count.unsigned()).unwrap_or(1).min(MAX_DOMAINS);
    let sum = |path: &str, index: Option<i128>| {
        let table = program.variable("vm_dom").ok()?;
        (0..domains).try_fold(0u64, |sum, domain| {
            let domain = table.element(domain.into()).ok()?;
            let value = match index {
                Some(index) => domain.field("vmd_pagequeues").ok()?.element(index).ok()?.field("pq_cnt").ok()?,
                None => domain.field(path).ok()?,
            };
            Some(sum.wrapping_add(value.unsigned().ok()?))
        })
    };
    // `PQ_INACTIVE`, `PQ_ACTIVE`, `PQ_LAUNDRY` (`sys/vm/vm_page.h`).
    Some(Pages {
        size: one("v_page_size").unwrap_or(4096),
        total: one("v_page_count"),
        free: sum("vmd_free_count", None).or_else(|| one("v_free_count")),
        wired: one("v_wire_count"),
        active: sum("", Some(1)).or_else(|| one("v_active_count")),
        inactive: sum("", Some(0)).or_else(|| one("v_inactive_count")),
        laundry: sum("", Some(2)).or_else(|| one("v_laundry_count")),
    })
}
