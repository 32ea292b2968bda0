/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sidecore VM: it computes what the host computes, every way of going wrong ends the run with a report and nothing else, and after a
 * reset the same VM runs again. Also the guest's memcpy and family, on the host.
 */
#include "runtime/host/region.h"
#include "runtime/host/vm.h"
#include "runtime/host/vm/guest.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/iog_op.h"

/* The guest's functions under other names. */
#define memcpy  guest_memcpy
#define memmove guest_memmove
#define memset  guest_memset
#define memcmp  guest_memcmp
#include "runtime/host/vm/mem.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp

static const uint64_t MS = 1000000, S = 1000000000;
static const uint64_t TEST_GPA = 1ull << 30, DATA_GPA = (1ull << 30) + (4ull << 20), READ_GPA = (1ull << 30) + (64ull << 20);

static struct iog_vm *vm;
static struct iog_guest_test *t;
static struct iog_region_map data, input;
static atomic_uint parked, woken;
static atomic_bool hold;
static char why_not[256];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void on_park(void *ctx)
{
	struct timespec ts = { 0, 1000000 };

	assert_ptr_equal(ctx, &vm);
	parked++;
	while (hold)
		nanosleep(&ts, NULL);
}

static void on_unpark(void *ctx)
{
	(void)ctx;
	hold = false;
}

static void on_wake(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&woken, 1);
}

/* One VM for all tests, which is a test as well. */
static int set_up(void **state)
{
	struct iog_vm_opts opts = { .ctx = &vm, .park = on_park, .unpark = on_unpark, .wake = on_wake };
	struct iog_region_map reader;
	struct iog_err err = { "" };
	int rc = iog_vm_probe(why_not, sizeof(why_not));
	(void)state;

	/* No KVM, no right to it, or not the one we need: nothing to test. A VM that can be made and does not work is a failure. */
	if (rc == -ENOENT || rc == -EACCES || rc == -EPERM || rc == -ENODEV || rc == -ENOTSUP || rc == -ENOEXEC)
		return 0;
	if (rc) {
		print_error("%s\n", why_not);
		return -1;
	}
	t = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED || iog_vm_create(&vm, &opts, &err) || iog_vm_load(vm, iog_vm_image, iog_vm_image_bytes(), &err) ||
		iog_vm_map(vm, t, 4096, TEST_GPA, true, &err) || iog_region_create(&data, "iog-test", (4 << 20) + 8192, 0, &err) ||
		iog_vm_map(vm, data.map, data.bytes, DATA_GPA, true, &err))
		goto fail;
	/* An input as in real life: somebody else's region, mapped read-only here. */
	if (iog_region_create(&input, "iog-test", 1 << 20, 0, &err) || iog_region_open(&reader, dup(input.fd), 1, 1 << 30, &err) ||
		iog_vm_map(vm, reader.map, reader.bytes, READ_GPA, false, &err))
		goto fail;
	return 0;
fail:
	print_error("%s\n", err.text);
	return -1;
}

static int tear_down(void **state)
{
	(void)state;
	return iog_vm_destroy(vm);
}

static void need_vm(void)
{
	if (vm)
		return;
	print_message("# no VMs here: %s\n", why_not);
	skip();
}

static void begin(enum iog_guest_test_mode mode, uint64_t a, uint64_t b)
{
	struct iog_err err = { "" };

	memset(t, 0, sizeof(*t));
	t->magic = IOG_GUEST_TEST;
	t->mode = mode;
	t->a = a;
	t->b = b;
	if (iog_vm_start(vm, -1, TEST_GPA, &err))
		fail_msg("%s", err.text);
}

/* One run to its end, and a reset. */
static struct iog_vm_status end(void)
{
	struct iog_vm_status s;
	struct iog_err err = { "" };

	if (iog_vm_wait(vm, 10 * S)) {
		iog_vm_stop(vm, 5 * S);
		fail_msg("the run did not end");
	}
	iog_vm_status(vm, &s);
	assert_int_equal(iog_vm_reset(vm, &err), 0);
	return s;
}

static struct iog_vm_status run(enum iog_guest_test_mode mode, uint64_t a, uint64_t b)
{
	begin(mode, a, b);
	return end();
}

/* ---- what works ---- */

static void probe_says_so(void **state)
{
	(void)state;
	/* Asked before the VM was made, as programs do: it forks, and a VM has threads. */
	need_vm();
	assert_string_equal(why_not, "");
}

static void echo(void **state)
{
	struct pollfd p;
	struct iog_vm_status s;
	uint64_t until;
	(void)state;

	need_vm();
	p = (struct pollfd){ .fd = iog_vm_fd(vm), .events = POLLIN };
	begin(IOG_GT_ECHO, 0, 0);
	until = now_ns() + 100 * S; /* where others want the core, each echo takes a turn of theirs */
	for (uint64_t i = 1; i <= 1000; i++) {
		t->request = i * 3;
		while (t->reply != i * 3 + 1 && now_ns() < until)
			sched_yield();
		assert_int_equal(t->reply, i * 3 + 1);
	}
	/* No exit on the data path. */
	iog_vm_status(vm, &s);
	assert_int_equal(s.state, IOG_VM_RUNNING);
	assert_int_equal(poll(&p, 1, 0), 0);
	t->request = 0;
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(iog_vm_wait(vm, 0), 0);
	s = end();
	assert_int_equal(s.state, IOG_VM_DONE);
	assert_int_equal(s.rc, 0);
	assert_int_equal(poll(&p, 1, 0), 0);
}

static void sums_are_the_same(void **state)
{
	uint64_t expected = 0, *v;
	(void)state;

	need_vm();
	v = data.map;
	for (size_t i = 0; i < data.bytes / 8; i++)
		expected += v[i] = i * 0x9e3779b97f4a7c15ull;
	assert_int_equal(run(IOG_GT_SUM, DATA_GPA, data.bytes).state, IOG_VM_DONE);
	assert_int_equal(t->result, expected);
	if (iog_vm_isa(vm) == IOG_ISA_AVX512) {
		assert_int_equal(run(IOG_GT_SUM512, DATA_GPA, data.bytes).state, IOG_VM_DONE);
		assert_int_equal(t->result, expected);
	} else {
		print_message("# no AVX-512 in the guest\n");
	}
	((uint64_t *)input.map)[5] = 77;
	assert_int_equal(run(IOG_GT_SUM, READ_GPA, 1 << 20).state, IOG_VM_DONE);
	assert_int_equal(t->result, 77);
}

static void widest_instructions_are_the_hosts(void **state)
{
	uint32_t isa = IOG_ISA_BASE;
	(void)state;

	need_vm();
	if (__builtin_cpu_supports("avx2"))
		isa = IOG_ISA_AVX2;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl"))
		isa = IOG_ISA_AVX512;
	assert_int_equal(iog_vm_isa(vm), isa);
}

static void park_and_wake(void **state)
{
	struct iog_vm_status before, s;
	(void)state;

	need_vm();
	iog_vm_status(vm, &before);
	parked = woken = 0;
	s = run(IOG_GT_PARK, 3, 4);
	assert_int_equal(s.state, IOG_VM_DONE);
	assert_int_equal(parked, 3);
	/* The bell has a thread of its own, which may hear several rings as one. */
	for (uint64_t end = now_ns() + 5000000000; iog_vm_status(vm, &s), s.wakes - before.wakes < 4 && now_ns() < end;)
		sched_yield();
	assert_in_range(woken, 1, 4);
	assert_int_equal(s.parks - before.parks, 3);
	assert_int_equal(s.wakes - before.wakes, 4);
	assert_in_range(s.exits - before.exits, 4, 8); /* wake-ups are exits only where KVM has no ioeventfd */
}

static void clock_is_the_hosts(void **state)
{
	uint64_t t0 = now_ns();
	(void)state;

	need_vm();
	assert_int_equal(run(IOG_GT_CLOCK, 0, 0).state, IOG_VM_DONE);
	/* Half of one exit is what it can be wrong by. */
	assert_true(t->result > t0 - 5 * MS && t->result < now_ns() + 5 * MS);
}

static void pinned_where_told(void **state)
{
	struct iog_err err = { "" };
	cpu_set_t mine;
	int core = 0;
	(void)state;

	need_vm();
	assert_int_equal(sched_getaffinity(0, sizeof(mine), &mine), 0);
	while (!CPU_ISSET((size_t)core, &mine))
		core++;
	*t = (struct iog_guest_test){ .magic = IOG_GUEST_TEST, .mode = IOG_GT_COUNT };
	assert_int_equal(iog_vm_start(vm, core, TEST_GPA, &err), 0);
	assert_int_equal(end().state, IOG_VM_DONE);
	assert_true(iog_vm_start(vm, CPU_SETSIZE - 1, TEST_GPA, &err) < 0);
	assert_non_null(strstr(err.text, "core"));
	assert_int_equal(run(IOG_GT_COUNT, 0, 0).state, IOG_VM_DONE);
}

/* ---- what goes wrong ---- */

struct wrong {
	const char *name;
	enum iog_guest_test_mode mode;
	uint64_t a;
	uint64_t address; /* expected in the report, 0: none */
	const char *text;
};

static void faults_are_contained(void **state)
{
	const struct wrong wrong[] = {
		{ "write to nowhere", IOG_GT_WRITE, 0x7fff00000000ull, 0x7fff00000000ull, "0x7fff00000000" },
		{ "write to NULL", IOG_GT_WRITE, 8, 8, "0x8" },
		{ "read from nowhere", IOG_GT_READ, TEST_GPA + 8192, TEST_GPA + 8192, NULL },
		{ "write not canonical", IOG_GT_WRITE, 0x8000000000000000ull, 0, NULL },
		{ "write to an input", IOG_GT_WRITE, READ_GPA + 100, READ_GPA + 100, "wrote 1 bytes" },
		{ "write to page tables", IOG_GT_WRITE, 0x10000000, 0x10000000, NULL },
		{ "write to code", IOG_GT_WRITE, IOG_GUEST_BASE, IOG_GUEST_BASE, NULL },
		{ "execute data", IOG_GT_CALL, DATA_GPA, DATA_GPA, NULL },
		{ "stack too deep", IOG_GT_STACK, 1 << 20, 0, NULL },
		{ "ud2", IOG_GT_UD2, 0, 0, NULL },
		{ "syscall", IOG_GT_SYSCALL, 0, 0, NULL },
		{ "hlt", IOG_GT_HLT, 0, 0, NULL },
		{ "unknown port", IOG_GT_PORT, 0, 0, NULL },
		{ "gives up", IOG_GT_CALL_FAULT, 42, 0, "reason 42" },
	};
	(void)state;

	need_vm();
	memset(data.map, 0xc3, 64); /* ret, if it could be executed */
	memset(input.map, 0, 4096);
	for (size_t i = 0; i < IOG_COUNT(wrong); i++) {
		struct iog_vm_status s = run(wrong[i].mode, wrong[i].a, 0);

		if (s.state != IOG_VM_FAILED || (wrong[i].text && !strstr(s.text, wrong[i].text)) ||
			(wrong[i].address && (!s.has_address || s.address != wrong[i].address)))
			fail_msg("%s: state %d, address 0x%llx, \"%s\"", wrong[i].name, s.state, (unsigned long long)s.address, s.text);
		print_message("# %-20s %s\n", wrong[i].name, s.text);
		/* And runs again, from the start. */
		s = run(IOG_GT_COUNT, 0, 0);
		if (s.state != IOG_VM_DONE || t->result != 1)
			fail_msg("after %s: state %d, \"%s\", %llu runs", wrong[i].name, s.state, s.text, (unsigned long long)t->result);
	}
	for (size_t i = 0; i < 4096; i++)
		assert_int_equal(((char *)input.map)[i], 0);
}

static void registers_are_fresh_after_a_fault(void **state)
{
	(void)state;
	need_vm();
	if (iog_vm_isa(vm) != IOG_ISA_AVX512)
		skip();
	/* Vector state is switched on again too. */
	assert_int_equal(run(IOG_GT_UD2, 0, 0).state, IOG_VM_FAILED);
	memset(data.map, 0, data.bytes);
	((uint64_t *)data.map)[9] = 5;
	assert_int_equal(run(IOG_GT_SUM512, DATA_GPA, data.bytes).state, IOG_VM_DONE);
	assert_int_equal(t->result, 5);
}

static void an_endless_loop_can_be_stopped(void **state)
{
	struct iog_vm_status s;
	struct iog_err err = { "" };
	(void)state;

	need_vm();
	for (int i = 0; i < 20; i++) {
		begin(IOG_GT_LOOP, 0, 0);
		/* Stopping early hits the thread before it enters the guest, late within. */
		if (i % 2)
			usleep((useconds_t)i * 300);
		if (i == 1) {
			assert_int_equal(iog_vm_wait(vm, 1 * MS), -ETIMEDOUT);
			assert_int_equal(iog_vm_reset(vm, &err), -EBUSY);
			assert_int_equal(iog_vm_start(vm, -1, TEST_GPA, &err), -EBUSY);
		}
		assert_int_equal(iog_vm_stop(vm, 5 * S), 0);
		assert_int_equal(iog_vm_stop(vm, 0), 0);
		iog_vm_status(vm, &s);
		assert_int_equal(s.state, IOG_VM_STOPPED);
		/* It ran: not without a reset. */
		assert_int_equal(iog_vm_start(vm, -1, TEST_GPA, &err), -EBUSY);
		assert_int_equal(iog_vm_reset(vm, &err), 0);
	}
	assert_int_equal(run(IOG_GT_COUNT, 0, 0).state, IOG_VM_DONE);
}

static void stopping_wakes_a_park(void **state)
{
	struct iog_vm_status s;
	uint64_t until;
	(void)state;

	need_vm();
	hold = true;
	parked = 0;
	begin(IOG_GT_PARK, 1000000, 0);
	until = now_ns() + 10 * S;
	while (!parked && now_ns() < until)
		sched_yield();
	assert_int_equal(parked, 1);
	assert_int_equal(iog_vm_stop(vm, 5 * S), 0);
	s = end();
	assert_int_equal(s.state, IOG_VM_STOPPED);
}

/* ---- memory ---- */

static void mapping_is_checked(void **state)
{
	struct iog_err err = { "" };
	char *m;
	(void)state;

	need_vm();
	m = (char *)t + 4096;
	assert_int_equal(iog_vm_map(vm, m, 0, 5ull << 30, true, &err), -EINVAL);
	assert_int_equal(iog_vm_map(vm, m, 100, 5ull << 30, true, &err), -EINVAL);
	assert_int_equal(iog_vm_map(vm, m + 8, 4096, 5ull << 30, true, &err), -EINVAL);
	assert_int_equal(iog_vm_map(vm, m, 4096, (5ull << 30) + 8, true, &err), -EINVAL);
	assert_int_equal(iog_vm_map(vm, m, 4096, IOG_GUEST_LOW - 4096, true, &err), -EINVAL);
	assert_int_equal(iog_vm_map(vm, m, 4096, 1ull << 60, true, &err), -EINVAL);
	assert_int_equal(iog_vm_map(vm, m, 4096, UINT64_MAX - 4095, true, &err), -EINVAL);
	assert_int_equal(iog_vm_map(vm, m, 4096, TEST_GPA, true, &err), -EEXIST);
	assert_int_equal(iog_vm_map(vm, m, 4096, DATA_GPA + 4096, true, &err), -EEXIST);
	assert_int_equal(iog_vm_unmap(vm, DATA_GPA + 4096, &err), -ENOENT);
	assert_int_equal(iog_vm_load(vm, iog_vm_image, iog_vm_image_bytes(), &err), -EBUSY);
}

static void memory_comes_and_goes(void **state)
{
	struct iog_err err = { "" };
	const uint64_t gpa = 3ull << 30;
	uint64_t until;
	(void)state;

	need_vm();
	/* While it runs: a new input appears, one goes. */
	begin(IOG_GT_ECHO, 0, 0);
	assert_int_equal(iog_vm_map(vm, (char *)t + 4096, 4096, gpa, true, &err), 0);
	t->request = 9;
	until = now_ns() + 10 * S;
	while (t->reply != 10 && now_ns() < until)
		sched_yield();
	assert_int_equal(t->reply, 10);
	t->request = 0;
	assert_int_equal(end().state, IOG_VM_DONE);
	((uint64_t *)t)[512] = 11;
	assert_int_equal(run(IOG_GT_SUM, gpa, 4096).state, IOG_VM_DONE);
	assert_int_equal(t->result, 11);
	assert_int_equal(iog_vm_unmap(vm, gpa, &err), 0);
	assert_int_equal(run(IOG_GT_READ, gpa, 0).state, IOG_VM_FAILED);
	/* The same place, other rights, other sizes: large pages where small ones were. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(iog_vm_map(vm, data.map, i == 1 ? 2 << 20 : data.bytes, gpa, i != 1, &err), 0);
		((uint64_t *)data.map)[(2 << 17) - 1] = (uint64_t)i;
		assert_int_equal(run(IOG_GT_READ, gpa + (2 << 20) - 8, 0).state, IOG_VM_DONE);
		assert_int_equal(t->result, i);
		assert_int_equal(run(IOG_GT_WRITE, gpa + (2 << 20) - 8, 0).state, i == 1 ? IOG_VM_FAILED : IOG_VM_DONE);
		assert_int_equal(iog_vm_unmap(vm, gpa, &err), 0);
		assert_int_equal(run(IOG_GT_READ, gpa + (2 << 20) - 8, 0).state, IOG_VM_FAILED);
	}
}

static void bad_images_are_refused(void **state)
{
	struct iog_guest_head h;
	struct iog_err err = { "" };
	struct iog_vm *other;
	uint64_t *word = (uint64_t *)&h;
	(void)state;

	need_vm();
	assert_int_equal(iog_vm_create(&other, NULL, &err), 0);
	assert_int_equal(iog_vm_start(other, -1, TEST_GPA, &err), -ENOEXEC);
	assert_int_equal(iog_vm_load(other, &h, 0, &err), -ENOEXEC);
	/* Each word of the header, too small and too large. */
	for (size_t i = 0; i < sizeof(h) / 8; i++)
		for (int large = 0; large < 2; large++) {
			memcpy(&h, iog_vm_image, sizeof(h));
			word[i] = large ? UINT64_MAX - 4095 : 4096;
			assert_int_equal(iog_vm_load(other, &h, sizeof(h), &err), -ENOEXEC);
		}
	assert_int_equal(iog_vm_destroy(other), 0);
	assert_int_equal(iog_vm_destroy(NULL), 0);
}

/* ---- the guest's memory functions ---- */

static void memory_functions(void **state)
{
	static uint8_t a[4096], b[4096], c[4096];
	static const size_t sizes[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 66, 95, 96, 97, 98, 127, 128,
		129, 255, 500, 1023, 1024, 1025, 1500, 2048 };
	(void)state;

	for (size_t i = 0; i < sizeof(a); i++)
		a[i] = (uint8_t)(i * 131 >> 3 ^ i);
	for (size_t k = 0; k < IOG_COUNT(sizes); k++) {
		size_t n = sizes[k];

		for (size_t off = 0; off < 20; off += 3) {
			memset(b, 0x55, sizeof(b));
			memset(c, 0x55, sizeof(c));
			assert_ptr_equal(guest_memcpy(b + off, a + 2 * off, n), b + off);
			memcpy(c + off, a + 2 * off, n);
			assert_memory_equal(b, c, sizeof(b));
			assert_ptr_equal(guest_memset(b + off + 1, 0x1ab, n), b + off + 1);
			memset(c + off + 1, 0xab, n);
			assert_memory_equal(b, c, sizeof(b));
		}
		/* Overlaps, both ways, near and far. */
		for (size_t d = 0; d < 150; d += d < 40 ? 1 : 13)
			for (int up = 0; up < 2; up++) {
				memcpy(b, a, sizeof(b));
				memcpy(c, a, sizeof(c));
				guest_memmove(b + (up ? d : 0), b + (up ? 0 : d), n);
				memmove(c + (up ? d : 0), c + (up ? 0 : d), n);
				assert_memory_equal(b, c, sizeof(b));
			}
		assert_int_equal(guest_memcmp(a, a, n), 0);
		for (size_t i = 0; i < n; i += 1 + n / 40) {
			memcpy(b, a, sizeof(b));
			b[i]++;
			if (i + 1 < n)
				b[i + 1] = (uint8_t)(a[i + 1] - 100); /* a later byte does not decide */
			assert_true((guest_memcmp(a, b, n) < 0) == (memcmp(a, b, n) < 0));
			assert_true((guest_memcmp(b, a, n) < 0) == (memcmp(b, a, n) < 0));
			assert_true(guest_memcmp(a, b, n) != 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_functions),
		cmocka_unit_test(probe_says_so),
		cmocka_unit_test(echo),
		cmocka_unit_test(sums_are_the_same),
		cmocka_unit_test(widest_instructions_are_the_hosts),
		cmocka_unit_test(park_and_wake),
		cmocka_unit_test(clock_is_the_hosts),
		cmocka_unit_test(pinned_where_told),
		cmocka_unit_test(faults_are_contained),
		cmocka_unit_test(registers_are_fresh_after_a_fault),
		cmocka_unit_test(an_endless_loop_can_be_stopped),
		cmocka_unit_test(stopping_wakes_a_park),
		cmocka_unit_test(mapping_is_checked),
		cmocka_unit_test(memory_comes_and_goes),
		cmocka_unit_test(bad_images_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
