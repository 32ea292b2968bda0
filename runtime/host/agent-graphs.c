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

/* What it took to run: one that has ended holds no memory of the node any more. */
static void run_free(struct run *r)
{
	if (r->e)
		r->delivered = iog_engine_delivered(r->e);
	if (!iog_engine_free(r->e)) {
		iog_cut_free(&r->cut);
		iog_graph_free(r->g);
	}
	r->e = NULL, r->g = NULL;
}

/* False: nobody writes a stream that it takes; it may be known from the graph's own `schema`, or from a program that has ended. */
static bool streams_there(const struct iog_agent *a, const struct iog_graph *g)
{
	struct iog_gnode *n;
	bool all = true;
	for (uint32_t k = iog_graph_nodes(g, &n); k-- > 0;) {
		if (n[k].kind != IOG_G_SOURCE || strcmp(n[k].end.name, "stream"))
			continue;
		all &= iog_agent_stream_there(a, n[k].conf); /* its first parameter */
	}
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

static void run_start(struct iog_agent *a, struct run *r)
{
	struct iog_err err = { "" };
	int rc = iog_engine_new(&r->e, r->g, &r->cut, &a->o.engine, &err);
	if (!rc)
		rc = iog_engine_start(r->e, &err);
	r->state = rc ? FAILED : RUNS;
	if (rc)
		run_free(r);
	iog_strset(r->text, sizeof r->text, err.text);
	iog_agent_say(a, "graph %s %s%s%s", r->name, rc ? "cannot start" : "runs", rc ? ": " : "", err.text);
	if (rc && !a->rc)
		a->rc = rc, a->err = err;
	a->look = true;
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
				r->state = FAILED;
				iog_strset(r->text, sizeof r->text, err.text);
				iog_agent_say(a, "graph %s cannot start: %s", r->name, err.text);
				if (!a->rc)
					a->rc = rc, a->err = err;
			}
		}
		if (r->state != RUNS || !iog_engine_poll(r->e, 0))
			continue;
		int rc = iog_engine_result(r->e, &err);
		r->state = rc ? FAILED : ENDED;
		run_free(r);
		iog_strset(r->text, sizeof r->text, err.text);
		iog_agent_say(a, "graph %s has ended%s%s", r->name, rc ? ": " : "", err.text);
		if (rc && !a->rc)
			a->rc = rc, a->err = err;
	}
}

int iog_agent_load(
	struct iog_agent *a, const char *name, const char *path, void (*diags)(void *, const struct iog_graph *), struct iog_err *err)
{
	for (uint32_t i = 0; i < a->n_runs; i++)
		if (!strcmp(a->run[i]->name, name) && (a->run[i]->state == WAITS || a->run[i]->state == RUNS))
			return iog_fail(
				err, -EEXIST, "a graph named \"%s\" is loaded; unload it first, or give this one another name", name);
	/* Room: the first that has ended is forgotten. */
	for (uint32_t i = 0; a->n_runs == IOG_AGENT_GRAPHS && i < a->n_runs; i++)
		if (a->run[i]->state == ENDED || a->run[i]->state == FAILED) {
			run_free(a->run[i]);
			free(a->run[i]);
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
		if (r->state == RUNS)
			iog_engine_drain(r->e);
		else
			r->state = ENDED;
		return 0;
	}
	return iog_fail(err, -ENOENT, "no graph \"%s\" is loaded", name);
}

void iog_agent_end(struct iog_agent *a, bool at_once)
{
	for (uint32_t i = 0; i < a->n_runs; i++) {
		if (a->run[i]->state == WAITS)
			a->run[i]->state = ENDED;
		else if (a->run[i]->state == RUNS)
			at_once ? iog_engine_stop(a->run[i]->e) : iog_engine_drain(a->run[i]->e);
	}
}

/* A graph has started that takes the stream, and its source is not open yet. */
bool iog_agent_graphs_opening(const struct iog_agent *a, const struct stream *s)
{
	for (uint32_t i = 0; i < a->n_runs && !iog_feed_life(s->feed); i++) {
		struct iog_gnode *n;
		for (uint32_t k = a->run[i]->state == RUNS ? iog_graph_nodes(a->run[i]->g, &n) : 0; k-- > 0;)
			if (n[k].kind == IOG_G_SOURCE && !strcmp(n[k].end.name, "stream") &&
				!strcmp(n[k].conf, s->name)) /* its first parameter */
				return true;
	}
	return false;
}

void iog_agent_graphs_want(const struct iog_agent *a, const struct stream *s, struct iog_want *want)
{
	*want = (struct iog_want){ 0 };
	for (uint32_t i = 0; i < a->n_runs; i++) {
		struct iog_gnode *n;
		for (uint32_t k = a->run[i]->state == RUNS ? iog_graph_nodes(a->run[i]->g, &n) : 0; k-- > 0;)
			if (n[k].kind == IOG_G_SOURCE && !strcmp(n[k].end.name, "stream") && !strcmp(n[k].conf, s->name))
				want->vars |= n[k].needs[0];
	}
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
	for (uint32_t i = 0; i < a->n_runs; i++) {
		run_free(a->run[i]);
		free(a->run[i]);
	}
}
