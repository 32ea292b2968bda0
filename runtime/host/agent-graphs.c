/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent's graphs: loaded, waiting for the streams they take, running, ended. Their work is done by threads and processes of their engines; here they
 * are only started, looked at and ended. The agent's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent-private.h"
#include "cores.h"

static const uint64_t WIDE_NS = 30000000000u;

/* What it took to run: one that has ended holds no memory of the node any more. */
static void run_release(struct run *r)
{
	if (r->e)
		r->delivered = iog_engine_delivered(r->e);
	if (!iog_engine_free(r->e)) {
		iog_cut_free(&r->cut);
		iog_graph_free(r->g);
	}
	r->e = NULL, r->g = NULL;
}

static void run_free(struct run *r)
{
	if (!r)
		return;
	run_free(r->next);
	run_free(r->before);
	run_release(r);
	free(r);
}

/* ---- streams that a graph takes ---- */

/* The configuration of its at-th source "stream", which begins with the name; NULL: there is none. */
static const void *stream_conf(const struct iog_graph *g, uint32_t at)
{
	struct iog_gnode *n;
	const uint32_t count = g ? iog_graph_nodes(g, &n) : 0;
	for (uint32_t k = 0; k < count; k++)
		if (n[k].kind == IOG_G_SOURCE && !strcmp(n[k].end.name, "stream") && !at--)
			return n[k].conf;
	return NULL;
}

static uint32_t takes(const struct iog_graph *g, const char *stream)
{
	const void *conf;
	uint32_t n = 0;
	for (uint32_t k = 0; (conf = stream_conf(g, k)); k++)
		n += !strcmp(conf, stream);
	return n;
}

/* Variables that the sources of g need of a stream. */
static uint64_t needs(const struct iog_graph *g, const char *stream)
{
	struct iog_gnode *n;
	uint64_t vars = 0;
	for (uint32_t k = g ? iog_graph_nodes(g, &n) : 0; k-- > 0;)
		if (n[k].kind == IOG_G_SOURCE && !strcmp(n[k].end.name, "stream") && !strcmp(n[k].conf, stream))
			vars |= n[k].needs[0];
	return vars;
}

/* The source of g that corresponds to `conf` of another graph: of the same stream, and in the same place among those. */
static const void *counterpart(const struct iog_graph *g, const struct iog_graph *other, const void *conf)
{
	const void *x;
	uint32_t nth = 0;
	for (uint32_t k = 0; (x = stream_conf(other, k)) != conf; k++)
		nth += !strcmp(x, conf);
	for (uint32_t k = 0; (x = stream_conf(g, k)); k++)
		if (!strcmp(x, conf) && !nth--)
			return x;
	return NULL;
}

static void bequeath(const void *conf, const void *heir)
{
	struct iog_feed *f = iog_feed_get(conf);
	if (f)
		iog_feed_bequeath(f, conf, heir);
	iog_feed_put(f);
}

/* What waits for sources of g, or would go on from them, goes. */
static void disinherit(const struct iog_graph *g)
{
	const void *conf;
	for (uint32_t k = 0; (conf = stream_conf(g, k)); k++)
		bequeath(conf, NULL);
}

/* False: nobody writes a stream that it takes; it may be known from the graph's own `schema`, or from a program that has ended. */
static bool streams_there(const struct iog_agent *a, const struct iog_graph *g)
{
	const char *name;
	bool all = true;
	for (uint32_t k = 0; (name = stream_conf(g, k)); k++)
		all &= iog_agent_stream_there(a, name);
	return all;
}

/* Loads and checks; 0: it can start, -EAGAIN: it waits for a stream, else what is wrong with it. */
static int run_check(struct iog_agent *a, struct run *r, void (*diags)(void *, const struct iog_graph *), struct iog_err *err)
{
	const struct iog_diag *d;
	r->g = a->o.load(a->o.ctx, r->path);
	if (!r->g)
		return iog_fail(err, -ENOMEM, "%s: out of memory", r->path);
	int rc = iog_graph_check(r->g);
	if (!rc)
		rc = iog_graph_cut(r->g, true, (enum iog_target)a->o.engine.target, &r->cut);
	if (!rc && streams_there(a, r->g))
		return 0;
	uint32_t n = iog_graph_diags(r->g, &d), later = !rc, wrong = 0;
	for (uint32_t i = 0; i < n; i++) {
		later += d[i].later;
		if (!d[i].later && !d[i].warning && !wrong++)
			iog_fail(err, rc, "%s:%d: %s", d[i].file, d[i].line, d[i].text);
	}
	if (later && !wrong) {
		iog_strset(r->text, sizeof r->text, "waits for a stream that no program has open");
		rc = -EAGAIN;
	} else if (diags) {
		diags(a->o.ctx, r->g);
	}
	iog_cut_free(&r->cut);
	iog_graph_free(r->g);
	r->g = NULL;
	return rc;
}

void iog_agent_graphs_label(const struct iog_agent *a, const void *owner, char *text, size_t size)
{
	const void *conf;
	text[0] = 0;
	for (uint32_t i = 0; owner && i < a->n_runs; i++)
		for (uint32_t k = 0; (conf = stream_conf(a->run[i]->g, k)); k++)
			if (conf == owner)
				iog_format(text, size, "%u:%.50s", k, a->run[i]->name);
}

bool iog_agent_graphs_wait(const struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (a->run[i]->state == WAITS)
			return true;
	return false;
}

/* ---- start and end ---- */

static int room(struct iog_agent *a, const struct run *r, struct iog_err *err)
{
	const char *name;
	int rc = 0;
	for (uint32_t k = 0; !rc && (name = stream_conf(r->g, k)); k++) {
		uint32_t takers = takes(r->g, name) - 1;
		for (uint32_t i = 0; i < a->n_runs; i++)
			takers += a->run[i] != r && a->run[i]->state == RUNS ? takes(a->run[i]->g, name) : 0;
		rc = iog_agent_stream_room(a, name, takers, err);
	}
	return rc;
}

/* What is not as it was wished. */
static void say_notes(struct iog_agent *a, const struct run *r)
{
	struct iog_unit_stats u[64];
	for (uint32_t n = IOG_MIN(iog_engine_unit_stats(r->e, u, IOG_COUNT(u)), (uint32_t)IOG_COUNT(u)), i = 0; i < n; i++)
		if (u[i].note[0])
			iog_agent_say(a, "graph %s: %s: %s", r->name, u[i].name, u[i].note);
}

/* Threads of graphs run where this one may when they start. By then all ranks of the program are there. */
static void take_cores(struct iog_agent *a)
{
	int pid[IOG_AGENT_CLIENTS];
	char text[sizeof a->cores];
	uint32_t n = 0;
	for (uint32_t i = 0; i < a->n_clients; i++)
		if (a->client[i]->hello && !a->client[i]->apart)
			pid[n++] = a->client[i]->pid;
	iog_cores_beside(pid, n, text, sizeof text);
	if (strcmp(text, a->cores))
		iog_agent_say(a, "%s", text);
	iog_strset(a->cores, sizeof a->cores, text);
}

static int engine_start(struct iog_agent *a, struct run *r, struct iog_err *err)
{
	const struct iog_engine_opts o = iog_agent_state_engine(a, r);
	int rc = room(a, r, err);
	if (a->o.widen)
		take_cores(a);
	if (!rc)
		rc = iog_engine_new(&r->e, r->g, &r->cut, &o, err);
	if (!rc)
		rc = iog_engine_start(r->e, err);
	r->state = rc ? FAILED : RUNS;
	a->look = a->dirty = true;
	if (!rc)
		say_notes(a, r);
	return rc;
}

/* The first failure decides the result of the agent. */
static void failed(struct iog_agent *a, struct run *r, int rc, const struct iog_err *err)
{
	r->state = FAILED;
	a->dirty = true;
	iog_strset(r->text, sizeof r->text, err->text);
	if (!a->rc)
		a->rc = rc, a->err = *err;
}

static void run_start(struct iog_agent *a, struct run *r)
{
	struct iog_err err = { "" };
	int rc = engine_start(a, r, &err);
	r->text[0] = 0;
	iog_agent_say(a, "graph %s %s%s%s", r->name, rc ? "cannot start" : "runs", rc ? ": " : "", err.text);
	if (rc) {
		run_release(r);
		failed(a, r, rc, &err);
	}
}

/* ---- replacing ---- */

static void tell_asker(struct iog_agent *a, struct run *r, int rc, const struct iog_err *err)
{
	if (r->asker)
		iog_agent_answer(a, r->asker, r->asker_id, rc, err);
	r->asker = NULL;
}

/* The graph that should follow r will not. */
static void drop_next(struct iog_agent *a, struct run *r, const char *why)
{
	struct iog_err err;
	struct run *n = r->next;
	if (!n)
		return;
	r->next = NULL;
	r->wide_ns = 0;
	disinherit(r->g);
	disinherit(n->g);
	iog_fail(&err, -ECANCELED, "graph \"%s\" was not replaced: %s", r->name, why);
	iog_agent_say(a, "%s", err.text);
	tell_asker(a, n, -ECANCELED, &err);
	run_free(n);
}

/* The sources of r are open, and go on where those before them stopped. */
static void settle(struct iog_agent *a, struct run *r)
{
	static const struct iog_err none = { "" };
	disinherit(r->g);
	r->handed = false;
	if (!r->before)
		return;
	disinherit(r->before->g);
	iog_agent_say(a, "graph %s runs, in the place of %s", r->name, r->before->path);
	snprintf(r->text, sizeof r->text, "in the place of %.400s", r->before->path);
	tell_asker(a, r, 0, &none);
	run_free(r->before);
	r->before = NULL;
}

/* a->run[i] could not take over: the one before it goes on. */
static void go_back(struct iog_agent *a, uint32_t i, const struct iog_err *why)
{
	struct run *r = a->run[i], *old = r->before;
	struct iog_err err = { "" };
	const void *conf, *heir;
	for (uint32_t k = 0; (conf = stream_conf(r->g, k)); k++) {
		heir = counterpart(old->g, r->g, conf);
		bequeath(conf, heir);
	}
	a->run[i] = old;
	old->handed = true;
	int rc = old->g ? engine_start(a, old, &err) : iog_fail(&err, -EBUSY, "its threads have not ended");
	if (rc) {
		disinherit(old->g);
		run_release(old);
		failed(a, old, rc, &err);
		iog_agent_say(a, "graph %s cannot start again: %s", old->name, err.text);
		iog_fail(&err, rc, "%s: %.200s; the former graph cannot start again either: %.200s", r->path, why->text, old->text);
	} else {
		iog_fail(&err, -EIO, "%s: %.300s; the former graph, %s, runs again", r->path, why->text, old->path);
		snprintf(old->text, sizeof old->text, "runs again: %.200s could not start", r->path);
		iog_agent_say(a, "graph %s: %s", old->name, err.text);
	}
	tell_asker(a, r, -EIO, &err);
	r->before = NULL;
	run_free(r);
}

/* a->run[i] has ended, and what it had of its streams waits for the next one. */
static void take_over(struct iog_agent *a, uint32_t i)
{
	struct run *old = a->run[i], *r = old->next;
	struct iog_err err = { "" };
	old->next = NULL;
	/* Its threads have ended; its graph stays, for it may have to start again. */
	if (iog_engine_free(old->e)) {
		iog_agent_say(a, "graph %s does not let go of its threads", old->name);
		old->g = NULL;
	}
	old->e = NULL;
	iog_agent_state_forget(a, old);
	a->run[i] = r;
	r->before = old;
	r->handed = true;
	if (!engine_start(a, r, &err))
		return;
	if (!r->e) {
		go_back(a, i, &err);
		return;
	}
	r->state = RUNS;
	r->spoilt = true;
	iog_strset(r->text, sizeof r->text, err.text);
}

/* Ends r as soon as all that it leaves to the next one has what that one needs. */
static void make_room(struct iog_agent *a, struct run *r)
{
	const void *conf, *from;
	bool wide = true;
	for (uint32_t k = 0; (conf = stream_conf(r->next->g, k)); k++)
		if ((from = counterpart(r->g, r->next->g, conf)))
			wide &= iog_agent_edges_wide(a, from);
	if (!wide && iog_now_ns() > r->wide_ns) {
		r->text[0] = 0;
		drop_next(a, r, "the new graph needs more of each step, and a program has not begun one since; unload the old one first");
		return;
	}
	if (!wide)
		return;
	for (uint32_t k = 0; (conf = stream_conf(r->next->g, k)); k++)
		if ((from = counterpart(r->g, r->next->g, conf)))
			bequeath(from, conf);
	r->wide_ns = 0;
	snprintf(r->text, sizeof r->text, "ends, and makes room for %.400s", r->next->path);
	iog_agent_say(a, "graph %s %s", r->name, r->text);
	iog_engine_drain(r->e);
}

int iog_agent_graph_replace(struct iog_agent *a, struct client *c, const struct iog_msg *m, struct iog_err *err)
{
	static const struct iog_err none = { "" };
	const void *conf, *from;
	uint32_t i = 0;
	while (i < a->n_runs && (strcmp(a->run[i]->name, m->name) || (a->run[i]->state != WAITS && a->run[i]->state != RUNS)))
		i++;
	if (i == a->n_runs)
		return iog_fail(err, -ENOENT, "no graph \"%s\" is loaded that could be replaced", m->name);
	struct run *old = a->run[i];
	if (old->next || old->handed || (old->state == RUNS && iog_engine_opening(old->e)))
		return iog_fail(err, -EBUSY, "graph \"%s\" is just starting, or being replaced; try again", old->name);
	struct run *r = calloc(1, sizeof *r);
	if (!r)
		return iog_fail(err, -ENOMEM, "out of memory");
	iog_strset(r->name, sizeof r->name, old->name);
	iog_strset(r->path, sizeof r->path, m->text);
	int rc = run_check(a, r, NULL, err);
	if (rc == -EAGAIN && old->state == RUNS)
		rc = iog_fail(err, -ENOENT, "%s takes a stream that no program has opened; graph \"%s\" goes on", r->path, old->name);
	if (rc && rc != -EAGAIN) {
		run_free(r);
		return rc;
	}
	if (old->state == WAITS) {
		a->run[i] = r;
		run_free(old);
		if (!rc)
			run_start(a, r);
		iog_agent_answer(a, c, m->id, 0, &none);
		return 0;
	}
	old->next = r;
	r->asker = c, r->asker_id = m->id;
	for (uint32_t k = 0; (conf = stream_conf(r->g, k)); k++)
		if ((from = counterpart(old->g, r->g, conf)))
			iog_agent_edges_widen(a, from, needs(r->g, conf));
	old->wide_ns = iog_now_ns() + WIDE_NS;
	snprintf(old->text, sizeof old->text, "waits for what %.400s needs of each step", r->path);
	make_room(a, old);
	return 0;
}

void iog_agent_graphs_leave(struct iog_agent *a, const struct client *c)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		struct run *r = a->run[i], *n = r->next;
		if (r->asker == c)
			r->asker = NULL;
		if (n && n->asker == c)
			n->asker = NULL;
	}
}

/* ---- the graphs' part of a turn ---- */

static void look_after(struct iog_agent *a, uint32_t i)
{
	struct run *r = a->run[i];
	struct iog_err err = { "" };
	const bool ended = iog_engine_poll(r->e, 0);
	int rc = r->spoilt ? -EIO : iog_engine_result(r->e, &err);
	if (r->spoilt)
		iog_strset(err.text, sizeof err.text, r->text);
	if (r->before && rc) {
		if (ended)
			go_back(a, i, &err);
		else if (!r->spoilt)
			iog_engine_stop(r->e);
		return;
	}
	if (r->handed && !iog_engine_opening(r->e))
		settle(a, r);
	if (r->wide_ns)
		make_room(a, r);
	if (!ended)
		return;
	r->state = ENDED;
	if (rc)
		failed(a, r, rc, &err);
	else if (!r->next)
		r->text[0] = 0;
	iog_agent_say(a, "graph %s has ended%s%s", r->name, rc ? ": " : "", err.text);
	if (r->next)
		take_over(a, i);
	else
		run_release(r), iog_agent_state_forget(a, r);
	a->dirty = true;
}

void iog_agent_graphs_poll(struct iog_agent *a)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		struct run *r = a->run[i];
		struct iog_err err = { "" };
		if (r->state == WAITS && a->look) {
			int rc = run_check(a, r, NULL, &err);
			if (!rc)
				run_start(a, r);
			else if (rc != -EAGAIN) {
				iog_agent_say(a, "graph %s cannot start: %s", r->name, err.text);
				failed(a, r, rc, &err);
			}
		}
		if (r->state == RUNS)
			look_after(a, i);
	}
}

int iog_agent_load(
	struct iog_agent *a, const char *name, const char *path, void (*diags)(void *, const struct iog_graph *), struct iog_err *err)
{
	if (!iog_agent_plain(name))
		return iog_fail(err, -EINVAL, "the name of a graph may not have control characters; give it another one");
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (!strcmp(a->run[i]->name, name) && (a->run[i]->state == WAITS || a->run[i]->state == RUNS))
			return iog_fail(
				err, -EEXIST, "a graph named \"%s\" is loaded; unload it first, or give this one another name", name);
	/* Room: the first that has ended is forgotten. */
	for (uint32_t i = 0; a->n_runs == IOG_AGENT_GRAPHS && i < a->n_runs; i++)
		if (a->run[i]->state == ENDED || a->run[i]->state == FAILED) {
			run_free(a->run[i]);
			memmove(&a->run[i], &a->run[i + 1], (--a->n_runs - i) * sizeof a->run[0]);
		}
	struct run *r = a->n_runs < IOG_AGENT_GRAPHS ? calloc(1, sizeof *r) : NULL;
	if (!r)
		return iog_fail(err, -ENOSPC, "the agent has no room for another graph");
	iog_strset(r->name, sizeof r->name, name);
	iog_strset(r->path, sizeof r->path, path);
	int rc = run_check(a, r, diags, err);
	if (rc && rc != -EAGAIN) {
		free(r);
		return rc;
	}
	a->run[a->n_runs++] = r;
	a->dirty = true;
	if (rc)
		iog_agent_say(a, "graph %s %s", name, r->text);
	else
		run_start(a, r);
	return 0;
}

int iog_agent_unload(struct iog_agent *a, const char *name, struct iog_err *err)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		struct run *r = a->run[i];
		if (strcmp(r->name, name) || (r->state != WAITS && r->state != RUNS))
			continue;
		drop_next(a, r, "it was ended before");
		if (r->state == RUNS)
			iog_engine_drain(r->e);
		else
			r->state = ENDED;
		a->dirty = true;
		return 0;
	}
	return iog_fail(err, -ENOENT, "no graph \"%s\" is loaded", name);
}

void iog_agent_end(struct iog_agent *a, bool at_once)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		drop_next(a, a->run[i], "it was ended before");
		if (a->run[i]->state == WAITS)
			a->run[i]->state = ENDED;
		else if (a->run[i]->state == RUNS)
			at_once ? iog_engine_stop(a->run[i]->e) : iog_engine_drain(a->run[i]->e);
	}
}

/* A graph has started that takes the stream, and its source is not open yet. */
bool iog_agent_graphs_opening(const struct iog_agent *a, const struct stream *s)
{
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (a->run[i]->state == RUNS && takes(a->run[i]->g, s->name) && iog_engine_opening(a->run[i]->e))
			return true;
	return false;
}

void iog_agent_graphs_want(const struct iog_agent *a, const struct stream *s, struct iog_want *want)
{
	*want = (struct iog_want){ 0 };
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (a->run[i]->state == RUNS)
			want->vars |= needs(a->run[i]->g, s->name) | (a->run[i]->next ? needs(a->run[i]->next->g, s->name) : 0);
}

uint32_t iog_agent_graphs_busy(const struct iog_agent *a, uint32_t *runs)
{
	uint32_t waits = 0;
	*runs = 0;
	for (uint32_t i = 0; i < a->n_runs; i++) {
		waits += a->run[i]->state == WAITS;
		*runs += a->run[i]->state == RUNS;
	}
	return waits + *runs;
}

int iog_agent_graphs_set(struct iog_agent *a, const char *name, double value, struct iog_err *err)
{
	uint32_t n = 0;
	*err = (struct iog_err){ "" };
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (a->run[i]->state == RUNS && !iog_engine_param(a->run[i]->e, name, value, err))
			n++;
	return n ? 0 : err->text[0] ? -ENOENT : iog_fail(err, -ENOENT, "no graph runs that has parameters");
}

void iog_agent_graph_text(const struct run *r, char *text, size_t size)
{
	static const char *const state[] = { "waits", "runs", "ended", "failed" };
	snprintf(text, size, "graph\t%s\t%s\t%llu\t%s", r->name, state[r->state],
		(unsigned long long)(r->e ? iog_engine_delivered(r->e) : r->delivered), r->text);
}

void iog_agent_graphs_free(struct iog_agent *a)
{
	while (a->n_runs) /* clients leave after them */
		run_free(a->run[--a->n_runs]);
}
