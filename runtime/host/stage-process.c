/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stage in a process of its own: target `sidecore`. The process is this program again (`--worker FD`), so that it starts without our
 * memory; it gets its regions one by one over a socket, inputs read-only, opens the libraries its operators need, locks itself into the
 * sandbox, says so, and runs the same loop as a thread would. It can be killed or stopped at any instant.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cores.h"
#include "engine-parts.h"
#include "sandbox.h"
#include "wait.h"

#if IOG_SANITIZED
#include <sanitizer/common_interface_defs.h>
#endif

enum { SOCK_FD = 3, MAGIC = 0x57474f49 /* "IOGW" */, SETUP_S = 10 };
static const uint64_t REGION_MAX = 1ull << 40, SETUP_NS = SETUP_S * 1000000000ull, SLICE_NS = 50000000;

enum part {
	P_IMAGE,
	P_STATUS,
	P_SNAPSHOTS,
	P_IN_DOWN,
	P_IN_UP,
	P_IN_BOX,
	P_IN_ARENA,
	P_OUT_ARENA,
	P_OUT_DOWN,
	P_OUT_UP,
	P_OUT_BOX,
	P_MAPPED,
	P_GO
};

/* One message: a region and what it is for, or (P_GO) the rest. */
struct msg {
	uint32_t magic;
	uint8_t part, port, edge, policy;
	uint32_t capacity, isa;
	uint8_t safe, file, pad[6];
	struct iog_arena arena; /* its base means nothing here */
	uint64_t bytes, spin_ns;
	struct iog_poison poison[IOG_POISON];
	uint32_t n_poison, kill_point, kill_count;
	int32_t core, parent;
};

struct process {
	pid_t pid;
	int sock, status; /* status: as of waitpid, once it was stopped or has ended; -1: not known */
	bool stopped, reaped;
	uint64_t cpu_ns; /* once reaped */
};

/* To who set a process up: an empty text is "ready". */
static void reply(int sock, const struct iog_err *err)
{
	char text[sizeof err->text] = "";
	if (err)
		memcpy(text, err->text, sizeof text);
	iog_fd_send(sock, text, sizeof text, NULL, 0, 0, NULL);
}

/*
 * A sanitizer's findings in a process that is confined reach nobody by themselves: it has no standard error, and is replaced like one that
 * died of another cause. They go to the pipe that IOG_SANITIZER_PIPE names, else to standard error; so does a line about a death that was
 * made of an attempt to report (libubsan reads its options only then).
 */
#if IOG_SANITIZED
static int report_open(void)
{
	const char *path = getenv("IOG_SANITIZER_PIPE");
	return path ? open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : dup(STDERR_FILENO);
}
#endif

static void report_death(pid_t pid, int status)
{
#if IOG_SANITIZED
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		return;
	int fd = report_open();
	dprintf(fd, "the sidecore process %d died of SIGSYS: the sanitizer had something to report, or a call is missing in the sandbox\n",
		(int)pid);
	close(fd);
#endif
	(void)pid, (void)status;
}

/* ---- this side ---- */

static bool gone(struct process *p)
{
	if (!p->stopped && !p->reaped) {
		int fate = iog_child_look(p->pid, &p->status, &p->cpu_ns);
		p->stopped = fate == 1;
		p->reaped = fate == 2;
	}
	return p->stopped || p->reaped;
}

static void reap(struct process *p)
{
	int st = p->status;
	if (!p->reaped)
		iog_child_end(p->pid, &st, &p->cpu_ns);
	if (!p->stopped) /* else that is what happened to it */
		p->status = st;
	if (!p->reaped)
		report_death(p->pid, st);
	p->reaped = true;
}

/* In slices: one that was stopped counts as dead, and takes nothing any more. */
static int send_part(struct process *p, struct msg *m, enum part part, const struct iog_region_map *r, struct iog_err *err)
{
	int rc;
	m->magic = MAGIC;
	m->part = (uint8_t)part;
	m->bytes = r ? r->bytes : 0;
	uint64_t end = iog_now_ns() + SETUP_NS;
	do
		rc = iog_fd_send(p->sock, m, sizeof *m, r ? &r->fd : NULL, r != NULL, SLICE_NS, err);
	while (rc == -EAGAIN && !gone(p) && iog_now_ns() < end);
	return rc;
}

/* The parts of an edge the process writes, or (writes false) those it only reads. */
static int send_edge(struct process *p, const struct iog_edge_mem *x, struct msg m, bool in, bool writes, struct iog_err *err)
{
	m.policy = x->e.policy, m.safe = x->e.safe, m.capacity = x->e.capacity;
	if (!writes)
		return in ? send_part(p, &m, P_IN_DOWN, &x->down, err) : send_part(p, &m, P_OUT_UP, &x->up, err);
	int rc = in ? send_part(p, &m, P_IN_UP, &x->up, err) : send_part(p, &m, P_OUT_DOWN, &x->down, err);
	if (!rc && x->e.box)
		rc = send_part(p, &m, in ? P_IN_BOX : P_OUT_BOX, &x->box, err);
	return rc;
}

static int send_edges(struct iog_rt *rt, struct process *p, bool writes, struct iog_err *err)
{
	struct iog_engine *e = rt->engine;
	int rc = 0;
	for (uint32_t k = 0; !rc && k < e->cut->n_edges; k++) {
		const struct iog_uedge *u = &e->cut->edge[k];
		if (&e->rt[u->from] == rt)
			rc = send_edge(p, &e->edge[k], (struct msg){ .port = u->from_port, .edge = (uint8_t)e->edge[k].out_index }, false,
				writes, err);
		if (rc || &e->rt[u->to] != rt)
			continue;
		rc = send_edge(p, &e->edge[k], (struct msg){ .port = u->to_port }, true, writes, err);
		const struct iog_arena_mem *a = &e->rt[u->from].arena[u->from_port];
		struct msg m = { .port = u->to_port, .arena = a->a };
		if (!rc && !writes)
			rc = send_part(p, &m, P_IN_ARENA, &a->map, err);
	}
	return rc;
}

static int send_writable(struct iog_rt *rt, struct process *p, struct iog_err *err)
{
	struct msg m = { 0 };
	int rc = send_part(p, &m, P_STATUS, &rt->status, err);
	m.file = rt->snapshots_file;
	if (!rc && rt->snapshots.map)
		rc = send_part(p, &m, P_SNAPSHOTS, &rt->snapshots, err);
	for (uint32_t q = 0; !rc && q < rt->u->n_out; q++) {
		m = (struct msg){ .port = (uint8_t)q, .arena = rt->arena[q].a };
		rc = send_part(p, &m, P_OUT_ARENA, &rt->arena[q].map, err);
	}
	if (!rc)
		rc = send_edges(rt, p, true, err);
	m = (struct msg){ 0 };
	return rc ? rc : send_part(p, &m, P_MAPPED, NULL, err);
}

static int send_rest(struct iog_rt *rt, struct process *p, struct iog_err *err)
{
	const struct iog_engine *e = rt->engine;
	struct msg m = { 0 };
	int rc = send_part(p, &m, P_IMAGE, &rt->image, err);
	if (!rc)
		rc = send_edges(rt, p, false, err);
	m = (struct msg){
		.isa = rt->args.isa, .spin_ns = rt->args.env.spin_ns, .n_poison = rt->args.n_poison, .core = rt->core, .parent = getpid()
	};
	memcpy(m.poison, rt->args.poison, sizeof m.poison);
	if (rt->restarts == 0) /* a successor is not killed again, or no test would end */
		m.kill_point = e->o.kill_point, m.kill_count = e->o.kill_count;
	return rc ? rc : send_part(p, &m, P_GO, NULL, err);
}

/* Nobody can map for writing any more what the process writes. A mailbox has two writers, who both have mapped it by now. */
static int seal(struct iog_rt *rt, struct iog_err *err)
{
	struct iog_engine *e = rt->engine;
	int rc = iog_region_seal(&rt->status, err);
	if (!rc && rt->snapshots.map && !rt->snapshots_file)
		rc = iog_region_seal(&rt->snapshots, err);
	for (uint32_t q = 0; !rc && q < rt->u->n_out; q++)
		rc = iog_region_seal(&rt->arena[q].map, err);
	for (uint32_t k = 0; !rc && k < e->cut->n_edges; k++) {
		const struct iog_rt *from = &e->rt[e->cut->edge[k].from], *to = &e->rt[e->cut->edge[k].to];
		if (from == rt)
			rc = iog_region_seal(&e->edge[k].down, err);
		if (!rc && to == rt)
			rc = iog_region_seal(&e->edge[k].up, err);
		if (!rc && e->edge[k].e.box && (from == rt || (to == rt && from->launch != &iog_launch_process)))
			rc = iog_region_seal(&e->edge[k].box, err);
	}
	return rc;
}

static void drop(struct iog_rt *rt)
{
	struct process *p = rt->launched;
	reap(p);
	atomic_fetch_add(&rt->cpu_ns, p->cpu_ns);
	close(p->sock);
	free(p);
	rt->launched = NULL;
}

/* How it came to its end, in words. */
static void fate(const struct process *p, char *text, size_t size)
{
	int st = p->status, at = snprintf(text, size, "the sidecore process %d ", (int)p->pid);
	text += at, size -= (size_t)at;
	if (p->stopped)
		snprintf(text, size, "was stopped by signal %d (which counts as dead)", WSTOPSIG(st));
	else if (st == -1)
		snprintf(text, size, "ended, and how is not known, because this process does not wait for its children alone");
	else if (WIFSIGNALED(st))
		snprintf(text, size, "died of signal %d", WTERMSIG(st));
	else
		snprintf(text, size, "exited with code %d", WEXITSTATUS(st));
}

/* Why it cannot be set up; it is ended for that. `rc`: what went wrong on the way to it. */
static int lost(struct process *p, int rc, struct iog_err *err)
{
	char how[200];
	if (rc == -EAGAIN && !gone(p))
		rc = iog_fail(err, -ETIMEDOUT, "the sidecore process %d did not go on for %d s while it was set up", (int)p->pid, SETUP_S);
	else if (rc == -EAGAIN || rc == -EPIPE || rc == -ECONNRESET) {
		gone(p);
		reap(p); /* who has closed the socket is ending */
		fate(p, how, sizeof how);
		rc = iog_fail(err, -EPIPE, "%s while it was set up", how);
	}
	return rc;
}

/* Waits for the process to answer; an empty text is consent. `sent`: how sending went. */
static int answer(struct process *p, int sent, struct iog_err *err)
{
	char text[sizeof(struct iog_err)] = "";
	uint32_t none = 0;
	int n;
	if (sent && sent != -EPIPE && sent != -ECONNRESET) /* else its last words may say why */
		return lost(p, sent, err);
	uint64_t end = iog_now_ns() + SETUP_NS;
	do {
		none = 0;
		n = iog_fd_recv(p->sock, text, sizeof text, NULL, &none, SLICE_NS, err);
	} while (n == -EAGAIN && !gone(p) && iog_now_ns() < end);
	if (n == -EAGAIN) /* it may have answered, begun and died since */
		n = iog_fd_recv(p->sock, text, sizeof text, NULL, &none, 0, err);
	if (n <= 0)
		return lost(p, n ? n : -EPIPE, err);
	text[sizeof text - 1] = 0;
	return text[0] ? iog_fail(err, -EIO, "the sidecore process cannot start: %.400s", text) : 0;
}

/*
 * This program again, with its end of the socket. Not by posix_spawn, nor vfork under it: they hold us until the child has become the other
 * program, for ever when somebody stops it before. Regions are not inherited, so there is little to copy.
 */
static pid_t spawn(int sock)
{
	char name[] = "iog-worker", flag[] = "--worker", fd[8], *argv[] = { name, flag, fd, NULL };
	snprintf(fd, sizeof fd, "%d", SOCK_FD);
	pid_t pid = fork();
	if (pid)
		return pid;
	/* Only calls that are safe in the child of a process with threads. */
	if (sock == SOCK_FD ? !fcntl(sock, F_SETFD, 0) : dup2(sock, SOCK_FD) == SOCK_FD)
		execve("/proc/self/exe", argv, environ);
	struct iog_err err;
	iog_fail(&err, -errno, "execve: error %d", errno);
	reply(sock, &err);
	syscall(SYS_exit_group, 127);
	return 0;
}

static int begin(struct iog_rt *rt, struct iog_err *err)
{
	struct process *p = calloc(1, sizeof *p);
	int pair[2];
	if (!p)
		return iog_fail(err, -ENOMEM, "out of memory");
	if (iog_fd_pair(pair, err)) {
		free(p);
		return -EIO;
	}
	p->sock = pair[0];
	p->pid = spawn(pair[1]);
	int rc = p->pid < 0 ? iog_fail(err, -errno, "no process: %s", strerror(errno)) : 0;
	close(pair[1]);
	if (rc) {
		close(p->sock);
		free(p);
		return rc;
	}
	rt->launched = p;
	rc = answer(p, send_writable(rt, p, err), err);
	if (rc)
		drop(rt);
	return rc;
}

static int start(struct iog_rt *rt, struct iog_err *err)
{
	struct process *p = rt->launched;
	int rc = answer(p, send_rest(rt, p, err), err);
	if (rc)
		drop(rt);
	return rc;
}

/* Code 0 alone means nothing: anything in the process may have ended it. */
static bool ended_in_order(const struct iog_rt *rt)
{
	const struct iog_engine *e = rt->engine;
	const struct iog_status *s = rt->status.map;
	uint32_t state = atomic_load(&s->state);
	bool closed = state == IOG_W_DRAINED || state == IOG_W_STOPPED;
	for (uint32_t k = 0; k < e->cut->n_edges; k++)
		if (&e->rt[e->cut->edge[k].from] == rt)
			closed = closed && atomic_load(&e->edge[k].e.down->state) != IOG_EDGE_OPEN;
	return closed;
}

static int watch(struct iog_rt *rt)
{
	struct process *p = rt->launched;
	if (p->reaped)
		return -EIO;
	if (!gone(p))
		return 0;
	reap(p);
	if (!p->stopped && WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0 && ended_in_order(rt))
		return 1;
	const struct iog_status *s = rt->status.map;
	const char *node = atomic_load(&s->busy) ? rt->args.stage->node[atomic_load(&s->busy_node) % IOG_STAGE_NODES].name : "";
	char how[200];
	fate(p, how, sizeof how);
	snprintf(rt->death, sizeof rt->death, "%s%s%s", how, node[0] ? " in operator " : " before its work was done", node);
	return -EIO;
}

static uint64_t cpu(const struct iog_rt *rt)
{
	const struct process *p = rt->launched;
	clockid_t clock;
	struct timespec t;
	if (p->reaped)
		return p->cpu_ns;
	if (clock_getcpuclockid(p->pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void kill_process(struct iog_rt *rt)
{
	struct process *p = rt->launched;
	if (p && !p->reaped) {
		snprintf(rt->death, sizeof rt->death, "the sidecore process %d did not go on and was killed", (int)p->pid);
		reap(p);
	}
}

const struct iog_launcher iog_launch_process = { .name = "sidecore",
	.writes_elsewhere = true,
	.begin = begin,
	.seal = seal,
	.start = start,
	.watch = watch,
	.cpu = cpu,
	.kill = kill_process,
	.finish = drop };

/* ---- the other side ---- */

static struct {
	struct iog_worker_args a;
	struct msg go;
	uint32_t count;
} child;

static void point(void *ctx, uint32_t at)
{
	(void)ctx;
	if (at == child.go.kill_point && ++child.count == child.go.kill_count)
		syscall(SYS_kill, getpid(), SIGKILL);
}

static bool control(void *ctx)
{
	(void)ctx;
	return true;
}

/* Puts one received region where it belongs; everything in the message is checked, though it comes from the process that started us. */
static int place(const struct msg *m, int fd, struct iog_err *err)
{
	static const bool writes[P_MAPPED] = { [P_STATUS] = true,
		[P_SNAPSHOTS] = true,
		[P_IN_UP] = true,
		[P_IN_BOX] = true,
		[P_OUT_ARENA] = true,
		[P_OUT_DOWN] = true,
		[P_OUT_BOX] = true };
	struct iog_region_map r;
	struct iog_worker_args *a = &child.a;
	if (m->magic != MAGIC || m->part >= P_MAPPED || m->port >= IOG_PORTS || m->edge >= IOG_FANOUT || m->bytes > REGION_MAX ||
		m->capacity > IOG_CREDIT_MAX || (m->capacity & (m->capacity - 1))) {
		close(fd);
		return iog_fail(err, -EPROTO, "malformed set-up message");
	}
	int rc = m->part == P_SNAPSHOTS && m->file ? iog_region_open_file(&r, fd, m->bytes, err)
		 : writes[m->part]                 ? iog_region_open_writer(&r, fd, m->bytes, m->bytes, err)
						   : iog_region_open(&r, fd, m->bytes, m->bytes, err);
	if (rc)
		return rc;
	struct iog_worker_in *in = &a->in[m->port];
	struct iog_worker_out *out = &a->out[m->port];
	struct iog_edge *e = m->part >= P_OUT_ARENA ? &out->edge[m->edge] : &in->edge;
	struct iog_arena ar = m->arena;
	ar.base = r.map;
	if (m->capacity)
		e->capacity = m->capacity, e->policy = m->policy, e->safe = m->safe;
	switch ((enum part)m->part) {
	case P_IMAGE: a->stage = r.map, a->stage_bytes = r.bytes; break;
	case P_STATUS: a->status = r.map; break;
	case P_SNAPSHOTS: a->snapshots = r.map, a->snapshots_bytes = r.bytes; break;
	case P_IN_DOWN:
	case P_OUT_DOWN:
		e->down = r.map;
		if (m->part == P_OUT_DOWN)
			out->n_edges = IOG_MAX(out->n_edges, m->edge + 1u);
		break;
	case P_IN_UP:
	case P_OUT_UP: e->up = r.map; break;
	case P_IN_BOX:
	case P_OUT_BOX: e->box = r.map; break;
	case P_IN_ARENA:
		if (iog_arena_bytes(&ar) > r.bytes)
			return iog_fail(err, -EPROTO, "input arena smaller than said");
		in->n_slots = ar.n_slots, in->slot_bytes = ar.slot_bytes, in->n_regions = 1;
		in->region[0] = (struct iog_region){ .base = r.map, .size = iog_arena_bytes(&ar), .arena = ar.id };
		break;
	case P_OUT_ARENA:
		if (iog_arena_bytes(&ar) > r.bytes)
			return iog_fail(err, -EPROTO, "output arena smaller than said");
		out->arena = ar;
		break;
	case P_MAPPED:
	case P_GO: break;
	}
	return 0;
}

/* Maps everything; answers once in between, when all that this process writes is mapped and may be sealed. */
static int receive(int sock, struct iog_err *err)
{
	for (;;) {
		struct msg m;
		int fd = -1;
		uint32_t n = 1;
		int got = iog_fd_recv(sock, &m, sizeof m, &fd, &n, SETUP_NS, err);
		if (got != (int)sizeof m) {
			if (got >= 0 && n)
				close(fd);
			return got < 0 && got != -EAGAIN ? got : iog_fail(err, -EPROTO, "its set-up ended early");
		}
		if (m.part == P_GO) {
			child.go = m;
			if (n)
				close(fd);
			return 0;
		}
		if (m.part == P_MAPPED) {
			reply(sock, NULL);
			continue;
		}
		if (n != 1)
			return iog_fail(err, -EPROTO, "set-up message without its memory");
		int rc = place(&m, fd, err);
		if (rc)
			return rc;
	}
}

static struct iog_worker *prepare(int sock, struct iog_err *err)
{
	struct iog_worker_args *a = &child.a;
	if (receive(sock, err))
		return NULL;
	if (!a->stage || !a->status) {
		iog_fail(err, -EPROTO, "set-up is not complete");
		return NULL;
	}
	a->isa = child.go.isa;
	a->n_poison = IOG_MIN(child.go.n_poison, (uint32_t)IOG_POISON);
	memcpy(a->poison, child.go.poison, sizeof a->poison);
	a->env = (struct iog_env){ .wait = iog_env_wait,
		.wake = iog_env_wake,
		.now_ns = iog_env_now,
		.control = control,
		.point = child.go.kill_point ? point : NULL,
		.sleep_ns = 50000000,
		.spin_ns = child.go.spin_ns };
	uint64_t bytes = iog_worker_memory(a);
	void *memory = bytes ? aligned_alloc(IOG_ALIGN, IOG_ROUND_UP(bytes, IOG_ALIGN)) : NULL;
	if (!memory) {
		iog_fail(err, -ENOMEM, "no memory for the worker (%llu bytes)", (unsigned long long)bytes);
		return NULL;
	}
	memset(memory, 0, bytes);
	char name[16];
	iog_format(name, sizeof name, "%.15s", a->stage->name);
	prctl(PR_SET_NAME, name, 0, 0, 0);
	if (child.go.core >= 0)
		iog_cores_bind(child.go.core);
	if (iog_libs_open(a->stage, a->lib, err))
		return NULL;
	return iog_worker_init(a, memory, err);
}

static bool hosted(const struct iog_stage *st)
{
	for (uint32_t j = 0; j < st->n_nodes; j++)
		for (const struct iog_op *const *o = iog_ops; *o; o++)
			if (iog_streq((*o)->name, st->node[j].op) && !((*o)->flags & IOG_FREESTANDING))
				return true;
	return false;
}

/* For the sanitizer, open before the sandbox closes; -1 when there is none. */
static int report_fd(void)
{
	int fd = -1;
#if IOG_SANITIZED
	fd = report_open();
	__sanitizer_set_report_fd((void *)(intptr_t)fd);
#endif
	return fd;
}

int iog_worker_main(int sock)
{
	struct iog_err err = { "" };
	struct iog_worker *w = prepare(sock, &err);
	if (w) {
		struct iog_sandbox_opts o = { .control = sock,
			.status = report_fd(),
			.hosted = hosted(child.a.stage),
			.parent = child.go.parent,
			.wanted = IOG_NS_USER | IOG_NS_MOUNT | IOG_NS_NET | IOG_NS_IPC };
		if (iog_sandbox_enter(&o, NULL, &err))
			w = NULL;
	}
	reply(sock, &err);
	int rc = 1;
	if (w) {
		enum iog_worker_state s = iog_worker_run(w);
		rc = s == IOG_W_DRAINED || s == IOG_W_STOPPED ? 0 : 2;
	}
	syscall(SYS_exit_group, rc);
	return rc;
}
