//! Where in the old bytes is the longest match?

use libsais::SuffixArrayConstruction;

/// Leading bits of a suffix that a table finds at once: keeps most steps of the search out of the suffix array.
const PREFIX_BITS: u32 = 22;

/// The old bytes and their suffixes in order: four more bytes of memory for each, and 16 MiB.
#[derive(Debug)]
pub struct Sorted<'a> {
    pub old: &'a [u8],
    suffixes: Vec<i32>,
    /// For each prefix the first suffix that is not below it.
    prefixes: Vec<u32>,
}

/// The suffix array could not be made; says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sorting {bytes} bytes failed: {why}")]
pub struct SortError {
    bytes: usize,
    why: String,
}

impl<'a> Sorted<'a> {
    /// `old` must be shorter than 2 GiB.
    pub fn new(old: &'a [u8]) -> Result<Sorted<'a>, SortError> {
        let suffixes = if old.is_empty() {
            Vec::new()
        } else {
            let sorted = SuffixArrayConstruction::for_text(old).in_owned_buffer32().single_threaded().run();
            sorted.map_err(|why| SortError { bytes: old.len(), why: format!("{why:?}") })?.into_vec()
        };
        let mut prefixes = vec![0_u32; (1 << PREFIX_BITS) + 1];
        for start in 0..old.len() {
            prefixes[prefix(&old[start..]) + 1] += 1;
        }
        for index in 1..prefixes.len() {
            prefixes[index] += prefixes[index - 1];
        }
        Ok(Sorted { old, suffixes, prefixes })
    }

    /// Position and length of the longest start of `new` that the old bytes hold.
    pub fn longest(&self, new: &[u8]) -> (usize, usize) {
        if self.old.is_empty() || new.is_empty() {
            return (0, 0);
        }
        let prefix = prefix(new);
        let (mut low, mut high) = (self.prefixes[prefix] as usize, self.prefixes[prefix + 1] as usize);
        // The neighbours of the group are the best there is if the group is empty.
        let (first, last) = (low.saturating_sub(1), high.min(self.suffixes.len() - 1));
        let (mut agree_low, mut agree_high) = (0, 0);
        while low < high {
            let middle = usize::midpoint(low, high);
            let known = agree_low.min(agree_high);
            let suffix = self.suffix(middle);
            let agree = known + agreeing(suffix.get(known..).unwrap_or_default(), &new[known..]);
            if suffix.get(agree..) < new.get(agree..) {
                (low, agree_low) = (middle + 1, agree);
            } else {
                (high, agree_high) = (middle, agree);
            }
        }
        let candidates = [low.saturating_sub(1), low, first, last];
        let measured = candidates.iter().filter(|index| **index < self.suffixes.len());
        let measured = measured.map(|index| (self.suffixes[*index] as usize, agreeing(self.suffix(*index), new)));
        measured.max_by_key(|(_, bytes)| *bytes).unwrap_or((0, 0))
    }

    fn suffix(&self, index: usize) -> &[u8] {
        &self.old[self.suffixes[index] as usize..]
    }
}

fn prefix(bytes: &[u8]) -> usize {
    let byte = |index: usize| usize::from(bytes.get(index).copied().unwrap_or(0));
    (byte(0) << 16 | byte(1) << 8 | byte(2)) >> (24 - PREFIX_BITS)
}

/// How many leading bytes are the same.
pub fn agreeing(one: &[u8], other: &[u8]) -> usize {
    let words = one.chunks_exact(8).zip(other.chunks_exact(8)).take_while(|(one, other)| one == other).count() * 8;
    words + one[words..].iter().zip(&other[words..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_is_found_wherever_it_is() {
        let old: Vec<u8> = (0..2000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 29) as u8).collect();
        let sorted = Sorted::new(&old).unwrap();
        for start in 0..old.len() {
            let mut new = old[start..old.len().min(start + 40)].to_vec();
            new.push(200);
            let (position, bytes) = sorted.longest(&new);
            assert!(bytes >= new.len() - 1, "{start}");
            assert_eq!(old[position..position + bytes], new[..bytes]);
        }
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(Sorted::new(b"").unwrap().longest(b"abc"), (0, 0));
        assert_eq!(Sorted::new(b"abc").unwrap().longest(b""), (0, 0));
        assert_eq!(Sorted::new(b"abc").unwrap().longest(b"xyz").1, 0);
        assert_eq!(Sorted::new(b"abc").unwrap().longest(b"bcd"), (1, 2));
    }
}
