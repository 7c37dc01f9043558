// Peers of a WireGuard interface, by generic netlink, as `wg set` makes them. Their keys, endpoints and networks are known to whoever compares.
#include "labd.h"

#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/wireguard.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char message[4096] __attribute__((aligned(8)));

static struct nlmsghdr *head(void)
{
	return (struct nlmsghdr *)message;
}

static void begin(int type, int command)
{
	memset(message, 0, sizeof message);
	struct nlmsghdr *h = head();
	h->nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	struct genlmsghdr *g = NLMSG_DATA(h);
	g->cmd = command;
	g->version = 1;
}

static struct nlattr *put(int type, const void *data, int length)
{
	struct nlattr *a = (void *)(message + NLMSG_ALIGN(head()->nlmsg_len));
	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + length;
	if (length)
		memcpy((char *)a + NLA_HDRLEN, data, length);
	head()->nlmsg_len = NLMSG_ALIGN(head()->nlmsg_len) + NLA_ALIGN(a->nla_len);
	return a;
}

static struct nlattr *nest(int type)
{
	return put(type | NLA_F_NESTED, 0, 0);
}

static void close_nest(struct nlattr *a)
{
	a->nla_len = message + head()->nlmsg_len - (char *)a;
}

// Sends the message; returns the error that the kernel answers, or for a question the number of a family.
static int ask(int s)
{
	static char answer[8192] __attribute__((aligned(8)));
	if (send(s, message, head()->nlmsg_len, 0) < 0)
		return -1;
	int n = recv(s, answer, sizeof answer, 0);
	struct nlmsghdr *h = (void *)answer;
	if (n < (int)sizeof *h)
		return -1;
	if (h->nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
	char *end = answer + h->nlmsg_len;
	for (struct nlattr *a = (void *)((char *)NLMSG_DATA(h) + GENL_HDRLEN); (char *)a < end;
	     a = (void *)((char *)a + NLA_ALIGN(a->nla_len)))
		if (a->nla_type == CTRL_ATTR_FAMILY_ID) {
			int id = *(unsigned short *)((char *)a + NLA_HDRLEN);
			recv(s, answer, sizeof answer, 0); // the acknowledgement
			return id;
		}
	return -1;
}

static void network(int index, int family, const char *address, unsigned char bits)
{
	unsigned char ip[16];
	unsigned short number = family;
	inet_pton(family, address, ip);
	struct nlattr *a = nest(index);
	put(WGALLOWEDIP_A_FAMILY, &number, 2);
	put(WGALLOWEDIP_A_IPADDR, ip, family == AF_INET ? 4 : 16);
	put(WGALLOWEDIP_A_CIDR_MASK, &bits, 1);
	close_nest(a);
}

int set_wireguard(const char *device)
{
	int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	begin(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	put(CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME, sizeof WG_GENL_NAME);
	int family = ask(s);
	if (family <= 0) {
		printf("LAB WARN no wireguard family: %d\n", family);
		return 1;
	}
	unsigned char key[32];
	unsigned short port = 51820, keepalive = 25;
	unsigned mark = 0x77;
	begin(family, WG_CMD_SET_DEVICE);
	put(WGDEVICE_A_IFNAME, device, strlen(device) + 1);
	memset(key, 0x11, sizeof key);
	put(WGDEVICE_A_PRIVATE_KEY, key, sizeof key);
	put(WGDEVICE_A_LISTEN_PORT, &port, 2);
	put(WGDEVICE_A_FWMARK, &mark, 4);
	struct nlattr *peers = nest(WGDEVICE_A_PEERS);
	struct nlattr *peer = nest(0);
	memset(key, 0x22, sizeof key);
	put(WGPEER_A_PUBLIC_KEY, key, sizeof key);
	memset(key, 0x33, sizeof key);
	put(WGPEER_A_PRESHARED_KEY, key, sizeof key);
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(51821) };
	inet_pton(AF_INET, "203.0.113.77", &four.sin_addr);
	put(WGPEER_A_ENDPOINT, &four, sizeof four);
	put(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, &keepalive, 2);
	struct nlattr *networks = nest(WGPEER_A_ALLOWEDIPS);
	network(0, AF_INET, "10.77.1.0", 24);
	network(1, AF_INET, "10.77.2.128", 25);
	network(2, AF_INET6, "fd00:77::", 32);
	close_nest(networks);
	close_nest(peer);
	peer = nest(1);
	memset(key, 0x44, sizeof key);
	put(WGPEER_A_PUBLIC_KEY, key, sizeof key);
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(51822) };
	inet_pton(AF_INET6, "fd00:ffff::77", &six.sin6_addr);
	put(WGPEER_A_ENDPOINT, &six, sizeof six);
	networks = nest(WGPEER_A_ALLOWEDIPS);
	network(0, AF_INET6, "fd00:78:9abc:def0:1234::", 80);
	close_nest(networks);
	close_nest(peer);
	close_nest(peers);
	int error = ask(s);
	close(s);
	if (error)
		printf("LAB WARN wireguard: %d\n", error);
	return error != 0;
}
