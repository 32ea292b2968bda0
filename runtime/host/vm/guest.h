/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guest of a sidecore VM and its VMM agree on, and what code in the guest can ask for. A guest is one thread in user mode (ring 3)
 * without an operating system: no interrupts, no system calls, no addresses but those the VMM mapped, and those are the same numbers as
 * guest-physical addresses. Whatever else it does ends its run, and the VMM says why. A hypercall is one access to an I/O port: expensive
 * (tens of microseconds), so nothing on the data path makes one.
 */
#ifndef IOG_RUNTIME_HOST_VM_GUEST_H
#define IOG_RUNTIME_HOST_VM_GUEST_H

#include "core/base.h"

/* ---- the image ---- */

/* Where it is linked to start (guest.ld). Everything below 1 GiB belongs to the image and the VMM; what is mapped lies above. */
#define IOG_GUEST_BASE  0x100000ull
#define IOG_GUEST_LOW   0x40000000ull
#define IOG_GUEST_MAGIC 0x31474d4956474f49ull /* "IOGVIMG1" */

/* First bytes of the image (entry.S). Addresses are page-aligned but for `entry` and `data_end`, and rise in this order. */
struct iog_guest_head {
	uint64_t magic, entry;
	uint64_t ro;       /* up to here: executable, not writable; then readable */
	uint64_t rw;       /* then writable: data, then zeros */
	uint64_t data_end; /* the image file ends here or earlier */
	uint64_t rw_end;   /* then nothing, so that a stack that grows too large faults */
	uint64_t stack, stack_end;
};

/* ---- hypercalls ---- */

/* Ports, four each because accesses are 32 bits wide; out but for the clock. */
enum iog_guest_port {
	IOG_GUEST_PARK = 0x510,       /* nothing to do: sleep as the host sees fit, at most some milliseconds, and go on */
	IOG_GUEST_WAKE = 0x514,       /* somebody may sleep for what was made visible */
	IOG_GUEST_DONE = 0x518,       /* the run is over, with this result */
	IOG_GUEST_FAULT = 0x51c,      /* the guest cannot go on, for a reason of its own */
	IOG_GUEST_CLOCK = 0x520,      /* in: low half of the monotonic clock of the host in ns; keeps the high half for the next */
	IOG_GUEST_CLOCK_HIGH = 0x524, /* in */
	IOG_GUEST_TSC_KHZ = 0x528,    /* in */
	IOG_GUEST_PORTS_END = 0x52c,
};

/* Reasons of guest_fault that are used here; others are the image's. */
enum { IOG_GUEST_NO_MAIN = 1, IOG_GUEST_NO_CLOCK };

/* ---- the test guest ---- */

#define IOG_GUEST_TEST 0x5453455456474f49ull /* "IOGVTEST", first word of the argument */
enum iog_guest_test_mode {
	IOG_GT_ECHO,  /* reply = request + 1 whenever request changes; request 0 ends it */
	IOG_GT_WRITE, /* one byte at a */
	IOG_GT_READ,  /* one byte at a */
	IOG_GT_CALL,  /* calls a */
	IOG_GT_UD2,
	IOG_GT_SYSCALL,
	IOG_GT_HLT,
	IOG_GT_PORT,       /* a port that means nothing */
	IOG_GT_LOOP,       /* for ever */
	IOG_GT_STACK,      /* recursion a levels deep, some 500 bytes each */
	IOG_GT_SUM,        /* of the u64 in b bytes at a, 16 bytes at a time */
	IOG_GT_SUM512,     /* likewise with AVX-512 */
	IOG_GT_PARK,       /* a times park, then b times wake */
	IOG_GT_CLOCK,      /* result: the clock */
	IOG_GT_COUNT,      /* result: how often this image ran since it was loaded: 1 after each reset */
	IOG_GT_CALL_FAULT, /* reports reason a */
};
struct iog_guest_test {
	uint64_t magic, mode, a, b, result;
	_Alignas(128) volatile uint64_t request;
	_Alignas(128) volatile uint64_t reply;
};

#ifdef IOG_GUEST

static inline void guest_out(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "d"(port) : "memory"); }
static inline uint32_t guest_in(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "d"(port) : "memory");
	return value;
}

/* Sleeps until the host has a reason to go on, or its limit passed. */
static inline void guest_park(void) { guest_out(IOG_GUEST_PARK, 0); }
static inline void guest_wake(void) { guest_out(IOG_GUEST_WAKE, 0); }
/* The end of a run; the VMM reports rc. */
static inline _Noreturn void guest_done(int32_t rc)
{
	for (;;)
		guest_out(IOG_GUEST_DONE, (uint32_t)rc);
}
/* The end of a run that failed. */
static inline _Noreturn void guest_fault(uint32_t reason)
{
	for (;;)
		guest_out(IOG_GUEST_FAULT, reason);
}

/* CLOCK_MONOTONIC of the host, within some 20 us; never goes back. Asks the host once a second, else reads the time stamp counter. */
uint64_t guest_now_ns(void);
/* Reads one byte of every page, so that no first access is left for the data path. */
void guest_touch(uint64_t gpa, uint64_t bytes);

/* What the image does, on its own stack. Returning is guest_done(0). An image for tests may lack it. */
void iog_guest_main(uint64_t arg_gpa) __attribute__((weak));
/* The test guest: arg is mapped and starts with IOG_GUEST_TEST. Returns when a run is done. */
void guest_test(struct iog_guest_test *t);

#endif
#endif
