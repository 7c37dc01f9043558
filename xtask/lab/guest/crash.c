// A kernel that will panic: it is given the crash kernel that takes over then, and is made to panic.
#include "labd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ON_CRASH = 2 }; // KEXEC_FILE_ON_CRASH: it goes to where crashkernel= has kept room.

int load_crash_kernel(const char *kernel, const char *initramfs, const char *parameters)
{
#ifdef SYS_kexec_file_load
	int image = open(kernel, O_RDONLY | O_CLOEXEC), root = open(initramfs, O_RDONLY | O_CLOEXEC);
	if (!syscall(SYS_kexec_file_load, image, root, strlen(parameters) + 1, parameters, (long)ON_CRASH))
		return 0;
	perror("LAB WARN kexec_file_load");
#endif
	return 1;
}

static struct timespec ticked(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now;
}

static int differ(struct timespec left, struct timespec right)
{
	return left.tv_nsec != right.tv_nsec || left.tv_sec != right.tv_sec;
}

// Sleeps until no worker is at work: not the one that brought the line's byte (flush_to_ldisc), which may not have slept since it
// woke this process, and none of those that the clock's last tick woke. The next tick is some milliseconds away.
static void let_workers_sleep(void)
{
	usleep(100000);
	for (int i = 0; i < 100; i++) {
		struct timespec before = ticked(), tick;
		do
			tick = ticked();
		while (!differ(before, tick));
		usleep(1000);
		if (!differ(tick, ticked()))
			return;
	}
}

void panic(void)
{
	let_workers_sleep();
	int file = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (write(file, "c", 1) != 1)
		dprintf(1, "LAB FAILED /proc/sysrq-trigger\n");
	forever();
}
