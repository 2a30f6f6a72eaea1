//! Programs we did not write, against a real server. They are skipped by `cargo xtask test --fast`.

mod agent_podman;
mod agent_rauc;
mod agent_swupdate;
mod boot;
mod bootloaders;
mod clock;
mod schemathesis;
mod swupdate;
