/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Policy "spill": a sink that does not move beside one that takes everything. The source goes on, all records come in their order and unchanged; the file
 * is bounded, and when it, or the disk, is full the source waits; a stop gives up what is behind, and says so; what was changed in the file is noticed.
 * With IOG_COST=1 in the environment it measures what a record costs either thread instead.
 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/endpoint.h"
#include "runtime/host/engine.h"
#include "runtime/host/spill.h"
#include "runtime/host/wait.h"

enum { STEPS = 1000, LIMIT_S = 60 };

/* ---- two sinks that keep what they see; one of them waits at a gate ---- */

struct seen {
	_Atomic uint32_t n;
	int64_t step[STEPS];
	uint64_t sum[STEPS];
	bool gated;
};
static struct seen quick, slow;
static _Atomic uint32_t gate; /* how many the slow one may have */

static int open_quick(const void *c, const struct iog_schema *in, void **self, struct iog_err *err)
{
	(void)c, (void)in, (void)err;
	*self = &quick;
	return 0;
}
static int open_slow(const void *c, const struct iog_schema *in, void **self, struct iog_err *err)
{
	(void)c, (void)in, (void)err;
	*self = &slow;
	return 0;
}
static uint64_t sum_of(const struct iog_record *r)
{
	uint64_t sum = 0;
	for (uint32_t v = 0; v < r->schema->n_vars; v++)
		for (uint32_t k = 0; k < r->var[v].n_blocks; k++) {
			const struct iog_block *b = &r->var[v].block[k];
			const unsigned rank = r->schema->var[v].rank;
			const uint64_t bytes = (uint64_t)iog_block_elems(b, rank) * iog_dtype_size(r->schema->var[v].dtype);
			assert_true(iog_block_dense(b, rank, iog_dtype_size(r->schema->var[v].dtype)));
			sum = iog_hash(b->data, bytes, sum + v);
		}
	return sum;
}
static enum iog_step write_seen(void *self, const struct iog_record *r, struct iog_err *err)
{
	struct seen *s = self;
	(void)err;
	for (int i = 0; s->gated && s->n >= atomic_load(&gate) && i < LIMIT_S * 1000; i++)
		usleep(1000);
	if (s->n < STEPS) {
		s->step[s->n] = r->step;
		s->sum[s->n] = sum_of(r);
	}
	s->n++;
	return IOG_OK;
}
static int close_seen(void *self, struct iog_err *err)
{
	(void)self, (void)err;
	return 0;
}
static const struct iog_sink quick_sink = { .name = "quick", .summary = "", .open = open_quick, .write = write_seen, .close = close_seen };
static const struct iog_sink slow_sink = { .name = "slow", .summary = "", .open = open_slow, .write = write_seen, .close = close_seen };

/* ---- runs ---- */

struct run {
	struct iog_graph *g;
	struct iog_cut cut;
	struct iog_engine *e;
	int slow;
};

static void option(struct run *r, const char *name, const char *value)
{
	assert_true(iog_graph_option(r->g, r->slow, name, &(struct iog_value){ .kind = IOG_V_STRING, .s = value }));
}

static int sink_of(struct run *r, int from, const struct iog_sink *s)
{
	const struct iog_gnode_end end = { .what = s, .name = s->name };
	int n = iog_graph_end(r->g, IOG_G_SINK, &end);
	iog_graph_link(r->g, from, 0, n);
	return n;
}

static void begin(struct run *r)
{
	const struct iog_source *const *s = iog_sources;
	memset(r, 0, sizeof *r);
	memset(&quick, 0, sizeof quick);
	memset(&slow, 0, sizeof slow);
	atomic_store(&gate, 0);
	slow.gated = true;
	while (strcmp((*s)->name, "synthetic"))
		s++;
	r->g = iog_graph_new();
	struct iog_gnode_end end = {
		.what = *s, .name = (*s)->name, .params = (*s)->params, .conf_size = (*s)->conf_size, .describe = (*s)->describe
	};
	int source = iog_graph_end(r->g, IOG_G_SOURCE, &end);
	iog_graph_set(r->g, source, "atoms", &(struct iog_value){ .kind = IOG_V_NUMBER, .n = 500, .integer = true }, NULL);
	iog_graph_set(r->g, source, "steps", &(struct iog_value){ .kind = IOG_V_NUMBER, .n = STEPS, .integer = true }, NULL);
	sink_of(r, source, &quick_sink);
	r->slow = sink_of(r, source, &slow_sink);
	option(r, "policy", "spill");
}

static void start(struct run *r)
{
	struct iog_engine_opts o = { 0 };
	struct iog_err err = { "" };
	assert_int_equal(iog_graph_check(r->g), 0);
	assert_int_equal(iog_graph_cut(r->g, true, IOG_T_HOST, &r->cut), 0);
	assert_int_equal(iog_engine_new(&r->e, r->g, &r->cut, &o, &err), 0);
	if (iog_engine_start(r->e, &err))
		fail_msg("%s", err.text);
}

static struct iog_unit_stats stats_of_slow(const struct run *r)
{
	struct iog_unit_stats s[8];
	uint32_t n = iog_engine_unit_stats(r->e, s, 8), i = 0;
	while (i < n && strcmp(s[i].name, "slow"))
		i++;
	assert_true(i < n);
	return s[i];
}

/* Until the quick sink has seen that many, or, with 0, all has ended. */
static void poll_until(struct run *r, uint32_t n)
{
	for (int i = 0; i < LIMIT_S * 100; i++) {
		const bool ended = iog_engine_poll(r->e, 0.01);
		const char *note = stats_of_slow(r).note; /* at any time: none, or a whole one */
		assert_true(!note[0] || strstr(note, "KiB"));
		if (ended || (n && quick.n >= n))
			return;
	}
	fail_msg("nothing moves: %u records here, %u there", quick.n, slow.n);
}

static void finish(struct run *r)
{
	assert_int_equal(iog_engine_free(r->e), 0);
	iog_cut_free(&r->cut);
	iog_graph_free(r->g);
}

static void all_in_order(void)
{
	assert_int_equal(quick.n, STEPS);
	assert_int_equal(slow.n, STEPS);
	for (int i = 0; i < STEPS; i++) {
		assert_int_equal(slow.step[i], i);
		assert_int_equal(slow.sum[i], quick.sum[i]);
	}
}

/* ---- tests ---- */

static void the_source_goes_on(void **state)
{
	struct run r;
	struct iog_err err;
	(void)state;
	begin(&r);
	start(&r);
	/* The other sink gets all while this one has not taken the first. */
	poll_until(&r, STEPS);
	assert_int_equal(quick.n, STEPS);
	assert_int_equal(slow.n, 0);
	atomic_store(&gate, UINT32_MAX);
	poll_until(&r, 0);
	assert_int_equal(iog_engine_result(r.e, &err), 0);
	all_in_order();
	const char *note = stats_of_slow(&r).note;
	assert_non_null(strstr(note, "records went through a file"));
	assert_null(strstr(note, "wait"));
	finish(&r);
}

/* Until the source cannot go on, whatever it waits for: it must not have ended. */
static void poll_full(struct run *r)
{
	for (uint32_t before = 0, same = 0; same < 4; before = quick.n) {
		assert_false(iog_engine_poll(r->e, 0.2));
		same = quick.n && quick.n == before ? same + 1 : 0;
	}
	assert_true(quick.n < STEPS);
}

static void runs_full(struct run *r, const char *why, uint64_t most_kib)
{
	struct iog_err err;
	start(r);
	poll_full(r);
	atomic_store(&gate, UINT32_MAX);
	poll_until(r, 0);
	assert_int_equal(iog_engine_result(r->e, &err), 0);
	all_in_order();
	const char *note = stats_of_slow(r).note, *at = strstr(note, "at most ");
	if (!strstr(note, why))
		fail_msg("\"%s\" does not say %s", note, why);
	assert_non_null(at);
	assert_in_range(strtoull(at + 8, NULL, 10), 1, most_kib);
	finish(r);
}

static void a_bound_makes_the_source_wait(void **state)
{
	struct run r;
	(void)state;
	begin(&r);
	option(&r, "spill_bytes", "1MiB");
	runs_full(&r, "had to wait: its bound of 1 MiB was reached", 1024);
}

static void a_full_disk_makes_the_source_wait(void **state)
{
	struct run r;
	char dir[] = "/tmp/iog-spill-test-XXXXXX";
	(void)state;
	assert_non_null(mkdtemp(dir));
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("tmpfs", dir, "tmpfs", 0, "size=1m")) {
		print_message("a small file system cannot be mounted here: %s\n", strerror(errno));
		rmdir(dir);
		skip();
	}
	begin(&r);
	option(&r, "spill_dir", dir);
	runs_full(&r, "had to wait: the disk: No space left", 1024);
	umount(dir);
	rmdir(dir);
}

static void a_stop_gives_up_and_says_so(void **state)
{
	struct run r;
	struct iog_err err;
	(void)state;
	begin(&r);
	start(&r);
	poll_until(&r, STEPS);
	iog_engine_stop(r.e);
	/* One by one, until its thread has seen that. */
	while (!iog_engine_poll(r.e, 0.1) && gate < STEPS)
		atomic_fetch_add(&gate, 1);
	poll_until(&r, 0);
	assert_true(iog_engine_result(r.e, &err) < 0);
	assert_non_null(strstr(err.text, "were given up"));
	assert_true(slow.n < STEPS);
	finish(&r);
}

/* The file has no name; it is found among what this process has open. */
static int spill_fd(void)
{
	DIR *d = opendir("/proc/self/fd");
	int fd = -1;
	for (struct dirent *e; (e = readdir(d)) && fd < 0;) {
		char link[64], to[256] = "";
		snprintf(link, sizeof link, "/proc/self/fd/%.20s", e->d_name);
		if (readlink(link, to, sizeof to - 1) > 0 && strstr(to, "iog-spill-"))
			fd = atoi(e->d_name);
	}
	closedir(d);
	assert_true(fd >= 0);
	return fd;
}

static void a_changed_file_is_noticed(void **state)
{
	static const char garbage[4096] = "not what was written";
	struct run r;
	struct iog_err err;
	(void)state;
	begin(&r);
	option(&r, "spill_bytes", "1MiB"); /* so that some come after that */
	start(&r);
	poll_full(&r);
	assert_int_equal(pwrite(spill_fd(), garbage, sizeof garbage, 200000), sizeof garbage);
	atomic_store(&gate, UINT32_MAX);
	poll_until(&r, 0);
	assert_true(iog_engine_result(r.e, &err) < 0);
	assert_true(slow.n > 0 && slow.n < STEPS);
	const struct iog_unit_stats s = stats_of_slow(&r);
	assert_int_equal(s.bad, 0); /* all were sound when they came */
	assert_int_equal(s.in_records, slow.n);
	assert_int_equal(s.failed, STEPS - slow.n);
	for (uint32_t i = 0; i < slow.n; i++)
		assert_int_equal(slow.sum[i], quick.sum[i]);
	finish(&r);
}

static void a_folder_must_be_there(void **state)
{
	struct run r;
	struct iog_engine_opts o = { 0 };
	struct iog_err err = { "" };
	(void)state;
	begin(&r);
	option(&r, "spill_dir", "/nowhere/at/all");
	assert_int_equal(iog_graph_check(r.g), 0);
	assert_int_equal(iog_graph_cut(r.g, true, IOG_T_HOST, &r.cut), 0);
	assert_int_equal(iog_engine_new(&r.e, r.g, &r.cut, &o, &err), 0);
	assert_true(iog_engine_start(r.e, &err) < 0);
	assert_non_null(strstr(err.text, "/nowhere/at/all: No such file"));
	finish(&r);
}

/* ---- the queue by itself, with records of a few hundred bytes ---- */

enum { COST_SLOTS = 1024, COST_FILE = 20000, ROUNDS = 15, SMALL = 512 };
static _Alignas(IOG_ALIGN) uint8_t small_slot[2][SMALL];
static struct iog_schema small_schema;
static _Atomic uint32_t let, stored; /* how many may be stored, and are */
static uint64_t first_ns, slots_ns, last_ns;

static void store_small(void *in_order, const struct iog_record *r, uint64_t bytes)
{
	const uint32_t n = atomic_load(&stored);
	(void)bytes;
	if (in_order)
		assert_int_equal(r->id.seq, n);
	for (int i = 0; atomic_load(&let) <= n && i < LIMIT_S * 10000; i++)
		usleep(100);
	if (!n)
		first_ns = iog_now_ns();
	if (n == COST_SLOTS)
		slots_ns = iog_now_ns();
	if (n == COST_SLOTS + COST_FILE - 1)
		last_ns = iog_now_ns();
	atomic_store(&stored, n + 1);
}
static void never_lost(void *ctx, const struct iog_err *err)
{
	(void)ctx;
	fail_msg("lost: %s", err ? err->text : "a slot");
}

static struct iog_spill *small_new(uint32_t slots, bool *in_order)
{
	const struct iog_spill_opts o = { .dir = "",
		.bytes = 1 << 30,
		.slots = slots,
		.schema = &small_schema,
		.max_blocks = 4,
		.store = store_small,
		.lost = never_lost,
		.ctx = in_order };
	struct iog_spill *s;
	struct iog_err err = { "" };
	atomic_store(&let, 0);
	atomic_store(&stored, 0);
	assert_int_equal(iog_schema_parse(&small_schema, "energy: f64[n<=24]", &err), 0);
	if (iog_spill_new(&s, &o, &err))
		fail_msg("%s", err.text);
	return s;
}

static struct iog_desc small_record(uint32_t slot, uint64_t seq)
{
	static struct iog_record rec;
	static double value[24];
	const int64_t n = 1 + (int64_t)(seq * 7 % 24);
	struct iog_block block = { .data = (uint8_t *)value, .count = { n }, .stride = { sizeof value[0] } };
	rec.schema = &small_schema, rec.writers = 1;
	rec.id = (struct iog_id){ .stream = small_schema.id, .seq = seq };
	rec.axis[0].extent = n;
	rec.var[0] = (struct iog_var){ .block = &block, .n_blocks = 1 };
	const int64_t length = iog_wire_put(small_slot[slot], SMALL, SMALL / 2, 0, &rec, NULL, 0, NULL);
	assert_true(length > 0);
	return (struct iog_desc){ .seq = seq, .slot = slot, .length = (uint64_t)length };
}

static enum iog_spilled small_put(struct iog_spill *s, const struct iog_desc *d)
{
	const struct iog_worker_in in = {
		.n_slots = 2, .slot_bytes = SMALL, .region = { { small_slot[0], sizeof small_slot, 0, 0 } }, .n_regions = 1
	};
	return iog_spill_put(s, &in, d, 0);
}

static void small_end(struct iog_spill *s)
{
	static const _Atomic bool no;
	struct iog_spill_stats stats;
	uint64_t cpu;
	uint32_t slot, gen, life;
	atomic_store(&let, UINT32_MAX);
	assert_int_equal(iog_spill_end(s, &no, &stats, &cpu), 0);
	while (iog_spill_done(s, &slot, &gen, &life))
		;
	iog_spill_free(s);
}

/* More and more of them, while those at the front are stored. */
static void a_long_file_keeps_its_order(void **state)
{
	bool in_order = true;
	struct iog_spill *s = small_new(1, &in_order);
	uint32_t put = 0;
	(void)state;
	for (uint32_t more = 40; more < 3000; more *= 2) {
		for (uint32_t i = 0; i < more; i++, put++) {
			const struct iog_desc d = small_record(put != 0, put);
			assert_int_equal(small_put(s, &d), put ? IOG_SPILL_COPIED : IOG_SPILL_HELD);
		}
		atomic_fetch_add(&let, more / 2);
		for (int i = 0; atomic_load(&stored) < let && i < LIMIT_S * 10000; i++)
			usleep(100);
		assert_int_equal(stored, let);
	}
	small_end(s);
	assert_int_equal(stored, put);
}

/* IOG_COST=1: what a record costs either thread, when nobody sleeps. Medians of rounds. */
static int ascending(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void cost_round(uint64_t ns[4])
{
	struct iog_spill *s = small_new(COST_SLOTS, NULL);
	const struct iog_desc d = small_record(0, 0);
	const uint64_t t0 = iog_now_ns();
	for (int i = 0; i < COST_SLOTS; i++)
		assert_int_equal(small_put(s, &d), IOG_SPILL_HELD);
	const uint64_t t1 = iog_now_ns();
	for (int i = 0; i < COST_FILE; i++)
		assert_int_equal(small_put(s, &d), IOG_SPILL_COPIED);
	const uint64_t t2 = iog_now_ns();
	small_end(s);
	ns[0] = (t1 - t0) / COST_SLOTS, ns[1] = (t2 - t1) / COST_FILE;
	ns[2] = (slots_ns - first_ns) / COST_SLOTS, ns[3] = (last_ns - slots_ns) / COST_FILE;
}

static int cost(void)
{
	static const char *const what[] = { "put in, to a slot", "put in, to the file", "stored, from a slot", "stored, from the file" };
	static uint64_t all[4][ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t ns[4];
		cost_round(ns);
		for (int k = 0; k < 4; k++)
			all[k][i] = ns[k];
	}
	for (int k = 0; k < 4; k++) {
		qsort(all[k], ROUNDS, sizeof all[k][0], ascending);
		printf("%-22s %6llu ns\n", what[k], (unsigned long long)all[k][ROUNDS / 2]);
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_source_goes_on), cmocka_unit_test(a_bound_makes_the_source_wait),
		cmocka_unit_test(a_stop_gives_up_and_says_so), cmocka_unit_test(a_changed_file_is_noticed),
		cmocka_unit_test(a_folder_must_be_there), cmocka_unit_test(a_long_file_keeps_its_order),
		cmocka_unit_test(a_full_disk_makes_the_source_wait), /* last: it has its own mounts from then on */
	};
	return getenv("IOG_COST") ? cost() : cmocka_run_group_tests_name("spill", tests, NULL, NULL);
}
