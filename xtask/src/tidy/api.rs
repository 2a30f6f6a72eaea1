//! Do people read the same API description that the server serves?

use super::finding::Finding;

pub const DOCUMENT: &str = "docs/openapi.json";

/// What `muster openapi` printed, or why it could not, against the document as it is.
pub fn findings(printed: &anyhow::Result<String>, document: Option<&str>) -> Vec<Finding> {
    let failure = |text: String| vec![Finding::failure(DOCUMENT, 1, text)];
    match (printed, document) {
        (Err(_), None) => {
            let text = "`muster openapi` is not there yet, so the API description is not checked";
            vec![Finding::note(DOCUMENT, 1, text)]
        }
        (Err(error), Some(_)) => failure(format!("can't be compared with the server's: {error:#}")),
        (Ok(printed), Some(document)) if printed == document => Vec::new(),
        (Ok(_), Some(_) | None) => failure("differs from `muster openapi`: run `cargo xtask tidy --fix`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Weight;
    use super::*;

    fn weight(printed: anyhow::Result<String>, document: Option<&str>) -> Option<Weight> {
        findings(&printed, document).first().map(|finding| finding.weight)
    }

    #[test]
    fn the_document_must_be_what_the_server_prints() {
        assert_eq!(weight(Ok("{}".into()), Some("{}")), None);
        assert_eq!(weight(Ok("{}".into()), Some("{ }")), Some(Weight::Failure));
        assert_eq!(weight(Ok("{}".into()), None), Some(Weight::Failure));
    }

    #[test]
    fn a_failing_server_is_a_failure_once_there_is_a_document() {
        assert_eq!(weight(Err(anyhow::anyhow!("no such command")), Some("{}")), Some(Weight::Failure));
        assert_eq!(weight(Err(anyhow::anyhow!("no such command")), None), Some(Weight::Note));
    }
}
