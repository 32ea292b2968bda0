/* SPDX-License-Identifier: BSD-3-Clause */
/* What the engine puts in front of a worker in the guest: its arguments with guest addresses, and where the two meet when it sleeps. */
#ifndef IOG_RUNTIME_HOST_VM_GUEST_WORKER_H
#define IOG_RUNTIME_HOST_VM_GUEST_WORKER_H

#include "core/worker.h"

enum { IOG_GUEST_WORDS = IOG_PORTS + IOG_PORTS * IOG_FANOUT };

/* Written by the guest from `n_words` on; the host copies and checks. */
struct iog_guest_arg {
	struct iog_worker_args args; /* pointers are guest addresses; callbacks are the guest's own */
	void *memory;                /* for iog_worker_init */
	_Atomic uint32_t stop;
	_Alignas(64) uint32_t n_words;
	uint32_t pad;
	uint64_t limit_ns;
	struct {
		uint64_t gpa;
		uint32_t seen, pad;
	} word[IOG_GUEST_WORDS];
	struct iog_err err;
};

#endif
