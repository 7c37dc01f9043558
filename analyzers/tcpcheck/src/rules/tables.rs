//! The kernel's tables, and what all sockets together show.

use linux::Faults;
use sockets::tcp::Tcp;

use super::{Finding, Tables, finding, name_of, of_all};
use crate::said::{Said, say};

impl Tables<'_, '_> {
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    fn layout(&self) -> &sockets::inet::Layout {
        let reader = self.look.reader;
        let many = self.look.limits.chain;
        self.layout
            .get_or_init(|| sockets::inet::layout(reader.k, &reader.spaces, many))
    }

    /// A finding about one socket, if it is one, and looked at.
    fn about(&self, rule: &'static str, address: u64, said: Said) -> Option<Finding> {
        if self.nonsense.binary_search(&address).is_ok() {
            return None;
        }
        // That it can't be read was said when all were.
        let mut unsaid = Faults::default();
        let read = self
            .look
            .reader
            .read_all(&[address], "", 0, &mut unsaid, Tcp::read);
        let socket = read.into_iter().next()?;
        let is_wanted = self.filter.wants(&socket.base, Some(&socket.ends));
        is_wanted.then(|| finding(rule, said, &socket))
    }
}

pub fn owner(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    for held in seen.disowned {
        let holders: Vec<String> = seen
            .look
            .reader
            .owners
            .of(held.socket)
            .map(|holder| name_of(&holder))
            .collect();
        let by = held.socket;
        let said = say!("it is held by struct socket {by:#x}, and its sk_socket is another");
        if let Some(mut finding) = seen.about(rule, held.sk, said) {
            finding.holders = holders;
            findings.push(finding);
        }
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn wrong_bucket(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    for bucket in &seen.layout().odd {
        for (address, own) in &bucket.misplaced {
            let said = say!(
                "it is in bucket {bucket}, and its hash is of bucket {own_bucket}",
                bucket = bucket.index,
                own_bucket = *own,
            );
            findings.extend(seen.about(rule, *address, said));
        }
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn broken_chain(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    for bucket in &seen.layout().odd {
        for (address, back) in &bucket.unlinked {
            let said = say!(
                "it is in bucket {bucket}, and its link back (pprev) is {back:#x}, from where nothing leads to it",
                bucket = bucket.index,
            );
            findings.extend(seen.about(rule, *address, said));
        }
        if let Some(end) = bucket.foreign_end {
            let said = say!(
                "the chain of bucket {bucket} ends after {sockets} with the end of bucket {other_bucket}",
                bucket = bucket.index,
                sockets = crate::said::many(bucket.sockets, "socket"),
                other_bucket = end >> 1,
            );
            findings.push(of_all(rule, None, said));
        }
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn long_chain(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    let layout = seen.layout();
    let (all, buckets) = (layout.sockets, layout.buckets);
    // Chains of a table that is full are long by right.
    let most = seen.look.limits.chain.max(8 * (all / buckets.max(1)));
    for bucket in layout.odd.iter().filter(|bucket| bucket.sockets > most) {
        let said = say!(
            "the chain of bucket {bucket} has {sockets}, with {all} in {buckets} buckets",
            bucket = bucket.index,
            sockets = crate::said::many(bucket.sockets, "socket"),
            all = all,
            buckets = buckets,
        );
        findings.push(of_all(rule, None, said));
    }
}

#[cfg(kernel_has = "sym:tcp_memory_pressure")]
pub fn memory_pressure(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    if let Ok(since) = seen.look.reader.k.get(kernel::sym::tcp_memory_pressure)
        && since != 0
    {
        let said = say!("TCP's memory is above the second value of tcp_mem");
        findings.push(of_all(rule, None, said));
    }
}
