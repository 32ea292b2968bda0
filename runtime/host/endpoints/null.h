/* SPDX-License-Identifier: BSD-3-Clause */
/* What the null sink saw, for tests and benches that look inside it. Read it on the thread that writes, or after the last write. */
#ifndef IOG_RUNTIME_HOST_ENDPOINTS_NULL_H
#define IOG_RUNTIME_HOST_ENDPOINTS_NULL_H

#include <stdint.h>

struct iog_null_seen {
	uint64_t records, bytes; /* bytes: decoded, or encoded for opaque variables; static ones included */
	uint64_t sum;            /* with touch: hash over every byte, in order of arrival */
};
/* self is what open gave; the result lives as long. */
const struct iog_null_seen *iog_null_seen(const void *self);

#endif
