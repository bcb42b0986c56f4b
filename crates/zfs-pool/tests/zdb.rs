//! A second opinion: `zdb`, where it is installed.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use zfs_pool::Pool;

/// Objects by dataset, as `zdb -d` lists them. Some versions never end when they
/// have printed everything: what comes within a time has to do.
fn objects_by_zdb(dir: &Path, pool: &str, datasets: usize) -> Option<BTreeMap<String, u64>> {
    // Without this, zdb keeps its last lines until it ends.
    let mut zdb = Command::new("stdbuf")
        .args(["-oL", "zdb", "-e", "-p"])
        .arg(dir)
        .args(["-d", pool])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let lines = BufReader::new(zdb.stdout.take()?).lines();
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut counts = BTreeMap::new();
    while counts.len() < datasets {
        let Ok(line) = receiver.recv_timeout(Duration::from_secs(30)) else { break };
        counts.extend(parse(&line));
    }
    let _ = zdb.kill();
    let _ = zdb.wait();
    drop(receiver);
    let _ = reader.join();
    (!counts.is_empty()).then_some(counts)
}

/// `Dataset snap/a [ZPL], ID 77, cr_txg 9, 804K, 253 objects`
fn parse(line: &str) -> Option<(String, u64)> {
    let (name, rest) = line.strip_prefix("Dataset ")?.split_once(" [")?;
    let count = rest.strip_suffix(" objects")?.rsplit_once(' ')?.1;
    Some((name.to_owned(), count.parse().ok()?))
}

#[test]
fn zdb_counts_the_same_objects() {
    let Some(unpacked) = support::unpack("zdb", "snap") else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    let mut expected: BTreeMap<String, u64> = pool
        .datasets()
        .unwrap()
        .iter()
        .map(|dataset| (dataset.name.clone(), dataset.objects().unwrap().unwrap().objects().count() as u64))
        .collect();
    expected.insert("mos".into(), pool.mos().unwrap().objects().count() as u64);
    let Some(found) = objects_by_zdb(unpacked.dir.path(), "snap", expected.len()) else {
        println!("skipped: zdb: it is not installed");
        return;
    };
    assert_eq!(found, expected);
}
