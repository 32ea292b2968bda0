/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Spilling; see spill.h. The file is a ring of records in their wire form, each in one piece: [head, tail) or, once it went round, [head, wrap) and
 * [0, tail). Only the edge's thread moves tail and grows the file, only the storing thread moves head. It grows in steps that are allocated, so that a
 * full disk is met where nothing is written yet. How long its records are is kept in memory, 8 bytes for each, so that one read gets a record.
 */
#include "spill.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine-parts.h"
#include "runtime/host/endpoints/endpoint-util.h"
#include "wait.h"

static const uint64_t GROW = 64 << 20, GROW_MIN = 64 << 10, RETRY_NS = 1000000000u;
static const uint64_t NAP_NS = 50000000, LENGTHS = 64;

struct item {
	struct iog_worker_in at;
	struct iog_desc d;
	uint32_t life;
};
/* A record, and what it needs to be opened. */
struct opened {
	struct iog_record rec;
	struct iog_block *block;
	uint8_t *head;
};
/* Counts on. Who sleeps on it says so before he compares it with what he saw, so one of both sees the other: no call is made while nobody sleeps. */
struct bell {
	_Atomic uint32_t word, sleeping;
};
struct iog_spill {
	struct iog_spill_opts o;
	int fd;
	uint64_t head_size, most; /* most: bytes of the file */
	pthread_t thread;
	pthread_mutex_t lock;
	struct bell stored, work; /* work: something was put in, or it ends */
	/* under the lock */
	struct item *item;               /* o.slots */
	uint32_t put, taken, done, back; /* counts of items, modulo 2^32: put in, being stored, stored, given back */
	uint64_t head, tail, wrap, extent;
	uint64_t *length, max_length, first, n_file; /* length[first]: of the record at head; a ring, a power of two */
	bool ending, give_up;
	struct iog_spill_stats stats;
	/* of one thread each */
	struct opened in, out;
	uint8_t *in_buf, *out_buf;
	uint64_t in_room, out_room, retry_ns, cpu_ns;
	bool was_full;
};

/* ---- records ---- */

static bool opened_make(struct opened *x, const struct iog_spill *s)
{
	x->block = calloc(s->o.max_blocks, sizeof *x->block);
	x->head = aligned_alloc(IOG_ALIGN, IOG_ROUND_UP(s->head_size, IOG_ALIGN));
	return x->block && x->head;
}

static bool open_slot(const struct iog_spill *s, struct opened *x, const struct iog_worker_in *at, const struct iog_desc *d)
{
	const struct iog_region *r = &at->region[0];
	const uint8_t *p = r->base + (r->size - (uint64_t)at->n_slots * at->slot_bytes) + (uint64_t)d->slot * at->slot_bytes;
	return !iog_wire_open(&x->rec, p, d->length, s->o.schema, at->region, at->n_regions, x->block, s->o.max_blocks, x->head,
		       s->head_size, 0, NULL) &&
	       x->rec.id.seq == d->seq && x->rec.id.epoch == d->epoch;
}

static bool room_for(uint8_t **buf, uint64_t *room, uint64_t bytes)
{
	if (bytes <= *room)
		return true;
	free(*buf);
	*buf = aligned_alloc(IOG_ALIGN, IOG_ROUND_UP(bytes, IOG_ALIGN));
	*room = *buf ? bytes : 0;
	return *buf;
}

/* ---- the file ---- */

/* Makes the file larger by `need` at least. False: it may not, or the disk is full; stats.why has the reason. The lock is held. */
static bool grow(struct iog_spill *s, uint64_t need)
{
	const uint64_t now = iog_now_ns();
	if (s->extent + need > s->most) {
		if (!s->stats.why[0])
			snprintf(s->stats.why, sizeof s->stats.why, "its bound of %llu MiB was reached",
				(unsigned long long)(s->most >> 20));
		return false;
	}
	if (now < s->retry_ns)
		return false;
	int rc = 0;
	for (uint64_t step = IOG_MAX(GROW, need);; step = IOG_MAX(step / 2, need)) {
		step = IOG_MIN(step, s->most - s->extent);
		do
			rc = fallocate(s->fd, 0, (off_t)s->extent, (off_t)step) ? errno : 0;
		while (rc == EINTR);
		if (!rc || rc == EOPNOTSUPP) { /* then writing says whether there is room */
			s->extent += step;
			s->stats.most = IOG_MAX(s->stats.most, s->extent);
			return true;
		}
		if (step == need || step <= GROW_MIN)
			break;
	}
	s->retry_ns = now + RETRY_NS;
	if (!s->stats.why[0])
		snprintf(s->stats.why, sizeof s->stats.why, "the disk: %s", strerror(rc));
	return false;
}

/* Room for the length of one more. The lock is held. */
static bool grow_lengths(struct iog_spill *s)
{
	if (s->n_file < s->max_length)
		return true;
	const uint64_t most = s->max_length ? 2 * s->max_length : LENGTHS;
	uint64_t *to = calloc(most, sizeof *to);
	if (!to) {
		if (!s->stats.why[0])
			iog_strset(s->stats.why, sizeof s->stats.why, "out of memory");
		return false;
	}
	for (uint64_t i = 0; i < s->n_file; i++)
		to[i] = s->length[(s->first + i) & (s->max_length - 1)];
	free(s->length);
	s->length = to, s->max_length = most, s->first = 0;
	return true;
}

/* Where len bytes go; false: nowhere. The lock is held. */
static bool place(struct iog_spill *s, uint64_t len, uint64_t *at)
{
	if (!s->n_file) {
		s->head = s->tail = s->wrap = 0;
		if (s->extent > GROW && !ftruncate(s->fd, 0)) { /* what is not needed any more is others' */
			s->extent = 0;
			free(s->length);
			s->length = NULL, s->max_length = 0;
		}
	}
	if (s->wrap) {
		*at = s->tail;
		return len <= s->head - s->tail;
	}
	if (len <= s->extent - s->tail || grow(s, len - (s->extent - s->tail))) {
		*at = s->tail;
		return true;
	}
	if (!s->n_file || len > s->head)
		return false;
	s->wrap = s->tail;
	*at = s->tail = 0;
	return true;
}

/* The record in s->in, to the end of the file. */
static enum iog_spilled put_file(struct iog_spill *s)
{
	const uint64_t len = IOG_ROUND_UP(iog_wire_size(&s->in.rec), IOG_ALIGN);
	uint64_t at;
	if (!room_for(&s->in_buf, &s->in_room, len))
		return IOG_SPILL_FULL;
	pthread_mutex_lock(&s->lock);
	const bool fits = place(s, len, &at) && grow_lengths(s);
	pthread_mutex_unlock(&s->lock);
	int rc = 0;
	if (fits && iog_wire_pack(s->in_buf, len, &s->in.rec) < 0)
		return IOG_SPILL_BAD;
	if (!fits || (rc = iog_write_at(s->fd, s->in_buf, len, at))) {
		pthread_mutex_lock(&s->lock);
		if (rc && !s->stats.why[0])
			snprintf(s->stats.why, sizeof s->stats.why, "the disk: %s", iog_errno_text(-rc));
		s->stats.full += !s->was_full;
		pthread_mutex_unlock(&s->lock);
		s->was_full = true;
		return IOG_SPILL_FULL;
	}
	s->was_full = false;
	pthread_mutex_lock(&s->lock);
	s->tail = at + len;
	s->length[(s->first + s->n_file++) & (s->max_length - 1)] = len;
	s->stats.records++;
	pthread_mutex_unlock(&s->lock);
	return IOG_SPILL_COPIED;
}

/* Reads the record at the head of the file, of len bytes. */
static bool get_file(struct iog_spill *s, uint64_t len, struct iog_err *err)
{
	struct iog_err why = { "" };
	if (!room_for(&s->out_buf, &s->out_room, len)) {
		iog_fail(err, -ENOMEM, "the spill file: out of memory for a record");
		return false;
	}
	const int rc = iog_read_at(s->fd, s->out_buf, len, s->head);
	if (rc) {
		iog_fail(err, rc, "the spill file: %s", iog_errno_text(-rc));
		return false;
	}
	if (iog_wire_open(&s->out.rec, s->out_buf, len, s->o.schema, NULL, 0, s->out.block, s->o.max_blocks, s->out.head, s->head_size,
		    IOG_OPEN_SUM, &why)) {
		iog_fail(err, -EIO, "the spill file does not hold what was written: %s", why.text);
		return false;
	}
	return true;
}

/* ---- the storing thread ---- */

static void ring(struct bell *b)
{
	atomic_fetch_add(&b->word, 1);
	if (atomic_load(&b->sleeping))
		iog_wake_word(&b->word);
}

static void store_file(struct iog_spill *s, uint64_t len)
{
	struct iog_err err = { "" };
	const bool sound = get_file(s, len, &err);
	if (sound)
		s->o.store(s->o.ctx, &s->out.rec, len);
	else
		s->o.lost(s->o.ctx, &err);
	pthread_mutex_lock(&s->lock);
	if (sound) {
		s->n_file--;
		s->first++;
		s->head += len;
		if (s->wrap && s->head == s->wrap)
			s->head = s->wrap = 0;
	} else {
		s->give_up = true; /* nor can what is behind it be relied on */
	}
	pthread_mutex_unlock(&s->lock);
	ring(&s->stored);
}

static void store_slot(struct iog_spill *s, const struct item *x)
{
	if (open_slot(s, &s->out, &x->at, &x->d))
		s->o.store(s->o.ctx, &s->out.rec, x->d.length);
	else
		s->o.lost(s->o.ctx, NULL);
	pthread_mutex_lock(&s->lock);
	s->done++;
	pthread_mutex_unlock(&s->lock);
	ring(&s->stored);
}

static void *run(void *arg)
{
	struct iog_spill *s = arg;
	for (;;) {
		const struct iog_waitword w = { &s->work.word, atomic_load(&s->work.word) };
		struct item x;
		pthread_mutex_lock(&s->lock);
		const bool slot = s->taken != s->put && !s->give_up, file = s->n_file && !s->give_up,
			   end = s->give_up || (s->ending && !slot && !file);
		if (slot)
			x = s->item[s->taken++ % s->o.slots];
		const uint64_t len = file ? s->length[s->first & (s->max_length - 1)] : 0;
		pthread_mutex_unlock(&s->lock);
		if (slot)
			store_slot(s, &x);
		else if (file)
			store_file(s, len);
		else if (end)
			break;
		else {
			atomic_store(&s->work.sleeping, 1);
			iog_wait_words(&w, 1, NAP_NS);
			atomic_store(&s->work.sleeping, 0);
		}
	}
	s->cpu_ns = iog_cpu_ns();
	atomic_fetch_add(&s->stored.word, 1);
	iog_wake_word(&s->stored.word); /* iog_spill_end wants to know this, and not each record before */
	return NULL;
}

/* ---- the edge's thread ---- */

/*
 * Measured with IOG_COST=1 build/tests/runtime/host/test-spill on an EPYC core at 2.6 GHz, with records of 320 bytes and nobody asleep: 40 ns for one that
 * stays in its slot, 1.1 us for one that goes to the file. The other thread needs 70 ns and 0.5 us for them, without what its endpoint does.
 */
enum iog_spilled iog_spill_put(struct iog_spill *s, const struct iog_worker_in *at, const struct iog_desc *d, uint32_t life)
{
	pthread_mutex_lock(&s->lock);
	const bool broken = s->give_up, hold = !s->n_file && s->put - s->back < s->o.slots;
	if (hold && !broken)
		s->item[s->put++ % s->o.slots] = (struct item){ *at, *d, life };
	pthread_mutex_unlock(&s->lock);
	if (broken)
		return IOG_SPILL_LOST;
	enum iog_spilled how = IOG_SPILL_HELD;
	if (!hold)
		how = open_slot(s, &s->in, at, d) ? put_file(s) : IOG_SPILL_BAD;
	if (how != IOG_SPILL_FULL && how != IOG_SPILL_BAD)
		ring(&s->work);
	return how;
}

bool iog_spill_done(struct iog_spill *s, uint32_t *slot, uint32_t *gen, uint32_t *life)
{
	pthread_mutex_lock(&s->lock);
	const bool any = s->back != s->done;
	if (any) {
		const struct item *x = &s->item[s->back++ % s->o.slots];
		*slot = x->d.slot, *gen = x->d.gen, *life = x->life;
	}
	pthread_mutex_unlock(&s->lock);
	return any;
}

const _Atomic uint32_t *iog_spill_bell(const struct iog_spill *s) { return &s->stored.word; }
void iog_spill_sleeps(struct iog_spill *s, bool sleeps) { atomic_store(&s->stored.sleeping, sleeps); }

/* ---- life ---- */

void iog_spill_free(struct iog_spill *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->in.block);
	free(s->in.head);
	free(s->out.block);
	free(s->out.head);
	free(s->in_buf);
	free(s->out_buf);
	free(s->item);
	free(s->length);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int file_make(struct iog_spill *s, struct iog_err *err)
{
	const char *env = getenv("TMPDIR"), *dir = s->o.dir[0] ? s->o.dir : env && env[0] ? env : "/tmp";
	struct rlimit most;
	char path[4096];
	if (snprintf(path, sizeof path, "%s/iog-spill-XXXXXX", dir) >= (int)sizeof path)
		return iog_fail(err, -ENAMETOOLONG, "the name of the folder to spill to is too long");
	s->fd = mkostemp(path, O_CLOEXEC);
	if (s->fd < 0)
		return iog_fail(err, -errno, "a file to spill to, in %s: %s", dir, strerror(errno));
	unlink(path);
	s->most = IOG_MIN(s->o.bytes, (uint64_t)INT64_MAX);
	/* Beyond that limit there is a signal, not an error. */
	if (!getrlimit(RLIMIT_FSIZE, &most) && most.rlim_cur != RLIM_INFINITY)
		s->most = IOG_MIN(s->most, (uint64_t)most.rlim_cur);
	return 0;
}

int iog_spill_new(struct iog_spill **out, const struct iog_spill_opts *o, struct iog_err *err)
{
	struct iog_spill *s = calloc(1, sizeof *s);
	*out = NULL;
	if (!s)
		return iog_fail(err, -ENOMEM, "out of memory");
	s->o = *o;
	s->o.slots = IOG_MAX(o->slots, 1u);
	while (s->o.slots & (s->o.slots - 1)) /* a power of two, so that the counts may go round */
		s->o.slots &= s->o.slots - 1;
	s->fd = -1;
	s->head_size = iog_wire_head_max(o->schema, o->max_blocks, IOG_SEGMENTS_MAX);
	pthread_mutex_init(&s->lock, NULL);
	s->item = calloc(s->o.slots, sizeof *s->item);
	int rc = s->item && opened_make(&s->in, s) && opened_make(&s->out, s) ? file_make(s, err) : iog_fail(err, -ENOMEM, "out of memory");
	if (!rc && (rc = pthread_create(&s->thread, NULL, run, s)))
		rc = iog_fail(err, -rc, "no thread: %s", strerror(rc));
	if (rc) {
		iog_spill_free(s);
		return rc;
	}
	pthread_setname_np(s->thread, "iog-spill");
	*out = s;
	return 0;
}

uint64_t iog_spill_end(struct iog_spill *s, const _Atomic bool *give_up, struct iog_spill_stats *stats, uint64_t *cpu_ns)
{
	for (bool last = false; !last;) {
		const struct iog_waitword w = { &s->stored.word, atomic_load(&s->stored.word) };
		pthread_mutex_lock(&s->lock);
		s->ending = true;
		s->give_up |= atomic_load_explicit(give_up, memory_order_relaxed);
		last = s->give_up || (s->taken == s->put && !s->n_file);
		pthread_mutex_unlock(&s->lock);
		ring(&s->work);
		if (!last)
			iog_wait_words(&w, 1, NAP_NS);
	}
	pthread_join(s->thread, NULL);
	const uint64_t left = s->n_file + (s->put - s->taken);
	*stats = s->stats;
	*cpu_ns = s->cpu_ns;
	return left;
}
