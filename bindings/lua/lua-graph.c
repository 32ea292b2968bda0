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

#include "lua-value.h"
#include "runtime/host/endpoint.h"

#define STREAM "iog.stream"
#define SINK "iog.sink"

enum { MEMORY_MAX = 64 << 20, STEPS_MAX = 20000000, STEPS_AT_ONCE = 10000 };

/* Behind every call: the graph under construction and the limits. */
struct load {
	struct iog_graph *g;
	struct iog_lua_set *set;
	uint32_t n_set;
	size_t memory;
	long steps;
};
struct stream { int node, port; };
struct sink { int node; bool used; char file[IOG_TEXT]; int line; };

static struct load *load_of(lua_State *L)
{
	return *(struct load **)lua_getextraspace(L);
}

/* Tells the graph which line of the file is at work. */
static struct iog_graph *here(lua_State *L)
{
	struct load *l = load_of(L);
	lua_Debug d;
	for (int level = 1; lua_getstack(L, level, &d); level++) {
		lua_getinfo(L, "Sl", &d);
		if (d.currentline > 0) {
			iog_graph_at(l->g, d.source[0] == '@' || d.source[0] == '=' ? d.source + 1 : d.source, d.currentline);
			break;
		}
	}
	return l->g;
}

static void no_such(lua_State *L, const char *what, const char *name, const char *const *names, size_t n, const char *hint)
{
	const char *near = iog_nearest(name, names, n);
	iog_graph_error(here(L), "no %s \"%s\"%s%s%s%s", what, name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "",
			near ? "" : hint);
}

static struct stream *push_stream(lua_State *L, int node, int port)
{
	struct stream *s = lua_newuserdatauv(L, sizeof *s, 1); /* user value: options of the edge that follows */
	s->node = node;
	s->port = port;
	luaL_setmetatable(L, STREAM);
	return s;
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
	if (!iog_lua_value(L, idx, &v, &live, &err)) {
		struct iog_gnode *n;
		iog_graph_nodes(g, &n);
		iog_graph_error(g, "%s: \"%s\" is %s", n[node].name, name, err.text);
		n[node].bad = true;
		return;
	}
	if (!iog_graph_option(g, node, name, &v))
		iog_graph_set(g, node, name, &v, live);
}

/* A table: items by position belong to the parameter marked as first, the others are named. */
static void give_table(lua_State *L, struct iog_graph *g, int node, int idx)
{
	const struct iog_param *t[1], *first = tables(node, g, t)[0] ? iog_param_first(t[0]) : NULL;
	lua_Integer n = luaL_len(L, idx);
	bool lists = first && (first->type == IOG_P_INTERVALS || first->type == IOG_P_NUMBERS || first->type == IOG_P_NAMES);
	struct iog_gnode *nodes;
	iog_graph_nodes(g, &nodes);
	if (n && !first) {
		iog_graph_error(g, "%s takes no value without a name", nodes[node].name);
	} else if (n) {
		lua_geti(L, idx, 1);
		bool whole = !lists || luaL_testudata(L, -1, IOG_LUA_LIVE); /* crop { roi } */
		if (whole && n > 1)
			iog_graph_error(g, "%s takes one value without a name (\"%s\"), got %d", nodes[node].name, first->name, (int)n);
		if (!whole) {
			lua_createtable(L, (int)n, 0);
			for (lua_Integer i = 1; i <= n; i++) {
				lua_geti(L, idx, i);
				lua_seti(L, -2, i);
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
		if (lua_type(L, -1) != LUA_TSTRING || count == IOG_COUNT(names))
			continue;
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
		lua_getfield(L, idx, names[i]);
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
		const struct stream *s = luaL_testudata(L, i, STREAM);
		const struct iog_param *t[1], *first = tables(node, g, t)[0] ? iog_param_first(t[0]) : NULL;
		struct iog_gnode *nodes;
		iog_graph_nodes(g, &nodes);
		if (s)
			iog_graph_link(g, s->node, s->port, node);
		else if (lua_istable(L, i))
			give_table(L, g, node, i);
		else if (first)
			give(L, g, node, first->name, i);
		else
			iog_graph_error(g, "%s takes no value without a name; write %s { name = value }", nodes[node].name, nodes[node].name);
		lua_settop(L, top);
	}
}

/* ---- streams ---- */

static void apply_queue(lua_State *L, int stream, struct iog_graph *g, int node)
{
	if (lua_getiuservalue(L, stream, 1) == LUA_TTABLE) {
		int t = lua_gettop(L);
		lua_pushnil(L);
		while (lua_next(L, t)) {
			struct iog_value v;
			const char *live;
			struct iog_err err = { "" };
			if (lua_type(L, -2) == LUA_TSTRING && iog_lua_value(L, -1, &v, &live, &err) && !iog_graph_option(g, node, lua_tostring(L, -2), &v))
				iog_graph_error(g, "queue: unknown option \"%s\"; use policy, bytes, timeout or qos", lua_tostring(L, -2));
			lua_settop(L, t + 1);
		}
		lua_settop(L, t);
	}
	lua_pop(L, 1);
}

/* stream:NAME(...): upvalue 1 is the operator, or nil when there is none of that name. */
static int stream_op(lua_State *L)
{
	const struct iog_op *op = lua_touserdata(L, lua_upvalueindex(1));
	const struct stream *s = luaL_testudata(L, 1, STREAM);
	struct iog_graph *g = here(L);
	if (!s) {
		iog_graph_error(g, "call operators with a colon: stream:%s(...)", op ? op->name : "name");
		push_stream(L, IOG_NO_NODE, 0);
		return 1;
	}
	if (!op || s->node < 0) {
		push_stream(L, IOG_NO_NODE, 0);
		return 1;
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
	const struct stream *s = luaL_testudata(L, 1, STREAM);
	struct iog_graph *g = here(L);
	for (int i = 2; i <= lua_gettop(L) || i == 2; i++) {
		struct sink *k = luaL_testudata(L, i, SINK);
		if (!s || !k) {
			iog_graph_error(g, "to: wants a sink, as in stream:to(iog.sink.null {})");
			continue;
		}
		k->used = true;
		if (k->node >= 0 && s->node >= 0) {
			iog_graph_link(g, s->node, s->port, k->node);
			apply_queue(L, 1, g, k->node);
		} else if (k->node >= 0) {
			iog_graph_link(g, IOG_NO_NODE, 0, k->node);
		}
	}
	lua_settop(L, 1);
	return 1;
}

/* on and never: upvalue 1 is the option's name. */
static int stream_place(lua_State *L)
{
	const struct stream *s = luaL_testudata(L, 1, STREAM);
	struct iog_graph *g = here(L);
	const char *option = lua_tostring(L, lua_upvalueindex(1));
	if (s && lua_gettop(L) == 2) {
		struct iog_value v = { .kind = IOG_V_STRING, .s = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "" };
		iog_graph_option(g, s->node, option, &v);
	} else {
		iog_graph_error(g, "%s: wants one target, as in stream:%s \"vm\"", option, option);
	}
	lua_settop(L, 1);
	return 1;
}

static int stream_queue(lua_State *L)
{
	if (luaL_testudata(L, 1, STREAM) && lua_istable(L, 2)) {
		lua_settop(L, 2);
		lua_setiuservalue(L, 1, 1);
	} else {
		iog_graph_error(here(L), "queue: wants a table, as in stream:queue { policy = \"latest\" }");
	}
	lua_settop(L, 1);
	return 1;
}

static int stream_index(lua_State *L)
{
	static const struct { const char *name; lua_CFunction f; } own[] = {
		{ "to", stream_to }, { "on", stream_place }, { "never", stream_place }, { "queue", stream_queue },
	};
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	const char *names[128];
	size_t n = 0;
	for (size_t i = 0; i < IOG_COUNT(own); i++) {
		names[n++] = own[i].name;
		if (!strcmp(own[i].name, name)) {
			lua_pushstring(L, name);
			lua_pushcclosure(L, own[i].f, 1);
			return 1;
		}
	}
	const struct iog_op *op = NULL;
	for (const struct iog_op *const *o = iog_ops; *o; o++) {
		if (n < IOG_COUNT(names))
			names[n++] = (*o)->name;
		if (!strcmp((*o)->name, name))
			op = *o;
	}
	if (!op)
		no_such(L, "operator", name, names, n, "; `iog ops` lists them");
	lua_pushlightuserdata(L, (void *)(uintptr_t)op);
	lua_pushcclosure(L, stream_op, 1);
	return 1;
}

/* ---- sources and sinks ---- */

static int make_source(lua_State *L)
{
	const struct iog_source *s = lua_touserdata(L, lua_upvalueindex(1));
	struct iog_graph *g = here(L);
	int node = IOG_NO_NODE;
	if (s) {
		struct iog_gnode_end end = { .what = s, .name = s->name, .params = s->params, .conf_size = s->conf_size, .describe = s->describe };
		node = iog_graph_end(g, IOG_G_SOURCE, &end);
		if (node >= 0)
			give_args(L, g, node, 1);
	}
	push_stream(L, node, 0);
	return 1;
}

static int make_sink(lua_State *L)
{
	const struct iog_sink *s = lua_touserdata(L, lua_upvalueindex(1));
	struct iog_graph *g = here(L);
	struct sink *k = lua_newuserdatauv(L, sizeof *k, 0);
	memset(k, 0, sizeof *k);
	k->node = IOG_NO_NODE;
	luaL_setmetatable(L, SINK);
	if (s) {
		struct iog_gnode_end end = { .what = s, .name = s->name, .params = s->params, .conf_size = s->conf_size,
					     .safe = s->flags & IOG_SINK_SAFE, .accept = s->accept };
		k->node = iog_graph_end(g, IOG_G_SINK, &end);
		int at = lua_gettop(L);
		lua_insert(L, 1); /* under the arguments */
		if (k->node >= 0)
			give_args(L, g, k->node, 2);
		lua_settop(L, at);
		lua_settop(L, 1);
	}
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
	if (!found)
		no_such(L, sinks ? "sink" : "source", name, names, n, "; `iog ops` lists them");
	lua_pushlightuserdata(L, (void *)(uintptr_t)found);
	lua_pushcclosure(L, sinks ? make_sink : make_source, 1);
	return 1;
}

/* ---- parameters ---- */

static const char *override(lua_State *L, const char *name)
{
	struct load *l = load_of(L);
	for (uint32_t i = 0; i < l->n_set; i++)
		if (!strcmp(l->set[i].name, name)) {
			l->set[i].used = true;
			return l->set[i].value;
		}
	return NULL;
}

static double number_field(lua_State *L, const char *name, double otherwise)
{
	double v = lua_getfield(L, 1, name) == LUA_TNUMBER ? lua_tonumber(L, -1) : otherwise;
	lua_pop(L, 1);
	return v;
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
	const char *name = lua_istable(L, 1) && lua_geti(L, 1, 1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	if (!name || !iog_name_valid(name, false)) {
		iog_graph_error(here(L), "param.%s: wants a name and a value, as in iog.param.%s { \"limit\", ... }", kind, kind);
		return NULL;
	}
	return name;
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
	if (lua_geti(L, 1, 2) != LUA_TNUMBER)
		iog_graph_error(g, "param \"%s\": its value must be a number", name);
	l->value.n = lua_tonumber(L, -1);
	lua_pop(L, 1);
	const char *o = override(L, name);
	if (o && (!iog_parse_number(o, strlen(o), &l->value.n) || iog_parse_number(o, strlen(o), &l->value.n) != strlen(o)))
		iog_graph_error(g, "--set %s=%s: not a number", name, o);
	iog_graph_live(g, name, l->value.n, number_field(L, "min", 0), number_field(L, "max", 0));
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
		if (lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1) && n < IOG_RANK) {
			const char *k = lua_tostring(L, -2);
			uint32_t i = n++;
			for (; i && strcmp(l->keys[i - 1], k) > 0; i--) {
				memcpy(l->keys[i], l->keys[i - 1], IOG_NAME);
				memcpy(l->end[i], l->end[i - 1], sizeof l->end[i]);
			}
			iog_strset(l->keys[i], IOG_NAME, k);
			for (int e = 0; e < 2; e++) {
				if (lua_geti(L, -1, e + 1) != LUA_TNUMBER)
					iog_graph_error(g, "param \"%s\": %s must be two numbers, {lo, hi}", name, k);
				l->end[i][e] = (struct iog_value){ .kind = IOG_V_NUMBER, .n = lua_tonumber(L, -1) };
				lua_pop(L, 1);
			}
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
			const char *o = override(L, part);
			if (o && iog_parse_number(o, strlen(o), &l->end[i][e].n) != strlen(o))
				iog_graph_error(g, "--set %s=%s: not a number", part, o);
			iog_graph_live(g, part, l->end[i][e].n, 0, 0);
		}
	}
	return 1;
}

/* iog.param.string { "name", "value" }: a constant that --set can change. */
static int param_string(lua_State *L)
{
	const char *name = param_name(L, "string"), *o = name ? override(L, name) : NULL;
	if (o)
		lua_pushstring(L, o);
	else if (!name || lua_geti(L, 1, 2) != LUA_TSTRING) {
		if (name)
			iog_graph_error(here(L), "param \"%s\": its value must be a string", name);
		lua_pushliteral(L, "");
	}
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
	lua_pushlightuserdata(L, NULL);
	lua_pushcclosure(L, stream_op, 1); /* callable, and gives a dead stream */
	return 1;
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

static void count_steps(lua_State *L, lua_Debug *d)
{
	(void)d;
	struct load *l = load_of(L);
	l->steps += STEPS_AT_ONCE;
	if (l->steps > STEPS_MAX)
		luaL_error(L, "the graph file does not come to an end (more than %d steps)", (int)STEPS_MAX);
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
	for (int i = 1; i <= 3; i++) {
		lua_pushboolean(L, 0);
		lua_setfield(L, -1 - i, "__metatable");
	}
	lua_pop(L, 3);
}

static void open_all(lua_State *L)
{
	static const luaL_Reg libs[] = { { "_G", luaopen_base }, { "string", luaopen_string }, { "table", luaopen_table }, { "math", luaopen_math }, { NULL, NULL } };
	for (const luaL_Reg *r = libs; r->name; r++) {
		luaL_requiref(L, r->name, r->func, 1);
		lua_pop(L, 1);
	}
	/* What could read, load, run or hide something goes; patterns too, because they can take for ever in one step. */
	static const char *const gone[] = { "dofile", "loadfile", "load", "collectgarbage", "pcall", "xpcall", "rawset", "rawget", "rawequal", "rawlen",
					    "setmetatable", "getmetatable", "warn", NULL };
	for (const char *const *n = gone; *n; n++) {
		lua_pushnil(L);
		lua_setglobal(L, *n);
	}
	static const char *const strings[] = { "byte", "char", "format", "len", "lower", "rep", "reverse", "sub", "upper", NULL };
	keep(L, "string", strings);
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
	static const luaL_Reg params[] = { { "number", param_number }, { "region", param_region }, { "string", param_string }, { NULL, NULL } };
	luaL_newlib(L, params);
	words(L, "kind of parameter");
	lua_setfield(L, -2, "param");
	words(L, "word of iog");
	lua_pushvalue(L, -1);
	lua_setfield(L, LUA_REGISTRYINDEX, "iog");
	lua_setglobal(L, "iog");
}

/* ---- loading ---- */

/* "file:12: text" as Lua says it becomes a mistake at that place. */
static void lua_mistake(struct iog_graph *g, const char *file, const char *msg)
{
	size_t n = strlen(file);
	int line = 0;
	if (!strncmp(msg, file, n) && msg[n] == ':') {
		char *end;
		line = (int)strtol(msg + n + 1, &end, 10);
		if (*end == ':')
			msg = end + 1 + (end[1] == ' ');
	}
	iog_graph_at(g, file, line);
	iog_graph_error(g, "%s", msg);
}

struct body { struct load *l; const char *file, *text; size_t len; };

static int protected(lua_State *L)
{
	struct body *b = lua_touserdata(L, 1);
	open_all(L);
	char chunk[IOG_TEXT + 2];
	snprintf(chunk, sizeof chunk, "@%s", b->file);
	lua_sethook(L, count_steps, LUA_MASKCOUNT, STEPS_AT_ONCE);
	if (luaL_loadbufferx(L, b->text, b->len, chunk, "t"))
		return lua_error(L);
	lua_call(L, 0, 0);
	return 0;
}

struct iog_graph *iog_lua_load_text(const char *name, const char *text, size_t len, struct iog_lua_set *set, uint32_t n_set)
{
	struct load l = { .g = iog_graph_new(), .set = set, .n_set = n_set };
	if (!l.g)
		return NULL;
	char file[IOG_TEXT];
	iog_strset(file, sizeof file, name);
	iog_graph_at(l.g, file, 0);
	lua_State *L = lua_newstate(sandbox_alloc, &l);
	if (!L) {
		iog_graph_error(l.g, "out of memory");
		return l.g;
	}
	*(struct load **)lua_getextraspace(L) = &l;
	struct body b = { &l, file, text, len };
	/* Not through sethook alone: a text that only defines a huge constant is bounded by memory. */
	lua_pushcfunction(L, protected);
	lua_pushlightuserdata(L, &b);
	if (lua_pcall(L, 1, 0, 0))
		lua_mistake(l.g, file, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error without a text");
	lua_close(L);
	const struct iog_glive *lives;
	uint32_t n = iog_graph_lives(l.g, &lives);
	for (uint32_t i = 0; i < n_set; i++) {
		if (set[i].used)
			continue;
		const char *names[64];
		uint32_t k = 0;
		for (; k < n && k < IOG_COUNT(names); k++)
			names[k] = lives[k].live.name;
		const char *near = iog_nearest(set[i].name, names, k);
		iog_graph_at(l.g, file, 0);
		iog_graph_error(l.g, "--set %s: the graph declares no such parameter%s%s%s", set[i].name, near ? "; did you mean \"" : "", near ? near : "",
				near ? "\"?" : "");
	}
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
