/* What both files of the matrix share, as a kernel's headers are. */
#pragma once

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef short s16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;
typedef _Bool bool;

struct list_head {
	struct list_head *next, *prev;
};

/* Declared here, defined in the second file only. */
struct opaque;
/* Declared here, and defined nowhere. */
struct nowhere;
union opaque_union;

typedef struct {
	int counter;
} atomic_t;

typedef union {
	u32 word;
	u8 bytes[4];
} word_t;

typedef enum { RED, GREEN = 5, BLUE } colour_t;

enum negative { MINUS = -1, ZERO, PLUS };
enum wide { SMALL = 1, LARGE = 0x123456789abcdefLL };
enum huge { TOP = 0xffffffffffffffffULL };
enum twins { FIRST, ALSO_FIRST = 0, SECOND, LAST = SECOND };

struct bits {
	unsigned int a : 1;
	unsigned int b : 7;
	unsigned int c : 24;
	int d : 5;
	u64 e : 40;
	u8 f : 3;
	u8 : 0;
	u8 g : 7; /* clang calls it no bit-field if it is as wide as its type */
	bool h : 1;
	colour_t i : 4;
};

struct packed_bits {
	u8 a;
	u32 b : 30;
	u32 c : 30;
	u64 d : 60;
	u16 e : 11;
} __attribute__((packed));

struct packed {
	u8 a;
	u32 b;
	u64 c;
	u16 d;
} __attribute__((packed));

struct aligned {
	u8 a;
	u64 b __attribute__((aligned(64)));
	u8 c;
} __attribute__((aligned(128)));

struct nested {
	int before;
	struct {
		int x;
		union {
			int y;
			struct {
				s16 low, high;
			};
			struct {
				u8 first;
				struct {
					u8 deep[3];
				} named;
			};
		};
	};
	union {
		u64 value;
		struct list_head node;
	} u;
	int after;
};

struct flexible {
	int count;
	struct list_head items[];
};

struct zero_length {
	int count;
	int items[0];
};

struct empty {
};

typedef int (*compare_t)(const void *, const void *);
typedef void handler_t(struct nested *, u32 flags, ...);

struct pointers {
	void *nothing;
	const void *constant;
	volatile u32 *volatiles;
	const volatile int *const both;
	char *restrict text;
	struct pointers **indirect;
	struct pointers ***more;
	int (*array)[4];
	int *pointers[4];
	compare_t compare;
	handler_t *handler;
	void (*callback)(struct opaque *, int (*)(void));
	struct opaque *opaque;
	struct nowhere *nowhere;
	union opaque_union *opaque_union;
	enum twins *twins;
};

struct arrays {
	int one[3];
	int two[3][4];
	u8 three[2][3][4];
	struct list_head heads[2];
	struct {
		int a, b;
	} pairs[5];
	char name[16];
};

struct scalars {
	char c;
	signed char sc;
	unsigned char uc;
	short s;
	unsigned short us;
	int i;
	unsigned int ui;
	long l;
	unsigned long ul;
	long long ll;
	unsigned long long ull;
	bool b;
	const int ci;
	volatile int vi;
	const char *const text;
	atomic_t atomic;
	word_t word;
	colour_t colour;
	enum negative negative;
	enum wide wide;
	enum huge huge;
	enum twins twins;
};

union variant {
	struct packed packed;
	struct nested nested;
	u8 bytes[24];
};

extern struct list_head modules;
extern struct pointers pointers;
/* Only its definition says how long it is. */
extern const u8 table[];
