/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client library against a small agent inside this test: it hands descriptors from writers to readers and does nothing else. Without an agent;
 * steps and their contents; policies; time limits; death of a writer; mistakes; forks; a hostile agent.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "bindings/c/client-private.h"
#include "runtime/host/wait.h"

static const uint64_t SEC = 1000000000u;

/* ---- the agent ---- */

enum { CLIENTS = 16, RANKS = 4, SUBS = 4 };

struct client {
	int sock; /* -1: not there */
	struct iog_region_map page;
};
struct rank {
	struct client *who; /* NULL: not there */
	uint32_t id;
	bool arena_known;
	int arena_fd;
	struct iog_msg arena;
};
struct sub {
	struct client *who;
	uint32_t id;
	uint8_t policy;
	bool told;
	bool wanted[RANKS];
};
struct agent {
	char dir[64], path[128];
	int listener, quit[2];
	uint32_t epoch, credit, expected, ranks;
	struct client client[CLIENTS];
	struct rank rank[RANKS];
	struct sub sub[SUBS];
	double param;
	bool deaf; /* does not answer */
	pthread_t thread;
};

/* One number for an edge, at both ends. */
static uint32_t edge_number(uint32_t sub, uint32_t rank) { return 100 + sub * RANKS + rank; }

static void say(struct client *c, struct iog_msg *m, const int *fds, uint32_t n)
{
	struct iog_attach_page *page = c->page.map;
	iog_msg_send(c->sock, m, fds, n, SEC, NULL);
	if (page) {
		atomic_fetch_add(&page->bell, 1);
		iog_wake_word(&page->bell);
	}
}

/* Brings writers and readers together as far as they have come. */
static void match(struct agent *a)
{
	for (uint32_t i = 0; i < SUBS; i++) {
		struct sub *s = &a->sub[i];
		if (!s->who)
			continue;
		for (uint32_t r = 0; r < a->ranks; r++) {
			struct rank *w = &a->rank[r];
			if (!w->who || !w->arena_known)
				continue;
			if (!s->told) {
				struct iog_msg m = { .kind = IOG_MSG_SUBSCRIBED, .id = s->id, .b = a->ranks, .blocks = w->arena.blocks, .schema = w->arena.schema };
				say(s->who, &m, NULL, 0);
				s->told = true;
			}
			if (!s->wanted[r]) {
				struct iog_msg m = { .kind = IOG_MSG_EDGE_WANTED, .id = s->id, .edge = edge_number(i, r), .a = r, .policy = s->policy,
						     .capacity = IOG_READER_CREDIT };
				say(s->who, &m, NULL, 0);
				s->wanted[r] = true;
			}
		}
	}
}

static void cut_sub(struct agent *a, uint32_t i)
{
	for (uint32_t r = 0; r < a->ranks; r++)
		if (a->rank[r].who && a->sub[i].wanted[r]) {
			struct iog_msg m = { .kind = IOG_MSG_CUT, .id = a->rank[r].id, .edge = edge_number(i, r) };
			say(a->rank[r].who, &m, NULL, 0);
		}
	a->sub[i] = (struct sub){ 0 };
}

static void rank_gone(struct agent *a, uint32_t r)
{
	for (uint32_t i = 0; i < SUBS; i++)
		if (a->sub[i].who) {
			struct iog_msg m = { .kind = IOG_MSG_WRITER_GONE, .id = a->sub[i].id, .edge = edge_number(i, r), .a = r };
			say(a->sub[i].who, &m, NULL, 0);
		}
	if (a->rank[r].arena_known)
		close(a->rank[r].arena_fd);
	a->rank[r] = (struct rank){ 0 };
}

static void client_gone(struct agent *a, struct client *c)
{
	for (uint32_t r = 0; r < RANKS; r++)
		if (a->rank[r].who == c)
			rank_gone(a, r);
	for (uint32_t i = 0; i < SUBS; i++)
		if (a->sub[i].who == c)
			cut_sub(a, i);
	close(c->sock);
	c->sock = -1;
	iog_region_close(&c->page);
}

static void told(struct agent *a, struct client *c, struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_msg out = { .id = m->id };
	uint32_t r = 0, i = 0;
	while (r < RANKS && !(a->rank[r].who == c && a->rank[r].id == m->id))
		r++;
	while (i < SUBS && !(a->sub[i].who == c && a->sub[i].id == m->id))
		i++;
	switch (m->kind) {
	case IOG_MSG_HELLO:
		if (iog_region_create(&c->page, "iog-page", sizeof(struct iog_attach_page), 0, NULL))
			return;
		out.kind = IOG_MSG_WELCOME, out.a = m->a;
		iog_msg_send(c->sock, &out, &c->page.fd, 1, SEC, NULL);
		break;
	case IOG_MSG_OPEN:
		r = m->a;
		if (r >= RANKS || a->rank[r].who) {
			out.kind = IOG_MSG_ERROR;
			iog_strset(out.text, sizeof out.text, "it is open already");
		} else {
			a->ranks = m->b;
			a->rank[r] = (struct rank){ .who = c, .id = m->id };
			out.kind = IOG_MSG_OPENED, out.epoch = a->epoch, out.a = a->credit, out.b = a->expected;
		}
		say(c, &out, NULL, 0);
		break;
	case IOG_MSG_ARENA:
		if (r == RANKS || n != 1)
			break;
		a->rank[r].arena_known = true, a->rank[r].arena = *m, a->rank[r].arena_fd = fds[0];
		fds[0] = -1;
		break;
	case IOG_MSG_EDGE: /* of a reader: on to the writer */
		r = (m->edge - 100) % RANKS;
		if (i == SUBS || n != 1 || m->edge < 100 || !a->rank[r].who)
			break;
		out = (struct iog_msg){ .kind = IOG_MSG_EDGE, .id = a->rank[r].id, .edge = m->edge, .capacity = m->capacity, .policy = m->policy };
		say(a->rank[r].who, &out, fds, 1);
		break;
	case IOG_MSG_EDGE_MADE:
		if (r == RANKS || m->edge < 100 || n > 2)
			break;
		i = (m->edge - 100) / RANKS;
		if (!a->sub[i].who)
			break;
		out = (struct iog_msg){ .kind = IOG_MSG_EDGE_MADE, .id = a->sub[i].id, .edge = m->edge, .a = r, .capacity = m->capacity, .policy = m->policy,
					.arena = a->rank[r].arena.arena };
		say(a->sub[i].who, &out, (int[3]){ a->rank[r].arena_fd, fds[0], fds[1] }, n + 1);
		break;
	case IOG_MSG_CLOSE:
		if (r < RANKS)
			rank_gone(a, r);
		break;
	case IOG_MSG_SUBSCRIBE:
		for (i = 0; i < SUBS && a->sub[i].who; i++)
			;
		if (iog_streq(m->name, "nothing") || i == SUBS) {
			out.kind = IOG_MSG_ERROR;
			iog_strset(out.text, sizeof out.text, "nobody writes it");
			say(c, &out, NULL, 0);
		} else {
			a->sub[i] = (struct sub){ .who = c, .id = m->id, .policy = m->policy };
		}
		break;
	case IOG_MSG_UNSUBSCRIBE:
		if (i < SUBS)
			cut_sub(a, i);
		break;
	case IOG_MSG_SET:
		out.kind = iog_streq(m->name, "roi") ? IOG_MSG_RESULT : IOG_MSG_ERROR;
		iog_strset(out.text, sizeof out.text, "no such parameter");
		a->param = m->number;
		say(c, &out, NULL, 0);
		break;
	default: break;
	}
	match(a);
}

static void *agent_thread(void *arg)
{
	struct agent *a = arg;
	struct iog_msg m;
	for (;;) {
		struct pollfd p[CLIENTS + 2] = { { .fd = a->quit[0], .events = POLLIN }, { .fd = a->listener, .events = POLLIN } };
		for (unsigned i = 0; i < CLIENTS; i++)
			p[i + 2] = (struct pollfd){ .fd = a->client[i].sock, .events = POLLIN };
		poll(p, CLIENTS + 2, -1);
		if (p[0].revents)
			return NULL;
		for (unsigned i = 0; i < CLIENTS; i++) {
			int fds[IOG_FDS];
			uint32_t n = IOG_FDS;
			if (p[i + 2].fd < 0 || !p[i + 2].revents || a->deaf)
				continue;
			int rc = iog_msg_recv(a->client[i].sock, &m, fds, &n, 0, NULL);
			if (rc == 1) {
				told(a, &a->client[i], &m, fds, n);
				for (uint32_t k = 0; k < n; k++)
					if (fds[k] >= 0)
						close(fds[k]);
			} else if (rc != -EAGAIN) {
				client_gone(a, &a->client[i]);
			}
		}
		if (p[1].revents) {
			int s = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC);
			for (unsigned i = 0; i < CLIENTS && s >= 0; i++)
				if (a->client[i].sock < 0) {
					a->client[i].sock = s;
					s = -1;
				}
			if (s >= 0)
				close(s);
		}
	}
}

static void agent_start(struct agent *a)
{
	struct iog_err err = { "" };
	*a = (struct agent){ .dir = "/tmp/iog-test-XXXXXX", .epoch = 3, .ranks = 1 };
	for (unsigned i = 0; i < CLIENTS; i++)
		a->client[i] = (struct client){ .sock = -1, .page = IOG_REGION_NONE };
	assert_non_null(mkdtemp(a->dir));
	snprintf(a->path, sizeof a->path, "%s/agent", a->dir);
	a->listener = iog_attach_listen(a->path, &err);
	assert_true(a->listener >= 0);
	assert_int_equal(pipe2(a->quit, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&a->thread, NULL, agent_thread, a), 0);
}

/* As if it had been killed: its sockets close. */
static void agent_kill(struct agent *a)
{
	assert_int_equal(write(a->quit[1], "", 1), 1);
	pthread_join(a->thread, NULL);
	for (uint32_t r = 0; r < RANKS; r++)
		if (a->rank[r].arena_known)
			close(a->rank[r].arena_fd);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (a->client[i].sock >= 0)
			close(a->client[i].sock);
		iog_region_close(&a->client[i].page);
	}
	close(a->listener);
	close(a->quit[0]);
	close(a->quit[1]);
	unlink(a->path);
	rmdir(a->dir);
}

/* ---- both ends in one thread ---- */

enum { NZ = 4, NY = 6 };
static const int64_t SHAPE[] = { NZ, NY }, ZERO[] = { 0, 0 };

struct pair {
	struct agent a;
	iog *w, *r;
	iog_stream *s;
	iog_reader *reader;
};

static double value(int64_t step, int i) { return (double)step * 1000 + i; }

static int put_step(iog_stream *s, int64_t step)
{
	int rc = iog_begin(s, step, (double)step * 0.5);
	if (rc)
		return rc;
	double *T = iog_fill(s, "T");
	assert_non_null(T);
	for (int i = 0; i < NZ * NY; i++)
		T[i] = value(step, i);
	assert_int_equal(iog_attr(s, "dt", (double)step), 0);
	return iog_commit(s);
}

static void check_step(iog_rec *rec, int64_t step)
{
	iog_view v;
	assert_int_equal(iog_rec_step(rec), step);
	assert_true(iog_rec_time(rec) == (double)step * 0.5);
	assert_int_equal(iog_get(rec, "T", &v), 0);
	assert_int_equal(v.rank, 2);
	assert_int_equal(v.shape[0], NZ);
	assert_int_equal(v.shape[1], NY);
	assert_int_equal(v.stride[1], 8);
	assert_string_equal(v.dtype, "f64");
	assert_string_equal(v.unit, "K");
	assert_string_equal(v.dim[1], "y");
	for (int i = 0; i < NZ * NY; i++)
		assert_true(((const double *)v.data)[i] == value(step, i));
	assert_int_equal(iog_get(rec, "dt", &v), 0);
	assert_int_equal(v.rank, 0);
	assert_true(*(const float *)v.data == (float)step);
}

struct subscribe { iog *io; const char *select, *options; iog_reader *got; };
static void *subscribe_thread(void *arg)
{
	struct subscribe *x = arg;
	x->got = iog_subscribe(x->io, "heat", x->select, x->options);
	return NULL;
}

/* A writer and a reader that are connected; steps from 0 on are the test's. */
static void pair_start(struct pair *p, const char *writer, const char *select, const char *reader)
{
	*p = (struct pair){ 0 };
	agent_start(&p->a);
	p->w = iog_attach(p->a.path);
	assert_string_equal(iog_error(p->w), "");
	p->s = iog_open(p->w, "heat", "T: f64[z,y] K; dt: f32", writer, 0, 1);
	assert_string_equal(iog_error(p->w), "");
	assert_int_equal(iog_block(p->s, "T", SHAPE, ZERO, SHAPE), 0);
	p->r = iog_attach(p->a.path);
	struct subscribe x = { p->r, select, reader, NULL };
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, subscribe_thread, &x), 0);
	assert_int_equal(iog_begin(p->s, -1000000, 0), IOG_SKIP);
	pthread_join(t, NULL);
	p->reader = x.got;
	assert_string_equal(iog_error(p->r), "");
	/* Until a step arrives; with the first one everything is in place. */
	iog_rec *rec = NULL;
	int64_t step = -999999;
	const uint64_t t0 = iog_now_ns();
	for (int rc = IOG_SKIP; rc != IOG_OK; step++) {
		assert_true(iog_now_ns() - t0 < 5 * SEC);
		assert_int_equal(iog_next(p->reader, 0.001, &rec), IOG_TIMEOUT);
		rc = iog_begin(p->s, step, 0);
		assert_true(rc == IOG_OK || rc == IOG_SKIP);
	}
	assert_int_equal(iog_commit(p->s), 0);
	assert_int_equal(iog_next(p->reader, 5, &rec), IOG_OK);
	assert_int_equal(iog_rec_step(rec), step - 1);
	iog_release(rec);
}
static void pair_end(struct pair *p)
{
	iog_detach(p->r);
	iog_detach(p->w);
	agent_kill(&p->a);
}

/* ---- tests ---- */

static void without_an_agent(void **state)
{
	(void)state;
	const uint64_t t0 = iog_now_ns();
	iog *io = iog_attach("/tmp/iog-no-such-folder/agent");
	assert_non_null(strstr(iog_error(io), "no agent answers at /tmp/iog-no-such-folder/agent"));
	iog_stream *s = iog_open(io, "heat", "T: f64[z,y] K", NULL, 0, 1);
	iog_stats st;
	assert_int_equal(iog_block(s, "T", SHAPE, ZERO, SHAPE), -ENOENT);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(iog_begin(s, i, 0), -ENOENT);
		assert_null(iog_fill(s, "T"));
		assert_int_equal(iog_put(s, "T", &st, NULL), -ENOENT);
		assert_int_equal(iog_attr(s, "T", 1), -ENOENT);
		assert_int_equal(iog_commit(s), -ENOENT);
	}
	assert_int_equal(iog_stream_stats(s, &st), -ENOENT);
	iog_reader *r = iog_subscribe(io, "heat", "T[:,1]", NULL);
	iog_rec *rec;
	assert_int_equal(iog_next(r, 10, &rec), -ENOENT);
	assert_null(rec);
	assert_int_equal(iog_reader_stats(r, &st), -ENOENT);
	assert_int_equal(iog_param(io, "roi", 1), -ENOENT);
	assert_int_equal(iog_unsubscribe(r), -ENOENT);
	assert_int_equal(iog_close(s, 10), -ENOENT);
	assert_int_equal(iog_detach(io), -ENOENT);
	assert_int_equal(iog_detach(NULL), 0);
	assert_int_equal(iog_unsubscribe(NULL), 0);
	assert_true(iog_now_ns() - t0 < SEC);
}

struct reading { struct pair *p; int64_t n, taken; uint64_t nap_ns; int rc; };
static void *reading_thread(void *arg)
{
	struct reading *x = arg;
	int64_t last = -1;
	for (iog_rec *rec; !(x->rc = iog_next(x->p->reader, 5, &rec));) {
		iog_view v;
		const int64_t step = iog_rec_step(rec);
		if (step <= last || iog_get(rec, "T", &v) || v.shape[0] != NZ || v.shape[1] != NY) {
			x->rc = -EBADMSG;
			return NULL;
		}
		for (int i = 0; i < NZ * NY; i++)
			if (((const double *)v.data)[i] != value(step, i)) {
				x->rc = -EBADMSG;
				return NULL;
			}
		last = step;
		x->taken++;
		if (x->nap_ns)
			iog_wait_words(NULL, 0, x->nap_ns);
		iog_release(rec);
	}
	return NULL;
}

static void ten_thousand_steps(void **state)
{
	(void)state;
	enum { N = 10000 };
	struct pair p;
	pthread_t t;
	pair_start(&p, "policy=block", NULL, "policy=block");
	struct reading x = { .p = &p };
	assert_int_equal(pthread_create(&t, NULL, reading_thread, &x), 0);
	for (int64_t i = 0; i < N; i++)
		assert_int_equal(put_step(p.s, i), IOG_OK);
	iog_stats st;
	assert_int_equal(iog_stream_stats(p.s, &st), 0);
	assert_int_equal(st.dropped, 0);
	assert_int_equal(st.records, N + 1);
	assert_int_equal(st.readers, 1);
	assert_int_equal(iog_close(p.s, 10), 0);
	pthread_join(t, NULL);
	assert_int_equal(x.rc, IOG_END);
	assert_int_equal(x.taken, N);
	assert_string_equal(iog_error(p.w), "");
	assert_string_equal(iog_error(p.r), "");
	assert_int_equal(iog_reader_stats(p.reader, &st), 0);
	assert_int_equal(st.records, N + 1);
	pair_end(&p);
}

static void contents_and_views(void **state)
{
	(void)state;
	struct pair p;
	iog_rec *rec, *second, *third;
	pair_start(&p, NULL, NULL, "policy=block");
	assert_int_equal(put_step(p.s, 7), 0);
	assert_int_equal(put_step(p.s, 8), 0);
	assert_int_equal(put_step(p.s, 9), 0);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	check_step(rec, 7);
	assert_string_equal(iog_rec_var(rec, 0), "T");
	assert_string_equal(iog_rec_var(rec, 1), "dt");
	assert_null(iog_rec_var(rec, 2));
	iog_view v;
	assert_int_equal(iog_get(rec, "nothing", &v), -ENOENT);
	assert_int_equal(iog_next(p.reader, 1, &second), 0);
	assert_int_equal(iog_next(p.reader, 0, &third), -ENOBUFS);
	iog_release(rec);
	assert_int_equal(iog_next(p.reader, 1, &third), 0);
	check_step(second, 8);
	check_step(third, 9);
	iog_release(second);
	iog_release(second); /* once more does nothing */
	iog_release(third);
	assert_int_equal(iog_next(p.reader, 0.01, &rec), IOG_TIMEOUT);

	/* Ghost cells: the inner part of an array that is larger. */
	double wide[NZ + 2][NY + 2];
	for (int z = 0; z < NZ + 2; z++)
		for (int y = 0; y < NY + 2; y++)
			wide[z][y] = z >= 1 && z <= NZ && y >= 1 && y <= NY ? value(20, (z - 1) * NY + y - 1) : -1;
	assert_int_equal(iog_begin(p.s, 20, 10), 0);
	assert_int_equal(iog_put(p.s, "T", &wide[1][1], (const int64_t[]){ sizeof wide[0], 8 }), 0);
	assert_int_equal(iog_attr(p.s, "dt", 20), 0);
	assert_int_equal(iog_commit(p.s), 0);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	check_step(rec, 20);
	iog_release(rec);

	/* What is not filled is not sent, instead of what was there before. */
	assert_int_equal(iog_begin(p.s, 21, 10.5), 0);
	assert_int_equal(iog_attr(p.s, "dt", 21), 0);
	assert_int_equal(iog_commit(p.s), 0);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	assert_string_equal(iog_rec_var(rec, 0), "dt");
	assert_int_equal(iog_get(rec, "T", &v), -ENOENT);
	iog_release(rec);

	/* A smaller part, and a run that starts again. */
	const int64_t off[] = { 1, 2 }, count[] = { 2, 3 };
	assert_int_equal(iog_block(p.s, "T", SHAPE, off, count), 0);
	assert_int_equal(put_step(p.s, 3), 0);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	assert_int_equal(iog_rec_step(rec), 3);
	assert_int_equal(iog_get(rec, "T", &v), 0);
	assert_int_equal(v.start[0], 1);
	assert_int_equal(v.start[1], 2);
	assert_int_equal(v.shape[0], 2);
	assert_int_equal(v.shape[1], 3);
	assert_true(*(const double *)v.data == value(3, 0));
	iog_release(rec);
	pair_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_agent),
		cmocka_unit_test(contents_and_views),
		cmocka_unit_test(ten_thousand_steps),
	};
	return cmocka_run_group_tests_name("iograph", tests, NULL, NULL);
}
