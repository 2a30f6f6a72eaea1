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
        let mut hash = leaf(record);
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

/// Collects what proves that one record is in the tree (RFC 9162, 2.1.3.1).
///
/// Costs two hashes for each record after the tree's edge, and no memory for them.
#[derive(Debug)]
pub struct Prover {
    tree: Tree,
    /// Counted from 0.
    index: u64,
    /// Which root on the edge the record is under, counted from the left; `None` until it has come.
    under: Option<usize>,
    path: Vec<Sha256>,
}

impl Prover {
    /// For record `sequence`, counted from 1, of a tree that goes on from this one. `None` if the record is in it
    /// already.
    #[must_use]
    pub fn new(tree: Tree, sequence: u64) -> Option<Self> {
        let index = sequence.checked_sub(1).filter(|index| *index >= tree.size)?;
        Some(Self { tree, index, under: None, path: Vec::new() })
    }

    /// The next record's digest.
    pub fn push(&mut self, record: Sha256) {
        let mut hash = leaf(record);
        let mut is_under = self.tree.size == self.index;
        for _ in 0..self.tree.size.trailing_ones() {
            let left = self.tree.edge.pop().expect("there is one root for each bit that is set");
            if is_under {
                self.path.push(left);
            } else if self.under == Some(self.tree.edge.len()) {
                self.path.push(hash);
                is_under = true;
            }
            hash = node(left, hash);
        }
        if is_under {
            self.under = Some(self.tree.edge.len());
        }
        self.tree.edge.push(hash);
        self.tree.size += 1;
    }

    /// The hashes on the way from the record to the root, the lowest first. `None` if the record has not come.
    #[must_use]
    pub fn path(mut self) -> Option<Vec<Sha256>> {
        let under = self.under?;
        let right = self.tree.edge.split_off(under + 1);
        if let Some(right) = right.iter().rev().copied().reduce(|right, left| node(left, right)) {
            self.path.push(right);
        }
        self.path.extend(self.tree.edge.iter().take(under).rev());
        Some(self.path)
    }
}

/// Is the record number `sequence`, counted from 1, of the tree of `size` records with this root (RFC 9162, 2.1.3.2)?
#[must_use]
pub fn includes((size, root): (u64, Sha256), (sequence, record): (u64, Sha256), path: &[Sha256]) -> bool {
    let Some(mut index) = sequence.checked_sub(1).filter(|index| *index < size) else { return false };
    let mut last = size - 1;
    let mut hash = leaf(record);
    for beside in path {
        if last == 0 {
            return false;
        }
        if index % 2 == 1 || index == last {
            hash = node(*beside, hash);
            // Levels on which it stands alone have nothing beside it.
            while index % 2 == 0 && index != 0 {
                (index, last) = (index / 2, last / 2);
            }
        } else {
            hash = node(hash, *beside);
        }
        (index, last) = (index / 2, last / 2);
    }
    last == 0 && hash == root
}

fn leaf(record: Sha256) -> Sha256 {
    hash(&[&[LEAF], &record.0])
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

    /// Each record of each size, also where the tree goes on from an edge, against the root by the book.
    #[test]
    fn every_record_is_proven_in_every_tree_and_no_other_record_is() {
        let records: Vec<Sha256> = (0..34).map(record).collect();
        for size in 1..=34_usize {
            let root = (size as u64, by_the_book(&records[..size]));
            for sequence in 1..=size as u64 {
                for dropped in [0, sequence / 2, sequence - 1] {
                    let mut tree = Tree::default();
                    (0..dropped).for_each(|n| tree.push(records[n as usize]));
                    let mut prover = Prover::new(tree, sequence).unwrap();
                    records[dropped as usize..size].iter().for_each(|record| prover.push(*record));
                    let path = prover.path().unwrap();
                    assert!(includes(root, (sequence, record(sequence as u8 - 1)), &path), "{sequence} of {size}");
                    assert!(!includes(root, (sequence, record(99)), &path));
                    assert!(
                        !includes(root, (sequence % size as u64 + 1, record(sequence as u8 - 1)), &path) || size == 1
                    );
                    assert!(path.is_empty() || !includes(root, (sequence, record(sequence as u8 - 1)), &path[1..]));
                }
            }
        }
        assert!(Prover::new(Tree::default(), 0).is_none());
        assert!(Prover::new(Tree::default(), 3).unwrap().path().is_none());
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
