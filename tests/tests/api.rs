//! The operator API, tried from outside by requests that people and programs send, also the wrong ones.

mod access;
mod approvals;
mod attestations;
mod audit;
mod conditions;
mod devices;
mod events;
mod paging;
mod problems;
mod rollouts;
mod selectors;
mod tenancy;
mod times;
pub(crate) mod totp;
mod uploads;
