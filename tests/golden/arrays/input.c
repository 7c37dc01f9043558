/* Arrays of everything. */
struct point { int x, y; };
enum letter { A = 'a', B = 'b' };

struct arrays {
	int matrix[2][3];
	char names[2][4];
	struct point points[2][2];
	struct point *pointers[2];
	enum letter letters[2];
	unsigned char bytes[3];
	signed char signs[2];
	_Bool flags[2];
	const volatile unsigned short qualified[2];
	char (*to_array)[4];
};

struct point origin = { 0, 0 }, end = { 8, 9 };
char text[4] = "yes";
struct arrays sample = {
	{ { 1, 2, 3 }, { 4, 5, 6 } }, { "one", "two" }, { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8 } } },
	{ &origin, &end }, { A, B }, { 1, 2, 255 }, { -1, 1 }, { 1, 0 }, { 1, 65535 }, &text,
};
int global[2][2] = { { 1, 2 }, { 3, 4 } };
