/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire form: what is written opens again as the same record; what is damaged, hostile or changing never leads outside its memory.
 * With IOG_COST=1 in the environment it measures iog_wire_put, iog_wire_open, iog_hash and iog_block_gather instead.
 */
#include "core/wire.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { MEM = 1 << 16, BLOCKS = 512, HEAD = 1 << 17 };

static uint64_t seed = 1;
static struct iog_schema schema;
static struct iog_record rec, got;
static struct iog_block blocks[BLOCKS], got_blocks[BLOCKS];
static struct iog_err err;
static _Alignas(64) uint8_t slot[1 << 18], other[1 << 18], head[HEAD];
static uint8_t arena_a[MEM], arena_b[MEM], elsewhere[MEM];
static const struct iog_region regions[] = { { arena_a, MEM, 11, 0 }, { arena_b, MEM, 22, 0 } };

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
	rec.id = (struct iog_id){ .stream = 0x1111, .seq = iog_seq_of_step(40), .epoch = 2, .writer = 1 };
	rec.step = 40, rec.time = 0.25, rec.writers = 4, rec.param_version = 9, rec.qos = 3, rec.clock = 1, rec.born_ns = 12345;
	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d] = (struct iog_axis){ schema.dim[d].max, 0.5 * d, 1.5 };
}

static int open_at(const uint8_t *at, uint64_t len, unsigned flags)
{
	err.text[0] = 0;
	memset(&got, 0xdd, sizeof got);
	return iog_wire_open(&got, at, len, &schema, regions, IOG_COUNT(regions), got_blocks, BLOCKS, head, sizeof head, flags, &err);
}

static void must_open(const uint8_t *at, int64_t len, unsigned flags)
{
	if (len < 0)
		fail_msg("not written: %lld", (long long)len);
	if (open_at(at, (uint64_t)len, flags))
		fail_msg("%s", err.text);
}

static bool within(const uint8_t *p, __int128 low, __int128 high, const uint8_t *base, uint64_t size)
{
	__int128 at = (__int128)(uintptr_t)p, from = (__int128)(uintptr_t)base;

	return at + low >= from && at + high <= from + size;
}

/* Lowest and highest byte of every block, in arithmetic that cannot overflow; and with few elements, each of them. */
static void assert_inside(const struct iog_record *r, const uint8_t *self, uint64_t len, const struct iog_region *region, unsigned n)
{
	for (unsigned i = 0; i < r->schema->n_vars; i++) {
		const struct iog_vardef *v = &r->schema->var[i];

		for (uint32_t k = 0; k < r->var[i].n_blocks; k++) {
			const struct iog_block *b = &r->var[i].block[k];
			__int128 low = 0, high = iog_dtype_size(v->dtype), elems = 1;
			bool inside;

			for (unsigned d = 0; d < v->rank; d++) {
				__int128 span = ((__int128)b->count[d] - 1) * b->stride[d];

				assert_true(b->start[d] >= 0 && b->count[d] >= 0);
				assert_true((__int128)b->start[d] + b->count[d] <= r->axis[v->dim[d]].extent);
				low += span < 0 ? span : 0, high += span > 0 ? span : 0;
				elems *= b->count[d];
			}
			assert_true(elems * iog_dtype_size(v->dtype) <= INT64_MAX);
			if (iog_var_opaque(v))
				low = 0, high = b->bytes;
			else if (!elems)
				continue;
			inside = within(b->data, low, high, self, len);
			for (unsigned g = 0; g < n && !inside; g++)
				inside = within(b->data, low, high, region[g].base, region[g].size);
			assert_true(inside);
		}
	}
}

/* Same identity, axes, blocks, elements. */
static void assert_same(const struct iog_record *a, const struct iog_record *b)
{
	static uint8_t x[MEM], y[MEM];

	assert_memory_equal(&a->id, &b->id, sizeof a->id);
	assert_true(a->step == b->step && a->writers == b->writers && a->param_version == b->param_version);
	assert_true(a->flags == b->flags && a->qos == b->qos && a->clock == b->clock && a->born_ns == b->born_ns);
	assert_memory_equal(&a->time, &b->time, sizeof a->time);
	assert_memory_equal(a->axis, b->axis, a->schema->n_dims * sizeof a->axis[0]);
	for (unsigned i = 0; i < a->schema->n_vars; i++) {
		const struct iog_vardef *v = &a->schema->var[i];
		const uint32_t size = iog_dtype_size(v->dtype);

		assert_int_equal(a->var[i].n_blocks, b->var[i].n_blocks);
		for (uint32_t k = 0; k < a->var[i].n_blocks; k++) {
			const struct iog_block *p = &a->var[i].block[k], *q = &b->var[i].block[k];
			size_t bytes = size;

			if (v->rank) {
				assert_memory_equal(p->start, q->start, v->rank * 8u);
				assert_memory_equal(p->count, q->count, v->rank * 8u);
			}
			assert_int_equal(p->bytes, q->bytes);
			if (iog_var_opaque(v)) {
				assert_memory_equal(p->data, q->data, p->bytes);
				continue;
			}
			bytes *= (size_t)iog_block_elems(p, v->rank);
			assert_true(bytes <= sizeof x);
			iog_block_gather(x, p, v->rank, size);
			iog_block_gather(y, q, v->rank, size);
			assert_memory_equal(x, y, bytes);
		}
	}
}

static const char *const shapes[] = {
	"position: f32[atom<=64,xyz]; static type: i32[atom]; energy: f64",
	"T: f64[z<=6,y<=5,x<=7] K; image: u8[y,x,rgb] | jpeg; flag: bool",
	"v: c128[a<=2,b<=3,c<=2,d<=2,e<=3,f<=2,g<=2,h<=2]; n: i64; w: i16[h,a]",
	"e: f64",
	"",
};

/* Fills rec with random blocks. Places: 0 the slot's payload from `payload` on, 1 and 2 the arenas, 3 elsewhere. Returns what is used. */
static uint64_t random_record(uint64_t payload, unsigned places)
{
	uint64_t used = 0;
	uint32_t n = 0;

	for (unsigned d = 0; d < schema.n_dims; d++)
		rec.axis[d].extent = schema.dim[d].fixed ? schema.dim[d].max : draw((unsigned)schema.dim[d].max + 1);
	for (unsigned i = 0; i < schema.n_vars; i++) {
		const struct iog_vardef *v = &schema.var[i];
		const uint32_t size = iog_dtype_size(v->dtype), count = draw(5) ? 1 : draw(6);

		rec.var[i] = (struct iog_var){ .block = blocks + n, .n_blocks = count };
		for (uint32_t k = 0; k < count; k++) {
			struct iog_block *b = &blocks[n++];
			unsigned where = (places >> 4 * draw(4)) & 15;
			uint8_t *base = where == 0 ? slot + payload : where == 1 ? arena_a : where == 2 ? arena_b : elsewhere;
			int64_t s = size, low = 0;
			uint64_t at;

			memset(b, 0, sizeof *b);
			for (unsigned d = v->rank; d-- > 0;) {
				int64_t extent = rec.axis[v->dim[d]].extent;

				b->start[d] = draw((unsigned)extent + 1);
				b->count[d] = extent - b->start[d] - (draw(4) ? 0 : draw((unsigned)(extent - b->start[d]) + 1));
				b->stride[d] = s;
				s = s * IOG_MAX(b->count[d], 1) + (draw(3) ? 0 : draw(7));
				if (draw(4) == 0)
					low += b->stride[d] * (IOG_MAX(b->count[d], 1) - 1), b->stride[d] = -b->stride[d];
			}
			assert_true(s < MEM - 64);
			if (iog_var_opaque(v)) {
				memset(b->stride, 0, sizeof b->stride);
				b->bytes = draw(500), s = (int64_t)b->bytes, low = 0;
			}
			if (where == 0) {
				if (used + (uint64_t)s > MEM)
					base = elsewhere, at = 0;
				else
					at = used, used += (uint64_t)s + draw(3);
			} else {
				at = draw((unsigned)(MEM - s));
			}
			b->data = base + at + low;
		}
	}
	return used;
}

static void fill_memory(void)
{
	for (unsigned i = 0; i < MEM; i++)
		arena_a[i] = (uint8_t)draw(256), arena_b[i] = (uint8_t)draw(256), elsewhere[i] = (uint8_t)draw(256);
	for (unsigned i = 0; i < sizeof slot; i++)
		slot[i] = (uint8_t)draw(256);
}

static void what_is_put_opens_as_the_same_record(void **st)
{
	(void)st;
	fill_memory();
	for (int n = 0; n < 4000; n++) {
		uint32_t viewed = 99, expected = 0;
		uint64_t payload, used;
		int64_t total;

		parse(shapes[draw(IOG_COUNT(shapes))]);
		payload = iog_wire_head_max(&schema, 64, 2) + 64 * draw(3);
		used = random_record(payload, 0x3210);
		total = iog_wire_put(slot, sizeof slot, payload, used, &rec, regions, 2, &viewed);
		must_open(slot, total, 0);
		assert_same(&rec, &got);
		assert_inside(&got, slot, (uint64_t)total, regions, 2);
		for (unsigned i = 0; i < schema.n_vars; i++) {
			for (uint32_t k = 0; k < rec.var[i].n_blocks; k++) {
				const struct iog_block *b = &rec.var[i].block[k];
				bool empty = iog_var_opaque(&schema.var[i]) ? !b->bytes : !iog_block_elems(b, schema.var[i].rank);

				if (empty)
					continue;
				/* Nothing was copied that did not have to be. */
				if (b->data < elsewhere || b->data >= elsewhere + MEM)
					assert_ptr_equal(got.var[i].block[k].data, b->data);
				if (b->data >= arena_a && b->data < arena_a + MEM)
					expected |= 1;
				if (b->data >= arena_b && b->data < arena_b + MEM)
					expected |= 2;
			}
		}
		assert_int_equal(viewed, expected);
	}
}

static void packed_records_are_self_contained_and_equal(void **st)
{
	(void)st;
	fill_memory();
	for (int n = 0; n < 2000; n++) {
		int64_t total;

		parse(shapes[draw(IOG_COUNT(shapes))]);
		random_record(iog_wire_head_max(&schema, 64, 2), 0x3213);
		total = iog_wire_pack(other, sizeof other, &rec);
		assert_int_equal(total, iog_wire_size(&rec));
		assert_int_equal(total % IOG_ALIGN, 0);
		if (iog_wire_open(
			    &got, other, (uint64_t)total, &schema, NULL, 0, got_blocks, BLOCKS, head, sizeof head, IOG_OPEN_SUM, &err))
			fail_msg("%s", err.text);
		assert_same(&rec, &got);
		assert_inside(&got, other, (uint64_t)total, NULL, 0);
		/* The same record gives the same bytes, whatever was there before. */
		if (n % 50 == 0) {
			static _Alignas(64) uint8_t again[sizeof other];

			memset(again, 0x5a, sizeof again);
			assert_int_equal(iog_wire_pack(again, (uint64_t)total, &rec), total);
			assert_memory_equal(again, other, (size_t)total);
			assert_int_equal(again[total], 0x5a);
			assert_int_equal(iog_wire_pack(again, (uint64_t)total - 1, &rec), -ENOSPC);
			/* Also from the opened one. */
			assert_int_equal(iog_wire_pack(again, sizeof again, &got), total);
			assert_memory_equal(again, other, (size_t)total);
		}
	}
}

/* One ordinary record in slot: three variables, one of them in two blocks, an arena referred to. */
static int64_t usual(void)
{
	static float position[30][3];
	static int32_t type[30];
	static double energy = -4.5;
	uint64_t payload;
	int64_t total;

	parse("position: f32[atom<=40,xyz] A; static type: i32[atom]; energy: f64");
	for (int i = 0; i < 30; i++)
		for (int k = 0; k < 3; k++)
			position[i][k] = (float)(i + 0.1 * k);
	memset(blocks, 0, 4 * sizeof blocks[0]);
	rec.axis[0].extent = 30;
	memcpy(arena_a + 1001, type, sizeof type);
	blocks[0] = (struct iog_block){ .data = (uint8_t *)position, .count = { 10, 3 }, .stride = { 12, 4 } };
	blocks[1] = (struct iog_block){ .data = (uint8_t *)position[29], .start = { 10 }, .count = { 20, 3 }, .stride = { -12, 4 } };
	blocks[2] = (struct iog_block){ .data = arena_a + 1001, .count = { 30 }, .stride = { 4 } };
	blocks[3] = (struct iog_block){ .data = (uint8_t *)&energy };
	rec.var[0] = (struct iog_var){ .block = blocks, .n_blocks = 2 };
	rec.var[1] = (struct iog_var){ .block = blocks + 2, .n_blocks = 1 };
	rec.var[2] = (struct iog_var){ .block = blocks + 3, .n_blocks = 1 };
	payload = iog_wire_head_max(&schema, 4, 1);
	memset(slot, 0, sizeof slot);
	total = iog_wire_put(slot, sizeof slot, payload, 0, &rec, regions, 2, NULL);
	must_open(slot, total, 0);
	return total;
}

static void truncated_at_every_length_is_refused(void **st)
{
	int64_t total = usual();

	(void)st;
	for (int64_t n = 0; n < total; n++) {
		uint8_t *exact = malloc((size_t)n); /* so that a sanitizer sees every byte too far */
		int rc;

		if (n)
			memcpy(exact, slot, (size_t)n);
		rc = open_at(n ? exact : slot, (uint64_t)n, IOG_OPEN_SUM);
		free(exact);
		assert_int_equal(rc, -EBADMSG);
		assert_true(err.text[0]);
	}
}

static void a_flipped_bit_in_a_packed_head_is_noticed(void **st)
{
	int64_t total;
	uint32_t bytes;

	(void)st;
	usual();
	total = iog_wire_pack(other, sizeof other, &rec);
	memcpy(&bytes, other + offsetof(struct iog_wire, head_bytes), 4);
	for (uint32_t bit = 0; bit < bytes * 8; bit++) {
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
		/* payload_sum and all other fields are under the head's checksum. */
		assert_true(open_at(other, (uint64_t)total, IOG_OPEN_SUM) != 0);
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(open_at(other, (uint64_t)total, IOG_OPEN_SUM), 0);
	/* One that was never meant to leave the node has none. */
	total = usual();
	assert_int_equal(open_at(slot, (uint64_t)total, IOG_OPEN_SUM), -EBADMSG);
}

static void a_flipped_bit_in_a_packed_payload_is_noticed(void **st)
{
	int64_t total;
	uint32_t bytes;

	(void)st;
	usual();
	total = iog_wire_pack(other, sizeof other, &rec);
	memcpy(&bytes, other + offsetof(struct iog_wire, head_bytes), 4);
	for (uint64_t bit = bytes * 8; bit < (uint64_t)total * 8; bit += 3) {
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(open_at(other, (uint64_t)total, IOG_OPEN_SUM), -EBADMSG);
		assert_non_null(strstr(err.text, "checksum of its payload"));
		assert_int_equal(open_at(other, (uint64_t)total, 0), 0); /* not asked for: not looked at */
		other[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void hostile_heads_never_lead_outside(void **st)
{
	unsigned opened = 0, refused = 0;

	(void)st;
	for (int n = 0; n < 60000; n++) {
		static uint8_t saved[4096];
		static int64_t total;
		uint32_t bytes;

		if (n % 1000 == 0) {
			if (n % 4000 == 0) {
				total = usual();
			} else {
				uint64_t payload;

				parse(shapes[n / 1000 % 3]);
				payload = iog_wire_head_max(&schema, 64, 2);
				total = iog_wire_put(slot, sizeof slot, payload, random_record(payload, 0x3210), &rec, regions, 2, NULL);
				must_open(slot, total, 0);
			}
			memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
			if (bytes > sizeof saved) {
				total = usual();
				memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
			}
			memcpy(saved, slot, sizeof saved);
		}
		memcpy(slot, saved, sizeof saved);
		memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
		for (unsigned k = 1 + draw(3); k > 0; k--) {
			unsigned at = sizeof(struct iog_wire) + draw(bytes - (unsigned)sizeof(struct iog_wire));

			if (draw(8) == 0)
				at = draw(sizeof(struct iog_wire));
			switch (draw(4)) {
			case 0: slot[at] ^= (uint8_t)(1 << draw(8)); break;
			case 1: slot[at] = (uint8_t)draw(256); break;
			case 2: { /* a whole word of extreme or ordinary value */
				static const int64_t words[] = { 0, 1, -1, INT64_MAX, INT64_MIN, 1ll << 32, -(1ll << 32), 1ll << 62, 3, -4,
					65536 };
				int64_t w = words[draw(IOG_COUNT(words))];

				memcpy(slot + (at & ~7u), &w, 8);
				break;
			}
			default: slot[at & ~7u] = (uint8_t)(slot[at & ~7u] + draw(9) - 4); break; /* the low byte of a word: a little off */
			}
		}
		if (open_at(slot, (uint64_t)total, 0)) {
			refused++;
			assert_true(err.text[0]);
			continue;
		}
		opened++;
		assert_inside(&got, slot, (uint64_t)total, regions, 2);
	}
	/* Both happened often, or this tested nothing. */
	assert_true(opened > 2000);
	assert_true(refused > 2000);
}

/* The record at `at` opened anew, and as the next one after that in `slot`: the same; or it differs in its tables, and the second is refused. */
static bool reopens(const uint8_t *at, uint64_t total)
{
	static struct iog_record next;
	static struct iog_block next_blocks[BLOCKS];

	assert_int_equal(open_at(slot, total, 0), 0);
	next = got;
	memcpy(next_blocks, got_blocks, sizeof next_blocks);
	for (unsigned i = 0; i < schema.n_vars; i++)
		next.var[i].block = next_blocks + (got.var[i].block - got_blocks);
	if (!iog_wire_reopen(&next, next_blocks, at, total, slot, head)) {
		assert_memory_equal(&next, &got, offsetof(struct iog_record, var));
		assert_memory_equal(next_blocks, got_blocks, sizeof next_blocks);
		return false;
	}
	assert_int_equal(open_at(at, total, 0), 0);
	assert_memory_equal(&next, &got, offsetof(struct iog_record, axis));
	assert_memory_equal(next.axis, got.axis, schema.n_dims * sizeof got.axis[0]);
	assert_memory_equal(next_blocks, got_blocks, sizeof next_blocks);
	return true;
}

static void the_next_record_is_what_it_is_when_opened_anew(void **st)
{
	(void)st;
	fill_memory();
	memset(got_blocks, 0, sizeof got_blocks);
	for (int n = 0; n < 60; n++) {
		uint64_t payload;
		uint32_t bytes;
		int64_t total;

		parse(shapes[draw(IOG_COUNT(shapes))]);
		payload = iog_wire_head_max(&schema, 64, 2) + 64 * draw(3);
		total = iog_wire_put(slot, sizeof slot, payload, random_record(payload, 0x3210), &rec, regions, 2, NULL);
		must_open(slot, total, 0);
		memcpy(other, slot, (size_t)total);
		rec.id.seq = draw(1000), rec.id.epoch = draw(9), rec.step = draw(1000), rec.time = draw(9), rec.born_ns = draw(1000);
		rec.param_version = draw(5);
		iog_wire_restamp(other, &rec);
		assert_true(reopens(other, (uint64_t)total));
		assert_int_equal(got.id.seq, rec.id.seq);
		assert_int_equal(got.step, rec.step);
		assert_false(iog_wire_reopen(&got, got_blocks, other, (uint64_t)total - 1, slot, head));
		memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
		for (uint32_t at = 0; at < bytes; at++) {
			const bool stamp = (at >= offsetof(struct iog_wire, seq) && at < offsetof(struct iog_wire, writer)) ||
					   (at >= offsetof(struct iog_wire, param_version) && at < offsetof(struct iog_wire, n_dims));

			other[at] ^= 1;
			assert_int_equal(reopens(other, (uint64_t)total), stamp);
			other[at] ^= 1;
		}
	}
}

/* Offsets in usual(): its head, then 2 axes, 2 segments, 3 variables, blocks of rank 2, 2, 1, 0. */
enum {
	AXES = sizeof(struct iog_wire),
	SEGS = AXES + 2 * 24,
	VARS = SEGS + 2 * 24,
	BLOCK0 = VARS + 3 * 8,
	BLOCK2 = BLOCK0 + 2 * (24 + 48),
};

static void every_rule_has_its_message(void **st)
{
#define FIELD(f) offsetof(struct iog_wire, f), sizeof((struct iog_wire *)0)->f
	static const struct {
		size_t at, size;
		int64_t value;
		int rc;
		const char *message;
	} table[] = {
		{ FIELD(magic), 0x12345678, -EBADMSG, "does not begin with IOGR" },
		{ FIELD(version), 2, -EBADMSG, "version 2; this program reads version 1" },
		{ FIELD(head_bytes), 96, -EBADMSG, "not a multiple of 64" },
		{ FIELD(head_bytes), 128, -EBADMSG, "too short for its tables" },
		{ FIELD(head_bytes), 320, -EBADMSG, "has no room" },
		{ FIELD(head_bytes), 0x7fffffc0, -EBADMSG, "not a multiple of 64" },
		{ FIELD(total_bytes), 1 << 20, -EBADMSG, "of which" },
		{ FIELD(total_bytes), 64, -EBADMSG, "of which" },
		{ FIELD(schema), 1, -EPROTO, "follows another schema" },
		{ FIELD(n_dims), 3, -EBADMSG, "3 dimensions and 3 variables; the schema has 2 and 3" },
		{ FIELD(n_vars), 2, -EBADMSG, "2 dimensions and 2 variables" },
		{ FIELD(n_segs), 0, -EBADMSG, "0 segments" },
		{ FIELD(n_segs), 65, -EBADMSG, "65 segments" },
		{ FIELD(n_blocks), 4097, -EBADMSG, "4097 blocks" },
		{ FIELD(n_blocks), 4096, -E2BIG, "larger than the room for it" },
		{ FIELD(n_blocks), 5, -EBADMSG, "the head says" },
		{ FIELD(n_blocks), 3, -EBADMSG, "has no room" },
		{ FIELD(flags), 2, -EBADMSG, "flags 0x2" },
		{ AXES, 8, -1, -EBADMSG, "dimension \"atom\" is -1 long; the schema allows at most 40" },
		{ AXES, 8, 41, -EBADMSG, "dimension \"atom\" is 41 long; the schema allows at most 40" },
		{ AXES + 24, 8, 2, -EBADMSG, "dimension \"xyz\" is 2 long; the schema allows exactly 3" },
		{ AXES, 8, 29, -EBADMSG, "covers 10+20 of dimension \"atom\", which is 29 long" },
		{ SEGS, 4, 11, -EBADMSG, "segment 0 of 2 has the wrong arena" },
		{ SEGS + 8, 8, 0, -EBADMSG, "its own payload (offset 0" },
		{ SEGS + 8, 8, 513, -EBADMSG, "its own payload" },
		{ SEGS + 8, 8, -64, -EBADMSG, "its own payload" },
		{ SEGS + 16, 8, -1, -EBADMSG, "its own payload" },
		{ SEGS + 24, 4, -1, -EBADMSG, "segment 1 of 2 has the wrong arena" },
		{ SEGS + 24, 4, 33, -EBADMSG, "outside of what is mapped here of arena 33" },
		{ SEGS + 32, 8, MEM, -EBADMSG, "outside of what is mapped here of arena 11" },
		{ SEGS + 40, 8, -1, -EBADMSG, "outside of what is mapped here of arena 11" },
		{ VARS, 4, -1, -EBADMSG, "variable \"position\" has 4294967295 blocks" },
		{ VARS, 4, 1, -EBADMSG, "record: " },
		{ BLOCK0, 4, 2, -EBADMSG, "block 0 of \"position\" names segment 2 of 2" },
		{ BLOCK0 + 8, 8, -1, -EBADMSG, "block 0 of \"position\" at offset 18446744073709551615 reaches outside" },
		{ BLOCK0 + 8, 8, 4000, -EBADMSG, "reaches outside its segment" },
		{ BLOCK0 + 16, 8, 1, -EBADMSG, "has an encoded length, but the variable is not encoded" },
		{ BLOCK0 + 24, 8, -1, -EBADMSG, "covers -1+10 of dimension \"atom\"" },
		{ BLOCK0 + 24, 8, INT64_MAX, -EBADMSG, "covers 9223372036854775807+10" },
		{ BLOCK0 + 40, 8, -1, -EBADMSG, "covers 0+-1 of dimension \"atom\"" },
		{ BLOCK0 + 40, 8, 31, -EBADMSG, "covers 0+31 of dimension \"atom\"" },
		{ BLOCK0 + 48, 8, INT64_MAX, -EBADMSG, "of dimension \"xyz\"" },
		{ BLOCK0 + 56, 8, INT64_MAX, -EBADMSG, "reaches outside" },
		{ BLOCK0 + 56, 8, INT64_MIN, -EBADMSG, "reaches outside" },
		{ BLOCK0 + 56, 8, -12, -EBADMSG, "reaches outside" },
		{ BLOCK0 + 56, 8, 1ll << 61, -EBADMSG, "reaches outside" },
		{ BLOCK0 + 64, 8, -8, -EBADMSG, "reaches outside" },
		{ BLOCK2 + 8, 8, 1, -EBADMSG, "block 0 of \"type\" at offset 1 reaches outside its segment of 120 bytes" },
	};
	int64_t total = usual();

	(void)st;
	for (size_t i = 0; i < IOG_COUNT(table); i++) {
		int rc;

		usual();
		memcpy(slot + table[i].at, &table[i].value, table[i].size);
		rc = open_at(slot, (uint64_t)total, 0);
		if (rc != table[i].rc || !strstr(err.text, table[i].message))
			fail_msg("line %zu: %d, %s (expected %s)", i, rc, err.text, table[i].message);
		assert_int_equal(
			iog_wire_open(&got, slot, (uint64_t)total, &schema, regions, 2, got_blocks, BLOCKS, head, sizeof head, 0, NULL),
			rc);
	}
}

static void too_little_room_is_told_apart_from_damage(void **st)
{
	int64_t total = usual();
	uint32_t bytes;

	(void)st;
	memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
	assert_int_equal(
		iog_wire_open(&got, slot, (uint64_t)total, &schema, regions, 2, got_blocks, 3, head, sizeof head, 0, &err), -E2BIG);
	assert_int_equal(iog_wire_open(&got, slot, (uint64_t)total, &schema, regions, 2, got_blocks, 4, head, bytes - 1, 0, &err), -E2BIG);
	assert_int_equal(iog_wire_open(&got, slot, (uint64_t)total, &schema, regions, 2, got_blocks, 4, head, bytes, 0, &err), 0);
}

static void put_refuses_what_does_not_fit(void **st)
{
	int64_t total;
	uint32_t bytes;

	(void)st;
	usual();
	memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
	total = bytes + 3 * 128 + 8; /* 120, 240 and 8 bytes, aligned */
	assert_int_equal(iog_wire_put(slot, (uint64_t)total, bytes, 0, &rec, regions, 2, NULL), total);
	assert_int_equal(iog_wire_put(slot, (uint64_t)total - 1, bytes, 0, &rec, regions, 2, NULL), -ENOSPC);
	assert_int_equal(iog_wire_put(slot, (uint64_t)total, bytes - 64, 0, &rec, regions, 2, NULL), -ENOSPC);
	assert_int_equal(iog_wire_put(slot, 64, 128, 0, &rec, regions, 2, NULL), -ENOSPC);
	assert_int_equal(iog_wire_put(slot, 4096, 1024, 4000, &rec, regions, 2, NULL), -ENOSPC);
	rec.var[0].n_blocks = IOG_BLOCKS_MAX + 1;
	assert_int_equal(iog_wire_put(slot, sizeof slot, 1024, 0, &rec, regions, 2, NULL), -ENOSPC);
}

static void variables_may_be_absent_or_empty(void **st)
{
	struct iog_block b = { .data = NULL, .count = { 0, 3 } };
	int64_t total;

	(void)st;
	parse("position: f32[atom<=40,xyz]; energy: f64");
	rec.axis[0].extent = 0;
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	total = iog_wire_put(slot, sizeof slot, iog_wire_head_max(&schema, 1, 0), 0, &rec, NULL, 0, NULL);
	must_open(slot, total, 0);
	assert_int_equal(got.var[0].n_blocks, 1);
	assert_int_equal(got.var[0].block->count[0], 0);
	assert_int_equal(got.var[1].n_blocks, 0);
	total = iog_wire_pack(slot, sizeof slot, &rec);
	must_open(slot, total, IOG_OPEN_SUM);
	assert_same(&rec, &got);
}

static void blocks_of_one_region_share_a_segment(void **st)
{
	uint16_t n_segs;
	uint64_t offset, length;
	uint32_t viewed;
	int64_t total;

	(void)st;
	parse("position: f32[atom<=40,xyz]; type: i32[atom]; same: i32[atom]");
	rec.axis[0].extent = 10;
	for (int i = 0; i < 3; i++)
		rec.var[i] = (struct iog_var){ .block = blocks + i, .n_blocks = 1 };
	blocks[0] = (struct iog_block){ .data = arena_b + 9000, .count = { 10, 3 }, .stride = { 12, 4 } };
	blocks[1] = (struct iog_block){ .data = arena_b + 5036, .count = { 10 }, .stride = { -4 } };
	blocks[2] = blocks[1];
	total = iog_wire_put(slot, sizeof slot, 1024, 0, &rec, regions, 2, &viewed);
	must_open(slot, total, 0);
	assert_int_equal(viewed, 2);
	assert_int_equal(total, 1024);
	memcpy(&n_segs, slot + offsetof(struct iog_wire, n_segs), 2);
	assert_int_equal(n_segs, 2);
	memcpy(&offset, slot + SEGS + 32, 8), memcpy(&length, slot + SEGS + 40, 8);
	assert_int_equal(offset, 5000);
	assert_int_equal(length, 9120 - 5000);
	assert_same(&rec, &got);
	/* A block that is only partly in the region is copied. */
	blocks[0].data = arena_b + MEM - 8;
	blocks[0].count[0] = 0;
	blocks[1].data = arena_b + 4, blocks[2].data = arena_b + 36;
	rec.var[0].n_blocks = 0;
	rec.var[1].n_blocks = 0;
	assert_true(iog_wire_put(slot, sizeof slot, 1024, 0, &rec, (struct iog_region[]){ { arena_b + 4, 36, 22, 0 } }, 1, &viewed) ==
		    1024 + 40);
	assert_int_equal(viewed, 0);
	assert_true(iog_wire_put(slot, sizeof slot, 1024, 0, &rec, (struct iog_region[]){ { arena_b, 40, 22, 0 } }, 1, &viewed) == 1024);
	assert_int_equal(viewed, 1);
}

static void what_begins_in_the_slot_and_ends_elsewhere_is_copied(void **st)
{
	struct iog_block b = { .data = slot + 1024 + 100, .count = { 25 }, .stride = { 4 } };
	int64_t total;

	(void)st;
	parse("type: i32[atom<=40]");
	rec.axis[0].extent = 25;
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	/* 100 bytes from 100 on, of which all are in the first 200, or all but one. */
	total = iog_wire_put(slot, sizeof slot, 1024, 200, &rec, NULL, 0, NULL);
	must_open(slot, total, 0);
	assert_int_equal(total, 1024 + 200);
	assert_ptr_equal(got.var[0].block->data, b.data);
	total = iog_wire_put(slot, sizeof slot, 1024, 199, &rec, NULL, 0, NULL);
	assert_int_equal(total, 1024 + 256 + 100);
}

static void two_regions_of_one_arena_are_both_found(void **st)
{
	const struct iog_region halves[] = { { arena_a, 1000, 11, 0 }, { arena_a, MEM, 11, 0 } };
	int64_t total = usual(); /* its type lies at 1001 of arena 11 */

	(void)st;
	assert_int_equal(iog_wire_open(&got, slot, (uint64_t)total, &schema, halves, 2, got_blocks, BLOCKS, head, sizeof head, 0, &err), 0);
	assert_int_equal(
		iog_wire_open(&got, slot, (uint64_t)total, &schema, halves, 1, got_blocks, BLOCKS, head, sizeof head, 0, &err), -EBADMSG);
}

/* Addresses nobody has: neither writing nor opening may touch what it only refers to. */
static void offsets_and_strides_beyond_4_GiB(void **st)
{
	uint8_t *const far_away = (uint8_t *)(uintptr_t)0x100000000000u;
	const struct iog_region huge[] = { { far_away, 1ull << 46, 5, 0 } };
	struct iog_block b = { .data = far_away + (1ull << 45) };
	int64_t total;

	(void)st;
	parse("v: f64[a,b,c,d,e,f,g,h]");
	for (int d = 0; d < 8; d++) {
		rec.axis[d].extent = 2 + d % 2;
		b.count[d] = rec.axis[d].extent;
		b.stride[d] = (1ll << (43 - d)) * (d % 3 ? 1 : -1);
	}
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	total = iog_wire_put(slot, sizeof slot, 1024, 0, &rec, huge, 1, NULL);
	assert_int_equal(total, 1024);
	if (iog_wire_open(&got, slot, (uint64_t)total, &schema, huge, 1, got_blocks, BLOCKS, head, sizeof head, 0, &err))
		fail_msg("%s", err.text);
	assert_inside(&got, slot, (uint64_t)total, huge, 1);
	assert_ptr_equal(got.var[0].block->data, b.data);
	assert_memory_equal(got.var[0].block->stride, b.stride, sizeof b.stride);
	/* A byte less and it does not fit any more. */
	{
		uint8_t *seg = slot + AXES + 8 * 24 + 24;
		uint64_t length;

		memcpy(&length, seg + 16, 8);
		assert_true(length > 1ull << 43);
		length--;
		memcpy(seg + 16, &length, 8);
		assert_int_equal(
			iog_wire_open(&got, slot, (uint64_t)total, &schema, huge, 1, got_blocks, BLOCKS, head, sizeof head, 0, &err),
			-EBADMSG);
	}
}

static void sizes_that_overflow_are_refused(void **st)
{
	struct iog_block b = { .data = arena_a };
	int64_t total;

	(void)st;
	parse("v: f64[a,b,c]"); /* no maxima */
	for (int d = 0; d < 3; d++)
		rec.axis[d].extent = b.count[d] = 1ll << 21; /* stride 0: the same element 2^63 times */
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	total = iog_wire_put(slot, sizeof slot, 1024, 0, &rec, regions, 2, NULL);
	assert_int_equal(total, 1024);
	assert_int_equal(open_at(slot, (uint64_t)total, 0), -EBADMSG);
	assert_non_null(strstr(err.text, "more than 2^63 bytes"));
	for (int d = 0; d < 3; d++)
		rec.axis[d].extent = b.count[d] = 1ll << 20; /* 2^63 bytes exactly: one too many for a signed number */
	total = iog_wire_put(slot, sizeof slot, 1024, 0, &rec, regions, 2, NULL);
	assert_int_equal(open_at(slot, (uint64_t)total, 0), -EBADMSG);
	rec.axis[0].extent = b.count[0] = (1ll << 20) - 1;
	total = iog_wire_put(slot, sizeof slot, 1024, 0, &rec, regions, 2, NULL);
	must_open(slot, total, 0);
	assert_int_equal(iog_record_var_bytes(&got, 0), ((1ull << 20) - 1) << 43);
	assert_int_equal(iog_wire_pack(other, sizeof other, &got), -ENOSPC);
	/* Gathering it into the slot is refused as well. */
	assert_int_equal(iog_wire_put(slot, sizeof slot, 1024, 0, &rec, NULL, 0, NULL), -ENOSPC);
}

static void encoded_bytes_are_kept_as_they_are(void **st)
{
	struct iog_block b = { .data = elsewhere + 3, .bytes = 1001, .count = { 100, 200, 3 } };
	int64_t total;

	(void)st;
	fill_memory();
	parse("image: u8[y<=100,x<=200,rgb] | jpeg");
	rec.var[0] = (struct iog_var){ .block = &b, .n_blocks = 1 };
	total = iog_wire_pack(slot, sizeof slot, &rec);
	must_open(slot, total, IOG_OPEN_SUM);
	assert_same(&rec, &got);
	assert_int_equal(iog_record_var_bytes(&got, 0), 60000);
	/* More bytes than the segment has. */
	memcpy(slot + AXES + 3 * 24 + 24 + 8 + 16, &(uint64_t){ 4096 }, 8);
	assert_int_equal(open_at(slot, (uint64_t)total, 0), -EBADMSG);
}

static void head_max_bounds_every_head(void **st)
{
	(void)st;
	for (int n = 0; n < 500; n++) {
		uint32_t count = 0, bytes;
		uint64_t payload;

		parse(shapes[draw(IOG_COUNT(shapes))]);
		random_record(1 << 14, 0x3210);
		for (unsigned i = 0; i < schema.n_vars; i++)
			count += rec.var[i].n_blocks;
		payload = iog_wire_head_max(&schema, count, 2);
		must_open(slot, iog_wire_put(slot, sizeof slot, 1 << 14, MEM, &rec, regions, 2, NULL), 0);
		assert_true(payload <= 1 << 14);
		memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
		assert_true(bytes <= payload);
	}
}

/* ---- a head that changes while it is read ---- */

static atomic_bool stop;

static void *changer(void *arg)
{
	uint64_t r = 88172645463325252u;
	uint32_t bytes = *(const uint32_t *)arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		volatile uint8_t *p;

		r ^= r << 13, r ^= r >> 7, r ^= r << 17;
		p = slot + sizeof(struct iog_wire) + r % (bytes - sizeof(struct iog_wire));
		*p = (uint8_t)(*p ^ (1 << (r >> 32) % 8));
		if ((r >> 40) % 4 == 0)
			*p = 0xff;
	}
	return NULL;
}

#if defined(__SANITIZE_THREAD__)
#define RACES 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES 1
#endif
#endif

/* The bytes race on purpose, which is what a thread sanitizer would report: there this runs without the second thread. */
static void a_head_that_changes_while_it_is_opened_stays_inside(void **st)
{
	static uint8_t saved[4096];
	int64_t total = usual();
	unsigned opened = 0;
	pthread_t thread;
	uint32_t bytes;
	bool racing = true;

	(void)st;
#ifdef RACES
	racing = false;
#endif
	memcpy(&bytes, slot + offsetof(struct iog_wire, head_bytes), 4);
	memcpy(saved, slot, sizeof saved);
	atomic_store(&stop, false);
	if (racing)
		assert_int_equal(pthread_create(&thread, NULL, changer, &bytes), 0);
	for (int n = 0; n < 150000; n++) {
		if (n % 4 == 0)
			memcpy(slot, saved, bytes);
		if (open_at(slot, (uint64_t)total, 0))
			continue;
		opened++;
		assert_inside(&got, slot, (uint64_t)total, regions, 2);
	}
	atomic_store(&stop, true);
	if (racing)
		pthread_join(thread, NULL);
	assert_true(opened > 0);
}

/* ---- the example of docs/record-format.md ---- */

/* Two atoms with positions and types, one number; packed. */
static int64_t example(void)
{
	static const float position[2][3] = { { 0, 1, 2 }, { 3, 4, 5 } };
	static const int32_t type[2] = { 1, 7 };
	static const double energy = -1.5;

	parse("position: f32[atom<=1000,xyz] Angstrom; static type: i32[atom]; energy: f64 eV");
	rec.id = (struct iog_id){ .stream = 0x1d, .seq = iog_seq_of_step(100), .epoch = 1, .writer = 0 };
	rec.step = 100, rec.time = 0.5, rec.writers = 1, rec.param_version = 0, rec.qos = 0, rec.clock = 0, rec.born_ns = 0;
	rec.axis[0] = (struct iog_axis){ 2, 0, 1 };
	rec.axis[1] = (struct iog_axis){ 3, 0, 1 };
	blocks[0] = (struct iog_block){ .data = (const uint8_t *)position, .count = { 2, 3 }, .stride = { 12, 4 } };
	blocks[1] = (struct iog_block){ .data = (const uint8_t *)type, .count = { 2 }, .stride = { 4 } };
	blocks[2] = (struct iog_block){ .data = (const uint8_t *)&energy };
	for (int i = 0; i < 3; i++)
		rec.var[i] = (struct iog_var){ .block = blocks + i, .n_blocks = 1 };
	return iog_wire_pack(slot, sizeof slot, &rec);
}

static void print_example(char *to, size_t size, int64_t total)
{
	size_t n = 0;

	for (int64_t at = 0; at < total; at += 16) {
		n += (size_t)snprintf(to + n, size - n, "%04llx ", (unsigned long long)at);
		for (int64_t k = at; k < at + 16 && k < total; k++)
			n += (size_t)snprintf(to + n, size - n, "%s%02x", k % 8 ? " " : "  ", slot[k]);
		n += (size_t)snprintf(to + n, size - n, "\n");
	}
}

static void the_example_in_the_documentation_is_true(void **st)
{
	static char expected[1 << 14], page[1 << 16];
	int64_t total = example();
	FILE *f = fopen("docs/record-format.md", "r");

	(void)st;
	print_example(expected, sizeof expected, total);
	if (!f)
		fail_msg("docs/record-format.md is not here; tests run from the root of the tree");
	page[fread(page, 1, sizeof page - 1, f)] = 0;
	fclose(f);
	if (!strstr(page, expected)) {
		fputs(expected, stderr);
		fail_msg("docs/record-format.md should show these %lld bytes", (long long)total);
	}
	must_open(slot, total, IOG_OPEN_SUM);
	assert_same(&rec, &got);
}

/* ---- cost ---- */

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define COST(what, unit, per, call)                                                                                                        \
	do {                                                                                                                               \
		double best = 1e30;                                                                                                        \
		for (int round = 0; round < 40; round++) {                                                                                 \
			double t0 = now_ns();                                                                                              \
			for (int k = 0; k < 2000; k++) {                                                                                   \
				call;                                                                                                      \
				__asm__ volatile("" ::: "memory");                                                                         \
			}                                                                                                                  \
			best = IOG_MIN(best, (now_ns() - t0) / 2000 / (per));                                                              \
		}                                                                                                                          \
		printf("%-44s %8.3f %s\n", what, best, unit);                                                                              \
	} while (0)

static int cost(void)
{
	static float position[4096][3];
	struct iog_block column = { .data = (uint8_t *)position, .count = { 4096, 1 }, .stride = { 12, 4 } };
	struct iog_block rows = { .data = (uint8_t *)slot, .count = { 8, 640, 3 }, .stride = { 5760, 3, 1 } };
	struct iog_block atoms = { .data = (uint8_t *)position, .count = { 2048, 3 }, .stride = { 24, 4 } };
	int64_t total;

	parse("position: f32[atom<=64,xyz]; velocity: f32[atom,xyz]; image: u8[y<=64,x<=64]");
	for (int i = 0; i < 3; i++)
		rec.var[i] = (struct iog_var){ .block = blocks + i, .n_blocks = 1 };
	blocks[0] = (struct iog_block){ .data = slot + 1024, .count = { 64, 3 }, .stride = { 12, 4 } };
	blocks[1] = (struct iog_block){ .data = arena_a + 64, .count = { 64, 3 }, .stride = { 12, 4 } };
	blocks[2] = (struct iog_block){ .data = arena_b + 640, .count = { 64, 64 }, .stride = { 64, 1 } };
	total = iog_wire_put(slot, sizeof slot, 1024, 4096, &rec, regions, 2, NULL);
	printf("head of %u bytes\n", ((struct iog_wire *)(void *)slot)->head_bytes);
	COST("iog_wire_put, 3 variables of rank 2", "ns", 1, iog_wire_put(slot, sizeof slot, 1024, 4096, &rec, regions, 2, NULL));
	COST("iog_wire_open, 3 variables of rank 2", "ns", 1, open_at(slot, (uint64_t)total, 0));
	COST("  of which clearing the result for the test", "ns", 1, memset(&got, 0xdd, sizeof got));
	open_at(slot, (uint64_t)total, 0);
	COST("iog_wire_restamp", "ns", 1, iog_wire_restamp(slot, &rec));
	COST("iog_wire_reopen of the same", "ns", 1, iog_wire_reopen(&got, got_blocks, slot, (uint64_t)total, slot, head));
	COST("iog_hash, 512 bytes", "ns", 1, iog_hash(slot, 512, 1));
	COST("iog_hash, 256 KiB", "ns/byte", sizeof slot, iog_hash(slot, sizeof slot, 1));
	COST("memcpy, 16 KiB", "ns/byte", 16384, memcpy(other, slot, 16384));
	COST("iog_block_gather, rows of 1920 bytes", "ns/byte", 15360, iog_block_gather(other, &rows, 3, 1));
	COST("iog_block_gather, one component of f32[atom,3]", "ns/element", 4096, iog_block_gather(other, &column, 2, 4));
	COST("iog_block_gather, rows of 12 bytes", "ns/row", 2048, iog_block_gather(other, &atoms, 2, 4));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_opens_as_the_same_record),
		cmocka_unit_test(packed_records_are_self_contained_and_equal),
		cmocka_unit_test(truncated_at_every_length_is_refused),
		cmocka_unit_test(a_flipped_bit_in_a_packed_head_is_noticed),
		cmocka_unit_test(a_flipped_bit_in_a_packed_payload_is_noticed),
		cmocka_unit_test(hostile_heads_never_lead_outside),
		cmocka_unit_test(the_next_record_is_what_it_is_when_opened_anew),
		cmocka_unit_test(every_rule_has_its_message),
		cmocka_unit_test(too_little_room_is_told_apart_from_damage),
		cmocka_unit_test(put_refuses_what_does_not_fit),
		cmocka_unit_test(variables_may_be_absent_or_empty),
		cmocka_unit_test(blocks_of_one_region_share_a_segment),
		cmocka_unit_test(what_begins_in_the_slot_and_ends_elsewhere_is_copied),
		cmocka_unit_test(two_regions_of_one_arena_are_both_found),
		cmocka_unit_test(offsets_and_strides_beyond_4_GiB),
		cmocka_unit_test(sizes_that_overflow_are_refused),
		cmocka_unit_test(encoded_bytes_are_kept_as_they_are),
		cmocka_unit_test(head_max_bounds_every_head),
		cmocka_unit_test(a_head_that_changes_while_it_is_opened_stays_inside),
		cmocka_unit_test(the_example_in_the_documentation_is_true),
	};

	return getenv("IOG_COST") ? cost() : cmocka_run_group_tests(tests, NULL, NULL);
}
