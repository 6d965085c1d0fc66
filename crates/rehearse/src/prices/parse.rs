//! Prices from a table.

use std::collections::BTreeSet;

use rhumb_regions::snapshot::MicroDollarsPerGb;
use rhumb_types::RegionId;

use super::{MicroDollars, Prices};
use crate::{
    table,
    text::{self, Mistake, Mistakes, Source, Word},
};

/// The table's columns. A row with `to` is of one pair.
const HEAD: [&str; 4] = ["region", "to", "usd_per_gb", "usd_per_node_hour"];
/// The digits after the point that count.
const DECIMALS: usize = 6;
/// No price of one thing is higher, in whole dollars.
const DOLLARS_MAX: u64 = 1_000_000;

/// Reads a price table over another, whose prices hold where this one has none.
///
/// ```text
/// region,to,usd_per_gb,usd_per_node_hour
/// us-east-1,,0.02,0.0416
/// us-east-1,us-east-2,0.01,
/// ```
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(
    source: Source<'_>,
    regions: &[RegionId],
    under: Prices,
) -> Result<Prices, Vec<Mistake>> {
    let mut mistakes = Mistakes::default();
    let Some(table) = table::read(source, &[&HEAD], &mut mistakes) else {
        return mistakes.done(under);
    };
    let mut prices = under;
    // Prices of pairs last: in any order of the rows they hold against those of their region.
    let (of_pairs, of_regions): (Vec<_>, Vec<_>) =
        table.rows.iter().partition(|row| filled(row.cell(1)).is_some());
    let mut given = BTreeSet::new();
    for row in of_regions.into_iter().chain(of_pairs) {
        let from = mistakes.keep(text::region(&row.cell(0), regions));
        let to = filled(row.cell(1)).map(|cell| mistakes.keep(text::region(&cell, regions)));
        if filled(row.cell(2)).or(filled(row.cell(3))).is_none() {
            let hint = "write usd_per_gb, usd_per_node_hour, or both";
            mistakes.add(row.line.mistake(format!("this row has no price; {hint}")));
        }
        let gb = filled(row.cell(2)).and_then(|cell| mistakes.keep(dollars(&cell)));
        let hour = filled(row.cell(3)).and_then(|cell| mistakes.keep(dollars(&cell)));
        for column in [2, 3] {
            let cell = row.cell(column);
            if let Some(cell) = filled(cell)
                && !given.insert((row.cell(0).text, row.cell(1).text, column))
            {
                mistakes.add(cell.mistake("this price was given before; write it once"));
            }
        }
        let Some(from) = from else { continue };
        if to.as_ref().is_some_and(|to| to.as_ref() == Some(&from)) {
            let hint = "traffic within a region costs nothing here; name two regions";
            mistakes.add(row.cell(1).mistake(format!("`{from}` is both ends; {hint}")));
            continue;
        }
        match to {
            None => prices.set(&from, gb, hour),
            Some(to) => {
                if hour.is_some() {
                    let hint = "leave this cell empty, and write it in the row without `to`";
                    mistakes.add(row.cell(3).mistake(format!("a node is of one region; {hint}")));
                }
                let priced = to.zip(gb);
                prices.between.extend(priced.map(|(to, gb)| ((from, to), MicroDollarsPerGb(gb.0))));
            }
        }
    }
    mistakes.done(prices)
}

impl Prices {
    /// Sets a region's own prices. That of its traffic takes the place of listed ones of its pairs.
    fn set(&mut self, region: &RegionId, gb: Option<MicroDollars>, hour: Option<MicroDollars>) {
        if let Some(MicroDollars(price)) = gb {
            self.between.retain(|(from, _), _| from != region);
            self.egress.insert(region.clone(), MicroDollarsPerGb(price));
        }
        self.node_hour.extend(hour.map(|hour| (region.clone(), hour)));
    }
}

fn filled(cell: Word<'_>) -> Option<Word<'_>> {
    Some(cell).filter(|cell| !cell.text.is_empty())
}

/// Dollars with up to six digits after the point, exactly.
pub(crate) fn dollars(word: &Word<'_>) -> Result<MicroDollars, Mistake> {
    let refused = || {
        let hint = "write dollars with up to six digits after the point, such as 0.0416";
        word.mistake(format!("`{}` is not a price; {hint}", word.text))
    };
    let (whole, decimals) = word.text.split_once('.').unwrap_or((word.text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS {
        return Err(refused());
    }
    let whole: u64 = whole.parse().map_err(|_| refused())?;
    let micro: u64 = format!("{decimals:0<DECIMALS$}").parse().map_err(|_| refused())?;
    if whole > DOLLARS_MAX {
        return Err(refused());
    }
    Ok(MicroDollars(whole * 1_000_000 + micro))
}
