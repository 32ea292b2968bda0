/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the VMM's probe and tests let the guest do: answer, compute, and everything that must not hurt anyone. Part of every image, so that
 * the probe tries the image that will be used. Runs on the only thread of the guest.
 */
#include "runtime/host/vm/guest.h"

typedef uint64_t v2 __attribute__((vector_size(16)));
typedef uint64_t v8 __attribute__((vector_size(64)));

static uint64_t runs;

static uint64_t sum(const void *p, uint64_t bytes)
{
	const v2 *v = p;
	v2 s = { 0 };

	for (uint64_t i = 0; i < bytes / sizeof(v2); i++)
		s += v[i];
	return s[0] + s[1];
}

__attribute__((target("avx512f"))) static uint64_t sum512(const void *p, uint64_t bytes)
{
	const v8 *v = p;
	v8 s = { 0 };
	uint64_t r = 0;

	for (uint64_t i = 0; i < bytes / sizeof(v8); i++)
		s += v[i];
	for (int i = 0; i < 8; i++)
		r += s[i];
	return r;
}

__attribute__((noinline)) static uint64_t deeper(uint64_t levels)
{
	volatile uint64_t here[64];

	if (!levels)
		return 0;
	here[0] = levels;
	return deeper(levels - 1) + here[0];
}

static void echo(struct iog_guest_test *t)
{
	uint64_t last = 0, r;

	for (;;) {
		while ((r = t->request) == last)
			__asm__ volatile("pause");
		if (!r)
			return;
		t->reply = r + 1;
		last = r;
	}
}

void guest_test(struct iog_guest_test *t)
{
	runs++;
	switch ((enum iog_guest_test_mode)t->mode) {
	case IOG_GT_ECHO: echo(t); break;
	case IOG_GT_WRITE: *(volatile uint8_t *)t->a = 1; break;
	case IOG_GT_READ: t->result = *(volatile uint8_t *)t->a; break;
	case IOG_GT_CALL: ((void (*)(void))t->a)(); break;
	case IOG_GT_UD2: __asm__ volatile("ud2"); break;
	case IOG_GT_SYSCALL: __asm__ volatile("syscall" : : "a"(39) : "rcx", "r11", "memory"); break;
	case IOG_GT_HLT: __asm__ volatile("hlt"); break;
	case IOG_GT_PORT: guest_out(0x80, 1); break;
	case IOG_GT_LOOP:
		for (;;)
			__asm__ volatile("pause");
	case IOG_GT_STACK: t->result = deeper(t->a); break;
	case IOG_GT_SUM: t->result = sum((const void *)t->a, t->b); break;
	case IOG_GT_SUM512: t->result = sum512((const void *)t->a, t->b); break;
	case IOG_GT_PARK:
		for (uint64_t i = 0; i < t->a; i++)
			guest_park();
		for (uint64_t i = 0; i < t->b; i++)
			guest_wake();
		break;
	case IOG_GT_CLOCK: t->result = guest_now_ns(); break;
	case IOG_GT_COUNT: t->result = runs; break;
	case IOG_GT_CALL_FAULT: guest_fault((uint32_t)t->a);
	}
}
