/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of endpoints share: configurations from text, a place for a source's records, finding endpoints by name. Everything
 * aborts the test program when it cannot work. Only for test programs, one thread.
 */
#ifndef IOG_RUNTIME_HOST_ENDPOINTS_ENDPOINT_TEST_H
#define IOG_RUNTIME_HOST_ENDPOINTS_ENDPOINT_TEST_H

#include "runtime/host/endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEST_SECOND 1000000000ull

static inline const struct iog_source *test_source(const char *name)
{
	for (const struct iog_source *const *s = iog_sources; *s; s++)
		if (iog_streq((*s)->name, name))
			return *s;
	fprintf(stderr, "no source %s\n", name);
	abort();
}

static inline const struct iog_sink *test_sink(const char *name)
{
	for (const struct iog_sink *const *s = iog_sinks; *s; s++)
		if (iog_streq((*s)->name, name))
			return *s;
	fprintf(stderr, "no sink %s\n", name);
	abort();
}

/* A value from text: true, false, a number, "{1,2}" or "{a,b}", else a string. items must live as long as the value. */
static inline struct iog_value test_value(const char *text, struct iog_value items[16], char store[512])
{
	struct iog_value v = { .kind = IOG_V_STRING, .s = text };
	double n;
	size_t len = iog_strlen(text);
	if (iog_streq(text, "true") || iog_streq(text, "false"))
		return (struct iog_value){ .kind = IOG_V_BOOL, .b = text[0] == 't' };
	if (len && iog_parse_number(text, len, &n) == len)
		return (struct iog_value){ .kind = IOG_V_NUMBER, .n = n, .integer = n == (double)(int64_t)n };
	if (text[0] == '{') {
		v = (struct iog_value){ .kind = IOG_V_LIST, .item = items };
		iog_strset(store, 512, text + 1);
		for (char *p = strtok(store, ",}"); p; p = strtok(NULL, ",}")) {
			struct iog_value none[16];
			char unused[512];
			items[v.n_items++] = test_value(p, none, unused);
		}
	}
	return v;
}

/* A zeroed, defaulted configuration with name, text, name, text, ..., NULL set in it. free() it. err: the first failure, or NULL to abort. */
static inline void *test_conf(const struct iog_param *table, uint32_t size, const char *const *pair)
{
	struct iog_err err = { "" };
	void *conf = calloc(1, size);
	int r = conf ? iog_param_defaults(table, conf, &err) : -1;
	for (; r == 0 && *pair; pair += 2) {
		struct iog_value items[16], v;
		char store[512];
		v = test_value(pair[1], items, store);
		r = iog_param_set(table, conf, pair[0], &v, &err);
	}
	if (r < 0) {
		fprintf(stderr, "configuration: %s\n", err.text);
		abort();
	}
	return conf;
}
#define TEST_SOURCE_CONF(s, ...) test_conf((s)->params, (s)->conf_size, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
#define TEST_SINK_CONF(s, ...)   test_conf((s)->params, (s)->conf_size, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

/* A running source with room for one record. */
struct test_feed {
	const struct iog_source *source;
	void *conf, *self;
	struct iog_schema schema;
	struct iog_out out;
	struct iog_err err;
};

/* describe and open; the result is that of the call that failed. */
static inline int test_feed_open(struct test_feed *f, const struct iog_source *source, void *conf)
{
	uint64_t bytes;
	*f = (struct test_feed){ .source = source, .conf = conf };
	int r = source->describe(conf, &f->schema, &f->err);
	if (r < 0)
		return r;
	if (!iog_schema_payload_max(&f->schema, false, &bytes))
		bytes = 1 << 20;
	f->out.size = IOG_ROUND_UP(bytes + 1, IOG_ALIGN);
	f->out.space = aligned_alloc(IOG_ALIGN, f->out.size);
	f->out.max_blocks = 256;
	f->out.block = calloc(f->out.max_blocks, sizeof *f->out.block);
	if (!f->out.space || !f->out.block)
		abort();
	return source->open(conf, &f->schema, &f->self, &f->err);
}

static inline enum iog_step test_feed_next(struct test_feed *f, uint64_t limit_ns)
{
	return f->source->next(f->self, &f->out, limit_ns, &f->err);
}

static inline void test_feed_close(struct test_feed *f)
{
	if (f->self)
		f->source->close(f->self);
	free(f->out.space);
	free(f->out.block);
	free(f->conf);
	*f = (struct test_feed){ 0 };
}

/* A path in a directory of its own, made when first asked for: under TMPDIR, which the test runner empties. */
static inline const char *test_path(const char *name)
{
	static char dir[200], path[8][256];
	static unsigned k;
	if (!dir[0]) {
		const char *tmp = getenv("TMPDIR");
		snprintf(dir, sizeof dir, "%s/endpoint-XXXXXX", tmp ? tmp : "/tmp");
		if (!mkdtemp(dir))
			abort();
	}
	char *p = path[k++ % 8];
	snprintf(p, 256, "%s/%s", dir, name);
	return p;
}

/* Whole file, NUL-terminated; free() it. */
static inline char *test_read(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	*n = 0;
	if (!f)
		abort();
	size_t size = 0, room = 1 << 16;
	char *b = malloc(room);
	for (size_t got; b && (got = fread(b + size, 1, room - size - 1, f)) > 0;)
		if ((size += got) + 1 == room)
			b = realloc(b, room *= 2);
	fclose(f);
	if (!b)
		abort();
	b[size] = 0;
	*n = size;
	return b;
}

static inline void test_write(const char *path, const void *data, size_t n)
{
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(data, 1, n, f) != n || fclose(f))
		abort();
}

#endif
