/* SPDX-License-Identifier: BSD-3-Clause */
/* What several consumers want together, and which wishes are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "want.h"

static struct iog_schema s;
static struct iog_want part(uint32_t v, int64_t lo0, int64_t hi0, int64_t lo1, int64_t hi1)
{
	return (struct iog_want){ .vars = 1ull << v, .part = v + 1, .box = { .lo = { lo0, lo1 }, .hi = { hi0, hi1 } } };
}

static void together(void **state)
{
	struct iog_wants u = { 0 };
	struct iog_want a = part(0, 1, 3, 4, 6), b = part(0, 2, 9, 0, 1), c = { .vars = 2 };
	(void)state;
	iog_wants_add(&u, &a, &s);
	assert_int_equal(u.vars, 1);
	assert_int_equal(u.parts, 1);
	iog_wants_add(&u, &b, &s);
	assert_int_equal(u.box[0].lo[0], 1);
	assert_int_equal(u.box[0].hi[0], 9);
	assert_int_equal(u.box[0].lo[1], 0);
	assert_int_equal(u.box[0].hi[1], 6);
	iog_wants_add(&u, &c, &s);
	assert_int_equal(u.vars, 3);
	assert_int_equal(u.parts, 1);
	/* Once somebody wants all of it, a box does not make it less. */
	iog_wants_add(&u, &(struct iog_want){ .vars = 1 }, &s);
	iog_wants_add(&u, &a, &s);
	assert_int_equal(u.parts, 0);
	iog_wants_add(&u, NULL, &s);
	assert_int_equal(u.vars, 15);
}

static void valid(void **state)
{
	struct iog_want w = part(0, 1, 3, 4, 6);
	(void)state;
	assert_true(iog_want_valid(&w, &s));
	assert_true(iog_want_valid(&(struct iog_want){ 0 }, &s));
	w = part(0, 3, 3, 4, 6);
	assert_false(iog_want_valid(&w, &s));
	w = part(0, -1, 3, 4, 6);
	assert_false(iog_want_valid(&w, &s));
	w = part(0, 0, 3, 0, 6);
	w.box.lo[7] = 1; /* a wish nobody else's would ever lie in */
	assert_false(iog_want_valid(&w, &s));
	w = part(2, 0, 3, 0, 6); /* a number */
	assert_false(iog_want_valid(&w, &s));
	w = part(3, 0, 3, 0, 6); /* static */
	assert_false(iog_want_valid(&w, &s));
	w = part(0, 0, 3, 0, 6);
	w.vars = 2;
	assert_false(iog_want_valid(&w, &s));
	w = (struct iog_want){ .vars = 16 };
	assert_false(iog_want_valid(&w, &s));
	w = (struct iog_want){ .vars = 1, .part = UINT32_MAX };
	assert_false(iog_want_valid(&w, &s));
}

static void range(void **state)
{
	const struct iog_block whole = { .start = { 4, 0 }, .count = { 4, 8 } };
	struct iog_block b;
	(void)state;
	assert_true(iog_range_of(&(struct iog_range){ .lo = { 0, 2 }, .hi = { 5, INT64_MAX } }, &whole, 2, &b));
	assert_int_equal(b.start[0], 4);
	assert_int_equal(b.count[0], 1);
	assert_int_equal(b.start[1], 2);
	assert_int_equal(b.count[1], 6);
	assert_false(iog_range_of(&(struct iog_range){ .lo = { 0, 2 }, .hi = { 4, 3 } }, &whole, 2, &b));
	assert_int_equal(b.count[0], 0);
	assert_false(iog_range_of(&(struct iog_range){ .lo = { 8, 2 }, .hi = { 9, 3 } }, &whole, 2, &b));
	assert_int_equal(b.start[0] + b.count[0], 8); /* still within the whole */
}

static void as_one(void **state)
{
	const struct iog_want all = { 0 }, a = part(0, 1, 3, 4, 6), inside = part(0, 1, 2, 5, 6), c = { .vars = 2 };
	struct iog_wants u = { 0 };
	struct iog_want w;
	(void)state;
	iog_wants_add(&u, &a, &s);
	iog_wants_as_one(&u, &s, &w);
	assert_true(iog_want_covers(&w, &a) && iog_want_covers(&w, &inside));
	assert_false(iog_want_covers(&w, &all) || iog_want_covers(&w, &c) || iog_want_covers(&inside, &a));
	assert_false(iog_want_covers(&w, &(struct iog_want){ .vars = 1 }));
	iog_wants_add(&u, &c, &s);
	iog_wants_as_one(&u, &s, &w);
	assert_true(iog_want_covers(&w, &a) && iog_want_covers(&w, &c));
	/* Somebody who wants everything is not kept waiting for more than that. */
	iog_wants_add(&u, &all, &s);
	iog_wants_as_one(&u, &s, &w);
	assert_true(iog_want_covers(&w, &all));
	u = (struct iog_wants){ 0 };
	iog_wants_add(&u, &inside, &s);
	iog_wants_add(&u, &(struct iog_want){ .vars = 0xf }, &s);
	iog_wants_as_one(&u, &s, &w);
	assert_true(iog_want_covers(&w, &all));
}

int main(void)
{
	struct iog_err err;
	const struct CMUnitTest tests[] = { cmocka_unit_test(together), cmocka_unit_test(valid), cmocka_unit_test(range),
		cmocka_unit_test(as_one) };
	if (iog_schema_parse(&s, "T: f64[y<=20,x<=20]; U: f64[y,x]; n: f64; static m: f64[y,x]", &err))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
