/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arbitrary text as a graph file: loaded, checked, cut into units, and every stage's image made. It comes to an end within its limits, and a
 * graph without mistakes can be cut or says why not.
 */
#include <stdlib.h>

#include "bindings/lua/lua-graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const bool sets = n && bytes[0] == '-'; /* a comment first: parameters are given from outside */
	struct iog_lua_set set[] = { { "limit", "0.5", false }, { "roi.1.lo", "2", false } };
	struct iog_graph *g = iog_lua_load_text("fuzz.lua", (const char *)bytes, n, set, sets ? (uint32_t)IOG_COUNT(set) : 0);
	if (!g)
		return 0;
	const struct iog_diag *d;
	struct iog_cut cut;
	/* Names given from outside that the graph does not declare are its only mistakes here. */
	uint32_t errors = 0, have = iog_graph_diags(g, &d);
	for (uint32_t i = 0; i < have; i++)
		errors += d[i].line > 0 || !strstr(d[i].text, "--set");
	if (!errors && iog_graph_check(g) == -22 && iog_graph_diags(g, &d) == 0)
		abort(); /* refused without a word */
	have = iog_graph_diags(g, &d);
	for (uint32_t i = 0; i < have; i++)
		if (!d[i].text[0])
			abort();
	if (have)
		goto out;
	struct iog_err err;
	iog_graph_live_set(g, "limit", 0.25, &err);
	if (iog_graph_cut(g, true, IOG_T_SIDECORE, &cut)) {
		if (!iog_graph_diags(g, &d))
			abort();
		goto out;
	}
	for (uint32_t u = 0; u < cut.n_units; u++) {
		uint64_t size;
		if (cut.unit[u].kind == IOG_G_OP)
			free(iog_stage_build(g, &cut, u, &size));
	}
	iog_cut_free(&cut);
out:
	iog_graph_free(g);
	return 0;
}
