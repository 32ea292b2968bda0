/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots in a file: what is kept, what is not taken, and what may not be there. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "core/worker.h"
#include "runtime/host/engine-parts.h"

enum { BYTES = 10000 };
static char dir[64], path[128];

static int dir_new(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/iog-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/snap", dir);
	return 0;
}
static int dir_free(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

/* Opens, says whether something was kept, and writes a mark. */
static bool opened(uint64_t bytes, uint64_t key, uint8_t *was)
{
	struct iog_region_map r;
	struct iog_err err = { "" };
	bool kept;
	assert_int_equal(iog_snapshots_open(&r, path, bytes, key, &kept, &err), 0);
	assert_true(r.bytes >= bytes && r.writable);
	struct iog_snapshots *s = r.map;
	uint8_t *state = (uint8_t *)r.map + sizeof *s;
	*was = state[0];
	state[0] = 7;
	atomic_store(&s->base, 1);
	iog_region_close(&r);
	return kept;
}

static void what_is_kept(void **state)
{
	(void)state;
	uint8_t was;
	assert_false(opened(BYTES, 1, &was));
	assert_int_equal(was, 0);
	assert_true(opened(BYTES, 1, &was));
	assert_int_equal(was, 7);
	assert_false(opened(BYTES, 2, &was)); /* of another graph */
	assert_int_equal(was, 0);
	assert_false(opened(3 * BYTES, 2, &was)); /* of another size */
	assert_int_equal(was, 0);
	assert_true(opened(3 * BYTES, 2, &was));
}

static void what_is_damaged(void **state)
{
	(void)state;
	uint8_t was;
	struct stat st;
	opened(BYTES, 1, &was);
	assert_int_equal(stat(path, &st), 0);
	/* A base that is none; a mark that is cut off. */
	int fd = open(path, O_WRONLY);
	const uint32_t base = 3;
	assert_int_equal(pwrite(fd, &base, sizeof base, 0), sizeof base);
	assert_false(opened(BYTES, 1, &was));
	assert_int_equal(was, 0);
	assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
	assert_false(opened(BYTES, 1, &was));
	assert_int_equal(ftruncate(fd, st.st_size / 2), 0);
	assert_int_equal(ftruncate(fd, st.st_size), 0);
	assert_false(opened(BYTES, 1, &was));
	close(fd);
}

static void what_may_not_be_there(void **state)
{
	(void)state;
	struct iog_region_map r;
	struct iog_err err = { "" };
	bool kept;
	char other[160];
	uint8_t was;
	snprintf(other, sizeof other, "%s/other", dir);
	assert_int_equal(symlink(other, path), 0);
	assert_true(iog_snapshots_open(&r, path, BYTES, 1, &kept, &err) < 0);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(iog_snapshots_open(&r, path, BYTES, 1, &kept, &err) < 0);
	unlink(path);
	opened(BYTES, 1, &was);
	assert_int_equal(link(path, other), 0); /* somebody else has it, too */
	assert_int_equal(iog_snapshots_open(&r, path, BYTES, 1, &kept, &err), -EPERM);
	unlink(other);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(iog_snapshots_open(&r, path, BYTES, 1, &kept, &err), -EPERM);
	assert_non_null(strstr(err.text, path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_kept, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(what_is_damaged, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(what_may_not_be_there, dir_new, dir_free),
	};
	return cmocka_run_group_tests_name("snapshots", tests, NULL, NULL);
}
