//! How big is the terminal, and who gets its keys?

use std::io::{IsTerminal, stdin, stdout};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Of a window that has no size: a file, a program.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Every key goes to the program as it is, until this is dropped.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

/// `None`: the input is no terminal.
pub fn raw() -> Option<Raw> {
    if !stdin().is_terminal() {
        return None;
    }
    let before = tcgetattr(stdin()).ok()?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
    Some(Raw { before })
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// Columns and rows, each two bytes, the higher first.
pub fn size() -> [u8; 4] {
    let (columns, rows) = match tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        Ok(_) | Err(_) => (COLUMNS, ROWS),
    };
    let ([c1, c0], [r1, r0]) = (columns.to_be_bytes(), rows.to_be_bytes());
    [c1, c0, r1, r0]
}
