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
        // The reader has what it wanted: `muster get devices | head`.
        Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.context("writing the result")?),
    }
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

/// Aligned columns; nothing at all without rows.
pub fn table(headers: Vec<&str>, rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let headers: Vec<String> = headers.into_iter().map(str::to_owned).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&headers).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
