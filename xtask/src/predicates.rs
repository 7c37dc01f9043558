//! Predicates of `kernel_has` that no kernel makes true: misspelled ones, or of kernels that nobody looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use kstruct_kernel_has::{Names, predicates};

use crate::paths;

/// What is less like the other name isn't it.
const LIKE: f64 = 0.85;

/// What is to be said of the predicates of some packages that are true for none of several kernels, whose `names.txt` these are; nothing
/// if there is none.
pub fn untrue(packages: &BTreeSet<&str>, kernels: &[(String, PathBuf)]) -> anyhow::Result<String> {
    let mut found = BTreeMap::new();
    for package in packages {
        let source = paths::root().join("analyzers").join(package).join("src");
        found.extend(predicates(&source).map_err(|error| anyhow!(error))?);
    }
    let mut texts = Vec::new();
    for (kernel, path) in kernels {
        let text = std::fs::read_to_string(path);
        texts.push((kernel, text.with_context(|| path.display().to_string())?));
    }
    let names: Vec<(&str, Names<'_>)> = texts
        .iter()
        .map(|(kernel, text)| (kernel.as_str(), Names::parse(text)))
        .collect();
    // One that is of no form is an error of the analyzer's build.
    found.retain(|predicate, _| {
        let is_true = |(_, names): &(_, Names<'_>)| names.answer(predicate) != Ok(false);
        !names.iter().any(is_true)
    });
    let mut said = String::new();
    for (predicate, place) in found {
        let place = Path::new(&place);
        let place = place.strip_prefix(paths::root()).unwrap_or(place);
        let _ = write!(said, "{}: kernel_has = \"{predicate}\"", place.display());
        // Where a kernel has the type, others' types are no nearer than its members.
        let first = predicate.split('.').next().unwrap_or_default();
        let has_type = |names: &Names<'_>| names.answer(first) == Ok(true);
        let is_known = names.iter().any(|(_, names)| has_type(names));
        let near = names
            .iter()
            .filter(|(_, names)| has_type(names) == is_known)
            .filter_map(|(kernel, names)| {
                let (likeness, name) = nearest(names, &predicate)?;
                Some((likeness, name, kernel))
            })
            .max_by(|one, other| one.0.total_cmp(&other.0));
        said += &match near {
            Some((_, name, kernel)) => format!("; {kernel} has {name}\n"),
            None => "\n".to_owned(),
        };
    }
    Ok(said)
}

/// The name that is most like a predicate for what a kernel doesn't have, of the same kind, and how like.
fn nearest(names: &Names<'_>, predicate: &str) -> Option<(f64, String)> {
    let best = |wanted: &str, known: &mut dyn Iterator<Item = &str>| {
        known
            .map(|known| (strsim::jaro_winkler(wanted, known), known.to_owned()))
            .filter(|(likeness, _)| *likeness > LIKE)
            .max_by(|one, other| one.0.total_cmp(&other.0))
    };
    if let Some((kind, name)) = predicate.split_once(':') {
        let of_kind = format!("{kind}:");
        let mut known = names.beginning(&of_kind);
        return best(name, &mut known)
            .map(|(likeness, name)| (likeness, format!("{of_kind}{name}")));
    }
    // As far as the kernel has it, and the name that it doesn't have.
    let mut path = predicate.split('.');
    let first = path.next()?;
    if names.answer(first) != Ok(true) {
        let mut known = names
            .beginning("")
            .filter(|name| !name.contains([':', '.']));
        return best(first, &mut known);
    }
    let mut there = first.to_owned();
    for member in path {
        let next = format!("{there}.{member}");
        if names.answer(&next) != Ok(true) {
            let of_type = format!("{}.", names.type_of(&there)?);
            let mut known = names.beginning(&of_type);
            let near = best(member, &mut known);
            return near.map(|(likeness, name)| (likeness, format!("{there}.{name}")));
        }
        there = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_of_the_same_kind() {
        let names = Names::parse(
            "const:IFF_UP\nsk_buff\nsock\nsock.sk_state\nsym:init_net\ntcp_sock\ntcp_sock.inet inet_sock\ntcp_sock.srtt_us\n\
             inet_sock\ninet_sock.inet_sport\n",
        );
        for (predicate, near) in [
            ("tcp_sokc", Some("tcp_sock")),
            ("tcp_sock.srtt_uss", Some("tcp_sock.srtt_us")),
            ("tcp_sock.inet.inet_port", Some("tcp_sock.inet.inet_sport")),
            ("sym:init_nte", Some("sym:init_net")),
            ("const:IFF_PU", Some("const:IFF_UP")),
            ("sym:IFF_UP", None),
            ("tcp_sock.sk_state", None),
        ] {
            let found = nearest(&names, predicate).map(|(_, name)| name);
            assert_eq!(found.as_deref(), near, "{predicate}");
        }
    }
}
