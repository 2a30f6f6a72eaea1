//! With which code does a command end? Scripts branch on it.

use std::process::ExitCode;

/// How a command ended, other than by plain success.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{0}")]
    Usage(String),
    /// Something is not what it was compared with.
    #[error("{0}")]
    Differs(String),
    #[error("{0}")]
    NotAllowed(String),
    /// The password was right, and the account has a second factor.
    #[error("{0}")]
    CodeRequired(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    TimedOut(String),
    /// A rollout was stopped or rolled back.
    #[error("{0}")]
    Stopped(String),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Failed {
    /// 0 done, 1 failed, 2 usage, 3 differences, 4 not allowed, 5 not found, 6 conflict, 7 timed out,
    /// 8 rollout stopped or rolled back.
    pub fn code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Differs(_) => 3,
            Self::NotAllowed(_) | Self::CodeRequired(_) => 4,
            Self::NotFound(_) => 5,
            Self::Conflict(_) => 6,
            Self::TimedOut(_) => 7,
            Self::Stopped(_) => 8,
        }
    }
}

pub type Outcome<T> = Result<T, Failed>;

/// Tells what went wrong on stderr, with its causes.
pub fn end(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            match &failed {
                Failed::Other(error) => eprintln!("error: {error:#}"),
                other => eprintln!("error: {other}"),
            }
            ExitCode::from(failed.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_the_code_scripts_branch_on() {
        let text = || "why".to_owned();
        let ends = [
            Failed::Other(anyhow::anyhow!("why")),
            Failed::Usage(text()),
            Failed::Differs(text()),
            Failed::NotAllowed(text()),
            Failed::NotFound(text()),
            Failed::Conflict(text()),
            Failed::TimedOut(text()),
            Failed::Stopped(text()),
        ];
        assert_eq!(ends.map(|end| end.code()), [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
