//! Tables for people: columns as wide as what stands in them.

/// Spaces between two columns.
const GAP: usize = 2;

/// Rows under a head, one line each.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    columns(&head, rows)
}

/// The same of as many columns as the head has.
pub(crate) fn columns(head: &[&str], rows: &[impl AsRef<[String]>]) -> Vec<String> {
    let mut widths: Vec<usize> = head.iter().map(|word| word.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let padding = width + GAP - cell.chars().count();
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding));
        }
        line.trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|word| (*word).to_owned()).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row.as_ref()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["us-east-1".to_owned(), "1".to_owned()], ["é".to_owned(), "22".to_owned()]];
        let lines = table(["region", "n"], &rows);
        assert_eq!(lines, ["region     n", "us-east-1  1", "é          22"]);
    }
}
