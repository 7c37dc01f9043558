// A kernel that will panic: it is given the crash kernel that takes over then, and is made to panic.
#include "labd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
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

void panic(void)
{
	int file = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (write(file, "c", 1) != 1)
		dprintf(1, "LAB FAILED /proc/sysrq-trigger\n");
	forever();
}
