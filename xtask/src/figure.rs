//! How is a measured number shown?
//!
//! One JSON line per figure for programs, a table for people; both go to standard output and nothing else does.
//! Names are in snake case and units are SI, so that figures of different days can be laid side by side.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

/// One measured number, and what it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub figure: String,
    pub value: f64,
    pub unit: String,
    /// What the ratio compares with, as `nginx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// This value divided by the other one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

impl Figure {
    pub fn new(figure: &str, value: f64, unit: &str) -> Figure {
        Figure { figure: figure.to_owned(), value, unit: unit.to_owned(), against: None, ratio: None }
    }

    /// The same figure, compared with another one's value of the same unit.
    pub fn against(self, other: &str, value: f64) -> Figure {
        Figure { against: Some(other.to_owned()), ratio: Some(self.value / value), ..self }
    }
}

/// Prints figures to standard output: JSON lines, or a table for people.
pub fn print(figures: &[Figure], json: bool) -> anyhow::Result<()> {
    let text = if json { json_lines(figures)? } else { table(figures) };
    std::io::stdout().write_all(text.as_bytes()).context("writing figures")
}

fn json_lines(figures: &[Figure]) -> anyhow::Result<String> {
    let mut text = String::new();
    for figure in figures {
        text += &serde_json::to_string(figure).with_context(|| format!("writing figure {}", figure.figure))?;
        text.push('\n');
    }
    Ok(text)
}

fn table(figures: &[Figure]) -> String {
    let width = |cell: fn(&Figure) -> String| figures.iter().map(|figure| cell(figure).chars().count()).max();
    let name = width(|figure| figure.figure.clone()).unwrap_or(0);
    let value = width(|figure| readable(figure.value)).unwrap_or(0);
    let unit = width(|figure| figure.unit.clone()).unwrap_or(0);
    let mut text = String::new();
    for figure in figures {
        let row = format!(
            "{:name$}  {:>value$} {:unit$}  {}",
            figure.figure,
            readable(figure.value),
            figure.unit,
            comparison(figure)
        );
        text += row.trim_end();
        text.push('\n');
    }
    text
}

fn comparison(figure: &Figure) -> String {
    match (figure.ratio, figure.against.as_deref()) {
        (Some(ratio), Some(against)) => format!("{} × {against}", readable(ratio)),
        (Some(ratio), None) => format!("{} ×", readable(ratio)),
        (None, Some(against)) => format!("against {against}"),
        (None, None) => String::new(),
    }
}

/// Whole numbers whole, with thin groups of three; others with about three significant digits.
fn readable(value: f64) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.01.. => 3,
        _ => return format!("{value:.2e}"),
    };
    grouped(&format!("{value:.digits$}"))
}

fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut text = sign.to_owned();
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text += fraction;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkin() -> Figure {
        Figure::new("checkin_requests_per_s", 81_234.4, "1/s").against("nginx", 101_543.0)
    }

    #[test]
    fn a_figure_is_one_json_line_without_absent_fields() {
        let kills = Figure::new("kills", 50.0, "1");
        assert_eq!(
            json_lines(&[Figure { ratio: Some(0.8), ..checkin() }, kills]).unwrap(),
            concat!(
                r#"{"figure":"checkin_requests_per_s","value":81234.4,"unit":"1/s","against":"nginx","ratio":0.8}"#,
                "\n",
                r#"{"figure":"kills","value":50.0,"unit":"1"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn people_get_aligned_columns() {
        let memory = Figure::new("device_memory", 212.6, "B");
        assert_eq!(
            table(&[checkin(), memory]),
            concat!("checkin_requests_per_s  81 234 1/s  0.800 × nginx\n", "device_memory              213 B\n")
        );
    }

    #[test]
    fn a_number_keeps_about_three_digits() {
        let shown = [0.0, 50.0, -1_234_567.0, 12.345, 1.2345, 0.0456, 0.000_045_6].map(readable);
        assert_eq!(shown, ["0", "50", "-1 234 567", "12.3", "1.23", "0.046", "4.56e-5"]);
    }
}
