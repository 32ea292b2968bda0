/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Feeds; see feed.h. One list for the process, found by name. The lock of a feed is for the list of its takers, that of a taker for its collector: a
 * source takes only the latter, once it is open.
 */
#include "feed.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "wait.h"

enum { SPINS = 2000 };

struct iog_taker {
	struct iog_feed *feed;
	uint32_t life;
	/* of the feed's lock */
	const void *owner, *heir;
	const void *from; /* who passed it on; gets it back when the heir closes at once */
	bool open;        /* its source is; else it waits for the heir */
	pthread_mutex_t lock;
	struct iog_collect *collect;
	_Atomic uint32_t bell; /* raised when a writer came or went */
};
struct iog_feed {
	struct iog_feed *next;
	char name[IOG_STREAM_NAME];
	uint32_t refs;
	pthread_mutex_t lock;
	bool known;
	enum iog_pairing how;
	struct iog_schema schema;
	uint32_t n_writers, blocks, credit, lives;
	struct iog_taker *taker[IOG_TAKERS];
	uint32_t n_takers;
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct iog_feed *list;

struct iog_feed *iog_feed_get(const char *name)
{
	pthread_mutex_lock(&list_lock);
	struct iog_feed *f = list;
	while (f && strncmp(f->name, name, sizeof f->name - 1))
		f = f->next;
	if (!f && (f = calloc(1, sizeof *f))) {
		iog_strset(f->name, sizeof f->name, name);
		pthread_mutex_init(&f->lock, NULL);
		f->next = list;
		list = f;
	}
	if (f)
		f->refs++;
	pthread_mutex_unlock(&list_lock);
	return f;
}

/* Takes t off the list and frees it; the feed's lock is held, or nobody else has the feed. */
static void taker_free(struct iog_taker *t)
{
	struct iog_feed *f = t->feed;
	for (uint32_t i = 0; i < f->n_takers; i++)
		if (f->taker[i] == t)
			f->taker[i] = f->taker[--f->n_takers];
	iog_collect_free(t->collect);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void iog_feed_put(struct iog_feed *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&list_lock);
	if (!--f->refs) {
		struct iog_feed **at = &list;
		while (*at != f)
			at = &(*at)->next;
		*at = f->next;
		while (f->n_takers)
			taker_free(f->taker[0]);
		pthread_mutex_destroy(&f->lock);
		free(f);
	}
	pthread_mutex_unlock(&list_lock);
}

static void ring(struct iog_taker *t)
{
	atomic_fetch_add(&t->bell, 1);
	iog_wake_word(&t->bell);
}

/* ---- the agent ---- */

int iog_feed_describe(struct iog_feed *f, const struct iog_schema *schema, uint32_t n_writers, uint32_t blocks, uint32_t credit,
	enum iog_pairing how, struct iog_err *err)
{
	int rc = 0;
	pthread_mutex_lock(&f->lock);
	if (f->n_takers && (f->schema.id != schema->id || f->n_writers != n_writers || f->blocks < blocks ||
				   memcmp(f->schema.dim, schema->dim, sizeof f->schema.dim)))
		rc = iog_fail(err, -EEXIST, "stream \"%s\" is in use with another schema, shape or number of writers", f->name);
	else if (!f->n_takers)
		f->schema = *schema, f->n_writers = n_writers, f->blocks = blocks, f->credit = credit, f->how = how, f->known = true;
	pthread_mutex_unlock(&f->lock);
	return rc;
}

uint32_t iog_feed_lives(struct iog_feed *f, uint32_t *life)
{
	pthread_mutex_lock(&f->lock);
	const uint32_t n = f->n_takers;
	for (uint32_t i = 0; i < n; i++)
		life[i] = f->taker[i]->life;
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* The feed's lock is held. */
static struct iog_taker *taker_of(struct iog_feed *f, uint32_t life)
{
	for (uint32_t i = 0; i < f->n_takers; i++)
		if (f->taker[i]->life == life)
			return f->taker[i];
	return NULL;
}

const void *iog_feed_owner(struct iog_feed *f, uint32_t life)
{
	pthread_mutex_lock(&f->lock);
	const struct iog_taker *t = taker_of(f, life);
	const void *owner = t ? t->owner : NULL;
	pthread_mutex_unlock(&f->lock);
	return owner;
}

int iog_feed_attach(struct iog_feed *f, uint32_t life, uint32_t writer, const struct iog_worker_in *in, bool resumed, struct iog_err *err)
{
	int rc;
	pthread_mutex_lock(&f->lock);
	struct iog_taker *t = taker_of(f, life);
	if (!t) {
		rc = iog_fail(err, -ENOENT, "the graph that took \"%s\" has ended", f->name);
	} else {
		pthread_mutex_lock(&t->lock);
		rc = iog_collect_attach(t->collect, writer, in, resumed, err);
		pthread_mutex_unlock(&t->lock);
		ring(t);
	}
	pthread_mutex_unlock(&f->lock);
	return rc;
}

bool iog_feed_reads(struct iog_feed *f, uint32_t life, uint32_t writer, const struct iog_down *down)
{
	pthread_mutex_lock(&f->lock);
	struct iog_taker *t = taker_of(f, life);
	bool reads = false;
	if (t) {
		pthread_mutex_lock(&t->lock);
		reads = iog_collect_reads(t->collect, writer, down);
		pthread_mutex_unlock(&t->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return reads;
}

void iog_feed_ended(struct iog_feed *f, uint32_t life, uint32_t writer)
{
	pthread_mutex_lock(&f->lock);
	for (uint32_t i = 0; i < f->n_takers; i++) {
		struct iog_taker *t = f->taker[i];
		if (life && t->life != life)
			continue;
		pthread_mutex_lock(&t->lock);
		const bool news = iog_collect_ended(t->collect, writer);
		pthread_mutex_unlock(&t->lock);
		if (news)
			ring(t);
	}
	pthread_mutex_unlock(&f->lock);
}

bool iog_feed_bequeath(struct iog_feed *f, const void *from, const void *heir)
{
	bool found = false;
	pthread_mutex_lock(&f->lock);
	for (uint32_t i = f->n_takers; i-- > 0 && !found;) {
		struct iog_taker *t = f->taker[i];
		if ((t->open ? t->owner : t->heir) != from)
			continue;
		found = true;
		t->heir = heir;
		t->from = t->open ? t->owner : NULL;
		if (!t->open && !heir)
			taker_free(t);
	}
	pthread_mutex_unlock(&f->lock);
	return found;
}

/* ---- the source ---- */

bool iog_feed_schema(struct iog_feed *f, struct iog_schema *schema)
{
	pthread_mutex_lock(&f->lock);
	if (f->known)
		*schema = f->schema;
	const bool known = f->known;
	pthread_mutex_unlock(&f->lock);
	return known;
}

uint32_t iog_feed_credit(struct iog_feed *f)
{
	pthread_mutex_lock(&f->lock);
	const uint32_t n = f->known ? f->credit : 0;
	pthread_mutex_unlock(&f->lock);
	return n;
}

static struct iog_taker *taker_new(struct iog_feed *f, const void *owner, bool lossy)
{
	struct iog_taker *t = calloc(1, sizeof *t);
	if (!t || !(t->collect = iog_collect_new(
			    &f->schema, f->n_writers, f->blocks, lossy && f->how == IOG_PAIR_ALL ? IOG_PAIR_LOSSY : f->how))) {
		free(t);
		return NULL;
	}
	t->feed = f, t->owner = owner, t->life = ++f->lives;
	pthread_mutex_init(&t->lock, NULL);
	return f->taker[f->n_takers++] = t;
}

struct iog_taker *iog_taker_open(struct iog_feed *f, const void *owner, bool lossy, struct iog_err *err)
{
	struct iog_taker *t = NULL;
	pthread_mutex_lock(&f->lock);
	for (uint32_t i = 0; i < f->n_takers && !t; i++)
		if (!f->taker[i]->open && f->taker[i]->heir == owner)
			t = f->taker[i];
	if (t)
		t->owner = owner, t->heir = t->from, t->from = NULL;
	else if (!f->known)
		iog_fail(err, -ENOENT, "nobody has opened stream \"%s\" yet: run this graph in an agent", f->name);
	else if (f->n_takers == IOG_TAKERS)
		iog_fail(err, -EBUSY, "%d sources take stream \"%s\", which is as many as there can be", IOG_TAKERS, f->name);
	else if (!(t = taker_new(f, owner, lossy)))
		iog_fail(err, -ENOMEM, "no memory for stream \"%s\"", f->name);
	if (t)
		t->open = true;
	pthread_mutex_unlock(&f->lock);
	return t;
}

void iog_taker_close(struct iog_taker *t)
{
	struct iog_feed *f = t->feed;
	pthread_mutex_lock(&f->lock);
	t->open = false;
	t->owner = NULL;
	if (!t->heir)
		taker_free(t);
	pthread_mutex_unlock(&f->lock);
}

struct iog_record *iog_taker_next(struct iog_taker *t, uint64_t limit_ns, bool *ended)
{
	uint64_t end = 0;
	for (uint32_t spin = 0;; spin++) {
		struct iog_waitword word[1 + IOG_WRITERS]; /* a kilobyte, of which a step that is there needs nothing */
		uint32_t n = 1;
		word[0] = (struct iog_waitword){ &t->bell, atomic_load(&t->bell) };
		pthread_mutex_lock(&t->lock);
		struct iog_record *r = iog_collect_next(t->collect, ended);
		if (!r && !*ended && spin >= SPINS) {
			/* The flag first, then one more look. */
			n += iog_collect_sleep(t->collect, word + 1, IOG_WRITERS);
			r = iog_collect_next(t->collect, ended);
		}
		pthread_mutex_unlock(&t->lock);
		const bool done = r || *ended;
		const uint64_t now = done ? 0 : iog_now_ns(); /* a step that is there does not cost a look at the clock */
		if (!spin)
			end = now + limit_ns;
		if (!done && now < end && spin >= SPINS)
			iog_wait_words(word, n, end - now);
		if (n > 1) {
			pthread_mutex_lock(&t->lock);
			iog_collect_awake(t->collect);
			pthread_mutex_unlock(&t->lock);
		}
		if (done || now >= end)
			return r;
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	}
}

void iog_taker_release(struct iog_taker *t, struct iog_record *r)
{
	pthread_mutex_lock(&t->lock);
	iog_collect_release(t->collect, r);
	pthread_mutex_unlock(&t->lock);
}

bool iog_taker_keeps(struct iog_taker *t)
{
	pthread_mutex_lock(&t->lock);
	const bool keeps = iog_collect_keeps(t->collect);
	pthread_mutex_unlock(&t->lock);
	return keeps;
}

void iog_taker_keep(struct iog_taker *t, struct iog_record *r)
{
	pthread_mutex_lock(&t->lock);
	iog_collect_keep(t->collect, r);
	pthread_mutex_unlock(&t->lock);
}

void iog_taker_let_go(struct iog_taker *t, uint32_t n)
{
	pthread_mutex_lock(&t->lock);
	iog_collect_let_go(t->collect, n);
	pthread_mutex_unlock(&t->lock);
}

void iog_taker_wake(struct iog_taker *t) { ring(t); }
