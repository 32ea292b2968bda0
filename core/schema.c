/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schemas: building, checking, text in both directions, names of components. Pure functions, any thread.
 *
 * Text beyond what schema.h says, so that every schema survives the round trip: labels of a dimension in parentheses, `q=4(w,i,j,k)`;
 * `name<=?` is a known name (xyz, cell, rgb) without its known extent; `| delta(f32) | zstd` behind the unit are the encodings; a first
 * line `dims y, x` gives the order of the dimensions when it is not that of their first use.
 *
 * Freestanding: yes
 */
#include "core/schema.h"

#include <errno.h>

static const struct known_dim {
	char name[8], labels[8];
} known_dims[] = { { "xyz", "x,y,z" }, { "cell", "a,b,c" }, { "rgb", "r,g,b" } };

static const struct known_dim *known_dim(const char *name)
{
	for (unsigned i = 0; i < IOG_COUNT(known_dims); i++)
		if (iog_streq(known_dims[i].name, name))
			return &known_dims[i];
	return NULL;
}

/* Terminated within size bytes, printable, nothing of `forbidden`. */
static bool text_ok(const char *s, unsigned size, const char *forbidden)
{
	unsigned n = 0;

	for (; n < size && s[n]; n++) {
		if ((unsigned char)s[n] < ' ' || s[n] == 0x7f)
			return false;
		for (const char *f = forbidden; *f; f++)
			if (s[n] == *f)
				return false;
	}
	return n < size;
}

static bool unit_ok(const char *unit)
{
	if (!text_ok(unit, IOG_NAME, ";|"))
		return false;
	/* A leading [ would read as dimensions. */
	return unit[0] != ' ' && unit[0] != '[' && (!unit[0] || unit[iog_strlen(unit) - 1] != ' ');
}

/* "x,y,z": names separated by single commas. */
static bool labels_ok(const char *s)
{
	char word[IOG_NAME];
	unsigned n = 0;

	if (!text_ok(s, IOG_NAME, " ;|()[]"))
		return false;
	for (; *s; s++) {
		if (*s != ',') {
			word[n++] = *s;
			continue;
		}
		word[n] = 0, n = 0;
		if (!iog_name_valid(word, false) || !s[1])
			return false;
	}
	word[n] = 0;
	return !n || iog_name_valid(word, false);
}

static bool name_ok(const char *s, bool dots) { return text_ok(s, IOG_NAME, "") && iog_name_valid(s, dots); }

/* ---- look-up and building ---- */

int iog_schema_dim(const struct iog_schema *s, const char *name)
{
	for (uint32_t i = 0; i < s->n_dims; i++)
		if (iog_streq(s->dim[i].name, name))
			return (int)i;
	return -1;
}

int iog_schema_var(const struct iog_schema *s, const char *name)
{
	for (uint32_t i = 0; i < s->n_vars; i++)
		if (iog_streq(s->var[i].name, name))
			return (int)i;
	return -1;
}

int iog_schema_add_dim(struct iog_schema *s, const char *name, int64_t max, bool fixed)
{
	int at = iog_schema_dim(s, name);
	const struct known_dim *k;
	struct iog_dim *d;

	if (at >= 0)
		return at;
	if (!iog_name_valid(name, false) || max < 0)
		return -EINVAL;
	if (s->n_dims >= IOG_DIMS)
		return -ENOSPC;
	d = &s->dim[s->n_dims];
	memset(d, 0, sizeof *d);
	iog_strset(d->name, sizeof d->name, name);
	d->max = max;
	d->fixed = fixed && max;
	k = known_dim(name);
	if (k && fixed && max == 3)
		iog_strset(d->labels, sizeof d->labels, k->labels);
	s->id = 0;
	return (int)s->n_dims++;
}

int iog_schema_add_var(struct iog_schema *s, const char *name, enum iog_dtype dtype, unsigned rank, const uint8_t *dims, const char *unit)
{
	struct iog_vardef *v;

	if (!iog_name_valid(name, true) || !iog_dtype_size(dtype) || rank > IOG_RANK || (unit && iog_strlen(unit) >= IOG_NAME))
		return -EINVAL;
	for (unsigned i = 0; i < rank; i++)
		if (dims[i] >= s->n_dims)
			return -EINVAL;
	if (iog_schema_var(s, name) >= 0)
		return -EEXIST;
	if (s->n_vars >= IOG_VARS)
		return -ENOSPC;
	v = &s->var[s->n_vars];
	memset(v, 0, sizeof *v);
	iog_strset(v->name, sizeof v->name, name);
	iog_strset(v->unit, sizeof v->unit, unit ? unit : "");
	v->dtype = (uint8_t)dtype;
	v->rank = (uint8_t)rank;
	for (unsigned i = 0; i < rank; i++)
		v->dim[i] = dims[i];
	s->id = 0;
	return (int)s->n_vars++;
}

static bool dim_used(const struct iog_schema *s, unsigned dim)
{
	for (uint32_t i = 0; i < s->n_vars; i++)
		for (unsigned k = 0; k < s->var[i].rank; k++)
			if (s->var[i].dim[k] == dim)
				return true;
	return false;
}

void iog_schema_drop_var(struct iog_schema *s, unsigned i)
{
	struct iog_vardef gone;

	if (i >= s->n_vars)
		return;
	gone = s->var[i];
	s->n_vars--;
	memmove(&s->var[i], &s->var[i + 1], (s->n_vars - i) * sizeof s->var[0]);
	memset(&s->var[s->n_vars], 0, sizeof s->var[0]);
	/* From the largest index down, so that those still to look at keep theirs. */
	for (unsigned d = s->n_dims; d-- > 0;) {
		bool was = false;

		for (unsigned k = 0; k < gone.rank; k++)
			was |= gone.dim[k] == d;
		if (!was || dim_used(s, d))
			continue;
		s->n_dims--;
		memmove(&s->dim[d], &s->dim[d + 1], (s->n_dims - d) * sizeof s->dim[0]);
		memset(&s->dim[s->n_dims], 0, sizeof s->dim[0]);
		for (uint32_t v = 0; v < s->n_vars; v++)
			for (unsigned k = 0; k < s->var[v].rank; k++)
				if (s->var[v].dim[k] > d)
					s->var[v].dim[k]--;
	}
	s->id = 0;
}

/* ---- printing ---- */

struct out {
	char *dst;
	size_t size, len;
};

static void put(struct out *o, const char *s)
{
	size_t n = iog_strlen(s);

	if (o->len < o->size)
		memcpy(o->dst + o->len, s, IOG_MIN(n, o->size - o->len));
	o->len += n;
}

static void put_dim(struct out *o, const struct iog_dim *d, bool extents)
{
	const struct known_dim *k = known_dim(d->name);
	bool is_known = k && d->fixed && d->max == 3;
	char number[32];

	put(o, d->name);
	if (is_known && iog_streq(d->labels, k->labels))
		return;
	if (d->fixed || (extents && d->max)) {
		iog_format(number, sizeof number, "%s%lld", d->fixed ? "=" : "<=", (long long)d->max);
		put(o, number);
	} else if (k) {
		put(o, "<=?");
	}
	if (d->labels[0] || is_known) {
		put(o, "(");
		put(o, d->labels);
		put(o, ")");
	}
}

/* Whether the dimensions stand in the table in the order of their first use, all of them. */
static bool first_use_order(const struct iog_schema *s)
{
	unsigned next = 0;

	for (uint32_t i = 0; i < s->n_vars; i++) {
		for (unsigned k = 0; k < s->var[i].rank; k++) {
			if (s->var[i].dim[k] > next)
				return false;
			next += s->var[i].dim[k] == next;
		}
	}
	return next == s->n_dims;
}

size_t iog_schema_text(const struct iog_schema *s, bool extents, char *dst, size_t size)
{
	struct out o = { dst, size ? size - 1 : 0, 0 };
	unsigned said = 0; /* dimensions [0, said) were declared */

	if (!first_use_order(s)) {
		for (; said < s->n_dims; said++) {
			put(&o, said ? ", " : "dims ");
			put_dim(&o, &s->dim[said], extents);
		}
		put(&o, "\n");
	}
	for (uint32_t i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];

		if (v->flags & IOG_VAR_STATIC)
			put(&o, "static ");
		put(&o, v->name);
		put(&o, ": ");
		put(&o, iog_dtype_name(v->dtype));
		for (unsigned k = 0; k < v->rank; k++) {
			put(&o, k ? "," : "[");
			if (v->dim[k] < said)
				put(&o, s->dim[v->dim[k]].name);
			else
				put_dim(&o, &s->dim[v->dim[k]], extents), said++;
		}
		if (v->rank)
			put(&o, "]");
		if (v->unit[0]) {
			put(&o, " ");
			put(&o, v->unit);
		}
		for (unsigned k = 0; k < v->n_codecs; k++) {
			put(&o, " | ");
			put(&o, iog_codec_name(v->codec[k]));
			if (v->codec[k] == IOG_CODEC_DELTA) {
				put(&o, "(");
				put(&o, iog_dtype_name(v->orig));
				put(&o, ")");
			}
		}
		put(&o, "\n");
	}
	if (size)
		dst[IOG_MIN(o.len, size - 1)] = 0;
	return o.len;
}

/* ---- checking ---- */

/* Equal schemas shall be equal bytes. */
static void clean(char text[IOG_NAME])
{
	size_t n = iog_strlen(text);

	memset(text + n, 0, IOG_NAME - n);
}

static int seal_var(struct iog_schema *s, struct iog_vardef *v, struct iog_err *err)
{
	bool opaque = false, delta = false;

	if (!iog_dtype_size(v->dtype))
		return iog_fail(
			err, -EINVAL, "schema: variable \"%s\" has no element type (type number %u is not known)", v->name, v->dtype);
	if (v->rank > IOG_RANK)
		return iog_fail(
			err, -EINVAL, "schema: variable \"%s\" has %u dimensions; at most %d are possible", v->name, v->rank, IOG_RANK);
	if (v->flags & ~IOG_VAR_STATIC)
		return iog_fail(err, -EINVAL, "schema: variable \"%s\" has unknown flags 0x%x", v->name, v->flags);
	if (!unit_ok(v->unit))
		return iog_fail(err, -EINVAL,
			"schema: the unit of variable \"%s\" must be plain text shorter than %d bytes without ; and |", v->name, IOG_NAME);
	for (unsigned k = 0; k < v->rank; k++) {
		if (v->dim[k] >= s->n_dims)
			return iog_fail(
				err, -EINVAL, "schema: variable \"%s\" uses dimension number %u of %u", v->name, v->dim[k], s->n_dims);
		for (unsigned j = 0; j < k; j++)
			if (v->dim[j] == v->dim[k])
				return iog_fail(err, -EINVAL,
					"schema: variable \"%s\" has dimension \"%s\" twice; give one of them its own name", v->name,
					s->dim[v->dim[k]].name);
	}
	if (v->n_codecs > IOG_CODECS)
		return iog_fail(err, -EINVAL, "schema: variable \"%s\" has %u encodings; at most %d are possible", v->name, v->n_codecs,
			IOG_CODECS);
	for (unsigned k = 0; k < v->n_codecs; k++) {
		if (v->codec[k] == IOG_CODEC_NONE || v->codec[k] >= IOG_CODEC_COUNT)
			return iog_fail(err, -EINVAL, "schema: variable \"%s\" has an unknown encoding (number %u)", v->name, v->codec[k]);
		if (opaque && !iog_codec_opaque(v->codec[k]))
			return iog_fail(err, -EINVAL, "schema: variable \"%s\": %s needs elements, but the encoding before it made bytes",
				v->name, iog_codec_name(v->codec[k]));
		opaque |= iog_codec_opaque(v->codec[k]);
		delta |= v->codec[k] == IOG_CODEC_DELTA;
	}
	if (delta ? !iog_dtype_size(v->orig) : v->orig != IOG_NONE)
		return iog_fail(
			err, -EINVAL, "schema: variable \"%s\" must name its type before delta exactly when it is a delta", v->name);
	for (unsigned k = v->rank; k < IOG_RANK; k++)
		v->dim[k] = 0;
	for (unsigned k = v->n_codecs; k < IOG_CODECS; k++)
		v->codec[k] = 0;
	memset(v->pad, 0, sizeof v->pad);
	clean(v->name);
	clean(v->unit);
	return 0;
}

enum {
	TEXT_DIM = 2 * IOG_NAME + 32,
	TEXT_VAR = 2 * IOG_NAME + 32 + IOG_RANK * (IOG_NAME + 2) + IOG_CODECS * 16,
	TEXT_MAX = 16 + IOG_DIMS * TEXT_DIM + IOG_VARS * TEXT_VAR,
};

int iog_schema_seal(struct iog_schema *s, struct iog_err *err)
{
	char text[TEXT_MAX];

	s->id = 0;
	if (s->n_dims > IOG_DIMS)
		return iog_fail(err, -EINVAL, "schema: %u dimensions; at most %d are possible", s->n_dims, IOG_DIMS);
	if (s->n_vars > IOG_VARS)
		return iog_fail(err, -EINVAL, "schema: %u variables; at most %d are possible", s->n_vars, IOG_VARS);
	for (uint32_t i = 0; i < s->n_dims; i++) {
		struct iog_dim *d = &s->dim[i];

		if (!name_ok(d->name, false))
			return iog_fail(err, -EINVAL, "schema: dimension number %u has no valid name (letters, digits, _; shorter than %d)",
				i, IOG_NAME);
		for (uint32_t j = 0; j < i; j++)
			if (iog_streq(s->dim[j].name, d->name))
				return iog_fail(err, -EINVAL, "schema: two dimensions are called \"%s\"", d->name);
		if (!labels_ok(d->labels))
			return iog_fail(err, -EINVAL, "schema: the labels of dimension \"%s\" must be names separated by commas", d->name);
		if (d->max < 0 || d->fixed > 1 || (d->fixed && !d->max))
			return iog_fail(err, -EINVAL, "schema: dimension \"%s\" has no possible extent (%lld%s)", d->name,
				(long long)d->max, d->fixed ? ", exact" : "");
		d->pad = 0;
		clean(d->name);
		clean(d->labels);
	}
	for (uint32_t i = 0; i < s->n_vars; i++) {
		if (!name_ok(s->var[i].name, true))
			return iog_fail(err, -EINVAL,
				"schema: variable number %u has no valid name (letters, digits, _ and . inside; shorter than %d)", i,
				IOG_NAME);
		if (seal_var(s, &s->var[i], err))
			return -EINVAL;
		for (uint32_t j = 0; j < i; j++)
			if (iog_streq(s->var[j].name, s->var[i].name))
				return iog_fail(err, -EINVAL, "schema: two variables are called \"%s\"", s->var[i].name);
	}
	s->id = iog_hash(text, iog_schema_text(s, false, text, sizeof text), 0);
	s->id += !s->id;
	return 0;
}

/* ---- parsing ---- */

struct scan {
	const char *line, *end, *p; /* of the declaration being read */
	struct iog_err *err;
};

static void blanks(struct scan *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\r'))
		c->p++;
}

static bool accept(struct scan *c, char ch)
{
	blanks(c);
	if (c->p >= c->end || *c->p != ch)
		return false;
	c->p++;
	return true;
}

/* Ends every parse error: what was wrong, and the declaration it stands in. */
#define BAD(c, fmt, ...)                                                                                                                   \
	iog_fail((c)->err, -EINVAL, "schema: " fmt " at column %d of \"%.*s\"", __VA_ARGS__, (int)((c)->p - (c)->line) + 1,                \
		(int)IOG_MIN((c)->end - (c)->line, 100), (c)->line)

static bool word_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '.';
}

/* A word, cut to fit dst; empty when there is none. Returns where it began. */
static const char *word(struct scan *c, char *dst, size_t size)
{
	const char *at;
	size_t n;

	blanks(c);
	for (at = c->p; c->p < c->end && word_char(*c->p);)
		c->p++;
	n = IOG_MIN((size_t)(c->p - at), size - 1);
	memcpy(dst, at, n);
	dst[n] = 0;
	return at;
}

static int name(struct scan *c, char *dst, bool dots, const char *what)
{
	char text[2 * IOG_NAME];
	const char *at = word(c, text, sizeof text);

	if (!text[0])
		return BAD(c, "expected the name of a %s", what);
	if (iog_name_valid(text, dots)) {
		iog_strset(dst, IOG_NAME, text);
		return 0;
	}
	c->p = at;
	return BAD(c, "\"%s\" is not a name for a %s (letters, digits and _, shorter than %d bytes)", text, what, IOG_NAME);
}

/* `; did you mean "x"?` or nothing. */
static void suggest(char dst[2 * IOG_NAME], const char *text, const char *const *names, size_t n)
{
	const char *near = iog_nearest(text, names, n);

	dst[0] = 0;
	if (near)
		iog_format(dst, 2 * IOG_NAME, "; did you mean \"%s\"?", near);
}

/* Bytes of a positive whole number, or -EINVAL. */
static int parse_extent(struct scan *c, const char *dim, int64_t *max)
{
	char text[2 * IOG_NAME];
	const char *at = word(c, text, sizeof text);
	bool ok = text[0];

	*max = 0;
	for (const char *t = text; *t && ok; t++)
		ok = *t >= '0' && *t <= '9' && !__builtin_mul_overflow(*max, 10, max) && !__builtin_add_overflow(*max, *t - '0', max);
	if (ok && *max)
		return 0;
	c->p = at;
	return BAD(c, "expected a positive whole number as the extent of \"%s\"", dim);
}

/* name, name=N, name<=N, name<=?, each with (labels). Returns the index or -EINVAL. */
static int parse_dim(struct scan *c, struct iog_schema *s)
{
	char text[IOG_NAME], labels[IOG_NAME] = "";
	bool fixed = false, bounded = false, labelled = false;
	const struct known_dim *k;
	int64_t max = 0;
	int at;

	if (name(c, text, false, "dimension"))
		return -EINVAL;
	k = known_dim(text);
	if (accept(c, '=')) {
		fixed = bounded = true;
	} else if (accept(c, '<')) {
		if (!accept(c, '='))
			return BAD(c, "expected <= behind the dimension \"%s\"", text);
		bounded = true;
	}
	if (bounded && (fixed || !accept(c, '?')) && parse_extent(c, text, &max))
		return -EINVAL;
	if (accept(c, '(')) {
		const char *from = c->p;
		size_t n;

		while (c->p < c->end && *c->p != ')')
			c->p++;
		n = (size_t)(c->p - from);
		if (c->p == c->end || n >= IOG_NAME)
			return BAD(c, "expected a ) behind the labels of \"%s\" (shorter than %d bytes together)", text, IOG_NAME);
		memcpy(labels, from, n);
		labels[n] = 0;
		c->p++;
		if (!labels_ok(labels))
			return BAD(c, "the labels of \"%s\" must be names separated by commas", text);
		labelled = true;
	}

	at = iog_schema_dim(s, text);
	if (at >= 0) {
		const struct iog_dim *d = &s->dim[at];

		if ((bounded && (d->max != max || d->fixed != fixed)) || (labelled && !iog_streq(labels, d->labels)))
			return BAD(c, "dimension \"%s\" was declared with another extent or other labels before", text);
		return at;
	}
	if (k && !bounded)
		fixed = true, max = 3;
	if (k && !labelled && fixed && max == 3)
		iog_strset(labels, sizeof labels, k->labels);
	at = iog_schema_add_dim(s, text, max, fixed);
	if (at < 0)
		return BAD(c, "no room for dimension \"%s\": a schema has at most %d", text, IOG_DIMS);
	memset(s->dim[at].labels, 0, IOG_NAME);
	iog_strset(s->dim[at].labels, IOG_NAME, labels);
	return at;
}

static int parse_dtype(struct scan *c, enum iog_dtype *type)
{
	const char *names[IOG_DTYPES], *at;
	char text[IOG_NAME], hint[2 * IOG_NAME];

	at = word(c, text, sizeof text);
	if (!text[0])
		return BAD(c, "expected a type such as %s", "f32, f64, i32 or u8");
	*type = iog_dtype_find(text, iog_strlen(text));
	if (*type)
		return 0;
	for (unsigned i = 1; i < IOG_DTYPES; i++)
		names[i - 1] = iog_dtype_name(i);
	suggest(hint, text, names, IOG_DTYPES - 1);
	c->p = at;
	return BAD(c, "unknown type \"%s\"%s", text, hint[0] ? hint : " (there are i8-i64, u8-u64, f16, f32, f64, c64, c128, bool, byte)");
}

static int parse_codecs(struct scan *c, struct iog_vardef *v)
{
	while (accept(c, '|')) {
		const char *names[IOG_CODEC_COUNT], *at;
		char text[IOG_NAME], hint[2 * IOG_NAME];
		enum iog_dtype orig;
		unsigned k = 1;

		at = word(c, text, sizeof text);
		while (k < IOG_CODEC_COUNT && !iog_streq(text, iog_codec_name(k)))
			k++;
		if (k == IOG_CODEC_COUNT) {
			for (unsigned i = 1; i < IOG_CODEC_COUNT; i++)
				names[i - 1] = iog_codec_name(i);
			suggest(hint, text, names, IOG_CODEC_COUNT - 1);
			c->p = at;
			return BAD(c, "unknown encoding \"%s\"%s", text, hint[0] ? hint : " (there are zstd, jpeg, png, delta)");
		}
		if (v->n_codecs == IOG_CODECS)
			return BAD(c, "more than %d encodings", IOG_CODECS);
		v->codec[v->n_codecs++] = (uint8_t)k;
		if (k != IOG_CODEC_DELTA)
			continue;
		if (!accept(c, '('))
			return BAD(c, "expected the type before it in parentheses, as in %s,", "delta(f32)");
		if (parse_dtype(c, &orig))
			return -EINVAL;
		if (!accept(c, ')'))
			return BAD(c, "expected a %s", ")");
		v->orig = (uint8_t)orig;
	}
	blanks(c);
	if (c->p < c->end)
		return BAD(c, "cannot read \"%.*s\"", (int)IOG_MIN(c->end - c->p, 40), c->p);
	return 0;
}

/* `static` or `dims` in front; `static: f32` is a variable of that name. */
static bool keyword(struct scan *c, const char *key)
{
	size_t n = iog_strlen(key);
	const char *q;

	blanks(c);
	if ((size_t)(c->end - c->p) <= n || memcmp(c->p, key, n) || (c->p[n] != ' ' && c->p[n] != '\t'))
		return false;
	for (q = c->p + n; q < c->end && (*q == ' ' || *q == '\t');)
		q++;
	if (q < c->end && *q == ':')
		return false;
	c->p = q;
	return true;
}

static int parse_var(struct scan *c, struct iog_schema *s)
{
	bool is_static = keyword(c, "static");
	char text[IOG_NAME], unit[IOG_NAME];
	const char *from, *to;
	uint8_t dims[IOG_RANK];
	enum iog_dtype type;
	unsigned rank = 0;
	int at;

	if (name(c, text, true, "variable"))
		return -EINVAL;
	if (!accept(c, ':'))
		return BAD(c, "expected a : behind the variable \"%s\"", text);
	if (parse_dtype(c, &type))
		return -EINVAL;
	if (accept(c, '[')) {
		do {
			if (rank == IOG_RANK)
				return BAD(c, "variable \"%s\" has more than %d dimensions", text, IOG_RANK);
			at = parse_dim(c, s);
			if (at < 0)
				return at;
			for (unsigned k = 0; k < rank; k++)
				if (dims[k] == at)
					return BAD(c, "variable \"%s\" has dimension \"%s\" twice; give one of them its own name", text,
						s->dim[at].name);
			dims[rank++] = (uint8_t)at;
		} while (accept(c, ','));
		if (!accept(c, ']'))
			return BAD(c, "expected , or ] in the dimensions of \"%s\"", text);
	}
	blanks(c);
	for (from = to = c->p; c->p < c->end && *c->p != '|'; c->p++)
		if (*c->p != ' ' && *c->p != '\t' && *c->p != '\r')
			to = c->p + 1;
	if (to - from >= IOG_NAME) {
		c->p = from;
		return BAD(c, "the unit of \"%s\" must be shorter than %d bytes", text, IOG_NAME);
	}
	memcpy(unit, from, (size_t)(to - from));
	unit[to - from] = 0;
	if (!unit_ok(unit)) {
		c->p = from;
		return BAD(c, "the unit of \"%s\" has a character that is not plain text", text);
	}
	at = iog_schema_add_var(s, text, type, rank, dims, unit);
	if (at == -EEXIST)
		return BAD(c, "variable \"%s\" is declared twice", text);
	if (at < 0)
		return BAD(c, "no room for variable \"%s\": a schema has at most %d", text, IOG_VARS);
	s->var[at].flags = is_static ? IOG_VAR_STATIC : 0;
	return parse_codecs(c, &s->var[at]);
}

static int parse_dims(struct scan *c, struct iog_schema *s)
{
	if (s->n_dims || s->n_vars)
		return BAD(c, "%s must come first", "the order of the dimensions");
	do
		if (parse_dim(c, s) < 0)
			return -EINVAL;
	while (accept(c, ','));
	blanks(c);
	return c->p < c->end ? BAD(c, "expected a %s", "comma") : 0;
}

int iog_schema_parse(struct iog_schema *s, const char *text, struct iog_err *err)
{
	memset(s, 0, sizeof *s);
	while (*text) {
		struct scan c = { .line = text, .end = text, .err = err };

		while (*c.end && *c.end != ';' && *c.end != '\n')
			c.end++;
		text = *c.end ? c.end + 1 : c.end;
		c.p = c.line;
		blanks(&c);
		c.line = c.p;
		if (c.p < c.end && (keyword(&c, "dims") ? parse_dims(&c, s) : parse_var(&c, s)) < 0)
			return -EINVAL;
	}
	return iog_schema_seal(s, err);
}

/* ---- components ---- */

/* Position of label [l, l+n) among "x,y,z", or -1. */
static int label_index(const char *labels, const char *l, size_t n)
{
	int index = 0;

	while (*labels) {
		size_t m = 0;

		while (labels[m] && labels[m] != ',')
			m++;
		if (m == n && !memcmp(labels, l, n))
			return index;
		labels += m + (labels[m] == ',');
		index++;
	}
	return -1;
}

/* Column l of variable v: by label, or by number when the last dimension has an exact extent. */
static int column(const struct iog_schema *s, int v, const char *l, size_t n)
{
	const struct iog_vardef *d = &s->var[v];
	const struct iog_dim *last;
	int64_t index = 0;
	int at;

	if (!d->rank || !n)
		return -1;
	last = &s->dim[d->dim[d->rank - 1]];
	at = label_index(last->labels, l, n);
	if (at >= 0)
		return at < last->max || !last->max ? at : -1;
	if (!last->fixed || n > 9)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (l[i] < '0' || l[i] > '9')
			return -1;
		index = index * 10 + (l[i] - '0');
	}
	return index < last->max ? (int)index : -1;
}

struct iog_component iog_schema_component(const struct iog_schema *s, const char *text, size_t len)
{
	static const struct {
		char prefix, suffix, var[12];
	} aliases[] = { { 0, 0, "position" }, { 0, 's', "position" }, { 'v', 0, "velocity" }, { 'f', 0, "force" }, { 'i', 0, "image" } };
	struct iog_component none = { -1, -1, false };
	char whole[IOG_NAME];
	int v, at;

	if (!len || len >= 2 * IOG_NAME)
		return none;
	if (len < IOG_NAME) {
		memcpy(whole, text, len);
		whole[len] = 0;
		v = iog_schema_var(s, whole);
		if (v >= 0)
			return (struct iog_component){ v, -1, false };
	}
	for (size_t dot = len; dot-- > 1;) {
		if (text[dot] != '.' || dot >= IOG_NAME)
			continue;
		memcpy(whole, text, dot);
		whole[dot] = 0;
		v = iog_schema_var(s, whole);
		at = v < 0 ? -1 : column(s, v, text + dot + 1, len - dot - 1);
		if (at >= 0)
			return (struct iog_component){ v, at, false };
	}
	for (unsigned i = 0; i < IOG_COUNT(aliases); i++) {
		char axis = aliases[i].prefix ? text[len - 1] : text[0];

		if (len != (aliases[i].prefix || aliases[i].suffix ? 2u : 1u) || axis < 'x' || axis > 'z')
			continue;
		if ((aliases[i].prefix && text[0] != aliases[i].prefix) || (aliases[i].suffix && text[1] != aliases[i].suffix))
			continue;
		v = iog_schema_var(s, aliases[i].var);
		at = v < 0 ? -1 : column(s, v, &axis, 1);
		if (at >= 0)
			return (struct iog_component){ v, at, aliases[i].suffix != 0 };
	}
	return none;
}

/* ---- sizes ---- */

bool iog_schema_var_max(const struct iog_schema *s, unsigned i, uint64_t *bytes)
{
	uint64_t n;

	*bytes = 0;
	if (i >= s->n_vars)
		return false;
	n = iog_dtype_size(s->var[i].dtype);
	for (unsigned k = 0; k < s->var[i].rank; k++) {
		int64_t max = s->dim[s->var[i].dim[k]].max;

		if (max <= 0 || !iog_mul(n, (uint64_t)max, &n) || n > INT64_MAX)
			return false;
	}
	*bytes = n;
	return true;
}

bool iog_schema_payload_max(const struct iog_schema *s, bool statics, uint64_t *bytes)
{
	uint64_t sum = 0;

	*bytes = 0;
	for (unsigned i = 0; i < s->n_vars; i++) {
		uint64_t n;

		if (statics != !!(s->var[i].flags & IOG_VAR_STATIC))
			continue;
		if (!iog_schema_var_max(s, i, &n))
			return false;
		sum += IOG_ROUND_UP(n, IOG_ALIGN); /* no overflow: both terms are below 2^63 + 64 */
		if (sum > INT64_MAX)
			return false;
	}
	*bytes = sum;
	return true;
}
