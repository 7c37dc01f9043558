/* Two files, one name: what is the same is one type, what is not the same is two. */
struct shared { int a, b; };
struct differs { int old; };
struct uses { struct differs *pointer; struct differs value; };

struct shared shared = { 1, 2 };
struct differs differs = { 3 };
struct uses uses = { &differs, { 4 } };
