//! The disks that the agent's code runs on keep the same promises.

use muster_agent::io::disk::RealDisk;
use muster_tests::disk::contract;

#[test]
fn the_real_disk_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    contract(&RealDisk, &folder.path().join("disk"));
}
