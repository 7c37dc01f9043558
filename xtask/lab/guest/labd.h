// What the parts of labd share.
#ifndef LABD_H
#define LABD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/types.h>

// Appends a line to the manifest, /truth/labd.manifest.
void man(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Names the calling thread.
void name(const char *comm);
// Sleeps (state S) until the machine ends.
void forever(void) __attribute__((noreturn));
// Runs `role` in a child process of that name.
pid_t spawn(const char *comm, void (*role)(void));
// Files in /run/lab tell init, and the other processes, how far one has come.
void mark(const char *what);
int await(int seconds, const char *what);

// sockets.c
int listener(int family, int type, const char *address, int port, int backlog);
int connection(int family, int type, const char *address, int port, int nonblocking);
void tcp_server(void);
void tcp_client(void);
void udp_sockets(void);
void unix_sockets(void);
void netns_server(void);
void veth_client(void);
int send_datagrams(const char *address, int port, int count, int size);
int send_frames(const char *device, int count);

// sockets2.c
void more_sockets(void);
// rare.c
int pin_xdp(const char *path);
void multicast_router(void);
void rare_sockets(void);
// wireguard.c
int set_wireguard(const char *device);

// processes.c
void all_processes(void);

// crash.c
int load_crash_kernel(const char *kernel, const char *initramfs, const char *parameters);
void panic(void) __attribute__((noreturn));

// recorder.c
void pin_kernel_threads(void);
void record(int namespaces, char **names) __attribute__((noreturn));

#endif
