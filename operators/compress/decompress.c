/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * decompress: the inverse of compress. What it makes is bounded by the declared maxima, never by what a frame says of itself; a damaged
 * frame is bad input. The encoded bytes are copied before the library sees them, so that they cannot change under it.
 * Runs on the worker's thread; the library works in memory taken once, in open.
 */
#define ZSTD_STATIC_LINKING_ONLY /* contexts in memory of ours, so that nothing is allocated per record */
#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "frame.h"

struct decompress_conf {
	struct iog_names variables;
	/* derived */
	uint64_t chosen;              /* bit i: variable i is decoded */
	uint64_t max_bytes[IOG_VARS]; /* decoded */
};

struct decompress_lib {
	ZSTD_DCtx *ctx;
	uint64_t space[]; /* zstd wants it aligned to 8 */
};

static const struct iog_param decompress_params[] = {
	IOG_PARAM(struct decompress_conf, variables, IOG_P_NAMES, .flags = IOG_PF_FIRST,
		.doc = "What to decode; by default every variable that compress encoded last."),
	{ 0 },
};

static bool by_zstd(const struct iog_vardef *v) { return v->n_codecs && v->codec[v->n_codecs - 1] == IOG_CODEC_ZSTD; }

static int decompress_plan(void *conf, struct iog_plan *p, struct iog_err *err)
{
	struct decompress_conf *c = conf;
	const struct iog_schema *s = p->in[0];
	c->chosen = 0;
	for (unsigned k = 0; k < c->variables.n; k++) {
		int i = iog_schema_var(s, c->variables.v[k]);
		if (i < 0 || !by_zstd(&s->var[i]))
			return iog_fail(err, -EINVAL, "the stream has no variable \"%s\" that zstd encoded", c->variables.v[k]);
		c->chosen |= 1ull << i;
	}
	for (unsigned i = 0; !c->variables.n && i < s->n_vars; i++)
		c->chosen |= (uint64_t)by_zstd(&s->var[i]) << i;
	if (!c->chosen)
		return iog_fail(err, -EINVAL, "the stream has no variable that zstd encoded; put compress before it");

	*p->out[0] = *s;
	for (unsigned i = 0; i < s->n_vars; i++) {
		struct iog_vardef *v = &p->out[0]->var[i];
		uint64_t bytes;
		if (!(c->chosen >> i & 1))
			continue;
		if (!iog_schema_var_max(s, i, &bytes))
			return iog_fail(err, -EINVAL, "the largest size of \"%s\" is not known; declare it at the source, like atom<=32000",
				v->name);
		v->codec[--v->n_codecs] = IOG_CODEC_NONE;
		c->max_bytes[i] = bytes;
		p->need.out_max[0] += IOG_ROUND_UP(bytes, IOG_ALIGN);
		p->need.out_blocks++;
	}
	p->need.scratch = FRAME_CHUNK + ZSTD_compressBound(FRAME_CHUNK);
	p->cost = (struct iog_cost){ .cycles_record = 1000, .cycles_kib = 1500, .out_ratio = 1.25 };
	return 0;
}

static int decompress_open(const void *conf, void **lib, struct iog_err *err)
{
	(void)conf;
	size_t bytes = ZSTD_estimateDCtxSize();
	struct decompress_lib *l = malloc(sizeof *l + bytes);
	if (l)
		l->ctx = ZSTD_initStaticDCtx(l->space, bytes);
	if (!l || !l->ctx) {
		free(l);
		return iog_fail(err, -ENOMEM, "no memory for zstd (%zu bytes)", bytes);
	}
	*lib = l;
	return 0;
}

static void decompress_close(void *lib) { free(lib); }

/* Decodes one block into out[0, bytes). Everything is read once. */
static bool decode(const struct iog_call *call, const struct iog_block *b, uint32_t elem_size, uint8_t *out, uint64_t bytes)
{
	struct decompress_lib *l = call->lib;
	uint8_t *shuffled = call->scratch, *copy = shuffled + FRAME_CHUNK;
	uint64_t at = frame_head(bytes);
	struct frame f;
	if (b->bytes < at)
		return false;
	memcpy(&f, b->data, sizeof f);
	if (f.magic != FRAME_MAGIC || f.version != FRAME_VERSION || f.flags & ~FRAME_SHUFFLED || f.pad || f.elem_size != elem_size ||
		f.bytes != bytes)
		return false;
	if (f.flags && elem_size != 2 && elem_size != 4 && elem_size != 8)
		return false;
	for (uint64_t k = 0, done = 0; done < bytes; k++, done += FRAME_CHUNK) {
		size_t chunk = IOG_MIN(bytes - done, (uint64_t)FRAME_CHUNK);
		uint32_t n;
		memcpy(&n, b->data + sizeof f + 4 * k, sizeof n);
		if (n > b->bytes - at || n > ZSTD_compressBound(FRAME_CHUNK))
			return false;
		memcpy(copy, b->data + at, n);
		at += n;
		size_t got = ZSTD_decompressDCtx(l->ctx, f.flags ? shuffled : out + done, chunk, copy, n);
		if (ZSTD_isError(got) || got != chunk)
			return false;
		if (f.flags)
			iog_bytes_unshuffle(out + done, shuffled, chunk / elem_size, elem_size);
	}
	return at == b->bytes;
}

/* Variable i: as many dense blocks as there are encoded ones. */
static enum iog_step decode_var(const struct iog_call *call, unsigned i)
{
	const struct decompress_conf *c = call->conf;
	const struct iog_record *r = call->in[0];
	const struct iog_var *in = &r->var[i];
	const struct iog_vardef *v = &r->schema->var[i];
	uint32_t size = iog_dtype_size(v->dtype);
	uint64_t total = 0, at = 0;
	for (uint32_t k = 0; k < in->n_blocks; k++)
		if (!iog_add(total, (uint64_t)iog_block_elems(&in->block[k], v->rank) * size, &total) || total > c->max_bytes[i])
			return IOG_BAD_INPUT;
	struct iog_block *b = iog_out_blocks(call->out, i, in->n_blocks);
	uint8_t *out = iog_out_alloc(call->out, total);
	if (!b || !out)
		return IOG_NO_SPACE;
	for (uint32_t k = 0; k < in->n_blocks; k++) {
		b[k] = in->block[k];
		b[k].bytes = 0;
		b[k].data = out + at;
		uint64_t bytes = iog_block_set_dense(&b[k], v->rank, size);
		if (!decode(call, &in->block[k], size, out + at, bytes))
			return IOG_BAD_INPUT;
		at += bytes;
	}
	return IOG_OK;
}

/* 0.9 of the speed of zstd alone, because of the copy; 0.8 with transposition (12 MB of f32). */
static enum iog_step decompress_run(const struct iog_call *call)
{
	const struct decompress_conf *c = call->conf;
	const struct iog_record *r = call->in[0];
	for (unsigned i = 0; i < r->schema->n_vars; i++) {
		if (!(c->chosen >> i & 1) || !r->var[i].n_blocks) {
			iog_out_pass(call->out, i, r, i);
			continue;
		}
		enum iog_step step = decode_var(call, i);
		if (step != IOG_OK)
			return step;
	}
	return IOG_OK;
}

const struct iog_op iog_op_decompress = {
	.name = "decompress",
	.summary = "Restores what compress encoded",
	.params = decompress_params,
	.flags = IOG_STATELESS | IOG_DETERMINISTIC,
	.conf_size = sizeof(struct decompress_conf),
	.in_min = 1,
	.in_max = 1,
	.outs = 1,
	.plan = decompress_plan,
	.run = decompress_run,
	.open = decompress_open,
	.close = decompress_close,
};
