// Sockets in every state that can be held still. Nothing here may need a packet after the freeze.
#include "labd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ESTABLISHED_V4 = 150, ESTABLISHED_V6 = 50, HALF_CLOSED = 10, TIME_WAITS = 40, DEFERRED = 4, CLOSERS = 3 };

static socklen_t address_of(int family, const char *text, int port, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	out->ss_family = family;
	if (family == AF_INET) {
		struct sockaddr_in *a = (void *)out;
		a->sin_port = htons(port);
		inet_pton(family, text, &a->sin_addr);
		return sizeof *a;
	}
	struct sockaddr_in6 *a = (void *)out;
	a->sin6_port = htons(port);
	inet_pton(family, text, &a->sin6_addr);
	return sizeof *a;
}

int listener(int family, int type, const char *address, int port, int backlog)
{
	int one = 1, s = socket(family, type, 0);
	if (s < 0) {
		man("ERR socket family=%d type=%d errno=%d", family, type, errno);
		return -1;
	}
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (family == AF_INET6)
		setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	struct sockaddr_storage a;
	socklen_t length = address_of(family, address, port, &a);
	if (bind(s, (void *)&a, length))
		man("ERR bind %s:%d errno=%d", address, port, errno);
	if (type == SOCK_STREAM && listen(s, backlog))
		man("ERR listen %s:%d errno=%d", address, port, errno);
	return s;
}

int connection(int family, int type, const char *address, int port, int nonblocking)
{
	int s = socket(family, type | (nonblocking ? SOCK_NONBLOCK : 0), 0);
	struct sockaddr_storage a;
	socklen_t length = address_of(family, address, port, &a);
	if (connect(s, (void *)&a, length) && !(nonblocking && errno == EINPROGRESS))
		man("ERR connect %s:%d errno=%d", address, port, errno);
	return s;
}

static void print_end(const struct sockaddr_storage *a, char *out, size_t size)
{
	char text[64];
	if (a->ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const void *)a;
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
		snprintf(out, size, "[%s]:%d", text, ntohs(v6->sin6_port));
	} else {
		const struct sockaddr_in *v4 = (const void *)a;
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
		snprintf(out, size, "%s:%d", text, ntohs(v4->sin_port));
	}
}

static const char *ends(int s)
{
	static char text[200];
	char from[80], to[80];
	struct sockaddr_storage a = {0}, b = {0};
	socklen_t length = sizeof a;
	getsockname(s, (void *)&a, &length);
	length = sizeof b;
	getpeername(s, (void *)&b, &length);
	print_end(&a, from, sizeof from);
	print_end(&b, to, sizeof to);
	snprintf(text, sizeof text, "%s->%s", from, to);
	return text;
}

void tcp_server(void)
{
	int last_ack[CLOSERS], closing[CLOSERS];
	int v4 = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8080, 512);
	int v6 = listener(AF_INET6, SOCK_STREAM, "::1", 8081, 512);
	listener(AF_INET, SOCK_STREAM, "0.0.0.0", 22, 128);
	listener(AF_INET6, SOCK_STREAM, "::", 443, 64);
	listener(AF_INET, SOCK_STREAM, "10.99.1.1", 5432, 5);
	int close_wait = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8082, 64);
	listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8083, 2); // Nobody accepts: its queue is full.
	int time_wait = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8084, 64);
	int late = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8085, 8);
	int early = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8086, 8);
	int cut = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8087, 8);
	// A deferred accept keeps the request in NEW_SYN_RECV although its handshake is complete, and then the kernel does
	// not repeat the SYN-ACK: this is the one way to have such requests without packets.
	int defer = 600, deferred = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 9999, 16);
	setsockopt(deferred, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof defer);
	man("listen 127.0.0.1:8080 [::1]:8081 0.0.0.0:22 [::]:443 10.99.1.1:5432 127.0.0.1:8082(CLOSE_WAIT) "
	    "127.0.0.1:8083(full accept queue) 127.0.0.1:8084(TIME_WAIT) 127.0.0.1:8085(LAST_ACK) "
	    "127.0.0.1:8086(FIN_WAIT1) 127.0.0.1:8087(CLOSING) 127.0.0.1:9999(NEW_SYN_RECV)");
	mark("listening");
	for (int i = 0; i < ESTABLISHED_V4; i++)
		if (accept(v4, 0, 0) < 0)
			man("ERR accept %d", errno);
	for (int i = 0; i < ESTABLISHED_V6; i++)
		if (accept(v6, 0, 0) < 0)
			man("ERR accept %d", errno);
	for (int i = 0; i < HALF_CLOSED; i++)
		accept(close_wait, 0, 0);
	for (int i = 0; i < CLOSERS; i++) {
		last_ack[i] = accept(late, 0, 0);
		accept(early, 0, 0);
		closing[i] = accept(cut, 0, 0);
	}
	for (int i = 0; i < TIME_WAITS; i++) {
		char byte;
		int s = accept(time_wait, 0, 0);
		if (read(s, &byte, 1) < 0)
			man("ERR time_wait read %d", errno);
		close(s);
	}
	mark("tcp-server");
	await(60, "closing-client");
	for (int i = 0; i < CLOSERS; i++)
		shutdown(closing[i], SHUT_WR);
	mark("closing-server");
	await(60, "frozen");
	for (int i = 0; i < CLOSERS; i++)
		close(last_ack[i]);
	mark("frozen-server");
	forever();
}

void tcp_client(void)
{
	static char big[1 << 20];
	int last_ack[CLOSERS], fin_wait1[CLOSERS], closing[CLOSERS];
	memset(big, 'Q', sizeof big);
	for (int i = 0; i < ESTABLISHED_V4; i++) {
		int s = connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8080, 0);
		if (i < 5) {
			int n = 1000 * (i + 1);
			if (write(s, big, n) != n)
				man("ERR write %d", errno);
			man("tcp_rxq %s bytes_unread_at_peer=%d", ends(s), n);
		}
		if (i == 5) {
			long total = 0, n;
			fcntl(s, F_SETFL, O_NONBLOCK);
			while ((n = write(s, big, sizeof big)) > 0)
				total += n;
			man("tcp_zero_window %s wrote=%ld", ends(s), total);
		}
	}
	for (int i = 0; i < ESTABLISHED_V6; i++) {
		int s = connection(AF_INET6, SOCK_STREAM, "::1", 8081, 0);
		if (i == 0)
			man("tcp6_first %s", ends(s));
	}
	for (int i = 0; i < HALF_CLOSED; i++) {
		int s = connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8082, 0);
		if (i % 2)
			close(s);
		else
			shutdown(s, SHUT_WR);
	}
	man("half closed=%d port=8082, of which half are closed orphans: inet_timewait_sock with substate FIN_WAIT2", HALF_CLOSED);
	for (int i = 0; i < 6; i++)
		connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8083, 1);
	man("full accept queue port=8083 backlog=2 attempts=6");
	for (int i = 0; i < CLOSERS; i++) {
		last_ack[i] = connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8085, 0);
		fin_wait1[i] = connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8086, 0);
		closing[i] = connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8087, 0);
		shutdown(last_ack[i], SHUT_WR);
	}
	for (int i = 0; i < TIME_WAITS; i++) {
		char byte;
		int s = connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8084, 0);
		shutdown(s, SHUT_WR);
		while (read(s, &byte, 1) > 0)
			;
		close(s);
	}
	man("TIME_WAIT port=8084 count=%d side=client", TIME_WAITS);
	for (int i = 0; i < DEFERRED; i++)
		connection(AF_INET, SOCK_STREAM, "127.0.0.1", 9999, 1);
	man("NEW_SYN_RECV port=9999 count=%d (deferred accept; the client is ESTABLISHED)", DEFERRED);
	for (int i = 0; i < 3; i++)
		connection(AF_INET, SOCK_STREAM, "10.99.1.77", 6000 + i, 1);
	man("SYN_SENT to 10.99.1.77 (dummy0, no host) ports=6000-6002");
	mark("tcp-client");
	await(60, "closing");
	for (int i = 0; i < CLOSERS; i++)
		shutdown(closing[i], SHUT_WR);
	man("CLOSING port=8087 count=%d side=client; the server's side is FIN_WAIT1", CLOSERS);
	mark("closing-client");
	await(60, "frozen");
	for (int i = 0; i < CLOSERS; i++)
		shutdown(fin_wait1[i], SHUT_WR);
	man("FIN_WAIT1 port=8086 count=%d side=client; LAST_ACK port=8085 count=%d side=server", CLOSERS, CLOSERS);
	mark("frozen-client");
	forever();
}

void udp_sockets(void)
{
	int a = listener(AF_INET, SOCK_DGRAM, "127.0.0.1", 5353, 0);
	listener(AF_INET, SOCK_DGRAM, "0.0.0.0", 123, 0);
	listener(AF_INET6, SOCK_DGRAM, "::1", 546, 0);
	listener(AF_INET, SOCK_DGRAM, "10.99.1.1", 514, 0);
	int c = connection(AF_INET, SOCK_DGRAM, "127.0.0.1", 5353, 0);
	for (int i = 0; i < 7; i++)
		if (send(c, "hello-udp-payload", 17, 0) < 0)
			man("ERR udp send %d", errno);
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), raw6 = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	int packet = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP), .sll_ifindex = if_nametoindex("dummy0")};
	bind(packet, (void *)&where, sizeof where);
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct sockaddr_nl groups = {.nl_family = AF_NETLINK, .nl_groups = 1};
	bind(netlink, (void *)&groups, sizeof groups);
	man("udp 127.0.0.1:5353(7 datagrams of 17 unread) 0.0.0.0:123 [::1]:546 10.99.1.1:514 fds a=%d c=%d raw=%d raw6=%d packet=%d netlink=%d",
	    a, c, raw, raw6, packet, netlink);
	forever();
}

void unix_sockets(void)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	for (int i = 0; i < 3; i++) {
		struct sockaddr_un a = {.sun_family = AF_UNIX};
		snprintf(a.sun_path, sizeof a.sun_path, "/run/lab-%d.sock", i);
		int s = socket(AF_UNIX, types[i], 0), c = socket(AF_UNIX, types[i], 0);
		if (bind(s, (void *)&a, sizeof a))
			man("ERR unix bind %d", errno);
		if (types[i] != SOCK_DGRAM)
			listen(s, 8);
		if (connect(c, (void *)&a, sizeof a))
			man("ERR unix connect %d", errno);
		if (write(c, "0123456789", 10) < 0)
			man("ERR unix write %d", errno);
		if (types[i] != SOCK_DGRAM)
			accept(s, 0, 0);
	}
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	memcpy(a.sun_path, "\0lab-abstract", 13);
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	bind(s, (void *)&a, 2 + 13);
	listen(s, 3);
	// A file descriptor in flight.
	int pair[2], file = open("/proc/version", O_RDONLY);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	char control[CMSG_SPACE(sizeof file)] = {0};
	struct iovec byte = {"x", 1};
	struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof file);
	memcpy(CMSG_DATA(header), &file, sizeof file);
	sendmsg(pair[0], &message, 0);
	close(file);
	man("unix /run/lab-{0,1,2}.sock @lab-abstract and a socketpair with 1 fd in flight");
	forever();
}

void netns_server(void)
{
	sethostname("lab-netns", 9);
	man("netns pid=%d", getpid());
	listener(AF_INET, SOCK_STREAM, "10.99.2.2", 7070, 16);
	int s = listener(AF_INET, SOCK_STREAM, "0.0.0.0", 7071, 16);
	man("netns listen 10.99.2.2:7070 0.0.0.0:7071");
	mark("netns");
	for (int i = 0;; i++)
		if (accept(s, 0, 0) < 0)
			man("ERR netns accept %d", i);
}

void veth_client(void)
{
	for (int i = 0; i < 5; i++)
		connection(AF_INET, SOCK_STREAM, "10.99.2.2", 7071, 0);
	man("veth-client pid=%d 5 connections over veth to 10.99.2.2:7071", getpid());
	mark("veth-client");
	forever();
}

int send_datagrams(const char *address, int port, int count, int size)
{
	static char payload[65536];
	memset(payload, 'u', sizeof payload);
	int family = strchr(address, ':') ? AF_INET6 : AF_INET;
	int failed = 0, s = socket(family, SOCK_DGRAM, 0);
	struct sockaddr_storage a;
	socklen_t length = address_of(family, address, port, &a);
	for (int i = 0; i < count; i++)
		if (sendto(s, payload, size, 0, (void *)&a, length) < 0)
			failed++;
	// Queues that are full, and ports where nobody listens, answer with an error: what counts is in the counters.
	printf("LAB sent %d of %d to %s:%d\n", count - failed, count, address, port);
	return 0;
}

int send_frames(const char *device, int count)
{
	unsigned char frame[64] = {0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x03, 0x88, 0xb5};
	int s = socket(AF_PACKET, SOCK_RAW, 0);
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(device)};
	if (!strcmp(device, "veth0"))
		frame[5] = 0x03, frame[11] = 0x02;
	for (int i = 0; i < count; i++)
		if (sendto(s, frame, sizeof frame, 0, (void *)&to, sizeof to) < 0)
			return 1;
	return 0;
}
