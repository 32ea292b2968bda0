/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Steps collected from programs that are not trusted: two writers whose rings, mailboxes and arenas hold what the input says. What iog_collect_next
 * gives out lies in memory that is there, within the declared maxima, and may be read, put together and released whatever changes meanwhile.
 *
 * Input: a byte of options (bit 0-1: pairing; bit 2: mailboxes; bit 3: a thread goes on writing over everything; bit 4: steps are
 * kept), then operations of three bytes or more: what, for whom, an argument. Records that pass are written by a real outlet, so the fuzzer need not find
 * them.
 */
#include <pthread.h>
#include <stdlib.h>

#include "runtime/host/collect.h"
#include "runtime/host/wait.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(x)                                                                                                                         \
	do {                                                                                                                               \
		if (!(x))                                                                                                                  \
			abort();                                                                                                           \
	} while (0)

enum { WRITERS = 2, LIVES = 3, CAPACITY = 4, SLOTS = 6, SLOT = 2048, STATICS = 128, OPS = 400, ELEMENTS = 4 * 6 + 16 + 4 + 1 };

/* One life of a writer: its edge and arena, in blocks of exactly their size. */
struct life {
	struct iog_edge edge;
	struct iog_outlet o;
	void *memory;
	uint8_t *arena;
};
static struct {
	struct iog_schema schema;
	struct life life[WRITERS][LIVES];
	uint32_t lives[WRITERS];
	bool keeps;
	struct iog_collect *c;
	struct iog_record *held[IOG_COLLECT_HELD];
	int64_t step[WRITERS];
	bool latest;
} t;

/* ---- the thread that writes over everything ---- */

static pthread_mutex_t race = PTHREAD_MUTEX_INITIALIZER; /* held by whom t belongs to, unless it lets the racer */
static _Atomic bool racing;

static void *racer(void *arg)
{
	uint64_t x = 88172645463325252u;
	(void)arg;
	for (;;) {
		pthread_mutex_lock(&race);
		while (atomic_load(&racing))
			for (unsigned w = 0; w < WRITERS; w++) {
				struct life *l = &t.life[w][0];
				x ^= x << 13, x ^= x >> 7, x ^= x << 17;
				volatile uint8_t *to = x & 1 ? l->arena + STATICS : (uint8_t *)l->edge.down->ring;
				to[(x >> 8) % (x & 1 ? SLOTS * SLOT : CAPACITY * sizeof(struct iog_desc))] ^= (uint8_t)(x >> 40);
			}
		pthread_mutex_unlock(&race);
		iog_wait_words(NULL, 0, 100000);
	}
	return NULL;
}

/* ---- writers ---- */

static void *zeroed(uint64_t bytes)
{
	void *p = aligned_alloc(IOG_LINE, IOG_ROUND_UP(bytes, IOG_LINE));
	REQUIRE(p);
	return memset(p, 0, IOG_ROUND_UP(bytes, IOG_LINE));
}

static void begin_life(unsigned w)
{
	struct life *l = &t.life[w][t.lives[w]++];
	struct iog_arena a = { .static_bytes = STATICS, .slot_bytes = SLOT, .n_slots = SLOTS, .id = w };
	l->edge = (struct iog_edge){ .down = zeroed(iog_down_bytes(CAPACITY)),
		.up = zeroed(iog_up_bytes(CAPACITY)),
		.box = t.latest ? zeroed(sizeof(struct iog_mailbox)) : NULL,
		.capacity = CAPACITY,
		.policy = t.latest ? IOG_LATEST : IOG_DROP_NEW };
	a.base = l->arena = zeroed(STATICS + SLOTS * SLOT);
	l->memory = zeroed(iog_outlet_memory(SLOTS));
	iog_outlet_init(&l->o, &a, l->memory);
	REQUIRE(iog_outlet_add(&l->o, &l->edge) == 0);
	struct iog_worker_in in = { .edge = l->edge, .n_slots = SLOTS, .slot_bytes = SLOT, .n_regions = 1 };
	in.region[0] = (struct iog_region){ .base = a.base, .size = iog_arena_bytes(&a), .arena = w };
	REQUIRE(!iog_collect_attach(t.c, w, &in, t.lives[w] > 2, NULL));
}

static void end_life(struct life *l)
{
	free(l->edge.down);
	free(l->edge.up);
	free(l->edge.box);
	free(l->arena);
	free(l->memory);
}

/* A step as a program commits it, of half of T each. */
static void commit(unsigned w, uint8_t how)
{
	static uint8_t values[4096];
	struct iog_outlet *o = &t.life[w][t.lives[w] - 1].o;
	struct iog_block b[4] = { { .data = values, .start = { 2 * w }, .count = { 2, 6 }, .stride = { 48, 8 } }, { .data = values },
		{ .data = values, .count = { how % 17 }, .stride = { 2 } }, { .data = values, .count = { 4 }, .stride = { 1 } } };
	struct iog_record r = { .schema = &t.schema, .writers = WRITERS, .step = t.step[w] };
	uint32_t viewed, let_go[SLOTS];
	r.id = (struct iog_id){ .stream = t.schema.id, .seq = iog_seq_of_step(t.step[w]++), .epoch = how >> 6, .writer = w };
	r.axis[0].extent = 4, r.axis[1].extent = 6, r.axis[2].extent = how % 17;
	for (unsigned d = 0; d < t.schema.n_dims; d++)
		r.axis[d].spacing = 1;
	for (unsigned v = 0; v < t.schema.n_vars; v++)
		r.var[v] = (struct iog_var){ .block = &b[v], .n_blocks = 1 };
	while (iog_outlet_reap(o, let_go, SLOTS))
		;
	const uint32_t slot = iog_outlet_take(o);
	if (slot == IOG_NO_SLOT)
		return;
	const int64_t n = iog_wire_put(iog_arena_slot(&o->arena, slot), SLOT, 1024, 0, &r, NULL, 0, &viewed);
	REQUIRE(n > 0);
	iog_outlet_push(o, slot, &r, (uint64_t)n);
	iog_outlet_publish(o);
}

/* ---- the reader ---- */

static void look_at(const struct iog_record *r)
{
	static uint8_t out[ELEMENTS * 8];
	for (unsigned v = 0; v < r->schema->n_vars; v++) {
		const struct iog_vardef *d = &r->schema->var[v];
		const uint32_t size = iog_dtype_size(d->dtype);
		uint64_t n = 1;
		for (unsigned i = 0; i < d->rank; i++) {
			const int64_t extent = r->axis[d->dim[i]].extent;
			REQUIRE(extent >= 0 && extent <= r->schema->dim[d->dim[i]].max);
			n *= (uint64_t)extent;
		}
		REQUIRE(n * size <= sizeof out && r->var[v].n_blocks <= WRITERS * r->schema->n_vars);
		for (uint32_t k = 0; k < r->var[v].n_blocks; k++) {
			REQUIRE((uint64_t)iog_block_elems(&r->var[v].block[k], d->rank) <= n);
			iog_block_gather(out, &r->var[v].block[k], d->rank, size);
		}
		iog_record_assemble_whole(r, v, out);
	}
}

static void next(void)
{
	bool ended;
	struct iog_record *r = iog_collect_next(t.c, &ended);
	if (!r)
		return;
	look_at(r);
	REQUIRE(!t.held[0] || !t.held[1]);
	t.held[t.held[0] ? 1 : 0] = r;
}

static void release(unsigned i)
{
	if (!t.held[i])
		return;
	look_at(t.held[i]);
	if (t.keeps)
		iog_collect_keep(t.c, t.held[i]);
	else
		iog_collect_release(t.c, t.held[i]);
	t.held[i] = NULL;
}

static void one(const uint8_t *op, const uint8_t *more, size_t n)
{
	const unsigned w = op[1] & 1, arg = op[2];
	struct life *l = &t.life[w][t.lives[w] - 1];
	struct iog_waitword word[WRITERS];
	uint8_t *slot = l->arena + STATICS + (op[1] >> 1) % SLOTS * SLOT;
	switch (op[0] % 10) {
	case 0:
	case 1: commit(w, (uint8_t)arg); break;
	case 2: /* head, epoch, passed, state */ memcpy((uint8_t *)l->edge.down + 4 * (arg % 6), more, IOG_MIN(n, (size_t)8)); break;
	case 3: memcpy((uint8_t *)l->edge.down->ring + arg % (CAPACITY * sizeof(struct iog_desc) - 8), more, IOG_MIN(n, (size_t)8)); break;
	case 4:
	case 5: memcpy(slot + 4 * arg, more, IOG_MIN(n, (size_t)8)); break;
	case 6:
		if (l->edge.box)
			memcpy(l->edge.box, more, IOG_MIN(n, (size_t)8));
		break;
	case 7: next(); break;
	case 8: release(arg & 1); break;
	default:
		if (arg == 1)
			iog_collect_ended(t.c, w);
		else if (arg == 2 && t.lives[w] < LIVES)
			begin_life(w);
		else if (arg == 3)
			iog_collect_let_go(t.c, op[1]);
		else if (arg == 4)
			iog_collect_reads(t.c, w, l->edge.down);
		else if (iog_collect_sleep(t.c, word, WRITERS))
			iog_collect_awake(t.c);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static pthread_t thread;
	if (!t.schema.id) {
		REQUIRE(!iog_schema_parse(&t.schema, "T: f64[z<=4,y<=6]; dt: f64; n: i16[k<=16]; m: u8[z]", NULL));
		REQUIRE(!pthread_create(&thread, NULL, racer, NULL));
	}
	if (size < 4)
		return 0;
	const uint8_t options = *data++;
	const enum iog_pairing how = (enum iog_pairing)((options & 3) % 3);
	size--;
	pthread_mutex_lock(&race);
	t.latest = options & 4;
	REQUIRE(t.c = iog_collect_new(&t.schema, WRITERS, t.schema.n_vars, how));
	t.keeps = options & 16 && iog_collect_keeps(t.c);
	for (unsigned w = 0; w < WRITERS; w++) {
		t.lives[w] = 0;
		t.step[w] = 0;
		begin_life(w);
	}
	atomic_store(&racing, options & 8);
	if (options & 8)
		pthread_mutex_unlock(&race);
	for (unsigned i = 0; i < OPS && size >= 3; i++) {
		const size_t used = 3 + (data[0] % 10 >= 2 && data[0] % 10 <= 6 ? IOG_MIN(size - 3, (size_t)8) : 0);
		one(data, data + 3, used - 3);
		data += used, size -= used;
	}
	if (options & 8) {
		atomic_store(&racing, false);
		pthread_mutex_lock(&race);
	}
	for (unsigned i = 0; i < IOG_COLLECT_HELD; i++)
		release(i);
	iog_collect_free(t.c);
	for (unsigned w = 0; w < WRITERS; w++)
		for (unsigned k = 0; k < t.lives[w]; k++)
			end_life(&t.life[w][k]);
	pthread_mutex_unlock(&race);
	return 0;
}
