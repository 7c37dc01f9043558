// labd: one static program that puts the lab's guest into a known state, and records that state.
// The first argument is the role; /etc/lab/{processes,traffic} start the roles in their order.
#include "labd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **argument)
{
	signal(SIGPIPE, SIG_IGN);
	if (count < 2)
		return 1;
	const char *role = argument[1];
	if (!strcmp(role, "netns")) {
		name("lab-netns");
		netns_server();
	}
	if (!strcmp(role, "pause") && count == 3) {
		name(argument[2]);
		forever();
	}
	if (!strcmp(role, "processes")) {
		all_processes();
		mark("processes");
		forever();
	}
	if (!strcmp(role, "tcp")) {
		spawn("lab-tcpsrv", tcp_server);
		await(10, "listening");
		spawn("lab-tcpcli", tcp_client);
		forever();
	}
	if (!strcmp(role, "more-sockets")) {
		name("lab-socks");
		more_sockets();
	}
	if (!strcmp(role, "rare-sockets")) {
		name("lab-rare");
		rare_sockets();
	}
	if (!strcmp(role, "mroute")) {
		name("lab-mroute");
		multicast_router();
	}
	if (!strcmp(role, "pin-xdp") && count == 3)
		return pin_xdp(argument[2]);
	if (!strcmp(role, "send") && count == 6)
		return send_datagrams(argument[2], atoi(argument[3]), atoi(argument[4]), atoi(argument[5]));
	if (!strcmp(role, "frame") && count == 4)
		return send_frames(argument[2], atoi(argument[3]));
	if (!strcmp(role, "wireguard") && count == 3)
		return set_wireguard(argument[2]);
	if (!strcmp(role, "await") && count > 3) {
		int missing = 0;
		for (int i = 3; i < count; i++)
			if (await(atoi(argument[2]), argument[i])) {
				printf("LAB WARN no sign of %s\n", argument[i]);
				missing = 1;
			}
		return missing;
	}
	if (!strcmp(role, "pin")) {
		pin_kernel_threads();
		return 0;
	}
	if (!strcmp(role, "crashkernel") && count == 5)
		return load_crash_kernel(argument[2], argument[3], argument[4]);
	if (!strcmp(role, "nobody") && count > 2 && !setgid(65534) && !setuid(65534))
		execv(argument[2], argument + 2);
	if (!strcmp(role, "record"))
		record(count - 2, argument + 2);
	return 1;
}

void man(const char *format, ...)
{
	char line[1024] = "LAB ";
	va_list arguments;
	va_start(arguments, format);
	int n = 4 + vsnprintf(line + 4, sizeof line - 6, format, arguments);
	va_end(arguments);
	line[n++] = '\n';
	int file = open("/truth/labd.manifest", O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (file >= 0) {
		if (write(file, line, n) < 0)
			perror("manifest");
		close(file);
	}
}

void name(const char *comm)
{
	prctl(PR_SET_NAME, comm);
}

void forever(void)
{
	for (;;)
		pause();
}

pid_t spawn(const char *comm, void (*role)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		name(comm);
		role();
		forever();
	}
	man("proc role=%s pid=%d", comm, pid);
	return pid;
}

void mark(const char *what)
{
	char path[128];
	snprintf(path, sizeof path, "/run/lab/%s", what);
	close(open(path, O_WRONLY | O_CREAT, 0644));
}

int await(int seconds, const char *what)
{
	char path[128];
	snprintf(path, sizeof path, "/run/lab/%s", what);
	for (int i = 0; i < seconds * 50; i++) {
		if (access(path, F_OK) == 0)
			return 0;
		usleep(20000);
	}
	return -1;
}
