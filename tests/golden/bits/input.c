/* Bit-fields, in all ways in which they can lie. */
enum color { RED, GREEN, BLUE = 5 };
enum sign { MINUS = -1, PLUS = 1 };

struct bits {
	unsigned int a : 1, b : 31;
	int c : 5;
	int : 0;
	long long d : 40;
	unsigned long long e : 24;
	_Bool f : 1;
	enum color g : 3;
	enum sign h : 2;
	unsigned char i : 8;
	unsigned short : 5;
	unsigned short j : 11;
	long k : 64;
};

struct __attribute__((packed)) crossing {
	unsigned char a;
	unsigned int b : 13;
	int c : 17;
	unsigned long long d : 61;
	unsigned long e : 37;
	unsigned char f;
};

struct bits sample = {
	.a = 1, .b = 0x7abcdef0, .c = -3, .d = -5, .e = 0xabcdef, .f = 1, .g = BLUE, .h = MINUS, .i = 200, .j = 1025,
	.k = -6,
};
struct crossing crossing = { 0xff, 0x1234, -2, 0x1fedcba987654321, 0x1234567890, 0x5a };
