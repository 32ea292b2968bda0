/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks against a slow, obvious reference that walks every element: gather, assemble, views. Scalars and the cell by known values.
 */
#include "core/record.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t seed = 1;

static unsigned draw(unsigned below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % below;
}

/* Address of the element with local index ix. */
static const uint8_t *element(const struct iog_block *b, unsigned rank, const int64_t *ix)
{
	const uint8_t *p = b->data;

	for (unsigned d = 0; d < rank; d++)
		p += ix[d] * b->stride[d];
	return p;
}

/* Next index in C order; false after the last. */
static bool next_index(int64_t *ix, const int64_t *count, unsigned rank)
{
	for (unsigned d = rank; d-- > 0; ix[d] = 0)
		if (++ix[d] < count[d])
			return true;
	return false;
}

/* A random block inside mem: permuted dimensions, gaps, some strides negative, an odd start; start[] 0. */
static void random_block(struct iog_block *b, unsigned rank, uint32_t size, uint8_t *mem, size_t mem_size, unsigned max_count)
{
	unsigned order[IOG_RANK];
	int64_t s = size, low = 0;

	memset(b, 0, sizeof *b);
	for (unsigned d = 0; d < rank; d++)
		order[d] = d, b->count[d] = 1 + draw(max_count);
	for (unsigned d = 0; d + 1 < rank; d++) {
		unsigned k = d + (draw(2) ? draw(rank - d) : 0), t = order[d];

		order[d] = order[k], order[k] = t;
	}
	for (unsigned d = rank; d-- > 0;) {
		unsigned k = order[d];

		b->stride[k] = s;
		s = s * b->count[k] + (draw(3) ? 0 : (int64_t)draw(5) * (draw(2) ? 1 : size));
		if (draw(3) == 0)
			low += b->stride[k] * (b->count[k] - 1), b->stride[k] = -b->stride[k];
		if (draw(12) == 0) /* repeated */
			b->stride[k] = 0;
	}
	assert_true((size_t)s + 8 <= mem_size);
	b->data = mem + draw(8) + low;
}

static const uint32_t sizes[] = { 1, 2, 4, 8, 16 };
static uint8_t mem[1 << 20], out[1 << 20], want[1 << 20];

static void gather_equals_a_walk_over_all_elements(void **st)
{
	(void)st;
	for (size_t i = 0; i < sizeof mem; i++)
		mem[i] = (uint8_t)draw(256);
	for (int n = 0; n < 3000; n++) {
		unsigned rank = (unsigned)n % (IOG_RANK + 1);
		uint32_t size = sizes[draw(5)];
		int64_t ix[IOG_RANK] = { 0 };
		struct iog_block b;
		size_t bytes = 0;

		random_block(&b, rank, size, mem, sizeof mem, rank <= 2 ? 90 : rank <= 4 ? 8 : 3);
		do
			memcpy(want + bytes, element(&b, rank, ix), size), bytes += size;
		while (next_index(ix, b.count, rank));
		assert_int_equal(bytes, (size_t)iog_block_elems(&b, rank) * size);
		out[bytes] = 0xa5;
		iog_block_gather(out, &b, rank, size);
		assert_memory_equal(out, want, bytes);
		assert_int_equal(out[bytes], 0xa5);
	}
}

static void gather_of_nothing_touches_nothing(void **st)
{
	struct iog_block b = { .data = NULL, .count = { 5, 0, 3 }, .stride = { INT64_MAX, INT64_MIN, 7 } };

	(void)st;
	out[0] = 77;
	iog_block_gather(out, &b, 3, 8);
	assert_int_equal(out[0], 77);
}

static void dense_is_recognized(void **st)
{
	struct iog_block b = { .data = mem, .count = { 4, 1, 5 } };

	(void)st;
	assert_int_equal(iog_block_set_dense(&b, 3, 4), 80);
	assert_int_equal(b.stride[0], 20);
	assert_int_equal(b.stride[2], 4);
	assert_true(iog_block_dense(&b, 3, 4));
	b.stride[1] = 999; /* one index only: its stride does not matter */
	assert_true(iog_block_dense(&b, 3, 4));
	b.stride[0] = 24;
	assert_false(iog_block_dense(&b, 3, 4));
	b.stride[0] = -20;
	assert_false(iog_block_dense(&b, 3, 4));
	b.count[2] = 0;
	assert_true(iog_block_dense(&b, 3, 4));
	assert_true(iog_block_dense(&b, 0, 4));
	b.count[0] = 0;
	assert_int_equal(iog_block_set_dense(&b, 3, 4), 0);
}

/* Views: every element of the view is the element of the original with the index it should have. */
static void check_view(const struct iog_block *v, const struct iog_block *b, unsigned rank, unsigned d, bool any, int64_t mul, int64_t add,
	int64_t lo, int64_t hi, int64_t every)
{
	int64_t expected = 0, at = 0;

	for (int64_t g = b->start[d]; g < b->start[d] + b->count[d]; g++)
		expected += g >= lo && g < hi && g % every == 0;
	assert_int_equal(v->count[d], expected);
	assert_true(any == (expected > 0));
	for (unsigned k = 0; k < rank; k++)
		if (k != d)
			assert_true(v->start[k] == b->start[k] && v->count[k] == b->count[k] && v->stride[k] == b->stride[k]);
	for (int64_t i = 0; i < expected; i++) {
		/* Global index in the view -> global index in the original. */
		int64_t old = (v->start[d] + i) * mul + add, ix[IOG_RANK] = { 0 }, iv[IOG_RANK] = { 0 };

		ix[d] = old - b->start[d], iv[d] = i;
		assert_true(ix[d] >= 0 && ix[d] < b->count[d]);
		assert_ptr_equal(element(v, rank, iv), element(b, rank, ix));
		at++;
	}
	assert_int_equal(at, expected);
}

static void views_show_the_right_elements(void **st)
{
	(void)st;
	for (int n = 0; n < 5000; n++) {
		unsigned rank = 1 + draw(IOG_RANK), d = draw(rank);
		uint32_t size = sizes[draw(5)];
		int64_t lo = draw(12), hi = lo + draw(12), every = 1 + draw(5), extent;
		struct iog_block b, v;
		bool any;

		random_block(&b, rank, size, mem, sizeof mem, 3);
		b.start[d] = draw(9);
		extent = b.start[d] + b.count[d] + draw(3);
		any = iog_block_crop(&v, &b, rank, d, lo, hi);
		check_view(&v, &b, rank, d, any, 1, lo, lo, hi, 1);
		any = iog_block_decimate(&v, &b, rank, d, every);
		check_view(&v, &b, rank, d, any, every, 0, 0, INT64_MAX, every);
		any = iog_block_flip(&v, &b, rank, d, extent);
		check_view(&v, &b, rank, d, any, -1, extent - 1, 0, INT64_MAX, 1);
		v = b; /* in place */
		any = iog_block_crop(&v, &v, rank, d, lo, hi);
		check_view(&v, &b, rank, d, any, 1, lo, lo, hi, 1);
	}
}

static void views_survive_extreme_arguments(void **st)
{
	struct iog_block b = { .data = mem, .start = { 2 }, .count = { 5 }, .stride = { 4 } }, v;

	(void)st;
	assert_false(iog_block_crop(&v, &b, 1, 0, 7, INT64_MAX));
	assert_int_equal(v.count[0], 0);
	assert_false(iog_block_crop(&v, &b, 1, 0, INT64_MAX, INT64_MIN));
	assert_false(iog_block_crop(&v, &b, 1, 0, 4, 4));
	assert_true(iog_block_crop(&v, &b, 1, 0, INT64_MIN, INT64_MAX)); /* below 0 there is nothing: counts from 0 */
	assert_int_equal(v.start[0], 2);
	assert_int_equal(v.count[0], 5);
	assert_false(iog_block_decimate(&v, &b, 1, 0, INT64_MAX)); /* the next multiple is far away */
	b.start[0] = 0;
	assert_true(iog_block_decimate(&v, &b, 1, 0, INT64_MAX));
	assert_int_equal(v.count[0], 1);
	assert_true(iog_block_decimate(&v, &b, 1, 0, 0));
	assert_int_equal(v.count[0], 5);
	b.count[0] = 1, b.stride[0] = INT64_MIN;
	assert_true(iog_block_flip(&v, &b, 1, 0, 9));
	assert_int_equal(v.start[0], 8);
	b.count[0] = 0;
	assert_false(iog_block_flip(&v, &b, 1, 0, 9));
}

static struct iog_schema schema;
static struct iog_record rec;
static struct iog_err err;

static void setup(const char *text)
{
	if (iog_schema_parse(&schema, text, &err))
		fail_msg("%s", err.text);
	memset(&rec, 0, sizeof rec);
	rec.schema = &schema;
	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d].extent = schema.dim[d].max;
}

static void assemble_puts_blocks_where_they_belong(void **st)
{
	(void)st;
	for (int n = 0; n < 400; n++) {
		enum { NZ = 5, NY = 7, NX = 9 };
		static int32_t global[NZ][NY][NX], got[NZ][NY][NX], store[8][NZ * NY * NX];
		struct iog_block b[8];
		int64_t zcut = draw(NZ + 1), ycut = draw(NY + 1), xcut = draw(NX + 1), total = 0;

		setup("T: i32[z=5,y=7,x=9]");
		for (int i = 0; i < NZ * NY * NX; i++)
			(&global[0][0][0])[i] = i + 1;
		memset(b, 0, sizeof b);
		for (unsigned k = 0; k < 8; k++) { /* eight ranks, each with an octant, in Fortran order: x slowest */
			int64_t s[3] = { k & 4 ? zcut : 0, k & 2 ? ycut : 0, k & 1 ? xcut : 0 };
			int64_t e[3] = { k & 4 ? NZ : zcut, k & 2 ? NY : ycut, k & 1 ? NX : xcut };

			for (int d = 0; d < 3; d++)
				b[k].start[d] = s[d], b[k].count[d] = e[d] - s[d];
			b[k].stride[0] = 4, b[k].stride[1] = 4 * b[k].count[0], b[k].stride[2] = b[k].stride[1] * b[k].count[1];
			b[k].data = (uint8_t *)store[k];
			for (int64_t z = s[0]; z < e[0]; z++)
				for (int64_t y = s[1]; y < e[1]; y++)
					for (int64_t x = s[2]; x < e[2]; x++)
						store[k][(z - s[0]) + (y - s[1]) * b[k].count[0] +
							 (x - s[2]) * b[k].count[0] * b[k].count[1]] = global[z][y][x];
		}
		rec.var[0] = (struct iog_var){ .block = b, .n_blocks = 8 };
		memset(got, 0, sizeof got);
		assert_int_equal(iog_record_assemble(&rec, 0, (uint8_t *)got), NZ * NY * NX);
		assert_memory_equal(got, global, sizeof got);
		assert_int_equal(iog_record_var_bytes(&rec, 0), sizeof got);
		/* Without the last block its elements stay as they were, and nothing else does. */
		rec.var[0].n_blocks = 7;
		memset(got, 0xff, sizeof got);
		total = iog_record_assemble(&rec, 0, (uint8_t *)got);
		assert_int_equal(total, NZ * NY * NX - iog_block_elems(&b[7], 3));
		for (int z = 0; z < NZ; z++)
			for (int y = 0; y < NY; y++)
				for (int x = 0; x < NX; x++)
					assert_int_equal(got[z][y][x], z >= zcut && y >= ycut && x >= xcut ? -1 : global[z][y][x]);
	}
}

/* Rows that follow each other in the block do not in the whole array. */
static void assemble_keeps_rows_apart(void **st)
{
	int32_t data[4] = { 1, 2, 3, 4 }, whole[3][3] = { { 0 } };
	static const int32_t expected[3][3] = { { 0, 0, 0 }, { 0, 1, 2 }, { 0, 3, 4 } };
	struct iog_block b = { .data = (uint8_t *)data, .start = { 1, 1 }, .count = { 2, 2 }, .stride = { 8, 4 } };

	(void)st;
	setup("a: i32[m=3,n=3]");
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	assert_int_equal(iog_record_assemble(&rec, 0, (uint8_t *)whole), 4);
	assert_memory_equal(whole, expected, sizeof whole);
}

static void assemble_ignores_what_lies_outside(void **st)
{
	int32_t data[4] = { 1, 2, 3, 4 }, got[4] = { 0 };
	struct iog_block b[] = { { .data = (uint8_t *)data, .start = { 2 }, .count = { 3 }, .stride = { 4 } },
		{ .data = (uint8_t *)data, .start = { -1 }, .count = { 3 }, .stride = { 4 } },
		{ .data = (uint8_t *)data, .start = { INT64_MAX }, .count = { INT64_MAX }, .stride = { 4 } } };

	(void)st;
	setup("a: i32[n=4]");
	rec.var[0] = (struct iog_var){ .block = b, .n_blocks = 3 };
	assert_int_equal(iog_record_assemble(&rec, 0, (uint8_t *)got), 0);
	assert_true(!got[0] && !got[1] && !got[2] && !got[3]);
}

static void whole_means_one_dense_block_over_everything(void **st)
{
	float data[12];
	struct iog_block b = { .data = (uint8_t *)data, .count = { 4, 3 } };
	const uint8_t *p = NULL;

	(void)st;
	setup("p: f32[atom<=4,xyz]");
	iog_block_set_dense(&b, 2, 4);
	assert_false(iog_record_whole(&rec, 0, &p));
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	assert_true(iog_record_whole(&rec, 0, &p));
	assert_ptr_equal(p, data);
	rec.axis[0].extent = 5;
	assert_false(iog_record_whole(&rec, 0, &p));
	rec.axis[0].extent = 4, b.start[0] = 1;
	assert_false(iog_record_whole(&rec, 0, &p));
	b.start[0] = 0, b.stride[1] = 8;
	assert_false(iog_record_whole(&rec, 0, &p));
	schema.var[0].n_codecs = 1, schema.var[0].codec[0] = IOG_CODEC_ZSTD, b.stride[1] = 4;
	assert_false(iog_record_whole(&rec, 0, &p));
	assert_int_equal(iog_record_assemble(&rec, 0, out), 0);
}

static void load_and_store_convert(void **st)
{
	static const struct {
		enum iog_dtype type;
		double in, out;
	} table[] = { { IOG_I8, 127.9, 127 }, { IOG_I8, 1e9, 127 }, { IOG_I8, -1e9, -128 }, { IOG_I8, -3.7, -3 }, { IOG_I16, 4e4, 32767 },
		{ IOG_I16, -4e4, -32768 }, { IOG_I32, 3e9, 2147483647 }, { IOG_I32, -INFINITY, -2147483648.0 }, { IOG_I32, NAN, 0 },
		{ IOG_I64, 1e300, 0x1p63 }, { IOG_I64, -1e300, -0x1p63 }, { IOG_I64, 0x1p62, 0x1p62 }, { IOG_U8, 300, 255 },
		{ IOG_U8, -5, 0 }, { IOG_U16, 1e9, 65535 }, { IOG_U32, 1e12, 4294967295.0 }, { IOG_U64, 1e300, 0x1p64 },
		{ IOG_U64, NAN, 0 }, { IOG_U64, 0x1p63, 0x1p63 }, { IOG_F32, 0.1, (double)0.1f }, { IOG_F32, 1e300, INFINITY },
		{ IOG_F64, 0.1, 0.1 }, { IOG_C64, 2.5, 2.5 }, { IOG_C128, -7, -7 }, { IOG_BOOL, 0, 0 }, { IOG_BOOL, -0.5, 1 },
		{ IOG_BOOL, NAN, 0 }, { IOG_BYTE, 200, 200 }, { IOG_F16, 1, 1 }, { IOG_F16, -2.5, -2.5 }, { IOG_F16, 65504, 65504 },
		{ IOG_F16, 65519.9, 65504 }, { IOG_F16, 65520, INFINITY }, { IOG_F16, -INFINITY, -INFINITY }, { IOG_F16, 0x1p-24, 0x1p-24 },
		{ IOG_F16, 0x1p-25, 0 }, { IOG_F16, 0x1.8p-25, 0x1p-24 }, { IOG_F16, 0x1p-14, 0x1p-14 }, { IOG_F16, 2049, 2048 },
		{ IOG_F16, 2051, 2052 }, { IOG_F16, 2049.0000001, 2050 }, { IOG_F16, 1e-300, 0 } };
	uint8_t raw[20];

	(void)st;
	for (size_t i = 0; i < IOG_COUNT(table); i++) {
		memset(raw, 0xee, sizeof raw);
		iog_store(raw + 1, table[i].type, table[i].in);
		if (iog_load(raw + 1, table[i].type) != table[i].out)
			fail_msg("%s of %g gives %.17g", iog_dtype_name(table[i].type), table[i].in, iog_load(raw + 1, table[i].type));
		assert_int_equal(raw[0], 0xee);
		assert_int_equal(raw[1 + iog_dtype_size(table[i].type)], 0xee);
	}
	iog_store(raw, IOG_F16, NAN);
	assert_true(isnan(iog_load(raw, IOG_F16)));
	iog_store(raw, IOG_F64, NAN);
	assert_true(isnan(iog_load(raw, IOG_F64)));
	iog_store(raw, IOG_NONE, 1);
	assert_true(iog_load(raw, IOG_NONE) == 0);
	for (unsigned h = 0; h < 65536; h++) { /* every half survives, and lies between its neighbours */
		uint16_t v = (uint16_t)h, back;
		double d;

		memcpy(raw, &v, 2);
		d = iog_load(raw, IOG_F16);
		if (isnan(d))
			continue;
		iog_store(raw, IOG_F16, d);
		memcpy(&back, raw, 2);
		assert_int_equal(back, v);
	}
}

static void scalars_are_rank_0_numbers(void **st)
{
	int64_t big = -7;
	float f[2] = { 1.5f, 0 };
	struct iog_block a = { .data = (uint8_t *)&big }, b = { .data = (uint8_t *)f };
	double v = 0;

	(void)st;
	setup("e: i64; c: c64; n: f32[k=2]; raw: byte; gone: f64");
	for (unsigned i = 0; i < 4; i++)
		rec.var[i] = (struct iog_var){ .block = i ? &b : &a, .n_blocks = 1 };
	assert_true(iog_record_scalar(&rec, 0, &v) && v == -7);
	assert_true(iog_record_scalar(&rec, 1, &v) && v == 1.5);
	assert_false(iog_record_scalar(&rec, 2, &v));
	assert_false(iog_record_scalar(&rec, 3, &v));
	assert_false(iog_record_scalar(&rec, 4, &v));
	assert_false(iog_record_scalar(&rec, 5, &v));
}

static void set_block(struct iog_block *b, unsigned var, const void *data, unsigned rank, uint32_t size)
{
	memset(b, 0, sizeof *b);
	b->data = data;
	for (unsigned d = 0; d < rank; d++)
		b->count[d] = 3;
	iog_block_set_dense(b, rank, size);
	rec.var[var] = (struct iog_var){ .block = b, .n_blocks = 1 };
}

static void cell_is_read_and_inverted(void **st)
{
	double tri[3][3] = { { 10, 0, 0 }, { 2, 8, 0 }, { 1, -1, 5 } }, unit, flat[3][3] = { { 1, 2, 3 }, { 2, 4, 6 }, { 0, 0, 1 } };
	float lengths[3] = { 2, 4, 8 }, origin[3] = { -1, 0, 1 };
	struct iog_block b, o;
	struct iog_box box;

	(void)st;
	setup("box: f64[cell,xyz]; box_origin: f32[xyz]");
	assert_false(iog_record_box(&rec, &box));
	set_block(&b, 0, tri, 2, 8);
	assert_true(iog_record_box(&rec, &box));
	for (int i = 0; i < 3; i++) {
		assert_true(box.origin[i] == 0);
		for (int j = 0; j < 3; j++) {
			unit = 0;
			for (int k = 0; k < 3; k++)
				unit += box.edge[i][k] * box.inv[k][j];
			assert_true(fabs(unit - (i == j)) < 1e-14);
			assert_true(box.edge[i][j] == tri[i][j]);
		}
	}
	set_block(&o, 1, origin, 1, 4);
	assert_true(iog_record_box(&rec, &box));
	assert_true(box.origin[0] == -1 && box.origin[2] == 1);
	set_block(&b, 0, flat, 2, 8);
	assert_false(iog_record_box(&rec, &box));
	tri[1][1] = NAN;
	set_block(&b, 0, tri, 2, 8);
	assert_false(iog_record_box(&rec, &box));
	tri[1][1] = 8;
	b.count[0] = 2; /* a row is missing */
	assert_false(iog_record_box(&rec, &box));

	setup("box: f32[xyz]");
	set_block(&b, 0, lengths, 1, 4);
	assert_true(iog_record_box(&rec, &box));
	assert_true(box.edge[1][1] == 4 && box.edge[0][1] == 0 && box.inv[2][2] == 0.125);
	setup("box: i32[xyz]");
	set_block(&b, 0, lengths, 1, 4);
	assert_false(iog_record_box(&rec, &box));
}

static void records_are_ordered_by_epoch_then_seq(void **st)
{
	struct iog_id a = { .epoch = 1, .seq = iog_seq_of_step(-5) }, b = { .epoch = 1, .seq = iog_seq_of_step(3) };

	(void)st;
	assert_true(iog_id_order(&a, &b) < 0 && iog_id_order(&b, &a) > 0 && iog_id_order(&a, &a) == 0);
	a.epoch = 2;
	assert_true(iog_id_order(&a, &b) > 0);
	assert_true(iog_seq_of_step(INT64_MIN) == 0 && iog_seq_of_step(INT64_MAX) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gather_equals_a_walk_over_all_elements),
		cmocka_unit_test(gather_of_nothing_touches_nothing),
		cmocka_unit_test(dense_is_recognized),
		cmocka_unit_test(views_show_the_right_elements),
		cmocka_unit_test(views_survive_extreme_arguments),
		cmocka_unit_test(assemble_puts_blocks_where_they_belong),
		cmocka_unit_test(assemble_keeps_rows_apart),
		cmocka_unit_test(assemble_ignores_what_lies_outside),
		cmocka_unit_test(whole_means_one_dense_block_over_everything),
		cmocka_unit_test(load_and_store_convert),
		cmocka_unit_test(scalars_are_rank_0_numbers),
		cmocka_unit_test(cell_is_read_and_inverted),
		cmocka_unit_test(records_are_ordered_by_epoch_then_seq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
