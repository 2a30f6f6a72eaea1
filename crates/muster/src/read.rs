//! How are arguments read that are more than a word: durations, waves, components, labels?

use std::collections::BTreeMap;
use std::time::Duration;

use muster_wire::rollout::{Advance, OnError, Push, Take, Threshold, WaveCreate};

/// `30s`, `10m`, `2h`, `1d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 30s, 10m, 2h or 1d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// `5%` or `20`.
pub fn threshold(text: &str) -> Result<Threshold, String> {
    let wrong = || format!("{text:?} is neither a count such as 3 nor a share such as 5%");
    match text.strip_suffix('%') {
        Some(percent) => percent.parse().map(Threshold::Percent).map_err(|_| wrong()),
        None => text.parse().map(Threshold::Count).map_err(|_| wrong()),
    }
}

/// `5%`, `20`, `rest`, or a selector.
pub fn take(text: &str) -> Take {
    match (text, threshold(text)) {
        ("rest", _) => Take::Rest,
        (_, Ok(Threshold::Percent(percent))) => Take::Percent(percent),
        (_, Ok(Threshold::Count(count))) => Take::Count(count),
        (select, Err(_)) => Take::Select(select.to_owned()),
    }
}

/// `5%,25%,rest`.
pub fn waves(text: &str) -> Result<Vec<WaveCreate>, String> {
    let one = |part: &str| {
        let take = take(part.trim());
        if let Take::Select(_) = take {
            return Err(format!("{part:?} is no wave: write 5%, 20 or rest; for a selector use --wave 'take=…'"));
        }
        Ok(plain(take))
    };
    text.split(',').map(one).collect()
}

fn plain(take: Take) -> WaveCreate {
    WaveCreate { take, success: None, errors: None, on_error: None, soak_s: 0, advance: None }
}

/// `take=10;success=100%;errors=0;soak=10m;advance=manual;on-error=roll-back`.
pub fn wave(text: &str) -> Result<WaveCreate, String> {
    const KEYS: [&str; 6] = ["take", "success", "errors", "soak", "advance", "on-error"];
    let mut wave = plain(Take::Rest);
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?}: write KEY=VALUE"))?;
        match key.trim() {
            "take" => wave.take = take(value.trim()),
            "success" => wave.success = Some(threshold(value.trim())?),
            "errors" => wave.errors = Some(threshold(value.trim())?),
            "soak" => wave.soak_s = u32::try_from(duration(value.trim())?.as_secs()).unwrap_or(u32::MAX),
            "advance" => wave.advance = Some(advance(value.trim())?),
            "on-error" => wave.on_error = Some(on_error(value.trim())?),
            other => {
                let near = muster_vocab::nearest::nearest(other, KEYS);
                let hint = near.map_or_else(
                    || format!("the keys are {}", KEYS.join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                return Err(format!("a wave has no {other:?}; {hint}"));
            }
        }
    }
    Ok(wave)
}

fn advance(text: &str) -> Result<Advance, String> {
    match text {
        "auto" => Ok(Advance::Auto),
        "manual" => Ok(Advance::Manual),
        _ => Err(format!("advance is auto or manual, not {text:?}")),
    }
}

pub fn on_error(text: &str) -> Result<OnError, String> {
    match text {
        "pause" => Ok(OnError::Pause),
        "roll-back" | "rollback" => Ok(OnError::RollBack),
        _ => Err(format!("on-error is pause or roll-back, not {text:?}")),
    }
}

/// `forced`, `soft`, `download-only`, `forced-from=2026-12-01T02:00:00Z`.
pub fn push(text: &str) -> Result<Push, String> {
    match text {
        "forced" => Ok(Push::Forced),
        "soft" => Ok(Push::Soft),
        "download-only" => Ok(Push::DownloadOnly),
        _ => match text.strip_prefix("forced-from=").map(muster_vocab::Timestamp::parse) {
            Some(Ok(at)) => Ok(Push::ForcedFrom { at }),
            Some(Err(bad)) => Err(bad.to_string()),
            None => Err(format!("push is forced, soft, download-only or forced-from=TIME, not {text:?}")),
        },
    }
}

/// `key=value` sets a label, `key-` takes it away.
pub fn label(text: &str) -> Result<(String, Option<String>), String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => Err(format!("{text:?}: write key=value to set a label, key- to take it away")),
    }
}

/// `os=1.2.0:FILE_OR_DIGEST[,FILE_OR_DIGEST…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentArgument {
    pub name: String,
    pub version: String,
    pub sources: Vec<String>,
}

pub fn component(text: &str) -> Result<ComponentArgument, String> {
    let wrong = || format!("{text:?}: write NAME=VERSION:FILE, as in os=1.2.0:image.swu");
    let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (version, sources) = rest.split_once(':').ok_or_else(wrong)?;
    let sources: Vec<String> = sources.split(',').filter(|source| !source.is_empty()).map(str::to_owned).collect();
    if name.is_empty() || version.is_empty() || sources.is_empty() {
        return Err(wrong());
    }
    Ok(ComponentArgument { name: name.to_owned(), version: version.to_owned(), sources })
}

/// `os.key=value`: metadata of a component.
pub fn metadata(text: &str) -> Result<(String, String, String), String> {
    let wrong = || format!("{text:?}: write COMPONENT.KEY=VALUE");
    let (path, value) = text.split_once('=').ok_or_else(wrong)?;
    let (component, key) = path.split_once('.').ok_or_else(wrong)?;
    Ok((component.to_owned(), key.to_owned(), value.to_owned()))
}

pub fn labels(pairs: &[(String, Option<String>)]) -> BTreeMap<String, Option<String>> {
    pairs.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_shares_counts_and_the_rest() {
        let takes: Vec<Take> = waves("5%, 20,rest").unwrap().into_iter().map(|wave| wave.take).collect();
        assert_eq!(takes, [Take::Percent(5), Take::Count(20), Take::Rest]);
        assert!(waves("5%,most").is_err());
    }

    #[test]
    fn a_wave_in_full_is_read_and_a_wrong_key_is_hinted_at() {
        let read = wave("take=label.ring == lab; success=100%; errors=0; soak=10m; advance=manual; on-error=roll-back");
        let read = read.unwrap();
        assert_eq!(read.take, Take::Select("label.ring == lab".into()));
        assert_eq!((read.soak_s, read.success), (600, Some(Threshold::Percent(100))));
        assert_eq!(wave("succes=1").unwrap_err(), "a wave has no \"succes\"; did you mean success?");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90m").unwrap(), Duration::from_secs(5400));
        for text in ["", "s", "10", "1w", "-1s", "99999999999999999999d", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn components_name_their_files() {
        let read = component("app/web=2.0:a.tar,b.tar").unwrap();
        assert_eq!((read.name.as_str(), read.sources.len()), ("app/web", 2));
        assert!(component("os=1.0").is_err() && component("os:1.0").is_err());
    }

    #[test]
    fn labels_are_set_and_taken_away() {
        assert_eq!(label("a=b").unwrap(), ("a".into(), Some("b".into())));
        assert_eq!(label("a-").unwrap(), ("a".into(), None));
        assert!(label("a").is_err() && label("=b").is_err());
    }
}
