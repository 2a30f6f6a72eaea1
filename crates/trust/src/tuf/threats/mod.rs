//! Does anything get past a device that believes signed metadata only? Each attack has a name, and is carried out.
//!
//! Attackers have what their name says: the repository, the keys on the server, one stolen offline key. What they make
//! is signed for real with the keys they have. `cargo xtask security` reports how many were tried and let through.

pub mod flips;
mod keys;
mod repository;
#[cfg(test)]
mod tests;
pub mod world;

/// An attack, by the name of what is attempted.
#[derive(Debug, Clone, Copy)]
pub struct Threat {
    pub name: &'static str,
    /// Carries it out.
    ///
    /// # Errors
    /// What the device did that it must not do.
    pub attempt: fn() -> Result<(), String>,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Threat> {
    [repository::THREATS, keys::THREATS].concat()
}

/// How many attacks were tried, and which were let through and how.
#[must_use]
pub fn tried() -> (usize, Vec<(&'static str, String)>) {
    let threats = all();
    let through = threats.iter().filter_map(|threat| (threat.attempt)().err().map(|how| (threat.name, how))).collect();
    (threats.len(), through)
}

/// What `cargo xtask security` reports: what was tried, and what of it was let through.
#[must_use]
pub fn figures() -> [(&'static str, u64); 4] {
    let (threats, through) = tried();
    let flips = flips::bit_flips();
    [
        ("threats_tried", threats as u64),
        ("threats_let_through", through.len() as u64),
        ("bit_flips", flips.tried),
        ("bit_flips_accepted", flips.accepted),
    ]
}

/// The attack fails if this was refused by the rule that is meant.
fn refused<T: std::fmt::Debug>(
    result: Result<T, crate::tuf::trusted::Refused>,
    by: fn(&crate::tuf::trusted::Refused) -> bool,
) -> Result<(), String> {
    match result {
        Err(refused) if by(&refused) => Ok(()),
        Err(other) => Err(format!("refused, but for another reason: {other}")),
        Ok(taken) => Err(format!("taken: {taken:?}")),
    }
}

fn holds(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}
