/* SPDX-License-Identifier: BSD-3-Clause */
/* Topology files: any text is read or refused with a message, and what is read holds together. */
#include "runtime/host/endpoints/topology.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct iog_topology t;
	struct iog_err err = { "" };
	if (!size)
		return 0;
	if (iog_topology_parse(&t, (const char *)data + 1, size - 1, (enum iog_topology_format)(data[0] % 3), "input", &err) < 0) {
		if (!err.text[0])
			abort();
		return 0;
	}
	/* Every line of the text gives at most one atom, every CONECT at most four bonds. */
	if (t.atoms < 0 || (uint64_t)t.atoms > size || t.bonds < 0 || (uint64_t)t.bonds > 4 * size)
		abort();
	for (int64_t i = 0; i < 2 * t.bonds; i++)
		if (t.bond[i] < 0 || t.bond[i] >= t.atoms)
			abort();
	iog_topology_finish(&t);
	return 0;
}
