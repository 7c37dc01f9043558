// The recorder: PID 1 once init is done. It reads /proc into memory by itself, without forking, until two readings agree;
// it writes the last of them past the page cache, so that no writeback follows; it says READY and sleeps in read().
// The host stops the machine then, dumps it, lets it go on, and sends a line: the recorder reads everything again.
// If the line begins with `c`, it makes the kernel panic instead; with `l`, the analyzers run here before that.
#include "labd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

// The regions of /dev/vda, in MiB, one tar archive each. The host knows them as well: REGIONS in guest.rs.
enum { TOOLS = 0, SNAPSHOT = 96, SNAPSHOT_AFTER = 144, TOOLS_AFTER = 192 };
enum { ARCHIVE_SIZE = 24 << 20, KEYS_SIZE = 1 << 20, MAX_FILE = 16 << 20, FLUSH_AT = 4 << 20 };

static unsigned char *archive; // A tar archive that grows; what was already written has left it.
static size_t used;
static off_t write_at; // Where on the disk the archive's first byte belongs; -1 holds everything back.
static int disk = -1;

// What must be the same in two readings before either counts as the truth.
static char *keys, *previous_keys;
static size_t keys_used;
static int running; // Tasks in state R other than the recorder and the spinner, and the last of their names.
static char running_comm[65];

static int namespaces;
static char **namespace_names;

static void fail(const char *what, const char *detail)
{
	dprintf(1, "LAB FAILED %s %s errno=%d\n", what, detail, errno);
	forever();
}

static void key(const char *text, size_t length)
{
	if (keys_used + length > KEYS_SIZE)
		fail("keys", "are too long");
	memcpy(keys + keys_used, text, length);
	keys_used += length;
}

// Direct writes come in whole pages; all but the last part are such anyway.
static void flush(void)
{
	size_t whole = used & ~(size_t)4095;
	for (size_t done = 0; done < whole;) {
		size_t part = whole - done < (1 << 20) ? whole - done : 1 << 20;
		ssize_t n = pwrite(disk, archive + done, part, write_at + done);
		if (n <= 0)
			fail("write", "to the disk");
		done += n;
	}
	memmove(archive, archive + whole, used - whole);
	used -= whole;
	write_at += whole;
}

static void begin(int region)
{
	used = 0;
	write_at = (off_t)region << 20;
}

static void end(void)
{
	size_t whole = (used + 1024 + 4095) & ~(size_t)4095;
	memset(archive + used, 0, whole - used);
	used = whole;
	flush();
}

// A ustar header for `length` bytes that already lie behind it.
static void finish_entry(const char *path, size_t length)
{
	char *h = (char *)archive + used;
	memset(h, 0, 512);
	if (strlen(path) > 99)
		fail("path is too long:", path);
	strcpy(h, path);
	strcpy(h + 100, "0000644");
	strcpy(h + 108, "0000000");
	strcpy(h + 116, "0000000");
	sprintf(h + 124, "%011lo", (unsigned long)length);
	strcpy(h + 136, "00000000000");
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	unsigned sum = 0;
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	sprintf(h + 148, "%06o", sum);
	size_t padded = (length + 511) & ~(size_t)511;
	memset(archive + used + 512 + length, 0, padded - length);
	used += 512 + padded;
}

static char *room(void)
{
	return (char *)archive + used + 512;
}

static size_t room_left(void)
{
	return ARCHIVE_SIZE - used - 4096;
}

// Copies a file into the archive; returns its bytes there (a NUL follows them), or null if it can't be opened.
static const char *add(const char *source, const char *path, size_t *length)
{
	int file = open(source, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (file < 0)
		return 0;
	char *start = room();
	size_t total = 0;
	for (;;) {
		if (total >= room_left())
			fail("archive is full at", source);
		size_t space = room_left() - total;
		ssize_t n = read(file, start + total, space > (1 << 20) ? 1 << 20 : space);
		if (n <= 0)
			break;
		total += n;
	}
	close(file);
	finish_entry(path, total);
	if (length)
		*length = total;
	return start;
}

// Copies a folder. The tools' output goes to the disk as it comes; of the network's files two are keys.
static void add_tree(const char *source, const char *path, int depth, int flushing, int in_keys)
{
	DIR *directory = opendir(source);
	struct dirent *entry;
	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		char from[512], to[512];
		struct stat s;
		if (entry->d_name[0] == '.')
			continue;
		snprintf(from, sizeof from, "%s/%s", source, entry->d_name);
		snprintf(to, sizeof to, "%s%s%s", path, *path ? "/" : "", entry->d_name);
		if (lstat(from, &s))
			continue;
		if (S_ISDIR(s.st_mode) && depth > 0)
			add_tree(from, to, depth - 1, flushing, in_keys);
		size_t length;
		const char *text = S_ISREG(s.st_mode) ? add(from, to, &length) : 0;
		if (text && in_keys && (!strcmp(entry->d_name, "dev") || !strcmp(entry->d_name, "softnet_stat")))
			key(text, length);
		if (flushing && used >= FLUSH_AT)
			flush();
	}
	closedir(directory);
}

// Reads one thread's stat line into the keys: pid, comm, state, parent, threads, pages, processor.
static void task_key(int process, const char *stat)
{
	const char *open = strchr(stat, '('), *close = strrchr(stat, ')');
	char comm[65], line[256], state;
	long field[64] = {0};
	if (!open || !close || close - open > 64)
		return;
	snprintf(comm, sizeof comm, "%.*s", (int)(close - open - 1), open + 1);
	// A worker's name shows what it did last: "kworker/0:1-events" is "kworker/0:1". Rescuers are named "kworker/R-...".
	if (!strncmp(comm, "kworker/", 8) && comm[8] != 'R')
		comm[strcspn(comm, "-+")] = 0;
	state = close[2];
	char *rest = (char *)close + 3;
	for (int i = 4; i < 53; i++)
		field[i] = strtol(rest, &rest, 10);
	int thread = atoi(stat), recorder = thread == 1;
	if (state == 'R' && !recorder && strcmp(comm, "lab-spin")) {
		running++;
		strcpy(running_comm, comm);
	}
	int n = snprintf(line, sizeof line, "%d %d %s %c %ld %ld %ld %ld\n", process, thread, comm, recorder ? '-' : state, field[4],
	                 field[20], field[24], field[39]);
	key(line, n);
}

static int is_passing(const char *stat)
{
	const char *close = strrchr(stat, ')');
	return close && close[2] == 'R' && atoi(stat) != 1 && !strstr(stat, "(lab-spin)");
}

static void add_task(const char *process)
{
	static const char *const per_thread[] = {"status", "stack", "wchan", "syscall", "schedstat", "sched", "comm", 0};
	static const char *const per_process[] = {"cmdline", "cgroup", "maps", "limits", "mountinfo", "statm", "io", "oom_score_adj",
	                                          "timers", "uid_map", "timerslack_ns", "autogroup", 0};
	static const char *const spaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts", 0};
	char from[256], to[256], *out;
	snprintf(from, sizeof from, "/proc/%.16s/task", process);
	DIR *threads = opendir(from);
	struct dirent *thread, *open_file;
	if (!threads)
		return;
	while ((thread = readdir(threads))) {
		size_t length;
		if (thread->d_name[0] == '.')
			continue;
		snprintf(from, sizeof from, "/proc/%.16s/task/%.16s/stat", process, thread->d_name);
		size_t before = used;
		const char *stat = add(from, from + 1, &length);
		// Kernel threads run for a moment now and then, not least because of this reading: let it pass.
		for (int i = 0; i < 20 && stat && is_passing(stat); i++) {
			usleep(5000);
			used = before;
			stat = add(from, from + 1, &length);
		}
		if (stat && length)
			task_key(atoi(process), stat);
		for (int i = 0; per_thread[i]; i++) {
			snprintf(from, sizeof from, "/proc/%.16s/task/%.16s/%s", process, thread->d_name, per_thread[i]);
			add(from, from + 1, 0);
		}
	}
	closedir(threads);
	for (int i = 0; per_process[i]; i++) {
		snprintf(from, sizeof from, "/proc/%.16s/%s", process, per_process[i]);
		add(from, from + 1, 0);
	}
	out = room();
	for (int i = 0; spaces[i]; i++) {
		char target[128];
		snprintf(from, sizeof from, "/proc/%.16s/ns/%s", process, spaces[i]);
		ssize_t n = readlink(from, target, sizeof target - 1);
		if (n > 0)
			out += sprintf(out, "%s -> %.*s\n", spaces[i], (int)n, target);
	}
	snprintf(to, sizeof to, "proc/%.16s/ns.txt", process);
	finish_entry(to, out - room());
	snprintf(from, sizeof from, "/proc/%.16s/fd", process);
	DIR *files = opendir(from);
	if (!files)
		return;
	out = room();
	while ((open_file = readdir(files))) {
		char target[256];
		if (open_file->d_name[0] == '.')
			continue;
		snprintf(from, sizeof from, "/proc/%.16s/fd/%.16s", process, open_file->d_name);
		ssize_t n = readlink(from, target, sizeof target - 1);
		if (n > 0)
			out += sprintf(out, "%s -> %.*s\n", open_file->d_name, (int)n, target);
	}
	snprintf(to, sizeof to, "proc/%.16s/fd.txt", process);
	finish_entry(to, out - room());
	rewinddir(files);
	while ((open_file = readdir(files))) {
		if (open_file->d_name[0] == '.')
			continue;
		snprintf(from, sizeof from, "/proc/%.16s/fdinfo/%.16s", process, open_file->d_name);
		add(from, from + 1, 0);
	}
	closedir(files);
}

static void add_network(const char *label, const char *process)
{
	char from[256], to[256];
	snprintf(from, sizeof from, "/proc/%s/net", process);
	snprintf(to, sizeof to, "net/%s", label);
	add_tree(from, to, 2, 0, 1);
}

static void snapshot(void)
{
	static const char *const system_files[] = {
		"uptime", "meminfo", "slabinfo", "buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "vmallocinfo", "stat", "loadavg",
		"interrupts", "softirqs", "timer_list", "locks", "filesystems", "partitions", "swaps", "schedstat", "cpuinfo", "version",
		"devices", "diskstats", "cgroups", "keys", "key-users", "crypto", "misc", "mounts", "modules", "iomem", "ioports", "cmdline",
		"consoles", "execdomains", "fb", "sched_debug", "kpageflags", "kpagecount", 0};
	char from[256], to[256];
	struct dirent *entry;
	while (waitpid(-1, 0, WNOHANG) > 0)
		;
	keys_used = 0;
	running = 0;
	// What each CPU holds back of the counters of memory goes to the kernel's sums now, not between the truth and the dump.
	int refresh = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);
	if (refresh < 0 || read(refresh, from, sizeof from) < 0)
		fail("read", "/proc/sys/vm/stat_refresh");
	close(refresh);
	for (int i = 0; system_files[i]; i++) {
		snprintf(from, sizeof from, "/proc/%s", system_files[i]);
		snprintf(to, sizeof to, "system/%s", system_files[i]);
		add(from, to, 0);
	}
	add("/proc/tty/driver/serial", "system/serial", 0);
	add("/sys/kernel/debug/sched/debug", "system/sched_debugfs", 0);
	add("/sys/kernel/vmcoreinfo", "system/vmcoreinfo", 0);
	int n = klogctl(3, room(), room_left() < (1 << 20) ? room_left() : 1 << 20);
	if (n > 0)
		finish_entry("system/dmesg", n);
	for (int i = 0; i < namespaces; i++) {
		char label[32] = {0}, *equals = strchr(namespace_names[i], '=');
		memcpy(label, namespace_names[i], equals - namespace_names[i]);
		add_network(label, equals + 1);
	}
	DIR *proc = opendir("/proc");
	while ((entry = readdir(proc)))
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			add_task(entry->d_name);
	closedir(proc);
	add("/proc/uptime", "system/uptime.end", 0);
}

// Where two sets of keys part, for the console: the first line that differs.
static void tell_difference(void)
{
	size_t i = 0, start = 0;
	while (i < keys_used && keys[i] == previous_keys[i]) {
		if (keys[i] == '\n')
			start = i + 1;
		i++;
	}
	dprintf(1, "LAB unsettled: %d running %s; was \"%.*s\", is \"%.*s\"\n", running, running ? running_comm : "", (int)strcspn(previous_keys + start, "\n"), previous_keys + start,
	        (int)strcspn(keys + start, "\n"), keys + start);
}

// One reading; says whether it agrees with the one before it.
static int agrees(int region)
{
	char *swap = previous_keys;
	size_t previous_used = keys_used;
	previous_keys = keys;
	keys = swap;
	begin(region);
	snapshot();
	keys[keys_used] = previous_keys[previous_used] = 0;
	if (previous_used == keys_used && !memcmp(keys, previous_keys, keys_used) && running == 0)
		return 1;
	if (previous_used)
		tell_difference();
	return 0;
}

// Two readings agree; the second is written; a third, after the write, agrees as well.
static void settle(int region)
{
	keys_used = 0;
	for (int i = 0; i < 200; i++) {
		usleep(300000);
		if (!agrees(region))
			continue;
		end();
		usleep(100000);
		if (agrees(region))
			return;
	}
	fail("never settled:", "the state keeps moving");
}

// Holds kernel threads with periodic work, such as rcu_preempt, on CPU 0, where the host can see that nothing is runnable;
// on CPU 1 they would wait for the spinner. Threads that are bound to a CPU refuse, and need not.
void pin_kernel_threads(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	while ((entry = readdir(proc))) {
		char path[64], stat[1024] = {0};
		snprintf(path, sizeof path, "/proc/%.16s/stat", entry->d_name);
		int file = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? open(path, O_RDONLY) : -1;
		if (file < 0)
			continue;
		ssize_t n = read(file, stat, sizeof stat - 1);
		close(file);
		unsigned long flags = 0;
		char *rest = n > 0 ? strrchr(stat, ')') : 0;
		if (rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %lu", &flags) == 1 && (flags & 0x200000)) // PF_KTHREAD
			sched_setaffinity(atoi(entry->d_name), sizeof set, &set);
	}
	closedir(proc);
}

static void *memory(size_t size)
{
	void *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		fail("memory", "");
	return p;
}

// Runs a script, which writes into /truth-after.
static void script(const char *path)
{
	pid_t pid = fork();
	if (pid == 0) {
		execl("/bin/busybox", "sh", path, "/truth-after", (char *)0);
		_exit(127);
	}
	waitpid(pid, 0, 0);
}

void record(int count, char **names)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof set, &set);
	// Whoever wakes up takes the CPU from it at once.
	setpriority(PRIO_PROCESS, 0, 19);
	name("lab-recorder");
	namespaces = count;
	namespace_names = names;
	archive = memory(ARCHIVE_SIZE);
	keys = memory(KEYS_SIZE + 1);
	previous_keys = memory(KEYS_SIZE + 1);
	disk = open("/dev/vda", O_WRONLY | O_DIRECT | O_CLOEXEC);
	if (disk < 0)
		fail("open", "/dev/vda");
	int trigger = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (trigger < 0)
		fail("open", "/dev/ttyS1");
	struct termios settings;
	tcgetattr(trigger, &settings);
	cfmakeraw(&settings);
	settings.c_cflag |= CLOCAL;
	tcsetattr(trigger, TCSANOW, &settings);
	fcntl(trigger, F_SETFL, 0);
	// What is written while output is stopped stays in the line's ring.
	static const char held[] = "LAB these bytes stay in the ring of ttyS1";
	if (tcflow(trigger, TCOOFF) == 0 && write(trigger, held, sizeof held - 1) == sizeof held - 1)
		man("serial pid=%d fd=%d held=%s", getpid(), trigger, held);

	pin_kernel_threads();
	begin(TOOLS);
	add_tree("/truth", "", 8, 1, 0);
	end();
	settle(SNAPSHOT);
	dprintf(1, "LAB READY\n");

	char byte;
	if (read(trigger, &byte, 1) != 1)
		fail("read", "/dev/ttyS1");
	if (byte == 'c')
		panic();
	if (byte == 'l')
		script("/etc/lab/live");
	settle(SNAPSHOT_AFTER);
	dprintf(1, "LAB AFTER snapshot\n");
	script("/etc/lab/tools");
	begin(TOOLS_AFTER);
	add_tree("/truth-after", "", 8, 1, 0);
	end();
	dprintf(1, "LAB DONE\n");
	forever();
}
