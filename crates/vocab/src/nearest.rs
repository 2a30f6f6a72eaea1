//! Which known word did they probably mean?

/// The known word nearest to `word`, if it is near enough to be worth offering.
///
/// ```text
/// nearest("percant", ["percent", "count"]) == Some("percent")
/// ```
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILARITY_MIN: f64 = 0.7;
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("lisen", ["data", "listen"]), Some("listen"));
        assert_eq!(nearest("zzz", ["data", "listen"]), None);
    }
}
