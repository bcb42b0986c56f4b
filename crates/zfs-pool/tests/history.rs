//! The history of real pools, record by record.

mod support;

use zfs_ondisk::history::key;
use zfs_pool::Pool;

#[test]
fn the_history_has_the_commands_that_made_the_pool() {
    for name in ["snap", "tree", "comp"] {
        let Some(unpacked) = support::unpack("history", name) else { return };
        let pool = Pool::open_paths(&unpacked.images).unwrap();
        let records: Vec<_> = pool.history().unwrap().unwrap().collect::<Result<_, _>>().unwrap();
        let commands: Vec<_> = records.iter().filter_map(|record| record.values.str(key::COMMAND).ok()).collect();
        assert!(commands[0].starts_with("zpool create"), "{name}: {commands:?}");
        assert!(commands.last().unwrap().starts_with("zpool export"), "{name}: {commands:?}");
        // Nothing is out of order, and the first record is the oldest.
        let times: Vec<_> = records.iter().map(|record| record.values.u64(key::TIME).unwrap()).collect();
        assert!(times.is_sorted(), "{name}: {times:?}");
        assert_eq!(records[0].position, 0);
    }
}
