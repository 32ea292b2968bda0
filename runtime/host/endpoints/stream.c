/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Source "stream": steps that a program outside publishes through iograph.h, put together from all its ranks. Runs on its I/O thread, in an agent, which
 * brings it together with the writers (runtime/host/feed.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/feed.h"

struct conf {
	char name[IOG_STREAM_NAME];
	char schema[1024];
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, name, IOG_P_STRING, .flags = IOG_PF_REQUIRED | IOG_PF_FIRST,
		.doc = "Name that the program opens the stream by."),
	IOG_PARAM(struct conf, schema, IOG_P_STRING, .def = "",
		.doc = "What it holds, with extents, as \"T: f64[z<=256,y<=256,x<=256] K\": for checking a graph before the program has "
		       "started."),
	{ .name = NULL },
};

struct stream {
	struct iog_feed *feed;
	struct iog_taker *taker;
	struct iog_record *held;
	bool keeps;
};

static int describe(const void *conf, struct iog_schema *schema, struct iog_err *err)
{
	const struct conf *c = conf;
	struct iog_feed *f = iog_feed_get(c->name);
	if (!f)
		return iog_fail(err, -ENOMEM, "no memory");
	const bool known = iog_feed_schema(f, schema);
	iog_feed_put(f);
	if (known)
		return 0;
	if (c->schema[0])
		return iog_schema_parse(schema, c->schema, err);
	return iog_fail(err, -EAGAIN,
		"nobody has opened stream \"%s\" yet: run this graph in an agent, or give `schema` to check it before", c->name);
}

static int begin(const void *conf, const struct iog_schema *schema, void **self, struct iog_err *err)
{
	const struct conf *c = conf;
	struct stream *s = calloc(1, sizeof *s);
	(void)schema;
	if (!s || !(s->feed = iog_feed_get(c->name))) {
		free(s);
		return iog_fail(err, -ENOMEM, "no memory");
	}
	s->taker = iog_taker_open(s->feed, conf, false, err);
	if (!s->taker) {
		iog_feed_put(s->feed);
		free(s);
		return -EIO;
	}
	*self = s;
	return 0;
}

/* One array of the whole in the runtime's slot: the only copy, on a core of ours. */
static bool assemble(struct iog_out *out, const struct iog_record *r, uint32_t v)
{
	const struct iog_vardef *def = &r->schema->var[v];
	int64_t count[IOG_RANK];
	for (unsigned d = 0; d < def->rank; d++)
		count[d] = r->axis[def->dim[d]].extent;
	void *to = iog_out_dense(out, v, def->rank, iog_dtype_size(def->dtype), count);
	if (to)
		iog_record_assemble_whole(r, v, to);
	return to;
}

/* The record that was copied last, or the copy is kept account of. */
static void give_back(struct stream *s)
{
	if (s->held && s->keeps)
		iog_taker_keep(s->taker, s->held);
	else if (s->held)
		iog_taker_release(s->taker, s->held);
	s->held = NULL;
}

static enum iog_step next(void *self, struct iog_out *out, uint64_t limit_ns, struct iog_err *err)
{
	struct stream *s = self;
	bool ended;
	(void)err;
	give_back(s);
	s->held = iog_taker_next(s->taker, limit_ns, &ended);
	if (!s->held)
		return ended ? IOG_FATAL : IOG_HOLD;
	const struct iog_schema *schema = out->rec.schema;
	iog_record_head(&out->rec, s->held, schema->n_dims);
	for (uint32_t v = 0; v < schema->n_vars; v++) {
		if (schema->var[v].flags & IOG_VAR_STATIC || !s->held->var[v].n_blocks)
			out->rec.var[v] = s->held->var[v]; /* stays until the next call, and is copied once per epoch */
		else if (!assemble(out, s->held, v)) {
			iog_taker_release(s->taker, s->held);
			s->held = NULL;
			return IOG_ELIDE;
		}
	}
	return IOG_OK;
}

static bool keep(void *self)
{
	struct stream *s = self;
	return s->keeps = iog_taker_keeps(s->taker);
}

static void release(void *self, uint32_t n)
{
	struct stream *s = self;
	give_back(s); /* it may be among them */
	iog_taker_let_go(s->taker, n);
}

static uint32_t credit(const void *conf)
{
	struct iog_feed *f = iog_feed_get(((const struct conf *)conf)->name);
	const uint32_t n = f ? iog_feed_credit(f) : 0;
	iog_feed_put(f);
	return n;
}

static void finish(void *self)
{
	struct stream *s = self;
	release(s, UINT32_MAX); /* what was not stored is counted by those who had it */
	iog_taker_close(s->taker);
	iog_feed_put(s->feed);
	free(s);
}

static void wake(void *self) { iog_taker_wake(((struct stream *)self)->taker); }

extern const struct iog_source iog_source_stream;
const struct iog_source iog_source_stream = {
	.name = "stream",
	.summary = "Steps that a running program publishes, put together from all its ranks",
	.params = params,
	.conf_size = sizeof(struct conf),
	.describe = describe,
	.open = begin,
	.next = next,
	.close = finish,
	.wake = wake,
	.keep = keep,
	.release = release,
	.credit = credit,
};
