/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What compress and decompress share: the layout of an encoded block, little-endian. A header, the encoded sizes of its chunks as u32,
 * then for each chunk a zstd frame. A chunk is FRAME_CHUNK decoded bytes (the last one less), so that everything done to it stays in the
 * cache. Own to this folder.
 */
#ifndef IOG_COMPRESS_FRAME_H
#define IOG_COMPRESS_FRAME_H

#include "core/iog_op.h"

#define FRAME_MAGIC 0x5a474f49u /* "IOGZ" */
enum { FRAME_VERSION = 1, FRAME_SHUFFLED = 1, FRAME_CHUNK = 512 * 1024 };

struct frame {
	uint32_t magic;
	uint8_t version, flags, elem_size, pad;
	uint64_t bytes; /* decoded */
};
_Static_assert(sizeof(struct frame) == 16, "frame header layout");

static inline uint64_t frame_chunks(uint64_t bytes) { return bytes / FRAME_CHUNK + (bytes % FRAME_CHUNK != 0); }
/* Bytes before the first chunk. */
static inline uint64_t frame_head(uint64_t bytes) { return sizeof(struct frame) + 4 * frame_chunks(bytes); }

/*
 * Byte transposition: byte k of every element together, k after k, so that the bytes that vary little stand together.
 * n elements of 2, 4 or 8 bytes; src and dst do not overlap. ~0.3 cycles per byte.
 */
void iog_bytes_shuffle(uint8_t *dst, const uint8_t *src, size_t n, unsigned elem_size);
void iog_bytes_unshuffle(uint8_t *dst, const uint8_t *src, size_t n, unsigned elem_size);

#endif
