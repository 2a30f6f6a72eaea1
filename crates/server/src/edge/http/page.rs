//! Which rows of a list are asked for?

use muster_store::{Cursor, Paged};
use muster_vocab::limit;
use muster_vocab::selector::Selector;
use muster_vocab::selector::schema::Schema;
use muster_wire::Page;
use muster_wire::page::PageQuery;

use super::problem::Refusal;

/// A checked [`PageQuery`].
#[derive(Debug)]
pub(super) struct Rows {
    pub select: Selector,
    pub limit: u32,
    pub cursor: Option<Cursor>,
}

impl Rows {
    pub(super) fn of(query: &PageQuery, schema: &Schema) -> Result<Self, Refusal> {
        Ok(Self { select: select(query.select.as_deref(), schema)?, limit: limit(query)?, cursor: cursor(query)? })
    }

    pub(super) fn after(&self) -> Cursor {
        self.cursor.unwrap_or(Cursor(0))
    }
}

/// For lists that take no selector.
pub(super) fn plain(query: &PageQuery) -> Result<(Option<Cursor>, u32), Refusal> {
    if query.select.is_some() {
        return Err(Refusal::bad("select", "this list takes no selector"));
    }
    Ok((cursor(query)?, limit(query)?))
}

pub(super) fn select(text: Option<&str>, schema: &Schema) -> Result<Selector, Refusal> {
    let text = text.unwrap_or("all");
    Selector::parse(text, schema).map_err(|bad| Refusal::bad("select", format!("{bad}\n{}", bad.caret(text))))
}

fn limit(query: &PageQuery) -> Result<u32, Refusal> {
    let rows = query.limit.unwrap_or(limit::PAGE_ROWS_DEFAULT);
    if (1..=limit::PAGE_ROWS_MAX).contains(&rows) {
        return Ok(rows);
    }
    Err(Refusal::bad("limit", format!("limit is 1 to {}", limit::PAGE_ROWS_MAX)))
}

fn cursor(query: &PageQuery) -> Result<Option<Cursor>, Refusal> {
    Ok(query.cursor.as_deref().map(str::parse).transpose()?)
}

pub(super) fn page<T, W>(paged: Paged<T>, show: impl FnMut(T) -> W) -> Page<W> {
    let next = paged.next.map(|cursor| cursor.to_string());
    Page { items: paged.rows.into_iter().map(show).collect(), next }
}
