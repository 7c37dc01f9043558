//! Comparing rows of an analyzer with rows of the truth: each row and each column, none missing, none invented.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// A row: column names and values, as text.
pub type Row = BTreeMap<&'static str, String>;

/// What was compared and what differed.
#[derive(Default)]
pub struct Comparison {
    rows: usize,
    values: usize,
    differences: Vec<String>,
}

impl Comparison {
    /// Compares tables by their rows' keys. A column of one side that the other lacks is a difference.
    pub fn tables<K: Ord + Debug>(
        &mut self,
        what: &str,
        found: &BTreeMap<K, Row>,
        truth: &BTreeMap<K, Row>,
    ) {
        for key in truth.keys().filter(|key| !found.contains_key(key)) {
            self.differences.push(format!("{what} {key:?}: missing"));
        }
        for key in found.keys().filter(|key| !truth.contains_key(key)) {
            self.differences.push(format!("{what} {key:?}: invented"));
        }
        for (key, row) in truth {
            if let Some(found) = found.get(key) {
                self.rows += 1;
                self.row(&format!("{what} {key:?}"), found, row);
            }
        }
    }

    fn row(&mut self, what: &str, found: &Row, truth: &Row) {
        for column in found.keys().chain(truth.keys()) {
            if truth.contains_key(column) && !found.contains_key(column)
                || found.contains_key(column) && !truth.contains_key(column)
            {
                self.differences
                    .push(format!("{what}: column {column} on one side only"));
            }
        }
        for (column, value) in truth {
            let Some(found) = found.get(column) else {
                continue;
            };
            self.values += 1;
            if found != value {
                self.differences
                    .push(format!("{what}: {column} is {found}, and was {value}"));
            }
        }
    }

    /// Prints the counts, and fails if anything differed or if there was nothing to compare.
    pub fn finish(self, what: &str) {
        println!(
            "{what}: {} rows, {} values compared, {} differ",
            self.rows,
            self.values,
            self.differences.len()
        );
        assert!(self.rows > 0, "{what}: there was nothing to compare");
        assert!(
            self.differences.is_empty(),
            "{what}:\n{}",
            self.differences.join("\n")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, &[(&'static str, &str)])]) -> BTreeMap<u32, Row> {
        rows.iter()
            .map(|(key, columns)| {
                let row = columns
                    .iter()
                    .map(|(name, value)| (*name, (*value).to_owned()))
                    .collect();
                (*key, row)
            })
            .collect()
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let truth = table(&[(1, &[("a", "x"), ("b", "y")]), (2, &[("a", "x")])]);
        let found = table(&[(1, &[("a", "X"), ("c", "y")]), (3, &[("a", "x")])]);
        let mut comparison = Comparison::default();
        comparison.tables("row", &found, &truth);
        assert_eq!(
            comparison.differences,
            [
                "row 2: missing",
                "row 3: invented",
                "row 1: column c on one side only",
                "row 1: column b on one side only",
                "row 1: a is X, and was x",
            ]
        );
    }

    #[test]
    #[should_panic(expected = "nothing to compare")]
    fn nothing_is_no_success() {
        Comparison::default().finish("nothing");
    }
}
