//! Names that are nearly another one, for messages about names that aren't there.

use std::collections::BTreeSet;

/// So many names are enough for a message.
const MOST: usize = 5;
/// How like two names are that differ by a slip of the hand (Jaro and Winkler's measure, of which 1 is equality).
const LIKE: f64 = 0.85;
/// What is shorter is part of too many names.
const SHORTEST: usize = 3;

/// The names that are most like one, the nearest first: misspelt ones, and longer ones that have it in them.
pub fn near<'n>(wanted: &str, known: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    // What is anonymous has an empty name.
    let names = known.into_iter().filter(|known| !known.is_empty());
    let names: BTreeSet<&str> = names.collect();
    let lower = wanted.to_ascii_lowercase();
    let mut near: Vec<(f64, &str)> = names
        .into_iter()
        .map(|known| {
            let likeness = strsim::jaro_winkler(&lower, &known.to_ascii_lowercase());
            (likeness, known)
        })
        .filter(|(likeness, known)| {
            *likeness > LIKE || wanted.len() >= SHORTEST && known.contains(wanted)
        })
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.truncate(MOST);
    near.into_iter().map(|(_, name)| name).collect()
}

/// The end of a message: what there is that is nearly a name; nothing if nothing is.
pub fn or_near<'n>(wanted: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let near = near(wanted, known);
    if near.is_empty() {
        return String::new();
    }
    format!("; it has {}", near.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{near, or_near};

    #[test]
    fn slips_and_parts_are_near_and_little_else_is() {
        let known = [
            "task_struct",
            "thread_struct",
            "init_task",
            "kmem_cache",
            "pid",
            "pid",
        ];
        assert_eq!(near("task_strct", known), ["task_struct"]);
        assert_eq!(near("task", known), ["task_struct", "init_task"]);
        assert_eq!(or_near("pidd", known), "; it has pid");
        assert_eq!(or_near("em", known), "");
        assert_eq!(or_near("", known), "");
        assert_eq!(or_near("", [""]), "");
        assert_eq!(near("TASK_STRUCT", known)[0], "task_struct");
    }
}
