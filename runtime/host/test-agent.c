/* SPDX-License-Identifier: BSD-3-Clause */
/* The agent as its clients find it who do not use the library: what they may say, and what harms nobody else. One thread: who waits polls the agent. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/agent.h"
#include "runtime/host/feed.h"
#include "runtime/host/region.h"

enum { TURNS = 5000 };
static const uint64_t SECOND = 1000000000u;
static char dir[64], path[128];
static struct iog_msg m;

static int accept_errno, tries;

/* In the place of the C library's: fails as it is told to. */
int accept4(int fd, __SOCKADDR_ARG address, socklen_t *length, int flags)
{
	tries++;
	if (accept_errno) {
		errno = accept_errno;
		return -1;
	}
	return (int)syscall(SYS_accept4, fd, address.__sockaddr__, length, flags);
}

static int dir_new(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/iog-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/agent", dir);
	return 0;
}
static int dir_free(void **state)
{
	(void)state;
	return rmdir(dir);
}

static struct iog_agent *agent_new(void)
{
	const struct iog_agent_opts o = { .path = path };
	struct iog_agent *a;
	struct iog_err err = { "" };
	assert_int_equal(iog_agent_new(&a, &o, &err), 0);
	iog_agent_resume(a);
	return a;
}

static void say(struct iog_agent *a, int sock, const struct iog_msg *what, int fd)
{
	struct iog_err err = { "" };
	m = *what;
	assert_int_equal(iog_msg_send(sock, &m, &fd, fd >= 0, SECOND, &err), 0);
	iog_agent_poll(a, 0);
}

/* The next message of that kind, which is in m; others before it are passed over, but for refusals. */
static void hear(struct iog_agent *a, int sock, uint32_t kind)
{
	struct iog_err err = { "" };
	for (int i = 0; i < TURNS; i++) {
		int fds[IOG_FDS];
		uint32_t n = IOG_FDS;
		const int rc = iog_msg_recv(sock, &m, fds, &n, 0, &err);
		for (uint32_t k = 0; rc == 1 && k < n; k++)
			close(fds[k]);
		if (rc == 1 && m.kind == kind)
			return;
		if (rc == 1 && m.kind == IOG_MSG_ERROR)
			fail_msg("refused: %s", m.text);
		assert_true(rc == 1 || rc == -EAGAIN);
		if (rc == -EAGAIN)
			iog_agent_poll(a, 0.001);
	}
	fail_msg("message %u did not come", kind);
}

static int join(struct iog_agent *a)
{
	struct iog_err err = { "" };
	const int sock = iog_attach_connect(path, SECOND, &err);
	assert_true(sock >= 0);
	iog_agent_poll(a, 0);
	say(a, sock, &(struct iog_msg){ .kind = IOG_MSG_HELLO, .a = IOG_ATTACH_MAJOR << 16 | IOG_ATTACH_MINOR, .text = "peer" }, -1);
	hear(a, sock, IOG_MSG_WELCOME);
	return sock;
}

static struct iog_msg about(uint32_t kind, const char *schema)
{
	struct iog_msg x = { .kind = kind, .id = 1, .b = 1, .blocks = 1, .capacity = 2 };
	assert_int_equal(iog_schema_parse(&x.schema, schema, NULL), 0);
	x.arena = (struct iog_arena){ .slot_bytes = 4096, .n_slots = 4 };
	return x;
}

/* Gives memory for the stream that was opened; `held`: a number of an edge that it says to have, 0: none. */
static void give_arena(struct iog_agent *a, int sock, const char *schema, uint32_t held)
{
	struct iog_region_map r;
	struct iog_err err = { "" };
	struct iog_msg x = about(IOG_MSG_ARENA, schema);
	x.n_held = held != 0, x.held[0] = held;
	assert_int_equal(iog_region_create(&r, "test", 4 * 4096, 0, &err), 0);
	say(a, sock, &x, r.fd);
	iog_region_close(&r);
}

static const char *const SCHEMA = "T: f64[z<=4,y<=6] K";

/* A stream with one rank. */
static void publish(struct iog_agent *a, int sock, const char *name, uint32_t held)
{
	struct iog_msg x = about(IOG_MSG_OPEN, SCHEMA);
	iog_strset(x.name, sizeof x.name, name);
	say(a, sock, &x, -1);
	hear(a, sock, IOG_MSG_OPENED);
	give_arena(a, sock, SCHEMA, held);
}

static void subscribe(struct iog_agent *a, int sock, const char *name, uint32_t held)
{
	struct iog_msg x = { .kind = IOG_MSG_SUBSCRIBE, .id = 2, .b = 10000, .a = held != 0, .n_held = held != 0, .held = { held } };
	iog_strset(x.name, sizeof x.name, name);
	say(a, sock, &x, -1);
	hear(a, sock, IOG_MSG_SUBSCRIBED);
}

/* The reader gives memory for the edge it was asked for, and the writer, which is the same client, is asked then. */
static void edge_comes(struct iog_agent *a, int sock)
{
	struct iog_region_map up;
	struct iog_err err = { "" };
	const struct iog_msg x = { .kind = IOG_MSG_EDGE, .id = 2, .edge = m.edge };
	assert_int_equal(iog_region_create(&up, "test", iog_up_bytes(m.capacity), 0, &err), 0);
	say(a, sock, &x, up.fd);
	hear(a, sock, IOG_MSG_EDGE);
	assert_int_equal(m.edge, x.edge);
	iog_region_close(&up);
}

/* Who does not listen any more owns nothing that the next one needs. */
static void one_after_the_other(void **state)
{
	char folder[160], list[180];
	(void)state;
	snprintf(folder, sizeof folder, "%s.d", path);
	snprintf(list, sizeof list, "%s/loaded", folder);
	struct iog_agent *a = agent_new();
	iog_agent_close(a);
	assert_int_equal(access(folder, F_OK), -1);
	struct iog_agent *b = agent_new();
	iog_agent_free(a);
	assert_int_equal(access(list, F_OK), 0);
	assert_int_equal(access(path, F_OK), 0);
	iog_agent_free(b);
	assert_int_equal(access(folder, F_OK), -1);
}

/* A number that a client says it has from an agent before is not taken for another one's, whether that came before or comes after. */
static void numbers_of_others(void **state)
{
	(void)state;
	struct iog_agent *a = agent_new();
	const int good = join(a), bad = join(a), good2 = join(a);
	publish(a, good, "x", 0);
	subscribe(a, good, "x", 0);
	hear(a, good, IOG_MSG_EDGE_WANTED);
	const uint32_t number = m.edge;
	publish(a, bad, "y", number + 1);
	subscribe(a, bad, "y", number + 1);
	iog_agent_poll(a, 0);
	publish(a, good2, "z", 0);
	subscribe(a, good2, "z", 0);
	hear(a, good2, IOG_MSG_EDGE_WANTED);
	edge_comes(a, good2);
	const uint32_t second = m.edge;
	const int bad2 = join(a);
	publish(a, bad2, "w", second);
	subscribe(a, bad2, "w", second);
	hear(a, bad2, IOG_MSG_EDGE_WANTED);
	assert_int_not_equal(m.edge, second);
	close(good), close(bad), close(good2), close(bad2);
	iog_agent_free(a);
}

/* What graphs and readers were laid out for stays as it is. */
static void shape_that_changes(void **state)
{
	(void)state;
	struct iog_agent *a = agent_new();
	const int sock = join(a);
	publish(a, sock, "x", 0);
	hear(a, sock, IOG_MSG_READY);
	give_arena(a, sock, SCHEMA, 0);
	hear(a, sock, IOG_MSG_READY);
	give_arena(a, sock, "T: f64[z<=4,y<=60] K", 0);
	hear(a, sock, IOG_MSG_ERROR);
	assert_non_null(strstr(m.text, "another shape"));
	close(sock);
	iog_agent_free(a);
}

/* A graph goes on without a writer whose memory it cannot have, and that one is told. */
static void edge_that_cannot_be(void **state)
{
	struct iog_err err = { "" };
	int owner;
	bool ended = false;
	(void)state;
	struct iog_agent *a = agent_new();
	const int sock = join(a), open_memory = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(open_memory, 1 << 16), 0);
	publish(a, sock, "x", 0);
	hear(a, sock, IOG_MSG_READY);
	struct iog_feed *f = iog_feed_get("x");
	struct iog_taker *t = iog_taker_open(f, &owner, false, &err);
	assert_non_null(t);
	hear(a, sock, IOG_MSG_EDGE);
	const uint32_t number = m.edge;
	say(a, sock, &(struct iog_msg){ .kind = IOG_MSG_EDGE_MADE, .id = 1, .edge = number }, open_memory);
	hear(a, sock, IOG_MSG_CUT);
	assert_int_equal(m.edge, number);
	assert_null(iog_taker_next(t, SECOND, &ended));
	assert_true(ended);
	iog_taker_close(t);
	iog_feed_put(f);
	close(open_memory), close(sock);
	iog_agent_free(a);
}

/* With ranks apart one may write when its ring is read, and not before: else what another commits later is seen first. */
static void rank_apart_begins(void **state)
{
	struct iog_err err = { "" };
	struct iog_region_map down;
	int owner, fds[IOG_FDS], sock[2];
	uint32_t n = IOG_FDS;
	(void)state;
	struct iog_agent *a = agent_new();
	struct iog_feed *f = iog_feed_get("x");
	struct iog_taker *t = NULL;
	for (uint32_t r = 0; r < 2; r++) {
		struct iog_msg x = about(IOG_MSG_OPEN, SCHEMA);
		iog_strset(x.name, sizeof x.name, "x");
		x.a = r, x.b = 2, x.apart = true;
		sock[r] = join(a);
		say(a, sock[r], &x, -1);
		hear(a, sock[r], IOG_MSG_OPENED);
		give_arena(a, sock[r], SCHEMA, 0);
		if (!r) {
			hear(a, sock[r], IOG_MSG_READY); /* nobody takes the stream yet */
			t = iog_taker_open(f, &owner, false, &err);
			assert_non_null(t);
		}
	}
	hear(a, sock[1], IOG_MSG_EDGE);
	const struct iog_msg made = { .kind = IOG_MSG_EDGE_MADE, .id = 1, .edge = m.edge, .capacity = m.capacity };
	assert_int_equal(iog_region_create(&down, "test", iog_down_bytes(m.capacity), 0, &err), 0);
	for (int i = 0; i < 100; i++)
		iog_agent_poll(a, 0);
	assert_int_equal(iog_msg_recv(sock[1], &m, fds, &n, 0, &err), -EAGAIN);
	say(a, sock[1], &made, down.fd);
	hear(a, sock[1], IOG_MSG_READY);
	iog_region_close(&down);
	iog_taker_close(t);
	iog_feed_put(f);
	close(sock[0]), close(sock[1]);
	iog_agent_free(a);
}

/* An edge that a writer made and its reader never got, since the agent between them died, holds up nobody. */
static void edge_on_its_way(void **state)
{
	struct iog_err err = { "" };
	enum { NUMBER = 77 };
	(void)state;
	struct iog_agent *a = agent_new();
	const int w = join(a), r = join(a);
	publish(a, w, "x", NUMBER);
	struct iog_msg x = { .kind = IOG_MSG_SUBSCRIBE, .id = 2, .b = 10000, .a = 1, .n_held = 1, .held = { NUMBER }, .blocks = 2 };
	iog_strset(x.name, sizeof x.name, "x");
	say(a, join(a), &x, -1); /* of more than it names: hung up on, and nobody else notices */
	x.blocks = 1;
	say(a, r, &x, -1);
	hear(a, r, IOG_MSG_SUBSCRIBED);
	int rc = -EAGAIN;
	m.kind = 0;
	for (int i = 0; i < 1000 && m.kind != IOG_MSG_CUT; i++) { /* a second: what nobody names is cut after five */
		int fds[IOG_FDS];
		uint32_t n = IOG_FDS;
		if ((rc = iog_msg_recv(w, &m, fds, &n, 0, &err)) == -EAGAIN)
			iog_agent_poll(a, 0.001);
		for (uint32_t k = 0; rc == 1 && k < n; k++)
			close(fds[k]);
	}
	assert_int_equal(m.kind, IOG_MSG_CUT);
	assert_int_equal(m.edge, NUMBER);
	close(w), close(r);
	iog_agent_free(a);
}

static void names(void **state)
{
	struct iog_err err = { "" };
	(void)state;
	struct iog_agent *a = agent_new();
	const int sock = join(a);
	struct iog_msg x = about(IOG_MSG_OPEN, SCHEMA);
	iog_strset(x.name, sizeof x.name, "a\tb");
	say(a, sock, &x, -1);
	hear(a, sock, IOG_MSG_ERROR);
	assert_non_null(strstr(m.text, "control characters"));
	assert_int_equal(iog_agent_load(a, "a\ngraph\tb", "/nowhere", NULL, &err), -EINVAL);
	publish(a, sock, "wärme", 0);
	close(sock);
	iog_agent_free(a);
}

/* A client that cannot be accepted does not keep the agent busy, and is heard when it can be. */
static void no_descriptors(void **state)
{
	static const int why[] = { EMFILE, ENFILE, ENOMEM, ENOBUFS };
	enum { LOOKS = 1000 };
	struct iog_err err = { "" };
	(void)state;
	struct iog_agent *a = agent_new();
	for (unsigned i = 0; i < IOG_COUNT(why); i++) {
		const int sock = iog_attach_connect(path, SECOND, &err);
		assert_true(sock >= 0);
		accept_errno = why[i];
		tries = 0;
		for (int k = 0; k < LOOKS; k++)
			iog_agent_poll(a, 0);
		accept_errno = 0;
		if (tries < 1 || tries > LOOKS / 10)
			fail_msg("%s: %d tries", strerror(why[i]), tries);
		m = (struct iog_msg){ .kind = IOG_MSG_HELLO, .a = IOG_ATTACH_MAJOR << 16 | IOG_ATTACH_MINOR, .text = "peer" };
		assert_int_equal(iog_msg_send(sock, &m, NULL, 0, SECOND, &err), 0);
		hear(a, sock, IOG_MSG_WELCOME);
		close(sock);
	}
	iog_agent_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_after_the_other, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(numbers_of_others, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(shape_that_changes, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(edge_that_cannot_be, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(rank_apart_begins, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(edge_on_its_way, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(names, dir_new, dir_free),
		cmocka_unit_test_setup_teardown(no_descriptors, dir_new, dir_free),
	};
	return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
