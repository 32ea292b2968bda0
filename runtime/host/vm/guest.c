/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's side of the sidecore VM: where a run starts, and the clock. Runs on the only thread of the guest.
 */
#include "runtime/host/vm/guest.h"

static struct {
	uint64_t tsc, ns; /* taken together */
	uint64_t khz;
	uint64_t last; /* returned */
} anchor;

static uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

uint64_t guest_now_ns(void)
{
	/* A khz that nobody told is asked for; a second has khz * 1000 cycles. */
	uint64_t t = tsc(), since = t - anchor.tsc, now;

	if (!anchor.khz || since > anchor.khz * 1000) {
		uint64_t low = guest_in(IOG_GUEST_CLOCK);

		since = (tsc() - t) / 2; /* asked then, answered about now - since */
		anchor.tsc = t + since;
		anchor.ns = (uint64_t)guest_in(IOG_GUEST_CLOCK_HIGH) << 32 | low;
		anchor.khz = guest_in(IOG_GUEST_TSC_KHZ);
		if (!anchor.khz)
			guest_fault(IOG_GUEST_NO_CLOCK);
		since = tsc() - anchor.tsc;
	}
	now = anchor.ns + since * 1000000 / anchor.khz;
	anchor.last = IOG_MAX(now, anchor.last);
	return anchor.last;
}

void guest_touch(uint64_t gpa, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += 4096)
		(void)*(const volatile uint8_t *)(gpa + at);
}

/* From entry.S. */
_Noreturn void guest_enter(uint64_t arg);
_Noreturn void guest_enter(uint64_t arg)
{
	if (*(const uint64_t *)arg == IOG_GUEST_TEST)
		guest_test((struct iog_guest_test *)arg);
	else if (iog_guest_main)
		iog_guest_main(arg);
	else
		guest_fault(IOG_GUEST_NO_MAIN);
	guest_done(0);
}
