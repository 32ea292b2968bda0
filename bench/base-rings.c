/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Baseline of edge.hop1 and edge.hop32: two single-producer single-consumer rings (Lamport, "Proving the correctness of multiprocess
 * programs", 1977). 64 bytes are copied in and out of the one, the number of the buffer comes back through the other. The producer looks
 * at its credit and publishes once per batch, the consumer likewise. No identity, no checks, no sleeping. Memory is zeroed at the start.
 */
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>

#include "bench/base.h"

struct message {
	uint64_t number, rest[7];
};
struct base_rings {
	_Alignas(128) _Atomic uint32_t down_head;
	_Alignas(128) struct message down[BASE_RING];
	_Alignas(128) _Atomic uint32_t up_head;
	_Alignas(128) uint64_t up[BASE_RING];
	/* private to the producer, to the consumer; they live across calls */
	_Alignas(128) uint32_t sent, back, n_free, started;
	uint64_t free_buffer[BASE_RING];
	struct message out;
	_Alignas(128) uint32_t taken;
	struct message in;
};

size_t base_rings_size(void) { return sizeof(struct base_rings); }

static void reap(struct base_rings *r)
{
	uint32_t head = atomic_load_explicit(&r->up_head, memory_order_acquire);
	for (; r->back != head; r->back++)
		r->free_buffer[r->n_free++] = r->up[r->back % BASE_RING];
}

void base_rings_send(struct base_rings *r, uint64_t n, uint32_t batch)
{
	if (!r->started)
		for (r->started = 1; r->n_free < BASE_RING; r->n_free++)
			r->free_buffer[r->n_free] = r->n_free;
	while (n) {
		reap(r);
		uint32_t k = batch < n ? batch : (uint32_t)n;
		if (k > r->n_free)
			k = r->n_free;
		if (!k) {
			_mm_pause();
			continue;
		}
		for (uint32_t i = 0; i < k; i++, r->sent++) {
			r->out.number = r->free_buffer[--r->n_free];
			r->out.rest[0]++;
			memcpy(&r->down[r->sent % BASE_RING], &r->out, sizeof r->out);
		}
		atomic_store_explicit(&r->down_head, r->sent, memory_order_release);
		n -= k;
	}
	while (r->n_free < BASE_RING) {
		_mm_pause();
		reap(r);
	}
}

void base_rings_receive(struct base_rings *r, uint64_t n, uint32_t batch)
{
	while (n) {
		uint32_t head = atomic_load_explicit(&r->down_head, memory_order_acquire), k = head - r->taken;
		if (!k) {
			_mm_pause();
			continue;
		}
		if (k > batch)
			k = batch;
		for (uint32_t i = 0; i < k; i++, r->taken++) {
			memcpy(&r->in, &r->down[r->taken % BASE_RING], sizeof r->in);
			__asm__ volatile("" ::"r"(&r->in) : "memory");
			r->up[r->taken % BASE_RING] = r->in.number;
		}
		atomic_store_explicit(&r->up_head, r->taken, memory_order_release);
		n -= k;
	}
}
