//! Muster's own device protocol, as docs/agent-api.md promises it.
//!
//! Each test is a black box: it acts as an operator by the API and as a device by `/device/v1`.

mod authority;
mod certificate;
mod enrollment;
mod golden;
pub(crate) mod identity;
mod join;
mod leaving;
mod onboarding;
mod program;
mod reports;
mod routes;
mod update;
mod wait;
