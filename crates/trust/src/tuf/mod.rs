//! What did the holders of the keys sign? The Update Framework (TUF 1.0), both sides of it.
//!
//! Reading, for devices: [`session`] asks for documents one after the other, [`trusted`] has the rules by which each is
//! taken or refused, [`document`] their fields, [`canonical`] the bytes that are signed, [`key`] the signatures.
//! Writing, for servers and for whoever holds offline keys: [`make`] has the documents, `secret_key` keys in files, `shelf`
//! what is served.
//! `threats` is what both sides are tried with. [`statement`] is what Muster signs about a release. Nothing here reads a file, a clock or the network.

pub mod canonical;
pub mod document;
pub mod key;
#[cfg(feature = "tuf-make")]
pub mod make;
pub mod pattern;
#[cfg(feature = "tuf-make")]
pub mod secret_key;
pub mod session;
#[cfg(feature = "tuf-make")]
pub mod shelf;
pub mod statement;
#[cfg(feature = "tuf-make")]
pub mod threats;
pub mod trusted;
