/* SPDX-License-Identifier: BSD-3-Clause */
/* Lua values as struct iog_value; inside of bindings/lua. */
#ifndef IOG_BINDINGS_LUA_VALUE_H
#define IOG_BINDINGS_LUA_VALUE_H

#include <lua.h>

#include "core/param.h"

#define IOG_LUA_LIVE "iog.live"
enum { IOG_LUA_ITEMS = 256 }; /* of a list, at most */

/* A live parameter as graph files hold it. */
struct iog_lua_live {
	char name[IOG_NAME];
	struct iog_value value; /* number, or list of {lo, hi} */
	struct iog_value item[IOG_RANK], end[IOG_RANK][2];
	const char *key[IOG_RANK];
	char keys[IOG_RANK][IOG_NAME];
};

/*
 * Converts the value at idx. Strings and lists are anchored in Lua and stay as long as the value stays on the stack of this call (userdata
 * created here is left on the stack). *live is set to the name of the live parameter it stands for, or NULL. False with a message when the
 * value is of a kind no parameter takes.
 */
bool iog_lua_value(lua_State *L, int idx, struct iog_value *v, const char **live, struct iog_err *err);

#endif
