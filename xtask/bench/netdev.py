"""The greater part of what analyzer `netdev` prints, by drgn: `cargo xtask bench` runs it as VMLINUX VMCORE.

Of each interface of each network namespace: name, flags, MTU, addresses, counters, qdiscs. Counters that a driver keeps
in structs of its own are left out, which makes drgn's work lighter than the analyzer's.

Standard error gets one JSON object: how many interfaces there were, and the seconds that the walk alone took.
"""

import json
import sys
import time

import drgn
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import hlist_for_each_entry
from drgn.helpers.linux.net import (
    for_each_net,
    for_each_netdev,
    netdev_for_each_tx_queue,
    netdev_ipv4_addrs,
    netdev_ipv6_addrs,
)
from drgn.helpers.linux.percpu import per_cpu_ptr

prog = drgn.Program()
prog.set_core_dump(sys.argv[2])
prog.load_debug_info([sys.argv[1]])
begin = time.perf_counter()

cpus = list(for_each_possible_cpu(prog))
LOOPBACK = 0x8
COUNTERS = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")


def value(counter):
    """Of an unsigned long, or of a u64_stats_t or local64_t around one."""
    while counter.type_.unaliased().kind in (drgn.TypeKind.STRUCT, drgn.TypeKind.UNION):
        counter = counter.member_(counter.type_.unaliased().members[0].name)
    return int(counter)


def link_kind(device):
    return device.rtnl_link_ops.kind.string_() if device.rtnl_link_ops else b""


def counters(device):
    """Sums over CPUs, by the kind of statistics that the device says it keeps."""
    sums = [int(device.stats.member_(name)) for name in COUNTERS]
    kind = int(device.pcpu_stat_type)
    if kind == 0 and (device.flags & LOOPBACK or link_kind(device) == b"dummy"):
        kind = 1  # Before 6.7 these two do not say it.
    member, names = {
        1: ("lstats", ("packets", "bytes")),
        2: ("tstats", COUNTERS),
    }.get(kind, (None, ()))
    if member is None or not device.member_(member):
        return sums
    for cpu in cpus:
        stats = per_cpu_ptr(device.member_(member), cpu)
        values = [value(stats.member_(name)) for name in names]
        if len(values) == 2:  # What loopback and dummy devices send; loopback receives it too.
            values = (values if device.flags & LOOPBACK else [0, 0]) + values
        sums = [one + other for one, other in zip(sums, values)]
    return sums


def queueing(device):
    """The root's qdisc, then those in its hash, then those of the queues, each once."""
    seen = set()
    roots = [device.qdisc, device.ingress_queue.qdisc_sleeping] if device.ingress_queue else [device.qdisc]
    hashed = (
        qdisc
        for head in device.qdisc_hash
        for qdisc in hlist_for_each_entry("struct Qdisc", head.address_of_(), "hash")
    )
    queues = (queue.qdisc_sleeping for queue in netdev_for_each_tx_queue(device))
    for some in (roots, hashed, queues):
        for qdisc in some:
            if qdisc and qdisc.value_() not in seen:
                seen.add(qdisc.value_())
                yield qdisc


lines = []
interfaces = 0
for net in for_each_net(prog):
    lines.append("== network namespace %d" % net.ns.inum)
    for device in for_each_netdev(net):
        interfaces += 1
        lines.append(
            "%d: %s  flags 0x%x  mtu %d  net_device %x"
            % (device.ifindex, device.name.string_().decode(), device.flags, device.mtu, device.value_())
        )
        length = int(device.addr_len)
        lines.append("    link " + ":".join("%02x" % byte for byte in prog.read(device.dev_addr, length)))
        if device.ip_ptr:
            lines.extend("    inet %s" % address for address in netdev_ipv4_addrs(device))
        if device.ip6_ptr:
            lines.extend("    inet6 %s" % address for address in netdev_ipv6_addrs(device))
        lines.append("    rx %d packets, %d bytes; tx %d packets, %d bytes" % tuple(counters(device)))
        for qdisc in queueing(device):
            lines.append(
                "    qdisc %s %x:  qlen %d"
                % (qdisc.ops.id.string_().decode(), int(qdisc.handle) >> 16, qdisc.q.qlen)
            )
print("\n".join(lines), flush=True)
print(json.dumps({"rows": interfaces, "walk_seconds": time.perf_counter() - begin}), file=sys.stderr)
