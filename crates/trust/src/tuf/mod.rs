//! What did the holders of the keys sign? The Update Framework (TUF 1.0), both sides of it.
//!
//! Reading, for devices: [`session`] asks for documents one after the other, [`trusted`] has the rules by which each is
//! taken or refused, [`document`] their fields, [`canonical`] the bytes that are signed, [`key`] the signatures.
//! Nothing here reads a file, a clock or the network.

pub mod canonical;
pub mod document;
pub mod key;
pub mod pattern;
pub mod session;
pub mod trusted;
