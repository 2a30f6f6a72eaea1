//! How is chance drawn, so that the same seed gives the same world?

/// SplitMix64: small, fast, and good enough to decide who fails. Not for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    /// A stream that depends on the seed and on every part of the key, and on nothing else.
    #[must_use]
    pub fn keyed(seed: u64, key: &[u64]) -> Self {
        let mut chance = Self(seed);
        for part in key {
            chance = Self(chance.draw() ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        Self(chance.draw())
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A share in `0.0..1.0`.
    pub fn share(&mut self) -> f64 {
        // 53 bits are all that an f64 holds.
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in `share` of the draws: never for 0.0, always for 1.0.
    pub fn happens(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }
}

/// A number that stands for a text in a key (FNV-1a).
#[must_use]
pub fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_key_changes_the_stream() {
        let draw = |seed, key: &[u64]| Chance::keyed(seed, key).draw();
        assert_eq!(draw(1, &[2, 3]), draw(1, &[2, 3]));
        assert_ne!(draw(1, &[2, 3]), draw(2, &[2, 3]));
        assert_ne!(draw(1, &[2, 3]), draw(1, &[3, 2]));
        assert_ne!(draw(1, &[2, 3]), draw(1, &[2, 3, 0]));
    }

    #[test]
    fn shares_come_out_as_asked() {
        let hits = |share| (0..10_000).filter(|n| Chance::keyed(7, &[*n]).happens(share)).count();
        assert_eq!(hits(0.0), 0);
        assert_eq!(hits(1.0), 10_000);
        assert!((800..1200).contains(&hits(0.1)), "{}", hits(0.1));
    }

    #[test]
    fn below_stays_below() {
        let mut chance = Chance::keyed(1, &[]);
        assert_eq!(chance.below(0), 0);
        assert!((0..1000).all(|_| chance.below(3) < 3));
    }
}
