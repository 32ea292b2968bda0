/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The compiler of expressions: text to tree (precedence climbing), types and shapes while the tree grows, constants folded by the same
 * kernels that run later, comparisons of stored variables with constants turned into intervals of the variable's own type, and code for
 * registers numbered by Sethi and Ullman's order (The generation of optimal code for arithmetic expressions, J. ACM 17, 1970). Also the
 * check of programs that came from elsewhere. Control path, any thread, about 40 KiB of stack, no allocation.
 * Freestanding: yes
 */
#include "expr-private.h"
#include "math.h"

#include <errno.h>

enum { NODES = 288, DEPTH = 48, SHAPES = 10, NAMES = 160 };

enum kind { N_NUMBER, N_TRUTH, N_INPUT, N_RANGE, N_RECORD, N_OP, N_REDUCE };

struct node {
	uint8_t kind, op, is_bool;
	uint8_t shape; /* 0: one value per record; else 1 + index of the dimensions it ranges over */
	uint8_t input, negated, exact, pad;
	int16_t a, b, c, slot;
	int32_t column;  /* in the text, from 1 */
	double k;        /* constants */
	__int128 whole;  /* of an exact integer constant */
	uint64_t lo, hi; /* N_RANGE */
};

enum token { T_END, T_NUMBER, T_NAME, T_OP };
enum { O_OR, O_AND, O_LT, O_GT, O_LE, O_GE, O_NE, O_EQ, O_ADD, O_SUB, O_MUL, O_DIV, O_IDIV, O_MOD, O_POW, O_NOT, O_OPEN, O_CLOSE, O_COMMA };

struct parser {
	struct iog_expr *e;
	const char *text;
	const struct iog_schema *s;
	const struct iog_live *live;
	uint32_t n_live;
	struct iog_err *err;
	int failed, depth;
	/* the token in hand */
	uint8_t token, op, exact;
	uint32_t at, from, len;
	double number;
	__int128 whole;
	int n_nodes, n_shapes;
	struct {
		uint8_t n, dim[IOG_RANK];
	} shape[SHAPES];
	struct node node[NODES];
	uint32_t number_regs, truth_regs; /* in use */
};

static const char *const op_text[] = { "or", "and", "<", ">", "<=", ">=", "~=", "==", "+", "-", "*", "/", "//", "%", "^", "not", "(", ")",
	"," };

#define FAIL(p, column, ...) ((p)->failed ? -1 : ((p)->failed = 1, fail_at((p), (int)(column), __VA_ARGS__)))
__attribute__((format(printf, 3, 4))) static int fail_at(struct parser *p, int column, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(text, sizeof text, fmt, ap);
	va_end(ap);
	/* "... at column 1; advice": the place goes before the advice. A semicolon that was in the expression stands in quotes. */
	size_t cut = 0;
	while (text[cut] && !(text[cut] == ';' && text[cut + 1] == ' '))
		cut++;
	iog_fail(p->err, -EINVAL, "expression: %.*s at column %d%s", (int)cut, text, column, text + cut);
	return -1;
}

/* ---- words ---- */

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void next(struct parser *p);

static void lex_number(struct parser *p)
{
	const char *t = p->text + p->at;
	size_t len = iog_strlen(t), n = iog_parse_number(t, len, &p->number), i = 0;
	const bool hex = t[0] == '0' && (t[1] == 'x' || t[1] == 'X');
	if (!n || is_letter(t[n]) || is_digit(t[n]) || t[n] == '.') {
		size_t bad = n;
		while (is_letter(t[bad]) || is_digit(t[bad]) || t[bad] == '.')
			bad++;
		FAIL(p, p->at + 1, "malformed number \"%.*s\"", (int)IOG_MIN(bad, (size_t)40), t);
		return;
	}
	/* digits only: the integer itself, as long as it fits */
	uint64_t v = 0;
	p->exact = 1;
	for (i = hex ? 2 : 0; i < n && p->exact; i++) {
		unsigned d = is_digit(t[i])                                 ? (unsigned)(t[i] - '0')
			     : hex && is_letter(t[i]) && (t[i] | 32) <= 'f' ? (unsigned)((t[i] | 32) - 'a' + 10)
									    : 99;
		if (d == 99 || __builtin_mul_overflow(v, (uint64_t)(hex ? 16 : 10), &v) || __builtin_add_overflow(v, (uint64_t)d, &v))
			p->exact = 0;
	}
	p->whole = v;
	p->token = T_NUMBER, p->len = (uint32_t)n;
}

static void lex_op(struct parser *p)
{
	static const struct {
		char text[3];
		uint8_t op;
	} ops[] = { { "<=", O_LE }, { ">=", O_GE }, { "~=", O_NE }, { "==", O_EQ }, { "//", O_IDIV }, { "<", O_LT }, { ">", O_GT },
		{ "+", O_ADD }, { "-", O_SUB }, { "*", O_MUL }, { "/", O_DIV }, { "%", O_MOD }, { "^", O_POW }, { "(", O_OPEN },
		{ ")", O_CLOSE }, { ",", O_COMMA } };
	static const struct {
		char text[3];
		const char *say;
	} wrong[] = { { "!=", "\"not equal\" is written ~=" }, { "&&", "write \"and\"" }, { "||", "write \"or\"" },
		{ "**", "the power is written ^" }, { "..", "there are no strings here" }, { "<<", "there are no bit operations here" },
		{ ">>", "there are no bit operations here" }, { "=", "\"equal\" is written ==" }, { "!", "write \"not\"" },
		{ "~", "\"not equal\" is written ~=" }, { "\"", "there are no strings here, compare numbers" },
		{ "'", "there are no strings here, compare numbers" }, { "&", "write \"and\"" }, { "|", "write \"or\"" },
		{ "[", "a component is written position.x" }, { "{", "use parentheses" } };
	const char *t = p->text + p->at;
	for (size_t i = 0; i < IOG_COUNT(wrong); i++) {
		size_t n = wrong[i].text[1] ? 2 : 1;
		if (n == 2 && (t[0] != wrong[i].text[0] || t[1] != wrong[i].text[1]))
			continue;
		if (n == 1 && (t[0] != wrong[i].text[0] || ((t[0] == '=' || t[0] == '~') && t[1] == '=')))
			continue;
		FAIL(p, p->at + 1, "unexpected %.*s; %s", (int)n, t, wrong[i].say);
		return;
	}
	for (size_t i = 0; i < IOG_COUNT(ops); i++) {
		size_t n = ops[i].text[1] ? 2 : 1;
		if (memcmp(t, ops[i].text, n) == 0) {
			p->token = T_OP, p->op = ops[i].op, p->len = (uint32_t)n;
			return;
		}
	}
	if (t[0] >= 32 && t[0] < 127)
		FAIL(p, p->at + 1, "unexpected character \"%c\"", t[0]);
	else
		FAIL(p, p->at + 1, "unexpected byte 0x%x", (unsigned)(unsigned char)t[0]);
}

static void next(struct parser *p)
{
	while (p->text[p->at] == ' ' || p->text[p->at] == '\t' || p->text[p->at] == '\n' || p->text[p->at] == '\r')
		p->at++;
	const char *t = p->text + p->at;
	p->from = p->at, p->len = 0, p->token = T_END;
	if (p->failed || !*t)
		return;
	if (is_digit(*t) || (*t == '.' && is_digit(t[1]))) {
		lex_number(p);
	} else if (is_letter(*t)) {
		while (is_letter(t[p->len]) || is_digit(t[p->len]) || (t[p->len] == '.' && is_letter(t[p->len + 1])))
			p->len++;
		p->token = T_NAME;
		static const uint8_t words[] = { O_OR, O_AND, O_NOT };
		for (size_t i = 0; i < 3; i++)
			if (iog_strlen(op_text[words[i]]) == p->len && memcmp(t, op_text[words[i]], p->len) == 0)
				p->token = T_OP, p->op = words[i];
	} else {
		lex_op(p);
	}
	p->at += p->len;
	if (p->failed)
		p->token = T_END;
}
static bool is_op(const struct parser *p, unsigned op) { return p->token == T_OP && p->op == op; }

/* ---- nodes ---- */

static int add(struct parser *p, uint32_t column, enum kind kind)
{
	if (p->n_nodes == NODES)
		return FAIL(p, column, "the expression is too long");
	p->node[p->n_nodes] = (struct node){ .kind = (uint8_t)kind, .a = -1, .b = -1, .c = -1, .slot = -1, .column = (int32_t)column };
	return p->n_nodes++;
}
static int add_number(struct parser *p, uint32_t column, double k)
{
	int i = add(p, column, N_NUMBER);
	if (i >= 0)
		p->node[i].k = k;
	return i;
}
static int add_truth(struct parser *p, uint32_t column, bool v)
{
	int i = add(p, column, N_TRUTH);
	if (i >= 0)
		p->node[i].k = v, p->node[i].is_bool = 1;
	return i;
}

static void dims_text(const struct parser *p, unsigned shape, char *dst, size_t size)
{
	size_t n = 0;
	dst[0] = 0;
	for (unsigned i = 0; shape && i < p->shape[shape - 1].n && n + 1 < size; i++)
		n += (size_t)iog_format(dst + n, size - n, "%s%s", i ? "," : "", p->s->dim[p->shape[shape - 1].dim[i]].name);
}

/* Common shape of two operands; record-scope values go with any. */
static int join_shapes(struct parser *p, uint32_t column, unsigned a, unsigned b)
{
	if (a == b || !b)
		return (int)a;
	if (!a)
		return (int)b;
	char x[100], y[100];
	dims_text(p, a, x, sizeof x), dims_text(p, b, y, sizeof y);
	return FAIL(p, column, "the two sides range over different dimensions, [%s] and [%s]; reduce one of them, as in max(...)", x, y);
}

static bool is_const(const struct node *n) { return n->kind == N_NUMBER || n->kind == N_TRUTH; }

/* Runs one operation on constants, with the kernels that would run it on data. */
static void fold_const(struct node *r, unsigned op, const struct node *a, const struct node *b, const struct node *c)
{
	double x[8] __attribute__((aligned(IOG_ALIGN))), y[8] __attribute__((aligned(IOG_ALIGN))), d[8] __attribute__((aligned(IOG_ALIGN)));
	uint64_t m[EXPR_WORDS] = { c && c->k != 0 ? ~0ull : 0 }, t[EXPR_WORDS];
	for (int i = 0; i < 8; i++)
		x[i] = a->k, y[i] = b ? b->k : 0;
	const bool p = a->k != 0, q = b && b->k != 0;
	if (op >= X_NOT) {
		r->k = op == X_NOT ? !p : op == X_AND ? p && q : op == X_OR ? p || q : p == q;
	} else if (op >= X_LT) {
		iog_expr_base.compare(op, t, x, 7, y, 7, 8);
		r->k = (double)(t[0] & 1);
		if (b && a->exact && b->exact)
			r->k = op == X_LT ? a->whole < b->whole : op == X_LE ? a->whole <= b->whole : a->whole == b->whole;
	} else {
		iog_expr_base.number(op, d, x, 7, y, 7, m, 8);
		r->k = d[0];
	}
	r->kind = r->is_bool ? N_TRUTH : N_NUMBER;
	/* sums and differences of integers stay exact, for comparisons with 64-bit variables */
	const __int128 limit = (__int128)1 << 64;
	if (a->exact && (op == X_NEG || (b && b->exact && (op == X_ADD || op == X_SUB)))) {
		__int128 v = op == X_NEG ? -a->whole : op == X_ADD ? a->whole + b->whole : a->whole - b->whole;
		if (v > -limit && v < limit) {
			r->whole = v, r->exact = 1;
			double magnitude = (double)(uint64_t)(v < 0 ? -v : v);
			r->k = v < 0 || (v == 0 && r->k != 0) ? -magnitude : v == 0 ? r->k : magnitude;
		}
	}
	r->a = r->b = r->c = -1;
}

static int add_op(struct parser *p, uint32_t column, unsigned op, int a, int b, int c)
{
	if (p->failed || a < 0)
		return -1;
	int shape = p->node[a].shape;
	if (b >= 0)
		shape = join_shapes(p, column, (unsigned)shape, p->node[b].shape);
	if (c >= 0 && shape >= 0)
		shape = join_shapes(p, column, (unsigned)shape, p->node[c].shape);
	int i = shape < 0 ? -1 : add(p, column, N_OP);
	if (i < 0)
		return -1;
	struct node *r = &p->node[i], *na = &p->node[a], *nb = b >= 0 ? &p->node[b] : NULL, *nc = c >= 0 ? &p->node[c] : NULL;
	r->op = (uint8_t)op, r->shape = (uint8_t)shape, r->is_bool = expr_gives_truth(op);
	r->a = (int16_t)a, r->b = (int16_t)b, r->c = (int16_t)c;
	if (nc && is_const(nc))
		return nc->k != 0 ? a : b;
	if (is_const(na) && (!nb || is_const(nb)) && (!nc || is_const(nc)))
		fold_const(r, op, na, nb, nc);
	return i;
}

/* ---- intervals ---- */

/* The f32 next to f: upwards (dir > 0) or downwards. f is not NaN; infinities only step inwards. */
static float step_f32(float f, int dir)
{
	uint32_t u;
	if (f == 0)
		return dir > 0 ? 0x1p-149f : -0x1p-149f;
	memcpy(&u, &f, 4);
	if ((dir > 0) == (f > 0))
		u += f - f == 0;
	else
		u--;
	memcpy(&f, &u, 4);
	return f;
}
static double step_f64(double f, int dir)
{
	uint64_t u;
	if (f == 0)
		return dir > 0 ? 0x1p-1074 : -0x1p-1074;
	memcpy(&u, &f, 8);
	if ((dir > 0) == (f > 0))
		u += f - f == 0;
	else
		u--;
	memcpy(&f, &u, 8);
	return f;
}

static void float_range(struct node *r, unsigned op, double c, bool narrow)
{
	const double inf = __builtin_inf();
	double lo = -inf, hi = inf;
	bool none = c != c;
	if (narrow) {
		float f = (float)c;
		/* smallest f32 not below c (above c for >), largest not above (below for <) */
		float up = (double)f < c ? step_f32(f, 1) : f, down = (double)f > c ? step_f32(f, -1) : f;
		if (op == O_GT && (double)up == c)
			none |= c == inf, up = step_f32(up, 1);
		if (op == O_LT && (double)down == c)
			none |= c == -inf, down = step_f32(down, -1);
		if (op == O_GT || op == O_GE || op == O_EQ)
			lo = (double)up;
		if (op == O_LT || op == O_LE || op == O_EQ)
			hi = (double)down;
	} else {
		if (op == O_GT || op == O_GE || op == O_EQ)
			lo = op == O_GT ? step_f64(c, 1) : c;
		if (op == O_LT || op == O_LE || op == O_EQ)
			hi = op == O_LT ? step_f64(c, -1) : c;
		none |= (op == O_GT && c == inf) || (op == O_LT && c == -inf);
	}
	if (none)
		lo = inf, hi = -inf;
	if (narrow) {
		float l = (float)lo, h = (float)hi;
		uint32_t ul, uh;
		memcpy(&ul, &l, 4), memcpy(&uh, &h, 4);
		r->lo = ul, r->hi = uh;
	} else {
		memcpy(&r->lo, &lo, 8), memcpy(&r->hi, &hi, 8);
	}
}

static bool is_signed(unsigned dtype) { return dtype >= IOG_I8 && dtype <= IOG_I64; }
static bool is_integer(unsigned dtype) { return dtype >= IOG_I8 && dtype <= IOG_U64; }

static void integer_range(struct node *r, unsigned op, const struct node *c, unsigned dtype)
{
	const unsigned bits = 8 * iog_dtype_size(dtype);
	const __int128 one = 1, far = one << 66, min = is_signed(dtype) ? -(one << (bits - 1)) : 0,
		       max = is_signed(dtype) ? (one << (bits - 1)) - 1 : (one << bits) - 1;
	__int128 down = c->whole, up = c->whole, lo = min, hi = max;
	if (!c->exact) {
		double f = iog_floor(c->k);
		double m = f < 0 ? -f : f;
		down = !(m < 0x1p64) ? (f < 0 ? -far : far) : f < 0 ? -(__int128)(uint64_t)m : (__int128)(uint64_t)m;
		up = f == c->k ? down : down + 1;
	}
	if (op == O_GT || op == O_GE || op == O_EQ)
		lo = op == O_GT ? down + 1 : up;
	if (op == O_LT || op == O_LE || op == O_EQ)
		hi = op == O_LT ? up - 1 : down;
	lo = lo < min ? min : lo, hi = hi > max ? max : hi;
	if (lo > hi || c->k != c->k) /* never */
		lo = max, hi = min;
	r->lo = (uint64_t)lo, r->hi = (uint64_t)hi;
}

static unsigned dtype_of(const struct parser *p, const struct node *n) { return p->e->input[n->input].dtype; }

/* Both intervals at once, for `x > a and x < b`: as values of the variable's type. */
static void intersect(const struct parser *p, struct node *a, const struct node *b)
{
	const unsigned dt = dtype_of(p, a);
	if (dt == IOG_F32) {
		float l[2], h[2];
		uint32_t v[4] = { (uint32_t)a->lo, (uint32_t)b->lo, (uint32_t)a->hi, (uint32_t)b->hi };
		memcpy(l, v, 8), memcpy(h, v + 2, 8);
		a->lo = v[l[1] > l[0]], a->hi = v[2 + (h[1] < h[0])];
	} else if (dt == IOG_F64) {
		double l[2], h[2];
		uint64_t v[4] = { a->lo, b->lo, a->hi, b->hi };
		memcpy(l, v, 16), memcpy(h, v + 2, 16);
		a->lo = v[l[1] > l[0]], a->hi = v[2 + (h[1] < h[0])];
	} else if (is_signed(dt)) {
		a->lo = (uint64_t)IOG_MAX((int64_t)a->lo, (int64_t)b->lo), a->hi = (uint64_t)IOG_MIN((int64_t)a->hi, (int64_t)b->hi);
	} else {
		a->lo = IOG_MAX(a->lo, b->lo), a->hi = IOG_MIN(a->hi, b->hi);
	}
}

/* input OP constant. */
static int add_range(struct parser *p, uint32_t column, unsigned op, int input, int constant)
{
	int i = add(p, column, N_RANGE);
	if (i < 0)
		return -1;
	struct node *r = &p->node[i];
	const struct node *in = &p->node[input], *c = &p->node[constant];
	const unsigned dt = dtype_of(p, in);
	r->input = in->input, r->shape = in->shape, r->is_bool = 1, r->negated = op == O_NE;
	op = op == O_NE ? O_EQ : op;
	if (is_integer(dt))
		integer_range(r, op, c, dt);
	else
		float_range(r, op, c->k, dt == IOG_F32);
	return i;
}

/* ---- operators ---- */

static int want(struct parser *p, int i, bool truth, const char *who)
{
	if (p->failed || i < 0)
		return -1;
	if (p->node[i].is_bool == truth)
		return 0;
	if (truth)
		return FAIL(p, p->node[i].column, "%s needs a condition, this is a number; write a comparison such as ... > 0", who);
	return FAIL(p, p->node[i].column, "%s needs a number, this is a condition; if(condition, 1, 0) makes one of it", who);
}

static int compare(struct parser *p, uint32_t column, unsigned op, int a, int b)
{
	struct node *x = &p->node[a], *y = &p->node[b];
	if (x->is_bool && y->is_bool && (op == O_EQ || op == O_NE)) {
		int r = add_op(p, column, X_SAME, a, b, -1);
		return op == O_NE ? add_op(p, column, X_NOT, r, -1, -1) : r;
	}
	if (want(p, a, false, op_text[op]) || want(p, b, false, op_text[op]))
		return -1;
	static const uint8_t turned[] = { [O_LT] = O_GT, [O_GT] = O_LT, [O_LE] = O_GE, [O_GE] = O_LE, [O_NE] = O_NE, [O_EQ] = O_EQ };
	if (x->kind == N_NUMBER && y->kind == N_INPUT) {
		int t = a;
		a = b, b = t, op = turned[op], x = &p->node[a], y = &p->node[b];
	}
	if (x->kind == N_INPUT && y->kind == N_NUMBER && dtype_of(p, x) != IOG_F16 && !p->e->input[x->input].scaled)
		return add_range(p, column, op, a, b);
	switch (op) {
	case O_LT: return add_op(p, column, X_LT, a, b, -1);
	case O_LE: return add_op(p, column, X_LE, a, b, -1);
	case O_GT: return add_op(p, column, X_LT, b, a, -1);
	case O_GE: return add_op(p, column, X_LE, b, a, -1);
	case O_EQ: return add_op(p, column, X_EQ, a, b, -1);
	default: return add_op(p, column, X_NOT, add_op(p, column, X_EQ, a, b, -1), -1, -1);
	}
}

/* The interval on the same variable among the terms of an and-chain, -1: none. */
static int find_range(const struct parser *p, int chain, int range)
{
	while (chain >= 0) {
		const struct node *n = &p->node[chain], *leaf = n;
		if (n->kind == N_OP && n->op == X_AND)
			leaf = &p->node[n->b];
		if (leaf->kind == N_RANGE && !leaf->negated && leaf->input == p->node[range].input)
			return (int)(leaf - p->node);
		chain = n->kind == N_OP && n->op == X_AND ? n->a : -1;
	}
	return -1;
}

static int binary(struct parser *p, uint32_t column, unsigned op, int a, int b)
{
	if (p->failed || a < 0 || b < 0)
		return -1;
	if (op == O_AND || op == O_OR) {
		if (want(p, a, true, op_text[op]) || want(p, b, true, op_text[op]))
			return -1;
		if (op == O_AND && p->node[b].kind == N_RANGE && !p->node[b].negated) {
			int same = find_range(p, a, b);
			if (same >= 0) {
				intersect(p, &p->node[same], &p->node[b]);
				return a;
			}
		}
		return add_op(p, column, op == O_AND ? X_AND : X_OR, a, b, -1);
	}
	if (op >= O_LT && op <= O_EQ)
		return compare(p, column, op, a, b);
	if (want(p, a, false, op_text[op]) || want(p, b, false, op_text[op]))
		return -1;
	static const uint8_t code[] = {
		[O_ADD] = X_ADD, [O_SUB] = X_SUB, [O_MUL] = X_MUL, [O_DIV] = X_DIV, [O_IDIV] = X_IDIV, [O_MOD] = X_MOD, [O_POW] = X_POW
	};
	if (op == O_POW && p->node[b].kind == N_NUMBER && p->node[b].k == 2)
		return add_op(p, column, X_MUL, a, a, -1);
	return add_op(p, column, code[op], a, b, -1);
}

/* ---- names ---- */

static int input(struct parser *p, uint32_t column, unsigned var, int component, unsigned scaled, bool element)
{
	struct iog_expr *e = p->e;
	const struct iog_expr_input want_in = {
		.element = element, .dtype = p->s->var[var].dtype, .var = (uint8_t)var, .scaled = (uint8_t)scaled, .component = component
	};
	for (int i = 0; i < e->n_inputs; i++)
		if (memcmp(&e->input[i], &want_in, sizeof want_in) == 0)
			return i;
	if (e->n_inputs == IOG_EXPR_INPUTS)
		return FAIL(p, column, "more than %d different variables", (int)IOG_EXPR_INPUTS);
	e->input[e->n_inputs] = want_in;
	return e->n_inputs++;
}

static int shape_of(struct parser *p, uint32_t column, const struct iog_vardef *v, unsigned n)
{
	for (int i = 0; i < p->n_shapes; i++)
		if (p->shape[i].n == n && memcmp(p->shape[i].dim, v->dim, n) == 0)
			return i + 1;
	if (p->n_shapes == SHAPES)
		return FAIL(p, column, "the variables have too many different shapes");
	p->shape[p->n_shapes].n = (uint8_t)n;
	memcpy(p->shape[p->n_shapes].dim, v->dim, n);
	return ++p->n_shapes;
}

static bool uses_box(struct parser *p, uint32_t column, const char *who)
{
	int box = iog_schema_var(p->s, "box"), origin = iog_schema_var(p->s, "box_origin");
	if (box < 0) {
		FAIL(p, column, "%s needs the box, and this stream has no variable \"box\"", who);
		return false;
	}
	p->e->uses |= IOG_EXPR_USES_BOX;
	p->e->box_vars |= 1ull << box | (origin >= 0 ? 1ull << origin : 0);
	return true;
}

static int variable(struct parser *p, uint32_t column, struct iog_component c)
{
	const struct iog_vardef *v = &p->s->var[c.var];
	if (v->n_codecs)
		return FAIL(p, column, "\"%s\" is encoded (%s); decode it first", v->name, iog_codec_name(v->codec[v->n_codecs - 1]));
	if (v->dtype == IOG_C64 || v->dtype == IOG_C128 || v->dtype == IOG_BYTE || v->dtype == IOG_NONE)
		return FAIL(p, column, "\"%s\" is of type %s; expressions compute with real numbers", v->name, iog_dtype_name(v->dtype));
	if (c.scaled && !uses_box(p, column, "a scaled coordinate"))
		return -1;
	const unsigned n = v->rank - (c.index >= 0 ? 1u : 0u);
	if (c.scaled && !n)
		return FAIL(p, column, "\"%s\" is not a list of positions", v->name);
	const int in = input(p, column, (unsigned)c.var, c.index, c.scaled ? (unsigned)c.index + 1 : 0, n > 0);
	const int shape = n && in >= 0 ? shape_of(p, column, v, n) : 0;
	if (in < 0 || shape < 0)
		return -1;
	const int i = add(p, column, n ? (v->dtype == IOG_BOOL ? N_RANGE : N_INPUT) : N_RECORD);
	if (i < 0)
		return -1;
	struct node *r = &p->node[i];
	r->input = (uint8_t)in, r->shape = (uint8_t)shape, r->op = X_SCALAR, r->is_bool = v->dtype == IOG_BOOL;
	r->lo = 1, r->hi = 255;
	return i;
}

static const char *const box_names[B_COUNT] = { "box.lx", "box.ly", "box.lz", "box.xlo", "box.ylo", "box.zlo", "box.xhi", "box.yhi",
	"box.zhi", "box.xy", "box.xz", "box.yz", "box.volume" };

static const struct function {
	char name[10];
	uint8_t op, min, max;
	int8_t reduce;
} functions[] = {
	{ "sqrt", X_SQRT, 1, 1, -1 },
	{ "cbrt", X_CBRT, 1, 1, -1 },
	{ "exp", X_EXP, 1, 1, -1 },
	{ "log", X_LOG, 1, 1, -1 },
	{ "log2", X_LOG2, 1, 1, -1 },
	{ "log10", X_LOG10, 1, 1, -1 },
	{ "sin", X_SIN, 1, 1, -1 },
	{ "cos", X_COS, 1, 1, -1 },
	{ "tan", X_TAN, 1, 1, -1 },
	{ "asin", X_ASIN, 1, 1, -1 },
	{ "acos", X_ACOS, 1, 1, -1 },
	{ "atan", X_ATAN, 1, 1, -1 },
	{ "atan2", X_ATAN2, 2, 2, -1 },
	{ "sinh", X_SINH, 1, 1, -1 },
	{ "cosh", X_COSH, 1, 1, -1 },
	{ "tanh", X_TANH, 1, 1, -1 },
	{ "abs", X_ABS, 1, 1, -1 },
	{ "floor", X_FLOOR, 1, 1, -1 },
	{ "ceil", X_CEIL, 1, 1, -1 },
	{ "round", X_ROUND, 1, 1, -1 },
	{ "sign", X_SIGN, 1, 1, -1 },
	{ "min", X_MIN, 1, 8, R_MIN },
	{ "max", X_MAX, 1, 8, R_MAX },
	{ "pow", X_POW, 2, 2, -1 },
	{ "hypot", X_HYPOT, 2, 2, -1 },
	{ "isnan", X_ISNAN, 1, 1, -1 },
	{ "isfinite", X_ISFINITE, 1, 1, -1 },
	{ "clamp", X_OPS, 3, 3, -1 },
	{ "if", X_SELECT, 3, 3, -1 },
	{ "sum", X_OPS, 1, 1, R_SUM },
	{ "mean", X_OPS, 1, 1, R_MEAN },
	{ "count", X_OPS, 1, 1, R_COUNT },
	{ "any", X_OPS, 1, 1, R_ANY },
	{ "all", X_OPS, 1, 1, R_ALL },
};

/* The nearest thing that could have been meant, or NULL. */
static const char *nearest(const struct parser *p, const char *name, bool call)
{
	static const char *const fixed[] = { "step", "time", "pi", "true", "false", "and", "or", "not" };
	static const char *const alias[] = { "x", "y", "z", "xs", "ys", "zs", "vx", "vy", "vz", "fx", "fy", "fz", "ix", "iy", "iz" };
	const char *all[NAMES];
	size_t n = 0;
	for (size_t i = 0; i < IOG_COUNT(functions) && call; i++)
		all[n++] = functions[i].name;
	for (size_t i = 0; i < p->s->n_vars && !call; i++)
		all[n++] = p->s->var[i].name;
	for (size_t i = 0; i < IOG_COUNT(alias) && !call; i++)
		if (iog_schema_component(p->s, alias[i], iog_strlen(alias[i])).var >= 0)
			all[n++] = alias[i];
	for (size_t i = 0; i < IOG_COUNT(fixed) && !call; i++)
		all[n++] = fixed[i];
	for (size_t i = 0; i < B_COUNT && !call && iog_schema_var(p->s, "box") >= 0; i++)
		all[n++] = box_names[i];
	for (size_t i = 0; i < p->n_live && n < NAMES && !call; i++)
		all[n++] = p->live[i].name;
	return iog_nearest(name, all, n);
}

static int name_value(struct parser *p, const char *name, uint32_t column)
{
	const size_t len = iog_strlen(name);
	for (uint32_t i = 0; i < p->n_live; i++)
		if (iog_streq(p->live[i].name, name)) {
			p->e->uses |= IOG_EXPR_USES_LIVE;
			return add_number(p, column, p->live[i].value);
		}
	if (iog_streq(name, "true") || iog_streq(name, "false"))
		return add_truth(p, column, name[0] == 't');
	if (iog_streq(name, "pi"))
		return add_number(p, column, 0x1.921fb54442d18p+1);
	if (iog_streq(name, "step") || iog_streq(name, "time")) {
		int i = add(p, column, N_RECORD);
		if (i >= 0)
			p->node[i].op = name[0] == 's' ? X_STEP : X_TIME;
		p->e->uses |= IOG_EXPR_USES_HEAD;
		return i;
	}
	for (unsigned q = 0; q < B_COUNT; q++)
		if (iog_streq(name, box_names[q])) {
			int i = uses_box(p, column, name) ? add(p, column, N_RECORD) : -1;
			if (i >= 0)
				p->node[i].op = X_BOX, p->node[i].input = (uint8_t)q;
			return i;
		}
	struct iog_component c = iog_schema_component(p->s, name, len);
	if (c.var >= 0)
		return variable(p, column, c);
	for (size_t i = 0; i < IOG_COUNT(functions); i++)
		if (iog_streq(functions[i].name, name))
			return FAIL(p, column, "\"%s\" is a function; write %s(...)", name, name);
	const char *near = nearest(p, name, false);
	if (near)
		return FAIL(p, column, "unknown name \"%s\"; did you mean \"%s\"?", name, near);
	char have[240] = "";
	int at = 0;
	for (uint32_t v = 0; v < p->s->n_vars && at < (int)sizeof have - IOG_NAME - 8; v++)
		at += iog_format(have + at, sizeof have - (size_t)at, "%s%s", v ? ", " : "", p->s->var[v].name);
	return FAIL(p, column, "unknown name \"%s\"; the stream has %s", name, at ? have : "no variables");
}

static int expression(struct parser *p, int limit);

static int reduction(struct parser *p, const struct function *f, uint32_t column, int a)
{
	struct node *n = &p->node[a];
	int kind = f->reduce;
	if (!n->shape)
		return FAIL(p, n->column, "%s of one argument needs a value per element, this has one value per record", f->name);
	if ((kind == R_ANY || kind == R_ALL) && want(p, a, true, f->name))
		return -1;
	if ((kind == R_MIN || kind == R_MAX) && want(p, a, false, f->name))
		return -1;
	if (n->is_bool)
		kind = kind == R_SUM ? R_COUNT : kind == R_MEAN ? R_FRACTION : kind;
	else if (kind == R_COUNT)
		kind = R_ELEMS;
	int i = add(p, column, N_REDUCE);
	if (i < 0)
		return -1;
	p->node[i].op = (uint8_t)kind, p->node[i].a = (int16_t)a, p->node[i].is_bool = kind == R_ANY || kind == R_ALL;
	p->e->uses |= IOG_EXPR_USES_REDUCE;
	return i;
}

static int call(struct parser *p, const char *name, uint32_t column)
{
	const struct function *f = NULL;
	for (size_t i = 0; i < IOG_COUNT(functions) && !f; i++)
		if (iog_streq(functions[i].name, name))
			f = &functions[i];
	if (!f) {
		const char *near = nearest(p, name, true);
		return near ? FAIL(p, column, "unknown function \"%s\"; did you mean \"%s\"?", name, near)
			    : FAIL(p, column, "unknown function \"%s\"", name);
	}
	int arg[8], n = 0;
	next(p);
	while (!is_op(p, O_CLOSE)) {
		if (n == f->max)
			return FAIL(p, p->from + 1, "too many arguments of %s, it takes %d", name, (int)f->max);
		if ((arg[n++] = expression(p, 0)) < 0)
			return -1;
		if (is_op(p, O_COMMA))
			next(p);
		else if (!is_op(p, O_CLOSE))
			return FAIL(p, p->from + 1, "expected , or ) in the arguments of %s", name);
	}
	next(p);
	if (n < f->min)
		return FAIL(p, column, "%s takes %d argument%s, got %d", name, (int)f->min, f->min == 1 ? "" : "s", n);
	if (n == 1 && f->reduce >= 0)
		return reduction(p, f, column, arg[0]);
	if (f->op == X_SELECT) {
		if (want(p, arg[0], true, "the first argument of if"))
			return -1;
		struct node *a = &p->node[arg[1]], *b = &p->node[arg[2]];
		if (a->is_bool && b->is_bool)
			return add_op(p, column, X_CHOOSE, arg[1], arg[2], arg[0]);
		if (want(p, arg[1], false, "if") || want(p, arg[2], false, "if"))
			return -1;
		return add_op(p, column, X_SELECT, arg[1], arg[2], arg[0]);
	}
	for (int i = 0; i < n; i++)
		if (want(p, arg[i], false, name))
			return -1;
	if (iog_streq(name, "clamp"))
		return add_op(p, column, X_MIN, add_op(p, column, X_MAX, arg[0], arg[1], -1), arg[2], -1);
	int r = add_op(p, column, f->op, arg[0], n > 1 ? arg[1] : -1, -1);
	for (int i = 2; i < n; i++)
		r = add_op(p, column, f->op, r, arg[i], -1);
	return r;
}

/* ---- grammar ---- */

static int primary(struct parser *p)
{
	const uint32_t column = p->from + 1;
	if (p->token == T_NUMBER) {
		int i = add_number(p, column, p->number);
		if (i >= 0)
			p->node[i].exact = p->exact, p->node[i].whole = p->whole;
		next(p);
		return i;
	}
	if (p->token == T_NAME) {
		char name[2 * IOG_NAME];
		if (p->len >= sizeof name)
			return FAIL(p, column, "name longer than %d characters", (int)sizeof name - 1);
		memcpy(name, p->text + p->from, p->len);
		name[p->len] = 0;
		next(p);
		return is_op(p, O_OPEN) ? call(p, name, column) : name_value(p, name, column);
	}
	if (is_op(p, O_OPEN)) {
		next(p);
		int i = expression(p, 0);
		if (i >= 0 && !is_op(p, O_CLOSE))
			return FAIL(p, p->from + 1, "expected ) for the ( at column %u", column);
		next(p);
		return i;
	}
	if (p->token == T_END)
		return FAIL(p, column, "the expression ends where a value is expected");
	return FAIL(p, column, "expected a value, got \"%s\"", op_text[p->op]);
}

/* Binding strengths as in Lua: left and right. */
static const struct {
	uint8_t left, right;
} strength[] = { [O_OR] = { 1, 1 },
	[O_AND] = { 2, 2 },
	[O_LT] = { 3, 3 },
	[O_GT] = { 3, 3 },
	[O_LE] = { 3, 3 },
	[O_GE] = { 3, 3 },
	[O_NE] = { 3, 3 },
	[O_EQ] = { 3, 3 },
	[O_ADD] = { 10, 10 },
	[O_SUB] = { 10, 10 },
	[O_MUL] = { 11, 11 },
	[O_DIV] = { 11, 11 },
	[O_IDIV] = { 11, 11 },
	[O_MOD] = { 11, 11 },
	[O_POW] = { 14, 13 } };
enum { UNARY = 12 };

static int expression(struct parser *p, int limit)
{
	if (p->failed)
		return -1;
	if (p->depth == DEPTH)
		return FAIL(p, p->from + 1, "nested too deeply");
	p->depth++;
	int a;
	bool compared = false;
	if (is_op(p, O_SUB) || is_op(p, O_NOT)) {
		const uint32_t column = p->from + 1;
		const unsigned op = p->op;
		next(p);
		a = expression(p, UNARY);
		a = want(p, a, op == O_NOT, op_text[op]) ? -1 : add_op(p, column, op == O_NOT ? X_NOT : X_NEG, a, -1, -1);
	} else {
		a = primary(p);
	}
	while (a >= 0 && p->token == T_OP && p->op <= O_POW && strength[p->op].left > limit) {
		const unsigned op = p->op;
		const uint32_t column = p->from + 1;
		const bool comparison = op >= O_LT && op <= O_EQ;
		if (comparison && compared) {
			a = FAIL(p, column, "comparisons do not chain; write a < b and b < c");
			break;
		}
		compared = comparison;
		next(p);
		a = binary(p, column, op, a, expression(p, strength[op].right));
	}
	p->depth--;
	return p->failed ? -1 : a;
}

/* ---- code ---- */

static struct iog_expr_code *emit(struct parser *p, unsigned op, unsigned dst, unsigned a, unsigned b, unsigned c)
{
	if (p->e->n_ops == IOG_EXPR_OPS) {
		FAIL(p, 1, "the expression is too long");
		return NULL;
	}
	struct iog_expr_code *code = &p->e->code[p->e->n_ops++];
	*code = (struct iog_expr_code){ .op = (uint8_t)op, .dst = (uint8_t)dst, .a = (uint8_t)a, .b = (uint8_t)b, .c = (uint8_t)c };
	return code;
}

static int take_register(struct parser *p, bool truth)
{
	uint32_t *used = truth ? &p->truth_regs : &p->number_regs;
	for (int i = 0; i < IOG_EXPR_REGS; i++)
		if (!(*used & 1u << i)) {
			*used |= 1u << i;
			return i;
		}
	return FAIL(p, 1, "the expression is too complex; put part of it into a variable of its own");
}
static void give_register(struct parser *p, int operand, bool truth)
{
	if (operand >= 0 && operand < EXPR_SLOT)
		*(truth ? &p->truth_regs : &p->number_regs) &= ~(1u << operand);
}

/* Registers a subtree needs. */
static int need(const struct parser *p, int i)
{
	if (i < 0 || !p->node[i].shape)
		return 0;
	const struct node *n = &p->node[i];
	if (n->kind != N_OP)
		return 1;
	int a = need(p, n->a), b = n->b == n->a ? 0 : need(p, n->b), c = need(p, n->c), most = IOG_MAX(IOG_MAX(a, b), c);
	return IOG_MAX(1, most + ((a == most) + (b == most) + (c == most) > 1));
}

/* Code for an element-scope node, or the slot of a record-scope one. Returns the operand. */
static int element_code(struct parser *p, int i)
{
	struct node *n = &p->node[i];
	int reg;
	if (p->failed)
		return -1;
	if (!n->shape)
		return n->slot + EXPR_SLOT;
	if (n->kind == N_INPUT || n->kind == N_RANGE) {
		if ((reg = take_register(p, n->is_bool)) < 0)
			return -1;
		if (n->kind == N_RANGE && p->e->n_ranges == IOG_EXPR_RANGES)
			return FAIL(p, n->column, "more than %d comparisons", (int)IOG_EXPR_RANGES);
		if (n->kind == N_RANGE)
			p->e->range[p->e->n_ranges++] = (struct iog_expr_range){ n->lo, n->hi };
		emit(p, n->kind == N_INPUT ? X_LOAD : X_RANGE, (unsigned)reg, n->input, n->kind == N_RANGE ? p->e->n_ranges - 1u : 0,
			n->negated);
		return reg;
	}
	/* the child that needs most registers first; a child that is the same value is computed once */
	const int child[3] = { n->a, n->b, n->c };
	int operand[3] = { -1, -1, -1 };
	const bool twice = n->b >= 0 && (n->a == n->b || (p->node[n->a].kind == N_INPUT && p->node[n->b].kind == N_INPUT &&
								 p->node[n->a].input == p->node[n->b].input));
	for (int round = 0; round < 3; round++) {
		int best = -1;
		for (int j = 0; j < 3; j++)
			if (child[j] >= 0 && operand[j] < 0 && !(j == 1 && twice) && (best < 0 || need(p, child[j]) > need(p, child[best])))
				best = j;
		if (best >= 0 && (operand[best] = element_code(p, child[best])) < 0)
			return -1;
	}
	if (twice)
		operand[1] = operand[0];
	for (int j = 0; j < 3; j++)
		if (child[j] >= 0 && !(j == 1 && twice))
			give_register(p, operand[j], p->node[child[j]].is_bool);
	if ((reg = take_register(p, n->is_bool)) < 0)
		return -1;
	emit(p, n->op, (unsigned)reg, (unsigned)operand[0], (unsigned)IOG_MAX(operand[1], 0), (unsigned)IOG_MAX(operand[2], 0));
	return reg;
}

static void hoist(struct parser *p, int i);

/* Code that computes a record-scope node once per record. */
static void record_code(struct parser *p, int i)
{
	struct node *n = &p->node[i];
	struct iog_expr *e = p->e;
	if (p->failed || n->slot >= 0)
		return;
	const int child[3] = { n->a, n->b, n->c };
	unsigned operand[3] = { 0, 0, 0 };
	for (int j = 0; j < 3; j++)
		if (child[j] >= 0)
			hoist(p, child[j]);
	if (p->failed)
		return;
	if (n->kind == N_NUMBER)
		for (unsigned k = 0; k < e->n_ops; k++)
			if (e->code[k].op == X_CONST && memcmp(&e->code[k].k, &n->k, sizeof n->k) == 0) {
				n->slot = e->code[k].dst;
				return;
			}
	if (e->n_slots == IOG_EXPR_SLOTS) {
		FAIL(p, n->column, "more than %d constants and record values", (int)IOG_EXPR_SLOTS);
		return;
	}
	const unsigned slot = e->n_slots++;
	struct iog_expr_code *c;
	switch (n->kind) {
	case N_NUMBER:
	case N_TRUTH:
		if ((c = emit(p, n->kind == N_NUMBER ? X_CONST : X_TRUTH, slot, 0, 0, 0)))
			c->k = n->k;
		break;
	case N_RECORD: emit(p, n->op, slot, n->input, 0, 0); break;
	case N_REDUCE: {
		const unsigned head = e->n_ops;
		emit(p, X_REDUCE, slot, n->op, 0, 0);
		const int result = element_code(p, n->a);
		if (p->failed)
			return;
		give_register(p, result, p->node[n->a].is_bool);
		e->code[head].b = (uint8_t)(e->n_ops - head - 1);
		e->code[head].c = (uint8_t)result;
		break;
	}
	default:
		for (int j = 0; j < 3; j++)
			operand[j] = child[j] >= 0 ? (unsigned)p->node[child[j]].slot + EXPR_SLOT : EXPR_SLOT;
		emit(p, n->op, slot, operand[0], operand[1], operand[2]);
	}
	n->slot = (int16_t)slot;
}

/* Record-scope parts of a subtree come before the loop over elements. */
static void hoist(struct parser *p, int i)
{
	if (i < 0 || p->failed)
		return;
	struct node *n = &p->node[i];
	if (!n->shape) {
		record_code(p, i);
		return;
	}
	hoist(p, n->a);
	if (n->b != n->a)
		hoist(p, n->b);
	hoist(p, n->c);
}

int iog_expr_compile(struct iog_expr *e, const char *text, const struct iog_schema *s, const struct iog_live *live, uint32_t n_live,
	enum iog_expr_want wanted, struct iog_err *err)
{
	struct parser p; /* large, and only its used part is ever written */
	memset(e, 0, sizeof *e);
	memset(&p, 0, offsetof(struct parser, shape));
	p.number_regs = p.truth_regs = 0;
	p.e = e, p.text = text, p.s = s, p.live = live, p.n_live = n_live, p.err = err;
	if (iog_strlen(text) >= IOG_TEXT)
		return iog_fail(err, -EINVAL, "expression: longer than %d characters; split it", IOG_TEXT - 1);
	next(&p);
	if (p.token == T_END && !p.failed)
		return iog_fail(err, -EINVAL, "expression: it is empty; write a condition such as type == 2");
	int root = expression(&p, 0);
	if (root >= 0 && p.token != T_END)
		FAIL(&p, p.from + 1, "expected an operator or the end, got \"%.*s\"", (int)p.len, text + p.from);
	if (p.failed || root < 0)
		return -EINVAL;
	struct node *n = &p.node[root];
	if (wanted == IOG_WANT_BOOL && !n->is_bool)
		return iog_fail(err, -EINVAL, "expression: \"%s\" is a number; a condition is expected, such as ... > 0", text);
	if (wanted == IOG_WANT_NUMBER && n->is_bool)
		return iog_fail(
			err, -EINVAL, "expression: \"%s\" is a condition; a number is expected, if(condition, 1, 0) makes one of it", text);
	hoist(&p, root);
	e->main_at = e->n_ops;
	e->is_bool = n->is_bool;
	e->scope = n->shape ? IOG_SCOPE_ELEMENT : IOG_SCOPE_RECORD;
	if (n->shape) {
		e->n_dims = p.shape[n->shape - 1].n;
		memcpy(e->dim, p.shape[n->shape - 1].dim, e->n_dims);
	}
	e->result = p.failed ? 0 : (uint8_t)element_code(&p, root);
	return p.failed ? -EINVAL : 0;
}

uint64_t iog_expr_reads(const struct iog_expr *e)
{
	uint64_t mask = e->box_vars;
	for (unsigned i = 0; i < e->n_inputs; i++)
		mask |= 1ull << e->input[i].var;
	return mask;
}

/* ---- programs from elsewhere ---- */

static bool operand_valid(const struct iog_expr *e, unsigned operand, bool slot_only)
{
	return operand < EXPR_SLOT ? !slot_only && operand < IOG_EXPR_REGS : operand - EXPR_SLOT < e->n_slots;
}

/* Operations [from, to): of an element loop, which reads at least one variable, all of the same dimensions. */
static bool loop_valid(const struct iog_expr *e, const struct iog_schema *s, unsigned from, unsigned to)
{
	int lead = -1;
	for (unsigned i = from; i < to; i++) {
		const struct iog_expr_code *c = &e->code[i];
		if (c->dst >= IOG_EXPR_REGS)
			return false;
		if (c->op == X_LOAD || c->op == X_RANGE) {
			if (c->a >= e->n_inputs || !e->input[c->a].element ||
				(c->op == X_RANGE && (c->b >= e->n_ranges || e->input[c->a].scaled)))
				return false;
			if (lead < 0)
				lead = c->a;
			const struct iog_expr_input *x = &e->input[lead], *y = &e->input[c->a];
			const struct iog_vardef *v = &s->var[x->var], *w = &s->var[y->var];
			const unsigned n = v->rank - (x->component >= 0 ? 1u : 0u);
			if (n != w->rank - (y->component >= 0 ? 1u : 0u) || memcmp(v->dim, w->dim, n) != 0)
				return false;
		} else if (c->op < X_NEG || c->op >= X_OPS || !operand_valid(e, c->a, false) || !operand_valid(e, c->b, false) ||
			   !operand_valid(e, c->c, false)) {
			return false;
		}
	}
	return lead >= 0;
}

static bool input_valid(const struct iog_expr_input *in, const struct iog_schema *s)
{
	if (in->var >= s->n_vars || in->component < -1 || in->scaled > 3)
		return false;
	const struct iog_vardef *v = &s->var[in->var];
	const bool real =
		v->dtype > IOG_NONE && v->dtype < IOG_DTYPES && v->dtype != IOG_C64 && v->dtype != IOG_C128 && v->dtype != IOG_BYTE;
	if (in->dtype != v->dtype || !real || v->n_codecs || (in->component >= 0 && !v->rank))
		return false;
	if (in->scaled && (in->component < 0 || s->dim[v->dim[v->rank - 1]].max != 3 || !s->dim[v->dim[v->rank - 1]].fixed))
		return false;
	const unsigned n = v->rank - (in->component >= 0 ? 1u : 0u);
	return in->element ? n > 0 && in->element == 1 : n == 0;
}

bool iog_expr_valid(const struct iog_expr *e, const struct iog_schema *s)
{
	if (e->n_inputs > IOG_EXPR_INPUTS || e->n_ops > IOG_EXPR_OPS || e->n_slots > IOG_EXPR_SLOTS || e->n_ranges > IOG_EXPR_RANGES ||
		e->main_at > e->n_ops || e->scope > IOG_SCOPE_ELEMENT || e->n_dims > IOG_RANK || e->is_bool > 1)
		return false;
	if (s->n_vars < 64 && e->box_vars >> s->n_vars)
		return false;
	for (unsigned i = 0; i < e->n_dims; i++)
		if (e->dim[i] >= s->n_dims)
			return false;
	for (unsigned i = 0; i < e->n_inputs; i++)
		if (!input_valid(&e->input[i], s))
			return false;
	for (unsigned i = 0; i < e->main_at; i++) {
		const struct iog_expr_code *c = &e->code[i];
		if (c->dst >= e->n_slots)
			return false;
		if (c->op == X_REDUCE) {
			if (c->a >= R_KINDS || c->b > e->main_at - i - 1u || !loop_valid(e, s, i + 1, i + 1 + c->b) ||
				!operand_valid(e, c->c, false))
				return false;
			i += c->b;
		} else if (c->op == X_SCALAR) {
			if (c->a >= e->n_inputs || e->input[c->a].element)
				return false;
		} else if (c->op == X_BOX) {
			if (c->a >= B_COUNT || !(e->uses & IOG_EXPR_USES_BOX))
				return false;
		} else if (c->op == X_LOAD || c->op == X_RANGE || c->op >= X_OPS) {
			return false;
		} else if (c->op >= X_NEG &&
			   (!operand_valid(e, c->a, true) || !operand_valid(e, c->b, true) || !operand_valid(e, c->c, true))) {
			return false;
		}
	}
	if (e->scope == IOG_SCOPE_RECORD)
		return e->main_at == e->n_ops && operand_valid(e, e->result, true);
	return operand_valid(e, e->result, false) && loop_valid(e, s, e->main_at, e->n_ops);
}
