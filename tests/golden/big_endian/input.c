/* clang: --target=s390x-linux-gnu */
/* The most significant byte, and bit, comes first. */
enum color { RED, GREEN, BLUE = 5 };

struct bits {
	unsigned int a : 1, b : 31;
	int c : 5;
	long long d : 40;
	unsigned long long e : 24;
	enum color g : 3;
};

struct __attribute__((packed)) crossing {
	unsigned char a;
	unsigned int b : 13;
	int c : 17;
	unsigned long long d : 61;
};

struct numbers {
	short s;
	int i;
	long l;
	unsigned long long u;
	struct numbers *next;
	int list[3];
	enum color color;
	char text[4];
	float f;
	double d;
	unsigned char byte;
};

struct bits sample = { .a = 1, .b = 0x7abcdef0, .c = -3, .d = -5, .e = 0xabcdef, .g = BLUE };
struct crossing crossing = { 0xff, 0x1234, -2, 0x1fedcba987654321 };
struct numbers numbers = { -2, -3, -4, 0x123456789abcdef0, (void *)0x1122334455667788, { 1, -2, 3 }, GREEN, "abc", 1.5f, -2.5, 9 };
