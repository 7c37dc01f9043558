/* Layouts that no rule of thumb gives: packed, over-aligned, and both. */
struct __attribute__((packed)) packed { char a; int b; long c; short d; };
struct __attribute__((aligned(64))) aligned { int a; };
struct mixed {
	char a;
	struct packed packed;
	struct aligned aligned;
	char b;
	int c __attribute__((aligned(32)));
	short d __attribute__((packed));
	int e __attribute__((packed));
} __attribute__((packed, aligned(4)));

struct mixed sample = { 1, { 2, 3, 4, 5 }, { 6 }, 7, 8, 9, 10 };
