//! Signed updates, from the ceremony to the device: real programs, an attacker in the place of the server.

mod ceremony;
mod device;
mod python;
mod theft;
