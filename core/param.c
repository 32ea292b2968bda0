/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parameter tables: defaults, setting with checks, values as text. Control path, any thread, allocates nothing.
 *
 * Every kind can also be given as text (a default, `--set name=value`): lists are separated by commas, with or without braces around
 * them; intervals are written `lo:hi` or `name=lo:hi`, and their ends may be inf or -inf.
 *
 * Freestanding: yes
 */
#include "core/param.h"

#include <errno.h>

static const char ptype_names[][24] = {
	[IOG_P_BOOL] = "true or false",
	[IOG_P_INT] = "whole number",
	[IOG_P_NUMBER] = "number",
	[IOG_P_STRING] = "string",
	[IOG_P_CHOICE] = "choice",
	[IOG_P_EXPR] = "expression",
	[IOG_P_SIZE] = "size",
	[IOG_P_SECONDS] = "time",
	[IOG_P_NUMBERS] = "list of numbers",
	[IOG_P_NAMES] = "list of names",
	[IOG_P_INTERVALS] = "list of intervals",
};

const char *iog_ptype_name(unsigned type) { return type < IOG_COUNT(ptype_names) ? ptype_names[type] : "?"; }

const struct iog_param *iog_param_find(const struct iog_param *table, const char *name)
{
	for (; table && table->name; table++)
		if (iog_streq(table->name, name))
			return table;
	return NULL;
}

const struct iog_param *iog_param_first(const struct iog_param *table)
{
	for (; table && table->name; table++)
		if (table->flags & IOG_PF_FIRST)
			return table;
	return NULL;
}

/* ---- numbers with units ---- */

struct unit {
	char name[8];
	double factor;
};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* A finite number, then one of the units; all of s. */
static bool parse_with_unit(const char *s, const struct unit *units, size_t n_units, double *value)
{
	size_t len = iog_strlen(s), n;
	double v;

	while (len && is_blank(*s))
		s++, len--;
	while (len && is_blank(s[len - 1]))
		len--;
	n = iog_parse_number(s, len, &v);
	if (!n || __builtin_isinf(v))
		return false;
	for (s += n, len -= n; len && is_blank(*s);)
		s++, len--;
	for (size_t i = 0; i < n_units; i++) {
		if (iog_strlen(units[i].name) != len || memcmp(units[i].name, s, len))
			continue;
		*value = v * units[i].factor;
		return !__builtin_isinf(*value);
	}
	return false;
}

static const struct unit byte_units[] = { { "", 1 }, { "B", 1 }, { "KiB", 0x1p10 }, { "MiB", 0x1p20 }, { "GiB", 0x1p30 }, { "TiB", 0x1p40 },
	{ "PiB", 0x1p50 }, { "kB", 1e3 }, { "KB", 1e3 }, { "MB", 1e6 }, { "GB", 1e9 }, { "TB", 1e12 }, { "PB", 1e15 } };
static const struct unit second_units[] = { { "", 1 }, { "s", 1 }, { "ms", 1e-3 }, { "us", 1e-6 }, { "ns", 1e-9 }, { "min", 60 },
	{ "h", 3600 }, { "d", 86400 } };

static bool whole_u64(double v, uint64_t *n)
{
	if (!(v >= 0 && v < 0x1p64))
		return false;
	*n = (uint64_t)v;
	return (double)*n == v;
}

bool iog_parse_bytes(const char *s, uint64_t *bytes)
{
	double v;

	/* 0.1 KiB is no whole number of bytes: rounded, as whoever wrote it meant. */
	if (!parse_with_unit(s, byte_units, IOG_COUNT(byte_units), &v) || !(v >= 0 && v < 0x1p63))
		return false;
	*bytes = (uint64_t)(v + (v < 0x1p52 ? 0.5 : 0));
	return true;
}

bool iog_parse_seconds(const char *s, double *seconds)
{
	double v;

	if (!parse_with_unit(s, second_units, IOG_COUNT(second_units), &v) || v < 0)
		return false;
	*seconds = v;
	return true;
}

static bool parse_plain(const char *s, double *v)
{
	static const struct unit none[] = { { "", 1 } };

	return parse_with_unit(s, none, 1, v);
}

/* All 64 bits, which a double would not keep. */
static bool parse_int(const char *s, int64_t *v)
{
	bool negative = *s == '-';
	uint64_t n = 0;
	double d;

	if (*s == '-' || *s == '+')
		s++;
	for (const char *t = s; *t >= '0' && *t <= '9'; t++) {
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*t - '0'), &n))
			return false;
		if (t[1])
			continue;
		if (n > (uint64_t)INT64_MAX + negative)
			return false;
		*v = (int64_t)(negative ? -n : n);
		return true;
	}
	if (!parse_plain(s, &d) || !whole_u64(d, &n) || n > INT64_MAX)
		return false;
	*v = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

/* ---- messages ---- */

enum { SHOWN = 80 };

/* What was given, for a message: a quoted string, a number, "a list of 3". */
static const char *shown(char dst[SHOWN], const struct iog_value *v)
{
	switch (v->kind) {
	case IOG_V_BOOL: iog_strset(dst, SHOWN, v->b ? "true" : "false"); break;
	case IOG_V_NUMBER: iog_format(dst, SHOWN, "%g", v->n); break;
	case IOG_V_STRING: iog_format(dst, SHOWN, "\"%.*s\"%s", 48, v->s, iog_strlen(v->s) > 48 ? "..." : ""); break;
	case IOG_V_LIST: iog_format(dst, SHOWN, "a list of %u", v->n_items); break;
	default: iog_strset(dst, SHOWN, "nothing"); break;
	}
	return dst;
}

static int wrong(const struct iog_param *p, const struct iog_value *v, const char *expected, struct iog_err *err)
{
	char got[SHOWN];

	return iog_fail(err, -EINVAL, "\"%s\" must be %s, got %s", p->name, expected, shown(got, v));
}

static int check_range(const struct iog_param *p, double n, struct iog_err *err)
{
	if (!(p->max > p->min) || (n >= p->min && n <= p->max))
		return 0;
	if (__builtin_isinf(p->max) || p->max >= 1e300)
		return iog_fail(err, -EINVAL, "\"%s\" must be at least %g%s%s, got %g", p->name, p->min, p->unit ? " " : "",
			p->unit ? p->unit : "", n);
	return iog_fail(err, -EINVAL, "\"%s\" must be between %g and %g%s%s, got %g", p->name, p->min, p->max, p->unit ? " " : "",
		p->unit ? p->unit : "", n);
}

/* Word k of "a|b|c" and its length; false behind the last one. */
static bool choice(const char *choices, unsigned k, const char **at, size_t *len)
{
	const char *s = choices ? choices : "";

	for (;; k--) {
		*at = s;
		while (*s && *s != '|')
			s++;
		*len = (size_t)(s - *at);
		if (!k)
			return *len > 0;
		if (!*s++)
			return false;
	}
}

enum { CHOICES_MAX = 32 };

static int set_choice(const struct iog_param *p, uint32_t *field, const char *text, struct iog_err *err)
{
	char words[CHOICES_MAX][IOG_NAME], all[256] = "";
	const char *names[CHOICES_MAX] = { 0 }, *near, *at;
	size_t len, n = 0;
	unsigned k;

	for (k = 0; choice(p->choices, k, &at, &len); k++) {
		if (iog_strlen(text) == len && !memcmp(text, at, len)) {
			*field = k;
			return 0;
		}
		n += (size_t)iog_format(all + IOG_MIN(n, sizeof all - 1), sizeof all - IOG_MIN(n, sizeof all - 1), "%s\"%.*s\"",
			k ? ", " : "", (int)len, at);
		if (k < CHOICES_MAX) {
			iog_format(words[k], IOG_NAME, "%.*s", (int)len, at);
			names[k] = words[k];
		}
	}
	near = iog_nearest(text, names, IOG_MIN(k, CHOICES_MAX));
	if (near)
		return iog_fail(err, -EINVAL, "\"%s\" must be one of %s, got \"%.*s\"; did you mean \"%s\"?", p->name, all, 48, text, near);
	return iog_fail(err, -EINVAL, "\"%s\" must be one of %s, got \"%.*s\"", p->name, all, 48, text);
}

/* ---- lists ---- */

/* Position in a list given as text: elements between commas, braces around the whole ignored. */
struct items {
	const char *p, *end;
};

static struct items items_of(const char *s)
{
	struct items it = { s, s + iog_strlen(s) };

	while (it.p < it.end && is_blank(*it.p))
		it.p++;
	while (it.p < it.end && is_blank(it.end[-1]))
		it.end--;
	if (it.end - it.p >= 2 && *it.p == '{' && it.end[-1] == '}')
		it.p++, it.end--;
	return it;
}

/* The next element, trimmed, cut to fit dst (then false in *fits). False at the end. */
static bool next_item(struct items *it, char *dst, size_t size, bool *fits)
{
	const char *from, *to;

	while (it->p < it->end && is_blank(*it->p))
		it->p++;
	if (it->p >= it->end)
		return false;
	for (from = it->p; it->p < it->end && *it->p != ',';)
		it->p++;
	to = it->p;
	it->p += it->p < it->end;
	while (to > from && is_blank(to[-1]))
		to--;
	*fits = (size_t)(to - from) < size;
	to = from + IOG_MIN((size_t)(to - from), size - 1);
	memcpy(dst, from, (size_t)(to - from));
	dst[to - from] = 0;
	return true;
}

static int too_many(const struct iog_param *p, unsigned max, uint32_t n, struct iog_err *err)
{
	return iog_fail(err, -EINVAL, "\"%s\" can hold at most %u values, got %u", p->name, max, n);
}

static int add_number(const struct iog_param *p, struct iog_numbers *to, double v, struct iog_err *err)
{
	if (to->n == IOG_LIST_MAX)
		return too_many(p, IOG_LIST_MAX, to->n + 1, err);
	to->v[to->n++] = v;
	return check_range(p, v, err);
}

static int set_numbers(const struct iog_param *p, struct iog_numbers *field, const struct iog_value *v, struct iog_err *err)
{
	struct iog_numbers to = { 0 };
	int rc = 0;

	if (v->kind == IOG_V_NUMBER) {
		rc = __builtin_isnan(v->n) ? wrong(p, v, "a list of numbers", err) : add_number(p, &to, v->n, err);
	} else if (v->kind == IOG_V_STRING) {
		struct items it = items_of(v->s);
		char text[64];
		bool fits;
		double d;

		while (!rc && next_item(&it, text, sizeof text, &fits)) {
			if (!fits || !parse_plain(text, &d))
				return iog_fail(
					err, -EINVAL, "\"%s\" must be a list of numbers, but item %u is \"%s\"", p->name, to.n + 1, text);
			rc = add_number(p, &to, d, err);
		}
	} else if (v->kind == IOG_V_LIST) {
		for (uint32_t i = 0; i < v->n_items && !rc; i++) {
			char got[SHOWN];

			if ((v->key && v->key[i]) || v->item[i].kind != IOG_V_NUMBER || __builtin_isnan(v->item[i].n))
				return iog_fail(err, -EINVAL, "\"%s\" must be a list of numbers, but item %u is %s", p->name, i + 1,
					v->key && v->key[i] ? "named" : shown(got, &v->item[i]));
			rc = add_number(p, &to, v->item[i].n, err);
		}
	} else {
		return wrong(p, v, "a list of numbers, { 1, 2 }", err);
	}
	if (!rc)
		*field = to;
	return rc;
}

static int add_name(const struct iog_param *p, struct iog_names *to, const char *s, struct iog_err *err)
{
	if (to->n == IOG_LIST_MAX)
		return too_many(p, IOG_LIST_MAX, to->n + 1, err);
	if (!s[0] || !iog_strset(to->v[to->n], IOG_NAME, s))
		return iog_fail(err, -EINVAL, "\"%s\": item %u (\"%.*s\") must be a name shorter than %d bytes", p->name, to->n + 1, 48, s,
			IOG_NAME);
	for (const char *c = s; *c; c++)
		if (*c == ',' || *c == '{' || *c == '}' || is_blank(*c))
			return iog_fail(err, -EINVAL, "\"%s\": item %u (\"%.*s\") must be one name without blanks and commas", p->name,
				to->n + 1, 48, s);
	to->n++;
	return 0;
}

static int set_names(const struct iog_param *p, struct iog_names *field, const struct iog_value *v, struct iog_err *err)
{
	struct iog_names to = { 0 };
	int rc = 0;

	if (v->kind == IOG_V_STRING) {
		struct items it = items_of(v->s);
		char text[2 * IOG_NAME];
		bool fits;

		while (!rc && next_item(&it, text, sizeof text, &fits))
			rc = add_name(p, &to, text, err);
	} else if (v->kind == IOG_V_LIST) {
		for (uint32_t i = 0; i < v->n_items && !rc; i++) {
			char got[SHOWN];

			if ((v->key && v->key[i]) || v->item[i].kind != IOG_V_STRING)
				return iog_fail(err, -EINVAL, "\"%s\" must be a list of names, but item %u is %s", p->name, i + 1,
					v->key && v->key[i] ? "named" : shown(got, &v->item[i]));
			rc = add_name(p, &to, v->item[i].s, err);
		}
	} else {
		return wrong(p, v, "a list of names, { \"a\", \"b\" }", err);
	}
	if (!rc)
		*field = to;
	return rc;
}

static int add_interval(const struct iog_param *p, struct iog_intervals *to, const char *name, double lo, double hi, struct iog_err *err)
{
	struct iog_interval *i = &to->v[to->n];

	if (to->n == IOG_RANK)
		return too_many(p, IOG_RANK, to->n + 1, err);
	if (name && (!iog_name_valid(name, true)))
		return iog_fail(err, -EINVAL, "\"%s\": \"%.*s\" is not the name of a dimension or component", p->name, 48, name);
	for (uint32_t k = 0; k < to->n && name; k++)
		if (iog_streq(to->v[k].name, name))
			return iog_fail(err, -EINVAL, "\"%s\" has two intervals for \"%s\"", p->name, name);
	if (to->n && !name != !to->v[0].name[0])
		return iog_fail(err, -EINVAL, "\"%s\" must give all intervals by position or all by name", p->name);
	if (__builtin_isnan(lo) || __builtin_isnan(hi) || lo > hi)
		return iog_fail(err, -EINVAL, "\"%s\": interval %s%s{%g, %g} must have its lower end first", p->name, name ? name : "",
			name ? " = " : "", lo, hi);
	iog_strset(i->name, sizeof i->name, name ? name : "");
	i->lo = lo, i->hi = hi;
	to->n++;
	return 0;
}

static bool parse_end(const char *s, double *v)
{
	while (is_blank(*s))
		s++;
	if (!memcmp(s, "inf", 3) || (*s && !memcmp(s + 1, "inf", 3) && (*s == '-' || *s == '+'))) {
		*v = *s == '-' ? -__builtin_inf() : __builtin_inf();
		s += *s == 'i' ? 3 : 4;
		while (is_blank(*s))
			s++;
		return !*s;
	}
	return parse_plain(s, v);
}

/* "lo:hi" or "name=lo:hi"; changes text. */
static bool parse_interval(char *text, char **name, double *lo, double *hi)
{
	char *s = text, *colon;

	*name = NULL;
	for (char *e = text; *e; e++) {
		if (*e != '=')
			continue;
		*name = text;
		s = e + 1;
		do
			*e = 0;
		while (e-- > text && is_blank(*e));
		break;
	}
	for (colon = s; *colon && *colon != ':';)
		colon++;
	if (!*colon)
		return false;
	*colon = 0;
	return parse_end(s, lo) && parse_end(colon + 1, hi);
}

static int set_intervals(const struct iog_param *p, struct iog_intervals *field, const struct iog_value *v, struct iog_err *err)
{
	static const char form[] = "a list of intervals, { {lo, hi}, ... } or { x = {lo, hi}, ... }";
	struct iog_intervals to = { 0 };
	int rc = 0;

	if (v->kind == IOG_V_STRING) {
		struct items it = items_of(v->s);
		char text[128], copy[128], *name;
		double lo, hi;
		bool fits;

		/* Zeroed to the end: parse_end may look a few bytes further than the text. */
		for (memset(text, 0, sizeof text); !rc && next_item(&it, text, sizeof text - 4, &fits); memset(text, 0, sizeof text)) {
			memcpy(copy, text, sizeof copy);
			if (!fits || !parse_interval(text, &name, &lo, &hi))
				return iog_fail(err, -EINVAL, "\"%s\" must be %s, but item %u is \"%s\" (as text: lo:hi or x=lo:hi)",
					p->name, form, to.n + 1, copy);
			rc = add_interval(p, &to, name, lo, hi, err);
		}
	} else if (v->kind == IOG_V_LIST) {
		for (uint32_t i = 0; i < v->n_items && !rc; i++) {
			const struct iog_value *e = &v->item[i];
			char got[SHOWN];

			const char *key = v->key ? v->key[i] : NULL;

			if (e->kind != IOG_V_LIST || e->n_items != 2 || e->item[0].kind != IOG_V_NUMBER ||
				e->item[1].kind != IOG_V_NUMBER || e->key)
				return key ? iog_fail(err, -EINVAL, "\"%.*s\" must be an interval {lo, hi} of two numbers, got %s", 48, key,
						     shown(got, e))
					   : iog_fail(err, -EINVAL, "\"%s\" must be %s, but item %u is %s", p->name, form, i + 1,
						     shown(got, e));
			rc = add_interval(p, &to, key, e->item[0].n, e->item[1].n, err);
		}
	} else {
		return wrong(p, v, form, err);
	}
	if (!rc)
		*field = to;
	return rc;
}

/* ---- one value ---- */

static int set_bool(const struct iog_param *p, uint32_t *field, const struct iog_value *v, struct iog_err *err)
{
	static const char words[][8] = { "false", "no", "off", "0", "true", "yes", "on", "1" };

	if (v->kind == IOG_V_BOOL) {
		*field = v->b;
		return 0;
	}
	for (unsigned i = 0; v->kind == IOG_V_STRING && i < IOG_COUNT(words); i++) {
		if (iog_streq(v->s, words[i])) {
			*field = i >= 4;
			return 0;
		}
	}
	return wrong(p, v, "true or false", err);
}

static int set_int(const struct iog_param *p, int64_t *field, const struct iog_value *v, struct iog_err *err)
{
	int64_t n;
	int rc;

	if (v->kind == IOG_V_NUMBER && v->n >= -0x1p63 && v->n < 0x1p63 && (double)(int64_t)v->n == v->n)
		n = (int64_t)v->n;
	else if (v->kind != IOG_V_STRING || !parse_int(v->s, &n))
		return wrong(p, v, "a whole number", err);
	rc = check_range(p, (double)n, err);
	if (!rc)
		*field = n;
	return rc;
}

static int set_double(const struct iog_param *p, double *field, const struct iog_value *v, struct iog_err *err)
{
	bool seconds = p->type == IOG_P_SECONDS;
	double n = v->n;
	int rc;

	if (v->kind == IOG_V_STRING ? !(seconds ? iog_parse_seconds(v->s, &n) : parse_plain(v->s, &n))
				    : v->kind != IOG_V_NUMBER || __builtin_isnan(n) || __builtin_isinf(n) || (seconds && n < 0))
		return wrong(p, v, seconds ? "a time such as 2, \"250ms\", \"5s\" or \"1min\"" : "a number", err);
	rc = check_range(p, n, err);
	if (!rc)
		*field = n;
	return rc;
}

static int set_size(const struct iog_param *p, uint64_t *field, const struct iog_value *v, struct iog_err *err)
{
	uint64_t n;
	int rc;

	if (v->kind == IOG_V_STRING ? !iog_parse_bytes(v->s, &n) : v->kind != IOG_V_NUMBER || !whole_u64(v->n, &n) || n > INT64_MAX)
		return wrong(p, v, "a size in bytes such as 4096, \"64KiB\" or \"1.5 GiB\"", err);
	rc = check_range(p, (double)n, err);
	if (!rc)
		*field = n;
	return rc;
}

static int set_text(const struct iog_param *p, char *field, const struct iog_value *v, struct iog_err *err)
{
	char number[40];
	const char *s = v->s;

	/* filter(true) and color = 3 are expressions too. */
	if (p->type == IOG_P_EXPR && v->kind == IOG_V_BOOL) {
		s = v->b ? "true" : "false";
	} else if (p->type == IOG_P_EXPR && v->kind == IOG_V_NUMBER && !__builtin_isnan(v->n) && !__builtin_isinf(v->n)) {
		iog_format(number, sizeof number, "%.17g", v->n);
		s = number;
	} else if (v->kind != IOG_V_STRING) {
		return wrong(p, v, p->type == IOG_P_EXPR ? "an expression in quotes" : "a string", err);
	}
	if (iog_strlen(s) >= p->size)
		return iog_fail(err, -EINVAL, "\"%s\" must be shorter than %u bytes, got %zu", p->name, p->size, iog_strlen(s));
	memset(field, 0, p->size);
	return iog_strset(field, p->size, s) ? 0 : -EINVAL;
}

static int set(const struct iog_param *p, void *conf, const struct iog_value *v, struct iog_err *err)
{
	void *field = (char *)conf + p->offset;

	switch (p->type) {
	case IOG_P_BOOL: return set_bool(p, field, v, err);
	case IOG_P_INT: return set_int(p, field, v, err);
	case IOG_P_NUMBER:
	case IOG_P_SECONDS: return set_double(p, field, v, err);
	case IOG_P_STRING:
	case IOG_P_EXPR: return set_text(p, field, v, err);
	case IOG_P_CHOICE:
		if (v->kind != IOG_V_STRING)
			return wrong(p, v, "one of the words in its documentation, in quotes", err);
		return set_choice(p, field, v->s, err);
	case IOG_P_SIZE: return set_size(p, field, v, err);
	case IOG_P_NUMBERS: return set_numbers(p, field, v, err);
	case IOG_P_NAMES: return set_names(p, field, v, err);
	case IOG_P_INTERVALS: return set_intervals(p, field, v, err);
	default: return iog_fail(err, -EINVAL, "\"%s\" has an unknown kind (%u) in its table", p->name, p->type);
	}
}

int iog_param_defaults(const struct iog_param *table, void *conf, struct iog_err *err)
{
	for (const struct iog_param *p = table; p && p->name; p++) {
		struct iog_value v = { .kind = IOG_V_STRING, .s = p->def };

		if (p->def && set(p, conf, &v, err))
			return -EINVAL;
	}
	return 0;
}

enum { TABLE_MAX = 64 };

int iog_param_set(const struct iog_param *table, void *conf, const char *name, const struct iog_value *v, struct iog_err *err)
{
	const struct iog_param *p = iog_param_find(table, name);
	const char *names[TABLE_MAX] = { 0 }, *near;
	char all[256] = "";
	size_t n = 0, len = 0;

	if (p)
		return set(p, conf, v, err);
	for (p = table; p && p->name && n < TABLE_MAX; p++) {
		len = IOG_MIN(len, sizeof all - 1);
		len += (size_t)iog_format(all + len, sizeof all - len, "%s%s", n ? ", " : "", p->name);
		names[n++] = p->name;
	}
	near = iog_nearest(name, names, n);
	if (near)
		return iog_fail(err, -EINVAL, "unknown parameter \"%.*s\"; did you mean \"%s\"?", 48, name, near);
	if (!n)
		return iog_fail(err, -EINVAL, "unknown parameter \"%.*s\": there are none here", 48, name);
	return iog_fail(err, -EINVAL, "unknown parameter \"%.*s\"; there are %s", 48, name, all);
}

/* ---- values as text ---- */

struct text {
	char *dst;
	size_t size, len;
};

static void put(struct text *t, const char *s)
{
	size_t n = iog_strlen(s);

	if (t->len < t->size)
		memcpy(t->dst + t->len, s, IOG_MIN(n, t->size - t->len));
	t->len += n;
}

/* The fewest digits that read back as the same number. */
static void put_number(struct text *t, double v)
{
	char s[40];
	double back;

	for (int digits = 15; digits <= 17; digits++) {
		iog_format(s, sizeof s, "%.*g", digits, v);
		if (iog_parse_number(s, iog_strlen(s), &back) && back == v)
			break;
	}
	put(t, s);
}

size_t iog_param_text(const struct iog_param *p, const void *conf, char *dst, size_t size)
{
	const void *field = (const char *)conf + p->offset;
	struct text t = { dst, size ? size - 1 : 0, 0 };
	char s[64];

	switch (p->type) {
	case IOG_P_BOOL: put(&t, *(const uint32_t *)field ? "true" : "false"); break;
	case IOG_P_INT:
		iog_format(s, sizeof s, "%lld", (long long)*(const int64_t *)field);
		put(&t, s);
		break;
	case IOG_P_NUMBER:
	case IOG_P_SECONDS: put_number(&t, *(const double *)field); break;
	case IOG_P_STRING:
	case IOG_P_EXPR: put(&t, field); break;
	case IOG_P_CHOICE: {
		const char *at;
		size_t len;

		if (choice(p->choices, *(const uint32_t *)field, &at, &len)) {
			iog_format(s, sizeof s, "%.*s", (int)len, at);
			put(&t, s);
		}
		break;
	}
	case IOG_P_SIZE: {
		static const char units[][4] = { "", "KiB", "MiB", "GiB", "TiB" };
		uint64_t n = *(const uint64_t *)field;
		unsigned k = 0;

		while (n && !(n & 1023) && k + 1 < IOG_COUNT(units))
			n >>= 10, k++;
		iog_format(s, sizeof s, "%llu%s", (unsigned long long)n, units[k]);
		put(&t, s);
		break;
	}
	case IOG_P_NUMBERS: {
		const struct iog_numbers *l = field;

		for (uint32_t i = 0; i < IOG_MIN(l->n, (uint32_t)IOG_LIST_MAX); i++) {
			put(&t, i ? ", " : "");
			put_number(&t, l->v[i]);
		}
		break;
	}
	case IOG_P_NAMES: {
		const struct iog_names *l = field;

		for (uint32_t i = 0; i < IOG_MIN(l->n, (uint32_t)IOG_LIST_MAX); i++) {
			put(&t, i ? ", " : "");
			put(&t, l->v[i]);
		}
		break;
	}
	case IOG_P_INTERVALS: {
		const struct iog_intervals *l = field;

		for (uint32_t i = 0; i < IOG_MIN(l->n, (uint32_t)IOG_RANK); i++) {
			put(&t, i ? ", " : "");
			put(&t, l->v[i].name);
			put(&t, l->v[i].name[0] ? "=" : "");
			put_number(&t, l->v[i].lo);
			put(&t, ":");
			put_number(&t, l->v[i].hi);
		}
		break;
	}
	default: break;
	}
	if (size)
		dst[IOG_MIN(t.len, size - 1)] = 0;
	return t.len;
}
