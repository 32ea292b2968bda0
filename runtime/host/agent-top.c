/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `iog top` is told: counters as they are, in lines of fields separated by tabs; who asks twice takes the difference. Version 1, fields may be
 * added at the end of a line, and kinds of lines; both are to be ignored by who does not know them. Times in ns, "-" for what is not known.
 *
 *     top     1, time now, CPU time of the agent's process, its pid, cores it took, socket
 *     graph   name, state, records delivered, text
 *     unit    graph, name, source|stage|sink, target, CPU time, records in, bytes in, records out, bytes out, dropped, bad, elided, restarts
 *     node    graph, unit, name, operator, records, out, bytes in, bytes out, time
 *     late    graph, unit, bucket:count,...  (late.h)
 *     edge    graph, from, to, queued, capacity, policy          from a unit, or "stream.rank"
 *     stream  name, state, ranks there, ranks, readers, job
 *     writer  stream, rank, program, pid, records, bytes, dropped, skipped, time blocked
 *     reader  stream, program, pid, policy, records taken
 *
 * The agent's thread. What clients and shared memory say is shown and nothing else.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent-private.h"
#include "late.h"

enum { MESSAGES = 256, UNITS = 256, LINE = 2048 };

struct report {
	struct iog_agent *a;
	struct client *c;
	struct iog_msg *m;
	size_t used;
	uint32_t sent;
};

static void flush(struct report *r, uint32_t more)
{
	r->m->a = more;
	iog_agent_send(r->a, r->c, r->m, NULL, 0);
	r->sent++;
	r->m = iog_agent_fresh(r->a, IOG_MSG_RESULT, 0);
	r->used = 0;
}

/* A line; what does not fit in as many messages as there may be is left out. */
__attribute__((format(printf, 2, 3))) static void line(struct report *r, const char *fmt, ...)
{
	char text[LINE];
	va_list ap;
	va_start(ap, fmt);
	const int n = vsnprintf(text, sizeof text - 1, fmt, ap);
	va_end(ap);
	const size_t length = IOG_MIN((size_t)IOG_MAX(n, 0), sizeof text - 2);
	for (size_t i = 0; i < length; i++)
		if (text[i] == '\n')
			text[i] = ' ';
	text[length] = '\n';
	if (r->used + length + 2 > sizeof r->m->text)
		flush(r, 1);
	if (r->sent >= MESSAGES || r->c->dead)
		return;
	memcpy(r->m->text + r->used, text, length + 1);
	r->used += length + 1;
}

static unsigned long long u64(uint64_t x) { return x; }

static void late(struct report *r, const char *graph, const struct iog_unit_stats *u)
{
	char text[LINE / 2];
	size_t at = 0;
	text[0] = 0;
	for (uint32_t i = 0; i < IOG_LATE_BUCKETS && at < sizeof text - 40; i++) {
		const uint64_t n = atomic_load_explicit(&u->late[i], memory_order_relaxed);
		if (n)
			at += (size_t)snprintf(text + at, sizeof text - at, "%s%u:%llu", at ? "," : "", i, u64(n));
	}
	line(r, "late\t%s\t%s\t%s", graph, u->name, text);
}

static void units(struct report *r, const struct run *run)
{
	static const char *const kind[] = { [IOG_G_SOURCE] = "source", [IOG_G_OP] = "stage", [IOG_G_SINK] = "sink" };
	static struct iog_unit_stats u[UNITS];
	const uint32_t n = IOG_MIN(iog_engine_unit_stats(run->e, u, UNITS), (uint32_t)UNITS);
	for (uint32_t i = 0; i < n; i++) {
		const struct iog_unit_stats *x = &u[i];
		line(r, "unit\t%s\t%s\t%s\t%s\t%.0f\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu", run->name, x->name, kind[x->kind],
			x->target, x->cpu_s * 1e9, u64(x->in_records), u64(x->in_bytes), u64(x->out_records), u64(x->out_bytes),
			u64(x->dropped), u64(x->bad + x->failed), u64(x->elided), u64(x->restarts));
		if (x->late)
			late(r, run->name, x);
	}
}

static void nodes(struct report *r, const struct run *run)
{
	static struct iog_node_stats s[UNITS];
	const uint32_t n = iog_engine_node_stats(run->e, s, UNITS);
	for (uint32_t i = 0; i < n; i++)
		line(r, "node\t%s\t%s\t%s\t%s\t%llu\t%llu\t%.0f\t%.0f\t%.0f", run->name, s[i].unit, s[i].name, s[i].op, u64(s[i].records),
			u64(s[i].out), s[i].bytes_in, s[i].bytes_out, s[i].seconds * 1e9);
}

static void edges(struct report *r, const struct run *run)
{
	static struct iog_edge_stats s[UNITS];
	const uint32_t n = iog_engine_edge_stats(run->e, s, UNITS);
	for (uint32_t i = 0; i < n; i++)
		line(r, "edge\t%s\t%s\t%s\t%u\t%u\t%s", run->name, s[i].from, s[i].to, s[i].queued, s[i].capacity, s[i].policy);
}

/* The unit of the source "stream" whose configuration that is. */
static const char *unit_of(const struct run *run, const void *conf)
{
	struct iog_gnode *n;
	for (uint32_t k = iog_graph_nodes(run->g, &n); k-- > 0;)
		if (n[k].kind == IOG_G_SOURCE && n[k].conf == conf)
			return run->cut.unit[n[k].unit].name;
	return NULL;
}

/* What ranks have sent to a source, and it has not given back. */
static void stream_edges(struct report *r, const struct run *run)
{
	for (uint32_t k = 0; k < r->a->n_edges; k++) {
		const struct edge *e = r->a->edge[k];
		const struct iog_down *down = e->down.map;
		const struct iog_up *up = e->up.map;
		const void *owner = e->reader || !e->writer || !down || !up ? NULL : iog_feed_owner(e->stream->feed, e->feed_life);
		const char *unit = owner ? unit_of(run, owner) : NULL;
		if (!unit)
			continue;
		const uint32_t done = atomic_load(&up->head), head = atomic_load(&down->head);
		line(r, "edge\t%s\t%s.%u\t%s\t%u\t%u\t%s", run->name, e->stream->name, e->writer->rank, unit,
			IOG_MIN(head - done, e->capacity), e->capacity, iog_policy_name(e->policy));
	}
}

static void streams(struct report *r)
{
	const struct iog_agent *a = r->a;
	char text[LINE];
	for (uint32_t i = 0; i < a->n_streams; i++) {
		const struct stream *s = a->stream[i];
		line(r, "stream\t%s\t%s\t%u\t%u\t%u\t%s", s->name, s->known ? "known" : "waits", iog_agent_stream_ranks(s), s->n_writers,
			iog_agent_stream_audience(a, s), iog_agent_stream_job(s));
	}
	for (uint32_t i = 0; i < a->n_writers; i++) {
		const struct writer *w = a->writer[i];
		const struct iog_attach_counts *n = w->counts;
		if (w->stream->hub_of)
			continue;
		iog_strset(text, sizeof text, "-\t-\t-\t-\t-");
		if (n)
			snprintf(text, sizeof text, "%llu\t%llu\t%llu\t%llu\t%llu", u64(atomic_load(&n->records)),
				u64(atomic_load(&n->bytes)), u64(atomic_load(&n->dropped)), u64(atomic_load(&n->skipped)),
				u64(atomic_load(&n->blocked_ns)));
		line(r, "writer\t%s\t%u\t%s\t%d\t%s", w->stream->name, w->rank, w->client->name, w->client->pid, text);
	}
	for (uint32_t i = 0; i < a->n_readers; i++) {
		const struct reader *x = a->reader[i];
		uint32_t taken = 0;
		for (uint32_t k = 0; k < a->n_edges; k++) {
			const struct iog_up *up = a->edge[k]->reader == x ? a->edge[k]->up.map : NULL;
			taken = up ? IOG_MAX(taken, atomic_load(&up->head)) : taken;
		}
		line(r, "reader\t%s\t%s\t%d\t%s\t%u", x->stream->name, x->client->name, x->client->pid, iog_policy_name(x->policy), taken);
	}
}

void iog_agent_on_top(struct iog_agent *a, struct client *c)
{
	struct timespec cpu;
	struct report r = { .a = a, .c = c, .m = iog_agent_fresh(a, IOG_MSG_RESULT, 0) };
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	line(&r, "top\t1\t%llu\t%llu\t%d\t%s\t%s", u64(iog_now_ns()), u64((uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec),
		getpid(), a->cores, a->path);
	for (uint32_t i = 0; i < a->n_runs; i++) {
		char text[1024];
		iog_agent_graph_text(a->run[i], text, sizeof text);
		line(&r, "%s", text);
		if (a->run[i]->state != RUNS || !a->run[i]->e)
			continue;
		units(&r, a->run[i]);
		nodes(&r, a->run[i]);
		edges(&r, a->run[i]);
		stream_edges(&r, a->run[i]);
	}
	streams(&r);
	if (r.used)
		flush(&r, 1);
	iog_agent_send(a, c, iog_agent_fresh(a, IOG_MSG_RESULT, 0), NULL, 0);
}
