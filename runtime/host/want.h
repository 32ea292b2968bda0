/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a consumer of a stream wants of its steps, and what several of them want together: a set of variables, and of one variable a box. It travels from
 * the consumer to the writers (attach.h), which then neither copy nor send the rest. Plain values, no state, any thread.
 */
#ifndef IOG_RUNTIME_HOST_WANT_H
#define IOG_RUNTIME_HOST_WANT_H

#include "core/record.h"

IOG_C_BEGIN

/* The indices [lo, hi) of each dimension of a variable, in the shape of the whole. */
struct iog_range {
	int64_t lo[IOG_RANK], hi[IOG_RANK];
};
/* What one wants; zeroed: everything. */
struct iog_want {
	uint64_t vars; /* by variable of the schema; 0: all, whole */
	uint32_t part; /* 1 + the one of them of which only the box is wanted; 0: none */
	uint32_t pad;
	struct iog_range box;
};
/* What several want; zeroed: nothing. */
struct iog_wants {
	uint64_t vars;                  /* those that anyone wants */
	uint64_t parts;                 /* those of them of which nobody wants more than what is in box */
	struct iog_range box[IOG_VARS]; /* around all boxes */
};

/* One that came from elsewhere is about this schema, and can be. Static variables, encoded ones and those without dimensions have no parts. */
bool iog_want_valid(const struct iog_want *w, const struct iog_schema *s);
/* A valid one, or NULL for everything, is wanted as well. */
void iog_wants_add(struct iog_wants *u, const struct iog_want *w, const struct iog_schema *s);
/* What several want, as the wish of one: at least that. All variables whole, and nothing at all, become everything. */
void iog_wants_as_one(const struct iog_wants *u, const struct iog_schema *s, struct iog_want *w);
/* Who gets what w says has what x says; w is everything, or lacks something. */
bool iog_want_covers(const struct iog_want *w, const struct iog_want *x);
/* The part of `whole` that lies in box; its indices stay those of the whole. False: nothing of it does, and `part` is empty. */
bool iog_range_of(const struct iog_range *box, const struct iog_block *whole, unsigned rank, struct iog_block *part);

IOG_C_END

#endif
