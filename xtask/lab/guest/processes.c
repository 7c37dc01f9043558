// Processes and threads in every state, open files of every kind, and locks with holders and waiters.
#include "labd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static int fuse_fd, held_pipe[2];

static void open_files(void)
{
	static char block[65536];
	memset(block, 'D', sizeof block);
	int deleted = open("/mnt/t1/deleted.bin", O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (int i = 0; i < 48; i++)
		if (write(deleted, block, sizeof block) < 0)
			man("ERR deleted.bin %d", errno);
	unlink("/mnt/t1/deleted.bin");
	int kept = open("/mnt/t1/kept.log", O_RDWR | O_CREAT | O_APPEND, 0640);
	if (write(kept, "MAGIC-PAGECACHE-CONTENT-0123456789\n", 35) < 0)
		man("ERR kept.log %d", errno);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20};
	fcntl(kept, F_SETLK, &lock);
	mark("locked");
	int memory = memfd_create("lab-memfd", 0);
	if (ftruncate(memory, 1 << 20))
		man("ERR memfd %d", errno);
	memset(mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0), 'M', 1 << 20);
	int ends[2];
	if (pipe(ends) || write(ends[1], block, 5000) < 0)
		man("ERR pipe %d", errno);
	int epoll = epoll_create1(0), event = eventfd(42, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec hour = {{3600, 0}, {3600, 0}};
	timerfd_settime(timer, 0, &hour, 0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, 0);
	int signals = signalfd(-1, &set, 0);
	kill(getpid(), SIGUSR1);
	int watch = inotify_init();
	inotify_add_watch(watch, "/mnt/t1", IN_ALL_EVENTS);
	struct epoll_event interest = {.events = EPOLLIN, .data = {.fd = timer}};
	epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &interest);
	interest.data.fd = ends[0];
	epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &interest);
	man("files pid=%d deleted=%d(3145728 bytes) kept=%d(write lock 10+20) memfd=%d(1 MiB) pipe=%d,%d(5000 bytes) epoll=%d eventfd=%d(42) "
	    "timerfd=%d signalfd=%d inotify=%d pending=SIGUSR1",
	    getpid(), deleted, kept, memory, ends[0], ends[1], epoll, event, timer, signals, watch);
}

static void lock_waiter(void)
{
	await(10, "locked");
	int kept = open("/mnt/t1/kept.log", O_RDWR);
	struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	man("lock_waiter pid=%d blocked on the POSIX lock of kept.log", getpid());
	mark("flock");
	fcntl(kept, F_SETLKW, &all);
}

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both_hold;

static void *deadlock_a(void *unused)
{
	name("dl-thread-A");
	pthread_mutex_lock(&first);
	pthread_barrier_wait(&both_hold);
	pthread_mutex_lock(&second);
	return unused;
}

static void *deadlock_b(void *unused)
{
	name("dl-thread-B");
	pthread_mutex_lock(&second);
	pthread_barrier_wait(&both_hold);
	pthread_mutex_lock(&first);
	return unused;
}

static void *sleeper(void *number)
{
	char comm[16];
	snprintf(comm, sizeof comm, "worker-%ld", (long)number);
	name(comm);
	forever();
}

static void threads(void)
{
	pthread_t thread;
	pthread_barrier_init(&both_hold, 0, 2);
	pthread_create(&thread, 0, deadlock_a, 0);
	pthread_create(&thread, 0, deadlock_b, 0);
	for (long i = 0; i < 20; i++)
		pthread_create(&thread, 0, sleeper, (void *)i);
	man("threads pid=%d threads=23 futex deadlock A=%p B=%p", getpid(), (void *)&first, (void *)&second);
	mark("threads");
}

static void vfork_parent(void)
{
	man("vfork parent pid=%d (D, wait_for_vfork_done)", getpid());
	if (vfork() == 0) {
		syscall(SYS_ppoll, 0, 0, 0, 0, 0);
		_exit(0);
	}
}

static void zombie_parent(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		name("lab-zombie");
		_exit(7);
	}
	man("zombie pid=%d ppid=%d exit=7", pid, getpid());
}

static void stopped(void)
{
	man("stopped pid=%d", getpid());
	raise(SIGSTOP);
}

static void tracer(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		name("lab-tracee");
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGTRAP);
		forever();
	}
	waitpid(pid, 0, 0);
	man("tracee pid=%d tracer=%d", pid, getpid());
}

static void spinner(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(1, &set);
	sched_setaffinity(0, sizeof set, &set);
	if (nice(19) < 0)
		man("ERR nice %d", errno);
	man("spin pid=%d cpu=1 (R)", getpid());
	// Not before all has been said and only the recording is left: emulated CPUs may share one of the host's.
	while (await(60, "recorded"))
		;
	for (volatile unsigned long x = 0;; x++)
		;
}

static void realtime(void)
{
	struct sched_param parameter = {.sched_priority = 50};
	sched_setscheduler(0, SCHED_FIFO, &parameter);
	man("rt pid=%d SCHED_FIFO 50", getpid());
}

static void big_memory(void)
{
	size_t size = 24 << 20;
	char *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < size; i += 4096) {
		memcpy(p + i, "LABPAGE!", 8);
		*(uint64_t *)(p + i + 8) = i;
	}
	man("bigmem pid=%d address=%p size=%zu pattern=LABPAGE! and the offset as u64, at every page", getpid(), (void *)p, size);
}

// Writes from a page that never comes: sleeps in handle_userfault with pipe->mutex held.
static void mutex_holder(void)
{
	man("mutex_holder pid=%d (pipe->mutex, in handle_userfault)", getpid());
	int faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = {.api = UFFD_API};
	if (faults < 0 || ioctl(faults, UFFDIO_API, &api))
		man("ERR userfaultfd %d", errno);
	char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = {.range = {(unsigned long)page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	if (ioctl(faults, UFFDIO_REGISTER, &range))
		man("ERR uffd register %d", errno);
	mark("mutex-held");
	if (write(held_pipe[1], page, 100) < 0)
		man("ERR mutex_holder returned errno=%d", errno);
}

static void mutex_waiter(void)
{
	await(10, "mutex-held");
	sleep(1);
	man("mutex_waiter pid=%d (D in __mutex_lock on pipe->mutex)", getpid());
	mark("mutex");
	if (write(held_pipe[1], "x", 1) < 0)
		man("ERR mutex_waiter returned");
}

// Serves a directory whose MKDIR is never answered: the first mkdir holds its i_rwsem, all later ones wait.
static void fuse_server(void)
{
	static char request[1 << 17];
	for (;;) {
		ssize_t n = read(fuse_fd, request, sizeof request);
		if (n < 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			man("ERR fuse read %d", errno);
			return;
		}
		struct fuse_in_header *in = (void *)request;
		struct {
			struct fuse_out_header out;
			union {
				struct fuse_init_out init;
				struct fuse_attr_out attr;
				struct fuse_open_out open;
				struct fuse_statfs_out statfs;
			};
		} answer = {.out = {.unique = in->unique}};
		size_t length = 0;
		switch (in->opcode) {
		case FUSE_INIT:
			answer.init.major = FUSE_KERNEL_VERSION;
			answer.init.minor = 31;
			answer.init.max_write = 65536;
			length = sizeof answer.init;
			break;
		case FUSE_GETATTR:
			answer.attr.attr.ino = 1;
			answer.attr.attr.mode = S_IFDIR | 0755;
			answer.attr.attr.nlink = 2;
			answer.attr.attr_valid = 3600;
			length = sizeof answer.attr;
			break;
		case FUSE_LOOKUP:
			answer.out.error = -ENOENT;
			break;
		case FUSE_OPENDIR:
			length = sizeof answer.open;
			break;
		case FUSE_STATFS:
			length = sizeof answer.statfs;
			break;
		case FUSE_FORGET:
		case FUSE_BATCH_FORGET:
		case FUSE_INTERRUPT:
			continue;
		case FUSE_MKDIR:
			man("fuse MKDIR received and never answered unique=%llu", (unsigned long long)in->unique);
			mark("fuse-mkdir");
			continue;
		default:
			answer.out.error = -ENOSYS;
		}
		answer.out.len = sizeof answer.out + length;
		if (write(fuse_fd, &answer, answer.out.len) < 0)
			man("ERR fuse write opcode=%d errno=%d", in->opcode, errno);
	}
}

static void fuse_first(void)
{
	await(10, "fuse-open");
	man("fuse_mkdir1 pid=%d (holds i_rwsem)", getpid());
	mkdir("/mnt/fuse/first", 0755);
	man("ERR fuse_first returned %d", errno);
}

static void fuse_second(void)
{
	await(10, "fuse-mkdir");
	man("fuse_mkdir2 pid=%d (D on i_rwsem, write)", getpid());
	mkdir("/mnt/fuse/second", 0755);
	man("ERR fuse_second returned %d", errno);
}

static void fuse_reader(void)
{
	char entries[4096];
	int directory = open("/mnt/fuse", O_RDONLY | O_DIRECTORY);
	mark("fuse-open");
	await(10, "fuse-mkdir");
	sleep(1);
	man("fuse_readdir pid=%d (D on i_rwsem, read)", getpid());
	mark("fuse");
	syscall(SYS_getdents64, directory, entries, sizeof entries);
	man("ERR fuse_reader returned %d", errno);
}

static int pidns_init(void *unused)
{
	name("lab-pidns-init");
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			name("lab-pidns-kid");
			forever();
		}
	forever();
	return unused != 0;
}

static void pid_namespace(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int pid = clone(pidns_init, stack + sizeof stack, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUSER | SIGCHLD, 0);
	man("pidns init pid(outside)=%d errno=%d", pid, pid < 0 ? errno : 0);
}

static void waiter(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		name("lab-awaited");
		forever();
	}
	man("waiter pid=%d waits for %d in wait4", getpid(), pid);
	waitpid(pid, 0, 0);
	man("ERR waiter returned");
}

// IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN, which not all headers have.
enum { DEFERRED_WORK = 1 << 12 | 1 << 13, POLLS = 3 };

// Polls that are done, whose results wait on a list until somebody asks for them, which nobody does.
static void io_uring(void)
{
	struct io_uring_params parameters = {.flags = DEFERRED_WORK};
	int ring = syscall(SYS_io_uring_setup, 8, &parameters), ends[2];
	if (ring < 0 || pipe(ends)) {
		man("io_uring pid=%d has no deferred work errno=%d", getpid(), errno);
		return;
	}
	unsigned *array, size = parameters.sq_off.array + parameters.sq_entries * sizeof *array;
	char *queue = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entries = mmap(0, parameters.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE,
	                                    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	array = (void *)(queue + parameters.sq_off.array);
	for (int i = 0; i < POLLS; i++) {
		entries[i] = (struct io_uring_sqe){.opcode = IORING_OP_POLL_ADD, .fd = ends[0], .user_data = 1000 + i};
		entries[i].poll32_events = POLLIN;
		array[i] = i;
	}
	*(volatile unsigned *)(queue + parameters.sq_off.tail) = POLLS;
	int taken = syscall(SYS_io_uring_enter, ring, POLLS, 0, 0, 0, 0);
	if (taken != POLLS || write(ends[1], "x", 1) != 1)
		man("ERR io_uring took %d errno=%d", taken, errno);
	man("io_uring pid=%d fd=%d user_data=1000..%d", getpid(), ring, 1000 + POLLS - 1);
}

void all_processes(void)
{
	spawn("lab-udp", udp_sockets);
	spawn("lab-unix", unix_sockets);
	spawn("lab-files", open_files);
	spawn("lab-flockw", lock_waiter);
	spawn("lab-threads", threads);
	spawn("lab-vfork", vfork_parent);
	spawn("lab-zparent", zombie_parent);
	spawn("lab-stopped", stopped);
	spawn("lab-tracer", tracer);
	spawn("lab-rt", realtime);
	spawn("lab-bigmem", big_memory);
	spawn("lab-waiter", waiter);
	spawn("lab-uring", io_uring);
	spawn("lab-pidns", pid_namespace);
	spawn("lab-vethcli", veth_client);
	if (pipe(held_pipe))
		man("ERR pipe %d", errno);
	spawn("lab-mxhold", mutex_holder);
	for (int i = 0; i < 2; i++)
		spawn("lab-mxwait", mutex_waiter);
	fuse_fd = open("/dev/fuse", O_RDWR);
	char options[128];
	snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fuse_fd);
	mkdir("/mnt/fuse", 0755);
	if (mount("labfuse", "/mnt/fuse", "fuse", 0, options)) {
		man("ERR fuse mount %d", errno);
	} else {
		spawn("lab-fusesrv", fuse_server);
		spawn("lab-fuse1", fuse_first);
		spawn("lab-fuse2", fuse_second);
		spawn("lab-fuserd", fuse_reader);
	}
	close(fuse_fd);
	spawn("lab-spin", spinner);
}
