/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attaching a program to the agent of its node, hearing what the agent says, and letting go. Nothing here ends or hangs the program: every wait
 * has a limit, a broken rule of the agent ends the attachment only, and a child of fork() finds its handles dead.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client-private.h"
#include "core/param.h"
#include "identity.h"
#include "runtime/host/wait.h"

enum { MESSAGES = 64 /* heard at a time */, PAGE_MAX = 1 << 20 };
static const uint64_t ATTACH_NS = 2000000000u, SAY_NS = 1000000000u, AGAIN_NS = 500000000u, ANSWER_NS = 2000000000u,
		      FOREVER_NS = 365ull * 86400 * 1000000000u;
static const uint64_t END_NS = 10000000000u; /* an agent of our own has, to end its graph */
static const double DETACH_S = 1;

_Atomic uint32_t iog_client_forks;

/* ---- attachments of this process, for fork ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct iog *all;

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
/* Regions are not inherited, but the socket is: as long as the child had it open, the agent would not see this program end. */
static void in_child(void)
{
	atomic_fetch_add_explicit(&iog_client_forks, 1, memory_order_relaxed);
	for (struct iog *io = all; io; io = io->next)
		if (io->sock >= 0)
			close(io->sock);
	all = NULL;
	pthread_mutex_unlock(&lock);
}
static void watch_forks(void) { pthread_atfork(before_fork, after_fork, in_child); }

static void enlist(struct iog *io)
{
	pthread_once(&once, watch_forks);
	pthread_mutex_lock(&lock);
	io->forks = atomic_load(&iog_client_forks);
	io->next = all;
	all = io;
	pthread_mutex_unlock(&lock);
}

static void delist(struct iog *io)
{
	pthread_mutex_lock(&lock);
	for (struct iog **at = &all; *at; at = &(*at)->next)
		if (*at == io) {
			*at = io->next;
			break;
		}
	pthread_mutex_unlock(&lock);
}

/* A fork between the two would leave the child a number that may be somebody else's file by then. */
static void sock_set(struct iog *io, int sock)
{
	pthread_mutex_lock(&lock);
	if (io->sock >= 0)
		close(io->sock);
	io->sock = sock;
	pthread_mutex_unlock(&lock);
}

/* ---- shared small things ---- */

int iog_client_fail(struct iog *io, int code, const char *fmt, ...)
{
	va_list ap;
	if (!io->err.text[0]) {
		va_start(ap, fmt);
		iog_vformat(io->err.text, sizeof io->err.text, fmt, ap);
		va_end(ap);
	}
	return code;
}

bool iog_client_option(const char **p, char *word, size_t size, char **value)
{
	const char *at = *p;
	size_t n = 0;
	while (*at == ' ')
		at++;
	while (at[n] && at[n] != ' ')
		n++;
	*p = at + n;
	if (!n)
		return false;
	n = IOG_MIN(n, size - 1);
	memcpy(word, at, n);
	word[n] = 0;
	*value = strchr(word, '=');
	if (*value)
		*(*value)++ = 0;
	return true;
}

int iog_client_policy(const char *value)
{
	static const char *const names[] = { [IOG_BLOCK] = "block", [IOG_LATEST] = "latest", [IOG_DROP_NEW] = "drop-new" };
	for (unsigned i = 0; value && i < IOG_COUNT(names); i++)
		if (iog_streq(names[i], value))
			return (int)i;
	return -1;
}

uint64_t iog_client_span(double seconds)
{
	if (!(seconds > 0)) /* NaN too */
		return 0;
	return seconds * 1e9 < (double)FOREVER_NS ? (uint64_t)(seconds * 1e9) : FOREVER_NS;
}

void iog_client_drop_fd(struct iog_region_map *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* ---- talking to the agent ---- */

/* for_good: not to be joined again. */
static void gone(struct iog *io, int rc, const char *why, bool for_good)
{
	const struct iog_attach_page *page = io->page.map;
	if (io->sock < 0)
		return;
	sock_set(io, -1);
	if (io->joining) {
		io->joining = false;
		io->again = !for_good;
		return;
	}
	const uint32_t how = page ? atomic_load_explicit(&page->gone, memory_order_acquire) : (uint32_t)IOG_GONE_CLIENT;
	io->again = !for_good && how != IOG_GONE_CLIENT;
	io->lost = !io->err.text[0];
	iog_client_fail(io, rc, "%s: streams go on between those who are connected, and nobody new is%s", why,
		io->again ? " until one listens there again" : "");
	io->rc = rc;
	if (io->asked)
		io->answer = rc;
	/* No bell rings any more; who waits may still look at the page, so it stays until detach. */
	if (io->page.map)
		io->bell = atomic_load_explicit(&((const struct iog_attach_page *)io->page.map)->bell, memory_order_relaxed);
	for (struct iog_stream *s = io->streams; s; s = iog_stream_next(s))
		iog_stream_alone(s, how == IOG_GONE_DEAD);
	for (struct iog_reader *r = io->readers; r; r = iog_reader_next(r))
		iog_reader_alone(r);
}

static void last_words(struct iog *io, const struct iog_msg *m)
{
	if (!m->id && m->kind == IOG_MSG_ERROR)
		iog_client_fail(io, -ECONNABORTED, "the agent lets this program go: it %.400s", m->text);
}

/* It has hung up; whether it said why. */
static void left(struct iog *io)
{
	int fds[IOG_FDS];
	struct iog_msg m;
	uint32_t n = IOG_COUNT(fds);
	for (unsigned i = 0; i < MESSAGES && iog_msg_recv(io->sock, &m, fds, &n, 0, NULL) == 1; i++, n = IOG_COUNT(fds)) {
		while (n)
			close(fds[--n]);
		last_words(io, &m);
	}
	gone(io, -EPIPE, "the agent has ended", false);
}

int iog_client_say(struct iog *io, struct iog_msg *m, const int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	if (io->sock < 0 || io->joining)
		return io->rc;
	int rc = iog_msg_send(io->sock, m, fds, n, SAY_NS, &err);
	if (rc == -EAGAIN)
		gone(io, -ETIMEDOUT, "the agent does not read what it is told", false);
	else if (rc)
		left(io);
	return rc;
}

void iog_client_refuse(struct iog *io, uint32_t id, uint32_t edge, const char *text)
{
	struct iog_msg m = { .kind = IOG_MSG_ERROR, .id = id, .edge = edge };
	iog_strset(m.text, sizeof m.text, text);
	iog_client_say(io, &m, NULL, 0);
}

/* Takes the page that comes with a welcome. */
static int welcome(struct iog *io, const struct iog_msg *m, int *fds, uint32_t n, struct iog_err *err)
{
	if (m->kind == IOG_MSG_ERROR)
		return iog_fail(err, -ECONNREFUSED, "the agent refuses: %.400s", m->text);
	if (m->kind != IOG_MSG_WELCOME)
		return iog_fail(err, -EPROTO, "the agent does not answer as one does");
	if (m->a >> 16 != IOG_ATTACH_MAJOR)
		return iog_fail(err, -EPROTONOSUPPORT, "the agent speaks version %u, this program %d; install them from one build",
			m->a >> 16, IOG_ATTACH_MAJOR);
	if (n != 1)
		return iog_fail(err, -EPROTO, "the agent does not answer as one does");
	struct iog_region_map page;
	const int fd = fds[0];
	fds[0] = -1;
	int rc = iog_region_open(&page, fd, sizeof(struct iog_attach_page), PAGE_MAX, err);
	if (rc)
		return rc;
	iog_client_drop_fd(&page);
	iog_region_close(&io->page);
	io->page = page;
	io->incarnation = m->epoch;
	return 0;
}

/* The first message of an agent that is joined. */
static void joined(struct iog *io, const struct iog_msg *m, int *fds, uint32_t n)
{
	struct iog_err err = { "" };
	/* One that let us go without having died still has what we gave it. */
	const bool same = m->kind == IOG_MSG_WELCOME && m->epoch == io->incarnation;
	if (same || welcome(io, m, fds, n, &err)) {
		gone(io, -ECONNREFUSED, "", same || m->kind == IOG_MSG_WELCOME);
		for (struct iog_stream *s = io->streams; s && same; s = iog_stream_next(s))
			iog_stream_alone(s, false);
		return;
	}
	io->joining = io->again = false;
	io->rc = 0;
	io->bell = 0;
	if (io->lost)
		io->err.text[0] = 0;
	io->lost = false;
	for (struct iog_stream *s = io->streams; s; s = iog_stream_next(s))
		iog_stream_join(s);
	for (struct iog_reader *r = io->readers; r; r = iog_reader_next(r))
		iog_reader_join(r);
}

static void pass_on(struct iog *io, const struct iog_msg *m, int *fds, uint32_t n)
{
	if (io->asked && m->id == io->asked && (m->kind == IOG_MSG_RESULT || m->kind == IOG_MSG_ERROR)) {
		if (m->kind == IOG_MSG_ERROR)
			io->answer = iog_client_fail(io, -EINVAL, "%s", m->text);
		else if (!m->a)
			io->answer = 0;
		return;
	}
	last_words(io, m);
	for (struct iog_stream *s = io->streams; s; s = iog_stream_next(s))
		if (iog_stream_id(s) == m->id) {
			iog_stream_hear(s, m, fds, n);
			return;
		}
	for (struct iog_reader *r = io->readers; r; r = iog_reader_next(r))
		if (iog_reader_id(r) == m->id) {
			iog_reader_hear(r, m, fds, n);
			return;
		}
	/* Of one that was closed meanwhile, or a kind of a later version. */
}

void iog_client_hear(struct iog *io, uint64_t limit_ns)
{
	int fds[IOG_FDS];
	struct iog_msg m;
	for (unsigned i = 0; i < MESSAGES && io->sock >= 0; i++) {
		const struct iog_attach_page *page = io->page.map;
		/* Before the socket is found empty: what rings later is heard later. */
		const uint32_t bell = page ? atomic_load_explicit(&page->bell, memory_order_acquire) : 0;
		struct iog_err err = { "" };
		uint32_t n = IOG_COUNT(fds);
		int rc = iog_msg_recv(io->sock, &m, fds, &n, i ? 0 : limit_ns, &err);
		if (rc == -EAGAIN) {
			io->bell = bell;
			return;
		}
		if (rc == -EPROTO) {
			char why[600];
			iog_format(why, sizeof why, "the agent broke the rules and was let go (%s)", err.text);
			gone(io, rc, why, true);
			return;
		}
		if (rc <= 0) {
			gone(io, rc == -EMFILE ? rc : -EPIPE, rc == -EMFILE ? err.text : "the agent has ended", false);
			return;
		}
		if (io->joining)
			joined(io, &m, fds, n);
		else
			pass_on(io, &m, fds, n);
		for (uint32_t k = 0; k < n; k++)
			if (fds[k] >= 0)
				close(fds[k]);
	}
}

static struct iog_msg hello(void)
{
	struct iog_msg m = { .kind = IOG_MSG_HELLO, .a = IOG_ATTACH_MAJOR << 16 | IOG_ATTACH_MINOR, .b = (uint32_t)getpid() };
	struct iog_identity id;
	iog_identity_get(&id);
	iog_strset(m.text, sizeof m.text, program_invocation_short_name);
	iog_strset(m.name, sizeof m.name, id.job);
	m.edge = (uint32_t)(id.rank + 1), m.blocks = (uint32_t)(id.local + 1);
	return m;
}

/* Connects and says hello, when somebody listens and takes it at once. */
static void knock(struct iog *io)
{
	struct iog_msg m = hello();
	struct iog_err err = { "" };
	io->tried_ns = iog_now_ns();
	int sock = iog_attach_connect(io->path, 0, &err);
	if (sock < 0)
		return;
	if (iog_msg_send(sock, &m, NULL, 0, 0, &err)) {
		close(sock);
		return;
	}
	io->joining = true;
	sock_set(io, sock);
}

void iog_client_join(struct iog *io, uint64_t limit_ns)
{
	const uint64_t until = iog_now_ns() + limit_ns;
	if (io->sock < 0 && io->again)
		knock(io);
	for (uint64_t now; io->joining && (now = iog_now_ns()) < until;)
		iog_client_hear(io, until - now);
}

void iog_client_look(struct iog *io, uint64_t now_ns, uint64_t every_ns)
{
	if (io->sock < 0 && io->again && (int64_t)(now_ns - io->tried_ns) >= (int64_t)AGAIN_NS)
		knock(io);
	if (io->sock < 0 || (int64_t)(now_ns - io->looked_ns) < (int64_t)every_ns)
		return;
	io->looked_ns = now_ns;
	iog_client_hear(io, 0);
}

/* ---- attach, detach ---- */

/* HELLO, and the page that comes back. */
static int greet(struct iog *io, uint64_t until, struct iog_err *err)
{
	struct iog_msg m = hello();
	int fds[IOG_FDS], rc;
	uint32_t n = IOG_COUNT(fds);
	rc = iog_msg_send(io->sock, &m, NULL, 0, ATTACH_NS, err);
	if (rc == -EAGAIN)
		return iog_fail(err, -ETIMEDOUT, "the agent does not answer");
	/* One that hung up meanwhile has left its reason. */
	const uint64_t now = iog_now_ns();
	rc = iog_msg_recv(io->sock, &m, fds, &n, now < until ? until - now : 0, err);
	if (rc == -EAGAIN)
		return iog_fail(err, -ETIMEDOUT, "the agent does not answer; is it stopped?");
	if (rc <= 0)
		return rc ? rc : iog_fail(err, -EPIPE, "the agent has hung up");
	rc = welcome(io, &m, fds, n, err);
	while (n)
		if (fds[--n] >= 0)
			close(fds[n]);
	return rc;
}

iog *iog_attach(const char *where)
{
	static struct iog no_memory = { .sock = -1, .rc = -ENOMEM, .page = { .fd = -1 }, .err = { "out of memory" } };
	char path[128] = ""; /* it stays so when there is no such graph */
	struct iog *io = calloc(1, sizeof *io);
	if (!io)
		return &no_memory;
	io->sock = -1;
	io->page = IOG_REGION_NONE;
	io->next_id = 1;
	iog_ticker_init(&io->ticker);
	enlist(io);
	io->embedded = iog_client_is_graph(where);
	io->rc = io->embedded ? 0 : iog_attach_path(where, false, path, sizeof path, &io->err);
	if (io->rc)
		return io;
	int sock = io->embedded ? iog_client_embedded(where, path, sizeof path, &io->err) : iog_attach_connect(path, ATTACH_NS, &io->err);
	iog_strset(io->path, sizeof io->path, path);
	if (sock < 0) {
		io->rc = sock;
		/* Who comes too early waits for the agent while it works. */
		io->again = io->lost = path[0] && (sock == -ENOENT || sock == -ECONNREFUSED);
		return io;
	}
	sock_set(io, sock);
	io->rc = greet(io, iog_now_ns() + ATTACH_NS, &io->err);
	if (io->rc) {
		sock_set(io, -1);
		/* One that dies just now is as one that is not there yet; one that refuses us says so. */
		io->again = io->lost = io->rc == -ECONNRESET || io->rc == -EPIPE;
		iog_client_fail(io, io->rc, "attaching to the agent at %s: %s", path, strerror(-io->rc));
	}
	return io;
}

/*
 * Leaves an agent that came with the graph. It tells the last one to leave that it is, who waits until the agent has ended: files are complete then. Those
 * before do not wait for the others.
 */
static int leave(struct iog *io)
{
	struct iog_msg m = { .kind = IOG_MSG_DONE, .id = io->next_id++ };
	const uint32_t id = m.id;
	uint64_t until = iog_now_ns() + ANSWER_NS;
	bool last = false;
	int rc = 0;
	if (io->sock < 0 || iog_msg_send(io->sock, &m, NULL, 0, SAY_NS, NULL))
		return 0; /* it has ended already */
	for (uint64_t now; (now = iog_now_ns()) < until;) {
		int fds[IOG_FDS], got;
		uint32_t n = IOG_COUNT(fds);
		struct iog_err err = { "" };
		got = iog_msg_recv(io->sock, &m, fds, &n, until - now, &err);
		if (got == -EAGAIN)
			continue;
		if (got <= 0)
			return rc;
		while (n)
			close(fds[--n]);
		if (m.id != id || (m.kind != IOG_MSG_RESULT && m.kind != IOG_MSG_ERROR))
			continue;
		if (m.kind == IOG_MSG_ERROR)
			rc = iog_client_fail(io, -EIO, "%s", m.text);
		if (m.b)
			return rc;
		last = true;
		until = iog_now_ns() + END_NS;
	}
	return last ? iog_client_fail(io, -ETIMEDOUT, "the agent has not ended its graph in time, and goes on alone") : rc;
}

int iog_detach(iog *io)
{
	if (!io)
		return IOG_OK;
	/* Not freed: what it leads to is not all there, and the process it belongs to is another one. */
	if (iog_client_forked(io))
		return -EBADF;
	if (io->rc == -ENOMEM && io->sock < 0 && !io->next_id)
		return io->rc;
	int rc = io->rc;
	while (io->readers)
		iog_unsubscribe(io->readers);
	const uint64_t until = iog_now_ns() + iog_client_span(DETACH_S);
	while (io->streams) {
		const uint64_t now = iog_now_ns();
		int one = iog_close(io->streams, now < until ? (double)(until - now) * 1e-9 : 0);
		rc = rc ? rc : one;
	}
	if (io->embedded) {
		int one = leave(io);
		rc = rc ? rc : one;
	}
	delist(io);
	sock_set(io, -1);
	iog_region_close(&io->page);
	free(io);
	return rc;
}

const char *iog_error(const iog *io)
{
	return !io                     ? "no handle: iog_attach gives one"
	       : iog_client_forked(io) ? "the handle belongs to the process that attached, not to its child"
				       : io->err.text;
}

int iog_param(iog *io, const char *name, double value)
{
	if (!io || iog_client_forked(io))
		return -EBADF;
	iog_client_join(io, ANSWER_NS);
	if (io->rc)
		return io->rc;
	struct iog_msg m = { .kind = IOG_MSG_SET, .id = io->next_id++, .number = value };
	if (!name || !iog_strset(m.name, sizeof m.name, name))
		return iog_client_fail(io, -EINVAL, "iog_param: \"%.80s\" is no name of a parameter", name ? name : "");
	io->asked = m.id;
	io->answer = 1;
	iog_client_say(io, &m, NULL, 0);
	const uint64_t until = iog_now_ns() + ANSWER_NS;
	for (uint64_t now; io->answer == 1 && (now = iog_now_ns()) < until;)
		iog_client_hear(io, until - now);
	io->asked = 0;
	return io->answer == 1 ? iog_client_fail(io, -ETIMEDOUT, "iog_param: the agent does not answer") : io->answer;
}
