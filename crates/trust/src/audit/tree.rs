//! Which single hash stands for all records up to one of them?
//!
//! The Merkle tree of RFC 9162, section 2.1. Only the roots of its full subtrees are kept, so that it grows record by
//! record and needs no record twice; that is also all that has to stay when old records are dropped.

use muster_vocab::Sha256;
use sha2::Digest;

/// RFC 9162, 2.1.1: leaves and nodes are told apart by their first byte, so that neither can be passed off as the other.
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// A tree of which only the right edge is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// Roots of full subtrees, the largest first: one for each bit that is set in `size`.
    edge: Vec<Sha256>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} records has {} roots on its right edge, not {given}", size.count_ones())]
pub struct BadEdge {
    size: u64,
    given: usize,
}

impl Tree {
    /// Goes on where another tree stopped.
    pub fn of(size: u64, edge: Vec<Sha256>) -> Result<Self, BadEdge> {
        if edge.len() != size.count_ones() as usize {
            return Err(BadEdge { size, given: edge.len() });
        }
        Ok(Self { size, edge })
    }

    /// How many records it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What `of` needs to go on.
    #[must_use]
    pub fn edge(&self) -> &[Sha256] {
        &self.edge
    }

    /// Appends a record by its digest.
    pub fn push(&mut self, record: Sha256) {
        let mut hash = hash(&[&[LEAF], &record.0]);
        // Each bit that is set at the end of the old size is a full subtree that gets its right half now.
        for _ in 0..self.size.trailing_ones() {
            let left = self.edge.pop().expect("there is one root for each bit that is set");
            hash = node(left, hash);
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// The tree head; the hash of nothing for no records.
    #[must_use]
    pub fn root(&self) -> Sha256 {
        self.edge.iter().rev().copied().reduce(|right, left| node(left, right)).unwrap_or_else(|| hash(&[]))
    }
}

fn node(left: Sha256, right: Sha256) -> Sha256 {
    hash(&[&[NODE], &left.0, &right.0])
}

fn hash(parts: &[&[u8]]) -> Sha256 {
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Sha256(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u8) -> Sha256 {
        Sha256([n; 32])
    }

    /// RFC 9162, 2.1.1, word by word: split at the largest power of two below the size.
    fn by_the_book(records: &[Sha256]) -> Sha256 {
        match records {
            [] => hash(&[]),
            [one] => hash(&[&[LEAF], &one.0]),
            many => {
                let split = 1 << (many.len() - 1).ilog2();
                node(by_the_book(&many[..split]), by_the_book(&many[split..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_rfc_for_each_size() {
        let records: Vec<Sha256> = (0..70).map(record).collect();
        let mut tree = Tree::default();
        for size in 0..70 {
            assert_eq!(tree.root(), by_the_book(&records[..size]), "{size}");
            tree.push(records[size]);
        }
    }

    #[test]
    fn a_tree_goes_on_from_its_right_edge() {
        let mut whole = Tree::default();
        (0..21).for_each(|n| whole.push(record(n)));
        let mut resumed = Tree::of(whole.size(), whole.edge().to_vec()).unwrap();
        (21..40).for_each(|n| resumed.push(record(n)));
        (21..40).for_each(|n| whole.push(record(n)));
        assert_eq!(resumed.root(), whole.root());
        assert!(Tree::of(7, vec![record(1)]).is_err());
    }
}
