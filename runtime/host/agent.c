/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent; see agent.h, and attach.h for what is said over its socket. Here: the clients and the loop. Everything is control path, on one thread: clients are
 * polled, messages handled one by one; who breaks a rule is let go. Sending never waits: who does not read has its socket closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent-private.h"

enum { BURST = 32 };
static const uint64_t SEND_NS = 20000000, DEAF_NS = 100000000;

__attribute__((format(printf, 2, 3))) void iog_agent_say(struct iog_agent *a, const char *fmt, ...)
{
	char line[640];
	va_list ap;
	if (!a->o.log)
		return;
	va_start(ap, fmt);
	iog_vformat(line, sizeof line, fmt, ap);
	va_end(ap);
	a->o.log(a->o.ctx, line);
}

bool iog_agent_push(void *list, uint32_t *n, void *x)
{
	void ***l = list;
	void **bigger = realloc(*l, (*n + 1) * sizeof *bigger);
	if (!bigger)
		return false;
	*l = bigger;
	bigger[(*n)++] = x;
	return true;
}

/* ---- sending ---- */

/* Why we hang up, to one who may not be a client yet; if there is room. */
static void last_words(int sock, const char *why)
{
	struct iog_msg m = { .kind = IOG_MSG_ERROR };
	iog_strset(m.text, sizeof m.text, why);
	iog_msg_send(sock, &m, NULL, 0, 0, NULL);
}

void iog_agent_let_go(struct iog_agent *a, struct client *c, const char *why)
{
	if (c->dead)
		return;
	c->dead = true;
	iog_agent_say(a, "client %s %s", iog_agent_client_name(c), why);
	last_words(c->sock, why);
}

void iog_agent_send(struct iog_agent *a, struct client *c, struct iog_msg *m, const int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	if (c->dead || c == &a->self)
		return;
	int rc = iog_msg_send(c->sock, m, fds, n, SEND_NS, &err);
	/* One that is gone may have said so, and what it said is heard before the socket ends. */
	if (rc && rc != -EPIPE && rc != -ECONNRESET)
		iog_agent_let_go(a, c, rc == -EAGAIN ? "does not read what it is told" : err.text);
	struct iog_attach_page *page = c->page.map;
	if (page) {
		atomic_fetch_add(&page->bell, 1);
		iog_wake_word(&page->bell); /* it may wait for credit */
	}
}

struct iog_msg *iog_agent_fresh(struct iog_agent *a, uint32_t kind, uint32_t id)
{
	memset(&a->out, 0, sizeof a->out);
	a->out.kind = kind;
	a->out.id = id;
	return &a->out;
}

__attribute__((format(printf, 4, 5))) void iog_agent_refuse(struct iog_agent *a, struct client *c, uint32_t id, const char *fmt, ...)
{
	struct iog_msg *m = iog_agent_fresh(a, IOG_MSG_ERROR, id);
	va_list ap;
	va_start(ap, fmt);
	iog_vformat(m->text, sizeof m->text, fmt, ap);
	va_end(ap);
	iog_agent_send(a, c, m, NULL, 0);
}

/* What there is, a line for each graph and stream. */
static void on_ps(struct iog_agent *a, struct client *c)
{
	for (uint32_t i = 0; i < a->n_runs + a->n_streams; i++) {
		struct iog_msg *o = iog_agent_fresh(a, IOG_MSG_RESULT, 0);
		o->a = 1;
		if (i < a->n_runs)
			iog_agent_graph_text(a->run[i], o->text, sizeof o->text);
		else
			iog_agent_stream_text(a, a->stream[i - a->n_runs], o->text, sizeof o->text);
		iog_agent_send(a, c, o, NULL, 0);
	}
	iog_agent_send(a, c, iog_agent_fresh(a, IOG_MSG_RESULT, 0), NULL, 0);
}

void iog_agent_answer(struct iog_agent *a, struct client *c, uint32_t id, int rc, const struct iog_err *err)
{
	if (rc)
		iog_agent_refuse(a, c, id, "%s", err->text);
	else
		iog_agent_send(a, c, iog_agent_fresh(a, IOG_MSG_RESULT, id), NULL, 0);
}

static bool is_control(char c) { return (uint8_t)c < ' ' || c == 127; }

bool iog_agent_plain(const char *name)
{
	while (*name && !is_control(*name))
		name++;
	return !*name;
}

/* What a client says of itself goes into lines and fields. */
static void take_text(char *to, size_t size, const char *text)
{
	iog_strset(to, size, text);
	for (; *to; to++)
		if (is_control(*to))
			*to = '?';
}

const char *iog_agent_client_name(const struct client *c)
{
	static char text[2][3 * IOG_STREAM_NAME];
	static unsigned turn;
	char *t = text[turn++ % 2];
	const char *name = c->name[0] ? c->name : "?";
	if (!c->job[0])
		iog_format(t, sizeof text[0], "%s (process %d)", name, c->pid);
	else if (!c->rank)
		iog_format(t, sizeof text[0], "%s (process %d of %s)", name, c->pid, c->job);
	else
		iog_format(t, sizeof text[0], "%s (process %d, rank %u of %s)", name, c->pid, c->rank - 1, c->job);
	return t;
}

/* The reason to let the client go, or NULL. */
static const char *on_hello(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	struct iog_err err = { "" };
	if (m->kind != IOG_MSG_HELLO)
		return "did not say hello";
	take_text(c->name, sizeof c->name, m->text);
	take_text(c->job, sizeof c->job, m->name);
	c->rank = m->edge, c->minor = m->a & 0xffff;
	if (m->a >> 16 != IOG_ATTACH_MAJOR) {
		iog_agent_refuse(a, c, 0,
			"the agent speaks version %d of the protocol, this program version %u: use libraries of the same release",
			IOG_ATTACH_MAJOR, m->a >> 16);
		return "speaks another version";
	}
	if (iog_region_create(&c->page, "iog-attach", sizeof(struct iog_attach_page), 0, &err))
		return "cannot be given a page of memory";
	c->hello = true;
	c->apart = m->safe;
	a->came |= !c->apart;
	struct iog_msg *o = iog_agent_fresh(a, IOG_MSG_WELCOME, 0);
	o->a = IOG_ATTACH_MAJOR << 16 | IOG_ATTACH_MINOR;
	o->b = (uint32_t)getpid();
	o->epoch = a->incarnation;
	iog_agent_send(a, c, o, &c->page.fd, 1);
	return NULL;
}

uint32_t iog_agent_programs(const struct iog_agent *a, bool *came)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_clients; i++)
		n += !a->client[i]->apart && !a->client[i]->dead;
	*came = a->came;
	return n;
}

static void on_done(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	bool came;
	c->apart = true;
	struct iog_msg *o = iog_agent_fresh(a, a->rc ? IOG_MSG_ERROR : IOG_MSG_RESULT, m->id);
	o->b = iog_agent_programs(a, &came);
	if (a->rc)
		iog_strset(o->text, sizeof o->text, a->err.text);
	iog_agent_send(a, c, o, NULL, 0);
}

static void on_load(struct iog_agent *a, struct client *c, const struct iog_msg *m)
{
	struct iog_err err = { "" };
	int rc = m->a ? iog_agent_graph_replace(a, c, m, &err) : iog_agent_load(a, m->name[0] ? m->name : m->text, m->text, NULL, &err);
	if (rc || !m->a)
		iog_agent_answer(a, c, m->id, rc, &err);
}

/* The same. Descriptors that were taken are set to -1. */
static const char *handle(struct iog_agent *a, struct client *c, struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	if (!c->hello)
		return on_hello(a, c, m);
	switch (m->kind) {
	case IOG_MSG_OPEN: return iog_agent_on_open(a, c, m);
	case IOG_MSG_ARENA: return iog_agent_on_arena(a, c, m, fds, n);
	case IOG_MSG_EDGE: return iog_agent_on_edge(a, c, m, fds, n);
	case IOG_MSG_EDGE_MADE: return iog_agent_on_edge_made(a, c, m, fds, n);
	case IOG_MSG_CLOSE: return iog_agent_on_close(a, c, m);
	case IOG_MSG_SUBSCRIBE: return iog_agent_on_subscribe(a, c, m);
	case IOG_MSG_UNSUBSCRIBE: return iog_agent_on_unsubscribe(a, c, m);
	case IOG_MSG_PS: on_ps(a, c); return NULL;
	case IOG_MSG_DONE: on_done(a, c, m); return NULL;
	case IOG_MSG_TOP: iog_agent_on_top(a, c); return NULL;
	case IOG_MSG_SET: iog_agent_answer(a, c, m->id, iog_agent_graphs_set(a, m->name, m->number, &err), &err); return NULL;
	case IOG_MSG_LOAD: on_load(a, c, m); return NULL;
	case IOG_MSG_ERROR: return iog_agent_on_refused(a, c, m);
	case IOG_MSG_WANT: return iog_agent_on_want(a, c, m);
	case IOG_MSG_UNLOAD: iog_agent_answer(a, c, m->id, iog_agent_unload(a, m->name, &err), &err); return NULL;
	default: return NULL; /* of a later minor version */
	}
}

/* ---- clients ---- */

static void client_read(struct iog_agent *a, struct client *c)
{
	for (int i = 0; i < BURST && !c->dead; i++) {
		int fds[IOG_FDS];
		uint32_t n = IOG_FDS;
		struct iog_err err = { "" };
		int rc = iog_msg_recv(c->sock, &a->msg, fds, &n, 0, &err);
		if (rc == -EAGAIN)
			return;
		if (rc <= 0) {
			if (rc < 0)
				iog_agent_let_go(a, c, err.text);
			c->dead = true;
			return;
		}
		const char *why = handle(a, c, &a->msg, fds, n);
		for (uint32_t k = 0; k < n; k++)
			if (fds[k] >= 0)
				close(fds[k]);
		if (why)
			iog_agent_let_go(a, c, why);
	}
}

static void client_free(struct iog_agent *a, uint32_t i)
{
	struct client *c = a->client[i];
	iog_agent_streams_leave(a, c);
	iog_agent_graphs_leave(a, c);
	if (c->page.map)
		atomic_store(&((struct iog_attach_page *)c->page.map)->gone, a->ending ? IOG_GONE_ENDED : IOG_GONE_CLIENT);
	iog_region_close(&c->page);
	close(c->sock);
	free(c);
	a->client[i] = a->client[--a->n_clients];
}

/* A descriptor to give up when there is no other. */
static int spare(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

/* A client that stays in the queue would wait for nothing; one that we have no descriptor for hears so. False: not even that can be. */
static bool client_turn_away(struct iog_agent *a, const char *why)
{
	if (a->spare >= 0)
		close(a->spare);
	const int sock = accept4(a->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock >= 0) {
		last_words(sock, why);
		close(sock);
	}
	a->spare = spare();
	return sock >= 0;
}

/* The next client of the queue; -1: none now. */
static int client_take(struct iog_agent *a)
{
	const int sock = accept4(a->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), e = errno;
	if (sock < 0 && (e == EMFILE || e == ENFILE) &&
		client_turn_away(a, e == EMFILE ? "it has no descriptor left for another client (ulimit -n)"
						: "this machine has no descriptor left for another client"))
		return -1;
	if (sock < 0 && (e == EMFILE || e == ENFILE || e == ENOMEM || e == ENOBUFS)) {
		/* It stays in the queue, and would wake us again at once. */
		if (!a->deaf_till)
			iog_agent_say(a, "a client has to wait: %s", strerror(e));
		a->deaf_till = iog_now_ns() + DEAF_NS;
	} else if (sock >= 0) {
		a->deaf_till = 0;
	}
	return sock;
}

static void client_accept(struct iog_agent *a)
{
	const int sock = client_take(a);
	if (sock < 0)
		return;
	struct client *c = a->n_clients < IOG_AGENT_CLIENTS ? calloc(1, sizeof *c) : NULL;
	if (!c || iog_attach_peer(sock, &c->uid, &c->pid) || (c->uid != getuid() && c->uid != 0)) {
		const char *why = c ? "this program belongs to another user" : "there are too many clients";
		iog_agent_say(a, "a client was refused: %s", why);
		last_words(sock, why);
		free(c);
		close(sock);
		return;
	}
	c->sock = sock;
	c->page = IOG_REGION_NONE;
	a->client[a->n_clients++] = c;
}

/* ---- the agent ---- */

uint32_t iog_agent_poll(struct iog_agent *a, double timeout_s)
{
	struct pollfd p[1 + IOG_AGENT_CLIENTS] = { { .fd = iog_now_ns() < a->deaf_till ? -1 : a->sock, .events = POLLIN } };
	const uint32_t n = a->n_clients;
	for (uint32_t i = 0; i < n; i++)
		p[1 + i] = (struct pollfd){ .fd = a->client[i]->sock, .events = POLLIN };
	/* Graphs are looked after as well, and their feeds open on threads of theirs. */
	uint32_t runs;
	iog_agent_graphs_busy(a, &runs);
	const bool opens = iog_agent_streams_opening(a);
	const double most = opens ? 0.001 : runs ? 0.01 : 0.1;
	if (poll(p, 1 + n, (int)(1000 * IOG_MIN(timeout_s, most) + 0.5)) > 0) {
		for (uint32_t i = 0; i < n; i++)
			if (p[1 + i].revents)
				client_read(a, a->client[i]);
		if (p[0].revents)
			client_accept(a);
	}
	iog_agent_graphs_poll(a);
	a->look = false;
	iog_agent_streams_poll(a);
	if (a->dirty)
		iog_agent_state_save(a);
	a->dirty = false;
	for (uint32_t i = a->n_clients; i-- > 0;)
		if (a->client[i]->dead)
			client_free(a, i);
	return iog_agent_graphs_busy(a, &runs);
}

int iog_agent_new(struct iog_agent **out, const struct iog_agent_opts *o, struct iog_err *err)
{
	struct iog_agent *a = calloc(1, sizeof *a);
	*out = NULL;
	if (!a)
		return iog_fail(err, -ENOMEM, "out of memory");
	a->o = *o;
	int rc = iog_attach_path(o->path, true, a->path, sizeof a->path, err);
	if (!rc)
		rc = a->sock = iog_attach_listen(a->path, err);
	if (rc >= 0 && (rc = iog_agent_state_open(a, err)) < 0) {
		unlink(a->path);
		close(a->sock);
	}
	if (rc < 0) {
		free(a);
		return rc;
	}
	a->spare = spare();
	/* Milliseconds of the node: no agent before this one has made as many edges. */
	a->next_edge = (uint32_t)(iog_now_ns() / 1000000);
	a->incarnation = a->next_edge | 1;
	a->self = (struct client){ .sock = -1, .pid = getpid(), .name = "a graph", .page = IOG_REGION_NONE };
	iog_offers_wanted(1);
	*out = a;
	return 0;
}

const char *iog_agent_path(const struct iog_agent *a) { return a->path; }

int iog_agent_result(const struct iog_agent *a, struct iog_err *err)
{
	*err = a->err;
	return a->rc;
}

void iog_agent_close(struct iog_agent *a)
{
	if (a->sock < 0)
		return;
	iog_agent_state_drop(a); /* before another one may own it */
	unlink(a->path);
	close(a->sock);
	a->sock = -1;
}

void iog_agent_free(struct iog_agent *a)
{
	if (!a)
		return;
	iog_agent_graphs_free(a);
	a->ending = true;
	iog_agent_streams_age(a); /* while programs still wait for our end */
	while (a->n_clients)
		client_free(a, a->n_clients - 1);
	iog_agent_hubs_free(a);
	iog_offers_wanted(-1);
	iog_agent_streams_free(a);
	if (a->spare >= 0)
		close(a->spare);
	iog_agent_close(a);
	free(a);
}
