"""What analyzer `tcp` prints of each TCP socket of a dump, by drgn: `cargo xtask bench` runs it as VMLINUX VMCORE.

The walk is that of drgn's contrib/tcp_sock.py: the table of connections, then that of listeners; of each socket the state, both ends and
queues. Who holds it, and timers, are left out, which makes drgn's work lighter than the analyzer's.

Standard error gets one JSON object: how many sockets there were, and the seconds that the walk alone took.
"""

import ipaddress
import json
import socket
import sys
import time

import drgn
from drgn.helpers.linux.list_nulls import hlist_nulls_for_each_entry

prog = drgn.Program()
prog.set_core_dump(sys.argv[2])
prog.load_debug_info([sys.argv[1]])
begin = time.perf_counter()

TIME_WAIT, LISTEN, NEW_SYN_RECV = 6, 10, 12
STATES = [
    "", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN",
    "CLOSING", "SYN-RECV",
]  # fmt: skip
lines = []


def end(common, four, six, port):
    if common.skc_family == socket.AF_INET6:
        return "[%s]:%d" % (ipaddress.IPv6Address(common.member_(six).to_bytes_()), port)
    return "%s:%d" % (ipaddress.IPv4Address(common.member_(four).to_bytes_()), port)


def show(sk):
    common = sk.member_("__sk_common")
    state = int(common.skc_state)
    received = sent = 0
    if state == LISTEN:
        received, sent = int(sk.sk_ack_backlog), int(sk.sk_max_ack_backlog)
    elif state not in (TIME_WAIT, NEW_SYN_RECV):
        tcp = drgn.cast("struct tcp_sock *", sk)
        received = max(0, int(tcp.rcv_nxt) - int(tcp.copied_seq))
        sent = int(tcp.write_seq) - int(tcp.snd_una)
    local = end(common, "skc_rcv_saddr", "skc_v6_rcv_saddr", int(common.skc_num))
    remote = end(common, "skc_daddr", "skc_v6_daddr", socket.ntohs(int(common.skc_dport)))
    lines.append("%-10s %7d %7d %s %s" % (STATES[state], received, sent, local, remote))


tables = prog["tcp_hashinfo"]
for table, heads, mask in (
    (tables.ehash, "chain", tables.ehash_mask),
    (tables.lhash2, "nulls_head", tables.lhash2_mask),
):
    for bucket in range(int(mask) + 1):
        head = table[bucket].member_(heads).address_of_()
        for sk in hlist_nulls_for_each_entry("struct sock", head, "__sk_common.skc_nulls_node"):
            show(sk)
print("\n".join(lines), flush=True)
print(json.dumps({"rows": len(lines), "walk_seconds": time.perf_counter() - begin}), file=sys.stderr)
