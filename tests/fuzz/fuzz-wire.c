/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target of the border of trust: whatever the bytes are, a record that iog_wire_open accepts lies inside the memory it was told of,
 * survives reading every element, packs, and opens again.
 *
 * Input: a byte of options (bit 0-1: the schema; bit 2: the bytes are seen with a right checksum; bit 3: verify the payload), then the record.
 */
#include "core/wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(x)                                                                                                                         \
	do {                                                                                                                               \
		if (!(x))                                                                                                                  \
			abort();                                                                                                           \
	} while (0)

enum { BLOCKS = 256, ELEMENTS = 1 << 16, ARENA = 4096 };

static void reseal(uint8_t *at, size_t size)
{
	uint32_t bytes, sum = 0;
	uint64_t h;

	if (size < sizeof(struct iog_wire))
		return;
	memcpy(&bytes, at + offsetof(struct iog_wire, head_bytes), 4);
	if (bytes < sizeof(struct iog_wire) || bytes > size)
		return;
	memcpy(at + offsetof(struct iog_wire, head_sum), &sum, 4);
	h = iog_hash(at, bytes, IOG_WIRE_MAGIC);
	sum = (uint32_t)(h ^ h >> 32);
	sum += !sum;
	memcpy(at + offsetof(struct iog_wire, head_sum), &sum, 4);
}

/* Reads everything there is; a sanitizer or a crash tells when it is not there. */
static bool walk(const struct iog_record *r)
{
	static uint8_t out[ELEMENTS * 16];
	bool small = true;
	double v;

	for (unsigned i = 0; i < r->schema->n_vars; i++) {
		const struct iog_vardef *d = &r->schema->var[i];
		const uint32_t elem_size = iog_dtype_size(d->dtype);
		struct iog_block view;

		for (uint32_t k = 0; k < r->var[i].n_blocks; k++) {
			const struct iog_block *b = &r->var[i].block[k];
			uint64_t bytes = iog_var_opaque(d) ? b->bytes : (uint64_t)iog_block_elems(b, d->rank) * elem_size;

			if (bytes > sizeof out) {
				small = false;
				continue;
			}
			if (iog_var_opaque(d)) {
				memcpy(out, b->data, bytes);
				continue;
			}
			iog_block_gather(out, b, d->rank, elem_size);
			for (unsigned k2 = 0; k2 < d->rank; k2++) {
				if (iog_block_crop(&view, b, d->rank, k2, 1, 3))
					iog_block_gather(out, &view, d->rank, elem_size);
				if (iog_block_decimate(&view, b, d->rank, k2, 2))
					iog_block_gather(out, &view, d->rank, elem_size);
				if (iog_block_flip(&view, b, d->rank, k2, r->axis[d->dim[k2]].extent))
					iog_block_gather(out, &view, d->rank, elem_size);
			}
		}
		iog_record_scalar(r, i, &v);
	}
	return small;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const texts[4] = {
		"position: f32[atom<=64,xyz]; static type: i32[atom]; energy: f64; box: f64[cell,xyz]",
		"T: f64[z,y,x]; image: u8[y,x,rgb] | jpeg; flag: bool",
		"v: c128[a,b,c,d,e,f,g,h]; n: i64; w: i16[h,a]",
		"e: f64",
	};
	static struct iog_schema schema[4];
	static struct iog_block block[BLOCKS], again_block[BLOCKS];
	static uint8_t head[1 << 17], packed[1 << 20];
	struct iog_record r, again;
	struct iog_region region = { NULL, ARENA, 7, 0 };
	struct iog_box box;
	struct iog_err err = { "" };
	unsigned options, flags;
	uint8_t *at, *arena;
	int64_t n;
	int rc;

	if (!size)
		return 0;
	options = *data++, size--;
	flags = options & 8 ? IOG_OPEN_SUM : 0;
	for (unsigned i = 0; i < 4 && !schema[i].id; i++)
		REQUIRE(!iog_schema_parse(&schema[i], texts[i], &err));
	/* Blocks of exactly their size, so that a sanitizer sees the first byte too far. */
	at = malloc(size ? size : 1);
	region.base = arena = calloc(1, ARENA);
	REQUIRE(at && arena);
	if (size)
		memcpy(at, data, size);
	if (options & 4)
		reseal(at, size);
	rc = iog_wire_open(&r, at, size, &schema[options & 3], &region, 1, block, BLOCKS, head, sizeof head, flags, &err);
	if (rc) {
		REQUIRE((rc == -74 || rc == -71 || rc == -7) && err.text[0]); /* EBADMSG, EPROTO, E2BIG */
	} else if (walk(&r)) {
		iog_record_box(&r, &box);
		n = iog_wire_pack(packed, sizeof packed, &r);
		if (n >= 0) {
			REQUIRE((uint64_t)n == iog_wire_size(&r));
			REQUIRE(!iog_wire_open(&again, packed, (uint64_t)n, &schema[options & 3], NULL, 0, again_block, BLOCKS, head,
				sizeof head, IOG_OPEN_SUM, &err));
			walk(&again);
		}
	}
	free(at);
	free(arena);
	return 0;
}
