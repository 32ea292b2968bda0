/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table sink: one row per record, as CSV (RFC 4180, with a header row) or JSON lines. The columns are step, time, epoch, then the
 * variables in the order of the schema; those of small rank are spread over one column per element. A row is written with one call and
 * never changed, so a reader sees whole rows; a torn last row is cut off when the file is opened again. Runs on its I/O thread.
 */
#include "runtime/host/endpoint.h"
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>

enum { AUTO, CSV, JSONL };
enum { APPEND, TRUNCATE, NEW };
enum { COLUMNS = 4096, CELL = 64, ROW_MAX = 1 << 20, TITLE = 128 };

struct conf {
	char path[IOG_TEXT];
	uint32_t format, on_restart;
	int64_t columns, flush;
	struct iog_names variables;
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, path, IOG_P_STRING, .flags = IOG_PF_FIRST | IOG_PF_REQUIRED | IOG_PF_WRITES,
		.doc = "The file; folders are made."),
	IOG_PARAM(struct conf, format, IOG_P_CHOICE, .def = "auto", .choices = "auto|csv|jsonl",
		.doc = "auto: JSON lines for .json, .jsonl and .ndjson, else CSV."),
	IOG_PARAM(struct conf, variables, IOG_P_NAMES, .doc = "The variables to write; none: all."),
	IOG_PARAM(struct conf, columns, IOG_P_INT, .def = "64", .min = 1, .max = COLUMNS,
		.doc = "A variable may be spread over so many columns, at most."),
	IOG_PARAM(struct conf, on_restart, IOG_P_CHOICE, .def = "append", .choices = "append|truncate|new",
		.doc = "When the file exists: go on after its last row, start it anew, or refuse."),
	IOG_PARAM(struct conf, flush, IOG_P_INT, .def = "10", .min = 1, .max = 1e9, .unit = "records",
		.doc = "With release = \"safe\": make the file durable at least this often."),
	{ .name = NULL },
};

struct table {
	struct conf conf;
	bool json, failed;
	int fd;
	uint64_t end; /* bytes of whole rows */
	struct iog_schema schema;
	uint32_t n_vars, var[IOG_VARS];
	uint32_t cells[IOG_VARS]; /* columns of var[i] */
	char *title;              /* header text of every column, NUL-terminated, in order; for JSON with quotes and colon */
	char *row;
	size_t row_size;
	bool any; /* a last row was found */
	struct iog_id last;
};

static bool is_json(const struct conf *c)
{
	if (c->format != AUTO)
		return c->format == JSONL;
	static const char *const ext[] = { ".json", ".jsonl", ".ndjson" };
	size_t n = iog_strlen(c->path);
	for (size_t i = 0; i < IOG_COUNT(ext); i++) {
		size_t k = iog_strlen(ext[i]);
		if (n > k && iog_streq(c->path + n - k, ext[i]))
			return true;
	}
	return false;
}

static bool is_complex(unsigned dtype) { return dtype == IOG_C64 || dtype == IOG_C128; }

/* Fills var[] and cells[]; 0 or -EINVAL with a message. */
static int choose(const struct conf *c, const struct iog_schema *s, uint32_t var[], uint32_t cells[], uint32_t *n_vars, struct iog_err *err)
{
	uint64_t total = 3;
	*n_vars = 0;
	for (uint32_t k = 0; k < c->variables.n; k++) {
		const char *names[IOG_VARS];
		for (uint32_t i = 0; i < s->n_vars; i++)
			names[i] = s->var[i].name;
		if (iog_schema_var(s, c->variables.v[k]) < 0) {
			const char *near = iog_nearest(c->variables.v[k], names, s->n_vars);
			return iog_fail(err, -EINVAL, "\"variables\" names %s, which the stream does not have%s%s%s", c->variables.v[k],
				near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		}
	}
	for (uint32_t i = 0; i < s->n_vars; i++) {
		const struct iog_vardef *v = &s->var[i];
		bool wanted = !c->variables.n;
		for (uint32_t k = 0; k < c->variables.n; k++)
			wanted |= iog_streq(c->variables.v[k], v->name);
		if (!wanted)
			continue;
		if (v->n_codecs)
			return iog_fail(err, -EINVAL, "variable %s is encoded (%s); decode it first, or leave it out with \"variables\"",
				v->name, iog_codec_name(v->codec[v->n_codecs - 1]));
		uint64_t n = is_complex(v->dtype) ? 2 : 1;
		for (unsigned d = 0; d < v->rank; d++) {
			const struct iog_dim *dim = &s->dim[v->dim[d]];
			if (dim->max <= 0 && !dim->fixed)
				return iog_fail(err, -EINVAL,
					"variable %s has dimension %s of unknown size; a table holds small variables only: "
					"reduce it first (stats), or leave it out with \"variables\"",
					v->name, dim->name);
			if (!iog_mul(n, (uint64_t)dim->max, &n))
				n = UINT64_MAX;
		}
		if (n > (uint64_t)c->columns)
			return iog_fail(err, -EINVAL,
				"variable %s would take %llu columns, more than \"columns\" allows (%lld); "
				"reduce it first (stats), or leave it out with \"variables\"",
				v->name, (unsigned long long)n, (long long)c->columns);
		total += n;
		var[*n_vars] = i;
		cells[(*n_vars)++] = (uint32_t)n;
	}
	if (total > COLUMNS)
		return iog_fail(
			err, -EINVAL, "%llu columns are more than %d; choose some with \"variables\"", (unsigned long long)total, COLUMNS);
	return 0;
}

static int accept_schema(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	uint32_t var[IOG_VARS], cells[IOG_VARS], n;
	return choose(conf, in, var, cells, &n, err);
}

/* The label of index i in "x,y,z"; false when there is none. */
static bool label(const char *labels, int64_t i, char *dst, size_t size)
{
	const char *p = labels;
	while (i > 0 && *p)
		if (*p++ == ',')
			i--;
	size_t n = 0;
	while (p[n] && p[n] != ',')
		n++;
	if (!n || i > 0)
		return false;
	iog_format(dst, size, "%.*s", (int)n, p);
	return true;
}

/* Name of element k of variable v: position.x, hist.3, m.a.x; complex ones end in .re and .im. */
static void column_name(const struct iog_schema *s, const struct iog_vardef *v, uint32_t k, char *dst, size_t size)
{
	int64_t at[IOG_RANK];
	uint32_t part = 0;
	if (is_complex(v->dtype))
		part = k % 2, k /= 2;
	for (unsigned d = v->rank; d-- > 0;) {
		int64_t n = s->dim[v->dim[d]].max;
		at[d] = n ? k % n : 0;
		k = n ? (uint32_t)(k / n) : 0;
	}
	size_t w = (size_t)iog_format(dst, size, "%s", v->name);
	for (unsigned d = 0; d < v->rank && w < size; d++) {
		char text[IOG_NAME];
		if (!label(s->dim[v->dim[d]].labels, at[d], text, sizeof text))
			iog_format(text, sizeof text, "%lld", (long long)at[d]);
		w += (size_t)iog_format(dst + w, size - w, ".%s", text);
	}
	if (is_complex(v->dtype) && w < size)
		iog_format(dst + w, size - w, part ? ".im" : ".re");
}

/* Appends a CSV field, quoted when RFC 4180 asks for it. Names and numbers here never need it, but a path of the future might. */
static size_t csv_field(char *dst, const char *s)
{
	bool quote = false;
	for (const char *p = s; *p; p++)
		quote |= *p == ',' || *p == '"' || *p == '\n' || *p == '\r';
	size_t n = 0;
	if (quote)
		dst[n++] = '"';
	for (; *s; s++) {
		if (*s == '"')
			dst[n++] = '"';
		dst[n++] = *s;
	}
	if (quote)
		dst[n++] = '"';
	return n;
}

/* Every column's title, packed; returns the header row of a CSV file in t->row (with its line end) and its length. */
static int titles(struct table *t, size_t *header, struct iog_err *err)
{
	size_t columns = 3;
	for (uint32_t i = 0; i < t->n_vars; i++)
		columns += t->cells[i];
	t->row_size = columns * (2 * TITLE + CELL) + 16;
	t->title = calloc(columns, TITLE);
	t->row = malloc(t->row_size);
	if (!t->title || !t->row)
		return iog_fail(err, -ENOMEM, "no memory");
	iog_strset(t->title, TITLE, "step");
	iog_strset(t->title + TITLE, TITLE, "time");
	iog_strset(t->title + 2 * TITLE, TITLE, "epoch");
	size_t c = 3, n = 0;
	for (uint32_t i = 0; i < t->n_vars; i++)
		for (uint32_t k = 0; k < t->cells[i]; k++)
			column_name(&t->schema, &t->schema.var[t->var[i]], k, t->title + TITLE * c++, TITLE);
	for (c = 0; c < columns; c++) {
		if (c)
			t->row[n++] = ',';
		n += csv_field(t->row + n, t->title + TITLE * c);
	}
	t->row[n++] = '\r', t->row[n++] = '\n';
	*header = n;
	return 0;
}

/* Shortest text that reads back as the same number. */
static size_t number(char *dst, double v, bool single, bool json)
{
	if (!isfinite(v))
		return (size_t)iog_format(dst, CELL, "%s", json ? "null" : isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
	for (int digits = single ? 6 : 15; digits < (single ? 9 : 17); digits++) {
		snprintf(dst, CELL, "%.*g", digits, v);
		double back = strtod(dst, NULL);
		if (single ? (float)back == (float)v : !(back < v || back > v))
			return iog_strlen(dst);
	}
	return (size_t)snprintf(dst, CELL, "%.*g", single ? 9 : 17, v);
}

/* Text of the element at p (NULL: not there). Both 0x1F-free: only digits, letters, sign and point. */
static size_t cell(char *dst, const uint8_t *p, unsigned dtype, bool json)
{
	if (!p)
		return (size_t)iog_format(dst, CELL, "%s", json ? "null" : "");
	int64_t i;
	uint64_t u;
	switch (dtype) {
	case IOG_I64: memcpy(&i, p, sizeof i); return (size_t)iog_format(dst, CELL, "%lld", (long long)i);
	case IOG_U64: memcpy(&u, p, sizeof u); return (size_t)iog_format(dst, CELL, "%llu", (unsigned long long)u);
	case IOG_BOOL: return (size_t)iog_format(dst, CELL, "%s", *p ? "true" : "false");
	case IOG_F16:
	case IOG_F32:
	case IOG_C64: return number(dst, iog_load(p, dtype), true, json);
	case IOG_F64:
	case IOG_C128: return number(dst, iog_load(p, dtype), false, json);
	default: return (size_t)iog_format(dst, CELL, "%lld", (long long)iog_load(p, dtype));
	}
}

/* Where element k (in C order of the declared maxima) of variable v is in the record; NULL: nowhere. */
static const uint8_t *element(const struct iog_schema *s, const struct iog_record *r, uint32_t var, uint32_t k)
{
	const struct iog_vardef *v = &s->var[var];
	int64_t at[IOG_RANK];
	uint32_t part = 0;
	if (is_complex(v->dtype))
		part = k % 2 * iog_dtype_size(v->dtype) / 2, k /= 2;
	for (unsigned d = v->rank; d-- > 0;) {
		int64_t n = s->dim[v->dim[d]].max;
		at[d] = n ? k % n : 0;
		k = n ? (uint32_t)(k / n) : 0;
	}
	for (uint32_t b = 0; b < r->var[var].n_blocks; b++) {
		const struct iog_block *blk = &r->var[var].block[b];
		const uint8_t *p = blk->data + part;
		unsigned d = 0;
		for (; d < v->rank && at[d] >= blk->start[d] && at[d] - blk->start[d] < blk->count[d]; d++)
			p += (at[d] - blk->start[d]) * blk->stride[d];
		if (d == v->rank)
			return p;
	}
	return NULL;
}

static enum iog_step put(void *self, const struct iog_record *r, struct iog_err *err)
{
	struct table *t = self;
	char *p = t->row;
	size_t c = 3;
	if (t->failed) {
		iog_fail(err, -EIO, "%s could not be written before", t->conf.path);
		return IOG_FATAL;
	}
	char time[CELL];
	number(time, r->time, false, t->json);
	p += iog_format(
		p, 3 * CELL, t->json ? "{\"step\":%lld,\"time\":%s,\"epoch\":%u" : "%lld,%s,%u", (long long)r->step, time, r->id.epoch);
	for (uint32_t i = 0; i < t->n_vars; i++) {
		unsigned type = t->schema.var[t->var[i]].dtype;
		/* The imaginary part is loaded as a number of half the size. */
		unsigned half = type == IOG_C64 ? IOG_F32 : type == IOG_C128 ? IOG_F64 : type;
		for (uint32_t k = 0; k < t->cells[i]; k++, c++) {
			*p++ = ',';
			if (t->json)
				p += iog_format(p, TITLE + 4, "\"%s\":", t->title + TITLE * c);
			p += cell(p, element(&t->schema, r, t->var[i], k), half, t->json);
		}
	}
	if (t->json)
		*p++ = '}';
	else
		*p++ = '\r';
	*p++ = '\n';
	size_t n = (size_t)(p - t->row);
	int e = iog_write_at(t->fd, t->row, n, t->end);
	if (e < 0) {
		/* Half a row is worse than none. */
		if (ftruncate(t->fd, (off_t)t->end) < 0)
			t->failed = true;
		iog_fail_write(err, e, t->conf.path);
		return IOG_FATAL;
	}
	t->end += n;
	return IOG_OK;
}

static enum iog_step flush(void *self, struct iog_err *err)
{
	struct table *t = self;
	if (fdatasync(t->fd) == 0)
		return IOG_OK;
	iog_fail_write(err, -errno, t->conf.path);
	return IOG_FATAL;
}

/* Digits, with a sign when it may have one; moves *p past them. */
static bool integer(const char **p, const char *end, bool negative_too, uint64_t *value)
{
	const char *s = *p;
	bool minus = s < end && *s == '-';
	if (minus && !negative_too)
		return false;
	s += minus;
	uint64_t v = 0;
	const char *first = s;
	for (; s < end && *s >= '0' && *s <= '9'; s++)
		if (!iog_mul(v, 10, &v) || !iog_add(v, (uint64_t)(*s - '0'), &v))
			return false;
	if (s == first || v > (negative_too ? (uint64_t)INT64_MAX + minus : UINT64_MAX))
		return false;
	*value = minus ? 0 - v : v;
	*p = s;
	return true;
}

static bool skip(const char **p, const char *end, const char *text)
{
	size_t n = iog_strlen(text);
	if ((size_t)(end - *p) < n || memcmp(*p, text, n))
		return false;
	*p += n;
	return true;
}

/* Step and epoch of a row without its line end. */
static bool parse_row(const char *p, const char *end, bool json, struct iog_id *id)
{
	uint64_t step, epoch;
	if ((json && !skip(&p, end, "{\"step\":")) || !integer(&p, end, true, &step) || !skip(&p, end, json ? ",\"time\":" : ","))
		return false;
	while (p < end && *p != ',')
		p++;
	if (!skip(&p, end, json ? ",\"epoch\":" : ",") || !integer(&p, end, false, &epoch) || epoch > UINT32_MAX)
		return false;
	*id = (struct iog_id){ .seq = iog_seq_of_step((int64_t)step), .epoch = (uint32_t)epoch };
	return p == end || *p == ',' || *p == '}';
}

/*
 * Finds the last whole row of an existing file of `size` bytes and sets t->end behind it. A row is whole when it ends in a line end; what
 * follows the last one, and trailing lines that are no rows (blocks a crash left unwritten read as zeros), are torn.
 */
static int find_end(struct table *t, uint64_t size, size_t header, struct iog_err *err)
{
	char *head = malloc(header ? header : 1), *buf = malloc(ROW_MAX);
	int r = -ENOMEM;
	if (!head || !buf) {
		iog_fail(err, r, "no memory");
		goto out;
	}
	if (size < header) {
		/* Not even the header row got there, if it is the beginning of it. */
		if ((r = iog_read_at(t->fd, head, size, 0)) == 0 && memcmp(head, t->row, size))
			r = iog_fail(err, -EEXIST,
				"%s exists and is no table of these columns; use another path or on_restart = \"truncate\"", t->conf.path);
		else if (r < 0)
			iog_fail(err, r, "cannot read %s: %s", t->conf.path, iog_errno_text(-r));
		t->end = 0;
		goto out;
	}
	if ((r = iog_read_at(t->fd, head, header, 0)) < 0) {
		iog_fail(err, r, "cannot read %s: %s", t->conf.path, iog_errno_text(-r));
		goto out;
	}
	if (memcmp(head, t->row, header)) {
		r = iog_fail(err, -EEXIST, "%s exists with other columns; use another path or on_restart = \"truncate\"", t->conf.path);
		goto out;
	}
	if (t->json) {
		static const char begin[8] = "{\"step\":";
		uint64_t n = IOG_MIN(size, sizeof begin);
		if ((r = iog_read_at(t->fd, buf, n, 0)) < 0 || memcmp(buf, begin, n)) {
			r = iog_fail(err, -EEXIST, "%s exists and holds no rows of ours; use another path or on_restart = \"truncate\"",
				t->conf.path);
			goto out;
		}
	}
	uint64_t end = size;
	while (end > header) {
		uint64_t n = IOG_MIN(end - header, (uint64_t)ROW_MAX);
		if ((r = iog_read_at(t->fd, buf, n, end - n)) < 0) {
			iog_fail(err, r, "cannot read %s: %s", t->conf.path, iog_errno_text(-r));
			goto out;
		}
		/* buf[0, n) ends at `end`; go back from line end to line end until a row is found. */
		uint64_t stop = n;
		while (stop > 0) {
			if (buf[stop - 1] != '\n') {
				stop--;
				continue;
			}
			uint64_t from = stop - 1;
			while (from > 0 && buf[from - 1] != '\n')
				from--;
			if (from == 0 && end - n > header)
				break;
			uint64_t to = stop - 1;
			if (to > from && !t->json && buf[to - 1] == '\r')
				to--;
			if (parse_row(buf + from, buf + to, t->json, &t->last)) {
				t->any = true;
				t->end = end - n + stop;
				goto out;
			}
			stop = from;
		}
		if (stop == n && n == ROW_MAX) {
			/* A line of a MiB is none of ours: skip it whole. */
			end -= n;
			continue;
		}
		end = stop ? end - n + stop : end - n;
	}
	t->end = header;
out:
	free(head);
	free(buf);
	return r;
}

static int finish(void *self, struct iog_err *err)
{
	struct table *t = self;
	if (!t)
		return 0;
	int r = 0;
	if (t->fd >= 0 && close(t->fd) < 0)
		r = iog_fail_write(err, -errno, t->conf.path);
	free(t->title);
	free(t->row);
	free(t);
	return r;
}

static int begin(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	struct table *t = calloc(1, sizeof *t);
	size_t header = 0;
	uint64_t size = 0;
	if (!t)
		return iog_fail(err, -ENOMEM, "no memory");
	t->fd = -1;
	t->conf = *(const struct conf *)conf;
	t->json = is_json(&t->conf);
	t->schema = *in;
	int r = choose(&t->conf, in, t->var, t->cells, &t->n_vars, err);
	if (r < 0 || (r = titles(t, &header, err)) < 0 || (r = iog_make_folders(t->conf.path, err)) < 0)
		goto fail;
	if ((r = iog_open_alone(t->conf.path, t->conf.on_restart == TRUNCATE, t->conf.on_restart == NEW, &t->fd, &size, err)) < 0)
		goto fail;
	if (t->json) /* instead of a header row: how every row begins */
		header = 0;
	if (size > 0 && (r = find_end(t, size, header, err)) < 0)
		goto fail;
	if (t->end < size && ftruncate(t->fd, (off_t)t->end) < 0) {
		r = iog_fail_write(err, -errno, t->conf.path);
		goto fail;
	}
	if (t->end == 0 && header) {
		if ((r = iog_write_at(t->fd, t->row, header, 0)) < 0) {
			iog_fail_write(err, r, t->conf.path);
			goto fail;
		}
		t->end = header;
	}
	iog_sync_parent(t->conf.path);
	*self = t;
	return 0;
fail:
	finish(t, NULL);
	return r;
}

static int recover(void *self, struct iog_id *last, bool *any, struct iog_err *err)
{
	(void)err;
	struct table *t = self;
	*any = t->any;
	*last = t->last;
	return 0;
}

static uint32_t flush_every(const void *conf) { return (uint32_t)((const struct conf *)conf)->flush; }

extern const struct iog_sink iog_sink_table;
const struct iog_sink iog_sink_table = {
	.name = "table",
	.summary = "One row per record, as CSV or JSON lines",
	.params = params,
	.conf_size = sizeof(struct conf),
	.flags = IOG_SINK_SAFE,
	.accept = accept_schema,
	.open = begin,
	.write = put,
	.flush = flush,
	.recover = recover,
	.flush_every = flush_every,
	.close = finish,
};
