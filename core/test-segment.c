/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records cut into pieces and joined again are the same records, for every split dimension, piece size and blocking.
 */
#include "core/segment.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BLOCKS = 64, MEM = 1 << 16 };

static uint64_t seed = 1;
static struct iog_schema schema;
static struct iog_record rec, piece;
static struct iog_block blocks[BLOCKS], cut[BLOCKS];
static struct iog_err err;
static struct iog_join join;
static uint8_t mem[MEM], space[MEM], x[MEM], y[MEM];

static unsigned draw(unsigned below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % below;
}

static void parse(const char *text)
{
	if (iog_schema_parse(&schema, text, &err))
		fail_msg("%s", err.text);
	memset(&rec, 0, sizeof rec);
	rec.schema = &schema;
	rec.id = (struct iog_id){ 1, 2, 3, 4 };
	rec.step = 5, rec.time = 6, rec.writers = 7, rec.param_version = 8, rec.qos = 9, rec.born_ns = 10;
}

static const char *const shapes[] = {
	"position: f32[atom<=50,xyz]; type: i32[atom]; energy: f64; cellsize: f32[xyz]",
	"T: f64[z<=4,y<=6,x<=5]; mask: u8[x,y]; profile: f32[z]; name: byte",
	"a: i16[n<=9,m<=3]; b: c128[m,n]",
};

/* Every variable in one or two dense or reversed blocks that cover it along its first dimension. */
static void random_record(void)
{
	size_t at = 0;
	uint32_t n = 0;

	for (unsigned i = 0; i < MEM; i++)
		mem[i] = (uint8_t)draw(256);
	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d] =
			(struct iog_axis){ schema.dim[d].fixed ? schema.dim[d].max : draw((unsigned)schema.dim[d].max + 1), 0.25, 0.5 };
	for (unsigned i = 0; i < schema.n_vars; i++) {
		const struct iog_vardef *v = &schema.var[i];
		int64_t extent = v->rank ? rec.axis[v->dim[0]].extent : 1, middle = v->rank && draw(2) ? draw((unsigned)extent + 1) : 0;

		rec.var[i] = (struct iog_var){ .block = blocks + n };
		if (!draw(8))
			continue; /* absent */
		for (int half = middle ? 0 : 1; half < 2; half++) {
			struct iog_block *b = &blocks[n++];

			memset(b, 0, sizeof *b);
			for (unsigned d = 0; d < v->rank; d++)
				b->count[d] = rec.axis[v->dim[d]].extent;
			if (v->rank)
				b->start[0] = half ? middle : 0, b->count[0] = half ? extent - middle : middle;
			b->data = mem + at + 1;
			at += iog_block_set_dense(b, v->rank, iog_dtype_size(v->dtype)) + 3;
			if (v->rank && draw(2) && iog_block_elems(b, v->rank)) {
				int64_t start = b->start[0];

				iog_block_flip(b, b, v->rank, 0, extent);
				b->start[0] = start;
			}
			rec.var[i].n_blocks++;
		}
	}
	assert_true(at < MEM && n <= BLOCKS);
}

static void assert_same(const struct iog_record *a, const struct iog_record *b)
{
	assert_memory_equal(&a->id, &b->id, sizeof a->id);
	assert_true(a->step == b->step && a->writers == b->writers && a->param_version == b->param_version && a->qos == b->qos);
	assert_memory_equal(a->axis, b->axis, schema.n_dims * sizeof a->axis[0]);
	for (unsigned i = 0; i < schema.n_vars; i++) {
		int64_t n = iog_dtype_size(schema.var[i].dtype), elems = 1;

		assert_int_equal(!a->var[i].n_blocks, !b->var[i].n_blocks);
		for (unsigned d = 0; d < schema.var[i].rank; d++)
			elems *= a->axis[schema.var[i].dim[d]].extent;
		n *= elems;
		assert_true(n < MEM);
		memset(x, 0, (size_t)n + 1), memset(y, 0, (size_t)n + 1);
		assert_int_equal(iog_record_assemble(a, i, x), a->var[i].n_blocks ? elems : 0);
		assert_int_equal(iog_record_assemble(b, i, y), a->var[i].n_blocks ? elems : 0);
		assert_memory_equal(x, y, (size_t)n + 1);
	}
}

static void cut_and_joined_is_the_same(void **st)
{
	(void)st;
	for (int n = 0; n < 3000; n++) {
		int64_t each = 1 + draw(7), extent;
		unsigned dim;
		uint64_t need;

		parse(shapes[draw(IOG_COUNT(shapes))]);
		random_record();
		dim = draw(schema.n_dims);
		extent = rec.axis[dim].extent;
		need = iog_join_space(&schema, dim, schema.dim[dim].max);
		assert_true(need < MEM);
		space[need] = 0x77;
		assert_int_equal(iog_join_init(&join, &schema, dim, schema.dim[dim].max, space, need), 0);
		for (int64_t first = 0; first == 0 || first < extent; first += each) {
			assert_int_equal(iog_segment_cut(&piece, &rec, dim, first, each, cut, BLOCKS), 0);
			assert_int_equal(piece.axis[dim].extent, IOG_MIN(each, extent - first));
			assert_true(piece.axis[dim].origin == 0.25 + 0.5 * (double)first);
			for (unsigned i = 0; i < schema.n_vars; i++) {
				bool has = false;

				for (unsigned d = 0; d < schema.var[i].rank; d++)
					has |= schema.var[i].dim[d] == dim;
				assert_int_equal(!piece.var[i].n_blocks, !rec.var[i].n_blocks || (first && !has));
			}
			assert_int_equal(iog_join_add(&join, &piece), 0);
		}
		assert_same(iog_join_finish(&join), &rec);
		assert_int_equal(space[need], 0x77);
	}
}

static void pieces_hold_what_they_are_asked_for(void **st)
{
	(void)st;
	parse("position: f32[atom<=1000000,xyz]; type: i32[atom]; static mass: f64[atom]; e: f64; T: f32[y]");
	assert_int_equal(iog_segment_elems(&schema, 0, 1400), 87); /* 16 bytes each */
	assert_int_equal(iog_segment_elems(&schema, 0, 1), 1);
	assert_int_equal(iog_segment_elems(&schema, 0, UINT64_MAX), 1000000);
	assert_int_equal(iog_segment_elems(&schema, 2, 1400), 350); /* y: f32, no maximum */
	parse("big: f64[n,a<=4000000000,b<=4000000000]; e: f64[k=4]");
	assert_int_equal(iog_segment_elems(&schema, 0, 1 << 20), 1); /* a row of 2^67 bytes: one at a time */
	assert_int_equal(iog_segment_elems(&schema, 3, 8), 1);
}

static void cutting_reports_what_it_cannot_do(void **st)
{
	struct iog_block b = { .data = mem, .count = { 4, 3 }, .bytes = 9 };

	(void)st;
	parse("p: f32[atom<=4,xyz]; i: u8[atom,xyz] | zstd; e: f64");
	rec.axis[0].extent = 4, rec.axis[1].extent = 3;
	iog_block_set_dense(&b, 2, 4);
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	assert_int_equal(iog_segment_cut(&piece, &rec, 0, 0, 2, cut, 0), -ENOSPC);
	assert_int_equal(iog_segment_cut(&piece, &rec, 2, 0, 2, cut, BLOCKS), -EINVAL);
	assert_int_equal(iog_segment_cut(&piece, &rec, 0, -1, 2, cut, BLOCKS), -EINVAL);
	assert_int_equal(iog_segment_cut(&piece, &rec, 0, 2, -2, cut, BLOCKS), -EINVAL);
	assert_int_equal(iog_segment_cut(&piece, &rec, 0, 3, INT64_MAX, cut, BLOCKS), 0);
	assert_int_equal(piece.axis[0].extent, 1);
	assert_int_equal(iog_segment_cut(&piece, &rec, 0, INT64_MAX, INT64_MAX, cut, BLOCKS), 0); /* behind the end: an empty piece */
	assert_int_equal(piece.axis[0].extent, 0);
	assert_int_equal(piece.var[0].n_blocks, 1);
	rec.var[1] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	assert_int_equal(iog_segment_cut(&piece, &rec, 0, 0, 2, cut, BLOCKS), -EINVAL); /* zstd bytes have no middle */
}

static void joining_reports_what_does_not_fit(void **st)
{
	struct iog_schema elsewhere;
	uint64_t need;

	(void)st;
	parse(shapes[0]);
	random_record();
	rec.axis[0].extent = 0;
	for (unsigned i = 0; i < schema.n_vars; i++)
		rec.var[i].n_blocks = 0;
	rec.axis[0].extent = 30;
	need = iog_join_space(&schema, 0, 50);
	assert_int_equal(need, 640 + 256 + 64 + 64);
	assert_int_equal(iog_join_init(&join, &schema, 0, 50, space, need - 1), -ENOSPC);
	assert_int_equal(iog_join_init(&join, &schema, 0, -1, space, need), -ENOSPC);
	assert_int_equal(iog_join_init(&join, &schema, 0, 50, space, need), 0);
	assert_int_equal(iog_join_add(&join, &rec), 0);
	assert_int_equal(iog_join_add(&join, &rec), -ENOSPC); /* 60 of 50 */
	rec.axis[0].extent = -1;
	assert_int_equal(iog_join_add(&join, &rec), -EINVAL);
	rec.axis[0].extent = 3;
	iog_schema_parse(&elsewhere, "T: f32[x]", NULL);
	rec.schema = &elsewhere;
	assert_int_equal(iog_join_add(&join, &rec), -EINVAL);
	/* A maximum that is not known. */
	assert_int_equal(iog_join_init(&join, &elsewhere, IOG_DIMS, 0, space, MEM), -ENOSPC);
	assert_true(iog_join_space(&elsewhere, IOG_DIMS, 0) == UINT64_MAX);
	assert_int_equal(iog_join_space(&elsewhere, 0, 100), 448);
}

/* Pieces that do not agree on a dimension that is not split. */
static void pieces_must_agree(void **st)
{
	struct iog_block b = { .data = mem, .count = { 2, 3 }, .stride = { 12, 4 } };

	(void)st;
	parse("p: f32[atom<=8,k<=3]; e: f64[k]");
	rec.axis[0].extent = 2, rec.axis[1].extent = 3;
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	assert_int_equal(iog_join_init(&join, &schema, 0, 8, space, MEM), 0);
	assert_int_equal(iog_join_add(&join, &rec), 0);
	rec.axis[1].extent = 2;
	assert_int_equal(iog_join_add(&join, &rec), -EINVAL);
	rec.axis[1].extent = 4; /* beyond the declared maximum */
	assert_int_equal(iog_join_init(&join, &schema, 0, 8, space, MEM), 0);
	assert_int_equal(iog_join_add(&join, &rec), -EINVAL);
}

/* What is only known at the end comes with the last piece; nothing is split. */
static void unsplit_variables_may_come_late(void **st)
{
	double e = 2.5, v;
	struct iog_block b = { .data = (uint8_t *)&e };

	(void)st;
	parse("count: i64; e: f64; image: u8[y<=10,x<=10] | jpeg");
	assert_int_equal(iog_join_init(&join, &schema, IOG_DIMS, 0, space, MEM), 0);
	rec.axis[0].extent = rec.axis[1].extent = 10;
	assert_int_equal(iog_join_add(&join, &rec), 0);
	rec.flags = IOG_REC_OPEN;
	rec.var[1] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	rec.var[2] = (struct iog_var){ .block = &(struct iog_block){ .data = mem, .bytes = 77, .count = { 10, 10 } }, .n_blocks = 1 };
	assert_int_equal(iog_join_add(&join, &rec), 0);
	iog_join_finish(&join);
	assert_int_equal(join.rec.flags, 0);
	assert_int_equal(join.rec.var[0].n_blocks, 0);
	assert_true(iog_record_scalar(&join.rec, 1, &v) && v == 2.5);
	assert_int_equal(join.rec.var[2].block->bytes, 77);
	assert_memory_equal(join.rec.var[2].block->data, mem, 77);
	assert_true(join.rec.var[2].block->data >= space && join.rec.var[2].block->data + 77 <= space + MEM);
	rec.var[2] = (struct iog_var){ .block = &(struct iog_block){ .data = mem, .bytes = MEM / 2, .count = { 10, 10 } }, .n_blocks = 1 };
	join.size = iog_join_space(&schema, IOG_DIMS, 0);
	assert_int_equal(iog_join_add(&join, &rec), -ENOSPC);
}

/* ---- iog_op_run ---- */

static struct iog_seg last_seg;

static enum iog_step run_ok(const struct iog_call *c)
{
	(void)c;
	return IOG_HOLD;
}

static enum iog_step segment_ok(const struct iog_call *c, const struct iog_seg *s)
{
	(void)c;
	last_seg = *s;
	return IOG_OK;
}

static void operators_run_with_either_function(void **st)
{
	struct iog_op run = { .run = run_ok, .segment = segment_ok }, seg = { .segment = segment_ok }, none = { .name = "none" };
	struct iog_call c = { .in = { &rec }, .n_in = 1, .split = 1 };

	(void)st;
	parse("T: f32[y<=3,x<=9]");
	rec.axis[1].extent = 7;
	assert_int_equal(iog_op_run(&run, &c), IOG_HOLD);
	assert_int_equal(iog_op_run(&seg, &c), IOG_OK);
	assert_true(last_seg.is_first && last_seg.is_last && last_seg.dim == 1 && last_seg.first == 0 && last_seg.count == 7 &&
		    last_seg.total == 7);
	assert_int_equal(iog_op_run(&none, &c), IOG_FATAL);
	c.in[0] = NULL;
	assert_int_equal(iog_op_run(&seg, &c), IOG_ELIDE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_and_joined_is_the_same),
		cmocka_unit_test(pieces_hold_what_they_are_asked_for),
		cmocka_unit_test(cutting_reports_what_it_cannot_do),
		cmocka_unit_test(joining_reports_what_does_not_fit),
		cmocka_unit_test(pieces_must_agree),
		cmocka_unit_test(unsplit_variables_may_come_late),
		cmocka_unit_test(operators_run_with_either_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
