/* Pointers to everything. */
struct node { int value; struct node *next; };
struct unknown;

struct pointers {
	struct node *one;
	struct node **two;
	struct node ***three;
	const char *text;
	void *nothing;
	void **to_nothing;
	struct unknown *unknown;
	int (*function)(struct node *, const char *name, ...);
	void (*takes_function)(int (*)(long), unsigned char[4]);
	int (*(*returns_function)(void))(int);
	struct node *(*several[2])(void);
	int *const volatile constant;
};

static int called(struct node *node, const char *name, ...) { return node->value + *name; }
static int number = 12;
struct node last = { 2 }, first = { 1, &last }, *pointer = &first, **twice = &pointer;
struct pointers sample = {
	.one = &first, .two = &pointer, .three = &twice, .text = "text", .nothing = &number, .function = called,
	.constant = &number,
};
