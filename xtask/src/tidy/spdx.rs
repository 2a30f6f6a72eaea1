//! May software under this licence be linked? Reads SPDX expressions as packages state them.

/// Licences that may be linked, by DEPENDENCIES; the second is an exception that must be granted along with it.
const LINKABLE: [(&str, Option<&str>); 19] = [
    ("0BSD", None),
    ("Apache-2.0", None),
    ("Apache-2.0", Some("LLVM-exception")),
    ("BSD-1-Clause", None),
    ("BSD-2-Clause", None),
    ("BSD-3-Clause", None),
    ("BSD-3-Clause-Clear", None),
    ("BSL-1.0", None),
    ("CC0-1.0", None),
    ("CDLA-Permissive-2.0", None),
    ("ISC", None),
    ("MIT", None),
    ("MIT-0", None),
    ("MPL-2.0", None),
    ("Unicode-3.0", None),
    ("Unicode-DFS-2016", None),
    ("Unicode-TOU", None),
    ("Unlicense", None),
    ("Zlib", None),
];

/// Is there a choice in the expression that may be linked? `None` if it is not an SPDX expression.
pub fn may_be_linked(expression: &str) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = Words { words: spaced.split_whitespace().collect(), at: 0 };
    let linkable = words.choice()?;
    (words.at == words.words.len()).then_some(linkable)
}

struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied()?;
        self.at += 1;
        Some(word)
    }

    fn skip(&mut self, word: &str) -> bool {
        let is_here = self.words.get(self.at).is_some_and(|here| here.eq_ignore_ascii_case(word));
        self.at += usize::from(is_here);
        is_here
    }

    fn choice(&mut self) -> Option<bool> {
        let mut linkable = self.both()?;
        while self.skip("OR") {
            linkable |= self.both()?;
        }
        Some(linkable)
    }

    fn both(&mut self) -> Option<bool> {
        let mut linkable = self.licence()?;
        while self.skip("AND") {
            linkable &= self.licence()?;
        }
        Some(linkable)
    }

    fn licence(&mut self) -> Option<bool> {
        if self.skip("(") {
            let linkable = self.choice()?;
            return self.skip(")").then_some(linkable);
        }
        let name = self.next().filter(|word| !["AND", "OR", "WITH", ")"].contains(word))?;
        let exception = if self.skip("WITH") { Some(self.next()?) } else { None };
        Some(LINKABLE.contains(&(name.trim_end_matches('+'), exception)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_linkable_choice_is_enough_and_every_part_counts() {
        assert_eq!(may_be_linked("MIT"), Some(true));
        assert_eq!(may_be_linked("GPL-3.0-only"), Some(false));
        assert_eq!(may_be_linked("GPL-2.0 OR MIT"), Some(true));
        assert_eq!(may_be_linked("MIT AND GPL-2.0"), Some(false));
        assert_eq!(may_be_linked("(MIT OR Apache-2.0) AND Unicode-3.0"), Some(true));
        assert_eq!(may_be_linked("MIT OR Apache-2.0 AND GPL-2.0"), Some(true));
        assert_eq!(may_be_linked("(MIT OR Apache-2.0) AND GPL-2.0"), Some(false));
    }

    #[test]
    fn exceptions_belong_to_their_licence() {
        assert_eq!(may_be_linked("Apache-2.0 WITH LLVM-exception OR MIT"), Some(true));
        assert_eq!(may_be_linked("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(may_be_linked("GPL-2.0 WITH Classpath-exception-2.0"), Some(false));
    }

    #[test]
    fn the_old_slash_means_or_and_nonsense_is_told_apart() {
        assert_eq!(may_be_linked("MIT/GPL-2.0"), Some(true));
        assert_eq!(may_be_linked("(MIT"), None);
        assert_eq!(may_be_linked("MIT Apache-2.0"), None);
        assert_eq!(may_be_linked("MIT OR"), None);
        assert_eq!(may_be_linked(""), None);
    }
}
