/* Structs have sizes that no page holds. */
struct large {
	int first;
	char middle[100 * 1024];
	int last;
	struct { long a[4096]; } tables[2];
};

struct large sample = { .first = 1, .middle = "text", .last = 2, .tables[1].a[4095] = 3 };
