/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Baseline of attach.latency, attach.rate and others: a single-producer single-consumer ring (Lamport, 1977) whose slots hold the payload itself. One
 * word goes each way. Each side is used by one thread of one process.
 */
#include <immintrin.h>
#include <stdatomic.h>

#include "bench/base.h"

enum { PAGE = 4096 };
struct base_shm {
	_Alignas(128) _Atomic uint32_t filled;
	_Alignas(128) _Atomic uint32_t free;
	_Alignas(128) uint32_t slots; /* fixed */
	uint64_t stride;
	/* private to the producer, to the consumer */
	_Alignas(128) uint32_t sent, room;
	_Alignas(128) uint32_t taken, there;
	_Alignas(PAGE) uint8_t slot[];
};

static uint64_t stride(uint64_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

size_t base_shm_size(uint32_t slots, uint64_t bytes) { return sizeof(struct base_shm) + slots * stride(bytes); }

void base_shm_init(struct base_shm *r, uint32_t slots, uint64_t bytes)
{
	r->slots = slots, r->stride = stride(bytes);
	r->room = slots;
}

uint8_t *base_shm_begin(struct base_shm *r)
{
	while (r->sent == r->room) {
		r->room = atomic_load_explicit(&r->free, memory_order_acquire) + r->slots;
		if (r->sent == r->room)
			_mm_pause();
	}
	return r->slot + r->sent % r->slots * r->stride;
}

void base_shm_commit(struct base_shm *r) { atomic_store_explicit(&r->filled, ++r->sent, memory_order_release); }

const uint8_t *base_shm_next(struct base_shm *r)
{
	while (r->taken == r->there) {
		r->there = atomic_load_explicit(&r->filled, memory_order_acquire);
		if (r->taken == r->there)
			_mm_pause();
	}
	return r->slot + r->taken % r->slots * r->stride;
}

void base_shm_release(struct base_shm *r) { atomic_store_explicit(&r->free, ++r->taken, memory_order_release); }
