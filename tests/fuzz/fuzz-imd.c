/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of an IMD session: whatever a peer sends, in whatever pieces, stays inside the arrays it was given. */
#include "runtime/host/endpoints/imd-stream.h"

#include <stdlib.h>

enum { ATOMS = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct iog_imd m = { .version = data[0] & 1 ? 3 : 2,
		.want_velocity = data[0] & 2,
		.want_box = data[0] & 4,
		.atoms = data[0] & 8 ? ATOMS : -1,
		.max_atoms = ATOMS };
	struct iog_err err;
	size_t piece = data[1] + 1u;
	m.position = calloc(ATOMS, 12);
	m.velocity = m.want_velocity ? calloc(ATOMS, 12) : NULL;
	iog_imd_init(&m);
	for (size_t at = 2; at < size;) {
		size_t n;
		uint8_t *p = iog_imd_room(&m, &n);
		if (!p || !n)
			abort();
		n = IOG_MIN(IOG_MIN(n, piece), size - at);
		memcpy(p, data + at, n);
		at += n;
		err.text[0] = 0;
		enum iog_imd_event e = iog_imd_got(&m, n, &err);
		if (e == IOG_IMD_BAD && !err.text[0])
			abort();
		if (e == IOG_IMD_FRAME && (m.n_atoms < 0 || m.n_atoms > ATOMS))
			abort();
		if (e == IOG_IMD_BAD || e == IOG_IMD_END)
			break;
	}
	free(m.position);
	free(m.velocity);
	return 0;
}
