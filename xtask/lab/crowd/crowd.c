// PID 1 of the crowd's guest: servers with 20,000 connections, of which twelve things are made sick, each in its own way.
//
// The clients are no sockets of this kernel: one process answers for all of them at the other end of a TUN device, so that each connection
// is one socket here, as on a server, and a sick client is a matter of what that process leaves out.
// What was made sick goes to the disk as truth; then the machine is dumped.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Healthy connections to each of the four servers.
enum { EACH = 5000, BYES = 100, PILE = 40, FEW = 3 };
// What the clients of a connection do; it is a part of their addresses.
enum { HEALTHY = 1, ZERO, LOST, FULL, WAITING, HALF, LEAK, ORPHAN, HOLE, SILENT, BYE, FEW_LEAK, ABSENT = 77 };
enum { WEB = 8000, WEB6 = 9000, IDLE = 8010, LAZY = 8100, HALVES = 8200, LEAKS = 8300, DROPS = 8400, KEEPS = 8500, NOBODY = 7777 };
// What a client offers, and where its numbering begins.
enum { WINDOW = 30000, FIRST = 10000, SEGMENT = 1400, ENOUGH = 500 };
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static void fail(const char *what)
{
	printf("LAB FAILED %s errno=%d\n", what, errno);
	for (;;)
		pause();
}

static void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("LAB WARN %s\n", file);
	close(fd);
}

// ---- The servers

static int started[2]; // A pipe: each server writes a byte when it listens.

static int listener(int family, int port, int backlog)
{
	int one = 1, s = socket(family, SOCK_STREAM, 0);
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (family == AF_INET6)
		setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	if (bind(s, family == AF_INET ? (void *)&v4 : (void *)&v6, family == AF_INET ? sizeof v4 : sizeof v6) || listen(s, backlog))
		fail("listen");
	return s;
}

static void ready(void)
{
	if (write(started[1], "", 1) != 1)
		fail("pipe");
}

static void keep_alive(int s, int idle)
{
	int one = 1, between = 5, count = 127;
	setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	if (!idle)
		return;
	setsockopt(s, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(s, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
	setsockopt(s, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

// Answers each request, and closes a connection whose request begins with B.
static void web(int family, int port, int keeps)
{
	static char request[4096], answer[300];
	struct epoll_event event, events[64];
	int l = listener(family, port, 1024), all = epoll_create1(0);
	event.events = EPOLLIN;
	event.data.fd = l;
	epoll_ctl(all, EPOLL_CTL_ADD, l, &event);
	ready();
	for (;;) {
		int n = epoll_wait(all, events, 64, -1);
		for (int i = 0; i < n; i++) {
			int s = events[i].data.fd;
			if (s == l) {
				if ((s = accept(l, 0, 0)) < 0)
					fail("accept");
				if (keeps)
					keep_alive(s, 0);
				event.data.fd = s;
				epoll_ctl(all, EPOLL_CTL_ADD, s, &event);
				continue;
			}
			ssize_t got = read(s, request, sizeof request);
			if (got > 0 && *request == 'B')
				close(s);
			else if (got <= 0)
				epoll_ctl(all, EPOLL_CTL_DEL, s, 0); // The peer has closed; this server forgets to.
			else if (write(s, answer, sizeof answer) < 0)
				fail("write");
		}
	}
}

// Accepts and does nothing else, or not even that.
static void idle(int port, int backlog, int accepts, int keepalive)
{
	int l = listener(AF_INET, port, backlog);
	ready();
	while (accepts) {
		int s = accept(l, 0, 0);
		if (s < 0)
			fail("accept");
		if (keepalive)
			keep_alive(s, keepalive);
	}
	for (;;)
		pause();
}

static void call_nobody(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(NOBODY)};
	inet_pton(AF_INET, "10.77.0.1", &a.sin_addr);
	int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (!connect(s, (void *)&a, sizeof a) || errno != EINPROGRESS)
		fail("connect");
	ready();
	for (;;)
		pause();
}

static void on_cpu(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}

static int begin(const char *name)
{
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0)
		prctl(PR_SET_NAME, name);
	return pid == 0;
}

static void servers(void)
{
	static const char *const names[] = {"crowd-web0", "crowd-web1", "crowd-web2"};
	for (int i = 0; i < 3; i++)
		if (begin(names[i]))
			web(AF_INET, WEB + i, i == 0);
	if (begin("crowd-web6"))
		web(AF_INET6, WEB6, 0);
	if (begin("crowd-idle"))
		idle(IDLE, 16, 1, 0);
	if (begin("crowd-lazy"))
		idle(LAZY, 2, 0, 0);
	if (begin("crowd-half"))
		idle(HALVES, 64, 1, 0);
	if (begin("crowd-leak"))
		idle(LEAKS, 64, 1, 0);
	if (begin("crowd-drop"))
		web(AF_INET, DROPS, 0);
	if (begin("crowd-keep"))
		idle(KEEPS, 16, 1, 1);
	if (begin("crowd-conn"))
		call_nobody();
	for (int i = 0; i < 11; i++) {
		char byte;
		if (read(started[0], &byte, 1) != 1)
			fail("servers");
	}
}

// ---- The clients

static int tun;

struct flow {
	int family;
	uint8_t client[16], server[16];
	uint16_t client_port, server_port; // In the order of the host.
};

static int kind_of(const struct flow *f)
{
	return f->family == AF_INET ? f->client[1] : f->client[11];
}

static struct flow client(int family, int kind, int number, int server_port)
{
	struct flow f = {.family = family, .client_port = 20000 + number % 40000, .server_port = server_port};
	if (family == AF_INET) {
		uint8_t from[] = {10, kind, number >> 8, number}, to[] = {10, 0, 0, 1};
		memcpy(f.client, from, 4);
		memcpy(f.server, to, 4);
	} else {
		f.client[0] = f.server[0] = 0xfd;
		f.client[11] = kind;
		f.client[14] = number >> 8;
		f.client[15] = number;
		f.server[15] = 1;
	}
	return f;
}

static uint32_t sum(const void *data, size_t length, uint32_t sum)
{
	const uint8_t *bytes = data;
	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? bytes[i] : bytes[i] << 8;
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void send_segment(const struct flow *f, int flags, uint32_t seq, uint32_t ack, int window, const void *data, size_t length)
{
	// MSS 1460, SACK, window scale 7.
	static const uint8_t options[] = {2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7};
	uint8_t packet[2048] = {0};
	size_t head = f->family == AF_INET ? 20 : 40, address = f->family == AF_INET ? 4 : 16;
	size_t more = flags & SYN ? sizeof options : 0, tcp = 20 + more + length;
	struct tcphdr *h = (void *)(packet + head);
	h->source = htons(f->client_port);
	h->dest = htons(f->server_port);
	h->seq = htonl(seq);
	h->ack_seq = htonl(ack);
	h->doff = (20 + more) / 4;
	packet[head + 13] = flags;
	h->window = htons(window);
	memcpy(packet + head + 20, options, more);
	if (length)
		memcpy(packet + head + 20 + more, data, length);
	if (f->family == AF_INET) {
		uint16_t size = htons(head + tcp), check;
		packet[0] = 0x45;
		memcpy(packet + 2, &size, 2);
		packet[8] = 64;
		packet[9] = IPPROTO_TCP;
		memcpy(packet + 12, f->client, 4);
		memcpy(packet + 16, f->server, 4);
		check = folded(sum(packet, 20, 0));
		memcpy(packet + 10, &check, 2);
	} else {
		uint16_t size = htons(tcp);
		packet[0] = 0x60;
		memcpy(packet + 4, &size, 2);
		packet[6] = IPPROTO_TCP;
		packet[7] = 64;
		memcpy(packet + 8, f->client, 16);
		memcpy(packet + 24, f->server, 16);
	}
	uint32_t pseudo = sum(f->client, address, sum(f->server, address, IPPROTO_TCP + tcp));
	h->check = folded(sum(h, tcp, pseudo));
	if (write(tun, packet, head + tcp) != (ssize_t)(head + tcp))
		fail("write to the TUN device");
}

static int connecting, answered; // What clients connect now, and their SYN-ACKs.
static int filled; // Segments of the client that fills a buffer: a server that drops one asks for it again and again.
static uint32_t unacknowledged[2]; // Of the clients without a window, by family.

// A client's answer to a segment of its server.
static void answer(const struct flow *f, int flags, uint32_t seq, uint32_t ack, uint32_t window, size_t length)
{
	static char data[SEGMENT] = "GET / HTTP/1.1";
	int kind = kind_of(f), is_v6 = f->family == AF_INET6;
	if (flags & RST)
		return;
	if (flags & SYN) {
		uint32_t next = seq + 1;
		if (!(flags & ACK) || kind == ABSENT)
			return;
		answered += kind == connecting;
		if (kind == HALF)
			return;
		send_segment(f, ACK, FIRST + 1, next, kind == ZERO ? 0 : WINDOW, 0, 0);
		unacknowledged[is_v6] = kind == ZERO ? next : unacknowledged[is_v6];
		if (kind == LOST || kind == ZERO || (kind == HEALTHY && f->client_port % 3 == 0))
			send_segment(f, ACK | PSH, FIRST + 1, next, kind == ZERO ? 0 : WINDOW, data, 100);
		if (kind == FULL)
			send_segment(f, ACK, FIRST + 1, next, WINDOW, data, SEGMENT);
		if (kind == HOLE)
			send_segment(f, ACK, FIRST + 1 + 1000, next, WINDOW, data, 500);
		if (kind == LEAK || kind == FEW_LEAK)
			send_segment(f, ACK | FIN, FIRST + 1, next, WINDOW, 0, 0);
		if (kind == BYE || kind == ORPHAN)
			send_segment(f, ACK | PSH, FIRST + 1, next, WINDOW, "BYE", 3);
		return;
	}
	if (kind == LOST || kind == SILENT)
		return;
	if (kind == ZERO) {
		send_segment(f, ACK, ack, unacknowledged[is_v6], 0, 0, 0);
		return;
	}
	if (kind == FULL) {
		size_t room = window < SEGMENT ? window : SEGMENT;
		if (room && filled++ < ENOUGH)
			send_segment(f, ACK, ack, seq, WINDOW, data, room);
		return;
	}
	if (length || flags & FIN) {
		uint32_t next = seq + length + !!(flags & FIN);
		int closes = flags & FIN && kind != ORPHAN;
		send_segment(f, closes ? ACK | FIN : ACK, ack, next, WINDOW, 0, 0);
	}
}

// Answers what servers send, until nothing comes for some milliseconds; returns how many segments there were.
static int pump(int milliseconds)
{
	uint8_t packet[65536];
	static uint8_t scale;
	int count = 0;
	struct pollfd wait = {.fd = tun, .events = POLLIN};
	while (poll(&wait, 1, milliseconds) > 0) {
		ssize_t n = read(tun, packet, sizeof packet);
		int version = packet[0] >> 4;
		size_t head = version == 4 ? 20 : 40;
		if (n < (ssize_t)head + 20 || packet[version == 4 ? 9 : 6] != IPPROTO_TCP)
			continue;
		struct flow f = {.family = version == 4 ? AF_INET : AF_INET6};
		size_t address = version == 4 ? 4 : 16;
		memcpy(f.server, packet + head - 2 * address, address);
		memcpy(f.client, packet + head - address, address);
		struct tcphdr *h = (void *)(packet + head);
		f.server_port = ntohs(h->source);
		f.client_port = ntohs(h->dest);
		size_t options = h->doff * 4, size = n - head - options;
		int flags = packet[head + 13];
		for (size_t i = 20; flags & SYN && i + 2 < options; i += packet[head + i] == 1 ? 1 : packet[head + i + 1]) {
			if (packet[head + i] == 3)
				scale = packet[head + i + 2];
			if (packet[head + i] == 0 || (packet[head + i] != 1 && packet[head + i + 1] == 0))
				break;
		}
		uint32_t window = ntohs(h->window);
		answer(&f, flags, ntohl(h->seq), ntohl(h->ack_seq), flags & SYN ? window : window << scale, size);
		count++;
	}
	return count;
}

// Connects clients, some at a time.
static void connect_clients(int family, int kind, int count, int server_port)
{
	// Those that wait come one by one: none of them is left half connected when the queue is full.
	int batch = kind == WAITING ? 1 : 50;
	connecting = kind;
	for (int done = 0; done < count; done += batch) {
		int here = count - done < batch ? count - done : batch;
		answered = 0;
		for (int i = 0; i < here; i++) {
			struct flow f = client(family, kind, done + i + (server_port - WEB) * (kind == HEALTHY && family == AF_INET) * EACH, server_port);
			send_segment(&f, SYN, FIRST, 0, WINDOW, 0, 0);
		}
		// Of those whose server's queue is full the last ones get no answer.
		for (int i = 0; answered < here && i < (kind == WAITING ? 50 : 500); i++)
			pump(10);
		if (answered < here && kind != WAITING)
			fail("a server doesn't answer");
		while (pump(0))
			;
	}
}

static char truth[65536];
static size_t truth_length;

static void note(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	truth_length += vsnprintf(truth + truth_length, sizeof truth - truth_length, format, arguments);
	va_end(arguments);
}

// Makes one client sick, and writes down which rule is to find it.
static void sick(const char *rule, int family, int kind, int port)
{
	struct flow f = client(family, kind, 1, port);
	char from[64], to[64];
	connecting = kind;
	answered = 0;
	send_segment(&f, SYN, FIRST, 0, WINDOW, 0, 0);
	for (int i = 0; answered < 1 && i < 500; i++)
		pump(10);
	pump(50);
	inet_ntop(family, f.server, to, sizeof to);
	inet_ntop(family, f.client, from, sizeof from);
	note("%s %s %d %s %d\n", rule, to, port, from, f.client_port);
}

static void clients(int done)
{
	for (int i = 0; i < 3; i++)
		connect_clients(AF_INET, HEALTHY, EACH, WEB + i);
	sick("zero-window", AF_INET, ZERO, WEB);
	sick("zero-window", AF_INET6, ZERO, WEB6);
	sick("retransmits", AF_INET, LOST, WEB + 1);
	sick("retransmits", AF_INET6, LOST, WEB6);
	sick("unread", AF_INET, FULL, IDLE);
	sick("out-of-order", AF_INET, HOLE, WEB + 2);
	sick("keepalive", AF_INET, SILENT, KEEPS);
	sick("retransmits", AF_INET, HALF, HALVES);
	connect_clients(AF_INET, WAITING, 5, LAZY);
	note("accept-queue 0.0.0.0 %d - 0\n", LAZY);
	connect_clients(AF_INET, LEAK, PILE, LEAKS);
	note("close-wait - %d - %d\n", LEAKS, PILE);
	connect_clients(AF_INET, ORPHAN, PILE, DROPS);
	note("orphans - %d - %d\n", DROPS, PILE);
	note("retransmits 10.0.0.1 0 10.77.0.1 %d\n", NOBODY);
	connect_clients(AF_INET6, HEALTHY, EACH, WEB6);
	// What is not worth a word.
	connect_clients(AF_INET, FEW_LEAK, FEW, WEB + 1);
	connect_clients(AF_INET, BYE, BYES, WEB + 2);
	pump(200);
	if (write(done, truth, truth_length) != (ssize_t)truth_length)
		fail("pipe");
	close(done);
	for (;;)
		pump(-1);
}

static void network(void)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	struct sockaddr_in a = {.sin_family = AF_INET};
	struct in6_ifreq {
		struct in6_addr address;
		uint32_t prefix;
		int index;
	} six = {.prefix = 8};
	int s4 = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0);
	strcpy(r.ifr_name, "lo");
	r.ifr_flags = IFF_UP;
	ioctl(s4, SIOCSIFFLAGS, &r);
	mkdir("/dev/net", 0755);
	tun = open("/dev/net/tun", O_RDWR);
	strcpy(r.ifr_name, "crowd0");
	r.ifr_flags = IFF_TUN | IFF_NO_PI;
	if (tun < 0 || ioctl(tun, TUNSETIFF, &r))
		fail("TUN device");
	inet_pton(AF_INET, "10.0.0.1", &a.sin_addr);
	memcpy(&r.ifr_addr, &a, sizeof a);
	if (ioctl(s4, SIOCSIFADDR, &r))
		fail("address");
	inet_pton(AF_INET, "255.0.0.0", &a.sin_addr);
	memcpy(&r.ifr_netmask, &a, sizeof a);
	ioctl(s4, SIOCSIFNETMASK, &r);
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s4, SIOCSIFFLAGS, &r) || ioctl(s4, SIOCGIFINDEX, &r))
		fail("interface");
	six.index = r.ifr_ifindex;
	inet_pton(AF_INET6, "fd00::1", &six.address);
	if (ioctl(s6, SIOCSIFADDR, &six))
		fail("IPv6 address");
	close(s4);
	close(s6);
}

static void load_modules(void)
{
	char line[256];
	FILE *list = fopen("/modules.load", "r");
	while (list && fgets(line, sizeof line, list)) {
		line[strcspn(line, "\n")] = 0;
		int file = open(line, O_RDONLY | O_CLOEXEC);
		if (syscall(SYS_finit_module, file, "", 0))
			printf("LAB WARN insmod %s errno=%d\n", line, errno);
		close(file);
	}
	if (list)
		fclose(list);
}

// ---- The truth: files one behind the other on the disk, each behind a line with its name and length.

static void record(const char *name, const char *bytes, size_t length, int disk)
{
	dprintf(disk, "LABFILE %s %zu\n", name, length);
	for (size_t done = 0; done < length;) {
		ssize_t n = write(disk, bytes + done, length - done);
		if (n <= 0)
			fail("disk");
		done += n;
	}
}

static void record_file(const char *name, const char *path, int disk)
{
	enum { MOST = 16 << 20 };
	static char *text;
	text = text ? text : malloc(MOST);
	size_t length = 0;
	ssize_t n;
	int file = open(path, O_RDONLY);
	while (file >= 0 && length < MOST && (n = read(file, text + length, MOST - length)) > 0)
		length += n;
	close(file);
	record(name, text, length, disk);
}

static void wait_seconds(int seconds)
{
	struct timespec time = {.tv_sec = seconds};
	nanosleep(&time, 0);
}

int main(void)
{
	struct rlimit files = {EACH * 2, EACH * 2};
	int done[2];
	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, 0);
	mount("dev", "/dev", "devtmpfs", 0, 0);
	int console = open("/dev/console", O_RDWR);
	for (int fd = 0; console >= 0 && fd < 3; fd++)
		dup2(console, fd);
	setvbuf(stdout, 0, _IONBF, 0);
	load_modules();
	put("/proc/sys/net/core/somaxconn", "4096");
	// What is sick stays so until the dump, however slow this machine is.
	put("/proc/sys/net/ipv4/tcp_fin_timeout", "900");
	put("/proc/sys/net/ipv4/tcp_synack_retries", "20");
	put("/proc/sys/net/ipv4/tcp_syn_retries", "20");
	if (setrlimit(RLIMIT_NOFILE, &files) || pipe(started))
		fail("limits");
	on_cpu(0);
	network();
	printf("LAB STAGE network\n");
	servers();
	// After the servers: each would keep the end open that the peer closes.
	if (pipe(done))
		fail("pipe");
	printf("LAB STAGE servers\n");
	if (begin("crowd-peer")) {
		close(done[0]);
		clients(done[1]);
	}
	close(tun);
	close(done[1]);
	for (ssize_t n; (n = read(done[0], truth + truth_length, sizeof truth - truth_length)) > 0;)
		truth_length += n;
	printf("LAB STAGE crowd\n");
	// CPU 1 is the spinner's: where that one is in user mode, no timer of a socket runs. It comes late, as it takes one of the host's
	// CPUs from the emulator.
	if (begin("crowd-spin")) {
		on_cpu(1);
		for (;;)
			;
	}
	// Timers run out and back off meanwhile.
	wait_seconds(15);
	int disk = open("/dev/vda", O_WRONLY);
	if (disk < 0)
		fail("/dev/vda");
	record("sick", truth, truth_length, disk);
	record_file("tcp", "/proc/net/tcp", disk);
	record_file("tcp6", "/proc/net/tcp6", disk);
	record_file("sockstat", "/proc/net/sockstat", disk);
	record_file("cpuinfo", "/proc/cpuinfo", disk);
	record("end", "", 0, disk);
	if (fsync(disk))
		fail("fsync");
	printf("LAB STAGE recorded\n");
	printf("LAB READY\n");
	for (;;)
		pause();
}
