//! `route`: routing tables, rules, next hops, what was learned, and neighbours.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kstruct::Memory;
use linux::app::{Common, unknown};
use linux::{Faults, Report};
use routes::model::{
    Cached, Family, MulticastInterface, MulticastRoute, Neighbour, NeighbourTable, Nexthop, Proxy,
    Route, Rule, Trie,
};
use routes::{names, text};
use serde::Serialize;

/// Shows routing: tables of IPv4 and IPv6, rules, next hop objects, exceptions (path MTUs and redirects), neighbours.
///
/// Lines are as iproute2 prints them; JSON has more.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  route --core vmcore                          everything, in all network namespaces
  route --core vmcore route rule               routes and rules alone
  route --core vmcore -4 --to 10.1.2.3         in each table the routes that fit this address best
  route --core vmcore neigh --dev eth0         ARP and ND entries of an interface
  route --core vmcore cache                    what was learned of single destinations
  route --core vmcore --format json | jq '.neighbours[] | select(.state == [\"FAILED\"])'"
)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// What to show
    #[arg(value_enum, value_name = "WHAT")]
    what: Vec<What>,
    /// Only IPv4
    #[arg(short = '4', conflicts_with = "inet6")]
    inet: bool,
    /// Only IPv6
    #[arg(short = '6')]
    inet6: bool,
    /// Only this network namespace, by its inode number
    #[arg(long, value_name = "INODE", value_parser = linux::options::netns)]
    netns: Option<u64>,
    /// Only this table, by number or name (main, local, default), the rules that lead to it, and the next hop objects that its routes use
    #[arg(long, value_parser = table)]
    table: Option<u32>,
    /// Only routes over this interface (multicast routes that come in there, too), next hop objects and rules for it, and neighbours there
    #[arg(long, value_name = "NAME")]
    dev: Option<String>,
    /// Only the routes of each table that fit this address best: those of the longest prefix; and the rules that may be for it
    #[arg(long, value_name = "ADDRESS")]
    to: Option<IpAddr>,
}

impl AsRef<Common> for Args {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Routes of all tables
    Route,
    /// Rules
    Rule,
    /// Next hop objects
    Nexthop,
    /// Exceptions: path MTUs and redirects that were learned; in kernels that have one the cache of routes
    Cache,
    /// Neighbours
    Neigh,
    /// Addresses that the kernel answers for
    Proxy,
    /// Routes and interfaces of multicast routers, as `ip -s -d mroute` and /proc/net/ip_mr_vif show them
    Mroute,
    /// The shape of IPv4 tables, as /proc/net/fib_trie and fib_triestat show it; only if it is asked for
    Trie,
}

fn table(name: &str) -> Result<u32, String> {
    names::table_number(name).ok_or_else(|| format!("{name:?} is no table's number or name"))
}

fn main() -> ExitCode {
    linux::app::run(analyze)
}

#[derive(Default, Serialize)]
struct Routing {
    /// Whether a part of what there is was asked for.
    #[serde(skip)]
    is_choice: bool,
    /// Inode numbers of the network namespaces, in the kernel's order.
    namespaces: Vec<u64>,
    routes: Vec<Route>,
    exceptions: Vec<Route>,
    cached: Vec<Cached>,
    rules: Vec<Rule>,
    nexthops: Vec<Nexthop>,
    neighbours: Vec<Neighbour>,
    /// How many neighbours there are of all namespaces, whatever is asked for.
    neighbour_tables: Vec<NeighbourTable>,
    proxies: Vec<Proxy>,
    multicast_routes: Vec<MulticastRoute>,
    multicast_interfaces: Vec<MulticastInterface>,
    tries: Vec<Trie>,
}

impl Args {
    fn shows(&self, what: What) -> bool {
        self.what.is_empty() || self.what.contains(&what)
    }

    fn families(&self) -> Vec<Family> {
        match (self.inet, self.inet6) {
            (true, _) => vec![Family::Inet],
            (_, true) => vec![Family::Inet6],
            _ => vec![Family::Inet, Family::Inet6],
        }
    }

    /// Whether a route is one of those asked for, but for [`Args::to`].
    fn wants(&self, route: &Route) -> bool {
        self.table.is_none_or(|table| table == route.table)
            && self.dev.as_ref().is_none_or(|dev| {
                let over = |hop: &routes::model::Hop| hop.dev.as_ref() == Some(dev);
                route.nexthops.iter().any(over)
            })
            && self.to.is_none_or(|to| route.dst.contains(to))
    }

    /// Whether a rule leads to what is asked for, or may be for it.
    fn wants_rule(&self, rule: &Rule) -> bool {
        let of_version = |to: IpAddr| to.is_ipv4() == (rule.family == Family::Inet);
        let is_for = |to: IpAddr| rule.not || rule.dst.is_none_or(|dst| dst.contains(to));
        self.table.is_none_or(|table| table == rule.table)
            && (self.dev.is_none() || [&rule.iif, &rule.oif].contains(&&self.dev))
            && self.to.is_none_or(|to| of_version(to) && is_for(to))
    }

    /// Leaves the next hop objects over the interface, and those that the routes use that were asked for.
    fn choose_nexthops(&self, routes: &[Route], nexthops: &mut Vec<Nexthop>) {
        if !self.is_choosy() {
            return;
        }
        let is_over = |nexthop: &Nexthop| {
            let dev = nexthop.hop.as_ref().and_then(|hop| hop.dev.as_ref());
            dev.is_some() && dev == self.dev.as_ref()
        };
        let own = nexthops.iter().filter(|it| is_over(it));
        let mut wanted: BTreeSet<(u64, u32)> = own.map(|it| (it.netns, it.id)).collect();
        let used = routes
            .iter()
            .filter_map(|route| Some((route.netns, route.nhid?)));
        let used: BTreeSet<(u64, u32)> = used.collect();
        // Groups, and what they are made of.
        let groups = nexthops.iter().filter(|it| it.is_group);
        let mut more: Vec<(u64, u32)> = Vec::new();
        for group in groups {
            let members = group.group.iter().map(|member| (group.netns, member.id));
            if used.contains(&(group.netns, group.id)) {
                more.extend(members);
            } else if members.clone().any(|member| wanted.contains(&member)) {
                more.push((group.netns, group.id));
            }
        }
        wanted.extend(used);
        wanted.extend(more);
        nexthops.retain(|it| wanted.contains(&(it.netns, it.id)));
    }

    /// Whether routes are read: those that aren't shown may say which next hop objects are.
    fn reads_routes(&self) -> bool {
        self.shows(What::Route) || self.is_choosy() && self.shows(What::Nexthop)
    }

    /// Whether not all of it is asked for, of what is to be shown.
    fn is_choosy(&self) -> bool {
        self.table.is_some() || self.dev.is_some() || self.to.is_some()
    }

    /// Leaves what is asked for.
    fn choose(&self, found: &mut Routing) {
        let families = self.families();
        found.is_choice = self.is_choosy();
        found.routes.retain(|route| self.wants(route));
        found.exceptions.retain(|route| self.wants(route));
        let is_of_table = |number: u32| self.table.is_none_or(|table| table == number);
        found.multicast_routes.retain(|route| {
            let comes = || route.iif.iter();
            let goes = || route.oifs.iter().map(|out| &out.oif);
            is_of_table(route.table)
                && (self.dev.as_ref()).is_none_or(|dev| comes().chain(goes()).any(|it| it == dev))
                && self.to.is_none_or(|to| to == route.dst)
        });
        found.multicast_interfaces.retain(|vif| {
            is_of_table(vif.table)
                && self.dev.as_ref().is_none_or(|dev| *dev == vif.name)
                && self.to.is_none()
        });
        self.keep_best(&mut found.routes);
        found.rules.retain(|rule| self.wants_rule(rule));
        self.choose_nexthops(&found.routes, &mut found.nexthops);
        if !self.shows(What::Route) {
            found.routes.clear();
        }
        let namespaces = &found.namespaces;
        found.neighbours.retain(|entry| {
            // Neighbours are of no table.
            self.table.is_none()
                && namespaces.contains(&entry.netns)
                && families.contains(&entry.family)
                && self.dev.as_ref().is_none_or(|dev| *dev == entry.dev)
                && self.to.is_none_or(|to| to == entry.address)
        });
        found
            .neighbour_tables
            .retain(|table| families.contains(&table.family));
        found.cached.retain(|route| {
            let is_over = |dev: &String| {
                let names = [&route.dev, &route.iif];
                names.into_iter().any(|name| name.as_ref() == Some(dev))
            };
            self.table.is_none()
                && self.dev.as_ref().is_none_or(is_over)
                && self.to.is_none_or(|to| to == route.dst)
        });
        found.proxies.retain(|entry| {
            self.table.is_none()
                && namespaces.contains(&entry.netns)
                && families.contains(&entry.family)
                && (self.dev.is_none() || entry.dev == self.dev)
                && self.to.is_none_or(|to| to == entry.address)
        });
    }

    /// Of each table leaves the routes with the longest prefix; all fit the address.
    fn keep_best(&self, routes: &mut Vec<Route>) {
        if self.to.is_none() {
            return;
        }
        let longest = |route: &Route, all: &[(u64, u32, u8)]| {
            all.iter().any(|(netns, table, length)| {
                *netns == route.netns && *table == route.table && *length > route.dst.length
            })
        };
        let all: Vec<(u64, u32, u8)> = routes
            .iter()
            .map(|route| (route.netns, route.table, route.dst.length))
            .collect();
        routes.retain(|route| !longest(route, &all));
    }
}

fn analyze(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Routing> {
    let families = args.families();
    if args.what.contains(&What::Trie) && (args.dev.is_some() || args.to.is_some()) {
        anyhow::bail!("trie shows tables as a whole, of which --dev and --to choose nothing");
    }
    if args.dev.as_deref() == Some("") {
        anyhow::bail!("no interface has the name \"\"");
    }
    if let Some(to) = args.to {
        let family = if to.is_ipv4() {
            Family::Inet
        } else {
            Family::Inet6
        };
        if !families.contains(&family) {
            anyhow::bail!("--to {to} is no address of the version of IP that was asked for");
        }
    }
    if let Some(wanted) = args.netns {
        let inodes = linux::net::inodes(k, faults);
        if !inodes.contains(&wanted) {
            return Err(unknown("network namespace", wanted, inodes));
        }
    }
    let mut found = read(k, args, faults)?;
    // A rule may be for an interface that is gone.
    let is_of_rule = |dev: &String| {
        let mut of_rules = found.rules.iter().flat_map(|rule| [&rule.iif, &rule.oif]);
        of_rules.any(|name| name.as_ref() == Some(dev))
    };
    if let Some(dev) = args.dev.as_ref().filter(|dev| !is_of_rule(dev)) {
        linux::net::check_device(k, dev, faults)?;
    }
    if let Some(table) = args.table {
        let numbers: BTreeSet<u32> = found.routes.iter().map(|route| route.table).collect();
        // A table without routes is one that rules lead to, or that has multicast routes.
        let is_known = numbers.contains(&table)
            || found.rules.iter().any(|rule| rule.table == table)
            || found
                .multicast_routes
                .iter()
                .any(|route| route.table == table);
        if args.shows(What::Route) && !is_known {
            let tables = numbers.into_iter().map(names::table);
            return Err(unknown("route of table", names::table(table), tables));
        }
    }
    args.choose(&mut found);
    Ok(found)
}

/// Kernels of 2.6.9's time have one namespace, and no next hop objects.
#[cfg(all(kernel_has = "fn_zone.fz_hash", kernel_has = "fib_rule.r_next"))]
fn read(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Routing> {
    use linux::time::Clock;
    use routes::fib_hash;

    let clock =
        Clock::of(k, faults).map_err(|fault| anyhow::anyhow!("jiffies can't be read: {fault}"))?;
    let families = args.families();
    let mut found = Routing {
        namespaces: vec![0],
        ..Routing::default()
    };
    if args.reads_routes() {
        if families.contains(&Family::Inet) {
            found.routes.extend(fib_hash::routes(k, faults));
        }
        if families.contains(&Family::Inet6) {
            found.routes.extend(fib_hash::routes6(k, clock, faults));
        }
    }
    if args.shows(What::Cache) && families.contains(&Family::Inet) {
        found.cached = fib_hash::cached(k, clock, faults);
    }
    // Rules are for IPv4 only.
    if args.shows(What::Rule) && families.contains(&Family::Inet) {
        found.rules = fib_hash::rules(k, faults);
    }
    if args.shows(What::Neigh) {
        (found.neighbours, found.neighbour_tables) = fib_hash::neighbours(k, clock, faults);
    }
    if args.shows(What::Proxy) {
        found.proxies = fib_hash::proxies(k, faults);
    }
    Ok(found)
}

#[cfg(not(any(
    all(
        kernel_has = "fib_nh_common",
        kernel_has = "fib6_info.fib6_nh",
        kernel_has = "netns_nexthop.rb_root"
    ),
    all(kernel_has = "fn_zone.fz_hash", kernel_has = "fib_rule.r_next")
)))]
fn read(_: &Memory, args: &Args, _: &mut Faults) -> anyhow::Result<Routing> {
    let _ = (args.reads_routes(), args.netns);
    anyhow::bail!("routing tables of kernels between 2.6.12 and 5.3 are not read yet")
}

#[cfg(all(
    kernel_has = "fib_nh_common",
    kernel_has = "fib6_info.fib6_nh",
    kernel_has = "netns_nexthop.rb_root"
))]
fn read(k: &Memory, args: &Args, faults: &mut Faults) -> anyhow::Result<Routing> {
    use std::collections::HashMap;

    use kstruct::View as _;
    use linux::time::Clock;
    use routes::walk::{
        Context, congestion_controls, exceptions, fib, fib6, is_changing, neighbours, nexthops,
        rules, trie,
    };

    let clock =
        Clock::of(k, faults).map_err(|fault| anyhow::anyhow!("jiffies can't be read: {fault}"))?;
    let cpus = linux::cpu::possible(k)
        .map_err(|fault| anyhow::anyhow!("the mask of CPUs can't be read: {fault}"))?;
    let congestion = congestion_controls(k, faults);
    let is_changing = is_changing(k);
    let families = args.families();
    // Who asks for neighbours need not hear of damaged tables.
    let wants_tables =
        args.reads_routes() || args.shows(What::Cache) || args.what.contains(&What::Trie);
    let mut found = Routing::default();
    // The IPv4 tables of each namespace.
    let mut known = HashMap::new();
    for namespace in linux::net::namespaces(k, faults) {
        let inode = namespace.inode().unwrap_or_default();
        if args.netns.is_some_and(|wanted| wanted != inode) {
            continue;
        }
        found.namespaces.push(inode);
        let context = &mut Context::new(k, namespace, clock, &congestion, faults);
        let mut objects = Vec::new();
        if wants_tables || args.shows(What::Nexthop) {
            let before = context.faults.count();
            objects = nexthops::objects(context);
            if !is_changing && context.faults.count() == before {
                context.expect_objects(&objects);
            }
        }
        if wants_tables && families.contains(&Family::Inet) {
            let before = context.faults.count();
            let tables = fib::tables(context);
            let numbers = tables.iter().map(|table| table.tb_id()).collect();
            for table in tables {
                let is_wanted = args.table.is_none_or(|number| number == table.tb_id());
                if args.what.contains(&What::Trie) && is_wanted {
                    found.tries.extend(trie::of_table(context, table, &cpus));
                }
                if args.reads_routes() {
                    found.routes.extend(fib::routes(context, table));
                }
                if args.shows(What::Cache) {
                    found
                        .exceptions
                        .extend(exceptions::of_table(context, table));
                }
            }
            let is_whole = args.reads_routes() || args.shows(What::Cache) || args.table.is_none();
            let is_sound = !is_changing && context.faults.count() == before;
            let references = (is_whole && is_sound).then(|| fib::references(context));
            let net = context.net.addr();
            known.insert(
                net,
                fib::Known {
                    numbers,
                    references,
                },
            );
        }
        if wants_tables && families.contains(&Family::Inet6) {
            for table in fib6::tables(context) {
                if args.reads_routes() {
                    found.routes.extend(fib6::routes(context, table));
                }
                if args.shows(What::Cache) {
                    found
                        .exceptions
                        .extend(exceptions::of_table6(context, table));
                }
            }
        }
        if args.shows(What::Rule) {
            for family in &families {
                found.rules.extend(rules::rules(context, *family));
            }
        }
        #[cfg(kernel_has = "mr_mfc.mfc_un")]
        if args.shows(What::Mroute) {
            for family in &families {
                let (routes, interfaces) = routes::walk::multicast::of_family(context, *family);
                found.multicast_routes.extend(routes);
                found.multicast_interfaces.extend(interfaces);
            }
        }
        if args.shows(What::Nexthop) {
            found.nexthops.extend(nexthops::nexthops(context, &objects));
        }
    }
    if found.namespaces.is_empty() {
        return Err(faults.nothing("network namespace"));
    }
    fib::find_lost(k, &known, faults);
    if args.shows(What::Neigh) {
        (found.neighbours, found.neighbour_tables) = neighbours::neighbours(k, clock, faults);
    }
    if args.shows(What::Proxy) {
        found.proxies = neighbours::proxies(k, faults);
    }
    Ok(found)
}

impl Report for Routing {
    fn table(&self) -> String {
        let mut all = String::new();
        for netns in &self.namespaces {
            let mut out = String::new();
            let of = |family: Family| match family {
                Family::Inet => "IPv4",
                Family::Inet6 => "IPv6",
            };
            for family in [Family::Inet, Family::Inet6] {
                let is_here = |route: &&Route| route.netns == *netns && route.family == family;
                let routes = self.routes.iter().filter(is_here).map(text::route);
                section(&mut out, &format!("{} routes", of(family)), routes);
                let learned = self.exceptions.iter().filter(is_here).map(text::route);
                section(&mut out, &format!("{} exceptions", of(family)), learned);
                if family == Family::Inet {
                    let cached = self.cached.iter().filter(|route| route.netns == *netns);
                    section(&mut out, "IPv4 route cache", cached.map(text::cached));
                }
                let rules = self.rules.iter();
                let rules = rules.filter(|rule| rule.netns == *netns && rule.family == family);
                section(
                    &mut out,
                    &format!("{} rules", of(family)),
                    rules.map(text::rule),
                );
                let routes = self.multicast_routes.iter();
                let routes = routes.filter(|it| it.netns == *netns && it.family == family);
                section(
                    &mut out,
                    &format!("{} multicast routes", of(family)),
                    routes.map(text::multicast_route),
                );
                let vifs = self.multicast_interfaces.iter();
                let vifs = vifs.filter(|it| it.netns == *netns && it.family == family);
                section(
                    &mut out,
                    &format!("{} multicast interfaces", of(family)),
                    vifs.map(text::multicast_interface),
                );
            }
            let nexthops = self.nexthops.iter().filter(|it| it.netns == *netns);
            section(&mut out, "next hop objects", nexthops.map(text::nexthop));
            let neighbours = self.neighbours.iter().filter(|it| it.netns == *netns);
            section(&mut out, "neighbours", neighbours.map(text::neighbour));
            let proxies = self.proxies.iter().filter(|it| it.netns == *netns);
            section(&mut out, "proxies", proxies.map(text::proxy));
            let tries = || self.tries.iter().filter(|it| it.netns == *netns);
            let shapes = tries().filter(|trie| !trie.nodes.is_empty());
            for (heading, text) in [
                ("fib_trie", shapes.map(text::trie).collect::<String>()),
                (
                    "fib_triestat",
                    tries()
                        .take(1)
                        .map(text::trie_sizes)
                        .chain(tries().map(text::trie_stats))
                        .collect(),
                ),
            ] {
                section(&mut out, heading, text.lines().map(str::to_owned));
            }
            if !(out.is_empty() && self.is_choice) {
                let _ = writeln!(all, "== network namespace {netns}");
                all.push_str(&out);
            }
        }
        if all.is_empty() {
            all.push_str("there is nothing that the options ask for\n");
        }
        for line in self
            .neighbour_tables
            .iter()
            .filter_map(text::neighbour_table)
        {
            let _ = writeln!(all, "{line}");
        }
        all
    }
}

/// Lines under a heading; nothing if there are none.
fn section(out: &mut String, heading: &str, lines: impl Iterator<Item = String>) {
    let mut heading = Some(heading);
    for line in lines {
        if let Some(heading) = heading.take() {
            let _ = writeln!(out, "-- {heading}");
        }
        let _ = writeln!(out, "{line}");
    }
}
