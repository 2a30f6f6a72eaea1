//! How are results shown? Data on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use crate::exit::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    /// A table with more columns.
    Wide,
    Json,
    Yaml,
    /// One name a line, for scripts.
    Name,
    /// One JSON document a line.
    Jsonl,
}

/// Something that can be shown as a row.
pub trait Row: Serialize {
    const HEADERS: &'static [&'static str];
    /// Shown with `-o wide` only.
    const WIDE: &'static [&'static str] = &[];
    /// What to do when there are none.
    const EMPTY: &'static str;

    fn name(&self) -> String;
    fn cells(&self) -> Vec<String>;
    fn wide(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A list.
pub fn rows<T: Row>(format: Format, rows: &[T]) -> Outcome<()> {
    let text = render(format, rows)?;
    if rows.is_empty() && matches!(format, Format::Table | Format::Wide | Format::Name) {
        eprintln!("{}", T::EMPTY);
    }
    print(&text)
}

/// One thing: a table of one row, or the document.
pub fn one<T: Row>(format: Format, row: &T) -> Outcome<()> {
    match format {
        Format::Json => print(&json(row)?),
        Format::Yaml => print(&yaml(row)?),
        Format::Table | Format::Wide | Format::Name | Format::Jsonl => rows(format, std::slice::from_ref(row)),
    }
}

/// Something that has no table: JSON, or YAML if asked for.
pub fn document<T: Serialize>(format: Format, value: &T) -> Outcome<()> {
    match format {
        Format::Yaml => print(&yaml(value)?),
        Format::Jsonl => print(&line(value)?),
        Format::Table | Format::Wide | Format::Json | Format::Name => print(&json(value)?),
    }
}

pub fn print(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader has what it wanted, as in `muster watch | head`: going on would write to nobody for ever.
        Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other.context("writing the result")?),
    }
}

/// Text that devices and other people chose, fit for a terminal: no control character of theirs reaches it.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// For a person at a terminal, and not for a file or a program.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

pub fn render<T: Row>(format: Format, rows: &[T]) -> Outcome<String> {
    Ok(match format {
        Format::Json => json(&rows)?,
        Format::Yaml => yaml(&rows)?,
        Format::Jsonl => rows.iter().map(line).collect::<Outcome<String>>()?,
        Format::Name => rows.iter().map(|row| row.name() + "\n").collect(),
        Format::Table => table(T::HEADERS.to_vec(), rows.iter().map(Row::cells).collect()),
        Format::Wide => {
            let headers = [T::HEADERS, T::WIDE].concat();
            table(headers, rows.iter().map(|row| [row.cells(), row.wide()].concat()).collect())
        }
    })
}

fn json(value: &impl Serialize) -> Outcome<String> {
    Ok(serde_json::to_string_pretty(value).context("writing JSON")? + "\n")
}

fn line(value: &impl Serialize) -> Outcome<String> {
    Ok(serde_json::to_string(value).context("writing JSON")? + "\n")
}

fn yaml(value: &impl Serialize) -> Outcome<String> {
    Ok(serde_saphyr::to_string(value).context("writing YAML")?)
}

/// Aligned columns; nothing at all without rows. Cut to the width of a terminal, whole for a file.
pub fn table(headers: Vec<&str>, rows: Vec<Vec<String>>) -> String {
    let terminal = console::Term::stdout();
    let width_max = terminal.is_term().then(|| usize::from(terminal.size().1));
    aligned(headers, rows, width_max)
}

/// What fits on the terminal, so that drawing over it finds each line where it was.
pub fn fit(text: &str) -> String {
    let (height, width) = console::Term::stdout().size();
    fit_to(text, usize::from(height), usize::from(width))
}

fn fit_to(text: &str, height: usize, width: usize) -> String {
    let lines = text.lines().take(height.saturating_sub(1));
    lines.map(|line| console::truncate_str(line, width, "…").into_owned() + "\n").collect()
}

fn aligned(headers: Vec<&str>, rows: Vec<Vec<String>>, width_max: Option<usize>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![headers.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    lines.extend(rows.into_iter().map(|row| row.iter().map(|cell| shown(cell)).collect()));
    let width = |column: usize| lines.iter().map(|row| console::measure_text_width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &lines {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| console::pad_str(cell, *width, console::Alignment::Left, None).into_owned());
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(&match width_max {
            Some(width) => console::truncate_str(line.trim_end(), width, "…"),
            None => line.trim_end().into(),
        });
        text.push('\n');
    }
    text
}

/// An empty cell would shift the columns of whoever splits lines at spaces.
fn shown(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { clean(cell) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 2]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        let rows = vec![row(["größe", "berlin"]), row(["日本", ""])];
        assert_eq!(aligned(vec!["NAME", "SITE"], rows, None), "NAME   SITE\ngröße  berlin\n日本   -\n");
        assert_eq!(aligned(vec!["NAME", "SITE"], Vec::new(), None), "");
    }

    #[test]
    fn lines_are_cut_for_a_terminal_only() {
        let rows = || vec![row(["a", "a long sentence"])];
        assert_eq!(aligned(vec!["NAME", "TEXT"], rows(), Some(10)), "NAME  TEXT\na     a l…\n");
        assert!(aligned(vec!["NAME", "TEXT"], rows(), None).contains("a long sentence"));
    }

    #[test]
    fn a_drawing_fits_on_the_terminal() {
        assert_eq!(fit_to("one long line\ntwo\nthree\n", 3, 8), "one lon…\ntwo\n");
    }

    #[test]
    fn control_characters_of_devices_do_not_reach_the_terminal() {
        let text = aligned(vec!["NAME", "TEXT"], vec![row(["sn-1", "\u{1b}[2Jgone\r\nsn-2"])], None);
        assert!(!text.contains(['\u{1b}', '\r']), "{text:?}");
        assert_eq!(text.lines().count(), 2, "{text:?}");
    }
}
