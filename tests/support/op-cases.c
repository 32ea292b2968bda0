/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of operator cases, and what makes their records. Values come from a fixed mixing function of variable, element and record, so
 * that every machine and every run sees the same bytes. Test support, one thread.
 */
#include "op-cases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef IOG_HAVE_ZSTD
#include <zstd.h>
#endif
#ifdef IOG_HAVE_PNG
#include <png.h>
#include <zlib.h>
#endif
#if defined(IOG_HAVE_JPEG) && __has_include(<jconfig.h>)
#include <jconfig.h>
#endif

#include "core/wire.h"
#include "op-driver.h"

enum { RECORDS = 8, BLOCKS = 512 };

#define INT(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .integer = true, .n = (x)                                                                            \
	}
#define NUM(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_NUMBER, .n = (x)                                                                                             \
	}
#define STR(x)                                                                                                                             \
	{                                                                                                                                  \
		.kind = IOG_V_STRING, .s = (x)                                                                                             \
	}
#define BOOL(x)                                                                                                                            \
	{                                                                                                                                  \
		.kind = IOG_V_BOOL, .b = (x)                                                                                               \
	}
#define ITEMS(...)                                                                                                                         \
	.item = (const struct iog_value[]){ __VA_ARGS__ }, .n_items = sizeof((struct iog_value[]){ __VA_ARGS__ }) / sizeof(struct iog_value)
#define LIST(...)                                                                                                                          \
	{                                                                                                                                  \
		.kind = IOG_V_LIST, ITEMS(__VA_ARGS__)                                                                                     \
	}
#define KEYED(keys, ...)                                                                                                                   \
	{                                                                                                                                  \
		.kind = IOG_V_LIST, .key = (const char *const[])keys, ITEMS(__VA_ARGS__)                                                   \
	}
#define KEYS(...)                                                                                                                          \
	{                                                                                                                                  \
		__VA_ARGS__                                                                                                                \
	}

#define PARTICLES                                                                                                                          \
	"static mass: f32[kind=3] amu; id: i64[atom<=300]; type: i32[atom]; position: f32[atom,xyz] Angstrom; velocity: f64[atom,xyz];"    \
	"box: f64[cell] Angstrom; temperature: f64 K"
#define IMAGE "image: u8[y=48,x=64,rgb]; exposure: f32 s"
#define RANK8 "v: f32[a=2,b=3,c=2,d<=3,e=6,f=1,g=3,h=4] K; n: i16[h,g,f,e,d,c,b,a]; total: f64"
#define FIELD "T: f64[z=12,y=5,x=4] K; p: f32[z,y,x] bar; level: i16[z]; total: f64 J"

/* ---- what the generator cannot know ---- */

/* Port k of three holds a third of the z range in the global shape. */
static bool third(struct op_record *r, unsigned port, unsigned i)
{
	(void)i;
	for (unsigned v = 0; v < 3; v++) {
		struct iog_block *b = &r->block[v];
		b->start[0] = 4 * (int64_t)port;
		b->count[0] = 4;
		b->data += b->start[0] * b->stride[0];
	}
	return true;
}

/* Port k of three holds a third along a dimension in the middle of eight. */
static bool third_of_e(struct op_record *r, unsigned port, unsigned i)
{
	(void)i;
	for (unsigned v = 0; v < 2; v++) {
		struct iog_block *b = &r->block[v];
		unsigned at = v ? 3 : 4; /* of e in v and in n */
		b->start[at] = 2 * (int64_t)port;
		b->count[at] = 2;
		b->data += b->start[at] * b->stride[at];
	}
	return true;
}

/* Port 1 leaves out step 2, nobody sends step 3. */
static bool gaps(struct op_record *r, unsigned port, unsigned i)
{
	(void)r;
	return i != 3 && !(i == 2 && port == 1);
}

/* What encoders write depends on their version, so their golden files are compared only with the one that made them. */
#ifdef IOG_HAVE_ZSTD
static const char *zstd_version(void) { return ZSTD_versionString(); }
#endif
#ifdef IOG_HAVE_PNG
static const char *png_version(void) { return PNG_LIBPNG_VER_STRING " zlib " ZLIB_VERSION; }
#endif
#ifdef IOG_HAVE_JPEG
#ifdef LIBJPEG_TURBO_VERSION
#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
static const char *jpeg_version(void) { return TEXT_OF(LIBJPEG_TURBO_VERSION); }
#else
static const char *jpeg_version(void) { return "unknown"; }
#endif
#endif

/* ---- the table ---- */

const struct op_case op_cases[] = {
	{ .name = "crop-image", .op = "crop", .schema = IMAGE, .conf = { { "box", LIST(LIST(INT(8), INT(40)), LIST(INT(4), INT(30))) } } },
	{ .name = "crop-atoms", .op = "crop", .schema = PARTICLES, .conf = { { "box", KEYED(KEYS("atom"), LIST(INT(10), INT(120))) } } },
	{ .name = "crop-inner",
		.op = "crop",
		.schema = FIELD,
		.conf = { { "box", KEYED(KEYS("x", "z"), LIST(NUM(0.5), INT(3)), LIST(INT(-5), INT(7))) } } },
	{ .name = "crop-outside", .op = "crop", .schema = FIELD, .conf = { { "box", KEYED(KEYS("z"), LIST(INT(100), INT(200))) } } },
	{ .name = "crop-rank8",
		.op = "crop",
		.schema = RANK8,
		.conf = { { "box", KEYED(KEYS("a", "b", "c", "d", "e", "f", "g", "h"), LIST(INT(1), INT(2)), LIST(INT(0), INT(2)),
					   LIST(INT(0), INT(2)), LIST(INT(1), INT(3)), LIST(INT(2), INT(5)), LIST(INT(0), INT(1)),
					   LIST(INT(1), INT(3)), LIST(INT(1), INT(4))) } } },
	{ .name = "crop-empty",
		.op = "crop",
		.schema = FIELD,
		.conf = { { "box", KEYED(KEYS("z", "x"), LIST(INT(3), INT(3)), LIST(INT(1), INT(3))) } } },
	{ .name = "merge-rank8", .op = "merge", .schema = RANK8, .n_in = 3, .edit = third_of_e },
	{ .name = "merge-blocks", .op = "merge", .schema = FIELD, .n_in = 3, .edit = third },
	{ .name = "merge-along", .op = "merge", .schema = PARTICLES, .n_in = 2, .edit = gaps, .conf = { { "along", STR("atom") } } },
	{ .name = "merge-all",
		.op = "merge",
		.schema = PARTICLES,
		.n_in = 2,
		.edit = gaps,
		.conf = { { "along", STR("atom") }, { "require", STR("all") } } },
	{ .name = "delta-f32", .op = "delta", .schema = PARTICLES, .conf = { { "quantum", NUM(0.001) }, { "key_every", INT(3) } } },
	{ .name = "delta-f64", .op = "delta", .schema = FIELD, .conf = { { "variable", STR("T") }, { "quantum", NUM(0.25) } } },
	{ .name = "delta-i16", .op = "delta", .schema = FIELD, .conf = { { "variable", STR("level") }, { "quantum", INT(4) } } },
	{ .name = "delta-gaps",
		.op = "delta",
		.schema = FIELD,
		.flags = OP_GAPS,
		.edit = third,
		.conf = { { "variable", STR("T") }, { "quantum", NUM(0.25) } } },
	{ .name = "delta-rank8",
		.op = "delta",
		.schema = RANK8,
		.conf = { { "variable", STR("v") }, { "quantum", NUM(0.25) }, { "key_every", INT(3) } } },
	{ .name = "undelta-rank8", .op = "undelta", .after = "delta-rank8", .conf = { { "variable", STR("v") } } },
	{ .name = "undelta-f32", .op = "undelta", .after = "delta-f32" },
	{ .name = "undelta-f64", .op = "undelta", .after = "delta-f64", .conf = { { "variable", STR("T") } } },
	{ .name = "undelta-i16", .op = "undelta", .after = "delta-i16", .conf = { { "variable", STR("level") } } },
#ifdef IOG_HAVE_ZSTD
	{ .name = "compress-atoms", .op = "compress", .schema = PARTICLES, .library = zstd_version },
	{ .name = "compress-field",
		.op = "compress",
		.schema = FIELD,
		.library = zstd_version,
		.conf = { { "level", INT(6) }, { "variables", LIST(STR("T"), STR("level")) } } },
	{ .name = "compress-plain", .op = "compress", .schema = IMAGE, .library = zstd_version, .conf = { { "shuffle", BOOL(false) } } },
	{ .name = "compress-gaps", .op = "compress", .schema = FIELD, .flags = OP_GAPS, .library = zstd_version, .edit = third },
	{ .name = "compress-delta",
		.op = "compress",
		.after = "delta-f32",
		.library = zstd_version,
		.conf = { { "variables", LIST(STR("position")) } } },
	{ .name = "compress-rank8", .op = "compress", .schema = RANK8, .library = zstd_version },
	{ .name = "decompress-rank8", .op = "decompress", .after = "compress-rank8" },
	{ .name = "decompress-atoms", .op = "decompress", .after = "compress-atoms" },
	{ .name = "decompress-field", .op = "decompress", .after = "compress-field" },
	{ .name = "decompress-plain", .op = "decompress", .after = "compress-plain" },
#endif
	{ .name = "filter-atoms", .op = "filter", .schema = PARTICLES, .conf = { { "where", STR("type == 2 and x > 4 or vz < -0.5") } } },
	{ .name = "filter-scaled", .op = "filter", .schema = PARTICLES, .conf = { { "where", STR("zs > 0.4 and zs < 0.6") } } },
	{ .name = "filter-record", .op = "filter", .schema = FIELD, .conf = { { "where", STR("max(T) > 170 and step >= 0") } } },
	{ .name = "filter-rank8", .op = "filter", .schema = RANK8, .conf = { { "where", STR("max(v) > 170 and sum(n) > 0") } } },
	{ .name = "filter-then-delta", .op = "delta", .after = "filter-atoms", .conf = { { "quantum", NUM(0.001) } } },
	{ .name = "stats-atoms", .op = "stats", .schema = PARTICLES },
	{ .name = "stats-field", .op = "stats", .schema = FIELD, .conf = { { "variables", LIST(STR("T"), STR("level")) } } },
	{ .name = "stats-rank8", .op = "stats", .schema = RANK8, .conf = { { "variables", LIST(STR("v"), STR("n")) } } },
	{ .name = "render-type", .op = "render", .schema = PARTICLES, .conf = { { "width", INT(160) }, { "height", INT(120) } } },
	{ .name = "render-field",
		.op = "render",
		.schema = PARTICLES,
		.conf = { { "color", STR("velocity.z") }, { "width", INT(96) }, { "height", INT(64) }, { "view", STR("x") },
			{ "smooth", BOOL(false) } } },
#ifdef IOG_HAVE_JPEG
	{ .name = "jpeg-image", .op = "jpeg", .schema = IMAGE, .library = jpeg_version, .conf = { { "quality", INT(90) } } },
	{ .name = "jpeg-crop", .op = "jpeg", .after = "crop-image", .library = jpeg_version, .conf = { { "subsampling", STR("444") } } },
#endif
#ifdef IOG_HAVE_PNG
	{ .name = "png-image", .op = "png", .schema = IMAGE, .library = png_version },
	{ .name = "png-crop",
		.op = "png",
		.after = "crop-image",
		.library = png_version,
		.conf = { { "level", INT(6) }, { "filter", STR("all") } } },
#endif
	{ 0 },
};

const struct op_case *op_case_find(const char *name)
{
	for (const struct op_case *c = op_cases; c->name; c++)
		if (iog_streq(c->name, name))
			return c;
	return NULL;
}

/* ---- values ---- */

void *op_alloc(size_t n)
{
	void *p = calloc(1, n ? n : 1);
	if (!p) {
		fputs("op-cases: out of memory\n", stderr);
		exit(2);
	}
	return p;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}
static double unit(uint64_t x) { return (double)(mix(x) >> 11) * 0x1p-53; }

static const double box_edge[3] = { 12, 10, 8 };

/* Element e of a variable: particles that wander slowly in a box, smooth fields with some noise, small whole numbers. */
static double value(const struct iog_vardef *v, unsigned port, unsigned i, uint64_t e)
{
	uint64_t key = mix(port * 1000003u) ^ e;
	if (iog_streq(v->name, "position"))
		return box_edge[e % 3] * unit(key) + 0.02 * i * (unit(key + 77) - 0.5);
	if (iog_streq(v->name, "velocity"))
		return unit(key + i) + unit(key + i + 1000) - 1;
	if (iog_streq(v->name, "box"))
		return box_edge[e % 3];
	if (iog_streq(v->name, "type"))
		return (double)(1 + mix(key) % 3);
	if (iog_streq(v->name, "id"))
		return (double)(e + 1);
	if (iog_streq(v->name, "mass"))
		return 1 + 2.5 * (double)e;
	if (v->dtype == IOG_F16 || v->dtype == IOG_F32 || v->dtype == IOG_F64)
		return 100 + (double)(e % 64) + 3 * i + unit(key + 31 * i);
	return (double)((e / 3 + 5 * i + mix(key) % 4) % 120);
}

void op_record_make(struct op_record *r, const struct iog_schema *s, unsigned port, unsigned i)
{
	static const int64_t counts[RECORDS] = { 100, 103, 0, 1, 257, 300, 33, 100 };
	*r = (struct op_record){ .rec = { .schema = s,
					 .id = { .stream = 1, .epoch = 1 + (i >= 6), .writer = port },
					 .step = 10 * (int64_t)(i >= 6 ? i - 6 : i),
					 .time = 0.5 * i,
					 .writers = 1,
					 .param_version = 1 } };
	r->rec.id.seq = iog_seq_of_step(r->rec.step);
	for (unsigned d = 0; d < s->n_dims; d++) {
		int64_t n = counts[(i + 3 * port) % RECORDS];
		if (s->dim[d].fixed || (s->dim[d].max && n > s->dim[d].max))
			n = s->dim[d].max;
		r->rec.axis[d] = (struct iog_axis){ .extent = n, .origin = 0.1 * (1 + d), .spacing = 0.3 };
	}
	r->block = op_alloc(s->n_vars * sizeof r->block[0]);
	for (unsigned v = 0; v < s->n_vars; v++) {
		struct iog_block *b = &r->block[v];
		for (unsigned d = 0; d < s->var[v].rank; d++)
			b->count[d] = r->rec.axis[s->var[v].dim[d]].extent;
		uint64_t bytes = iog_block_set_dense(b, s->var[v].rank, iog_dtype_size(s->var[v].dtype));
		r->bytes = IOG_ROUND_UP(r->bytes, IOG_ALIGN) + bytes;
	}
	r->payload = op_alloc(r->bytes);
	uint64_t at = 0;
	for (unsigned v = 0; v < s->n_vars; v++) {
		const struct iog_vardef *def = &s->var[v];
		uint32_t size = iog_dtype_size(def->dtype);
		uint64_t n = (uint64_t)iog_block_elems(&r->block[v], def->rank);
		at = IOG_ROUND_UP(at, IOG_ALIGN);
		r->block[v].data = r->payload + at;
		for (uint64_t e = 0; e < n; e++)
			iog_store(r->payload + at + e * size, def->dtype, value(def, port, def->flags & IOG_VAR_STATIC ? 0 : i, e));
		at += n * size;
		r->rec.var[v] = (struct iog_var){ .block = &r->block[v], .n_blocks = 1 };
	}
}

void op_record_copy(struct op_record *r, const struct iog_record *from)
{
	const struct iog_schema *s = from->schema;
	uint32_t n_blocks = 0;
	*r = (struct op_record){ .rec = *from };
	for (int pass = 0; pass < 2; pass++) {
		uint64_t at = 0;
		n_blocks = 0;
		for (unsigned v = 0; v < s->n_vars; v++) {
			const struct iog_vardef *def = &s->var[v];
			if (pass)
				r->rec.var[v].block = r->block + n_blocks;
			for (uint32_t k = 0; k < from->var[v].n_blocks; k++, n_blocks++) {
				const struct iog_block *b = &from->var[v].block[k];
				uint32_t size = iog_dtype_size(def->dtype);
				bool opaque = iog_var_opaque(def);
				uint64_t bytes = opaque ? b->bytes : (uint64_t)iog_block_elems(b, def->rank) * size;
				at = IOG_ROUND_UP(at, IOG_ALIGN);
				if (pass) {
					struct iog_block *to = &r->block[n_blocks];
					*to = *b;
					to->data = r->payload + at;
					if (opaque)
						memcpy(r->payload + at, b->data, bytes);
					else
						iog_block_gather(r->payload + at, b, def->rank, size),
							iog_block_set_dense(to, def->rank, size);
				}
				at += bytes;
			}
		}
		if (!pass) {
			r->bytes = at;
			r->payload = op_alloc(at);
			r->block = op_alloc(n_blocks * sizeof r->block[0]);
		}
	}
}

int op_record_open(struct op_record *r, uint8_t *bytes, uint64_t len, const struct iog_schema *s, struct iog_err *err)
{
	*r = (struct op_record){ .payload = bytes, .bytes = len, .block = op_alloc(BLOCKS * sizeof r->block[0]) };
	uint8_t *head = op_alloc(IOG_HEAD_MAX);
	int rc = iog_wire_open(&r->rec, bytes, len, s, NULL, 0, r->block, BLOCKS, head, IOG_HEAD_MAX, IOG_OPEN_SUM, err);
	free(head);
	return rc;
}

void op_record_free(struct op_record *r)
{
	free(r->block);
	free(r->payload);
	*r = (struct op_record){ 0 };
}

void op_records_free(struct op_record *r, size_t n)
{
	for (size_t i = 0; r && i < n; i++)
		op_record_free(&r[i]);
	free(r);
}

/* ---- set-up ---- */

static const struct iog_op *find_op(const char *name)
{
	for (const struct iog_op *const *o = iog_ops; *o; o++)
		if (iog_streq((*o)->name, name))
			return *o;
	return NULL;
}

int op_setup_plan(struct op_setup *s, const struct op_case *c, const struct iog_schema *const *in, uint32_t n_in, struct iog_err *err)
{
	*s = (struct op_setup){ .c = c, .op = find_op(c->op), .records = c->records ? c->records : RECORDS };
	if (!s->op)
		return iog_fail(err, -ENOENT, "case %s: there is no operator \"%s\"", c->name, c->op);
	if (n_in < s->op->in_min || n_in > s->op->in_max)
		return iog_fail(
			err, -EINVAL, "case %s: %s takes %u to %u inputs, got %u", c->name, c->op, s->op->in_min, s->op->in_max, n_in);
	s->conf = op_alloc(s->op->conf_size);
	int rc = iog_param_defaults(s->op->params, s->conf, err);
	for (unsigned k = 0; !rc && c->conf[k].name; k++)
		rc = iog_param_set(s->op->params, s->conf, c->conf[k].name, &c->conf[k].v, err);
	s->plan.n_in = n_in;
	s->plan.n_out = s->op->outs;
	for (unsigned k = 0; k < n_in; k++) {
		s->in[k] = *in[k];
		s->plan.in[k] = &s->in[k];
	}
	for (unsigned k = 0; k < s->op->outs; k++)
		s->plan.out[k] = &s->out[k];
	if (!rc)
		rc = s->op->plan(s->conf, &s->plan, err);
	for (unsigned k = 0; !rc && k < s->op->outs; k++)
		rc = iog_schema_seal(&s->out[k], err);
	if (rc)
		op_setup_finish(s);
	return rc;
}

int op_setup_init(struct op_setup *s, const struct op_case *c, struct iog_err *err)
{
	struct iog_schema *in = op_alloc(sizeof *in);
	const struct iog_schema *all[IOG_PORTS];
	struct op_setup *before = NULL;
	uint32_t n_in = c->n_in ? c->n_in : 1;
	int rc;
	if (c->after) {
		before = op_alloc(sizeof *before);
		rc = op_setup_init(before, op_case_find(c->after), err);
		if (!rc)
			*in = before->out[0];
	} else {
		rc = iog_schema_parse(in, c->schema, err);
	}
	for (unsigned k = 0; k < n_in; k++)
		all[k] = in;
	if (!rc)
		rc = op_setup_plan(s, c, all, n_in, err);
	if (before)
		op_setup_finish(before);
	free(before);
	free(in);
	return rc;
}

void op_setup_finish(struct op_setup *s)
{
	free(s->conf);
	s->conf = NULL;
}

/* The outputs of the case before, as a reader of a wire sees them. */
static struct op_record *outputs_before(const struct op_setup *s)
{
	struct iog_err err = { 0 };
	struct op_setup *before = op_alloc(sizeof *before);
	struct op_instance x;
	if (op_setup_init(before, op_case_find(s->c->after), &err) || op_instance_init(&x, before, IOG_ISA_BASE, 0, &err))
		goto fail;
	struct op_record *in = op_setup_inputs(before), *out = op_alloc(s->records * sizeof *out);
	struct op_result *results = op_alloc(before->records * sizeof *results);
	if (op_instance_run(&x, in, results, &err))
		goto fail;
	for (unsigned i = 0; i < s->records; i++) {
		if (i >= before->records || results[i].step != IOG_OK)
			continue;
		if (op_record_open(&out[i], results[i].packed, results[i].packed_bytes, &s->in[0], &err))
			goto fail;
		results[i].packed = NULL;
	}
	op_results_free(results, before->records);
	op_records_free(in, before->records * before->plan.n_in);
	op_instance_finish(&x);
	op_setup_finish(before);
	free(before);
	return out;
fail:
	fprintf(stderr, "case %s: its input, case %s, does not work: %s\n", s->c->name, s->c->after, err.text);
	exit(2);
}

struct op_record *op_setup_inputs(const struct op_setup *s)
{
	const struct op_case *c = s->c;
	if (c->after)
		return outputs_before(s);
	struct op_record *r = op_alloc(s->records * s->plan.n_in * sizeof *r);
	for (unsigned i = 0; i < s->records; i++)
		for (unsigned port = 0; port < s->plan.n_in; port++) {
			struct op_record *one = &r[i * s->plan.n_in + port];
			op_record_make(one, &s->in[port], port, i);
			if (c->edit && !c->edit(one, port, i))
				op_record_free(one);
		}
	return r;
}
