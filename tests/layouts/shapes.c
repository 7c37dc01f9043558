/*
 * What a layout can be. Each type has a variable, so that every compiler describes it.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct empty {};

struct bits {
	u32 one : 1;
	u32 five : 5;
	u32 : 3; /* padding without a name */
	u32 wide : 21;
	int negative : 7;
	u8 byte : 4;
	u8 rest : 4;
	u16 half : 9;
	u64 huge : 37;
	u64 beyond : 20;
	_Bool flag : 1;
	u32 : 0; /* on to the next unit */
	u32 last : 32;
};

struct __attribute__((packed)) packed_bits {
	u8 head;
	u32 a : 3;
	u32 b : 27; /* crosses bytes, and its storage unit */
	u64 c : 41;
	u32 d : 9;
	u64 unaligned;
	u16 tail;
};

struct aligned {
	u8 a;
	u32 b __attribute__((aligned(64)));
	u8 c;
} __attribute__((aligned(128)));

enum color { RED, GREEN = 7 };

struct nested {
	u8 before;
	union {
		struct {
			u16 x;
			u32 y : 11;
			u32 z : 21;
		};
		u64 whole;
		struct {
			u8 low[3];
			union {
				u32 deep;
				u8 deeper : 3;
			};
		} named;
	};
	struct {
		u32 a;
		struct {
			u8 b : 2;
			u8 c : 6;
		} inner[2];
	} array[3][5];
	struct nested *next;
	void (*function)(struct nested *, int);
	enum color color : 4;
	enum color plain;
	const volatile u32 qualified;
	u64 matrix[2][3];
	unsigned long word; /* what BTF tells the width of pointers by */
};

typedef struct {
	u32 counter;
} counter_t, other_counter_t;

typedef union {
	u64 v;
	struct {
		u32 low, high;
	};
} pair_t;

struct flexible {
	counter_t count;
	pair_t pair;
	struct empty nothing;
	u16 elements[];
};

struct flexible_of_bits {
	u8 size;
	struct {
		u8 a : 5;
		u8 b : 3;
	} elements[0];
};

union all {
	struct bits bits;
	struct packed_bits packed_bits;
	u8 bytes[64];
	u32 few : 5;
};

struct bits bits = {
	.one = 1, .five = 22, .wide = 0x155aa3, .negative = -42, .byte = 9, .rest = 6, .half = 0x1a5, .huge = 0x1234567891,
	.beyond = 0xabcde, .flag = 1, .last = 0xfedcba98,
};
struct packed_bits packed_bits = {
	.head = 0xa5, .a = 5, .b = 0x5a5a5a5, .c = 0x1aaaa5555a5, .d = 0x165, .unaligned = 0x1122334455667788, .tail = 0xbeef,
};
struct aligned aligned = { 1, 2, 3 };
struct nested nested = { 1 };
struct flexible flexible = { { 1 } };
struct flexible_of_bits flexible_of_bits = { 1 };
union all all = { .few = 3 };
counter_t counter = { 1 };
other_counter_t other_counter = { 2 };
pair_t pair = { 3 };

u32 with_a_local_type(u32 n);
u32 with_a_local_type(u32 n)
{
	struct local {
		u8 a;
		u32 b : 9;
		struct local *next;
	} here = { (u8)n, n & 0x1ff, 0 };
	struct local *volatile seen = &here;

	if (n > 3) {
		typedef struct {
			u16 x[2];
		} local_t;
		volatile local_t deeper = { { (u16)n, 2 } };
		return deeper.x[n & 1] + seen->b;
	}
	return seen->a;
}
