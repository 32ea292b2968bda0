/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The native record file (.iogr), little-endian:
 *
 *     struct iog_rf_head | schema text | schema | pad to 64 | frames
 *     frame: struct iog_rf_frame | record as iog_wire_pack made it | pad to 64
 *
 * The schema stands there twice: as canonical text for people and other programs, and as struct iog_schema, which also carries codecs.
 * Static variables are in the first record of an epoch and writer, and left out of those that follow it directly. Frames are only ever
 * appended; a frame names the offset up to which the file was durable when it was written, so that after a crash only what lies behind
 * the last such offset has to be read to know what is whole. Every function runs on the caller's thread; nothing in a file is trusted.
 */
#ifndef IOG_RUNTIME_HOST_ENDPOINTS_RECORD_FILE_H
#define IOG_RUNTIME_HOST_ENDPOINTS_RECORD_FILE_H

#include "core/wire.h"

enum { IOG_RF_VERSION = 1, IOG_RF_TEXT_MAX = 1 << 16 };

struct iog_rf_head {
	char magic[8];                /* "IOGRECF" and a newline */
	uint32_t version, head_bytes; /* offset of the first frame */
	uint32_t text_bytes, schema_bytes;
	uint64_t schema_id, sum; /* sum: of the whole head with this field 0 */
	uint64_t reserved[3];
};
_Static_assert(sizeof(struct iog_rf_head) == 64, "record file head layout");

struct iog_rf_frame {
	char magic[4]; /* "RECD" */
	uint32_t epoch;
	uint64_t length; /* bytes of the packed record */
	uint64_t seq;
	uint64_t durable;       /* everything before this offset was durable when the frame was written */
	uint64_t data_sum;      /* of the packed record */
	uint32_t writer, flags; /* bit 0: carries the static variables */
	uint64_t reserved, sum; /* sum: of the frame's head with this field 0 */
};
_Static_assert(sizeof(struct iog_rf_frame) == 64, "record frame layout");

/* Reads and checks the head of the file; size is the file's. *first: offset of the first frame. 0 or -errno with a message naming path. */
int iog_rf_read_head(int fd, uint64_t size, const char *path, struct iog_schema *schema, uint64_t *first, struct iog_err *err);
/*
 * Reads the head of the frame at `at`. 1: a frame that lies inside the file; 0: nothing there (end, or torn). Does not read the record.
 */
int iog_rf_read_frame(int fd, uint64_t size, uint64_t at, struct iog_rf_frame *f);

#endif
