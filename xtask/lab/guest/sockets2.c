// Sockets with what those of sockets.c don't have: options, other families, other states; and open files of all kinds. They stand still
// by themselves: all traffic is over loopback and done before the freeze.
#include "labd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result < 0)
		man("ERR more %s errno=%d", what, errno);
}

static void option(int s, int level, int name, int value, const char *what)
{
	must(setsockopt(s, level, name, &value, sizeof value), what);
}

static struct sockaddr_in v4(const char *address, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	inet_pton(AF_INET, address, &a.sin_addr);
	return a;
}

static struct sockaddr_in6 v6(const char *address, int port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	inet_pton(AF_INET6, address, &a.sin6_addr);
	return a;
}

static void write_text(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);
	must(file, path);
	must(write(file, text, strlen(text)), path);
	close(file);
}

static void tcp_options(void)
{
	// An IPv6 socket that takes IPv4.
	int both = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 any = v6("::", 8090);
	must(bind(both, (void *)&any, sizeof any), "bind 8090");
	must(listen(both, 7), "listen 8090");
	connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8090, 0);
	must(accept(both, 0, 0), "accept 8090");
	// Mark, device, priority, another congestion control, keepalive.
	int marked = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in at = v4("127.0.0.1", 8091);
	for (int i = 0; i < 2; i++) {
		int s = i ? client : marked;
		option(s, SOL_SOCKET, SO_MARK, 0x2a, "mark");
		option(s, SOL_SOCKET, SO_PRIORITY, 5, "priority");
		must(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), "device");
		must(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), "reno");
		option(s, SOL_SOCKET, SO_KEEPALIVE, 1, "keepalive");
		option(s, IPPROTO_TCP, TCP_KEEPIDLE, 5000, "idle");
	}
	must(bind(marked, (void *)&at, sizeof at), "bind 8091");
	must(listen(marked, 5), "listen 8091");
	must(connect(client, (void *)&at, sizeof at), "connect 8091");
	int taken = accept(marked, 0, 0);
	char text[3000];
	memset(text, 'k', sizeof text);
	// Back and forth: what was sent counts on both sides.
	for (int i = 0; i < 4; i++) {
		must(write(client, text, sizeof text), "write");
		must(recv(taken, text, sizeof text, MSG_WAITALL), "read");
		must(write(taken, text, 100), "write");
		must(recv(client, text, 100, MSG_WAITALL), "read");
	}
	option(client, SOL_SOCKET, SO_MAX_PACING_RATE, 1000000, "pacing");
	// Both ends shut their half: FIN_WAIT2 that somebody holds, CLOSE_WAIT.
	int half = socket(AF_INET, SOCK_STREAM, 0);
	must(connect(half, (void *)&at, sizeof at), "connect 8091 again");
	must(accept(marked, 0, 0), "accept 8091 again");
	must(shutdown(half, SHUT_WR), "shutdown");
	// ECN, while the kernel asks for it.
	write_text("/proc/sys/net/ipv4/tcp_ecn", "1");
	connection(AF_INET, SOCK_STREAM, "127.0.0.1", 8090, 0);
	must(accept(both, 0, 0), "accept with ECN");
	write_text("/proc/sys/net/ipv4/tcp_ecn", "2");
	// Fast Open: the first connection gets the cookie, the second sends data with its SYN.
	write_text("/proc/sys/net/ipv4/tcp_fastopen", "3");
	int fast = listener(AF_INET, SOCK_STREAM, "127.0.0.1", 8092, 6);
	option(fast, IPPROTO_TCP, TCP_FASTOPEN, 5, "fastopen");
	struct sockaddr_in where = v4("127.0.0.1", 8092);
	for (int i = 0; i < 2; i++) {
		int s = socket(AF_INET, SOCK_STREAM, 0);
		must(sendto(s, "fast", 4, MSG_FASTOPEN, (void *)&where, sizeof where), "fastopen");
		must(accept(fast, 0, 0), "accept 8092");
	}
	// Bound and no more; not even bound.
	int bound = socket(AF_INET, SOCK_STREAM, 0);
	where = v4("127.0.0.1", 8093);
	must(bind(bound, (void *)&where, sizeof where), "bind 8093");
	socket(AF_INET6, SOCK_STREAM, 0);
	// An IPv6 listener whose connections nobody takes.
	listener(AF_INET6, SOCK_STREAM, "::1", 8094, 3);
	for (int i = 0; i < 2; i++)
		connection(AF_INET6, SOCK_STREAM, "::1", 8094, 1);
}

static void datagrams(void)
{
	// A receive buffer that is too small for what comes.
	int small = listener(AF_INET, SOCK_DGRAM, "127.0.0.1", 5354, 0);
	option(small, SOL_SOCKET, SO_RCVBUF, 1, "small buffer");
	int to = connection(AF_INET, SOCK_DGRAM, "127.0.0.1", 5354, 0);
	for (int i = 0; i < 20; i++)
		send(to, "0123456789012345678901234567890123456789", 40, 0);
	int six = listener(AF_INET6, SOCK_DGRAM, "::1", 5355, 0);
	option(six, SOL_SOCKET, SO_MARK, 0x11, "mark");
	connection(AF_INET6, SOCK_DGRAM, "::1", 5355, 0);
	int device = socket(AF_INET6, SOCK_DGRAM, 0);
	must(setsockopt(device, SOL_SOCKET, SO_BINDTODEVICE, "dummy0", 7), "device");
	struct sockaddr_in6 any = v6("::", 5356);
	must(bind(device, (void *)&any, sizeof any), "bind 5356");
	int lite = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE), lite6 = socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE);
	struct sockaddr_in at = v4("127.0.0.1", 5357);
	any = v6("::1", 5358);
	must(bind(lite, (void *)&at, sizeof at), "udplite");
	must(bind(lite6, (void *)&any, sizeof any), "udplite6");
	int raw = socket(AF_INET, SOCK_RAW, 253), raw6 = socket(AF_INET6, SOCK_RAW, 254);
	at = v4("127.0.0.1", 0);
	must(bind(raw, (void *)&at, sizeof at), "raw");
	must(connect(raw, (void *)&at, sizeof at), "raw");
	any = v6("::1", 0);
	must(bind(raw6, (void *)&any, sizeof any), "raw6");
	write_text("/proc/sys/net/ipv4/ping_group_range", "0 100");
	int echo = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), echo6 = socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6);
	at = v4("127.0.0.1", 333);
	any = v6("::1", 334);
	must(bind(echo, (void *)&at, sizeof at), "ping");
	must(bind(echo6, (void *)&any, sizeof any), "ping6");
}

static void unix_pairs(void)
{
	int pair[2];
	// What was read in part, and what was not.
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "stream pair");
	must(write(pair[0], "0123456789", 10), "stream");
	char text[4];
	must(read(pair[1], text, 4), "stream");
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "dgram pair");
	must(write(pair[0], "01234", 5), "dgram");
	must(write(pair[0], "0123456", 7), "dgram");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), "seqpacket pair");
	must(write(pair[0], "012", 3), "seqpacket");
	must(shutdown(pair[1], SHUT_WR), "shutdown");
	// Its peer is gone.
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "pair");
	close(pair[0]);
	socket(AF_UNIX, SOCK_STREAM, 0);
	// Two that wait to be accepted, one bound to a name that the kernel chose, and a name with odd bytes in it.
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/run/lab queue.sock"};
	int server = socket(AF_UNIX, SOCK_STREAM, 0);
	must(bind(server, (void *)&a, sizeof a), "unix bind");
	must(listen(server, 9), "unix listen");
	for (int i = 0; i < 2; i++)
		must(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a), "unix connect");
	int unnamed = socket(AF_UNIX, SOCK_DGRAM, 0);
	must(bind(unnamed, (void *)&a, sizeof(sa_family_t)), "autobind");
	memset(&a, 0, sizeof a);
	a.sun_family = AF_UNIX;
	memcpy(a.sun_path, "\0odd\0name", 9);
	must(bind(socket(AF_UNIX, SOCK_DGRAM, 0), (void *)&a, 2 + 9), "odd name");
}

static void netlinks(void)
{
	int route = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_pid = 70001, .nl_groups = 0x111};
	must(bind(route, (void *)&a, sizeof a), "netlink");
	option(route, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 33, "group 33");
	int event = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT);
	a = (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_groups = 2};
	must(bind(event, (void *)&a, sizeof a), "uevent");
	int generic = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	a = (struct sockaddr_nl){.nl_family = AF_NETLINK};
	must(connect(generic, (void *)&a, sizeof a), "genl");
	socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	// An answer that nobody reads.
	struct {
		struct nlmsghdr head;
		struct rtgenmsg body;
	} ask = {{sizeof ask, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_UNSPEC}};
	int asked = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	must(send(asked, &ask, sizeof ask, 0), "getlink");
}

static void packets(void)
{
	static struct sock_filter arp[] = {{BPF_LD | BPF_H | BPF_ABS, 0, 0, 12}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, ETH_P_ARP},
	                                   {BPF_RET | BPF_K, 0, 0, 96}, {BPF_RET | BPF_K, 0, 0, 0}};
	struct sock_fprog filter = {4, arp};
	int filtered = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
	must(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter), "filter");
	int cooked = socket(AF_PACKET, SOCK_DGRAM, htons(0x88cc));
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(0x88cc), .sll_ifindex = if_nametoindex("dummy1")};
	must(bind(cooked, (void *)&where, sizeof where), "packet");
	for (int i = 0; i < 2; i++) {
		int member = socket(AF_PACKET, SOCK_RAW, htons(0x88b6));
		where.sll_protocol = htons(0x88b6);
		where.sll_ifindex = if_nametoindex("dummy3");
		must(bind(member, (void *)&where, sizeof where), "fanout bind");
		option(member, SOL_PACKET, PACKET_FANOUT, 77 | PACKET_FANOUT_CPU << 16, "fanout");
	}
	// One that receives nothing: no protocol.
	socket(AF_PACKET, SOCK_RAW, 0);
	int ring = socket(AF_PACKET, SOCK_RAW, 0);
	option(ring, SOL_PACKET, PACKET_VERSION, TPACKET_V2, "version");
	struct tpacket_req request = {4096, 4, 2048, 8};
	must(setsockopt(ring, SOL_PACKET, PACKET_RX_RING, &request, sizeof request), "ring");
}

static void files(void)
{
	must(open("/proc/self/ns/net", O_RDONLY), "ns");
	must(open("/sys/fs/cgroup/lab", O_RDONLY | O_DIRECTORY), "cgroup");
	must(mkfifo("/mnt/t1/fifo", 0600), "fifo");
	must(open("/mnt/t1/fifo", O_RDWR | O_NONBLOCK | O_CLOEXEC), "fifo");
	int appended = open("/mnt/t2/a b\nc", O_RDWR | O_CREAT | O_APPEND, 0600);
	must(write(appended, "text", 4), "append");
	must(dup(appended), "dup");
	mkdir("/mnt/t2/gone", 0755);
	must(open("/mnt/t2/gone", O_RDONLY | O_DIRECTORY), "directory");
	rmdir("/mnt/t2/gone");
	// In a mount over a mount, in one that was taken down since, and one that was bound to another place.
	mkdir("/mnt/t2/inner", 0755);
	must(mount("inner", "/mnt/t2/inner", "tmpfs", 0, "size=1m"), "mount");
	must(open("/mnt/t2/inner/file", O_RDWR | O_CREAT, 0600), "inner");
	mkdir("/mnt/t2/lost", 0755);
	must(mount("lost", "/mnt/t2/lost", "tmpfs", 0, "size=1m"), "mount");
	must(open("/mnt/t2/lost/file", O_RDWR | O_CREAT, 0600), "lost");
	must(umount2("/mnt/t2/lost", MNT_DETACH), "detach");
	mkdir("/mnt/t2/bound", 0755);
	must(mount("/mnt/t1", "/mnt/t2/bound", 0, MS_BIND, 0), "bind mount");
	must(open("/mnt/t2/bound/fifo", O_PATH), "bound");
	must(syscall(SYS_pidfd_open, 1, 0), "pidfd");
	must(open("/dev/net/tun", O_RDWR), "tun");
	int far = open("/dev/null", O_WRONLY);
	must(dup2(far, 200), "dup2");
	must(lseek(open("/proc/version", O_RDONLY), 7, SEEK_SET), "seek");
}

static void shared(void)
{
	mark("more-shared");
	forever();
}

void more_sockets(void)
{
	tcp_options();
	datagrams();
	unix_pairs();
	netlinks();
	packets();
	files();
	// All of them are held by two processes.
	spawn("lab-shared", shared);
	await(10, "more-shared");
	man("more-sockets pid=%d", getpid());
	mark("more-sockets");
	forever();
}
