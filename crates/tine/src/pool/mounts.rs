//! Which file systems lie in another one when all are mounted.

use std::collections::HashMap;

use zfs_ondisk::objset::Kind;
use zfs_pool::fs::FileSystem;
use zfs_pool::{Dataset, DatasetKind, Error, PropertyValue};

use super::place::tell;
use super::walk::normal;

/// `zfs_canmount_type_t` (`sys/fs/zfs.h`).
const CANMOUNT_OFF: u64 = 0;
const CANMOUNT_ON: u64 = 1;

/// The file systems that are mounted below a dataset, each by its path from there: those of the whole pool whose
/// mountpoint is below that of the dataset and which are mounted by themselves (`canmount=on`). Where the dataset has no
/// mountpoint, those below it by name. Of a snapshot, the snapshots of the same name.
pub(crate) fn below(dataset: &Dataset) -> Result<Vec<(Vec<u8>, FileSystem)>, Error> {
    let (head, snapshot) = match dataset.name.split_once('@') {
        Some((head, snapshot)) => (head, Some(snapshot)),
        None => (dataset.name.as_str(), None),
    };
    let all = dataset.pool().datasets()?;
    let points = mountpoints(&all)?;
    let own = points.get(head).cloned().flatten();
    let mut found = Vec::new();
    for candidate in all.iter().filter(|candidate| candidate.kind == DatasetKind::Head && candidate.name != head) {
        let path = match (&own, points.get(&candidate.name).cloned().flatten()) {
            (Some(own), Some(point)) => below_path(own.as_bytes(), point.as_bytes()),
            (None, _) => candidate.name.strip_prefix(head).and_then(|rest| rest.strip_prefix('/')).map(Into::into),
            _ => None,
        };
        let (Some(path), CANMOUNT_ON) = (path, canmount(candidate)?) else { continue };
        let of = match snapshot {
            None => candidate.clone(),
            Some(snapshot) => match dataset.pool().dataset(&format!("{}@{snapshot}", candidate.name)) {
                Ok(dataset) => dataset,
                Err(Error::NoDataset(_)) => {
                    tell(&candidate.name, format_args!("left out, as it has no snapshot '@{snapshot}'"));
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        match of.objects()? {
            Some(set) if set.kind() == Some(Kind::FileSystem) => found.push((path, FileSystem::from_objects(set)?)),
            _ => {}
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// The mountpoints of file systems by name; `None` where nothing says one. A dataset comes before those below it.
fn mountpoints(all: &[Dataset]) -> Result<HashMap<String, Option<String>>, Error> {
    let mut points: HashMap<String, Option<String>> = HashMap::new();
    for dataset in all.iter().filter(|dataset| dataset.kind == DatasetKind::Head) {
        let set = set_here(dataset, "mountpoint")?.and_then(|value| match value {
            PropertyValue::Text(text) => Some(text),
            PropertyValue::Number(_) => None,
        });
        let point = match (set.as_deref(), dataset.name.rsplit_once('/')) {
            (Some("none" | "legacy"), _) => None,
            (Some(point), _) => Some(point.to_owned()),
            (None, None) => Some(format!("/{}", dataset.name)),
            (None, Some((parent, name))) => {
                let above = points.get(parent).cloned().flatten();
                above.map(|above| format!("{}/{name}", above.trim_end_matches('/')))
            }
        };
        points.insert(dataset.name.clone(), point);
    }
    Ok(points)
}

fn canmount(dataset: &Dataset) -> Result<u64, Error> {
    Ok(match set_here(dataset, "canmount")? {
        Some(PropertyValue::Number(value)) => value,
        Some(PropertyValue::Text(_)) => CANMOUNT_OFF,
        None => CANMOUNT_ON,
    })
}

/// What was set on a dataset itself, or else received with it.
fn set_here(dataset: &Dataset, name: &str) -> Result<Option<PropertyValue>, Error> {
    let properties = dataset.properties()?;
    let find = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    Ok(find(name).or_else(|| find(&format!("{name}$recvd"))))
}

/// The path of a mountpoint from another one, if it is below that.
fn below_path(own: &[u8], point: &[u8]) -> Option<Vec<u8>> {
    let (own, point) = (normal(own)?, normal(point)?);
    let rest = if own.is_empty() { &point[..] } else { point.strip_prefix(&own[..])?.strip_prefix(b"/")? };
    (!rest.is_empty()).then(|| rest.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountpoints_are_below_others_by_their_parts() {
        assert_eq!(below_path(b"/", b"/home"), Some(b"home".to_vec()));
        assert_eq!(below_path(b"/usr", b"/usr/home/"), Some(b"home".to_vec()));
        assert_eq!(below_path(b"/usr", b"/usr2"), None);
        assert_eq!(below_path(b"/usr", b"/usr"), None);
        assert_eq!(below_path(b"/usr", b"/"), None);
    }
}
