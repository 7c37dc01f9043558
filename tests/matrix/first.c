#include "shapes.h"

/* A name of which the other file has another struct. */
struct private {
	int in_first;
	struct list_head list;
};

struct user {
	struct private *private;
	struct opaque *opaque;
};

__attribute__((section(".rodata"))) const char linux_banner[] = "Linux version 9.9-matrix (matrix) #1\n";

struct list_head modules;
struct pointers pointers;
struct bits bits;
struct packed_bits packed_bits;
struct packed packed;
struct aligned aligned;
struct nested nested;
struct zero_length zero_length;
struct empty empty;
struct arrays arrays;
struct scalars scalars;
union variant variant;
static struct private private;
struct user user;
struct flexible *flexible;
int integer;
char character;
bool truth;
const unsigned long constant = 5;
volatile int changing;
u8 bytes[32];
const u8 table[7] = { 1 };
const char *texts[3];
compare_t compare;
handler_t *handler;
colour_t colour;
atomic_t atomic = { 1 };
enum wide wide;
enum huge huge;
enum negative negative;
enum twins twins;
void *nothing;
struct { int no, name; } nameless;

int use_first(void)
{
	return private.in_first;
}
