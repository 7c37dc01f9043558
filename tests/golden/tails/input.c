/* What has no size of its own. */
struct element { short value; };

struct flexible {
	unsigned int count;
	struct element elements[];
};

struct old_style {
	int count;
	char text[0];
};

struct nothing { };

struct holder {
	struct nothing nothing;
	int zero[0];
	struct nothing several[3];
	int after;
	union {
		long word;
		char bytes[0];
	};
};

struct flexible sample = { 3, { { 10 }, { 20 }, { -30 } } };
struct old_style old = { 2 };
struct holder holder = { .after = 7, .word = 0x41 };
struct nothing nothing;
