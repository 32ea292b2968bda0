/* SPDX-License-Identifier: BSD-3-Clause */
/* Feeds; see feed.h. One list for the process, found by name. */
#include "feed.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "wait.h"

enum { SPINS = 2000 };

struct iog_feed {
	struct iog_feed *next;
	char name[IOG_STREAM_NAME];
	uint32_t refs;
	pthread_mutex_t lock;
	bool known;
	enum iog_pairing how;
	struct iog_schema schema;
	uint32_t n_writers, blocks, life;
	struct iog_collect *collect; /* while a source is open */
	_Atomic uint32_t bell;       /* raised when a writer came or went */
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
		pthread_mutex_destroy(&f->lock);
		free(f);
	}
	pthread_mutex_unlock(&list_lock);
}

/* ---- the agent ---- */

int iog_feed_describe(
	struct iog_feed *f, const struct iog_schema *schema, uint32_t n_writers, uint32_t blocks, enum iog_pairing how, struct iog_err *err)
{
	int rc = 0;
	pthread_mutex_lock(&f->lock);
	if (f->collect && (f->schema.id != schema->id || f->n_writers != n_writers || f->blocks < blocks ||
				  memcmp(f->schema.dim, schema->dim, sizeof f->schema.dim)))
		rc = iog_fail(err, -EEXIST, "stream \"%s\" is in use with another schema, shape or number of writers", f->name);
	else if (!f->collect)
		f->schema = *schema, f->n_writers = n_writers, f->blocks = blocks, f->how = how, f->known = true;
	pthread_mutex_unlock(&f->lock);
	return rc;
}

uint32_t iog_feed_life(struct iog_feed *f)
{
	pthread_mutex_lock(&f->lock);
	const uint32_t life = f->collect ? f->life : 0;
	pthread_mutex_unlock(&f->lock);
	return life;
}

int iog_feed_attach(struct iog_feed *f, uint32_t writer, const struct iog_worker_in *in, struct iog_err *err)
{
	pthread_mutex_lock(&f->lock);
	int rc = f->collect ? iog_collect_attach(f->collect, writer, in, err) : iog_fail(err, -ENOENT, "no graph takes \"%s\"", f->name);
	pthread_mutex_unlock(&f->lock);
	iog_feed_wake(f);
	return rc;
}

void iog_feed_ended(struct iog_feed *f, uint32_t writer)
{
	pthread_mutex_lock(&f->lock);
	if (f->collect)
		iog_collect_ended(f->collect, writer);
	pthread_mutex_unlock(&f->lock);
	iog_feed_wake(f);
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

int iog_feed_open(struct iog_feed *f, struct iog_err *err)
{
	int rc = 0;
	pthread_mutex_lock(&f->lock);
	if (!f->known)
		rc = iog_fail(err, -ENOENT, "nobody has opened stream \"%s\" yet: run this graph in an agent", f->name);
	else if (f->collect)
		rc = iog_fail(err, -EBUSY, "another source takes stream \"%s\"; let both branches start from one", f->name);
	else if (!(f->collect = iog_collect_new(&f->schema, f->n_writers, f->blocks, f->how)))
		rc = iog_fail(err, -ENOMEM, "no memory for stream \"%s\"", f->name);
	else
		f->life++;
	pthread_mutex_unlock(&f->lock);
	return rc;
}

void iog_feed_close(struct iog_feed *f)
{
	pthread_mutex_lock(&f->lock);
	iog_collect_free(f->collect);
	f->collect = NULL;
	pthread_mutex_unlock(&f->lock);
}

struct iog_record *iog_feed_next(struct iog_feed *f, uint64_t limit_ns, bool *ended)
{
	const uint64_t end = iog_now_ns() + limit_ns;
	for (uint32_t spin = 0;; spin++) {
		struct iog_waitword word[1 + IOG_WRITERS] = { { &f->bell, atomic_load(&f->bell) } };
		uint32_t n = 1;
		pthread_mutex_lock(&f->lock);
		struct iog_record *r = iog_collect_next(f->collect, ended);
		if (!r && !*ended && spin >= SPINS) {
			/* The flag first, then one more look. */
			n += iog_collect_sleep(f->collect, word + 1, IOG_WRITERS);
			r = iog_collect_next(f->collect, ended);
		}
		pthread_mutex_unlock(&f->lock);
		const uint64_t now = iog_now_ns();
		if (!r && !*ended && now < end && spin >= SPINS)
			iog_wait_words(word, n, end - now);
		if (n > 1) {
			pthread_mutex_lock(&f->lock);
			iog_collect_awake(f->collect);
			pthread_mutex_unlock(&f->lock);
		}
		if (r || *ended || now >= end)
			return r;
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	}
}

void iog_feed_release(struct iog_feed *f, struct iog_record *r)
{
	pthread_mutex_lock(&f->lock);
	if (f->collect)
		iog_collect_release(f->collect, r);
	pthread_mutex_unlock(&f->lock);
}

void iog_feed_wake(struct iog_feed *f)
{
	atomic_fetch_add(&f->bell, 1);
	iog_wake_word(&f->bell);
}
