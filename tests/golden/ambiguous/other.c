struct shared { int a, b; };
struct differs { int added; short new; };
struct other_uses { struct differs *pointer; struct differs value; };

struct shared also_shared = { 9, 10 };
struct differs other = { 5, 6 };
struct other_uses other_uses = { &other, { 7, 8 } };
