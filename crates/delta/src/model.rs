//! What does the decoder expect next?
//!
//! One range-coded stream carries commands, differences and literals in the order in which they are needed, so that
//! applying needs the tables below and nothing else. The same functions encode and decode: see [`Bits`].

use crate::coder::Bits;
use crate::mix::{Chance, Curves, Mixer};

/// Bytes of the old file around a copied one that the model looks at; those outside the file are zero.
pub const MARGIN_BYTES: usize = 8;
/// After this many equal bytes the length of the run is coded, not each byte.
const QUIET_BYTES: u32 = 128;
/// Literals that may repeat: a power of two.
const HISTORY_BYTES: usize = 1 << 18;
const HISTORY_HASH_BITS: u32 = 16;
/// A repetition is looked for by this many bytes.
const REPEAT_BYTES: usize = 5;
/// Longer numbers than this have no meaning in a delta.
const NUMBER_BITS_MAX: u32 = 48;

const COPY_CONTEXTS: usize = 10;
const LITERAL_CONTEXTS: usize = 7;
const SLOT_BITS: u32 = 16;

/// What to do next, as a number of [`Number::Kind`].
#[derive(Debug)]
pub struct Command;

impl Command {
    pub const COPY: u64 = 0;
    pub const LITERAL: u64 = 1;
    /// Copies from somewhere else; a copy follows.
    pub const SEEK: u64 = 2;
}

/// What a number means; each kind has chances of its own.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// A [`Command`].
    Kind,
    Seek,
    Copy,
    Literal,
    Quiet,
}

impl Number {
    const KINDS: usize = Number::Quiet as usize + 1;
}

/// Says that a stream could not have been written by the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonsense;

#[derive(Debug)]
pub struct Model {
    curves: Curves,
    copies: Mixer<COPY_CONTEXTS>,
    literals: Mixer<LITERAL_CONTEXTS>,
    numbers: Vec<Chance>,
    history: History,
    /// The last bytes of the output, the newest lowest.
    recent: u64,
    /// The last differences, the newest lowest.
    differences: u64,
    /// Equal bytes since the last difference.
    quiet: u32,
    fields: Fields,
}

impl Model {
    pub fn new() -> Model {
        Model {
            curves: Curves::new(),
            copies: Mixer::new(SLOT_BITS, 4 * 3, 250),
            literals: Mixer::new(SLOT_BITS, 16, 120),
            numbers: vec![Chance::EVEN; Number::KINDS * Self::CHANCES_PER_NUMBER],
            history: History::new(),
            recent: 0,
            differences: 0,
            quiet: 0,
            fields: Fields::new(),
        }
    }

    const CHANCES_PER_NUMBER: usize = 64 + 64 * 8;

    /// Codes a number below 2^48: its length in bits, its three bits after the first, and the rest as it is.
    pub fn number<B: Bits>(&mut self, bits: &mut B, kind: Number, value: u64) -> Result<u64, Nonsense> {
        let base = kind as usize * Self::CHANCES_PER_NUMBER;
        let chances = &mut self.numbers[base..base + Self::CHANCES_PER_NUMBER];
        let length = u64::BITS - value.leading_zeros();
        let mut node = 1;
        for shift in (0..6).rev() {
            node = node << 1 | usize::from(chances[node].code(bits, length >> shift & 1 == 1));
        }
        let length = node as u32 - 64;
        if length > NUMBER_BITS_MAX {
            return Err(Nonsense);
        }
        let mut found = u64::from(length > 0);
        for (done, shift) in (0..length.saturating_sub(1)).rev().enumerate() {
            let bit = value >> shift & 1 == 1;
            let bit = if done < 3 {
                chances[64 + length as usize * 8 + found as usize].code(bits, bit)
            } else {
                bits.code(bit, 1 << 15)
            };
            found = found << 1 | u64::from(bit);
        }
        Ok(found)
    }

    /// Codes `new` as differences from the middle of `old`, which has [`MARGIN_BYTES`] more at both ends.
    pub fn copy<B: Bits>(
        &mut self,
        bits: &mut B,
        (old, new): (&[u8], &mut [u8]),
        (old_position, new_position): (u64, u64),
    ) -> Result<(), Nonsense> {
        self.fields.begin(old_position, new_position);
        let mut at = 0;
        while at < new.len() {
            let mut is_certain = false;
            if self.quiet >= QUIET_BYTES {
                let rest = &old[at + MARGIN_BYTES..];
                let run = new[at..].iter().zip(rest).take_while(|(new, old)| new == old).count();
                let run = self.number(bits, Number::Quiet, run as u64)?;
                let end = usize::try_from(run).ok().and_then(|run| at.checked_add(run)).ok_or(Nonsense)?;
                let equal = old.get(at + MARGIN_BYTES..end + MARGIN_BYTES).ok_or(Nonsense)?;
                new.get_mut(at..end).ok_or(Nonsense)?.copy_from_slice(equal);
                self.quiet = 0;
                self.differences = 0;
                self.fields.pass();
                at = end;
                is_certain = true;
            }
            if at < new.len() {
                new[at] = self.copied(bits, (&old[at..at + 2 * MARGIN_BYTES], at), new[at], is_certain);
                at += 1;
            }
        }
        let last = &new[new.len().saturating_sub(MARGIN_BYTES)..];
        self.recent = last.iter().fold(self.recent, |recent, byte| recent << 8 | u64::from(*byte));
        Ok(())
    }

    /// Codes bytes that the old file does not have.
    pub fn literal<B: Bits>(&mut self, bits: &mut B, new: &mut [u8]) {
        for byte in new {
            let recent = self.recent;
            let (expected, length) = self.history.expected();
            let order = |bytes: u32| hash(recent & ((1 << (8 * bytes)) - 1), bytes);
            let repeat = hash(u64::from(expected), 32 + length.min(15));
            let contexts = [order(0), order(1), order(2), order(3), order(4), order(6), repeat];
            *byte = self.literals.byte(&self.curves, bits, (&contexts, length.min(15) as usize), *byte);
            self.recent = recent << 8 | u64::from(*byte);
            self.history.push(*byte, self.recent);
        }
        self.quiet = 0;
        self.differences = 0;
    }

    /// One copied byte; `old` has it in its middle.
    fn copied<B: Bits>(&mut self, bits: &mut B, (old, at): (&[u8], usize), new: u8, is_certain: bool) -> u8 {
        let around = u64::from_le_bytes([old[4], old[5], old[6], old[7], old[8], old[9], old[10], old[11]]);
        let was = old[MARGIN_BYTES];
        let last = self.differences;
        let guesses = self.fields.guesses((around >> 32) as u32, at as u32);
        let contexts = [
            hash(last & 0xff_ffff, 0),
            hash(around >> 24 & 0xffff | (last & 0xffff) << 16, 1),
            hash(around >> 24 & 0xff_ffff_ffff | (last & 0xff) << 40, 2),
            hash(around & 0xff_ffff_ffff, 3),
            hash(u64::from(self.quiet.min(16)) | (last >> 24 & 0xffff) << 8, 4),
            hash(around >> 32 | (last & 0xffff) << 32, 5),
            hash(u64::from(was) | u64::from(last & 0xff != 0) << 8, 6),
            hash(guesses[0], 7),
            hash(guesses[1], 8),
            hash(guesses[2], 9),
        ];
        let set = self.quiet.min(3) as usize;
        let code = (&contexts, 0, set);
        if !is_certain && !self.copies.code(&self.curves, bits, code, new != was) {
            self.quiet += 1;
            self.differences = last << 8;
            self.fields.next(was, was);
            return was;
        }
        let difference = self.copies.byte(&self.curves, bits, (&contexts, 4 + set), new.wrapping_sub(was));
        self.quiet = 0;
        self.differences = last << 8 | u64::from(difference);
        self.fields.next(was, was.wrapping_add(difference));
        was.wrapping_add(difference)
    }
}

const PLACE_BITS: u32 = 15;

/// Numbers of four bytes that point somewhere: what a changed one tells about others.
#[derive(Debug)]
struct Fields {
    old: u32,
    shift: u32,
    /// How far the byte that a number points to has moved: numbers relative to their own place, then absolute ones.
    moves: [Vec<Option<u32>>; 2],
    /// What was last added to a number.
    last: u32,
    /// The number being changed: its old value, what it becomes by each guess, what it became so far, where.
    was: u32,
    guesses: [Option<u32>; 3],
    became: u32,
    at: u32,
    /// Bytes done; four is none being changed.
    done: u32,
    hits: [u8; 3],
}

impl Fields {
    fn new() -> Fields {
        let moves = [vec![None; 1 << PLACE_BITS], vec![None; 1 << PLACE_BITS]];
        Fields { old: 0, shift: 0, moves, last: 0, was: 0, guesses: [None; 3], became: 0, at: 0, done: 4, hits: [0; 3] }
    }

    fn begin(&mut self, old_position: u64, new_position: u64) {
        self.old = old_position as u32;
        self.shift = (new_position as u32).wrapping_sub(self.old);
        self.done = 4;
    }

    fn pass(&mut self) {
        self.done = 4;
    }

    fn target(&self, value: u32, at: u32) -> [usize; 2] {
        let relative = value.wrapping_add(self.old).wrapping_add(at).wrapping_add(4);
        [relative, value >> 8].map(|target| (hash(u64::from(target), 70) >> (32 - PLACE_BITS)) as usize)
    }

    /// What each guess says about the byte at this place: contexts.
    fn guesses(&mut self, value: u32, at: u32) -> [u64; 3] {
        if self.done >= 4 {
            let [relative, absolute] = self.target(value, at);
            let relative = self.moves[0][relative].map(|moved| value.wrapping_add(moved).wrapping_sub(self.shift));
            let absolute = self.moves[1][absolute].map(|added| value.wrapping_add(added));
            self.guesses = [relative, absolute, Some(value.wrapping_add(self.last))];
            self.was = value;
            self.at = at;
        }
        let index = if self.done >= 4 { 0 } else { self.done };
        let (was, hits) = (self.was, self.hits);
        std::array::from_fn(|guess| {
            let Some(value) = self.guesses[guess] else { return 1 << 40 | u64::from(index) };
            let byte = |value: u32| value >> (8 * index) & 0xff;
            let low = (1_u32 << (8 * index)) - 1;
            let seen = u32::from(self.done < 4 && (value ^ self.became) & low != 0);
            let difference = byte(value).wrapping_sub(byte(was)) & 0xff;
            u64::from(difference | index << 8 | u32::from(hits[guess] & 3) << 12 | seen << 20)
        })
    }

    fn next(&mut self, was: u8, is: u8) {
        if self.done >= 4 {
            if was == is {
                return;
            }
            self.done = 0;
            self.became = 0;
        }
        self.became |= u32::from(is) << (8 * self.done);
        self.done += 1;
        if self.done == 4 {
            let added = self.became.wrapping_sub(self.was);
            for (hits, guess) in self.hits.iter_mut().zip(self.guesses) {
                *hits = *hits << 1 | u8::from(guess == Some(self.became));
            }
            let [relative, absolute] = self.target(self.was, self.at);
            self.moves[0][relative] = Some(added.wrapping_add(self.shift));
            self.moves[1][absolute] = Some(added);
            self.last = added;
        }
    }
}

fn hash(context: u64, kind: u32) -> u32 {
    let mixed = (context ^ u64::from(kind) << 56).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

/// The last literals, and where each group of them stood.
#[derive(Debug)]
struct History {
    bytes: Vec<u8>,
    places: Vec<u32>,
    next: usize,
    /// Where the bytes before `next` stood the last time, and how many agreed.
    repeat: Option<usize>,
    length: u32,
}

impl History {
    fn new() -> History {
        History {
            bytes: vec![0; HISTORY_BYTES],
            places: vec![0; 1 << HISTORY_HASH_BITS],
            next: 0,
            repeat: None,
            length: 0,
        }
    }

    /// The byte that followed last time, and how many bytes before it agree; no agreement is 0.
    fn expected(&self) -> (u8, u32) {
        self.repeat.map_or((0, 0), |at| (self.bytes[at % HISTORY_BYTES], self.length))
    }

    /// `recent` ends with `byte`.
    fn push(&mut self, byte: u8, recent: u64) {
        match self.repeat {
            Some(at) if self.bytes[at % HISTORY_BYTES] == byte => {
                self.repeat = Some(at + 1);
                self.length += 1;
            }
            _ => {
                self.repeat = None;
                self.length = 0;
            }
        }
        self.bytes[self.next % HISTORY_BYTES] = byte;
        self.next += 1;
        let group = recent & ((1 << (8 * REPEAT_BYTES)) - 1);
        let place = &mut self.places[(hash(group, 64) >> (32 - HISTORY_HASH_BITS)) as usize];
        if self.repeat.is_none() && *place > 0 {
            self.repeat = Some(*place as usize);
            self.length = 1;
        }
        *place = self.next as u32;
    }
}
