/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Graphs written in Lua. The file runs once, in a sandbox (no files, no processes, no loading of code, bounded memory and steps), and builds a
 * struct iog_graph. Mistakes do not stop it: they are recorded with file and line, and what can still be checked is.
 * Control path, one thread per call.
 */
#ifndef IOG_BINDINGS_LUA_GRAPH_H
#define IOG_BINDINGS_LUA_GRAPH_H

#include <stddef.h>

#include "core/graph.h"

IOG_C_BEGIN

/* A parameter given from outside: --set name=value. */
struct iog_lua_set {
	const char *name, *value;
	bool used; /* set by the load: the graph declares it */
};

/*
 * Loads path. Returns the graph with everything that is wrong with it among its diags, syntax errors and unknown --set names included; run
 * iog_graph_check next. NULL: out of memory. Free with iog_graph_free.
 */
struct iog_graph *iog_lua_load(const char *path, struct iog_lua_set *set, uint32_t n_set);
/* The same for a text; `name` stands for the file in messages. */
struct iog_graph *iog_lua_load_text(const char *name, const char *text, size_t len, struct iog_lua_set *set, uint32_t n_set);

IOG_C_END

#endif
