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
	bool arena_known, ready;
	uint32_t times; /* how often it gave memory, but for the first */
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
	uint32_t epoch, credit, expected, ranks; /* expected: edges of a writer, before it may begin */
	struct client client[CLIENTS];
	struct rank rank[RANKS];
	struct sub sub[SUBS];
	double param;
	bool deaf;  /* does not answer */
	bool graph; /* one takes what comes, and gives nothing back */
	uint32_t incarnation;
	_Atomic uint32_t resumed, refused; /* edges of the graph */
	pthread_t thread;
};

/* One number for an edge, at both ends. */
static uint32_t edge_number(const struct agent *a, uint32_t sub, uint32_t rank)
{
	return 100 + a->rank[rank].times * SUBS * RANKS + sub * RANKS + rank;
}

static void say(struct client *c, struct iog_msg *m, const int *fds, uint32_t n)
{
	struct iog_attach_page *page = c->page.map;
	iog_msg_send(c->sock, m, fds, n, SEC, NULL);
	if (page) {
		atomic_fetch_add(&page->bell, 1);
		iog_wake_word(&page->bell);
	}
}

/* A writer has been asked for the edges of those who wait. */
static void may_begin(struct rank *w)
{
	struct iog_msg m = { .kind = IOG_MSG_READY, .id = w->id, .b = w->arena.b };
	if (!w->ready)
		say(w->who, &m, NULL, 0);
	w->ready = true;
}

/* The graph's edge; numbers of its own. */
static void ask_for_graph(struct agent *a, struct rank *w)
{
	static uint32_t number;
	struct iog_msg m = {
		.kind = IOG_MSG_EDGE, .id = w->id, .a = 1, .edge = ++number, .capacity = w->arena.capacity, .name = "graph 0"
	};
	struct iog_region_map up;
	if (!a->graph || iog_region_create(&up, "iog-up", iog_up_bytes(m.capacity), 0, NULL))
		return;
	say(w->who, &m, &up.fd, 1);
	iog_region_close(&up);
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
				struct iog_msg m = { .kind = IOG_MSG_SUBSCRIBED,
					.id = s->id,
					.b = a->ranks,
					.blocks = w->arena.blocks,
					.schema = w->arena.schema };
				say(s->who, &m, NULL, 0);
				s->told = true;
			}
			if (!s->wanted[r]) {
				struct iog_msg m = { .kind = IOG_MSG_EDGE_WANTED,
					.id = s->id,
					.edge = edge_number(a, i, r),
					.a = r,
					.policy = s->policy,
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
			struct iog_msg m = { .kind = IOG_MSG_CUT, .id = a->rank[r].id, .edge = edge_number(a, i, r) };
			say(a->rank[r].who, &m, NULL, 0);
		}
	a->sub[i] = (struct sub){ 0 };
}

static void rank_gone(struct agent *a, uint32_t r)
{
	for (uint32_t i = 0; i < SUBS; i++)
		if (a->sub[i].who) {
			struct iog_msg m = { .kind = IOG_MSG_WRITER_GONE, .id = a->sub[i].id, .edge = edge_number(a, i, r), .a = r };
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
		out.kind = IOG_MSG_WELCOME, out.a = m->a, out.epoch = a->incarnation;
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
			out.kind = IOG_MSG_OPENED, out.epoch = a->epoch, out.a = a->credit;
		}
		say(c, &out, NULL, 0);
		break;
	case IOG_MSG_ARENA:
		if (r == RANKS || n != 1)
			break;
		for (i = 0; i < SUBS && a->rank[r].arena_known; i++) /* other memory: who reads comes again */
			a->sub[i].wanted[r] = false;
		if (a->rank[r].arena_known) {
			close(a->rank[r].arena_fd);
			a->rank[r].times++;
			a->rank[r].ready = false;
		}
		a->rank[r].arena_known = true, a->rank[r].arena = *m, a->rank[r].arena_fd = fds[0];
		fds[0] = -1;
		ask_for_graph(a, &a->rank[r]);
		if (!a->expected)
			may_begin(&a->rank[r]);
		break;
	case IOG_MSG_EDGE: /* of a reader: on to the writer */
		r = (m->edge - 100) % RANKS;
		if (i == SUBS || n != 1 || m->edge < 100 || !a->rank[r].who)
			break;
		out = (struct iog_msg){
			.kind = IOG_MSG_EDGE, .id = a->rank[r].id, .edge = m->edge, .capacity = m->capacity, .policy = m->policy
		};
		say(a->rank[r].who, &out, fds, 1);
		may_begin(&a->rank[r]); /* one is expected at most */
		break;
	case IOG_MSG_ERROR: a->refused++; break;
	case IOG_MSG_EDGE_MADE:
		a->resumed += m->edge < 100 && m->a;
		if (r == RANKS || m->edge < 100 || n > 2)
			break;
		i = (m->edge - 100) / RANKS % SUBS;
		if (!a->sub[i].who)
			break;
		out = (struct iog_msg){ .kind = IOG_MSG_EDGE_MADE,
			.id = a->sub[i].id,
			.edge = m->edge,
			.a = r,
			.capacity = m->capacity,
			.policy = m->policy,
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

static void agent_listen(struct agent *a)
{
	struct iog_err err = { "" };
	for (unsigned i = 0; i < CLIENTS; i++)
		a->client[i] = (struct client){ .sock = -1, .page = IOG_REGION_NONE };
	snprintf(a->path, sizeof a->path, "%s/agent", a->dir);
	a->listener = iog_attach_listen(a->path, &err);
	assert_true(a->listener >= 0);
	assert_int_equal(pipe2(a->quit, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&a->thread, NULL, agent_thread, a), 0);
}

static void agent_start(struct agent *a)
{
	*a = (struct agent){ .dir = "/tmp/iog-test-XXXXXX", .epoch = 3, .ranks = 1, .incarnation = 1 };
	assert_non_null(mkdtemp(a->dir));
	agent_listen(a);
}

/* As if it had been killed: its sockets close. */
static void agent_die(struct agent *a)
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
}

static void agent_kill(struct agent *a)
{
	agent_die(a);
	unlink(a->path);
	rmdir(a->dir);
}

/* Another one in the place of one that is killed. */
static void agent_again(struct agent *a)
{
	struct agent next = { .epoch = a->epoch, .ranks = 1, .incarnation = a->incarnation + 1, .graph = a->graph };
	agent_die(a);
	memcpy(next.dir, a->dir, sizeof next.dir);
	*a = next;
	agent_listen(a);
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

struct subscribe {
	iog *io;
	const char *select, *options;
	iog_reader *got;
};
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
	int64_t step = -1000000;
	int rc = iog_begin(p->s, step, 0); /* OK when the reader was quick */
	pthread_join(t, NULL);
	p->reader = x.got;
	assert_string_equal(iog_error(p->r), "");
	/* Until a step arrives; with the first one everything is in place. */
	iog_rec *rec = NULL;
	const uint64_t t0 = iog_now_ns();
	while (rc == IOG_SKIP) {
		assert_true(iog_now_ns() - t0 < 5 * SEC);
		assert_int_equal(iog_next(p->reader, 0.001, &rec), IOG_TIMEOUT);
		rc = iog_begin(p->s, ++step, 0);
	}
	assert_int_equal(rc, IOG_OK);
	assert_int_equal(iog_commit(p->s), 0);
	assert_int_equal(iog_next(p->reader, 5, &rec), IOG_OK);
	assert_int_equal(iog_rec_step(rec), step);
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
	/* A graph that is not there: no agent is looked for at no place. */
	io = iog_attach("/tmp/iog-no-such-folder/graph.lua");
	assert_non_null(strstr(iog_error(io), "the graph /tmp/iog-no-such-folder/graph.lua: No such file"));
	assert_string_equal(io->path, "");
	assert_false(io->again);
	assert_int_equal(iog_detach(io), -ENOENT);
	assert_true(iog_now_ns() - t0 < SEC);
}

struct reading {
	struct pair *p;
	int64_t n, taken;
	uint64_t nap_ns;
	int rc;
};
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

static void selections(void **state)
{
	(void)state;
	static const struct {
		const char *text, *error;
	} wrong[] = {
		{ "T[1:3, 4]", "select \"T[1:3, 4]\": column 7: expected an index" },
		{ "T[", "column 3: expected an index" },
		{ "T[]", "column 3: expected an index" },
		{ "T[:", "column 4: expected , or ]" },
		{ "T[:,3]x", "column 6: nothing may stand behind the ]" },
		{ "T[5:5]", "column 5: the range is empty" },
		{ "T[-1]", "column 3: expected an index" },
		{ "T[99999999999999999999]", "column 3: the number is too large" },
		{ "T[:99999999999999999999]", "column 4: the number is too large" },
		{ "T[:,:,:,:,:,:,:,:,:]", "column 19: a variable has at most 8 dimensions" },
		{ "[1]", "column 1: expected the name of a variable" },
		{ "T[:]", "T of stream heat has 2 dimensions, not 1" },
		{ "U", "stream heat has no variable \"U\"" },
		{ "T[4,:]", "index 4 of dimension z, which has 4" },
	};
	struct pair p;
	iog_rec *rec;
	iog_view v;
	pair_start(&p, NULL, "T[1:3,4]", "policy=block");
	for (unsigned i = 0; i < IOG_COUNT(wrong); i++) {
		iog *io = iog_attach(p.a.path);
		iog_reader *r = iog_subscribe(io, "heat", wrong[i].text, NULL);
		assert_true(iog_next(r, 1, &rec) < 0);
		if (!strstr(iog_error(io), wrong[i].error))
			assert_string_equal(iog_error(io), wrong[i].error);
		iog_detach(io);
	}
	assert_int_equal(put_step(p.s, 5), 0);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	assert_string_equal(iog_rec_var(rec, 0), "T");
	assert_null(iog_rec_var(rec, 1));
	assert_int_equal(iog_get(rec, "dt", &v), -ENOENT);
	assert_int_equal(iog_get(rec, "T", &v), 0);
	assert_int_equal(v.rank, 1); /* an index leaves no dimension behind */
	assert_string_equal(v.dim[0], "z");
	assert_int_equal(v.shape[0], 2);
	assert_int_equal(v.start[0], 1);
	assert_int_equal(v.stride[0], NY * 8);
	for (int z = 1; z < 3; z++)
		assert_true(*(const double *)((const char *)v.data + (z - 1) * v.stride[0]) == value(5, z * NY + 4));
	iog_release(rec);

	iog *io = iog_attach(p.a.path);
	iog_reader *r = iog_subscribe(io, "nothing", NULL, "timeout=0");
	assert_int_equal(iog_next(r, 1, &rec), -ENOENT);
	assert_string_equal(iog_error(io), "stream nothing: nobody writes it");
	assert_int_equal(iog_param(io, "roi", 2.5), 0);
	assert_true(p.a.param == 2.5);
	assert_int_equal(iog_param(io, "no", 1), -EINVAL);
	iog_detach(io);
	pair_end(&p);
}

/* One rank of a stream, in a thread. */
struct part {
	struct agent *a;
	int rank, n;
	int64_t steps;
	int rc;
};
static void *part_thread(void *arg)
{
	struct part *x = arg;
	iog *io = iog_attach(x->a->path);
	iog_stream *s = iog_open(io, "heat", "T: f64[z,y] K; static mass: f32[y] kg", NULL, x->rank, x->n);
	const int64_t global[] = { NZ * x->n, NY }, offset[] = { NZ * x->rank, 0 }, count[] = { NZ, NY };
	const float mass[NY] = { 1, 2, 3, 4, 5, 6 };
	double T[NZ * NY];
	iog_block(s, "T", global, offset, count);
	iog_block(s, "mass", SHAPE + 1, ZERO, SHAPE + 1);
	for (int64_t i = 0; i < x->steps; i++) {
		for (int k = 0; k < NZ * NY; k++)
			T[k] = value(i, NZ * NY * x->rank + k);
		/* Two runs: the second one begins when half is done. */
		if (iog_begin(s, i < x->steps / 2 ? i : i - x->steps / 2, 0) != IOG_OK)
			continue;
		if (x->rank == 0)
			iog_put(s, "mass", mass, NULL);
		iog_put(s, "T", T, NULL);
		iog_commit(s);
	}
	x->rc = iog_close(s, 5);
	iog_detach(io);
	return NULL;
}

static void ranks_are_put_together(void **state)
{
	(void)state;
	enum { N = 3, STEPS = 40 };
	struct agent a;
	struct part x[N];
	pthread_t t[N];
	iog_rec *rec;
	iog_view v;
	agent_start(&a);
	a.ranks = N;
	a.expected = 1;
	iog *io = iog_attach(a.path);
	for (int i = 0; i < N; i++) {
		x[i] = (struct part){ &a, i, N, STEPS, 0 };
		assert_int_equal(pthread_create(&t[i], NULL, part_thread, &x[i]), 0);
	}
	iog_reader *r = iog_subscribe(io, "heat", NULL, "policy=block");
	int64_t n = 0, last = -1, runs = 1;
	int rc;
	while (!(rc = iog_next(r, 10, &rec))) {
		const int64_t step = iog_rec_step(rec);
		runs += step <= last;
		const int64_t i = step + (runs - 1) * (STEPS / 2);
		last = step;
		n++;
		assert_int_equal(iog_get(rec, "T", &v), 0);
		assert_int_equal(v.shape[0], NZ * N);
		for (int k = 0; k < NZ * N * NY; k++)
			if (((const double *)v.data)[k] != value(i, k))
				fail_msg("step %lld, run %lld, read %lld: element %d is %g", (long long)step, (long long)runs, (long long)n,
					k, ((const double *)v.data)[k]);
		assert_int_equal(iog_get(rec, "mass", &v), 0);
		assert_int_equal(v.shape[0], NY);
		for (int k = 0; k < NY; k++)
			assert_true(((const float *)v.data)[k] == (float)(k + 1));
		iog_release(rec);
	}
	assert_int_equal(rc, IOG_END);
	assert_int_equal(runs, 2);
	assert_int_equal(n, STEPS);
	for (int i = 0; i < N; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(x[i].rc, 0);
	}
	assert_string_equal(iog_error(io), "");
	iog_detach(io);
	agent_kill(&a);
}

/* The reader takes nothing and gives nothing back; the writer does not notice. */
/* What the agent sees of the dropped ones. */
static uint64_t seen_dropped(const struct agent *a)
{
	const struct iog_arena *arena = &a->rank[0].arena.arena;
	const uint64_t at = iog_attach_counts(iog_arena_bytes(arena));
	struct iog_region_map m;
	assert_int_equal(iog_region_open(&m, dup(a->rank[0].arena_fd), at + sizeof(struct iog_attach_counts), UINT32_MAX, NULL), 0);
	const uint64_t n = ((const struct iog_attach_counts *)((const uint8_t *)m.map + at))->dropped;
	iog_region_close(&m);
	return n;
}

static void never_waits(const char *writer, const char *reader, bool newest)
{
	enum { N = 2000 };
	struct pair p;
	iog_rec *rec, *held;
	iog_stats st;
	pair_start(&p, writer, NULL, reader);
	assert_int_equal(put_step(p.s, 0), 0);
	assert_int_equal(iog_next(p.reader, 1, &held), 0);
	for (int64_t i = 1; i <= N; i++)
		assert_int_equal(put_step(p.s, i), IOG_OK);
	iog_stream_stats(p.s, &st);
	assert_true(st.blocked_s < 0.01);
	assert_true(st.dropped >= N - IOG_READER_CREDIT && st.dropped < N);
	assert_int_equal(seen_dropped(&p.a), st.dropped);
	check_step(held, 0); /* what is held stays what it was */
	iog_release(held);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	check_step(rec, newest ? N : 1);
	iog_release(rec);
	assert_int_equal(iog_close(p.s, 5), 0);
	pair_end(&p);
}
static void latest_never_waits(void **state)
{
	(void)state;
	never_waits("policy=block", "policy=latest", true);
}
static void drop_new_never_waits(void **state)
{
	(void)state;
	never_waits("policy=block", "policy=drop-new", false);
}
static void lossy_stream_never_waits(void **state)
{
	(void)state;
	never_waits("policy=latest", "policy=block", false);
}

static void block_has_a_limit(void **state)
{
	(void)state;
	struct pair p;
	iog_rec *rec;
	iog_stats st;
	pair_start(&p, "policy=block timeout=60ms", NULL, "policy=block");
	int64_t i = 0;
	const uint64_t t0 = iog_now_ns();
	while (put_step(p.s, i) == IOG_OK)
		i++;
	assert_int_equal(i, IOG_READER_CREDIT);
	assert_int_equal(put_step(p.s, i + 1), IOG_TIMEOUT);
	const uint64_t t = iog_now_ns() - t0;
	assert_true(t > 110000000 && t < 2 * SEC);
	iog_stream_stats(p.s, &st);
	assert_int_equal(st.dropped, 2);
	assert_true(st.blocked_s > 0.11);
	/* The reader goes on: what was committed is there, then what comes. */
	for (int64_t k = 0; k < i; k++) {
		assert_int_equal(iog_next(p.reader, 1, &rec), 0);
		check_step(rec, k);
		iog_release(rec);
	}
	assert_int_equal(put_step(p.s, i + 2), IOG_OK);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	check_step(rec, i + 2);
	/* Held for ever: the end has a limit as well. */
	assert_int_equal(iog_close(p.s, 0.05), -ETIMEDOUT);
	check_step(rec, i + 2); /* the memory outlives its writer */
	iog_release(rec);
	assert_int_equal(iog_next(p.reader, 1, &rec), IOG_END);
	pair_end(&p);
}

/* After as many steps in a row as it has patience for, a stream does not wait, until there is room again. */
static void patience_has_an_end(void **state)
{
	(void)state;
	struct pair p;
	iog_rec *rec;
	iog_stats before, after;
	pair_start(&p, "policy=block timeout=60ms patience=3", NULL, "policy=block");
	int64_t i = 0, taken;
	for (int late = 0; late < 3;)
		late += put_step(p.s, i++) == IOG_TIMEOUT;
	taken = i - 3;
	iog_stream_stats(p.s, &before);
	for (int k = 0; k < 1000; k++)
		assert_int_equal(put_step(p.s, i++), IOG_SKIP);
	iog_stream_stats(p.s, &after);
	assert_true(after.blocked_s == before.blocked_s); /* not a moment */
	assert_int_equal(after.dropped, before.dropped + 1000);
	for (int64_t k = 0; k < taken; k++) {
		assert_int_equal(iog_next(p.reader, 1, &rec), 0);
		check_step(rec, k);
		iog_release(rec);
	}
	for (int64_t k = 0; k < taken; k++)
		assert_int_equal(put_step(p.s, i++), IOG_OK);
	assert_int_equal(put_step(p.s, i++), IOG_TIMEOUT); /* as at first */
	iog_stream_stats(p.s, &after);
	assert_true(after.blocked_s > before.blocked_s + 0.05);
	pair_end(&p);
}

/* A part that may grow is placed twice before the first step. */
static void parts_grow_into_their_room(void **state)
{
	(void)state;
	struct agent a;
	agent_start(&a);
	iog *w = iog_attach(a.path);
	iog_stream *s = iog_open(w, "heat", "T: f64[y<=20]", "timeout=10ms", 0, 1);
	for (int64_t n = 12; n >= 3; n -= 9)
		assert_int_equal(iog_block(s, "T", &n, ZERO, &n), 0);
	assert_true(iog_begin(s, 0, 0) >= 0);
	for (int64_t n = 3; n <= 12; n++) {
		assert_int_equal(iog_block(s, "T", &n, ZERO, &n), 0);
		assert_true(iog_begin(s, n, 0) >= 0);
	}
	const int64_t more = 21;
	assert_int_equal(iog_block(s, "T", &more, ZERO, &more), -EFBIG); /* of the whole */
	iog_close(s, 1);
	iog_detach(w);
	agent_kill(&a);
}

/* Arenas this process has mapped, as writer and as reader. */
static int arenas(void)
{
	char line[512];
	int n = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		n += strstr(line, "iog-arena") != NULL;
	fclose(f);
	return n;
}

struct late_reader {
	iog *io;
	int wrong, steps, arenas;
};

/* Reads all steps of a part that grows; holds one for long while others come. */
static void *read_growing(void *arg)
{
	struct late_reader *l = arg;
	iog_rec *rec, *held = NULL;
	iog_reader *r = iog_subscribe(l->io, "grows", NULL, "policy=block timeout=10s");
	while (iog_next(r, 10, &rec) == IOG_OK) {
		const int64_t step = iog_rec_step(rec), n = IOG_MIN(3 + step * step / 40, (int64_t)1000);
		iog_view v;
		l->wrong += step != l->steps++ || iog_get(rec, "x", &v) || v.shape[0] != n;
		for (int64_t i = 0; i < n && !l->wrong; i++)
			l->wrong += ((const double *)v.data)[i] != (double)(step * 10000 + i);
		l->wrong += iog_get(rec, "a", &v) || v.shape[0] != 2 || ((const double *)v.data)[1] != 4;
		if (step == 100)
			held = rec;
		else
			iog_release(rec);
		if (step == 200) {
			l->wrong += iog_get(held, "x", &v) || ((const double *)v.data)[252] != 1000252;
			iog_release(held);
		}
	}
	l->arenas = arenas();
	iog_unsubscribe(r);
	return NULL;
}

/* A part outgrows its place, again and again: no step is lost or wrong, what is held stays, and old memory goes. */
static void a_part_outgrows_its_place(void **state)
{
	(void)state;
	enum { MOST = 1000 };
	struct agent a;
	double x[MOST];
	agent_start(&a);
	a.expected = 1;
	iog *w = iog_attach(a.path), *io = iog_attach(a.path);
	iog_stream *s = iog_open(w, "grows", "x: f64[i<=1000]; static a: f64[j=2]", "timeout=10s", 0, 1);
	const int64_t whole = MOST, two = 2;
	assert_int_equal(iog_block(s, "a", &two, ZERO, &two), 0);
	int64_t n = 3;
	assert_int_equal(iog_block(s, "x", &whole, ZERO, &n), 0);
	pthread_t t;
	struct late_reader l = { .io = io };
	assert_int_equal(pthread_create(&t, NULL, read_growing, &l), 0);
	for (int64_t step = 0; step < 300; step++, n = IOG_MIN(3 + step * step / 40, (int64_t)MOST)) {
		assert_int_equal(iog_block(s, "x", &whole, ZERO, &n), 0);
		for (int64_t i = 0; i < n; i++)
			x[i] = (double)(step * 10000 + i);
		assert_int_equal(iog_begin(s, step, 0), IOG_OK);
		assert_int_equal(iog_put(s, "x", x, NULL), 0);
		if (!step)
			assert_int_equal(iog_put(s, "a", (double[]){ 3, 4 }, NULL), 0);
		assert_int_equal(iog_commit(s), 0);
	}
	iog_close(s, 10);
	pthread_join(t, NULL);
	assert_int_equal(l.wrong, 0);
	assert_int_equal(l.steps, 300);
	assert_true(l.arenas <= 3);
	iog_detach(w);
	iog_detach(io);
	agent_kill(&a);
}

/* More steps are kept in outgrown memory than the larger one has room for: the graph of the next agent is given them all. */
static void growth_keeps_what_is_owed(void **state)
{
	enum { SMALL = 100, LARGE = 4000, KEPT = 40 };
	static struct agent a;
	static double x[LARGE];
	const int64_t whole = LARGE;
	(void)state;
	agent_start(&a);
	a.graph = true;
	iog *io = iog_attach(a.path);
	iog_stream *s = iog_open(io, "grows", "x: f64[i<=4000]", "timeout=100ms bytes=1MiB", 0, 1);
	for (int64_t step = 0, n = SMALL; step <= KEPT; step++, n = step < KEPT ? SMALL : LARGE) {
		assert_int_equal(iog_block(s, "x", &whole, ZERO, &n), 0);
		assert_int_equal(iog_begin(s, step, 0), IOG_OK);
		assert_int_equal(iog_put(s, "x", x, NULL), 0);
		assert_int_equal(iog_commit(s), 0);
	}
	assert_true(a.rank[0].arena.capacity < KEPT);
	agent_again(&a);
	const uint64_t t0 = iog_now_ns();
	for (int64_t step = KEPT + 1; a.resumed + a.refused < 2; step++) { /* that of the old memory, then that of the new */
		assert_true(iog_now_ns() - t0 < 20 * SEC);
		if (iog_begin(s, step, 0) == IOG_OK)
			assert_int_equal(iog_commit(s), 0);
	}
	assert_int_equal(a.resumed, 2);
	assert_string_equal(iog_error(io), "");
	assert_int_equal(iog_close(s, 0), -ETIMEDOUT);
	iog_detach(io);
	agent_kill(&a);
}

/* What is taken is not more than was declared, as long as that holds the steps every stream must have. */
static void bytes_are_a_bound(void **state)
{
	enum { STEP = NZ * NY * 8, KEPT = IOG_READERS * IOG_READER_CREDIT + 1 };
	static const struct {
		const char *options;
		uint32_t steps, credit, kept; /* steps: of bytes */
	} c[] = {
		{ "bytes=%llu", KEPT + 2, 2, KEPT }, { "bytes=%llu", KEPT + 3, 2, KEPT }, { "bytes=%llu", KEPT + 4, 4, KEPT },
		{ "bytes=%llu", KEPT + 63, 32, KEPT }, { "bytes=%llu", 10 * KEPT, 64, KEPT },
		{ "bytes=%llu policy=latest", KEPT + 8, 4, KEPT + IOG_READER_CREDIT },
		{ "bytes=%llu policy=latest", KEPT + 12, 8, KEPT + IOG_READER_CREDIT }, { "bytes=%llu", 3, 2, KEPT }, /* the fewest */
	};
	static struct agent a;
	(void)state;
	agent_start(&a);
	iog *io = iog_attach(a.path);
	uint64_t slot = 0;
	for (size_t i = 0; i < IOG_COUNT(c); i++) {
		char options[80];
		/* The first one says how large a slot is. */
		for (int pass = slot ? 1 : 0; pass < 2; pass++) {
			snprintf(options, sizeof options, c[i].options, (unsigned long long)(pass ? c[i].steps * slot : 1 << 20));
			iog_stream *s = iog_open(io, "heat", "T: f64[z,y] K", options, 0, 1);
			assert_int_equal(iog_block(s, "T", SHAPE, ZERO, SHAPE), 0);
			assert_int_equal(iog_begin(s, 0, 0), IOG_SKIP);
			const struct iog_msg *m = &a.rank[0].arena;
			slot = m->arena.slot_bytes;
			assert_true(slot > STEP);
			if (pass) {
				assert_int_equal(m->capacity, c[i].credit);
				assert_int_equal(m->arena.n_slots, c[i].credit + c[i].kept);
			}
			assert_int_equal(iog_close(s, 1), 0);
		}
	}
	iog_detach(io);
	agent_kill(&a);
}

static void *leave_thread(void *arg)
{
	struct pair *p = arg;
	usleep(50000);
	iog_detach(p->r);
	return NULL;
}
static void reader_leaves(void **state)
{
	(void)state;
	struct pair p;
	pthread_t t;
	pair_start(&p, "policy=block timeout=20s", NULL, "policy=block");
	assert_int_equal(pthread_create(&t, NULL, leave_thread, &p), 0);
	int64_t i = 0;
	int rc;
	const uint64_t t0 = iog_now_ns();
	while ((rc = put_step(p.s, i++)) == IOG_OK)
		;
	assert_int_equal(rc, IOG_SKIP);
	assert_true(iog_now_ns() - t0 < 5 * SEC);
	pthread_join(t, NULL);
	/* Its place is free: another one, many times over. */
	for (int k = 0; k < 40; k++) {
		p.r = iog_attach(p.a.path);
		p.reader = iog_subscribe(p.r, "heat", NULL, k % 2 ? "policy=block" : "policy=latest");
		iog_rec *rec;
		const uint64_t t1 = iog_now_ns();
		do {
			assert_true(iog_now_ns() - t1 < 5 * SEC);
			rc = put_step(p.s, i++);
			assert_true(rc == IOG_OK || rc == IOG_SKIP);
		} while (iog_next(p.reader, 0.002, &rec) != IOG_OK);
		iog_release(rec);
		iog_detach(p.r);
	}
	assert_string_equal(iog_error(p.w), "");
	iog_detach(p.w);
	agent_kill(&p.a);
}

static void writer_is_killed(void **state)
{
	(void)state;
	struct agent a;
	int tell[2];
	iog_rec *rec;
	assert_int_equal(pipe(tell), 0);
	agent_start(&a);
	pid_t pid = fork();
	if (!pid) {
		iog *io = iog_attach(a.path);
		iog_stream *s = iog_open(io, "heat", "T: f64[z,y] K; dt: f32", "timeout=10s", 0, 1);
		iog_block(s, "T", SHAPE, ZERO, SHAPE);
		for (int64_t i = 0, n = 0; n < 100; i++) {
			const int rc = iog_begin(s, i, (double)i * 0.5);
			if (rc != IOG_OK) {
				usleep(1000);
				continue;
			}
			double *T = iog_fill(s, "T");
			for (int k = 0; k < NZ * NY; k++)
				T[k] = value(i, k);
			iog_attr(s, "dt", (double)i);
			if (++n == 100) /* in the middle of this step */
				kill(getpid(), SIGKILL);
			iog_commit(s);
			if (write(tell[1], &i, sizeof i) != sizeof i)
				_exit(1);
		}
		_exit(2);
	}
	assert_true(pid > 0);
	close(tell[1]);
	iog *io = iog_attach(a.path);
	iog_reader *r = iog_subscribe(io, "heat", NULL, "policy=block");
	int64_t i, status;
	int rc, st;
	while (!(rc = iog_next(r, 10, &rec))) {
		assert_int_equal(read(tell[0], &i, sizeof i), sizeof i);
		check_step(rec, i);
		iog_release(rec);
	}
	assert_int_equal(rc, IOG_END);
	status = read(tell[0], &i, sizeof i);
	assert_int_equal(status, 0); /* everything that was committed was read */
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSIGNALED(st));
	close(tell[0]);
	assert_int_equal(iog_next(r, 0, &rec), IOG_END);
	iog_detach(io);
	agent_kill(&a);
}

/* Streams outlive the agent between those who are connected. */
static void agent_dies(void **state)
{
	(void)state;
	struct pair p;
	iog_rec *rec;
	pair_start(&p, "policy=block timeout=100ms", NULL, "policy=block");
	iog_stream *second = iog_open(p.w, "other", "x: f64", NULL, 1, 2);
	agent_kill(&p.a);
	usleep(150000);
	for (int64_t i = 0; i < 100; i++) {
		assert_int_equal(put_step(p.s, i), 0);
		assert_int_equal(iog_next(p.reader, 1, &rec), 0);
		check_step(rec, i);
		iog_release(rec);
		if (i == 50)
			usleep(150000);
	}
	assert_non_null(strstr(iog_error(p.w), "the agent has ended"));
	assert_non_null(strstr(iog_error(p.r), "the agent has ended"));
	assert_int_equal(iog_begin(second, 0, 0), IOG_SKIP);
	/* The reader stops: without an agent nobody would say so. It costs one time limit, not one each step. */
	int64_t i = 100;
	while (put_step(p.s, i) == IOG_OK)
		i++;
	const uint64_t t0 = iog_now_ns();
	for (int k = 0; k < 100; k++)
		assert_int_equal(put_step(p.s, ++i), IOG_SKIP);
	assert_true(iog_now_ns() - t0 < 50000000);
	iog_stream *late = iog_open(p.w, "late", "x: f64", NULL, 0, 1);
	assert_true(iog_begin(late, 0, 0) < 0);
	iog_detach(p.w);
	iog_detach(p.r);
}

static void mistakes(void **state)
{
	(void)state;
	static const struct {
		const char *name, *schema, *options;
		int rank, n;
		const char *error;
	} wrong[] = {
		{ "heat", "T f64", NULL, 0, 1, "stream heat: schema: " },
		{ "heat", "", NULL, 0, 1, "stream heat: a schema declares one variable or more" },
		{ "heat", NULL, NULL, 0, 1, "stream heat: a schema declares one variable or more" },
		{ "he at", "T: f64", NULL, 0, 1, "stream \"he at\": a name has letters" },
		{ NULL, "T: f64", NULL, 0, 1, "stream \"\": a name has letters" },
		{ "heat", "T: f64", "policy=never", 0, 1, "option \"policy=never\": known are policy=block|latest|drop-new" },
		{ "heat", "T: f64", "timeout=long", 0, 1, "option \"timeout=long\"" },
		{ "heat", "T: f64", "bytes", 0, 1, "option \"bytes\"" },
		{ "heat", "T: f64", NULL, 1, 1, "rank 1 of 1" },
		{ "heat", "T: f64", NULL, 0, 65, "rank 0 of 65" },
		{ "heat", "T: f64 K | zstd", NULL, 0, 1, "a program writes plain arrays" },
	};
	struct agent a;
	agent_start(&a);
	for (unsigned i = 0; i < IOG_COUNT(wrong); i++) {
		iog *io = iog_attach(a.path);
		iog_stream *s = iog_open(io, wrong[i].name, wrong[i].schema, wrong[i].options, wrong[i].rank, wrong[i].n);
		assert_int_equal(iog_begin(s, 0, 0), -EINVAL);
		if (!strstr(iog_error(io), wrong[i].error))
			assert_string_equal(iog_error(io), wrong[i].error);
		assert_int_equal(iog_close(s, 1), -EINVAL);
		iog_detach(io);
	}
	agent_kill(&a);

	struct pair p;
	double x = 0;
	pair_start(&p, NULL, NULL, "policy=block");
	const int64_t big[] = { NZ, NY + 1 }, three[] = { 3, 3 }, minus[] = { -1, 0 };
	assert_int_equal(iog_block(p.s, "U", SHAPE, ZERO, SHAPE), -ENOENT);
	assert_int_equal(iog_block(p.s, "dt", SHAPE, ZERO, SHAPE), -EINVAL);
	assert_int_equal(iog_block(p.s, "T", NULL, ZERO, SHAPE), -EINVAL);
	assert_int_equal(iog_block(p.s, "T", SHAPE, three, SHAPE), -EINVAL);
	assert_int_equal(iog_block(p.s, "T", SHAPE, minus, SHAPE), -EINVAL);
	assert_int_equal(iog_block(p.s, "T", big, ZERO, big), -EFBIG);
	assert_null(iog_fill(p.s, "T"));
	assert_int_equal(iog_put(p.s, "T", &x, NULL), -EINVAL);
	assert_int_equal(iog_commit(p.s), -EINVAL);
	assert_int_equal(iog_begin(p.s, INT64_MAX, 0), -EINVAL);
	assert_int_equal(iog_begin(p.s, 1, 0), 0);
	assert_int_equal(iog_block(p.s, "T", SHAPE, ZERO, SHAPE), -EBUSY);
	assert_null(iog_fill(p.s, "U"));
	assert_int_equal(iog_put(p.s, "U", &x, NULL), -ENOENT);
	assert_int_equal(iog_put(p.s, "T", NULL, NULL), -EINVAL);
	assert_int_equal(iog_attr(p.s, "T", 1), -EINVAL);
	assert_int_equal(iog_begin(p.s, 2, 0), 0); /* the open one is dropped */
	assert_int_equal(iog_commit(p.s), 0);
	assert_int_equal(put_step(p.s, 3), 0);
	iog_rec *rec;
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	assert_int_equal(iog_rec_step(rec), 2);
	iog_release(rec);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	check_step(rec, 3);
	iog_release(rec);
	assert_int_equal(iog_close(p.s, 1), -ENOENT); /* the first of them */

	/* Shapes that are missing, or do not agree. */
	iog_stream *s = iog_open(p.w, "heat", "T: f64[z,y] K; U: f64[y]", NULL, 0, 1);
	assert_int_equal(iog_block(s, "T", SHAPE, ZERO, SHAPE), 0);
	assert_int_equal(iog_begin(s, 0, 0), -EINVAL);
	assert_int_equal(iog_block(s, "U", SHAPE, ZERO, SHAPE), 0);
	assert_int_equal(iog_begin(s, 0, 0), -EINVAL);
	assert_int_equal(iog_block(s, "U", SHAPE + 1, ZERO, SHAPE + 1), 0);
	assert_int_equal(iog_begin(s, 0, 0), IOG_SKIP);
	assert_int_equal(iog_close(s, 1), -EINVAL);
	s = iog_open(p.w, "small", "T: f64[z,y] K", "bytes=2000", 0, 1);
	const int64_t large[] = { 1000, 1000 };
	assert_int_equal(iog_block(s, "T", large, ZERO, large), 0);
	assert_int_equal(iog_begin(s, 0, 0), -EINVAL); /* not two steps */
	assert_int_equal(iog_close(s, 1), -EINVAL);
	pair_end(&p);
}

/* One step in hand: the rank that publishes it waits for the graph, which waits for a rank that waits for this one. */
static void one_step_is_too_few(void **state)
{
	static struct agent a;
	const int64_t row[] = { 1000 };
	(void)state;
	for (int ranks = 1; ranks <= 2; ranks++) {
		agent_start(&a);
		a.ranks = (uint32_t)ranks;
		iog *io = iog_attach(a.path);
		iog_stream *s = iog_open(io, "narrow", "T: f64[x]", "bytes=12KiB", 0, ranks);
		assert_int_equal(iog_block(s, "T", row, ZERO, row), 0);
		assert_int_equal(iog_begin(s, 0, 0), -EINVAL);
		assert_non_null(strstr(iog_error(io), "hold 1 steps"));
		assert_int_equal(!!strstr(iog_error(io), "a collective of MPI"), ranks > 1);
		assert_int_equal(iog_close(s, 1), -EINVAL);
		iog_detach(io);
		agent_kill(&a);
	}
}

static void application_forks(void **state)
{
	(void)state;
	struct pair p;
	iog_rec *rec;
	pair_start(&p, NULL, NULL, "policy=block");
	assert_int_equal(put_step(p.s, 1), 0);
	assert_int_equal(iog_begin(p.s, 2, 1), 0);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	pid_t pid = fork();
	if (!pid) {
		iog_view v;
		iog_stats st;
		iog_rec *r2;
		signal(SIGSEGV, SIG_DFL);
		_exit(!(iog_begin(p.s, 3, 0) == -EBADF && !iog_fill(p.s, "T") && iog_put(p.s, "T", &v, NULL) == -EBADF &&
			iog_attr(p.s, "dt", 1) == -EBADF && iog_commit(p.s) == -EBADF &&
			iog_block(p.s, "T", SHAPE, ZERO, SHAPE) == -EBADF && iog_close(p.s, 1) == -EBADF &&
			iog_stream_stats(p.s, &st) == -EBADF && iog_next(p.reader, 1, &r2) == -EBADF && iog_get(rec, "T", &v) == -EBADF &&
			iog_reader_stats(p.reader, &st) == -EBADF && iog_param(p.w, "roi", 1) == -EBADF &&
			iog_unsubscribe(p.reader) == -EBADF && iog_begin(iog_open(p.w, "x", "x: f64", NULL, 0, 1), 0, 0) < 0 &&
			iog_next(iog_subscribe(p.r, "x", NULL, NULL), 0, &r2) < 0 && iog_detach(p.w) == -EBADF && iog_error(p.w)[0] &&
			iog_rec_step(rec) == 0));
	}
	int st;
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	/* Here nothing has changed. */
	check_step(rec, 1);
	iog_release(rec);
	assert_int_equal(iog_attr(p.s, "dt", 2), 0);
	assert_int_equal(iog_commit(p.s), 0);
	assert_int_equal(iog_next(p.reader, 1, &rec), 0);
	assert_int_equal(iog_rec_step(rec), 2);
	iog_release(rec);
	assert_string_equal(iog_error(p.w), "");
	pair_end(&p);
}

/* ---- an agent that says anything ---- */

static uint32_t noise(uint32_t *x) { return *x = *x * 1664525u + 1013904223u; }

static void *liar_thread(void *arg)
{
	const int listener = *(int *)arg;
	uint32_t seed = 12345;
	for (int round = 0;; round++) {
		struct iog_msg m;
		int fds[IOG_FDS], s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (s < 0)
			return NULL;
		struct iog_region_map page, up;
		if (iog_region_create(&page, "iog-page", 4096, 0, NULL) || iog_region_create(&up, "iog-up", 8192, 0, NULL))
			return NULL;
		struct iog_msg w = { .kind = IOG_MSG_WELCOME, .a = IOG_ATTACH_MAJOR << 16 };
		iog_msg_send(s, &w, &page.fd, 1, SEC, NULL);
		struct iog_schema schema;
		iog_schema_parse(&schema, "T: f64[z<=4,y<=6] K; dt: f32", NULL);
		for (int i = 0; i < 400; i++) {
			uint32_t n = IOG_FDS;
			while (iog_msg_recv(s, &m, fds, &n, 0, NULL) == 1) {
				while (n)
					close(fds[--n]);
				n = IOG_FDS;
			}
			memset(&m, 0, sizeof m);
			static const uint32_t words[] = { 0, 1, 2, 3, 4, 8, 64, 4096, 65536, 0x7fffffff, 0x80000000, 0xffffffff };
#define WORD() (noise(&seed) >> 20 & 1 ? words[(noise(&seed) >> 16) % IOG_COUNT(words)] : noise(&seed) >> 28)
			m.kind = i < 4 ? IOG_MSG_OPENED + 5u * (i & 1) : 1 + (noise(&seed) >> 16) % (IOG_MSG_KINDS + 1);
			if (i % 4 == 1)
				m.kind = IOG_MSG_SUBSCRIBED;
			m.id = 1 + (noise(&seed) >> 30), m.edge = noise(&seed) >> 30, m.a = WORD(), m.b = WORD(), m.epoch = WORD(),
			m.blocks = WORD();
			m.capacity = WORD(), m.policy = (uint8_t)((noise(&seed) >> 16) % 3);
			m.arena = (struct iog_arena){ .static_bytes = WORD(), .slot_bytes = WORD(), .n_slots = WORD(), .id = WORD() };
			if (noise(&seed) >> 31)
				m.schema = schema;
			if ((noise(&seed) >> 24) % 64 == 0)
				((uint8_t *)&m)[(noise(&seed) >> 8) % sizeof m] ^= (uint8_t)(noise(&seed) >> 24);
			const int give[] = { up.fd, page.fd, up.fd, listener };
			const uint32_t at = noise(&seed) >> 30;
			if (iog_msg_send(s, &m, &give[at], (noise(&seed) >> 28) % (5 - at), 10000000, NULL))
				break;
			atomic_fetch_add(&((struct iog_attach_page *)page.map)->bell, 1);
			/* Releases of what was never sent. */
			for (int k = 0; k < 8; k++)
				((uint32_t *)up.map)[(noise(&seed) >> 16) % 2048] = WORD();
		}
		close(s);
		iog_region_close(&page);
		iog_region_close(&up);
	}
}

static void hostile_agent(void **state)
{
	(void)state;
	char dir[] = "/tmp/iog-test-XXXXXX", path[64];
	pthread_t t;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/agent", dir);
	int listener = iog_attach_listen(path, NULL);
	assert_true(listener >= 0);
	assert_int_equal(pthread_create(&t, NULL, liar_thread, &listener), 0);
	for (int round = 0; round < 25; round++) {
		iog *io = iog_attach(path);
		iog_rec *rec;
		iog_view v;
		iog_stream *s = iog_open(io, "heat", "T: f64[z,y] K; dt: f32", "timeout=1ms bytes=64KiB", 0, 1);
		iog_block(s, "T", SHAPE, ZERO, SHAPE);
		iog_reader *r = iog_subscribe(io, "heat", round % 2 ? "T[:,1]" : NULL, "timeout=100ms policy=block");
		for (int i = 0; i < 60; i++) {
			double *T = iog_begin(s, i, 0) == IOG_OK ? iog_fill(s, "T") : NULL;
			if (T)
				memset(T, 0, NZ * NY * 8);
			iog_commit(s);
			if (iog_next(r, 0.0002, &rec) == IOG_OK) {
				iog_get(rec, "T", &v);
				iog_release(rec);
			}
		}
		iog_close(s, 0.01);
		iog_detach(io);
	}
	shutdown(listener, SHUT_RDWR);
	pthread_join(t, NULL);
	close(listener);
	unlink(path);
	rmdir(dir);
}

/* The agent takes connections and says nothing. */
static void silent_agent(void **state)
{
	(void)state;
	struct agent a;
	agent_start(&a);
	a.deaf = true;
	const uint64_t t0 = iog_now_ns();
	iog *io = iog_attach(a.path);
	assert_true(iog_now_ns() - t0 < 4 * SEC);
	assert_non_null(strstr(iog_error(io), "does not answer"));
	iog_stream *s = iog_open(io, "heat", "T: f64", NULL, 0, 1);
	assert_int_equal(iog_begin(s, 0, 0), -ETIMEDOUT);
	iog_detach(io);
	agent_kill(&a);
}

static void *successor_thread(void *arg)
{
	usleep(100000);
	agent_again(arg);
	return NULL;
}

/* It dies between a program's hello and its answer: the next one is joined, as by who came before it. */
static void agent_dies_while_it_is_greeted(void **state)
{
	(void)state;
	struct agent a;
	pthread_t t;
	agent_start(&a);
	a.deaf = true;
	assert_int_equal(pthread_create(&t, NULL, successor_thread, &a), 0);
	iog *io = iog_attach(a.path);
	assert_non_null(strstr(iog_error(io), "hung up"));
	iog_stream *s = iog_open(io, "heat", "T: f64[z,y] K", NULL, 0, 1);
	iog_block(s, "T", SHAPE, ZERO, SHAPE);
	pthread_join(t, NULL);
	int rc = -1;
	for (uint64_t until = iog_now_ns() + 10 * SEC; rc != IOG_SKIP && iog_now_ns() < until; usleep(1000))
		rc = iog_begin(s, 0, 0);
	assert_int_equal(rc, IOG_SKIP); /* nobody reads it */
	iog_close(s, 0);
	iog_detach(io);
	agent_kill(&a);
}

/* IOG_COST=1: what a step costs, with a reader that spins on another core. Medians. */
enum { STEPS = 100000 };
static uint64_t committed[STEPS], taken[STEPS], spent[STEPS];
static void *spinning_thread(void *arg)
{
	struct pair *p = arg;
	for (iog_rec *rec; iog_next(p->reader, 2, &rec) == IOG_OK; iog_release(rec))
		taken[iog_rec_step(rec)] = iog_now_ns();
	return NULL;
}
static int ascending(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}
static void cost_of(const char *reader, uint64_t pause_ns)
{
	struct pair p;
	pthread_t t;
	size_t n = 0;
	pair_start(&p, "timeout=5s", NULL, reader);
	memset(taken, 0, sizeof taken);
	assert_int_equal(pthread_create(&t, NULL, spinning_thread, &p), 0);
	for (int64_t i = 0; i < STEPS; i++) {
		const uint64_t t0 = iog_now_ns();
		assert_int_equal(iog_begin(p.s, i, 0), 0);
		iog_fill(p.s, "T");
		assert_int_equal(iog_commit(p.s), 0);
		committed[i] = iog_now_ns();
		spent[i] = committed[i] - t0;
		while (iog_now_ns() - committed[i] < pause_ns)
			;
	}
	iog_close(p.s, 5);
	pthread_join(t, NULL);
	for (int64_t i = 0; i < STEPS; i++)
		if (taken[i])
			taken[n++] = taken[i] > committed[i] ? taken[i] - committed[i] : 0;
	qsort(spent, STEPS, sizeof *spent, ascending);
	qsort(taken, n, sizeof *taken, ascending);
	print_message("%s, %llu ns between steps: begin, fill and commit %llu ns; from there to iog_next %llu ns\n", reader,
		(unsigned long long)pause_ns, (unsigned long long)spent[STEPS / 2], (unsigned long long)taken[n / 2]);
	pair_end(&p);
}
static void cost(void **state)
{
	(void)state;
	if (!getenv("IOG_COST")) {
		print_message("IOG_COST is not set: costs are not measured\n");
		return;
	}
	cost_of("policy=latest", 0);
	cost_of("policy=block", 0);
	cost_of("policy=latest", 3000);
	cost_of("policy=block", 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_agent),
		cmocka_unit_test(contents_and_views),
		cmocka_unit_test(selections),
		cmocka_unit_test(ten_thousand_steps),
		cmocka_unit_test(ranks_are_put_together),
		cmocka_unit_test(latest_never_waits),
		cmocka_unit_test(drop_new_never_waits),
		cmocka_unit_test(lossy_stream_never_waits),
		cmocka_unit_test(block_has_a_limit),
		cmocka_unit_test(patience_has_an_end),
		cmocka_unit_test(parts_grow_into_their_room),
		cmocka_unit_test(a_part_outgrows_its_place),
		cmocka_unit_test(growth_keeps_what_is_owed),
		cmocka_unit_test(bytes_are_a_bound),
		cmocka_unit_test(reader_leaves),
		cmocka_unit_test(writer_is_killed),
		cmocka_unit_test(agent_dies),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(one_step_is_too_few),
		cmocka_unit_test(application_forks),
		cmocka_unit_test(hostile_agent),
		cmocka_unit_test(silent_agent),
		cmocka_unit_test(agent_dies_while_it_is_greeted),
		cmocka_unit_test(cost),
	};
	return cmocka_run_group_tests_name("iograph", tests, NULL, NULL);
}
