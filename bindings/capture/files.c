/* SPDX-License-Identifier: BSD-3-Clause */
/* Captured files; see files.h. On the threads of the program, one at a time. */
#include "bindings/capture/files.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bindings/capture/capture.h"

enum { PATH = IOG_CFILE_PATH, PIECES = IOG_CFILE_PIECES, BYTES = IOG_CFILE_BYTES, TARGETS = 8, RANKS_MAX = 64 };
/* One long wait instead of many short ones. */
#define OPTIONS IOG_CFILE_MEMORY " ranks=apart timeout=10s"

struct target {
	char pattern[256], name[64];
	iog_stream *stream;
	bool given_up;
	uint64_t sent; /* bytes */
};
struct iog_cfile {
	struct target *to;
	uint32_t users;
	pthread_mutex_t lock;
	size_t length;
	char path[PATH];
};

static struct target target[TARGETS];
static unsigned n_targets;
static int rank, n_ranks = 1;
static bool drop, over; /* over: this is a child of fork, or the program has ended */
static char home[PATH_MAX];
static int64_t last_stamp, first_stamp;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool inside;

bool iog_cfile_inside(void) { return inside || over; }
bool iog_cfile_drops(void) { return drop; }

/* False: this thread is in here already, or this process is not the one that was captured. */
static bool enter(void)
{
	if (inside || over)
		return false;
	inside = true;
	pthread_mutex_lock(&lock);
	return true;
}

static void leave(void)
{
	pthread_mutex_unlock(&lock);
	inside = false;
}

static void forked(void) { over = true; }

/* ---- settings ---- */

static void targets(const char *text)
{
	char usual[64];
	snprintf(usual, sizeof usual, "%s", iog_capture_name("files"));
	while (*text && n_targets < TARGETS) {
		struct target *t = &target[n_targets];
		const size_t n = strcspn(text, ":"), k = strcspn(text, ":=");
		const char *name = k < n ? text + k + 1 : usual;
		snprintf(t->pattern, sizeof t->pattern, "%.*s", (int)k, text);
		snprintf(t->name, sizeof t->name, "%.*s", (int)(k < n ? n - k - 1 : strlen(usual)), name);
		n_targets += t->pattern[0] && t->name[0];
		text += n + (text[n] == ':');
	}
	if (*text)
		iog_capture_note("more than %d patterns; the last ones are not looked at", TARGETS);
}

/* Rank on this node, of how many, as launchers say it. */
static void place(void)
{
	static const char *const names[][2] = {
		{ "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE" }, { "MPI_LOCALRANKID", "MPI_LOCALNRANKS" },
		{ "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE" }, /* not SLURM_TASKS_PER_NODE, which a batch script has as well */
	};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		const char *r = getenv(names[i][0]), *n = getenv(names[i][1]);
		if (!r || !n || atoi(r) < 0 || atoi(n) <= atoi(r))
			continue;
		rank = atoi(r), n_ranks = atoi(n);
		return;
	}
}

static void extent(iog_stream *s, const char *var, int64_t n)
{
	const int64_t zero = 0;
	iog_block(s, var, &n, &zero, &n);
}

/* Streams of the same name are one. */
static iog_stream *stream_of(struct target *t)
{
	for (struct target *o = target; o < t && !t->stream; o++)
		if (!strcmp(o->name, t->name))
			return stream_of(o);
	if (t->stream)
		return t->stream;
	t->stream = iog_capture_open(t->name, IOG_CFILE_SCHEMA, OPTIONS, rank, n_ranks);
	/* As large as they may get: later records are smaller. */
	extent(t->stream, "path", PATH);
	extent(t->stream, "offset", PIECES);
	extent(t->stream, "length", PIECES);
	extent(t->stream, "data", BYTES);
	return t->stream;
}

void iog_cfile_begin(const char *usual)
{
	const char *text = getenv("IOG_CAPTURE_FILES"), *file = getenv("IOG_CAPTURE_FILE");
	if (!getcwd(home, sizeof home))
		home[0] = 0;
	drop = file && !strcmp(file, "drop");
	if (text && text[0])
		targets(text);
	else if (usual)
		targets(usual);
	place();
	if (n_ranks > RANKS_MAX) {
		iog_capture_note(
			"%d ranks on this node are more than a stream can have (%d): their files are not captured", n_ranks, RANKS_MAX);
		n_targets = 0;
	}
	if (!n_targets)
		return;
	pthread_atfork(NULL, NULL, forked);
	if (n_ranks > 1 && enter()) {
		for (unsigned i = 0; i < n_targets; i++)
			stream_of(&target[i]);
		leave();
	}
}

/* ---- files ---- */

/* An absolute path without "." and "..", links not followed. False: too long. */
static bool absolute(const char *path, char *out, size_t size)
{
	char whole[2 * PATH_MAX], cwd[PATH_MAX];
	size_t n = 0;
	if (path[0] != '/' && !getcwd(cwd, sizeof cwd))
		return false;
	if ((size_t)snprintf(whole, sizeof whole, "%s/%s", path[0] == '/' ? "" : cwd, path) >= sizeof whole)
		return false;
	for (char *save, *part = strtok_r(whole, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		if (!strcmp(part, "."))
			continue;
		if (!strcmp(part, "..")) {
			while (n && out[--n] != '/')
				;
			continue;
		}
		const size_t k = strlen(part);
		if (n + k + 2 > size)
			return false;
		out[n++] = '/';
		memcpy(out + n, part, k);
		n += k;
	}
	out[n] = 0;
	return n > 0;
}

static struct target *wanted(const char *path)
{
	for (unsigned i = 0; i < n_targets; i++) {
		const char *p = target[i].pattern;
		if (!fnmatch(p, strchr(p, '/') ? path : strrchr(path, '/') + 1, 0))
			return &target[i];
	}
	return NULL;
}

struct iog_cfile *iog_cfile_open(const char *path, bool fresh)
{
	char whole[PATH_MAX];
	struct target *t;
	if (!n_targets || inside || over || !path || !absolute(path, whole, sizeof whole) || !(t = wanted(whole)))
		return NULL;
	const size_t n = strlen(home);
	const char *said = n && !strncmp(whole, home, n) && whole[n] == '/' ? whole + n + 1 : whole;
	struct iog_cfile *f = strlen(said) < PATH ? calloc(1, sizeof *f) : NULL;
	if (!f) {
		iog_capture_lost("%.200s: its path is too long", whole);
		return NULL;
	}
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&f->lock, &a);
	pthread_mutexattr_destroy(&a);
	f->to = t;
	f->users = 1;
	f->length = strlen(said);
	memcpy(f->path, said, f->length);
	if (fresh)
		iog_cfile_resize(f, 0);
	return f;
}

void iog_cfile_keep(struct iog_cfile *f) { __atomic_add_fetch(&f->users, 1, __ATOMIC_RELAXED); }

void iog_cfile_close(struct iog_cfile *f)
{
	if (!f || __atomic_sub_fetch(&f->users, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void iog_cfile_lock(struct iog_cfile *f) { pthread_mutex_lock(&f->lock); }
void iog_cfile_unlock(struct iog_cfile *f) { pthread_mutex_unlock(&f->lock); }

/* ---- records ---- */

/* Nanoseconds of the clock that all ranks of this node read, rising. */
static int64_t stamp(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
	if (now <= last_stamp)
		now = last_stamp + 1;
	if (!first_stamp)
		first_stamp = now;
	return last_stamp = now;
}

static void give_up(struct target *t, const char *why)
{
	if (!t->given_up)
		iog_capture_lost("stream %s is not whole: %s", t->name, why);
	__atomic_store_n(&t->given_up, true, __ATOMIC_RELAXED);
}

bool iog_cfile_given_up(const struct iog_cfile *f) { return __atomic_load_n(&f->to->given_up, __ATOMIC_RELAXED); }

/* One record: of pieces that fit it. */
static bool send(struct iog_cfile *f, int64_t size, const struct iog_piece *piece, size_t n, const void *data, int64_t bytes)
{
	struct target *t = f->to;
	iog_stream *s = t->given_up ? NULL : stream_of(t);
	if (!s)
		return false;
	extent(s, "path", (int64_t)f->length);
	extent(s, "offset", (int64_t)n);
	extent(s, "length", (int64_t)n);
	extent(s, "data", bytes);
	const int64_t now = stamp();
	const int rc = iog_begin(s, now, 1e-9 * (double)(now - first_stamp));
	if (rc == IOG_SKIP && !t->sent)
		return false; /* nobody wants it yet */
	if (rc != IOG_OK) {
		give_up(t, rc == IOG_TIMEOUT ? "what takes it was too slow or stopped"
			   : rc == IOG_SKIP  ? "what took it is gone"
					     : iog_error(iog_capture_io()));
		return false;
	}
	iog_put(s, "path", f->path, NULL);
	iog_put(s, "size", &size, NULL);
	int64_t *o = iog_fill(s, "offset"), *l = iog_fill(s, "length");
	for (size_t i = 0; i < n; i++)
		o[i] = piece[i].offset, l[i] = piece[i].length;
	if (bytes)
		iog_put(s, "data", data, NULL);
	else
		iog_fill(s, "data");
	if (iog_commit(s) != IOG_OK) {
		give_up(t, "a record could not be published");
		return false;
	}
	t->sent += (uint64_t)bytes + 1;
	return true;
}

bool iog_cfile_write(struct iog_cfile *f, const struct iog_piece *piece, size_t n, const void *data)
{
	static struct iog_piece part[PIECES]; /* of who has the lock */
	const uint8_t *at = data;
	bool all = true;
	size_t i = 0;
	int64_t done = 0; /* of piece i */
	if (!enter())
		return false;
	while (i < n && all) {
		int64_t bytes = 0;
		size_t k = 0;
		for (; i < n && k < PIECES && bytes<BYTES; k += part[k].length> 0) {
			const int64_t left = piece[i].length - done, most = BYTES - bytes;
			part[k] = (struct iog_piece){ piece[i].offset + done, left < most ? left : most };
			bytes += part[k].length;
			done += part[k].length;
			if (done == piece[i].length)
				i++, done = 0;
		}
		if (k)
			all = send(f, -1, part, k, at, bytes);
		at += bytes;
	}
	leave();
	return all;
}

bool iog_cfile_resize(struct iog_cfile *f, int64_t size)
{
	if (!enter())
		return false;
	const bool ok = send(f, size, NULL, 0, NULL, 0);
	leave();
	return ok;
}

void iog_cfile_missed(struct iog_cfile *f, const char *what)
{
	if (!enter())
		return;
	give_up(f->to, what);
	leave();
}

void iog_cfile_finish(void)
{
	if (!enter())
		return;
	over = true; /* what comes now is only written */
	leave();
}
