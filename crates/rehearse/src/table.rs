//! Tables as comma-separated values: a head with the names of the columns, then rows.
//!
//! Plain cells only: no quotes, because nothing here has commas in it.

use crate::text::{self, Mistake, Mistakes, Source, Word};

/// A table that was read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// The first line.
    pub(crate) head: Word<'a>,
    /// Its cells.
    pub(crate) columns: Vec<&'a str>,
    /// All others.
    pub(crate) rows: Vec<Row<'a>>,
}

/// One row: the line, and as many cells as there are columns.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) line: Word<'a>,
    cells: Vec<Word<'a>>,
}

impl<'a> Row<'a> {
    /// The cell of a column; empty where the table has no such column.
    pub(crate) fn cell(&self, column: usize) -> Word<'a> {
        self.cells.get(column).copied().unwrap_or(self.line.part(0, 0))
    }
}

/// Reads a table with one of these heads.
pub(crate) fn read<'a>(
    source: Source<'a>,
    heads: &[&[&str]],
    mistakes: &mut Mistakes,
) -> Option<Table<'a>> {
    let mut lines = text::lines(source, mistakes).into_iter();
    let wanted = || heads.iter().map(|head| format!("`{}`", head.join(","))).collect::<Vec<_>>();
    let Some(head) = lines.next() else {
        mistakes.add(Mistake {
            place: text::Place { source: source.name.to_owned(), line: 1, column: 1 },
            message: format!("this is empty; begin with {}", wanted().join(" or ")),
        });
        return None;
    };
    let columns: Vec<&str> = head.split(',').iter().map(|word| word.text).collect();
    if !heads.contains(&columns.as_slice()) {
        let message =
            format!("this is no head of this table; begin with {}", wanted().join(" or "));
        mistakes.add(head.mistake(message));
        return None;
    }
    let mut rows = Vec::new();
    for line in lines {
        let cells = line.split(',');
        if cells.len() == columns.len() {
            rows.push(Row { line, cells });
        } else {
            let (found, wanted) = (cells.len(), columns.len());
            let message = format!("this has {found} cells; write {wanted}: {}", columns.join(","));
            mistakes.add(line.mistake(message));
        }
    }
    Some(Table { head, columns, rows })
}
