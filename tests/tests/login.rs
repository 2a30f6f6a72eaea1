//! Logging in by a provider, and programs that an issuer vouches for: npm's `oidc-provider`, and attackers beside it.

mod people;
mod workloads;
mod world;
