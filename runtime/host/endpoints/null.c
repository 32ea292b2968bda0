/* SPDX-License-Identifier: BSD-3-Clause */
/* The null sink: counts records and drops them; with `touch` it reads every byte first, as a real consumer would. Runs on its I/O thread. */
#include "runtime/host/endpoints/null.h"
#include "runtime/host/endpoint.h"

#include <errno.h>
#include <stdlib.h>

struct conf {
	uint32_t touch, pad;
};

static const struct iog_param params[] = {
	IOG_PARAM(struct conf, touch, IOG_P_BOOL, .def = "false", .doc = "Read every byte before the record is dropped."),
	{ .name = NULL },
};

struct null {
	struct conf conf;
	struct iog_null_seen seen;
};

const struct iog_null_seen *iog_null_seen(const void *self) { return &((const struct null *)self)->seen; }

static int accept_all(const void *conf, const struct iog_schema *in, struct iog_err *err)
{
	(void)conf, (void)in, (void)err;
	return 0;
}

static int begin(const void *conf, const struct iog_schema *in, void **self, struct iog_err *err)
{
	(void)in;
	struct null *n = calloc(1, sizeof *n);
	if (!n)
		return iog_fail(err, -ENOMEM, "no memory");
	n->conf = *(const struct conf *)conf;
	*self = n;
	return 0;
}

/* Hashes the elements of one block, in C order. */
static uint64_t touch(const struct iog_block *b, unsigned rank, uint32_t size, uint64_t sum)
{
	int64_t n = iog_block_elems(b, rank), at[IOG_RANK] = { 0 };
	if (!n)
		return sum;
	if (iog_block_dense(b, rank, size))
		return iog_hash(b->data, (size_t)n * size, sum);
	while (n--) {
		const uint8_t *p = b->data;
		for (unsigned d = 0; d < rank; d++)
			p += at[d] * b->stride[d];
		sum = iog_hash(p, size, sum);
		for (unsigned d = rank; d-- > 0 && ++at[d] == b->count[d];)
			at[d] = 0;
	}
	return sum;
}

static enum iog_step put(void *self, const struct iog_record *r, struct iog_err *err)
{
	(void)err;
	struct null *n = self;
	n->seen.records++;
	for (uint32_t i = 0; i < r->schema->n_vars; i++) {
		const struct iog_vardef *v = &r->schema->var[i];
		uint32_t size = iog_dtype_size(v->dtype);
		for (uint32_t k = 0; k < r->var[i].n_blocks; k++) {
			const struct iog_block *b = &r->var[i].block[k];
			bool opaque = iog_var_opaque(v);
			n->seen.bytes += opaque ? b->bytes : (uint64_t)iog_block_elems(b, v->rank) * size;
			if (n->conf.touch)
				n->seen.sum = opaque ? iog_hash(b->data, b->bytes, n->seen.sum) : touch(b, v->rank, size, n->seen.sum);
		}
	}
	return IOG_OK;
}

static enum iog_step flush(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return IOG_OK;
}

static int finish(void *self, struct iog_err *err)
{
	(void)err;
	free(self);
	return 0;
}

extern const struct iog_sink iog_sink_null;
const struct iog_sink iog_sink_null = {
	.name = "null",
	.summary = "Counts records and drops them",
	.params = params,
	.conf_size = sizeof(struct conf),
	.accept = accept_all,
	.open = begin,
	.write = put,
	.flush = flush,
	.close = finish,
};
