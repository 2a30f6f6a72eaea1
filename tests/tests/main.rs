//! Everything that is tested from outside, as one program.

#![expect(clippy::unwrap_used, reason = "all of this is tests, also what stands between the test functions")]

mod agent;
mod api;
mod corpora;
mod ddi;
mod disk;
mod faults;
mod lives;
mod login;
mod power;
mod real;
mod secrets;
mod signed;
mod twin;
