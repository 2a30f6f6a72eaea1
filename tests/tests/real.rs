//! Programs we did not write against a real server, and what takes a minute. `cargo xtask test --fast` skips them.

mod agent_docker;
mod agent_podman;
mod agent_rauc;
mod agent_swupdate;
mod boot;
mod bootloaders;
mod clients;
mod clock;
mod est;
mod inner;
mod schemathesis;
mod squashfs;
mod storm;
mod streams;
mod swupdate;
mod systemd_boot;
mod tpm;
mod unit;
