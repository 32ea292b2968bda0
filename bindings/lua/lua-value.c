/* SPDX-License-Identifier: BSD-3-Clause */
/* Turning Lua values into parameter values. Memory is Lua's: everything is a userdata or string that the caller's stack keeps alive. */
#include "lua-value.h"

#include <lauxlib.h>
#include <errno.h>

enum { DEPTH = 4 };

static bool convert(lua_State *L, int idx, struct iog_value *v, const char **live, int depth, struct iog_err *err);

static bool list(lua_State *L, int idx, struct iog_value *v, int depth, struct iog_err *err)
{
	if (depth == DEPTH) {
		iog_fail(err, -EINVAL, "lists inside lists inside lists: too deep");
		return false;
	}
	lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
	uint32_t keys = 0;
	bool strange = false;
	lua_pushnil(L);
	while (lua_next(L, idx)) {
		lua_pop(L, 1);
		keys += lua_type(L, -1) == LUA_TSTRING;
		strange |=
			lua_type(L, -1) != LUA_TSTRING && (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > n);
	}
	if (n > IOG_LUA_ITEMS || keys > IOG_LUA_ITEMS || strange) {
		iog_fail(err, -EINVAL,
			strange ? "a list with a value that has neither a name nor a place in it" : "a list of more than %d items",
			IOG_LUA_ITEMS);
		return false;
	}
	uint32_t total = (uint32_t)n + keys;
	luaL_checkstack(L, (int)total * 2 + 8, "list");
	struct iog_value *item = lua_newuserdatauv(L, (total + 1) * sizeof *item, 0);
	memset(item, 0, (total + 1) * sizeof *item);
	const char **key = keys ? lua_newuserdatauv(L, (total + 1) * sizeof *key, 0) : NULL;
	if (key)
		memset(key, 0, (total + 1) * sizeof *key);
	*v = (struct iog_value){ .kind = IOG_V_LIST, .item = item, .key = key, .n_items = total };
	const char *inner = NULL;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, idx, i); /* left on the stack: keeps strings */
		if (!convert(L, lua_gettop(L), &item[i - 1], &inner, depth + 1, err))
			return false;
	}
	if (!keys)
		return true;
	/* Named items in the order of their names, so that the same file always gives the same graph. */
	uint32_t at = (uint32_t)n;
	lua_pushnil(L);
	while (lua_next(L, idx)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) == LUA_TSTRING) {
			const char *k = lua_tostring(L, -1);
			uint32_t i = at++;
			for (; i > (uint32_t)n && strcmp(key[i - 1], k) > 0; i--)
				key[i] = key[i - 1];
			key[i] = k; /* the table keeps the string */
		}
	}
	for (uint32_t i = (uint32_t)n; i < total; i++) {
		lua_pushstring(L, key[i]);
		lua_rawget(L, idx);
		if (!convert(L, lua_gettop(L), &item[i], &inner, depth + 1, err))
			return false;
	}
	return true;
}

static bool convert(lua_State *L, int idx, struct iog_value *v, const char **live, int depth, struct iog_err *err)
{
	memset(v, 0, sizeof *v);
	const struct iog_lua_live *l;
	switch (lua_type(L, idx)) {
	case LUA_TNIL: return true;
	case LUA_TBOOLEAN:
		v->kind = IOG_V_BOOL;
		v->b = lua_toboolean(L, idx);
		return true;
	case LUA_TNUMBER:
		v->kind = IOG_V_NUMBER;
		v->integer = lua_isinteger(L, idx);
		v->n = lua_tonumber(L, idx);
		return true;
	case LUA_TSTRING:
		v->kind = IOG_V_STRING;
		v->s = lua_tostring(L, idx);
		if (strlen(v->s) != lua_rawlen(L, idx)) {
			iog_fail(err, -EINVAL, "a text with a zero byte in it");
			return false;
		}
		return true;
	case LUA_TTABLE: return list(L, idx, v, depth, err);
	case LUA_TUSERDATA:
		l = luaL_testudata(L, idx, IOG_LUA_LIVE);
		if (l && depth == 0) {
			*v = l->value;
			*live = l->name;
			return true;
		}
		iog_fail(err, -EINVAL,
			l ? "a live parameter inside a list; give the whole list as iog.param.region"
			  : "a stream or sink where a value is wanted");
		return false;
	default: iog_fail(err, -EINVAL, "a %s where a value is wanted", lua_typename(L, lua_type(L, idx))); return false;
	}
}

bool iog_lua_value(lua_State *L, int idx, struct iog_value *v, const char **live, struct iog_err *err)
{
	*live = NULL;
	return convert(L, lua_absindex(L, idx), v, live, 0, err);
}
