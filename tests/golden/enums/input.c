/* Enums as numbers: an unknown value stays a value. */
enum duplicate { ZERO, ALSO_ZERO = 0, ONE };
enum negative { LOW = -2147483647 - 1, HIGH = 2147483647 };
enum wide { SMALL = 1, BIG = 0x123456789aLL };
enum widest { MOST = 0xffffffffffffffffULL };
enum wide_negative { LEAST = -0x7fffffffffffffffLL - 1 };
enum __attribute__((packed)) tiny { TINY = 200 };
enum { NAMELESS = 42 };
enum forward;

struct enums {
	enum duplicate duplicate;
	enum negative negative;
	enum wide wide;
	enum widest widest;
	enum wide_negative wide_negative;
	enum tiny tiny;
	enum { INNER = 3 } inner;
	enum forward *forward;
};

struct enums sample = { ALSO_ZERO, LOW, BIG, MOST, LEAST, TINY, INNER, 0 };
int nameless = NAMELESS;
enum duplicate unknown = 77;
