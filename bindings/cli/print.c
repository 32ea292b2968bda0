/* SPDX-License-Identifier: BSD-3-Clause */
/* Text for people: figures with units, tables, wrapped paragraphs; and JSON for programs. One thread. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli.h"

enum { COLUMNS = 100 };

bool iog_cli_colour(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	return isatty(fileno(f)) && !(no && no[0]) && term && strcmp(term, "dumb");
}

void iog_cli_head(const char *text)
{
	if (iog_cli_colour(stdout))
		printf("\033[1m%s\033[0m\n", text);
	else
		printf("%s\n", text);
}

bool iog_cli_flush(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return true;
	if (errno != EPIPE)
		fprintf(stderr, "iog: cannot write the output: %s\n", strerror(errno));
	return false;
}

int iog_cli_json(json_t *j)
{
	if (!j) {
		fprintf(stderr, "iog: out of memory for JSON\n");
		return IOG_EXIT_FAILED;
	}
	int rc = json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	json_decref(j);
	putchar('\n');
	return iog_cli_flush() && !rc ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

json_t *iog_cli_text(const char *text)
{
	json_t *j = json_string(text);
	char *copy = j ? NULL : strdup(text);
	if (!copy)
		return j;
	for (char *c = copy; *c; c++)
		if (*c & 0x80)
			*c = '?';
	j = json_string(copy);
	free(copy);
	return j;
}

/* A terminal would obey control characters: '?' stands for each but those to keep. They have one byte, or two in UTF-8. */
static void plain(char *text, const char *keep)
{
	char *to = text;
	for (const char *c = text; *c; c++) {
		const uint8_t x = (uint8_t)c[0], y = (uint8_t)c[1];
		const bool two = x == 0xc2 && y >= 0x80 && y < 0xa0;
		*to++ = two || ((x < 0x20 || x == 0x7f) && !strchr(keep, *c)) ? '?' : *c;
		c += two;
	}
	*to = 0;
}

void iog_cli_print(FILE *f, const char *fmt, ...)
{
	va_list ap;
	char *text;
	va_start(ap, fmt);
	const int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	plain(text, "\n\t");
	fputs(text, f);
	free(text);
}

/* ---- figures ---- */

/* Three significant digits, no exponent. */
static int digits(double v) { return v >= 99.95 || v == 0 ? 0 : v >= 9.995 ? 1 : 2; }

/* Digits in groups of three: 1 234 567. */
char *iog_cli_count(char *dst, double n)
{
	char s[IOG_FIGURE];
	int len = snprintf(s, sizeof s, "%.0f", n), at = 0;
	for (int i = 0; i < len && at < IOG_FIGURE - 2; i++) {
		if (i && s[i - 1] != '-' && (len - i) % 3 == 0)
			dst[at++] = ' ';
		dst[at++] = s[i];
	}
	dst[at] = 0;
	return dst;
}

char *iog_cli_seconds(char *dst, double s)
{
	static const struct {
		double from, scale;
		const char *unit;
	} u[] = { { 0.9995, 1, "s" }, { 0.9995e-3, 1e3, "ms" }, { 0.9995e-6, 1e6, "us" }, { 0, 1e9, "ns" } };
	if (s >= 99.95) {
		uint64_t t = (uint64_t)(s + 0.5);
		if (t < 3600)
			snprintf(dst, IOG_FIGURE, "%llu min %02llu s", (unsigned long long)t / 60, (unsigned long long)t % 60);
		else
			snprintf(dst, IOG_FIGURE, "%llu h %02llu min", (unsigned long long)t / 3600, (unsigned long long)t / 60 % 60);
		return dst;
	}
	unsigned i = 0;
	while (s < u[i].from)
		i++;
	snprintf(dst, IOG_FIGURE, "%.*f %s", digits(s * u[i].scale), s * u[i].scale, u[i].unit);
	return dst;
}

char *iog_cli_rate(char *dst, double n, double seconds, const char *what)
{
	char c[IOG_FIGURE];
	if (!(seconds >= 1e-3)) {
		snprintf(dst, IOG_FIGURE, "-");
		return dst;
	}
	double r = n / seconds;
	if (r >= 99.95 || r == 0)
		iog_cli_count(c, r);
	else
		snprintf(c, sizeof c, "%.*f", digits(r), r);
	snprintf(dst, IOG_FIGURE, "%.30s %.14s/s", c, what);
	return dst;
}

/* ---- tables ---- */

struct iog_cli_table {
	const struct iog_cli_col *col;
	unsigned n_cols;
	char **cell;
	size_t n, cap;
	bool failed;
};

struct iog_cli_table *iog_cli_table_new(const struct iog_cli_col *col, unsigned n)
{
	struct iog_cli_table *t = calloc(1, sizeof *t);
	if (t)
		t->col = col, t->n_cols = n;
	return t;
}

void iog_cli_table_cell(struct iog_cli_table *t, const char *text)
{
	if (!t)
		return;
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		char **c = realloc(t->cell, cap * sizeof *c);
		if (!c) {
			t->failed = true;
			return;
		}
		t->cell = c, t->cap = cap;
	}
	char *copy = strdup(text);
	if (copy)
		plain(copy, "");
	t->failed |= !copy;
	t->cell[t->n++] = copy;
}

/* Characters of UTF-8 text. */
static int width(const char *s)
{
	int n = 0;
	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void cell(FILE *f, const char *text, int w, bool right, bool last)
{
	int pad = w - width(text);
	if (right)
		fprintf(f, "%*s%s", pad, "", text);
	else
		fprintf(f, "%s%*s", text, last ? 0 : pad, "");
}

void iog_cli_table_print(struct iog_cli_table *t, FILE *f, const char *indent)
{
	int w[32] = { 0 };
	unsigned last = 0;
	bool bold = f && iog_cli_colour(f);
	if (!t || t->failed || t->n_cols > IOG_COUNT(w)) {
		fprintf(stderr, "iog: out of memory for a table\n");
	} else if (f) {
		for (unsigned c = 0; c < t->n_cols; c++) {
			bool said = !t->col[c].optional;
			int widest = width(t->col[c].head);
			for (size_t i = c; i < t->n; i += t->n_cols) {
				widest = IOG_MAX(widest, width(t->cell[i]));
				said |= t->cell[i][0] && strcmp(t->cell[i], "-");
			}
			w[c] = said ? widest : 0;
			last = said ? c : last;
		}
		fprintf(f, "%s%s", indent, bold ? "\033[1m" : "");
		for (unsigned c = 0; c < t->n_cols; c++) {
			if (w[c])
				cell(f, t->col[c].head, w[c], t->col[c].right, c == last);
			if (w[c] && c != last)
				fputs("  ", f);
		}
		fprintf(f, "%s\n", bold ? "\033[0m" : "");
		for (size_t r = 0; r + t->n_cols <= t->n; r += t->n_cols) {
			fputs(indent, f);
			for (unsigned c = 0; c < t->n_cols; c++) {
				if (w[c])
					cell(f, t->cell[r + c], w[c], t->col[c].right, c == last);
				if (w[c] && c != last)
					fputs("  ", f);
			}
			fputc('\n', f);
		}
	}
	for (size_t i = 0; t && i < t->n; i++)
		free(t->cell[i]);
	if (t)
		free(t->cell);
	free(t);
}

void iog_cli_wrap(FILE *f, const char *indent, const char *text)
{
	int room = COLUMNS - width(indent);
	while (*text) {
		int n = 0, cut = 0;
		while (text[n] && (n < room || !cut)) {
			if (text[n] == ' ')
				cut = n;
			n++;
		}
		if (!text[n] && n <= room)
			cut = n;
		if (!cut)
			cut = n;
		fprintf(f, "%s%.*s\n", indent, cut, text);
		text += cut;
		while (*text == ' ')
			text++;
	}
}
