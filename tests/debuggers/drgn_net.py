"""What drgn reads of a dump's network: `lab_debuggers.rs` runs it as VMLINUX VMCORE, and compares.

Standard output gets one JSON object: TCP sockets of the hash tables, interfaces, neighbours, each by the address of its struct.
"""

import ipaddress
import json
import sys

import drgn
from drgn import cast
from drgn.helpers.linux.list import hlist_for_each_entry
from drgn.helpers.linux.list_nulls import hlist_nulls_for_each_entry
from drgn.helpers.linux.net import for_each_net, for_each_netdev, netdev_ipv4_addrs, netdev_ipv6_addrs

prog = drgn.Program()
prog.set_core_dump(sys.argv[2])
prog.load_debug_info([sys.argv[1]])

TIME_WAIT, LISTEN, NEW_SYN_RECV = 6, 10, 12
AF_INET = 2
# IFF_RUNNING, PROMISC, ALLMULTI, LOWER_UP, DORMANT: the kernel tells its tools others than it keeps (`dev_get_flags`).
DERIVED = 0x40 | 0x100 | 0x200 | 0x10000 | 0x20000


def address(family, v4, v6):
    if family == AF_INET:
        return str(ipaddress.IPv4Address(int(v4).to_bytes(4, "little")))
    six = ipaddress.IPv6Address(bytes(v6.in6_u.u6_addr8))
    return f"::ffff:{six.ipv4_mapped}" if six.ipv4_mapped else str(six)


def tcp_socket(common):
    state = int(common.skc_state)
    family = int(common.skc_family)
    found = {
        "netns": int(common.skc_net.net.ns.inum),
        "state": state,
        "local": address(family, common.skc_rcv_saddr, common.skc_v6_rcv_saddr),
        "remote": address(family, common.skc_daddr, common.skc_v6_daddr),
        "local_port": int(common.skc_num),
        "remote_port": int.from_bytes(int(common.skc_dport).to_bytes(2, "little"), "big"),
        "refcount": int(common.skc_refcnt.refs.counter),
        "ifindex": int(common.skc_bound_dev_if),
        "cookie": int(common.skc_cookie.counter) & (2**64 - 1),
    }
    if state == TIME_WAIT:
        # FIN_WAIT2 without a process is kept like TIME_WAIT.
        found["state"] = int(cast("struct inet_timewait_sock *", common.address_of_()).tw_substate)
    if state in (TIME_WAIT, NEW_SYN_RECV):
        return found
    tcp = cast("struct tcp_sock *", common.address_of_())
    connection = tcp.inet_conn
    sk = connection.icsk_inet.sk
    found |= {
        "mark": int(sk.sk_mark),
        "priority": int(sk.sk_priority),
        "shutdown": int(sk.sk_shutdown),
        "congestion": connection.icsk_ca_ops.name.string_().decode(),
        "inode": int(sk.sk_socket.file.f_inode.i_ino) if sk.sk_socket and sk.sk_socket.file else 0,
        "rmem_alloc": int(sk.sk_backlog.rmem_alloc.counter),
        "rcvbuf": int(sk.sk_rcvbuf),
        "sndbuf": int(sk.sk_sndbuf),
        "wmem_queued": int(sk.sk_wmem_queued),
        "optmem": int(sk.sk_omem_alloc.counter),
        "backlog": int(sk.sk_backlog.len),
        "drops": int(sk.sk_drops.counter),
        "snd_cwnd": int(tcp.snd_cwnd),
        "reordering": int(tcp.reordering),
    }
    if state == LISTEN:
        return found
    found |= {
        "rtt": int(tcp.srtt_us) >> 3,
        "rttvar": int(tcp.mdev_us) >> 2,
        "snd_mss": int(tcp.mss_cache),
        "advmss": int(tcp.advmss),
        "snd_ssthresh": int(tcp.snd_ssthresh),
        "rcv_ssthresh": int(tcp.rcv_ssthresh),
        "unacked": int(tcp.packets_out),
        "sacked": int(tcp.sacked_out),
        "lost": int(tcp.lost_out),
        "retrans": int(tcp.retrans_out),
        "total_retrans": int(tcp.total_retrans),
        "retransmits": int(connection.icsk_retransmits),
        "backoff": int(connection.icsk_backoff),
        "probes": int(connection.icsk_probes_out),
        "pmtu": int(connection.icsk_pmtu_cookie),
        "rcv_mss": int(connection.icsk_ack.rcv_mss),
        "bytes_acked": int(tcp.bytes_acked),
        "bytes_received": int(tcp.bytes_received),
        "bytes_sent": int(tcp.bytes_sent),
        "bytes_retrans": int(tcp.bytes_retrans),
        "segs_in": int(tcp.segs_in),
        "segs_out": int(tcp.segs_out),
        "data_segs_in": int(tcp.data_segs_in),
        "data_segs_out": int(tcp.data_segs_out),
        "delivered": int(tcp.delivered),
        "min_rtt": int(tcp.rtt_min.s[0].v),
        "snd_wnd": int(tcp.snd_wnd),
        "rcv_wnd": int(tcp.rcv_wnd),
        "snd_una": int(tcp.snd_una),
        "snd_nxt": int(tcp.snd_nxt),
        "write_seq": int(tcp.write_seq),
        "rcv_nxt": int(tcp.rcv_nxt),
        "copied_seq": int(tcp.copied_seq),
    }
    return found


def tcp_sockets():
    tables = prog["tcp_hashinfo"]
    found = {}
    for index in range(int(tables.ehash_mask) + 1):
        bucket = tables.ehash[index].chain
        for sk in hlist_nulls_for_each_entry("struct sock", bucket, "__sk_common.skc_nulls_node"):
            found[hex(sk)] = tcp_socket(sk.__sk_common)
    for index in range(int(tables.lhash2_mask) + 1):
        bucket = tables.lhash2[index].nulls_head
        for sk in hlist_nulls_for_each_entry("struct sock", bucket, "__sk_common.skc_nulls_node"):
            found[hex(sk)] = tcp_socket(sk.__sk_common)
    return found


def interfaces():
    found = {}
    for net in for_each_net(prog):
        for device in for_each_netdev(net):
            found[hex(device)] = {
                "netns": int(net.ns.inum),
                "name": device.name.string_().decode(),
                "ifindex": int(device.ifindex),
                "flags": hex(int(device.flags) & ~DERIVED),
                "mtu": int(device.mtu),
                "txqlen": int(device.tx_queue_len),
                "num_tx_queues": int(device.num_tx_queues),
                "num_rx_queues": int(device.num_rx_queues),
                "promiscuity": int(device.promiscuity),
                "allmulti": int(device.allmulti),
                "carrier_up": int(device.carrier_up_count.counter),
                "carrier_down": int(device.carrier_down_count.counter),
                "kind": device.rtnl_link_ops.kind.string_().decode() if device.rtnl_link_ops else "",
                "ipv4": sorted(str(one) for one in netdev_ipv4_addrs(device)),
                "ipv6": sorted(str(one) for one in netdev_ipv6_addrs(device)),
            }
    return found


def neighbours():
    found = {}
    for name, size in (("arp_tbl", 4), ("nd_tbl", 16)):
        table = prog[name].nht
        for index in range(1 << int(table.hash_shift)):
            if prog.type("struct neigh_hash_table").has_member("hash_heads"):
                entries = hlist_for_each_entry("struct neighbour", table.hash_heads[index], "hash")
            else:
                entries = chain(table.hash_buckets[index])
            for entry in entries:
                key = drgn.Object(prog, prog.array_type(prog.type("unsigned char"), size), address=entry.primary_key.address_)
                found[hex(entry)] = {
                    "netns": int(entry.dev.nd_net.net.ns.inum),
                    "address": str(ipaddress.ip_address(bytes(int(byte) for byte in key))),
                    "dev": entry.dev.name.string_().decode(),
                    "state": int(entry.nud_state),
                    "probes": int(entry.probes.counter),
                    "queued": int(entry.arp_queue.qlen),
                    "protocol": int(entry.protocol),
                }
    return found


def chain(entry):
    while entry:
        yield entry
        entry = entry.next


json.dump({"tcp": tcp_sockets(), "interfaces": interfaces(), "neighbours": neighbours()}, sys.stdout)
