/* gcc: -m32 */
/* On a 32-bit machine, long and pointers are narrower in memory, and as wide as elsewhere in Rust. */
struct numbers {
	long l;
	unsigned long u;
	long long ll;
	struct numbers *next;
	unsigned long list[2];
	__SIZE_TYPE__ size;
	long bits : 7;
	void (*call)(struct numbers *);
	char *text;
};

struct numbers numbers = { -4, 0xfffffff0, -5, &numbers, { 1, 0xffffffff }, 9, -6, 0, 0 };
