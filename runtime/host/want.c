/* SPDX-License-Identifier: BSD-3-Clause */
/* What consumers want of a stream; see want.h. */
#include "want.h"

static uint64_t all_of(const struct iog_schema *s) { return s->n_vars == IOG_VARS ? UINT64_MAX : (1ull << s->n_vars) - 1; }

bool iog_want_valid(const struct iog_want *w, const struct iog_schema *s)
{
	if (w->vars & ~all_of(s))
		return false;
	if (!w->part)
		return true;
	if (w->part > s->n_vars || !(w->vars >> (w->part - 1) & 1))
		return false;
	const struct iog_vardef *v = &s->var[w->part - 1];
	bool can_be = v->rank && !v->n_codecs && !(v->flags & IOG_VAR_STATIC);
	/* What is behind the rank is compared as well. */
	for (unsigned d = 0; d < IOG_RANK; d++)
		can_be &= d < v->rank ? w->box.lo[d] >= 0 && w->box.lo[d] < w->box.hi[d] : !w->box.lo[d] && !w->box.hi[d];
	return can_be;
}

static void widen(struct iog_range *to, const struct iog_range *by, unsigned rank)
{
	for (unsigned d = 0; d < rank; d++) {
		to->lo[d] = IOG_MIN(to->lo[d], by->lo[d]);
		to->hi[d] = IOG_MAX(to->hi[d], by->hi[d]);
	}
}

void iog_wants_add(struct iog_wants *u, const struct iog_want *w, const struct iog_schema *s)
{
	const uint64_t vars = w && w->vars ? w->vars : all_of(s);
	const uint64_t part = w && w->vars && w->part ? 1ull << (w->part - 1) : 0, had = u->vars;
	u->parts &= ~(vars & ~part);
	u->vars |= vars;
	if (!part)
		return;
	const uint32_t v = w->part - 1;
	if (!(had & part)) {
		u->box[v] = w->box;
		u->parts |= part;
	} else if (u->parts & part) {
		widen(&u->box[v], &w->box, s->var[v].rank);
	}
}

void iog_wants_as_one(const struct iog_wants *u, const struct iog_schema *s, struct iog_want *w)
{
	*w = (struct iog_want){ .vars = u->parts || u->vars != all_of(s) ? u->vars : 0 };
	if (!u->parts || u->parts & (u->parts - 1)) /* a box is of one variable */
		return;
	w->part = (uint32_t)__builtin_ctzll(u->parts) + 1;
	w->box = u->box[w->part - 1];
}

bool iog_want_covers(const struct iog_want *w, const struct iog_want *x)
{
	if (!w->vars)
		return true;
	if (!x->vars || x->vars & ~w->vars)
		return false;
	if (!w->part || !(x->vars >> (w->part - 1) & 1))
		return true;
	bool covers = x->part == w->part;
	for (unsigned d = 0; d < IOG_RANK; d++)
		covers &= x->box.lo[d] >= w->box.lo[d] && x->box.hi[d] <= w->box.hi[d];
	return covers;
}

bool iog_range_of(const struct iog_range *box, const struct iog_block *whole, unsigned rank, struct iog_block *part)
{
	bool any = true;
	*part = *whole;
	for (unsigned d = 0; d < rank; d++) {
		const int64_t start = whole->start[d], end = start + whole->count[d];
		const int64_t lo = IOG_MIN(IOG_MAX(box->lo[d], start), end), hi = IOG_MIN(IOG_MAX(box->hi[d], lo), end);
		part->start[d] = lo;
		part->count[d] = hi - lo;
		any &= hi > lo;
	}
	return any;
}
