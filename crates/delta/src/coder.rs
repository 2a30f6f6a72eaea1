//! How does one yes or no become a fraction of a bit?
//!
//! A range coder as in LZMA, with probabilities of 16 bits. [`Encoder`] and [`Decoder`] are two sides of [`Bits`], so
//! that a model is written once and can't drift apart between server and device.

/// Probabilities are 16-bit fractions; this many bits of them.
const PROBABILITY_BITS: u32 = 16;
/// The range is kept above this, so that a probability never rounds to nothing.
const RANGE_MIN: u32 = 1 << 24;
/// Bytes by which the encoder ends a stream; the decoder starts by reading as many.
const TAIL_BYTES: usize = 5;

/// One side of the coder: takes a bit and its probability, and gives the bit that both sides have then seen.
pub trait Bits {
    /// `one` is the chance of `true` in 1/65536, between 1 and 65535. A decoder ignores `bit`.
    fn code(&mut self, bit: bool, one: u32) -> bool;
}

/// Bits to bytes.
#[cfg(any(test, feature = "make"))]
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    low: u64,
    range: u32,
    cache: u8,
    /// Bytes that wait for a carry: the cached one and 0xff after it.
    waiting: u64,
}

#[cfg(any(test, feature = "make"))]
impl Encoder {
    pub fn new() -> Encoder {
        Encoder { bytes: Vec::new(), low: 0, range: u32::MAX, cache: 0, waiting: 1 }
    }

    /// Bytes so far; the end adds at most five.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn finish(mut self) -> Vec<u8> {
        for _ in 0..TAIL_BYTES {
            self.shift();
        }
        self.bytes
    }

    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            let mut byte = self.cache;
            while self.waiting > 0 {
                self.bytes.push(byte.wrapping_add(carry));
                byte = 0xff;
                self.waiting -= 1;
            }
            self.cache = (self.low >> 24) as u8;
        }
        self.waiting += 1;
        self.low = (self.low & 0x00ff_ffff) << 8;
    }
}

#[cfg(any(test, feature = "make"))]
impl Bits for Encoder {
    fn code(&mut self, bit: bool, one: u32) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * one;
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
        bit
    }
}

/// Bytes to bits. Bytes that are missing count as zero, and [`Decoder::is_overrun`] says so.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    next: usize,
    code: u32,
    range: u32,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        let mut decoder = Decoder { bytes, next: 0, code: 0, range: u32::MAX };
        for _ in 0..TAIL_BYTES {
            decoder.code = (decoder.code << 8) | decoder.byte();
        }
        decoder
    }

    /// More was read than there is.
    pub fn is_overrun(&self) -> bool {
        self.next > self.bytes.len()
    }

    /// Exactly all bytes were read.
    pub fn is_at_end(&self) -> bool {
        self.next == self.bytes.len()
    }

    fn byte(&mut self) -> u32 {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0);
        self.next = self.next.saturating_add(1);
        u32::from(byte)
    }
}

impl Bits for Decoder<'_> {
    fn code(&mut self, _: bool, one: u32) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * one;
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.code = (self.code << 8) | self.byte();
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_in_few_bytes() {
        let chances = [1, 300, 32_768, 65_000, 65_535];
        let bit = |index: u32| (index.wrapping_mul(2_654_435_761) >> 16) < chances[index as usize % 5];
        let mut encoder = Encoder::new();
        for index in 0..50_000 {
            encoder.code(bit(index), chances[index as usize % 5]);
        }
        let bytes = encoder.finish();
        // Half of a fifth of the bits is news; the rest is nearly certain.
        assert!((1250..2200).contains(&bytes.len()), "{}", bytes.len());
        let mut decoder = Decoder::new(&bytes);
        for index in 0..50_000 {
            assert_eq!(decoder.code(false, chances[index as usize % 5]), bit(index), "bit {index}");
        }
        assert!(decoder.is_at_end() && !decoder.is_overrun());
    }

    #[test]
    fn missing_bytes_are_noticed() {
        let mut decoder = Decoder::new(&[1, 2, 3]);
        assert!(decoder.is_overrun());
        decoder.code(false, 32_768);
        assert!(!decoder.is_at_end());
    }
}
