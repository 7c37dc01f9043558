// What few machines have: multicast routers, XDP programs, congestion controls with a state of their own, connections that are expected
// of others. They stand still by themselves: everything is over loopback and done before the freeze.
#include "labd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/mroute.h>
#include <linux/mroute6.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result < 0)
		man("ERR rare %s errno=%d", what, errno);
}

// A program that lets everything pass, at PATH in a mounted bpffs, for `ip link set DEV xdp pinned PATH`.
int pin_xdp(const char *path)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insns = (uintptr_t)pass,
		.insn_cnt = 2,
		.license = (uintptr_t)"GPL",
		.prog_name = "lab_pass",
	};
	int program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	union bpf_attr pin = {.pathname = (uintptr_t)path, .bpf_fd = program};
	return program < 0 || syscall(SYS_bpf, BPF_OBJ_PIN, &pin, sizeof pin) ? 1 : 0;
}

static void vif(int s, int number, const char *device, int flags, int threshold)
{
	struct vifctl v = {.vifc_vifi = number, .vifc_flags = flags, .vifc_threshold = threshold, .vifc_rate_limit = 7};
	if (device)
		v.vifc_lcl_ifindex = if_nametoindex(device);
	must(setsockopt(s, IPPROTO_IP, MRT_ADD_VIF, &v, sizeof v), "vif");
}

static void route(int s, int how, const char *origin, const char *group, int parent, int first, int second)
{
	struct mfcctl m = {.mfcc_parent = parent};
	inet_pton(AF_INET, origin, &m.mfcc_origin);
	inet_pton(AF_INET, group, &m.mfcc_mcastgrp);
	if (first >= 0)
		m.mfcc_ttls[first] = 1;
	if (second >= 0)
		m.mfcc_ttls[second] = 5;
	must(setsockopt(s, IPPROTO_IP, how, &m, sizeof m), "route");
}

static void route6(int s, int how, const char *origin, const char *group, int parent, int to)
{
	struct mf6cctl m = {.mf6cc_parent = parent};
	m.mf6cc_origin.sin6_family = m.mf6cc_mcastgrp.sin6_family = AF_INET6;
	inet_pton(AF_INET6, origin, &m.mf6cc_origin.sin6_addr);
	inet_pton(AF_INET6, group, &m.mf6cc_mcastgrp.sin6_addr);
	if (to >= 0)
		IF_SET(to, &m.mf6cc_ifset);
	must(setsockopt(s, IPPROTO_IPV6, how, &m, sizeof m), "route6");
}

// A multicast router as its daemon would be: tables, interfaces, routes. Run in the namespace of rn0 to rn3.
void multicast_router(void)
{
	int one = 1, table = 100;
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_IGMP);
	must(setsockopt(s, IPPROTO_IP, MRT_INIT, &one, sizeof one), "MRT_INIT");
	must(setsockopt(s, IPPROTO_IP, MRT_PIM, &one, sizeof one), "MRT_PIM");
	vif(s, 0, "rn0", VIFF_USE_IFINDEX, 1);
	vif(s, 1, "rn1", VIFF_USE_IFINDEX, 3);
	vif(s, 2, 0, VIFF_REGISTER, 1);
	vif(s, 4, "rn3", VIFF_USE_IFINDEX, 1);
	route(s, MRT_ADD_MFC, "10.88.0.77", "239.3.3.3", 0, 1, 4);
	route(s, MRT_ADD_MFC, "10.88.0.78", "239.3.3.3", 0, 2, -1);
	route(s, MRT_ADD_MFC, "10.88.1.79", "239.3.3.4", 1, -1, -1);
	// Whatever comes for a group, and whatever comes at all.
	route(s, MRT_ADD_MFC_PROXY, "0.0.0.0", "239.3.3.5", 4, 4, 0);
	route(s, MRT_ADD_MFC_PROXY, "0.0.0.0", "0.0.0.0", 4, 4, 1);

	int other = socket(AF_INET, SOCK_RAW, IPPROTO_IGMP);
	must(setsockopt(other, IPPROTO_IP, MRT_TABLE, &table, sizeof table), "MRT_TABLE");
	must(setsockopt(other, IPPROTO_IP, MRT_INIT, &one, sizeof one), "MRT_INIT of table 100");
	vif(other, 0, "rn1", VIFF_USE_IFINDEX, 1);
	vif(other, 1, "rn3", VIFF_USE_IFINDEX, 1);
	route(other, MRT_ADD_MFC, "10.88.1.80", "239.4.4.4", 0, 1, -1);

	int six = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	struct icmp6_filter none;
	memset(&none, 0xff, sizeof none);
	must(setsockopt(six, IPPROTO_ICMPV6, ICMPV6_FILTER, &none, sizeof none), "ICMPV6_FILTER");
	must(setsockopt(six, IPPROTO_IPV6, MRT6_INIT, &one, sizeof one), "MRT6_INIT");
	const char *devices[] = {"rn0", "rn1", "rn3"};
	for (int i = 0; i < 3; i++) {
		struct mif6ctl m = {.mif6c_mifi = i, .vifc_threshold = 1 + i, .mif6c_pifi = if_nametoindex(devices[i])};
		must(setsockopt(six, IPPROTO_IPV6, MRT6_ADD_MIF, &m, sizeof m), "mif");
	}
	route6(six, MRT6_ADD_MFC, "fd00:88::77", "ff0e::3:3", 0, 1);
	route6(six, MRT6_ADD_MFC, "fd00:88::78", "ff0e::3:4", 1, -1);
	route6(six, MRT6_ADD_MFC_PROXY, "::", "ff0e::3:5", 2, 2);
	mark("mroute");
	forever();
}

static void control(int s, const char *name)
{
	must(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name)), name);
}

// Both ends use a congestion control, and some data went to and fro.
static void controlled(int port, const char *server, const char *client, int rounds)
{
	char text[8000];
	memset(text, 'r', sizeof text);
	int at = listener(AF_INET, SOCK_STREAM, "127.0.0.1", port, 4);
	int s = socket(AF_INET, SOCK_STREAM, 0);
	control(at, server);
	control(s, client);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(connect(s, (void *)&to, sizeof to), "connect");
	int taken = accept(at, 0, 0);
	must(taken, "accept");
	for (int i = 0; i < rounds; i++) {
		must(write(s, text, sizeof text), "write");
		must(recv(taken, text, sizeof text, MSG_WAITALL), "read");
		must(write(taken, text, 2000), "write");
		must(recv(s, text, 2000, MSG_WAITALL), "read");
	}
}

static void set_ecn(const char *value)
{
	int file = open("/proc/sys/net/ipv4/tcp_ecn", O_WRONLY);
	must(write(file, value, 1), "tcp_ecn");
	close(file);
}

static void datagram(int port, const void *text, int size)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	// SIP expects what a client says of itself, and so its port must be known.
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(port + 1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in to = from;
	to.sin_port = htons(port);
	must(bind(s, (void *)&from, sizeof from), "bind");
	must(sendto(s, text, size, 0, (void *)&to, sizeof to), "sendto");
}

static void say(int s, int peer, const char *line)
{
	char text[200];
	must(write(s, line, strlen(line)), "say");
	must(recv(peer, text, strlen(line), MSG_WAITALL), "hear");
}

// What the helpers of rare.nft hear: FTP in both directions, a request of TFTP, a telephone.
static void expectations(void)
{
	static const char read_request[] = "\0\1file\0octet";
	static const char registration[] =
		"REGISTER sip:127.0.0.1 SIP/2.0\r\n"
		"Via: SIP/2.0/UDP 127.0.0.1:5061\r\n"
		"From: <sip:a@127.0.0.1>;tag=1\r\n"
		"To: <sip:a@127.0.0.1>\r\n"
		"Call-ID: 1@127.0.0.1\r\n"
		"CSeq: 1 REGISTER\r\n"
		"Contact: <sip:a@127.0.0.1:5061>\r\n"
		"Expires: 1800\r\n"
		"Content-Length: 0\r\n\r\n";
	int at = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 2121, 4);
	int client = connection(AF_INET, SOCK_STREAM, "127.0.0.1", 2121, 0);
	int server = accept(at, 0, 0);
	// The helper begins to listen at the end of a line.
	say(server, client, "220 ready\r\n");
	say(client, server, "USER lab\r\n");
	say(client, server, "PORT 127,0,0,1,78,32\r\n");
	say(server, client, "227 Entering Passive Mode (127,0,0,1,78,33)\r\n");
	listener(AF_INET, SOCK_DGRAM, "127.0.0.1", 6969, 0);
	datagram(6969, read_request + 0, sizeof read_request);
	listener(AF_INET, SOCK_DGRAM, "127.0.0.1", 5060, 0);
	datagram(5060, registration, sizeof registration - 1);
}

void rare_sockets(void)
{
	controlled(8200, "bbr", "bbr", 6);
	controlled(8201, "dctcp", "dctcp", 4);
	// A peer that knows nothing of ECN: DCTCP then is Reno.
	set_ecn("0");
	controlled(8202, "reno", "dctcp", 2);
	set_ecn("2");
	controlled(8203, "vegas", "vegas", 3);
	expectations();
	mark("rare");
	forever();
}
