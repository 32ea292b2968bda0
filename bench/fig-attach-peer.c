/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attach.zmq.*, attach.nng.*: the same work through the stream and through a peer's push and pull sockets over ipc://, from the same process to the
 * same other one. Both copy in once; what the reader adds up is where the library put it. The libraries are loaded while running, so nothing
 * needs their headers, and their threads may run on all cores. A peer's reader sleeps as it does by itself.
 */
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench-attach.h"

enum { OPEN = BENCH_OWN, PEER_TAKE, PEER_SUM };
enum { STEPS = 200, ROUND = 64, QUEUE = 32, TIMEOUT_MS = 10000 };

/* One end, of a library. */
struct peer {
	const char *name, *library, *package;
	void *const *to; /* where functions go, as they stand in `symbol` */
	const char *const *symbol;
	bool (*open)(bool reads, const char *url);
	bool (*send)(struct bench_attach *a);
	/* One message, given to bench_attach_seen, for its data or not. */
	bool (*take)(struct bench_attach *a, uint32_t i, bool sum);
};
static const struct peer *peer; /* the one of this figure */

/* ---- ZeroMQ ---- */

enum { ZMQ_PULL = 7, ZMQ_PUSH = 8, ZMQ_LINGER = 17, ZMQ_SNDHWM = 23, ZMQ_RCVHWM = 24, ZMQ_RCVTIMEO = 27, ZMQ_SNDTIMEO = 28 };
struct zmq_message {
	_Alignas(void *) uint8_t opaque[64];
};
static struct {
	void *(*ctx)(void);
	void *(*socket)(void *ctx, int type);
	int (*set)(void *socket, int option, const void *value, size_t bytes);
	int (*bind)(void *socket, const char *url);
	int (*connect)(void *socket, const char *url);
	int (*send)(void *socket, const void *data, size_t bytes, int flags);
	int (*init)(struct zmq_message *m);
	int (*receive)(struct zmq_message *m, void *socket, int flags);
	void *(*data)(struct zmq_message *m);
	int (*close)(struct zmq_message *m);
	void (*version)(int *major, int *minor, int *patch);
	void *s;
} zmq;
static const char *const zmq_symbol[] = { "zmq_ctx_new", "zmq_socket", "zmq_setsockopt", "zmq_bind", "zmq_connect", "zmq_send",
	"zmq_msg_init", "zmq_msg_recv", "zmq_msg_data", "zmq_msg_close", "zmq_version", NULL };
static void *const zmq_to[] = { &zmq.ctx, &zmq.socket, &zmq.set, &zmq.bind, &zmq.connect, &zmq.send, &zmq.init, &zmq.receive, &zmq.data,
	&zmq.close, &zmq.version };

static bool zmq_open(bool reads, const char *at)
{
	const int queue = QUEUE, none = 0, limit = TIMEOUT_MS;
	zmq.s = zmq.socket(zmq.ctx(), reads ? ZMQ_PULL : ZMQ_PUSH);
	return zmq.s && !zmq.set(zmq.s, reads ? ZMQ_RCVHWM : ZMQ_SNDHWM, &queue, sizeof queue) &&
	       !zmq.set(zmq.s, reads ? ZMQ_RCVTIMEO : ZMQ_SNDTIMEO, &limit, sizeof limit) &&
	       !zmq.set(zmq.s, ZMQ_LINGER, &none, sizeof none) && !(reads ? zmq.bind(zmq.s, at) : zmq.connect(zmq.s, at));
}
static bool zmq_send(struct bench_attach *a) { return zmq.send(zmq.s, a->data, a->bytes, 0) == (int)a->bytes; }
static bool zmq_take(struct bench_attach *a, uint32_t i, bool sum)
{
	struct zmq_message m;
	zmq.init(&m);
	if (zmq.receive(&m, zmq.s, 0) != (int)a->bytes)
		return false;
	bench_attach_seen(a, i, sum ? zmq.data(&m) : NULL);
	zmq.close(&m);
	return true;
}
static const struct peer zmq_peer = { "ZeroMQ", "libzmq.so.5", "libzmq5", zmq_to, zmq_symbol, zmq_open, zmq_send, zmq_take };

/* ---- nng ---- */

struct nng_socket {
	uint32_t id;
};
enum { NNG_ALLOC = 1 };
static struct {
	int (*push)(struct nng_socket *s);
	int (*pull)(struct nng_socket *s);
	int (*listen)(struct nng_socket s, const char *url, void *listener, int flags);
	int (*dial)(struct nng_socket s, const char *url, void *dialer, int flags);
	int (*set_ms)(struct nng_socket s, const char *option, int32_t ms);
	int (*set_int)(struct nng_socket s, const char *option, int value);
	int (*set_size)(struct nng_socket s, const char *option, size_t value);
	int (*send)(struct nng_socket s, void *data, size_t bytes, int flags);
	int (*receive)(struct nng_socket s, void *data, size_t *bytes, int flags);
	void (*free)(void *data, size_t bytes);
	const char *(*version)(void);
	struct nng_socket s;
} nng;
static const char *const nng_symbol[] = { "nng_push0_open", "nng_pull0_open", "nng_listen", "nng_dial", "nng_socket_set_ms",
	"nng_socket_set_int", "nng_socket_set_size", "nng_send", "nng_recv", "nng_free", "nng_version", NULL };
static void *const nng_to[] = { &nng.push, &nng.pull, &nng.listen, &nng.dial, &nng.set_ms, &nng.set_int, &nng.set_size, &nng.send,
	&nng.receive, &nng.free, &nng.version };

static bool nng_open(bool reads, const char *at)
{
	if (reads ? nng.pull(&nng.s) : nng.push(&nng.s))
		return false;
	/* Not every version knows each of them; then its own choice holds. */
	nng.set_int(nng.s, reads ? "recv-buffer" : "send-buffer", QUEUE);
	nng.set_size(nng.s, "recv-size-max", 0);
	return !nng.set_ms(nng.s, reads ? "recv-timeout" : "send-timeout", TIMEOUT_MS) &&
	       !(reads ? nng.listen(nng.s, at, NULL, 0) : nng.dial(nng.s, at, NULL, 0));
}
static bool nng_send(struct bench_attach *a) { return !nng.send(nng.s, a->data, a->bytes, 0); }
static bool nng_take(struct bench_attach *a, uint32_t i, bool sum)
{
	void *data;
	size_t bytes;
	if (nng.receive(nng.s, &data, &bytes, NNG_ALLOC) || bytes != a->bytes)
		return false;
	bench_attach_seen(a, i, sum ? data : NULL);
	nng.free(data, bytes);
	return true;
}
static const struct peer nng_peer = { "nng", "libnng.so.1", "libnng1", nng_to, nng_symbol, nng_open, nng_send, nng_take };

/* ---- both ends ---- */

static bool load(struct bench_figure *f)
{
	void *lib = dlopen(peer->library, RTLD_NOW);
	if (!lib) {
		bench_skip(f, "%s is not installed (%s): %s", peer->name, peer->package, dlerror());
		return false;
	}
	for (uint32_t i = 0; peer->symbol[i]; i++) {
		void *p = dlsym(lib, peer->symbol[i]);
		if (!p) {
			bench_skip(f, "%s lacks %s", peer->name, peer->symbol[i]);
			return false;
		}
		memcpy(peer->to[i], &p, sizeof p);
	}
	return true;
}

/* Threads of the library, which begin now, may run where they want. */
static bool open_unpinned(const struct bench_attach *a, bool reads)
{
	cpu_set_t pinned, all;
	char url[128];
	snprintf(url, sizeof url, "ipc://%s/peer", a->dir);
	memset(&all, 0xff, sizeof all);
	sched_getaffinity(0, sizeof pinned, &pinned);
	sched_setaffinity(0, sizeof all, &all);
	const bool ok = peer->open(reads, url);
	sched_setaffinity(0, sizeof pinned, &pinned);
	return ok;
}

static bool serve(struct bench_attach *a, uint32_t what, uint32_t n)
{
	bool ok = what != OPEN || open_unpinned(a, true);
	for (uint32_t i = 0; what != OPEN && ok && i < n; i++) {
		ok = peer->take(a, i, what == PEER_SUM);
		bench_attach_mark(a, i);
	}
	if (!ok)
		snprintf(a->sh->why, sizeof a->sh->why, "%s: the reader got no message", peer->name);
	return ok;
}

static bool peer_send(struct bench_attach *a)
{
	if (!peer->send(a))
		bench_note(a->f, "%s: a message was not sent", peer->name);
	return !a->f->note[0];
}

struct pair {
	struct bench_attach *a;
	struct bench_rounds rounds;
	struct bench_turns turns;
};

static bool rates(void *ctx, double t[2])
{
	static const struct bench_lane lane[2] = { { BENCH_SUM, bench_attach_put }, { PEER_SUM, peer_send } };
	struct pair *p = ctx;
	return bench_attach_rates(p->a, lane, ROUND, &p->rounds, t);
}
static double rate(void *ctx) { return bench_turn(&((struct pair *)ctx)->turns, 0); }
static double peer_rate(void *ctx) { return bench_turn(&((struct pair *)ctx)->turns, 1); }

static double latencies(struct bench_attach *a, uint32_t what, bool (*send)(struct bench_attach *a))
{
	bench_attach_ask(a, what, STEPS);
	for (uint32_t i = 0; i < STEPS; i++) {
		bench_attach_pause(1e-6);
		a->sh->sent[i] = bench_ticks();
		if (!send(a) || !bench_attach_taken(a, i + 1))
			return -1;
	}
	return bench_attach_done(a) ? bench_attach_one_way(a, STEPS) : -1;
}
static double latency(void *ctx) { return latencies(((struct pair *)ctx)->a, BENCH_TAKE, bench_attach_put); }
static double peer_latency(void *ctx) { return latencies(((struct pair *)ctx)->a, PEER_TAKE, peer_send); }

static bool measure(struct bench_figure *f, const struct peer *with, uint64_t bytes, bench_side *mine, bench_side *theirs)
{
	struct pair p = { .a = bench_attach_new(f, bytes, serve), .turns = { .measure = rates, .ctx = &p } };
	peer = with;
	bool ok = load(f) && bench_attach_start(p.a);
	if (ok) {
		bench_attach_ask(p.a, OPEN, 0);
		ok = bench_attach_done(p.a) && open_unpinned(p.a, false);
		if (ok)
			bench_pairs(f, mine, theirs, &p);
		else if (!f->note[0])
			bench_note(f, "%s does not connect", peer->name);
	}
	char socket[128];
	snprintf(socket, sizeof socket, "%s/peer", p.a->dir);
	unlink(socket);
	bench_attach_end(p.a);
	return ok && f->ok != BENCH_NULL;
}

static void version(char *to, size_t size)
{
	int v[3];
	if (peer == &nng_peer) {
		snprintf(to, size, "nng %s", nng.version());
	} else {
		zmq.version(&v[0], &v[1], &v[2]);
		snprintf(to, size, "ZeroMQ %d.%d.%d", v[0], v[1], v[2]);
	}
}

static void rate_of(struct bench_figure *f, const struct peer *with)
{
	char name[40];
	if (!measure(f, with, 1 << 20, rate, peer_rate))
		return;
	version(name, sizeof name);
	f->value = 1 / f->ours;
	snprintf(f->unit, sizeof f->unit, "steps/s");
	bench_note(f, "%s: %.0f messages/s, push to pull, %d may wait", name, 1 / f->base, QUEUE);
}
static void latency_of(struct bench_figure *f, const struct peer *with)
{
	char name[40];
	if (!measure(f, with, 64 << 10, latency, peer_latency))
		return;
	version(name, sizeof name);
	f->value = f->ours * 1e6;
	snprintf(f->unit, sizeof f->unit, "us");
	bench_note(f, "%s: %.3g us, push to pull; the copy in is part of both", name, f->base * 1e6);
}
void bench_attach_zmq_rate(struct bench_figure *f) { rate_of(f, &zmq_peer); }
void bench_attach_zmq_latency(struct bench_figure *f) { latency_of(f, &zmq_peer); }
void bench_attach_nng_rate(struct bench_figure *f) { rate_of(f, &nng_peer); }
void bench_attach_nng_latency(struct bench_figure *f) { latency_of(f, &nng_peer); }
