/* Members of anonymous structs and unions are members of what holds them, to any depth. */
struct tagged {
	int first;
};

struct outer {
	int before;
	union {
		long as_long;
		struct {
			short low;
			union {
				char letters[2];
				struct {
					unsigned char one : 3;
					unsigned char : 2;
					unsigned char two : 3;
					unsigned char three;
				};
			};
		};
	};
	struct tagged; /* -fms-extensions: the members of a tagged struct, as the kernel has them */
	struct {
		int x, y;
	} named;
	struct {
		int inner;
	} *pointed;
	union {
		struct {
			int deep;
		} list[2];
		long words[1];
	};
};

struct outer sample = {
	.before = 1,
	.low = 0x1234,
	.one = 5, .two = 6, .three = 7,
	.first = 8,
	.named = { 9, 10 },
	.list = { { 11 }, { 12 } },
};
