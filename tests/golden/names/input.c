/* Names that Rust has other plans for. */
struct keywords {
	int type, type_, self, Self, match, fn, crate, addr, at, new, part;
	int a$b, a_b;
	int x64__;
};

struct View { int a; };
struct u32 { int b; };
struct str { int c; };
union async { int d; short e; };
typedef struct { int f; } Raw;
struct twice { int g; };
typedef int twice_t;
enum names { INFO = 4, name = 5, String = 6, Self = 7 };

struct keywords sample = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 };
struct View view = { 21 };
struct u32 u32 = { 22 };
struct str str = { 23 };
union async async = { 24 };
Raw raw = { 25 };
struct twice twice = { 26 };
twice_t type = 27;
enum names self = name;
