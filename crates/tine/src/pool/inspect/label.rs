//! `tine pool inspect label`: the four labels of a device.

use zfs_ondisk::checksum::embedded::{self, Verifier};
use zfs_ondisk::label;
use zfs_ondisk::nvlist::{NvList, Value};
use zfs_pool::Device;

use super::dump::Dump;
use super::nvlist;
use super::shown::{Shown, printable};

/// A label's configuration as it was found.
struct Found {
    offset: u64,
    config: Result<NvList, String>,
}

/// Dumps the labels of a device.
pub(crate) fn dump(dump: &mut Dump, device: &Device) {
    dump.field("device", device.name());
    dump.field("size", Shown::size(device.size()));
    let labels: Vec<Found> = (0..label::COUNT).map(|index| read(device, index)).collect();
    let first = labels.iter().position(|label| label.config.is_ok());
    dump.list("labels", |dump| {
        for (index, found) in labels.iter().enumerate() {
            dump.item(format_args!("label {index}"), |dump| {
                if dump.is_json() {
                    dump.field("label", index as u64);
                }
                dump.field("offset", Shown::offset(found.offset));
                one(dump, found, &labels, first.filter(|&first| first != index));
            });
        }
    });
}

fn one(dump: &mut Dump, found: &Found, labels: &[Found], first: Option<usize>) {
    let config = match &found.config {
        Ok(config) => config,
        Err(fault) => {
            dump.field("valid", false);
            return dump.fault("fault", fault);
        }
    };
    dump.field("valid", true);
    let other = first.and_then(|first| Some((first, labels.get(first)?.config.as_ref().ok()?)));
    match other {
        // The same tree once more tells people nothing.
        Some((first, other)) if !dump.is_json() && config == other => {
            dump.field("configuration", format!("the same as that of label {first}"));
        }
        Some((first, other)) => {
            let differences = differences(other, config);
            if !differences.is_empty() {
                let name = format!("differs from label {first}");
                dump.field(&name, Shown::new(differences.join(", "), differences));
            }
            nvlist::dump(dump, "configuration", config);
        }
        None => nvlist::dump(dump, "configuration", config),
    }
}

fn read(device: &Device, index: u64) -> Found {
    let offset = label::offset(index, device.size());
    Found { offset, config: read_config(device, offset) }
}

fn read_config(device: &Device, label: u64) -> Result<NvList, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    if device.size() < label::COUNT * label::SIZE {
        return Err(format!("the device has {} bytes, fewer than its labels take", device.size()));
    }
    let offset = label + label::CONFIG_OFFSET as u64;
    let mut bytes = vec![0; label::CONFIG_SIZE];
    device.read_exact_at(&mut bytes, offset).map_err(|error| text(&error))?;
    embedded::verify(&bytes, &Verifier::Label { offset }).map_err(|error| text(&error))?;
    NvList::decode(&bytes).map_err(|error| text(&error))
}

/// The values that differ between two lists, by their paths.
fn differences(left: &NvList, right: &NvList) -> Vec<String> {
    let mut found = Vec::new();
    compare(left, right, "", &mut found);
    found
}

fn compare(left: &NvList, right: &NvList, path: &str, found: &mut Vec<String>) {
    let names = left.iter().map(|(name, _)| name);
    let added = right.iter().map(|(name, _)| name).filter(|name| !left.contains(name));
    for name in names.chain(added) {
        let at = format!("{path}{}", printable(name));
        match (left.get(name), right.get(name)) {
            (left, right) if left == right => {}
            (Some(Value::NvList(left)), Some(Value::NvList(right))) => compare(left, right, &format!("{at}."), found),
            (Some(Value::NvListArray(left)), Some(Value::NvListArray(right))) if left.len() == right.len() => {
                for (index, (left, right)) in left.iter().zip(right).enumerate() {
                    compare(left, right, &format!("{at}[{index}]."), found);
                }
            }
            _ => found.push(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_their_paths() {
        let child = |path: &str| NvList::new().with("path", path).with("id", 1);
        let list = |txg: u64, path: &str| {
            let tree = NvList::new().with("children", vec![child("/dev/a"), child(path)]);
            NvList::new().with("txg", txg).with("name", "t").with("vdev_tree", tree)
        };
        assert_eq!(differences(&list(4, "/dev/b"), &list(4, "/dev/b")), [""; 0]);
        let other = list(5, "/dev/c").with("state", 1);
        assert_eq!(differences(&list(4, "/dev/b"), &other), ["txg", "vdev_tree.children[1].path", "state"]);
    }
}
