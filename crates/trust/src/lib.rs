//! What may be believed? Passwords, tokens, the audit chain and signed metadata.

#[cfg(feature = "attestation")]
pub mod attestation;
pub mod audit;
#[cfg(feature = "authority")]
pub mod authority;
#[cfg(feature = "delivery")]
pub mod delivery;
#[cfg(feature = "inner")]
pub mod inner;
#[cfg(feature = "people")]
pub mod jwt;
#[cfg(feature = "people")]
pub mod password;
#[cfg(feature = "people")]
pub mod seal;
#[cfg(feature = "people")]
pub mod secret;
#[cfg(feature = "people")]
pub mod totp;
#[cfg(feature = "authority")]
pub mod tpm;
#[cfg(feature = "tuf")]
pub mod tuf;
#[cfg(feature = "people")]
pub mod webhook;
