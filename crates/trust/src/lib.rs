//! What may be believed? Passwords, tokens and the audit chain.

pub mod audit;
pub mod authority;
pub mod password;
pub mod secret;
