//! The kernel's tables, and what all sockets together show.

use linux::Faults;
use sockets::tcp::Tcp;

use super::{Finding, Tables, finding, is_locked, name_of, of_all};
use crate::said::{Said, say};

/// What a bucket is one of.
#[cfg(kernel_has = "inet_hashinfo.lhash2")]
fn table_of(bucket: &sockets::inet::Bucket) -> &'static str {
    match bucket.table {
        sockets::inet::Table::Connections => "the table of connections",
        sockets::inet::Table::Listeners => "the table of listeners",
    }
}

impl Tables<'_, '_> {
    #[cfg(kernel_has = "inet_hashinfo.lhash2")]
    fn layout(&self) -> &sockets::inet::Layout {
        let reader = self.look.reader;
        let many = self.look.limits.chain;
        self.layout.get_or_init(|| {
            sockets::inet::layout(reader.k, &reader.spaces, many, self.wants_hashes)
        })
    }

    /// Notes that the rule couldn't look, and why.
    #[cfg(any(
        kernel_has = "inet_hashinfo.lhash2",
        all(
            kernel_has = "prot_inuse.all",
            kernel_has = "sym:tcp_prot",
            kernel_has = "sym:tcpv6_prot"
        )
    ))]
    fn unchecked(&self, why: String) {
        self.unchecked.borrow_mut().push(why);
    }

    /// A finding about each of these sockets that is one, and looked at. What somebody is at work on need not be where it belongs.
    fn about(&self, rule: &'static str, said: Vec<(u64, Said)>) -> Vec<Finding> {
        let addresses = said.iter().map(|(address, _)| *address);
        let addresses: Vec<u64> = addresses
            .filter(|address| self.nonsense.binary_search(address).is_err())
            .collect();
        // That one can't be read was said when all were.
        let mut unsaid = Faults::default();
        let reader = self.look.reader;
        let sockets = reader.read_all(&addresses, "", &mut unsaid, Tcp::read);
        // They come in the order in which they were asked for.
        let mut said = said.into_iter();
        let findings = sockets.iter().filter_map(|socket| {
            let (_, said) = said.find(|(address, _)| *address == socket.base.address)?;
            let is_wanted = self.filter.wants(&socket.base, Some(&socket.ends));
            (is_wanted && !is_locked(self.look, socket)).then(|| finding(rule, said, socket))
        });
        findings.collect()
    }
}

pub fn owner(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    let said = seen.disowned.iter().map(|held| {
        let by = held.socket;
        let said = say!("it is held by struct socket {by:#x}, and its sk_socket is another");
        (held.sk, said)
    });
    let owners = &seen.look.reader.owners;
    let mut disowned = seen.disowned.iter();
    for mut finding in seen.about(rule, said.collect()) {
        // Those that have it, and not those that it has for its own.
        if let Some(held) = disowned.find(|held| Some(held.sk) == finding.address) {
            let holders = owners.of(held.socket);
            finding.holders = holders.map(|holder| name_of(&holder)).collect();
        }
        findings.push(finding);
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn wrong_bucket(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    /// So many of a chain are told of one by one.
    const MOST: usize = 16;
    /// Sockets that are looked at at a time: a damaged dump may have a million.
    const PIECE: usize = 4096;
    for bucket in &seen.layout().odd {
        let table = table_of(bucket);
        let by = match bucket.table {
            sockets::inet::Table::Connections => "hash",
            sockets::inet::Table::Listeners => "address and port",
        };
        let (mut found, mut count) = (Vec::new(), 0);
        for sockets in bucket.misplaced.chunks(PIECE) {
            let said = sockets.iter().map(|(address, own)| {
                let said = say!(
                    "it is in bucket {bucket} of {table}, and by its {by} it is of bucket {own_bucket}",
                    bucket = bucket.index,
                    own_bucket = *own,
                );
                (*address, said)
            });
            let some = seen.about(rule, said.collect());
            count += some.len();
            found.extend(some.into_iter().take(MOST));
        }
        if count > MOST {
            found.truncate(1);
            for first in &mut found {
                let said = say!(
                    "it is the first of {sockets} that are in bucket {bucket} of {table}, and by {by} of others",
                    sockets = crate::said::many(count, "socket"),
                    bucket = bucket.index,
                );
                (first.why, first.values) = (said.why, said.values);
            }
        }
        findings.extend(found);
    }
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn wrong_hash(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    use sockets::inet::Hashes;

    let layout = seen.layout();
    let mut all = Vec::new();
    for (version, is_ipv6) in [(4, false), (6, true)] {
        let rehashed = layout.odd.iter().flat_map(|bucket| &bucket.rehashed);
        let rehashed = rehashed.filter(|wrong| wrong.is_ipv6 == is_ipv6);
        match layout.hashes(is_ipv6) {
            Hashes::Known => all.extend(rehashed.map(|wrong| {
                let said = say!(
                    "its hash (skc_hash) is {hash:#010x}, and its addresses and ports have another one",
                    hash = wrong.hash,
                );
                (wrong.address, said)
            })),
            // Of all sockets.
            Hashes::WrongSecret if seen.filter.is_empty() => {
                let said = say!(
                    "no connection of IPv{version} has the hash (skc_hash) of its addresses and ports, of {connections}: the secret of these hashes is damaged, or their function isn't known",
                    version = version,
                    connections = crate::said::many(rehashed.count(), "connection"),
                );
                findings.push(of_all(rule, None, said));
            }
            Hashes::WrongSecret => {}
            Hashes::Unknown => seen.unchecked(format!(
                "no connection of IPv{version} has the hash of its addresses and ports: the secret is damaged, or this kernel's function isn't known"
            )),
            Hashes::NoSecret => seen.unchecked(format!(
                "the dump doesn't say what the secret in the hashes of IPv{version} is"
            )),
        }
    }
    findings.extend(seen.about(rule, all));
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn broken_chain(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    let mut wrong = Vec::new();
    for bucket in &seen.layout().odd {
        let table = table_of(bucket);
        for unlinked in &bucket.unlinked {
            let (from, back) = (unlinked.from, unlinked.back);
            let said = say!(
                "it is in bucket {bucket} of {table}, where the link to it is at {from:#x}, and its link back (pprev) is {back:#x}",
                bucket = bucket.index,
            );
            wrong.push((unlinked.address, said));
        }
        if let Some((socket, own)) = bucket.leads_into {
            let said = say!(
                "the chain of bucket {bucket} of {table} leads after {sockets} to it and all that is behind it, and it is of bucket {own_bucket}: what was there is not found",
                bucket = bucket.index,
                sockets = crate::said::many(bucket.sockets, "socket"),
                own_bucket = own,
            );
            wrong.push((socket, said));
        }
        // Of all sockets that were on it.
        if let Some(end) = bucket.foreign_end.filter(|_| seen.filter.is_empty()) {
            let said = say!(
                "the chain of bucket {bucket} of {table} ends after {sockets} with the number of another one's end, {other_end:#x}",
                bucket = bucket.index,
                sockets = crate::said::many(bucket.sockets, "socket"),
                other_end = end,
            );
            findings.push(of_all(rule, None, said));
        }
    }
    findings.extend(seen.about(rule, wrong));
}

#[cfg(kernel_has = "inet_hashinfo.lhash2")]
pub fn long_chain(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    let layout = seen.layout();
    let (all, buckets) = (layout.sockets, layout.buckets);
    // Chains of a table that is full are long by right.
    let most = seen.look.limits.chain.max(8 * (all / buckets.max(1)));
    let connections = |bucket: &&sockets::inet::Bucket| {
        bucket.table == sockets::inet::Table::Connections && bucket.sockets > most
    };
    for bucket in layout.odd.iter().filter(connections) {
        let sockets = crate::said::many(bucket.sockets, "socket");
        let said = if bucket.is_cut {
            say!(
                "the chain of bucket {bucket} has at least {sockets}, with {all} in {buckets} buckets",
                bucket = bucket.index,
                sockets = sockets,
                all = all,
                buckets = buckets,
            )
        } else {
            say!(
                "the chain of bucket {bucket} has {sockets}, with {all} in {buckets} buckets",
                bucket = bucket.index,
                sockets = sockets,
                all = all,
                buckets = buckets,
            )
        };
        findings.push(of_all(rule, None, said));
    }
}

/// `sock_prot_inuse_add` (include/net/sock.h): `__inet_hash`, `inet_ehash_nolisten` and `inet_unhash` do it for whole sockets, those that wait to
/// be accepted among them.
#[cfg(all(
    kernel_has = "prot_inuse.all",
    kernel_has = "sym:tcp_prot",
    kernel_has = "sym:tcpv6_prot"
))]
pub fn socket_count(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    let k = seen.look.reader.k;
    // One that runs has others by now.
    if k.dump().is_live() {
        return;
    }
    let Some(found) = seen.in_tables else {
        seen.unchecked("not all of the tables could be read".into());
        return;
    };
    if !seen.nonsense.is_empty() {
        seen.unchecked("the tables have what is no socket".into());
        return;
    }
    let protocols = k
        .get(kernel::sym::tcp_prot)
        .and_then(|tcp| Ok([tcp, k.get(kernel::sym::tcpv6_prot)?]));
    match protocols.and_then(|protocols| linux::net::sockets_in_use(k, &protocols)) {
        Ok(counted) if counted != i64::try_from(found).unwrap_or(i64::MAX) => {
            let said = say!(
                "TCP counts {counted}, and its tables have {found}",
                counted = crate::said::many(counted, "socket"),
                found = found,
            );
            findings.push(of_all(rule, None, said));
        }
        Ok(_) => {}
        Err(fault) => seen.unread.borrow_mut().push(("counts of sockets", fault)),
    }
}

#[cfg(kernel_has = "sym:tcp_memory_pressure")]
pub fn memory_pressure(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    if let Ok(since) = seen.look.reader.k.get(kernel::sym::tcp_memory_pressure)
        && since != 0
    {
        // `tcp_enter_memory_pressure`, `tcp_leave_memory_pressure` (net/ipv4/tcp.c).
        let said = say!(
            "TCP's memory was above the second value of tcp_mem, and has not come down to the first since"
        );
        findings.push(of_all(rule, None, said));
    }
}

/// `tcp_out_of_memory` (include/net/tcp.h), `__sk_mem_raise_allocated` (net/core/sock.c).
#[cfg(all(
    kernel_has = "sym:tcp_memory_allocated",
    kernel_has = "sym:sysctl_tcp_mem"
))]
pub fn memory_limit(seen: &Tables<'_, '_>, rule: &'static str, findings: &mut Vec<Finding>) {
    use crate::said::Number as _;

    let k = seen.look.reader.k;
    let limits = k.get(kernel::sym::sysctl_tcp_mem).ok();
    let Ok(allocated) = k.get(kernel::sym::tcp_memory_allocated) else {
        return;
    };
    let allocated = allocated.value().number();
    if let Some(most) = limits.and_then(|limits| limits.get(2))
        && allocated > most.number()
    {
        let said = say!(
            "TCP has {pages}, and may have {most} (the third value of tcp_mem)",
            pages = crate::said::many(allocated, "page"),
            most = most,
        );
        findings.push(of_all(rule, None, said));
    }
    if allocated >= 0 {
        return;
    }
    match held_back(k) {
        Ok(held) if allocated.saturating_add(held) < 0 => {
            let said = say!(
                "TCP has {pages}, and CPUs hold back {held}: more was given back than was taken",
                pages = crate::said::many(allocated, "page"),
                held = held,
            );
            findings.push(of_all(rule, None, said));
        }
        Ok(_) => {}
        Err(fault) => {
            let what = "what CPUs hold back of TCP's memory";
            seen.unread.borrow_mut().push((what, fault));
        }
    }
}

/// Pages that CPUs have counted and not yet added to the sum, which may be less than nothing by that (`sk_memory_allocated_add`,
/// include/net/sock.h).
#[cfg(all(
    kernel_has = "sym:tcp_memory_allocated",
    kernel_has = "sym:sysctl_tcp_mem",
    kernel_has = "sym:tcp_memory_per_cpu_fw_alloc"
))]
fn held_back(k: &kstruct::Memory) -> Result<i64, kstruct::Fault> {
    let mut sum = 0;
    for cpu in linux::cpu::possible(k)? {
        sum += i64::from(k.per_cpu(kernel::sym::tcp_memory_per_cpu_fw_alloc, cpu)?);
    }
    Ok(sum)
}

/// Before 6.0 CPUs hold back nothing.
#[cfg(all(
    kernel_has = "sym:tcp_memory_allocated",
    kernel_has = "sym:sysctl_tcp_mem",
    not(kernel_has = "sym:tcp_memory_per_cpu_fw_alloc")
))]
fn held_back(_: &kstruct::Memory) -> Result<i64, kstruct::Fault> {
    Ok(0)
}
