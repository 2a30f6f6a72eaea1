//! hawkBit's device protocol, row by row, as real clients need it.
//!
//! Each test is a black box: it acts as an operator by the API and as a device by DDI, and knows nothing of the code.

mod artifacts;
mod authentication;
mod cancel;
mod config_data;
mod confirmation;
mod deployment;
mod feedback;
mod golden;
mod links;
mod refusals;
