//! How likely is the next bit, given several opinions?
//!
//! Each context owns a slot with a chance; a logistic mixer weighs them and learns from every bit. Integers only, so
//! that every machine computes the same.

use crate::coder::Bits;

/// Chances are 22-bit fractions in the upper bits of a slot; below is how often the slot has been used.
const COUNT_BITS: u32 = 10;
const CHANCE_BITS: u32 = 22;
const HALF: u32 = 1 << 31;
/// Resolution of a chance as the mixer reads it.
const STRETCH_STEPS: usize = 4096;
/// Stretched chances are logarithms of odds in 1/256; beyond twelve, sixteen bits can't tell chances apart.
const ODDS_MAX: i32 = 12 * 256 - 1;
/// One, as weights are written.
const WEIGHT_ONE: i32 = 1 << 16;
/// Weights stay in bounds whatever a hostile stream teaches them.
const WEIGHT_MAX: i32 = 64 * WEIGHT_ONE;
/// Nothing is ever certain, or the coder could not say otherwise.
const CHANCE_MAX: i32 = 65_535 - 8;
const CHANCE_MIN: i32 = 8;

/// The tables of logarithms; the same for all predictors.
#[derive(Debug)]
pub struct Curves {
    stretch: Vec<i32>,
    squash: Vec<i32>,
    rates: Vec<i64>,
}

impl Curves {
    /// Computed without floating point: chance from odds by interpolation, odds from chance by inversion.
    pub fn new() -> Curves {
        let squash: Vec<i32> = (-ODDS_MAX..=ODDS_MAX).map(chance_of).collect();
        let mut stretch = vec![0; STRETCH_STEPS];
        let mut odds = -ODDS_MAX;
        for (step, slot) in stretch.iter_mut().enumerate() {
            let chance = step as i32 * 16 + 8;
            while odds < ODDS_MAX && squash[(odds + ODDS_MAX) as usize] < chance {
                odds += 1;
            }
            *slot = odds;
        }
        let rates = (0..1 << COUNT_BITS).map(|count| (65_536 * 2) / (count * 2 + 3)).collect();
        Curves { stretch, squash, rates }
    }
}

/// 65536 / (1 + e^(-odds / 256)).
fn chance_of(odds: i32) -> i32 {
    // e^(1/256) in 1/2^32; the power is taken by squaring, in 64 bits with 128 between.
    const STEP: u128 = 4_311_777_323;
    const ONE: u128 = 1 << 32;
    let (mut power, mut base, mut exponent) = (ONE, STEP, odds.unsigned_abs());
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = (power * base) >> 32;
        }
        base = (base * base) >> 32;
        exponent >>= 1;
    }
    let small = ((65_536 * ONE) / (ONE + power)) as i32;
    if odds < 0 { small } else { 65_536 - small }
}

/// Mixes the opinions of `N` contexts.
#[derive(Debug)]
pub struct Mixer<const N: usize> {
    slots: Vec<u32>,
    slot_bits: u32,
    weights: Vec<[i32; N]>,
    /// Slots are averages of this many last uses at the most.
    count_max: u32,
}

impl<const N: usize> Mixer<N> {
    /// `2^slot_bits` slots for each context; `sets` of weights.
    pub fn new(slot_bits: u32, sets: usize, count_max: u32) -> Mixer<N> {
        let weight = WEIGHT_ONE * 4 / (N as i32 + 5);
        Mixer { slots: vec![HALF; N << slot_bits], slot_bits, weights: vec![[weight; N]; sets], count_max }
    }

    /// Codes one bit. `contexts` are hashes, `node` tells the bits of one symbol apart, `set` chooses the weights.
    pub fn code<B: Bits>(
        &mut self,
        curves: &Curves,
        bits: &mut B,
        (contexts, node, set): (&[u32; N], u32, usize),
        bit: bool,
    ) -> bool {
        let mut inputs = [0; N];
        let mut places = [0; N];
        let weights = &mut self.weights[set];
        let mut sum = 0_i64;
        for index in 0..N {
            let place = place(contexts[index], node, self.slot_bits) + (index << self.slot_bits);
            let slot = self.slots[place];
            let input = if slot << CHANCE_BITS == 0 { 0 } else { curves.stretch[(slot >> 20) as usize] };
            places[index] = place;
            inputs[index] = input;
            sum += i64::from(weights[index]) * i64::from(input);
        }
        let odds = ((sum >> 16) as i32).clamp(-ODDS_MAX, ODDS_MAX);
        let chance = curves.squash[(odds + ODDS_MAX) as usize].clamp(CHANCE_MIN, CHANCE_MAX);
        let bit = bits.code(bit, chance as u32);
        let error = (if bit { 65_536 } else { 0 } - chance) >> 1;
        for index in 0..N {
            let weight = weights[index] + ((inputs[index] * error + (1 << 16)) >> 17);
            weights[index] = weight.clamp(-WEIGHT_MAX, WEIGHT_MAX);
            let slot = &mut self.slots[places[index]];
            *slot = moved(*slot, bit, curves, self.count_max);
        }
        bit
    }

    /// Codes eight bits, the highest first.
    pub fn byte<B: Bits>(
        &mut self,
        curves: &Curves,
        bits: &mut B,
        (contexts, set): (&[u32; N], usize),
        byte: u8,
    ) -> u8 {
        let mut node = 1_u32;
        for shift in (0..8).rev() {
            let bit = self.code(curves, bits, (contexts, node, set), byte >> shift & 1 == 1);
            node = node << 1 | u32::from(bit);
        }
        node as u8
    }
}

fn place(context: u32, node: u32, slot_bits: u32) -> usize {
    let hash = (context ^ node.wrapping_mul(0x9e37_79b1)).wrapping_mul(0x85eb_ca6b);
    ((hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35) >> (32 - slot_bits)) as usize
}

/// A slot after one more bit.
fn moved(slot: u32, bit: bool, curves: &Curves, count_max: u32) -> u32 {
    let (chance, count) = (i64::from(slot >> COUNT_BITS), slot & ((1 << COUNT_BITS) - 1));
    let target = if bit { (1 << CHANCE_BITS) - 1 } else { 0 };
    let chance = chance + (((target - chance) * curves.rates[count as usize]) >> 16);
    (chance as u32) << COUNT_BITS | (count + 1).min(count_max)
}

/// One chance by itself, for symbols that are rare.
#[derive(Debug, Clone, Copy)]
pub struct Chance(u16);

impl Chance {
    pub const EVEN: Chance = Chance(1 << 15);

    pub fn code<B: Bits>(&mut self, bits: &mut B, bit: bool) -> bool {
        let bit = bits.code(bit, u32::from(self.0).clamp(32, 65_535 - 32));
        if bit {
            self.0 += (u16::MAX - self.0) >> 4;
        } else {
            self.0 -= self.0 >> 4;
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_each_other_backwards() {
        let curves = Curves::new();
        assert_eq!(chance_of(0), 32_768);
        // 1 / (1 + e^-1) is 0.731.
        assert!((47_900..47_920).contains(&chance_of(256)), "{}", chance_of(256));
        assert!(chance_of(-ODDS_MAX) < 2 && chance_of(ODDS_MAX) > 65_534);
        for step in [100_usize, 1000, 2048, 4000] {
            let odds = curves.stretch[step];
            assert!((chance_of(odds) - step as i32 * 16).abs() < 80, "{step}: {odds}");
        }
    }
}
