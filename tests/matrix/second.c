#include "shapes.h"

struct opaque {
	int known;
	struct nested *nested;
	union opaque_union *next;
};

union opaque_union {
	u64 value;
	struct opaque *opaque;
};

/* See the first file. */
struct private {
	u64 in_second[4];
};

struct second_user {
	struct private *private;
	struct opaque opaque;
};

static struct private private;
struct second_user second_user;
struct opaque *opaque = &second_user.opaque;
union opaque_union opaque_union;
static int integer_of_second = 3;

int use_second(void)
{
	return pointers.text[0] + table[1] + (int)private.in_second[0] + integer_of_second + (modules.next == 0);
}
