/* SPDX-License-Identifier: BSD-3-Clause */
/* A clock for every step; see ticker.h. */
#include "ticker.h"

#include <fcntl.h>
#include <unistd.h>

#include "wait.h"

static const uint64_t SPAN_NS = 1000000, LONGEST_NS = 1000000000;
static const uint64_t LEAST = 1ull << 28, MOST = 1ull << 36; /* ns per tick of a counter of 16 GHz, of 60 MHz */
enum { APART = 1000 }; /* ticks that two readings with one of the clock between them may be apart: 60 to 100 are usual */

void iog_ticker_init(struct iog_ticker *t)
{
	char name[5] = "";
	const int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
	*t = (struct iog_ticker){ .ticks = fd >= 0 && read(fd, name, 4) == 4 && iog_streq(name, "tsc\n") };
	if (fd >= 0)
		close(fd);
}

/* Both at the same moment; false: something came between. */
static bool moment(uint64_t *tick, uint64_t *ns)
{
	uint64_t until;
	for (unsigned tries = 0; tries < 3; tries++) {
		*tick = __builtin_ia32_rdtsc();
		*ns = iog_now_ns();
		until = __builtin_ia32_rdtsc();
		if (until - *tick < APART)
			return true;
	}
	return false;
}

/* The rate is that of the time since the last look: what changes it, a virtual machine that moves for one, is forgotten soon. */
uint64_t iog_ticker_look(struct iog_ticker *t)
{
	uint64_t tick, ns;
	if (!t->ticks)
		return iog_now_ns();
	const bool near = moment(&tick, &ns);
	const uint64_t past = ns - t->ns;
	if (!t->span && near && past < SPAN_NS && tick > t->tick) /* too soon after the first look for a rate */
		return ns;
	const bool sound = near && tick > t->tick && past >= SPAN_NS / 2 && past < LONGEST_NS;
	t->rate = sound ? (past << 32) / (tick - t->tick) : 0;
	if (t->rate < LEAST || t->rate > MOST)
		t->rate = 0;
	t->span = t->rate ? (SPAN_NS << 32) / t->rate : 0;
	t->tick = tick;
	t->ns = near ? ns : 0;
	return ns;
}
