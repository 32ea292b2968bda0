/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * require "iograph": Lua programs publish and read the streams of an agent. (The language of graphs is require "iog", lua-graph.c.) A module of its own,
 * for any Lua 5.4; docs/bindings.md has its reference.
 *
 * A mistake of the program is an error. What the world does, no agent, nobody who reads, the end of a stream, is a nil or false and a reason. Indices
 * count from 0, arrays are in C order. A view looks at its record each time, so one that is used too late is an error and not old memory.
 */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>

#include "bindings/typed/typed.h"
#include "core/record.h"

int luaopen_iograph(lua_State *L);

struct attachment {
	iog *io;
};
struct stream {
	struct iog_typed *t;
};
struct reader {
	iog_reader *r;
};
struct record {
	iog_rec *rec;
};
struct view {
	iog_view v;
	uint8_t dtype;
};
#define ATTACHMENT "iograph attachment"
#define STREAM     "iograph stream"
#define READER     "iograph reader"
#define RECORD     "iograph record"
#define VIEW       "iograph view"

/* A new object whose uservalue is what it came from, at index `from`. It is empty until it is filled, so an error on the way frees nothing. */
static void *object(lua_State *L, size_t size, const char *type, int from)
{
	from = lua_absindex(L, from);
	void *p = lua_newuserdatauv(L, size, 1);
	memset(p, 0, size);
	luaL_setmetatable(L, type);
	lua_pushvalue(L, from);
	lua_setiuservalue(L, -2, 1);
	return p;
}

static int failed(lua_State *L, const char *why)
{
	lua_pushnil(L);
	lua_pushstring(L, why);
	return 2;
}

/* true; false and "skip" or "timeout"; nil and a sentence. */
static int outcome(lua_State *L, int code, const char *why)
{
	if (code < 0)
		return failed(L, why[0] ? why : strerror(-code));
	lua_pushboolean(L, code == IOG_OK);
	if (code == IOG_OK)
		return 1;
	lua_pushstring(L, code == IOG_SKIP ? "skip" : code == IOG_END ? "end" : "timeout");
	return 2;
}

/* The options at index i, a table or nothing, as iograph.h takes them. The text stays on the stack. */
static const char *options(lua_State *L, int i, const char *const *keys)
{
	if (!lua_isnoneornil(L, i))
		luaL_checktype(L, i, LUA_TTABLE);
	lua_pushliteral(L, "");
	for (; *keys && lua_istable(L, i); keys++) {
		lua_getfield(L, i, *keys);
		if (!lua_isnil(L, -1)) {
			lua_pushfstring(L, "%s%s=%s ", lua_tostring(L, -2), *keys, luaL_checkstring(L, -1));
			lua_replace(L, -3);
		}
		lua_pop(L, 1);
	}
	return lua_tostring(L, -1);
}

/* ---- attaching ---- */

static int attach(lua_State *L)
{
	const char *where = luaL_optstring(L, 1, NULL);
	struct attachment *a = lua_newuserdatauv(L, sizeof *a, 0);
	a->io = NULL;
	luaL_setmetatable(L, ATTACHMENT);
	a->io = iog_attach(where);
	return iog_error(a->io)[0] ? failed(L, iog_error(a->io)) : 1;
}

static iog *attached(lua_State *L)
{
	struct attachment *a = luaL_checkudata(L, 1, ATTACHMENT);
	if (!a->io)
		luaL_error(L, "the attachment was closed");
	return a->io;
}

static int attachment_close(lua_State *L)
{
	struct attachment *a = luaL_checkudata(L, 1, ATTACHMENT);
	iog_detach(a->io);
	a->io = NULL;
	return 0;
}

static int attachment_error(lua_State *L)
{
	lua_pushstring(L, iog_error(attached(L)));
	return 1;
}

static int attachment_set(lua_State *L)
{
	iog *io = attached(L);
	return outcome(L, iog_param(io, luaL_checkstring(L, 2), luaL_checknumber(L, 3)), iog_error(io));
}

/* The attachment that an object at index 1 came from, through what lies between; NULL when it was closed. */
static iog *origin(lua_State *L)
{
	struct attachment *a;
	lua_pushvalue(L, 1);
	while (!(a = luaL_testudata(L, -1, ATTACHMENT))) {
		lua_getiuservalue(L, -1, 1);
		lua_remove(L, -2);
	}
	lua_pop(L, 1);
	return a->io;
}

static int push_stats(lua_State *L, const iog_stats *st)
{
	lua_newtable(L);
#define FIELD(name) (lua_pushinteger(L, (lua_Integer)st->name), lua_setfield(L, -2, #name))
	FIELD(records), FIELD(bytes), FIELD(dropped), FIELD(skipped), FIELD(readers);
	lua_pushnumber(L, st->blocked_s);
	lua_setfield(L, -2, "blocked_s");
	return 1;
}

/* ---- writing ---- */

static int wrote(lua_State *L, const struct iog_typed *t, int code) { return outcome(L, code, iog_typed_why(t)); }

static struct iog_typed *writing(lua_State *L)
{
	struct stream *s = luaL_checkudata(L, 1, STREAM);
	if (!s->t || !origin(L))
		luaL_error(L, "the stream was closed");
	return s->t;
}

static int open(lua_State *L)
{
	static const char *const keys[] = { "policy", "timeout", "patience", "bytes", NULL };
	iog *io = attached(L);
	const char *name = luaL_checkstring(L, 2), *schema = luaL_checkstring(L, 3);
	int rank = 0, ranks = 1;
	iog_stats st;
	if (!lua_isnoneornil(L, 4)) {
		luaL_checktype(L, 4, LUA_TTABLE);
		lua_getfield(L, 4, "rank");
		lua_getfield(L, 4, "ranks");
		rank = (int)luaL_optinteger(L, -2, 0);
		ranks = (int)luaL_optinteger(L, -1, 1);
	}
	const char *opts = options(L, 4, keys);
	struct stream *s = object(L, sizeof *s, STREAM, 1);
	s->t = iog_typed_open(io, name, schema, opts, rank, ranks);
	return iog_typed_stats(s->t, &st) ? failed(L, iog_typed_error(s->t)) : 1;
}

/* Numbers of the table at index i; how many, -1: it is not there. */
static int numbers(lua_State *L, int i, int64_t *to)
{
	if (lua_isnoneornil(L, i))
		return -1;
	luaL_checktype(L, i, LUA_TTABLE);
	const lua_Integer n = luaL_len(L, i);
	luaL_argcheck(L, n <= IOG_RANK, i, "more numbers than a variable has dimensions");
	for (lua_Integer k = 0; k < n; k++) {
		lua_geti(L, i, k + 1);
		to[k] = luaL_checkinteger(L, -1);
		lua_pop(L, 1);
	}
	return (int)n;
}

static int stream_block(lua_State *L)
{
	struct iog_typed *t = writing(L);
	const char *var = luaL_checkstring(L, 2);
	int64_t global[IOG_RANK], offset[IOG_RANK], count[IOG_RANK];
	const int g = numbers(L, 3, global), o = numbers(L, 4, offset), c = numbers(L, 5, count);
	const int n = IOG_MAX(IOG_MAX(g, o), c);
	luaL_argcheck(
		L, (g < 0 || g == n) && (o < 0 || o == n) && (c < 0 || c == n), 3, "global, offset and count are of different length");
	return wrote(
		L, t, iog_typed_block(t, var, (unsigned)IOG_MAX(n, 0), g < 0 ? NULL : global, o < 0 ? NULL : offset, c < 0 ? NULL : count));
}

static int stream_begin(lua_State *L)
{
	struct iog_typed *t = writing(L);
	return wrote(L, t, iog_typed_begin(t, luaL_checkinteger(L, 2), luaL_optnumber(L, 3, 0)));
}

/* Extents of the tables in tables at index i; the rank. */
static unsigned nested(lua_State *L, int i, int64_t *count)
{
	unsigned rank = 0;
	luaL_checkstack(L, IOG_RANK + 2, NULL);
	lua_pushvalue(L, i);
	while (lua_istable(L, -1)) {
		luaL_argcheck(L, rank < IOG_RANK, i, "tables in more than 8 tables");
		count[rank++] = (int64_t)lua_rawlen(L, -1);
		lua_rawgeti(L, -1, 1);
		lua_remove(L, -2);
	}
	lua_pop(L, 1);
	return rank;
}

/* One number of the table, from the top of the stack. Integers keep all their bits. */
static void store(lua_State *L, uint8_t *to, uint8_t dtype)
{
	if (lua_isinteger(L, -1) && (dtype == IOG_I64 || dtype == IOG_U64)) {
		const lua_Integer whole = lua_tointeger(L, -1);
		memcpy(to, &whole, sizeof whole);
	} else if (lua_isboolean(L, -1)) {
		iog_store(to, dtype, lua_toboolean(L, -1));
	} else if (lua_isnumber(L, -1)) {
		iog_store(to, dtype, lua_tonumber(L, -1));
	} else {
		luaL_error(L, "expected a number, got %s", luaL_typename(L, -1));
	}
}

/* The numbers of the table on top of the stack, row by row. */
static uint8_t *flatten(lua_State *L, uint8_t *to, const struct iog_array *a, unsigned d)
{
	if ((int64_t)lua_rawlen(L, -1) != a->count[d])
		luaL_error(L, "rows of different length: %d and %d", (int)lua_rawlen(L, -1), (int)a->count[d]);
	for (int64_t i = 0; i < a->count[d]; i++) {
		lua_rawgeti(L, -1, i + 1);
		if (d + 1u < a->rank) {
			luaL_checktype(L, -1, LUA_TTABLE);
			to = flatten(L, to, a, d + 1);
		} else {
			store(L, to, a->dtype);
			to += a->elem_size;
		}
		lua_pop(L, 1);
	}
	return to;
}

static int put_table(lua_State *L, struct iog_typed *t, const char *var, const struct iog_vardef *def)
{
	struct iog_array a = { .dtype = def->dtype, .elem_size = iog_dtype_size(def->dtype) };
	struct iog_block b = { 0 };
	uint64_t bytes = a.elem_size;
	a.rank = (uint8_t)nested(L, 3, a.count);
	for (unsigned d = 0; d < a.rank; d++)
		if (!iog_mul(bytes, (uint64_t)a.count[d], &bytes) || bytes > INT32_MAX)
			return luaL_error(L, "the tables are too large");
	memcpy(b.count, a.count, sizeof b.count);
	iog_block_set_dense(&b, a.rank, a.elem_size);
	memcpy(a.stride, b.stride, sizeof a.stride);
	a.data = lua_newuserdatauv(L, bytes + 1, 0);
	lua_pushvalue(L, 3);
	flatten(L, (uint8_t *)(uintptr_t)a.data, &a, 0);
	return wrote(L, t, iog_typed_put(t, var, &a));
}

/* Bytes as they lie in memory. */
static int put_string(lua_State *L, struct iog_typed *t, const char *var)
{
	struct iog_array a;
	size_t len;
	const char *bytes = lua_tolstring(L, 3, &len);
	int code = iog_typed_part(t, var, &a);
	uint64_t want = a.elem_size;
	if (code)
		return wrote(L, t, code);
	for (unsigned d = 0; d < a.rank; d++)
		want *= (uint64_t)a.count[d];
	if (len != want)
		return luaL_error(L, "%s: the part has %I bytes, the string %I", var, (lua_Integer)want, (lua_Integer)len);
	a.data = bytes;
	return wrote(L, t, iog_typed_put(t, var, &a));
}

/* s:put(name, number | tables | string) */
static int stream_put(lua_State *L)
{
	struct iog_typed *t = writing(L);
	const char *var = luaL_checkstring(L, 2);
	const struct iog_vardef *def = iog_typed_var(t, var);
	if (!def)
		return luaL_error(L, "there is no variable \"%s\" in the stream", var);
	if (lua_type(L, 3) == LUA_TSTRING)
		return put_string(L, t, var);
	if (lua_istable(L, 3))
		return put_table(L, t, var, def);
	if (def->rank)
		return luaL_error(L, "%s has %d dimensions; put tables or a string", var, def->rank);
	_Alignas(16) uint8_t number[16] = { 0 };
	lua_settop(L, 3);
	store(L, number, def->dtype);
	const struct iog_array a = { .data = number, .dtype = def->dtype, .elem_size = iog_dtype_size(def->dtype) };
	return wrote(L, t, iog_typed_put(t, var, &a));
}

static int stream_wanted(lua_State *L)
{
	const struct iog_typed *t = writing(L);
	lua_pushboolean(L, iog_typed_wanted(t, luaL_checkstring(L, 2)));
	return 1;
}

static int stream_commit(lua_State *L)
{
	struct iog_typed *t = writing(L);
	return wrote(L, t, iog_typed_commit(t));
}

static int stream_stats(lua_State *L)
{
	iog_stats st;
	iog_typed_stats(writing(L), &st);
	return push_stats(L, &st);
}

static int stream_close(lua_State *L)
{
	struct stream *s = luaL_checkudata(L, 1, STREAM);
	iog *io = origin(L);
	char said[512];
	if (!s->t || !io) {
		if (s->t)
			iog_typed_orphan(s->t);
		s->t = NULL;
		lua_pushboolean(L, 1);
		return 1;
	}
	iog_strset(said, sizeof said, iog_typed_error(s->t));
	/* As __close it is given an error object or nil. */
	int code = iog_typed_close(s->t, lua_isnumber(L, 2) ? lua_tonumber(L, 2) : 10);
	s->t = NULL;
	return outcome(L, code, said[0] ? said : iog_error(io));
}

/* ---- reading ---- */

static iog_reader *reading(lua_State *L)
{
	struct reader *r = luaL_checkudata(L, 1, READER);
	if (!r->r || !origin(L))
		luaL_error(L, "the reader was closed");
	return r->r;
}

static int subscribe(lua_State *L)
{
	static const char *const keys[] = { "policy", "timeout", NULL };
	iog *io = attached(L);
	const char *stream = luaL_checkstring(L, 2), *opts = options(L, 3, keys), *select = NULL;
	iog_stats st;
	if (lua_istable(L, 3)) {
		lua_getfield(L, 3, "select");
		select = luaL_optstring(L, -1, NULL);
	}
	struct reader *r = object(L, sizeof *r, READER, 1);
	r->r = iog_subscribe(io, stream, select, opts);
	return iog_reader_stats(r->r, &st) ? failed(L, iog_error(io)) : 1;
}

/* r:next(seconds): a record; nil and "timeout", "end" or a sentence. */
static int reader_next(lua_State *L)
{
	iog_reader *r = reading(L);
	const double timeout = luaL_optnumber(L, 2, 10);
	struct record *rec = object(L, sizeof *rec, RECORD, 1);
	int code = iog_next(r, timeout, &rec->rec);
	if (code == IOG_OK)
		return 1;
	if (code == -ENOBUFS)
		return failed(L, "two steps are held; release one");
	if (code < 0)
		return failed(L, iog_error(origin(L)));
	return failed(L, code == IOG_END ? "end" : "timeout");
}

static int record_release(lua_State *L)
{
	struct record *rec = luaL_checkudata(L, 1, RECORD);
	if (rec->rec && origin(L)) {
		struct reader *r;
		lua_getiuservalue(L, 1, 1);
		r = lua_touserdata(L, -1);
		if (r->r)
			iog_release(rec->rec);
	}
	rec->rec = NULL;
	return 0;
}

/* The record at index i, which its reader still holds. */
static iog_rec *held(lua_State *L, int i)
{
	struct record *rec = luaL_checkudata(L, i, RECORD);
	const struct reader *r;
	lua_getiuservalue(L, i, 1);
	r = lua_touserdata(L, -1);
	lua_getiuservalue(L, -1, 1);
	const struct attachment *a = lua_touserdata(L, -1);
	if (!rec->rec || !r->r || !a->io)
		luaL_error(L, "the record was released");
	lua_pop(L, 2);
	return rec->rec;
}

/* One turn of `for rec in r:steps(seconds)`: what came before is released. Upvalues: reader, seconds, the record before. */
static int turn(lua_State *L)
{
	lua_settop(L, 0);
	if (luaL_testudata(L, lua_upvalueindex(3), RECORD)) {
		lua_pushvalue(L, lua_upvalueindex(3));
		record_release(L);
		lua_settop(L, 0);
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, lua_upvalueindex(2));
	const int n = reader_next(L);
	if (n == 2) {
		const char *why = lua_tostring(L, -1);
		if (iog_streq(why, "end")) {
			lua_pushnil(L);
			return 1;
		}
		return luaL_error(L, "%s", iog_streq(why, "timeout") ? "no step came in time" : why);
	}
	lua_pushvalue(L, -1);
	lua_replace(L, lua_upvalueindex(3));
	return 1;
}

static int reader_steps(lua_State *L)
{
	reading(L);
	lua_pushvalue(L, 1);
	lua_pushnumber(L, luaL_optnumber(L, 2, 10));
	lua_pushnil(L);
	lua_pushcclosure(L, turn, 3);
	return 1;
}

static int reader_stats(lua_State *L)
{
	iog_stats st;
	iog_reader_stats(reading(L), &st);
	return push_stats(L, &st);
}

static int reader_close(lua_State *L)
{
	struct reader *r = luaL_checkudata(L, 1, READER);
	if (r->r && origin(L))
		iog_unsubscribe(r->r);
	r->r = NULL;
	return 0;
}

static int record_step(lua_State *L)
{
	lua_pushinteger(L, iog_rec_step(held(L, 1)));
	return 1;
}
static int record_time(lua_State *L)
{
	lua_pushnumber(L, iog_rec_time(held(L, 1)));
	return 1;
}
static int record_names(lua_State *L)
{
	iog_rec *rec = held(L, 1);
	const char *name;
	lua_newtable(L);
	for (int i = 0; (name = iog_rec_var(rec, i)); i++) {
		lua_pushstring(L, name);
		lua_seti(L, -2, i + 1);
	}
	return 1;
}

/* rec:view(name): nil when the step has no such variable. */
static int record_view(lua_State *L)
{
	iog_rec *rec = held(L, 1);
	iog_view v;
	int code = iog_get(rec, luaL_checkstring(L, 2), &v);
	if (code)
		return failed(L, code == -ENOENT ? "the step has no such variable" : strerror(-code));
	struct view *to = object(L, sizeof *to, VIEW, 1);
	to->v = v;
	to->dtype = (uint8_t)iog_dtype_find(v.dtype, strlen(v.dtype));
	return 1;
}

/* ---- views ---- */

static struct view *looking(lua_State *L)
{
	struct view *v = luaL_checkudata(L, 1, VIEW);
	lua_getiuservalue(L, 1, 1);
	held(L, lua_gettop(L));
	lua_pop(L, 1);
	return v;
}

/* v:get(i, j, ...) */
static int view_get(lua_State *L)
{
	const struct view *x = looking(L);
	const uint8_t *at = x->v.data;
	for (int d = 0; d < x->v.rank; d++) {
		const lua_Integer i = luaL_checkinteger(L, d + 2);
		if (i < 0 || i >= x->v.shape[d])
			return luaL_error(L, "index %d of dimension %s is outside 0..%d", (int)i, x->v.dim[d], (int)x->v.shape[d] - 1);
		at += i * x->v.stride[d];
	}
	if (x->dtype == IOG_I64 || x->dtype == IOG_U64) {
		lua_Integer whole;
		memcpy(&whole, at, sizeof whole);
		lua_pushinteger(L, whole);
	} else if (x->dtype >= IOG_I8 && x->dtype <= IOG_U32) {
		lua_pushinteger(L, (lua_Integer)iog_load(at, x->dtype));
	} else if (x->dtype == IOG_BOOL) {
		lua_pushboolean(L, *at);
	} else if (x->dtype == IOG_BYTE) {
		lua_pushinteger(L, *at);
	} else if (x->dtype == IOG_C64 || x->dtype == IOG_C128) {
		const uint8_t part = x->dtype == IOG_C64 ? IOG_F32 : IOG_F64;
		lua_pushnumber(L, iog_load(at, part));
		lua_pushnumber(L, iog_load(at + iog_dtype_size(part), part));
		return 2;
	} else {
		lua_pushnumber(L, iog_load(at, x->dtype));
	}
	return 1;
}

static int push_numbers(lua_State *L, const int64_t *n, int rank)
{
	lua_createtable(L, rank, 0);
	for (int d = 0; d < rank; d++) {
		lua_pushinteger(L, n[d]);
		lua_seti(L, -2, d + 1);
	}
	return 1;
}
static int view_shape(lua_State *L)
{
	const struct view *x = looking(L);
	return push_numbers(L, x->v.shape, x->v.rank);
}
static int view_start(lua_State *L)
{
	const struct view *x = looking(L);
	return push_numbers(L, x->v.start, x->v.rank);
}
static int view_dims(lua_State *L)
{
	const struct view *x = looking(L);
	lua_createtable(L, x->v.rank, 0);
	for (int d = 0; d < x->v.rank; d++) {
		lua_pushstring(L, x->v.dim[d]);
		lua_seti(L, -2, d + 1);
	}
	return 1;
}
static int view_unit(lua_State *L)
{
	lua_pushstring(L, looking(L)->v.unit);
	return 1;
}
static int view_dtype(lua_State *L)
{
	lua_pushstring(L, looking(L)->v.dtype);
	return 1;
}

/* All bytes, dense, as string.unpack takes them. */
static int view_tostring(lua_State *L)
{
	const struct view *x = looking(L);
	const uint32_t size = iog_dtype_size(x->dtype);
	struct iog_block b = { .data = x->v.data };
	uint64_t bytes = size;
	luaL_Buffer to;
	for (int d = 0; d < x->v.rank; d++)
		if (!iog_mul(bytes, (uint64_t)x->v.shape[d], &bytes) || bytes > SIZE_MAX / 2)
			return luaL_error(L, "the view is too large");
	memcpy(b.count, x->v.shape, sizeof b.count);
	memcpy(b.stride, x->v.stride, sizeof b.stride);
	char *p = luaL_buffinitsize(L, &to, bytes);
	if (bytes)
		iog_block_gather((uint8_t *)p, &b, (unsigned)x->v.rank, size);
	luaL_pushresultsize(&to, bytes);
	return 1;
}

/* ---- the module ---- */

static void type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction end)
{
	luaL_newmetatable(L, name);
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, "__index");
	if (end) {
		lua_pushcfunction(L, end);
		lua_setfield(L, -2, "__gc");
		lua_pushcfunction(L, end);
		lua_setfield(L, -2, "__close");
	}
	lua_pop(L, 1);
}

int luaopen_iograph(lua_State *L)
{
	static const luaL_Reg module[] = { { "attach", attach }, { NULL, NULL } },
			      attachments[] = { { "open", open }, { "subscribe", subscribe }, { "set", attachment_set },
				      { "error", attachment_error }, { "close", attachment_close }, { NULL, NULL } },
			      streams[] = { { "block", stream_block }, { "begin", stream_begin }, { "put", stream_put },
				      { "wanted", stream_wanted }, { "commit", stream_commit }, { "stats", stream_stats },
				      { "close", stream_close }, { NULL, NULL } },
			      readers[] = { { "next", reader_next }, { "steps", reader_steps }, { "stats", reader_stats },
				      { "close", reader_close }, { NULL, NULL } },
			      records[] = { { "step", record_step }, { "time", record_time }, { "names", record_names },
				      { "view", record_view }, { "release", record_release }, { NULL, NULL } },
			      views[] = { { "get", view_get }, { "shape", view_shape }, { "start", view_start }, { "dims", view_dims },
				      { "unit", view_unit }, { "dtype", view_dtype }, { "tostring", view_tostring }, { NULL, NULL } };
	type(L, ATTACHMENT, attachments, attachment_close);
	type(L, STREAM, streams, stream_close);
	type(L, READER, readers, reader_close);
	type(L, RECORD, records, record_release);
	type(L, VIEW, views, NULL);
	luaL_newlib(L, module);
	return 1;
}
