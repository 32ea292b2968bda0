/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What compress and decompress share: the header of an encoded block, little-endian, in front of one zstd frame. Own to this folder.
 */
#ifndef IOG_COMPRESS_FRAME_H
#define IOG_COMPRESS_FRAME_H

#include "core/iog_op.h"

#define FRAME_MAGIC 0x5a474f49u /* "IOGZ" */
enum { FRAME_VERSION = 1, FRAME_SHUFFLED = 1 };

struct frame {
	uint32_t magic;
	uint8_t version, flags, elem_size, pad;
	uint64_t bytes; /* decoded */
};
_Static_assert(sizeof(struct frame) == 16, "frame header layout");

/*
 * Byte transposition: byte k of every element together, k after k, so that the bytes that vary little stand together.
 * n elements of 2, 4 or 8 bytes; src and dst do not overlap. ~0.3 cycles per byte.
 */
void iog_bytes_shuffle(uint8_t *dst, const uint8_t *src, size_t n, unsigned elem_size);
void iog_bytes_unshuffle(uint8_t *dst, const uint8_t *src, size_t n, unsigned elem_size);

#endif
