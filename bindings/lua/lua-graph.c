/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The graph language: the module `iog`, streams with one method per operator, sinks, live parameters, the sandbox. Every C function here may
 * leave by a Lua error, so none holds memory of its own across a call into Lua.
 */
#include "lua-graph.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lua-value.h"
#include "runtime/host/endpoint.h"

#define STREAM  "iog.stream"
#define SINK    "iog.sink"
#define NOTHING "iog.nothing" /* what a mistake that was reported gives: takes every call and index, so that one mistake stays one */
#define CHUNK   "graph"       /* how Lua calls the file: its own messages shorten long paths */

#ifndef IOG_SANITIZED
#define IOG_SANITIZED 0
#endif
/* One call into C can take as long as memory allows, so steps alone do not bound the time. A sanitizer is slow. */
enum {
	MEMORY_MAX = 64 << 20,
	STEPS_MAX = 10000000,
	STEPS_AT_ONCE = 1000,
	SECONDS_MAX = IOG_SANITIZED ? 10 : 2,
	NODES_MAX = 4096,
	MISTAKES_MAX = 100
};

/* Behind every call: the graph under construction and the limits. */
struct load {
	struct iog_graph *g;
	struct iog_lua_set *set;
	uint32_t n_set;
	const char *file;
	size_t memory;
	long steps;
	double start;
	int line;                  /* being run; 0: none yet */
	char string[16][IOG_NAME]; /* iog.param.string, to suggest them */
	int string_line[16];
	uint32_t n_strings;
	const char *text; /* the file */
	size_t len;
	int missing; /* line that used a variable there is not, the last one; 0: none */
	bool guess;  /* and for one of them there is no telling what was meant */
};
struct stream {
	int node, port;
};
struct sink {
	int node;
};

static struct load *load_of(lua_State *L) { return *(struct load **)lua_getextraspace(L); }

/* The line of the file at work; 0: none. */
static int line_of(lua_State *L)
{
	lua_Debug d;
	for (int level = 0; lua_getstack(L, level, &d); level++) {
		lua_getinfo(L, "l", &d);
		if (d.currentline > 0)
			return d.currentline;
	}
	return 0;
}

/* Tells the graph which line of the file is at work. */
static struct iog_graph *here(lua_State *L)
{
	struct load *l = load_of(L);
	const int line = line_of(L);
	if (line)
		iog_graph_at(l->g, l->file, line);
	const struct iog_diag *diag;
	struct iog_gnode *n;
	if (iog_graph_diags(l->g, &diag) >= MISTAKES_MAX)
		luaL_error(L, "too many mistakes; the rest is not looked at");
	if (iog_graph_nodes(l->g, &n) >= NODES_MAX)
		luaL_error(L, "the graph has more than %d nodes", (int)NODES_MAX);
	return l->g;
}

/* The same in a method of a stream: Lua counts a chain of calls over several lines as the first of them, so the line comes from where the
 * method was looked up (upvalue 2). */
static struct iog_graph *here_in_chain(lua_State *L)
{
	struct iog_graph *g = here(L);
	int line = (int)lua_tointeger(L, lua_upvalueindex(2));
	if (line > 0)
		iog_graph_at(g, load_of(L)->file, line);
	return g;
}

static void no_such(lua_State *L, const char *what, const char *name, const char *const *names, size_t n, const char *hint)
{
	const char *near = iog_nearest(name, names, n);
	iog_graph_error(here(L), "no %s \"%s\"%s%s%s%s", what, name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "",
		near ? "" : hint);
}

/* Options of edges that no source there is can honour: what would have no effect is a mistake. */
static bool refused(struct iog_graph *g, const char *who, const char *option)
{
	static const char *const why[][2] = {
		{ "timeout", "applies to streams that applications publish; not available for this source, whose records wait as long as "
			     "it takes" },
		{ "qos", "orders streams that leave this host; not available, because none does" },
	};
	for (unsigned i = 0; i < IOG_COUNT(why); i++)
		if (!strcmp(option, why[i][0])) {
			iog_graph_error(g, "%s: \"%s\" %s", who, option, why[i][1]);
			return true;
		}
	return false;
}

static struct stream *push_stream(lua_State *L, int node, int port)
{
	struct stream *s = lua_newuserdatauv(L, sizeof *s, 1); /* user value: options of the edge that follows */
	s->node = node;
	s->port = port;
	luaL_setmetatable(L, STREAM);
	return s;
}

static int push_nothing(lua_State *L)
{
	lua_newuserdatauv(L, 0, 0);
	luaL_setmetatable(L, NOTHING);
	return 1;
}

/* The stream at idx; one without a node for what a reported mistake gave; NULL when there is something else. */
static const struct stream *get_stream(lua_State *L, int idx)
{
	static const struct stream dead = { IOG_NO_NODE, 0 };
	const struct stream *s = luaL_testudata(L, idx, STREAM);
	return s ? s : luaL_testudata(L, idx, NOTHING) ? &dead : NULL;
}

/* Whether the value at idx is, or is a list with, what a reported mistake gave. */
static bool has_nothing(lua_State *L, int idx, int depth)
{
	if (lua_type(L, idx) != LUA_TTABLE || depth == 3)
		return luaL_testudata(L, idx, NOTHING) != NULL;
	bool found = false;
	luaL_checkstack(L, 4, "list");
	lua_pushnil(L);
	while (!found && lua_next(L, idx)) {
		found = has_nothing(L, lua_gettop(L), depth + 1);
		lua_pop(L, found ? 2 : 1);
	}
	return found;
}

/* Arguments from index `from` on of a call that a mistake already made void: streams and sinks among them are in use all the same. */
static void swallow(lua_State *L, struct iog_graph *g, int from)
{
	for (int i = from; i <= lua_gettop(L); i++) {
		const struct stream *s = luaL_testudata(L, i, STREAM);
		const struct sink *k = luaL_testudata(L, i, SINK);
		if (s)
			iog_graph_link(g, s->node, s->port, IOG_NO_NODE);
		else if (k)
			iog_graph_link(g, IOG_NO_NODE, 0, k->node);
	}
}

static int nothing_call(lua_State *L)
{
	swallow(L, here(L), 2);
	return push_nothing(L);
}

/* In place of an operator or source there is not: gives a stream without a node, so that what is written after it is still looked at. */
static int no_call(lua_State *L)
{
	swallow(L, here(L), 1);
	push_stream(L, IOG_NO_NODE, 0);
	return 1;
}

/* ---- parameters of a call ---- */

static const struct iog_param *const *tables(int node, struct iog_graph *g, const struct iog_param *out[1])
{
	struct iog_gnode *n;
	iog_graph_nodes(g, &n);
	out[0] = n[node].kind == IOG_G_OP ? n[node].op->params : n[node].end.params;
	return out;
}

/* One name = value of a call: an option of the edge or placement, or a parameter. */
static void give(lua_State *L, struct iog_graph *g, int node, const char *name, int idx)
{
	struct iog_value v;
	const char *live;
	struct iog_err err = { "" };
	if (has_nothing(L, idx, 0)) {
		iog_graph_link(g, IOG_NO_NODE, 0, node);
		return;
	}
	if (!iog_lua_value(L, idx, &v, &live, &err)) {
		struct iog_gnode *n;
		iog_graph_nodes(g, &n);
		iog_graph_error(g, "%s: \"%s\" is %s", n[node].name, name, err.text);
		n[node].bad = true;
		return;
	}
	/* What the node calls so comes first: a source's `timeout` is not that of an edge, and nothing leads into a source. */
	const struct iog_param *t[1];
	struct iog_gnode *n;
	iog_graph_nodes(g, &n);
	const bool own = iog_param_find(tables(node, g, t)[0], name);
	if (!own && refused(g, n[node].name, name)) {
		n[node].bad = true;
	} else if (own || !iog_graph_is_option(name)) {
		iog_graph_set(g, node, name, &v, live);
	} else if (n[node].kind == IOG_G_SOURCE && strcmp(name, "name")) {
		n[node].bad = true;
		iog_graph_error(g, "%s: \"%s\" belongs to what follows the source; give it to a sink, or in stream:queue { ... }",
			n[node].name, name);
	} else {
		iog_graph_option(g, node, name, &v);
	}
}

/* A table: items by position belong to the parameter marked as first, the others are named. */
static void give_table(lua_State *L, struct iog_graph *g, int node, int idx)
{
	const struct iog_param *t[1], *first = tables(node, g, t)[0] ? iog_param_first(t[0]) : NULL;
	lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
	bool lists = first && (first->type == IOG_P_INTERVALS || first->type == IOG_P_NUMBERS || first->type == IOG_P_NAMES);
	struct iog_gnode *nodes;
	iog_graph_nodes(g, &nodes);
	if (n > IOG_LUA_ITEMS) {
		iog_graph_error(g, "%s: more than %d values without a name", nodes[node].name, IOG_LUA_ITEMS);
		return;
	}
	if (n && !first) {
		iog_graph_error(g, "%s takes no value without a name", nodes[node].name);
	} else if (n) {
		lua_rawgeti(L, idx, 1);
		bool whole = !lists || lua_type(L, -1) == LUA_TUSERDATA; /* crop { roi } */
		if (whole && n > 1)
			iog_graph_error(g, "%s takes one value without a name (\"%s\"), got %d", nodes[node].name, first->name, (int)n);
		if (!whole) {
			lua_createtable(L, (int)n, 0);
			for (lua_Integer i = 1; i <= n; i++) {
				lua_rawgeti(L, idx, i);
				lua_rawseti(L, -2, i);
			}
		}
		give(L, g, node, first->name, lua_gettop(L));
	}
	/* Names in order, so that mistakes always come in the same order. */
	const char *names[64];
	uint32_t count = 0;
	lua_pushnil(L);
	while (lua_next(L, idx)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING || count == IOG_COUNT(names)) {
			if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > n) {
				iog_graph_error(g, "%s: %s", nodes[node].name,
					count == IOG_COUNT(names) ? "more than 64 parameters"
								  : "a value that has neither a name nor a place in the list");
				return;
			}
			continue;
		}
		const char *k = lua_tostring(L, -1);
		uint32_t i = count++;
		for (; i && strcmp(names[i - 1], k) > 0; i--)
			names[i] = names[i - 1];
		names[i] = k;
	}
	/* crop { x = {0, 640} }: intervals by dimension may stand directly in the call. */
	bool by_dimension = first && first->type == IOG_P_INTERVALS && !n;
	int intervals = 0;
	for (uint32_t i = 0; i < count; i++) {
		int top = lua_gettop(L);
		lua_pushstring(L, names[i]);
		lua_rawget(L, idx);
		if (by_dimension && lua_istable(L, -1) && !iog_param_find(t[0], names[i]) && !iog_graph_is_option(names[i])) {
			if (!intervals) {
				lua_newtable(L);
				lua_insert(L, -2);
				intervals = ++top;
			}
			lua_setfield(L, intervals, names[i]);
		} else {
			give(L, g, node, names[i], lua_gettop(L));
		}
		lua_settop(L, top);
	}
	if (intervals)
		give(L, g, node, first->name, intervals);
}

/* Arguments from index `from` on: a value for the first parameter and/or a table; more streams are further inputs. */
static void give_args(lua_State *L, struct iog_graph *g, int node, int from)
{
	int top = lua_gettop(L);
	for (int i = from; i <= top; i++) {
		const struct stream *s = get_stream(L, i);
		const struct iog_param *t[1], *first = tables(node, g, t)[0] ? iog_param_first(t[0]) : NULL;
		struct iog_gnode *nodes;
		iog_graph_nodes(g, &nodes);
		if (s) {
			iog_graph_link(g, s->node, s->port, node);
		} else if (lua_isnil(L, i) && nodes[node].kind == IOG_G_OP && nodes[node].op->in_max > 1) {
			nodes[node].bad = true;
			iog_graph_error(g,
				"%s: input %u is nothing; a stream must be declared above the line that uses it (a graph cannot go round "
				"in a circle)",
				nodes[node].name, nodes[node].n_in + 1);
		} else if (lua_istable(L, i)) {
			give_table(L, g, node, i);
		} else if (first) {
			give(L, g, node, first->name, i);
		} else {
			iog_graph_error(
				g, "%s takes no value without a name; write %s { name = value }", nodes[node].name, nodes[node].name);
		}
		lua_settop(L, top);
	}
}

/* ---- streams ---- */

static void apply_queue(lua_State *L, int stream, struct iog_graph *g, int node)
{
	static const char *const options[] = { "policy", "bytes" };
	int top = lua_gettop(L);
	if (luaL_testudata(L, stream, STREAM) && lua_getiuservalue(L, stream, 1) == LUA_TTABLE) {
		for (unsigned i = 0; i < IOG_COUNT(options); i++) {
			struct iog_value v;
			const char *live;
			struct iog_err err = { "" };
			lua_pushstring(L, options[i]);
			if (lua_rawget(L, top + 1) == LUA_TNIL)
				continue;
			if (!iog_lua_value(L, lua_gettop(L), &v, &live, &err))
				iog_graph_error(g, "queue: \"%s\" is %s", options[i], err.text);
			else
				iog_graph_option(g, node, options[i], &v);
		}
	}
	lua_settop(L, top);
}

/* A method that was called with a dot: the stream it was looked up in (upvalue 3) is in use all the same. */
static int no_colon(lua_State *L, struct iog_graph *g, const char *what, const char *call)
{
	const struct stream *s = luaL_testudata(L, lua_upvalueindex(3), STREAM);
	if (s) {
		iog_graph_error(g, "call %s with a colon: stream:%s", what, call);
		iog_graph_link(g, s->node, s->port, IOG_NO_NODE);
	}
	swallow(L, g, 1);
	return push_nothing(L);
}

/* stream:NAME(...): upvalue 1 is the operator, upvalue 2 the line. */
static int stream_op(lua_State *L)
{
	const struct iog_op *op = lua_touserdata(L, lua_upvalueindex(1));
	const struct stream *s = get_stream(L, 1);
	struct iog_graph *g = here_in_chain(L);
	if (!s) {
		char call[IOG_NAME + 8];
		snprintf(call, sizeof call, "%s(...)", op->name);
		return no_colon(L, g, "operators", call);
	}
	int node = iog_graph_op(g, op);
	if (node >= 0) {
		iog_graph_link(g, s->node, s->port, node);
		apply_queue(L, 1, g, node);
		give_args(L, g, node, 2);
	}
	push_stream(L, node, 0);
	for (int o = 1; o < op->outs; o++)
		push_stream(L, node, o);
	return op->outs;
}

static int stream_to(lua_State *L)
{
	const struct stream *s = get_stream(L, 1);
	struct iog_graph *g = here_in_chain(L);
	if (!s)
		return no_colon(L, g, "to", "to(iog.sink.null {})");
	for (int i = 2; i <= lua_gettop(L) || i == 2; i++) {
		const struct sink *k = luaL_testudata(L, i, SINK);
		if (!k)
			iog_graph_link(g, s->node, s->port, IOG_NO_NODE);
		if (!k && !luaL_testudata(L, i, NOTHING))
			iog_graph_error(g, "to: wants a sink, as in stream:to(iog.sink.null {}), got %s",
				luaL_testudata(L, i, STREAM) ? "a stream"
				: lua_isnoneornil(L, i)      ? "nothing"
							     : luaL_typename(L, i));
		if (!k)
			continue;
		iog_graph_link(g, s->node, s->port, k->node);
		if (k->node >= 0)
			apply_queue(L, 1, g, k->node);
	}
	lua_settop(L, 1);
	return 1;
}

/* on and never: upvalue 1 is the option's name. */
static int stream_place(lua_State *L)
{
	const struct stream *s = get_stream(L, 1);
	struct iog_graph *g = here_in_chain(L);
	const char *option = lua_tostring(L, lua_upvalueindex(1));
	struct iog_gnode *n;
	iog_graph_nodes(g, &n);
	if (!s) {
		char call[IOG_NAME];
		snprintf(call, sizeof call, "%s \"vm\"", option);
		return no_colon(L, g, option, call);
	}
	if (lua_gettop(L) != 2) {
		iog_graph_error(g, "%s: wants one target, as in stream:%s \"vm\"", option, option);
	} else if (s->node >= 0 && n[s->node].kind != IOG_G_OP) {
		iog_graph_error(
			g, "%s: %s is a source, which always runs on this host; write it after an operator", option, n[s->node].name);
	} else {
		struct iog_value v = { .kind = IOG_V_STRING, .s = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "" };
		iog_graph_option(g, s->node, option, &v);
	}
	lua_settop(L, 1);
	return 1;
}

/* The options belong to the edge that follows, so the stream without them stays as it is for other branches. */
static int stream_queue(lua_State *L)
{
	static const char *const options[] = { "policy", "bytes" };
	const struct stream *s = get_stream(L, 1);
	struct iog_graph *g = here_in_chain(L);
	if (!s)
		return no_colon(L, g, "queue", "queue { policy = \"latest\" }");
	if (!lua_istable(L, 2) || lua_gettop(L) != 2) {
		iog_graph_error(g, "queue: wants a table, as in stream:queue { policy = \"latest\" }");
		lua_settop(L, 1);
		return 1;
	}
	lua_pushnil(L);
	while (lua_next(L, 2)) {
		lua_pop(L, 1);
		const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
		bool known = false;
		for (unsigned i = 0; i < IOG_COUNT(options); i++)
			known |= !strcmp(options[i], name);
		if (!known && !refused(g, "queue", name))
			no_such(L, "option of queue", name, options, IOG_COUNT(options), "; there are policy, bytes");
	}
	push_stream(L, s->node, s->port);
	lua_pushvalue(L, 2);
	lua_setiuservalue(L, -2, 1);
	return 1;
}

enum { METHODS = 128 };

/* Pushes the method called `name` of the stream at 1. Otherwise false, and the names of those there are. */
static bool push_method(lua_State *L, const char *name, const char *names[METHODS], size_t *n)
{
	static const struct {
		const char *name;
		lua_CFunction f;
	} own[] = {
		{ "to", stream_to },
		{ "on", stream_place },
		{ "never", stream_place },
		{ "queue", stream_queue },
	};
	lua_Debug d = { .currentline = 0 };
	lua_CFunction f = NULL;
	*n = 0;
	for (size_t i = 0; i < IOG_COUNT(own); i++) {
		names[(*n)++] = own[i].name;
		if (!strcmp(own[i].name, name))
			f = own[i].f;
	}
	const struct iog_op *op = NULL;
	for (const struct iog_op *const *o = iog_ops; *o; o++) {
		if (*n < METHODS)
			names[(*n)++] = (*o)->name;
		if (!strcmp((*o)->name, name))
			op = *o;
	}
	if (!f && !op)
		return false;
	if (lua_getstack(L, 1, &d))
		lua_getinfo(L, "l", &d);
	if (f)
		lua_pushstring(L, name);
	else
		lua_pushlightuserdata(L, (void *)(uintptr_t)op);
	lua_pushinteger(L, d.currentline);
	lua_pushvalue(L, 1);
	lua_pushcclosure(L, f ? f : stream_op, 3);
	return true;
}

static int stream_index(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?", *names[METHODS];
	size_t n;
	if (!push_method(L, name, names, &n)) {
		no_such(L, "operator", name, names, n, "; `iog ops` lists them");
		lua_pushcfunction(L, no_call);
	}
	return 1;
}

/* What stands for a missing stream has its methods, so that what they are given is still looked at. */
static int nothing_index(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?", *names[METHODS];
	size_t n;
	return push_method(L, name, names, &n) ? 1 : push_nothing(L);
}

/* ---- sources and sinks ---- */

static int make_source(lua_State *L)
{
	const struct iog_source *s = lua_touserdata(L, lua_upvalueindex(1));
	struct iog_graph *g = here(L);
	struct iog_gnode_end end = { .what = s, .name = s->name, .params = s->params, .conf_size = s->conf_size, .describe = s->describe };
	int node = iog_graph_end(g, IOG_G_SOURCE, &end);
	if (node >= 0)
		give_args(L, g, node, 1);
	push_stream(L, node, 0);
	return 1;
}

static int make_sink(lua_State *L)
{
	const struct iog_sink *s = lua_touserdata(L, lua_upvalueindex(1));
	struct iog_graph *g = here(L);
	struct iog_gnode_end end = { .what = s,
		.name = s->name,
		.params = s->params,
		.conf_size = s->conf_size,
		.safe = s->flags & IOG_SINK_SAFE,
		.accept = s->accept,
		.accept_safe = s->accept_safe };
	int node = iog_graph_end(g, IOG_G_SINK, &end);
	if (node >= 0)
		give_args(L, g, node, 1);
	struct sink *k = lua_newuserdatauv(L, sizeof *k, 0);
	k->node = node;
	luaL_setmetatable(L, SINK);
	return 1;
}

static int end_index(lua_State *L)
{
	bool sinks = lua_toboolean(L, lua_upvalueindex(1));
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?", *names[128];
	const void *found = NULL;
	size_t n = 0;
	for (const struct iog_source *const *s = iog_sources; !sinks && *s; s++) {
		if (n < IOG_COUNT(names))
			names[n++] = (*s)->name;
		if (!strcmp((*s)->name, name))
			found = *s;
	}
	for (const struct iog_sink *const *s = iog_sinks; sinks && *s; s++) {
		if (n < IOG_COUNT(names))
			names[n++] = (*s)->name;
		if (!strcmp((*s)->name, name))
			found = *s;
	}
	if (!found) {
		no_such(L, sinks ? "sink" : "source", name, names, n, "; `iog ops` lists them");
		if (sinks)
			return push_nothing(L);
		lua_pushcfunction(L, no_call);
		return 1;
	}
	lua_pushlightuserdata(L, (void *)(uintptr_t)found);
	lua_pushcclosure(L, sinks ? make_sink : make_source, 1);
	return 1;
}

/* ---- parameters ---- */

static const char * override(lua_State *L, const char *name)
{
	struct load *l = load_of(L);
	for (uint32_t i = 0; i < l->n_set; i++)
		if (!strcmp(l->set[i].name, name)) {
			l->set[i].used = true;
			return l->set[i].value;
		}
	return NULL;
}

/* The number called `key` of the table at 1, otherwise 0. */
static double number_field(lua_State *L, struct iog_graph *g, const char *name, const char *key)
{
	lua_pushstring(L, key);
	int type = lua_rawget(L, 1);
	double v = type == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
	if (type != LUA_TNUMBER && type != LUA_TNIL)
		iog_graph_error(g, "param \"%s\": \"%s\" must be a number", name, key);
	lua_pop(L, 1);
	return v;
}

/* Names of the table at 1 that `words` does not list are mistakes. */
static void only_words(lua_State *L, const char *name, const char *const *words, size_t n)
{
	lua_pushnil(L);
	while (lua_next(L, 1)) {
		lua_pop(L, 1);
		bool known = lua_type(L, -1) != LUA_TSTRING;
		for (size_t i = 0; i < n && !known; i++)
			known = !strcmp(words[i], lua_tostring(L, -1));
		if (!known) {
			char what[IOG_NAME + 32];
			snprintf(what, sizeof what, "setting of param \"%s\"", name);
			no_such(L, what, lua_tostring(L, -1), words, n, "");
		}
	}
}

static struct iog_lua_live *push_live(lua_State *L, const char *name)
{
	struct iog_lua_live *l = lua_newuserdatauv(L, sizeof *l, 0);
	memset(l, 0, sizeof *l);
	iog_strset(l->name, sizeof l->name, name);
	luaL_setmetatable(L, IOG_LUA_LIVE);
	return l;
}

/* The name at [1] of the table; NULL after saying what is wrong. */
static const char *param_name(lua_State *L, const char *kind)
{
	const char *name = lua_istable(L, 1) && lua_rawgeti(L, 1, 1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	if (!name || !iog_name_valid(name, false)) {
		iog_graph_error(here(L), "param.%s: wants a name and a value, as in iog.param.%s { \"limit\", ... }", kind, kind);
		return NULL;
	}
	return name;
}

static void number_override(lua_State *L, struct iog_graph *g, const char *name, double *value)
{
	const char *o = override(L, name);
	double v;
	if (!o)
		return;
	if (o[0] && iog_parse_number(o, strlen(o), &v) == strlen(o))
		*value = v;
	else
		iog_graph_error(g, "--set %s=%s: not a number", name, o);
}

/* iog.param.number { "name", 0.4, min = 0, max = 1 } */
static int param_number(lua_State *L)
{
	struct iog_graph *g = here(L);
	const char *name = param_name(L, "number");
	struct iog_lua_live *l = push_live(L, name ? name : "_");
	l->value.kind = IOG_V_NUMBER;
	if (!name)
		return 1;
	static const char *const words[] = { "min", "max" };
	double min = number_field(L, g, name, "min"), max = number_field(L, g, name, "max");
	l->value.n = min;
	if (lua_rawgeti(L, 1, 2) == LUA_TNUMBER)
		l->value.n = lua_tonumber(L, -1);
	else
		iog_graph_error(g, "param \"%s\": its value must be a number", name);
	lua_pop(L, 1);
	only_words(L, name, words, IOG_COUNT(words));
	number_override(L, g, name, &l->value.n);
	iog_graph_live(g, name, l->value.n, min, max);
	return 1;
}

/* iog.param.region { "roi", x = {0, 640}, y = {0, 360} }: parts are live as roi.1.lo ... in the order of their names. */
static int param_region(lua_State *L)
{
	struct iog_graph *g = here(L);
	const char *name = param_name(L, "region");
	struct iog_lua_live *l = push_live(L, name ? name : "_");
	l->value = (struct iog_value){ .kind = IOG_V_LIST, .item = l->item, .key = l->key };
	uint32_t n = 0;
	if (name)
		lua_pushnil(L);
	while (name && lua_next(L, 1)) {
		const char *k = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
		if (k && strcmp(k, "per") && (!lua_istable(L, -1) || !iog_name_valid(k, true))) {
			iog_graph_error(g, "param \"%s\": %s must be two numbers, {lo, hi}", name, k);
		} else if (k && strcmp(k, "per") && n == IOG_RANK) {
			iog_graph_error(g, "param \"%s\": more than %d intervals", name, IOG_RANK);
		} else if (k && strcmp(k, "per")) {
			uint32_t i = n++;
			for (; i && strcmp(l->keys[i - 1], k) > 0; i--) {
				memcpy(l->keys[i], l->keys[i - 1], IOG_NAME);
				memcpy(l->end[i], l->end[i - 1], sizeof l->end[i]);
			}
			iog_strset(l->keys[i], IOG_NAME, k);
			for (int e = 0; e < 2; e++) {
				if (lua_rawgeti(L, -1, e + 1) != LUA_TNUMBER)
					iog_graph_error(g, "param \"%s\": %s must be two numbers, {lo, hi}", name, k);
				l->end[i][e] = (struct iog_value){ .kind = IOG_V_NUMBER, .n = lua_tonumber(L, -1) };
				lua_pop(L, 1);
			}
		} else if (!k && (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != 1)) {
			iog_graph_error(g, "param \"%s\": intervals are given by the name of their dimension, as in x = {0, 640}", name);
		}
		lua_pop(L, 1);
	}
	if (name && !n)
		iog_graph_error(g, "param \"%s\": wants intervals by dimension, as in { \"%s\", x = {0, 640}, y = {0, 360} }", name, name);
	l->value.n_items = n;
	for (uint32_t i = 0; i < n; i++) {
		l->key[i] = l->keys[i];
		l->item[i] = (struct iog_value){ .kind = IOG_V_LIST, .item = l->end[i], .n_items = 2 };
		for (int e = 0; e < 2; e++) {
			char part[IOG_NAME + 16];
			snprintf(part, sizeof part, "%s.%u.%s", name, i + 1, e ? "hi" : "lo");
			number_override(L, g, part, &l->end[i][e].n);
			iog_graph_live(g, part, l->end[i][e].n, 0, 0);
		}
	}
	return 1;
}

/* iog.param.string { "name", "value" }: a constant that --set can change. */
static int param_string(lua_State *L)
{
	const char *name = param_name(L, "string"), *o = name ? override(L, name) : NULL;
	struct load *l = load_of(L);
	if (!name)
		return push_nothing(L);
	if (l->n_strings < IOG_COUNT(l->string)) {
		l->string_line[l->n_strings] = line_of(L);
		iog_strset(l->string[l->n_strings++], IOG_NAME, name);
	}
	only_words(L, name, NULL, 0);
	int type = lua_rawgeti(L, 1, 2);
	if (type != LUA_TSTRING)
		iog_graph_error(here(L), "param \"%s\": its value must be a string", name);
	if (o)
		lua_pushstring(L, o);
	else if (type != LUA_TSTRING)
		return push_nothing(L);
	return 1;
}

/* __index of tables with a fixed set of words: says which word was meant. Upvalues: what it is, then the table of words. */
static int word_index(lua_State *L)
{
	const char *names[64];
	size_t n = 0;
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	lua_pushnil(L);
	while (lua_next(L, 1)) {
		lua_pop(L, 1);
		if (n < IOG_COUNT(names) && lua_type(L, -1) == LUA_TSTRING)
			names[n++] = lua_tostring(L, -1);
	}
	no_such(L, lua_tostring(L, lua_upvalueindex(1)), name, names, n, "");
	return push_nothing(L);
}

/* ---- variables there are not ---- */

static bool is_word(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_'; }

static const char *skip_blanks(const char *t, const char *end)
{
	while (t < end && (*t == ' ' || *t == '\t'))
		t++;
	return t;
}

/* Line `line` of the file (from 1) without what it is indented by; NULL behind the last one. */
static const char *line_at(const struct load *l, int line, const char **end)
{
	const char *t = l->text, *stop = l->text + l->len;
	for (; line > 1 && t; line--)
		if ((t = memchr(t, '\n', (size_t)(stop - t))))
			t++;
	if (!t)
		return NULL;
	*end = memchr(t, '\n', (size_t)(stop - t));
	*end = *end ? *end : stop;
	return skip_blanks(t, *end);
}

/* The variable a line sets, as in `local NAME = ...` or `NAME = ...`, and its length; 0: none. */
static size_t variable_of(const char **line, const char *end)
{
	const char *t = *line, *name;
	if (end - t > 6 && !memcmp(t, "local", 5) && !is_word(t[5]))
		t = skip_blanks(t + 5, end);
	name = t;
	while (t < end && is_word(*t))
		t++;
	const size_t n = (size_t)(t - name);
	t = skip_blanks(t, end);
	if (t < end && *t == '<') { /* <const> */
		t = memchr(t, '>', (size_t)(end - t));
		t = t ? skip_blanks(t + 1, end) : end;
	}
	*line = name;
	return t < end && *t == '=' && (t + 1 == end || t[1] != '=') ? n : 0;
}

enum { LINES = 10000 }; /* looked at: nothing here may take long */

/* The first line below `line` that sets the variable; 0: none. */
static int declared_below(const struct load *l, const char *name, int line)
{
	const char *end, *t = line_at(l, ++line, &end), *stop = l->text + l->len;
	for (const int last = line + LINES; t && line < last; line++) {
		const size_t n = variable_of(&t, end);
		if (n && n == strlen(name) && !memcmp(t, name, n))
			return line;
		if (end == stop)
			break;
		t = skip_blanks(end + 1, stop);
		end = memchr(t, '\n', (size_t)(stop - t));
		end = end ? end : stop;
	}
	return 0;
}

enum { VARIABLES = 512, CALLS = 20 };

/* The variables in sight: locals of the last calls, then what the functions took from around them, then globals. With `want`, stops at the one of
 * that name and leaves its value on the stack. */
static size_t variables(lua_State *L, const char *names[VARIABLES], const char *want)
{
	lua_Debug d;
	const char *name;
	size_t n = 0;
	for (int level = 1; level <= CALLS && lua_getstack(L, level, &d); level++) {
		for (int i = 1; (name = lua_getlocal(L, &d, i)); i++) {
			if (want && !strcmp(name, want))
				return n;
			lua_pop(L, 1);
			if (n < VARIABLES && *name != '(')
				names[n++] = name;
		}
		lua_getinfo(L, "f", &d);
		for (int i = 1; (name = lua_getupvalue(L, -1, i)); i++) {
			if (want && !strcmp(name, want)) {
				lua_remove(L, -2);
				return n;
			}
			lua_pop(L, 1);
			if (n < VARIABLES && is_word(*name) && strcmp(name, "_ENV"))
				names[n++] = name;
		}
		lua_pop(L, 1);
	}
	lua_pushnil(L);
	while (lua_next(L, 1)) {
		name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
		if (name && want && !strcmp(name, want)) {
			lua_remove(L, -2);
			return n;
		}
		lua_pop(L, 1);
		if (n < VARIABLES && name && *name != '_')
			names[n++] = name;
	}
	if (want)
		lua_pushnil(L);
	return n;
}

/* __index of the globals: the variable is a mistake, and what is done with it is none. */
static int no_variable(lua_State *L)
{
	static const char *const gone[] = { "io", "os", "debug", "package", "coroutine", "utf8", "dofile", "loadfile", "load", "loadstring",
		"collectgarbage", "pcall", "xpcall", "rawset", "rawget", "rawequal", "rawlen", "setmetatable", "getmetatable", "warn",
		NULL };
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?", *names[VARIABLES];
	struct load *l = load_of(L);
	struct iog_graph *g = here(L);
	l->missing = line_of(L);
	for (const char *const *w = gone; *w; w++)
		if (!strcmp(*w, name)) {
			iog_graph_error(g, "graph files have no \"%s\"; iog-graph(5) says what they have of Lua", name);
			return push_nothing(L);
		}
	const int below = declared_below(l, name, l->missing);
	const char *near = below ? NULL : iog_nearest(name, names, variables(L, names, NULL));
	if (near) {
		iog_graph_error(g, "no variable \"%s\"; did you mean \"%s\"?", name, near);
		variables(L, names, near);
		swallow(L, g, lua_gettop(L));
	} else if (below) {
		iog_graph_error(g,
			"no variable \"%s\" yet, line %d sets it; a stream must be declared above the line that uses it (a graph cannot go "
			"round in a circle)",
			name, below);
	} else {
		iog_graph_error(g, "no variable \"%s\"; a variable must be declared above the line that uses it", name);
		l->guess = true;
	}
	return push_nothing(L);
}

/* ---- the sandbox ---- */

static void *sandbox_alloc(void *ud, void *p, size_t old, size_t n)
{
	struct load *l = ud;
	if (!p)
		old = 0;
	if (n > old && l->memory + (n - old) > MEMORY_MAX)
		return NULL;
	if (!n) {
		free(p);
		l->memory -= old;
		return NULL;
	}
	void *q = realloc(p, n);
	if (q)
		l->memory = l->memory - old + n;
	return q;
}

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void watch(lua_State *L, lua_Debug *d)
{
	struct load *l = load_of(L);
	if (d->event == LUA_HOOKLINE) {
		l->line = d->currentline;
		return;
	}
	l->steps += STEPS_AT_ONCE;
	if (l->steps > STEPS_MAX || cpu_seconds() - l->start > SECONDS_MAX) {
		lua_pushfstring(L, "the graph file does not come to an end (more than %d steps or %d s)", (int)STEPS_MAX, (int)SECONDS_MAX);
		lua_error(L); /* luaL_error would name the line of the caller */
	}
}

/* string.rep: Lua's own repeats nothing at all as often as it is told. */
static int string_rep(lua_State *L)
{
	size_t len, len_sep;
	const char *s = luaL_checklstring(L, 1, &len), *sep = luaL_optlstring(L, 3, "", &len_sep);
	lua_Integer n = luaL_checkinteger(L, 2);
	if (n <= 0 || len + len_sep == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if ((uint64_t)n > MEMORY_MAX / (len + len_sep))
		return luaL_error(L, "string.rep: the result would be longer than %d bytes", (int)MEMORY_MAX);
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	for (lua_Integer i = 0; i < n; i++) {
		if (i)
			luaL_addlstring(&b, sep, len_sep);
		luaL_addlstring(&b, s, len);
	}
	luaL_pushresult(&b);
	return 1;
}

static int quiet_print(lua_State *L)
{
	int n = lua_gettop(L);
	for (int i = 1; i <= n; i++) {
		fprintf(stderr, "%s%s", i > 1 ? "\t" : "", luaL_tolstring(L, i, NULL));
		lua_pop(L, 1);
	}
	fprintf(stderr, "\n");
	return 0;
}

static int require_iog(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TSTRING || strcmp(lua_tostring(L, 1), "iog"))
		return luaL_error(L, "require: graph files can only require \"iog\"");
	lua_getfield(L, LUA_REGISTRYINDEX, "iog");
	return 1;
}

static void keep(lua_State *L, const char *lib, const char *const *names)
{
	lua_getglobal(L, lib);
	lua_newtable(L);
	for (; *names; names++) {
		lua_getfield(L, -2, *names);
		lua_setfield(L, -2, *names);
	}
	lua_setglobal(L, lib);
	lua_pop(L, 1);
}

static void words(lua_State *L, const char *what)
{
	lua_createtable(L, 0, 1);
	lua_pushstring(L, what);
	lua_pushcclosure(L, word_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

static void ends(lua_State *L, bool sinks, const char *field)
{
	lua_newtable(L);
	lua_createtable(L, 0, 1);
	lua_pushboolean(L, sinks);
	lua_pushcclosure(L, end_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_setfield(L, -2, field);
}

static void types(lua_State *L)
{
	luaL_newmetatable(L, STREAM);
	lua_pushcfunction(L, stream_index);
	lua_setfield(L, -2, "__index");
	luaL_newmetatable(L, SINK);
	luaL_newmetatable(L, IOG_LUA_LIVE);
	luaL_newmetatable(L, NOTHING);
	lua_pushcfunction(L, nothing_index);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, nothing_call);
	lua_setfield(L, -2, "__call");
	static const char *const sums[] = { "__add", "__sub", "__mul", "__div", "__idiv", "__mod", "__pow", "__unm", "__concat", NULL };
	for (const char *const *m = sums; *m; m++) {
		lua_pushcfunction(L, push_nothing);
		lua_setfield(L, -2, *m);
	}
	for (int i = 1; i <= 4; i++) {
		lua_pushboolean(L, 0);
		lua_setfield(L, -1 - i, "__metatable");
	}
	lua_pop(L, 4);
}

static void open_all(lua_State *L)
{
	static const luaL_Reg libs[] = { { "_G", luaopen_base }, { "string", luaopen_string }, { "table", luaopen_table },
		{ "math", luaopen_math }, { NULL, NULL } };
	for (const luaL_Reg *r = libs; r->name; r++) {
		luaL_requiref(L, r->name, r->func, 1);
		lua_pop(L, 1);
	}
	/* What could read, load, run or hide something goes; patterns too, because they can take for ever in one step. */
	static const char *const gone[] = { "dofile", "loadfile", "load", "collectgarbage", "pcall", "xpcall", "rawset", "rawget",
		"rawequal", "rawlen", "setmetatable", "getmetatable", "warn", NULL };
	for (const char *const *n = gone; *n; n++) {
		lua_pushnil(L);
		lua_setglobal(L, *n);
	}
	static const char *const strings[] = { "byte", "char", "format", "len", "lower", "reverse", "sub", "upper", NULL };
	keep(L, "string", strings);
	lua_getglobal(L, "string");
	lua_pushcfunction(L, string_rep);
	lua_setfield(L, -2, "rep");
	lua_pop(L, 1);
	/* Not move, insert, remove: with a forged length or range they go round in C for ever. t[#t + 1] = x does it. */
	static const char *const tables_of[] = { "concat", "sort", "unpack", NULL };
	keep(L, "table", tables_of);
	/* "x":rep(3) goes through the metatable of strings: the same few functions. */
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	lua_getglobal(L, "string");
	lua_setfield(L, -2, "__index");
	lua_pop(L, 2);
	lua_pushcfunction(L, quiet_print);
	lua_setglobal(L, "print");
	lua_pushcfunction(L, require_iog);
	lua_setglobal(L, "require");
	types(L);
	lua_newtable(L);
	ends(L, false, "source");
	ends(L, true, "sink");
	static const luaL_Reg params[] = { { "number", param_number }, { "region", param_region }, { "string", param_string },
		{ NULL, NULL } };
	luaL_newlib(L, params);
	words(L, "kind of parameter");
	lua_setfield(L, -2, "param");
	words(L, "word of iog");
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, "iog");
	lua_setglobal(L, "iog");
	lua_pushglobaltable(L);
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, no_variable);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

/* ---- loading ---- */

/* "graph:12: text" as Lua says it becomes a mistake at that place; without a line in it, at the line that ran last. */
static void lua_mistake(struct load *l, const char *msg)
{
	static const char start[] = CHUNK ":";
	int line = l->line;
	if (!strncmp(msg, start, sizeof start - 1)) {
		char *end;
		long n = strtol(msg + sizeof start - 1, &end, 10);
		if (*end == ':') {
			line = (int)n;
			msg = end + 1 + (end[1] == ' ');
		}
	}
	if (line && line == l->missing)
		return; /* it does without the variable what it would not do with it */
	iog_graph_at(l->g, l->file, line);
	iog_graph_error(l->g, "%s", msg);
}

struct body {
	const char *text;
	size_t len;
};

static int protected(lua_State *L)
{
	struct body *b = lua_touserdata(L, 1);
	open_all(L);
	lua_sethook(L, watch, LUA_MASKCOUNT | LUA_MASKLINE, STEPS_AT_ONCE);
	if (luaL_loadbufferx(L, b->text, b->len, "=" CHUNK, "t"))
		return lua_error(L);
	lua_call(L, 0, 0);
	return 0;
}

/* After a file that stopped early: what it would have gone on with is not reported as unused. */
static void loose_ends(struct iog_graph *g)
{
	struct iog_gnode *node;
	uint32_t n = iog_graph_nodes(g, &node);
	for (uint32_t i = 0; i < n; i++)
		node[i].bad |= node[i].kind == IOG_G_SINK ? !node[i].n_in : !node[i].n_users;
}

/* --set of what the graph does not declare. */
static void unused_sets(struct load *l)
{
	const struct iog_glive *lives;
	uint32_t n = iog_graph_lives(l->g, &lives);
	for (uint32_t i = 0; i < l->n_set; i++) {
		if (l->set[i].used)
			continue;
		const char *names[128];
		uint32_t k = 0;
		for (uint32_t j = 0; j < n && k < IOG_COUNT(names); j++)
			names[k++] = lives[j].live.name;
		for (uint32_t j = 0; j < l->n_strings && k < IOG_COUNT(names); j++)
			names[k++] = l->string[j];
		const char *near = iog_nearest(l->set[i].name, names, k);
		iog_graph_at(l->g, l->file, 0);
		iog_graph_error(l->g, "--set %s: the graph declares no such parameter%s%s%s", l->set[i].name,
			near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	}
}

/* How often the word stands in the file, outside of quotes and of what follows "--". */
static uint32_t count_word(const struct load *l, const char *word, size_t n)
{
	const char *stop = l->text + l->len;
	uint32_t count = 0;
	char quote = 0;
	for (const char *t = l->text; t < stop; t++) {
		if (*t == '\n')
			quote = 0;
		else if (quote && *t == '\\')
			t += t + 1 < stop && t[1] != '\n';
		else if (quote)
			quote = *t == quote ? 0 : quote;
		else if (*t == '"' || *t == '\'')
			quote = *t;
		else if (*t == '-' && t + 1 < stop && t[1] == '-')
			quote = '\n';
		else if (is_word(*t) && (t == l->text || !is_word(t[-1])))
			count += (size_t)(stop - t) >= n && !memcmp(t, word, n) && (t + n == stop || !is_word(t[n]));
	}
	return count;
}

/* iog.param.string whose variable the file names nowhere else. Of one that is not kept in a variable nothing is known. */
static void unused_strings(struct load *l)
{
	for (uint32_t i = 0; i < l->n_strings; i++) {
		const char *end, *t = line_at(l, l->string_line[i], &end);
		const size_t n = t ? variable_of(&t, end) : 0;
		if (!n || count_word(l, t, n) != 1)
			continue;
		iog_graph_at(l->g, l->file, l->string_line[i]);
		iog_graph_warning(l->g, "parameter \"%s\" is not used: the file does not name \"%.*s\" again, so setting it has no effect",
			l->string[i], (int)n, t);
	}
}

struct iog_graph *iog_lua_load_text(const char *name, const char *text, size_t len, struct iog_lua_set *set, uint32_t n_set)
{
	struct load l = { .g = iog_graph_new(), .set = set, .n_set = n_set, .start = cpu_seconds(), .text = text, .len = len };
	if (!l.g)
		return NULL;
	char file[IOG_TEXT];
	iog_strset(file, sizeof file, name);
	l.file = file;
	iog_graph_at(l.g, file, 0);
	lua_State *L = lua_newstate(sandbox_alloc, &l);
	if (!L) {
		iog_graph_error(l.g, "out of memory");
		return l.g;
	}
	*(struct load **)lua_getextraspace(L) = &l;
	struct body b = { text, len };
	lua_pushcfunction(L, protected);
	lua_pushlightuserdata(L, &b);
	int rc = lua_pcall(L, 1, 0, 0);
	bool text_error = rc && lua_type(L, -1) == LUA_TSTRING;
	if (rc == LUA_ERRMEM) {
		char msg[80];
		snprintf(msg, sizeof msg, "the graph file needs more than %d MiB of memory", MEMORY_MAX >> 20);
		lua_mistake(&l, msg);
	} else if (rc) {
		lua_mistake(&l, text_error ? lua_tostring(L, -1) : "error(...) was called with something that is not a text");
	}
	lua_close(L);
	if (rc || l.guess)
		loose_ends(l.g);
	if (!rc)
		unused_sets(&l);
	const struct iog_diag *d;
	if (!iog_graph_diags(l.g, &d)) /* else the place that takes it may be what is wrong */
		unused_strings(&l);
	return l.g;
}

struct iog_graph *iog_lua_load(const char *path, struct iog_lua_set *set, uint32_t n_set)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	size_t len = 0;
	int rc = f ? 0 : errno;
	while (f && !rc) {
		char *more = realloc(text, len + 65536);
		if (!more) {
			rc = ENOMEM;
			break;
		}
		text = more;
		size_t got = fread(text + len, 1, 65536, f);
		len += got;
		if (ferror(f))
			rc = errno ? errno : EIO;
		if (!got)
			break;
		if (len > (16u << 20))
			rc = EFBIG;
	}
	if (f)
		fclose(f);
	struct iog_graph *g;
	if (rc) {
		g = iog_graph_new();
		if (g) {
			iog_graph_at(g, path, 0);
			iog_graph_error(g, "cannot read the graph: %s", strerror(rc));
		}
	} else {
		g = iog_lua_load_text(path, text ? text : "", len, set, n_set);
	}
	free(text);
	return g;
}
