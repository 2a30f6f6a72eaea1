//! Against a peer that speaks DDI as recorded, without Muster's own server.

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod peer;
