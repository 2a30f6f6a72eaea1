//! What does a check say, and how is it printed?

use std::fmt;

/// Does a finding end the run, or is it only worth knowing?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Note,
    Failure,
}

/// One thing that is not as STYLE asks, where it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub text: String,
    pub weight: Weight,
}

impl Finding {
    pub fn failure(file: &str, line: usize, text: impl Into<String>) -> Finding {
        Finding { file: file.to_owned(), line, text: text.into(), weight: Weight::Failure }
    }

    pub fn note(file: &str, line: usize, text: impl Into<String>) -> Finding {
        Finding { weight: Weight::Note, ..Finding::failure(file, line, text) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = match self.weight {
            Weight::Note => "note: ",
            Weight::Failure => "",
        };
        write!(f, "{}:{}: {note}{}", self.file, self.line, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_place_and_advice() {
        let finding = Finding::failure("crates/a/src/b.rs", 7, "remove `dbg!`");
        assert_eq!(finding.to_string(), "crates/a/src/b.rs:7: remove `dbg!`");
        let note = Finding::note("crates/a/src/b.rs", 1, "450 lines; think of splitting it");
        assert_eq!(note.to_string(), "crates/a/src/b.rs:1: note: 450 lines; think of splitting it");
    }
}
