/* SPDX-License-Identifier: BSD-3-Clause */
/* What the engine tells of its units while they run and after, and the change of live parameters. The controlling thread. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "engine-parts.h"
#include "wait.h"

/*
 * Is a record in flight that was stamped with `version` or an earlier one? In flight is what a stage has not given back: it may be computed
 * again. Ring positions between the consumer's releases and the producer's head hold their descriptors still.
 */
static bool in_flight(struct iog_engine *e, uint32_t version)
{
	for (uint32_t i = 0; i < e->cut->n_units; i++) {
		const struct iog_commands *c = &e->rt[i].cmd;
		if (!e->rt[i].done && atomic_load(&c->posted) != atomic_load(&c->taken))
			return true; /* a successor's ring is not filled again yet */
		uint64_t s = atomic_load(&e->rt[i].stamping);
		if (s && (int32_t)((uint32_t)(s - 1) - version) <= 0)
			return true;
	}
	for (uint32_t k = 0; k < e->cut->n_edges; k++) {
		const struct iog_edge *x = &e->edge[k].e;
		if (e->rt[e->cut->edge[k].to].u->kind != IOG_G_OP)
			continue;
		uint32_t head = atomic_load_explicit(&x->down->head, memory_order_acquire),
			 done = atomic_load_explicit(&x->up->head, memory_order_acquire);
		if (x->policy == IOG_LATEST) /* entries are not in order: all that were ever used count */
			done = head - IOG_MIN(head, x->capacity);
		for (uint32_t n = 0; done != head && n < x->capacity; done++, n++) {
			const struct iog_desc *d = &x->down->ring[x->policy == IOG_LATEST ? n : done & (x->capacity - 1)];
			if ((int32_t)(d->param_version - version) <= 0)
				return true;
		}
	}
	return false;
}

void iog_engine_params(struct iog_engine *e)
{
	uint32_t v = atomic_load_explicit(&e->param_version, memory_order_relaxed) + 1;
	if (!e->params_wait || (v >= IOG_CONF_VERSIONS && in_flight(e, v - IOG_CONF_VERSIONS)))
		return;
	/* The new configuration is in place in every stage before the first record is stamped with its version. */
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		if (e->rt[i].u->kind == IOG_G_OP && e->rt[i].image.map)
			iog_stage_conf(e->g, e->rt[i].u, e->rt[i].image.map, v);
	atomic_store(&e->param_version, v);
	e->params_wait = false;
}

int iog_engine_param(struct iog_engine *e, const char *name, double value, struct iog_err *err)
{
	int rc = iog_graph_live_set(e->g, name, value, err);
	if (rc)
		return rc;
	e->params_wait = true;
	iog_engine_params(e);
	return 0;
}

static double tsc_hz(void)
{
	static double hz;
	if (hz > 0)
		return hz;
	uint64_t t0 = iog_now_ns(), c0 = __builtin_ia32_rdtsc();
	while (iog_now_ns() - t0 < 5000000)
		__builtin_ia32_pause();
	hz = (double)(__builtin_ia32_rdtsc() - c0) / ((double)(iog_now_ns() - t0) * 1e-9);
	return hz;
}

static void stage_stats(const struct iog_rt *rt, struct iog_unit_stats *s)
{
	const struct iog_status *parts[2] = { &rt->total, rt->status.map };
	for (int k = 0; k < 2; k++) {
		const struct iog_status *x = parts[k];
		for (uint32_t p = 0; p < IOG_PORTS; p++) {
			s->in_records += x->in_records[p], s->in_bytes += x->in_bytes[p];
			s->bad += x->in_bad[p] + x->in_forged[p], s->duplicates += x->in_duplicates[p];
			s->dropped += x->out_dropped[p];
			s->out_records += x->out_records[p], s->out_bytes += x->out_bytes[p], s->elided += x->out_elided[p],
				s->failed += x->out_failed[p];
		}
		s->poisoned += x->poisoned;
		s->sleeps += x->sleeps;
	}
	s->restarts = rt->restarts;
}

static bool has_ended(const struct iog_rt *rt)
{
	const uint32_t p = atomic_load_explicit(&rt->phase, memory_order_acquire);
	return p == IOG_PHASE_DONE || p == IOG_PHASE_FAILED;
}

/* CPU time of an endpoint: of its thread while it has one. */
static uint64_t thread_cpu(const struct iog_rt *rt)
{
	clockid_t clock;
	struct timespec now;
	if (!rt->threaded || has_ended(rt) || pthread_getcpuclockid(rt->thread, &clock) || clock_gettime(clock, &now))
		return atomic_load(&rt->cpu_ns);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t iog_engine_unit_stats(const struct iog_engine *e, struct iog_unit_stats *s, uint32_t max)
{
	for (uint32_t i = 0; i < e->cut->n_units && i < max; i++) {
		const struct iog_rt *rt = &e->rt[i];
		s[i] = (struct iog_unit_stats){ .name = rt->u->name, .target = iog_target_name(rt->target), .note = rt->note };
		s[i].kind = rt->u->kind;
		s[i].cpu_s = (double)(rt->launched ? atomic_load(&rt->cpu_ns) + rt->launch->cpu(rt) : thread_cpu(rt)) * 1e-9;
		if (rt->u->kind == IOG_G_OP) {
			stage_stats(rt, &s[i]);
			continue;
		}
		if (has_ended(rt) && rt->end_note[0])
			s[i].note = rt->end_note;
		uint64_t n = atomic_load(&rt->records), bytes = atomic_load(&rt->bytes);
		if (rt->u->kind == IOG_G_SOURCE)
			s[i].out_records = n, s[i].out_bytes = bytes;
		else
			s[i].in_records = n, s[i].in_bytes = bytes, s[i].late = rt->late;
		s[i].bad = atomic_load(&rt->bad), s[i].failed = atomic_load(&rt->failed), s[i].duplicates = atomic_load(&rt->duplicates);
		s[i].dropped = atomic_load(&rt->dropped), s[i].sleeps = atomic_load(&rt->sleeps);
	}
	return IOG_MIN(e->cut->n_units, max);
}

uint32_t iog_engine_node_stats(const struct iog_engine *e, struct iog_node_stats *s, uint32_t max)
{
	uint32_t n = 0;
	double hz = tsc_hz();
	for (uint32_t i = 0; i < e->cut->n_units; i++) {
		const struct iog_rt *rt = &e->rt[i];
		const struct iog_status *now = rt->status.map;
		for (uint32_t j = 0; rt->u->kind == IOG_G_OP && j < rt->u->n_nodes; j++) {
			if (n == max)
				return n;
			struct iog_node_count c = rt->total.node[j];
			const struct iog_node_count *x = &now->node[j];
			iog_node_count_add(&c, x);
			const double scale = c.timed + c.odd ? (double)c.records / (double)(c.timed + c.odd) : 0;
			const double each = c.timed ? (double)c.cycles / (double)c.timed : 0;
			s[n++] = (struct iog_node_stats){ .name = rt->args.stage->node[j].name,
				.op = rt->args.stage->node[j].op,
				.unit = rt->u->name,
				.records = c.records,
				.out = c.out,
				.elided = c.elided,
				.bad = c.bad,
				.failed = c.failed,
				.bytes_in = (double)c.bytes_in * scale,
				.bytes_out = (double)c.bytes_out * scale,
				.seconds = ((double)c.odd_cycles + each * (double)(c.records - c.odd)) / hz };
		}
	}
	return n;
}

uint32_t iog_engine_edge_stats(const struct iog_engine *e, struct iog_edge_stats *s, uint32_t max)
{
	for (uint32_t k = 0; k < e->cut->n_edges && k < max; k++) {
		const struct iog_edge *x = &e->edge[k].e;
		const struct iog_uedge *u = &e->cut->edge[k];
		s[k] = (struct iog_edge_stats){
			.from = e->rt[u->from].u->name, .to = e->rt[u->to].u->name, .capacity = u->capacity, .policy = iog_uedge_policy(u)
		};
		/* The releases first: what is pushed meanwhile makes the edge look fuller, not emptier than empty. */
		const uint32_t done = x->up ? atomic_load_explicit(&x->up->head, memory_order_acquire) : 0;
		const uint32_t head = x->down ? atomic_load_explicit(&x->down->head, memory_order_acquire) : 0;
		s[k].queued = u->policy == IOG_LATEST ? x->box && (uint32_t)atomic_load(&x->box->word) : IOG_MIN(head - done, u->capacity);
	}
	return IOG_MIN(e->cut->n_edges, max);
}

uint64_t iog_engine_delivered(const struct iog_engine *e)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < e->cut->n_units; i++)
		if (e->rt[i].u->kind == IOG_G_SINK)
			n += atomic_load_explicit(&e->rt[i].records, memory_order_relaxed);
	return n;
}
