/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every operator of operators/all.c through the driver, one test point per case and check. An operator without a case fails, and so does
 * one whose code and table disagree. Run from the root of the tree; IOG_GOLDEN=write makes the golden files anew.
 * timeout: 600
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/iog_op.h"
#include "tests/support/op-driver.h"

static void every_operator_has_a_case(void **state)
{
	unsigned lacking = 0, n = 0;
	(void)state;
	for (const struct iog_op *const *o = iog_ops; *o; o++, n++) {
		const struct op_case *c = op_cases;
		while (c->name && !iog_streq(c->op, (*o)->name))
			c++;
		if (!c->name) {
			printf("# %s has no case in tests/support/op-cases.c\n", (*o)->name);
			lacking++;
		}
	}
	assert_int_not_equal(n, 0);
	assert_int_equal(lacking, 0);
}

/* What the contract says about a table, and that its names are good ones. */
static void tables_are_consistent(void **state)
{
	(void)state;
	for (const struct iog_op *const *o = iog_ops; *o; o++) {
		const struct iog_op *op = *o;
		unsigned first = 0;
		print_message("# %s\n", op->name);
		assert_true(iog_name_valid(op->name, false));
		assert_true(op->summary && op->summary[0] && !strchr(op->summary, '\n'));
		assert_true(op->plan && (op->run || op->segment));
		assert_true(
			op->in_min >= 1 && op->in_min <= op->in_max && op->in_max <= IOG_PORTS && op->outs >= 1 && op->outs <= IOG_PORTS);
		assert_true(op->in_max == 1 || op->flags & IOG_ZIP);
		assert_true(!op->open == !op->close);
		assert_false(op->open && op->flags & IOG_FREESTANDING);
		for (const struct iog_param *p = op->params; p->name; p++) {
			assert_true(iog_name_valid(p->name, false));
			assert_true(p->doc && p->doc[0]);
			assert_true(p->offset + p->size <= op->conf_size);
			assert_ptr_equal(iog_param_find(op->params, p->name), p);
			first += (p->flags & IOG_PF_FIRST) != 0;
		}
		assert_true(first <= 1);
		for (const struct iog_op *const *other = iog_ops; other != o; other++)
			assert_false(iog_streq(op->name, (*other)->name));
	}
}

static void cases_are_unique(void **state)
{
	(void)state;
	for (const struct op_case *c = op_cases; c->name; c++)
		assert_ptr_equal(op_case_find(c->name), c);
}

struct point {
	const struct op_case *c;
	const struct op_check *check;
};

static void check_case(void **state)
{
	const struct point *p = *state;
	struct op_setup *s = op_alloc(sizeof *s);
	struct iog_err err = { 0 };
	if (op_setup_init(s, p->c, &err)) {
		free(s);
		fail_msg("%s", err.text);
	}
	int rc = p->check->run(s, &err);
	op_setup_finish(s);
	free(s);
	if (rc < 0)
		fail_msg("%s", err.text);
	if (rc > 0) {
		print_message("# %s\n", err.text);
		skip();
	}
}

int main(void)
{
	static const struct CMUnitTest general[] = {
		cmocka_unit_test(every_operator_has_a_case),
		cmocka_unit_test(tables_are_consistent),
		cmocka_unit_test(cases_are_unique),
	};
	size_t n = 0, max = 0;
	for (const struct op_case *c = op_cases; c->name; c++)
		for (const struct op_check *k = op_checks; k->name; k++)
			max++;
	struct CMUnitTest *tests = op_alloc(max * sizeof *tests);
	struct point *points = op_alloc(max * sizeof *points);
	struct op_setup *s = op_alloc(sizeof *s);
	for (const struct op_case *c = op_cases; c->name; c++) {
		struct iog_err err = { 0 };
		/* A case that cannot be planned fails in its points. */
		bool planned = op_setup_init(s, c, &err) == 0;
		for (const struct op_check *k = op_checks; k->name; k++) {
			if (planned && k->applies && !k->applies(s))
				continue;
			char *name = op_alloc(96);
			iog_format(name, 96, "%s: %s", c->name, k->name);
			points[n] = (struct point){ c, k };
			tests[n] = (struct CMUnitTest){ .name = name, .test_func = check_case, .initial_state = &points[n] };
			n++;
		}
		if (planned)
			op_setup_finish(s);
	}
	free(s);
	int failed = cmocka_run_group_tests_name("operators", general, NULL, NULL);
	failed += _cmocka_run_group_tests("cases", tests, n, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		free((void *)(uintptr_t)tests[i].name);
	free(tests);
	free(points);
	return failed;
}
