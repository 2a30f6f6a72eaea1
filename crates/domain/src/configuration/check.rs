//! May a configuration be asked for like this?
//!
//! The device checks paths again before it writes: this is so that a mistake is told to the person who makes it.

use std::collections::BTreeSet;

use muster_vocab::limit;

use super::template::{self, BadTemplate};
use super::{File, Spec};

/// Folders that hold no files but the kernel's own.
const KERNEL_FOLDERS: [&str; 3] = ["/proc", "/sys", "/dev"];
/// What Linux file systems take for one part of a path, in bytes.
const PATH_PART_BYTES_MAX: usize = 255;
/// What `useradd` takes for a name.
const OWNER_CHARS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConfiguration {
    #[error("a configuration has 1 to {max} files, not {0}", max = limit::FILES_PER_CONFIGURATION_MAX)]
    Files(usize),
    #[error("a priority is at most {max}", max = limit::PRIORITY_MAX)]
    Priority,
    #[error("the path {path:?} {problem}")]
    Path { path: String, problem: &'static str },
    #[error("{0:?} is named twice")]
    Twice(String),
    #[error("{folder:?} can't be a file, because {file:?} lies in it")]
    Folder { folder: String, file: String },
    #[error("{path}: the mode {mode:?} is not octal such as 0644; set-user, set-group and sticky bits are not given")]
    Mode { path: String, mode: String },
    #[error("{path}: the owner {owner:?} is not user:group, by name or number")]
    Owner { path: String, owner: String },
    #[error("{path}: the {what} command {problem}")]
    Words { path: String, what: &'static str, problem: String },
    #[error("{path}: {source}")]
    Template {
        path: String,
        #[source]
        source: BadTemplate,
    },
}

/// Refuses what no device could carry out. The selector is checked where it is parsed.
pub fn check(spec: &Spec) -> Result<(), BadConfiguration> {
    if spec.files.is_empty() || spec.files.len() > limit::FILES_PER_CONFIGURATION_MAX {
        return Err(BadConfiguration::Files(spec.files.len()));
    }
    if spec.priority > limit::PRIORITY_MAX {
        return Err(BadConfiguration::Priority);
    }
    for file in &spec.files {
        check_file(file)?;
    }
    let mut paths = BTreeSet::new();
    for file in &spec.files {
        if !paths.insert(file.path.as_str()) {
            return Err(BadConfiguration::Twice(file.path.clone()));
        }
    }
    match spec.files.iter().find_map(|file| folder_in(&file.path, &paths).map(|folder| (folder, &file.path))) {
        Some((folder, file)) => Err(BadConfiguration::Folder { folder: folder.to_owned(), file: file.clone() }),
        None => Ok(()),
    }
}

/// The one of these paths in which a path would lie.
pub(super) fn folder_in<'a>(path: &'a str, paths: &BTreeSet<&str>) -> Option<&'a str> {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    folders.filter(|folder| !folder.is_empty()).find(|folder| paths.contains(folder))
}

fn check_file(file: &File) -> Result<(), BadConfiguration> {
    let path = || file.path.clone();
    if let Err(problem) = check_path(&file.path) {
        return Err(BadConfiguration::Path { path: path().chars().take(limit::PATH_CHARS_MAX).collect(), problem });
    }
    if let Some(mode) = file.mode.as_ref().filter(|mode| !is_mode(mode)) {
        return Err(BadConfiguration::Mode { path: path(), mode: mode.clone() });
    }
    if let Some(owner) = file.owner.as_ref().filter(|owner| !is_owner(owner)) {
        return Err(BadConfiguration::Owner { path: path(), owner: owner.clone() });
    }
    for (what, words) in [("validate", &file.validate), ("reload", &file.reload)] {
        let bad = |problem| BadConfiguration::Words { path: path(), what, problem };
        check_words(words).map_err(bad)?;
    }
    template::check(&file.content).map_err(|source| BadConfiguration::Template { path: path(), source })
}

/// Whether a file may be written there.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("is not absolute");
    }
    if path.chars().count() > limit::PATH_CHARS_MAX {
        return Err("is too long");
    }
    if path.chars().any(char::is_control) {
        return Err("has control characters");
    }
    for part in path[1..].split('/') {
        match part {
            "" => return Err("has an empty part: no // and no / at its end"),
            "." | ".." => return Err("has a part . or .."),
            part if part.len() > PATH_PART_BYTES_MAX => return Err("has a part of more than 255 bytes"),
            _ => {}
        }
    }
    let is_under =
        |folder: &&str| path.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if KERNEL_FOLDERS.iter().any(is_under) {
        return Err("lies in /proc, /sys or /dev, where files are the kernel's");
    }
    Ok(())
}

fn is_mode(mode: &str) -> bool {
    let digits = if mode.len() == 4 { mode.strip_prefix('0') } else { Some(mode) };
    digits.is_some_and(|digits| digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)))
}

fn is_owner(owner: &str) -> bool {
    owner.split_once(':').is_some_and(|(user, group)| is_name_or_number(user) && is_name_or_number(group))
}

fn is_name_or_number(text: &str) -> bool {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_ok();
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let is_name = begins
        && text.len() <= OWNER_CHARS_MAX
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.');
    is_number || is_name
}

/// Whether these are the words of a command.
pub(crate) fn check_words(words: &[String]) -> Result<(), String> {
    if words.len() > limit::COMMAND_WORDS_MAX {
        return Err(format!("has more than {} words", limit::COMMAND_WORDS_MAX));
    }
    if words.first().is_some_and(String::is_empty) {
        return Err("begins with an empty word".into());
    }
    for word in words {
        if word.chars().count() > limit::COMMAND_WORD_CHARS_MAX {
            return Err(format!("has a word of more than {} characters", limit::COMMAND_WORD_CHARS_MAX));
        }
        if word.chars().any(char::is_control) {
            return Err("has a word with control characters".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> File {
        File {
            path: path.into(),
            content: String::new(),
            mode: None,
            owner: None,
            validate: Vec::new(),
            reload: Vec::new(),
        }
    }

    fn spec(files: Vec<File>) -> Spec {
        Spec { select: "all".into(), priority: 0, files }
    }

    #[test]
    fn paths_that_leave_their_folder_or_reach_into_the_kernel_are_refused() {
        let long = format!("/{}", "a/".repeat(400));
        for path in [
            "etc/x",
            "",
            "/",
            "/etc/../x",
            "/..",
            "/etc/./x",
            "/etc//x",
            "/etc/",
            "/etc/a\0b",
            "/etc/a\nb",
            "/proc",
            "/proc/sys/x",
            "/sys/power/state",
            "/dev/sda",
            &long,
            &format!("/{}", "x".repeat(256)),
        ] {
            assert!(check(&spec(vec![file(path)])).is_err(), "{path:?} was taken");
        }
        for path in ["/etc/app.conf", "/procedure/x", "/etc/..x", "/var/lib/a b", "/dev-files/x"] {
            assert_eq!(check(&spec(vec![file(path)])), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn one_path_twice_and_a_file_in_a_file_are_refused() {
        let twice = spec(vec![file("/etc/a"), file("/etc/a")]);
        assert_eq!(check(&twice), Err(BadConfiguration::Twice("/etc/a".into())));
        let nested = spec(vec![file("/etc/a/b/c"), file("/etc/a")]);
        let folder = BadConfiguration::Folder { folder: "/etc/a".into(), file: "/etc/a/b/c".into() };
        assert_eq!(check(&nested), Err(folder));
        assert_eq!(check(&spec(vec![file("/etc/a"), file("/etc/ab/c")])), Ok(()));
    }

    #[test]
    fn modes_are_octal_and_give_nobody_more_than_a_file_needs() {
        for (mode, good) in [
            ("0644", true),
            ("600", true),
            ("4755", false),
            ("0888", false),
            ("64", false),
            ("rw", false),
            ("00644", false),
        ] {
            let one = File { mode: Some(mode.into()), ..file("/etc/a") };
            assert_eq!(check(&spec(vec![one])).is_ok(), good, "{mode}");
        }
    }

    #[test]
    fn owners_are_a_user_and_a_group() {
        for (owner, good) in [
            ("root:root", true),
            ("0:0", true),
            ("_apt:65534", true),
            ("root", false),
            (":", false),
            ("a b:c", false),
            ("99999999999:0", false),
            ("a:b:c", false),
        ] {
            let one = File { owner: Some(owner.into()), ..file("/etc/a") };
            assert_eq!(check(&spec(vec![one])).is_ok(), good, "{owner}");
        }
    }

    #[test]
    fn commands_are_bounded_words_without_control_characters() {
        let words = |words: &[&str]| File { reload: words.iter().map(|w| (*w).to_owned()).collect(), ..file("/etc/a") };
        assert!(check(&spec(vec![words(&["systemctl", "reload", "app"])])).is_ok());
        assert!(check(&spec(vec![words(&["", "x"])])).is_err());
        assert!(check(&spec(vec![words(&["a\nb"])])).is_err());
        assert!(check(&spec(vec![words(&["a"; 65])])).is_err());
    }

    #[test]
    fn no_files_and_too_many_are_refused() {
        assert_eq!(check(&spec(Vec::new())), Err(BadConfiguration::Files(0)));
        let many = (0..=limit::FILES_PER_CONFIGURATION_MAX).map(|at| file(&format!("/etc/{at}"))).collect();
        assert!(check(&spec(many)).is_err());
    }
}
