/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker loop, one thread driving both ends of its edges by hand: pairing, elision, epochs, both release rules, duplicates, poison,
 * statics, live parameters, what operators may answer, and everything that can be damaged: records, descriptors, the stage image, and the
 * worker itself, which dies at every step of the protocol and is replaced.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "core/graph.h"
#include "core/worker.h"

/* ---- operators of the tests ---- */

struct conf {
	double factor;
};
static const struct iog_param params[] = {
	IOG_PARAM(struct conf, factor, IOG_P_NUMBER, .flags = IOG_PF_FIRST | IOG_PF_LIVE, .def = "1", .doc = "By how much."),
	{ .name = NULL },
};

enum { X, TAG }; /* variables of every schema here */

static int64_t first(const struct iog_record *r)
{
	int64_t v = 0;
	memcpy(&v, r->var[X].block[0].data, sizeof v);
	return v;
}
static void put_tag(struct iog_out *o, int64_t v)
{
	int64_t *t = iog_out_dense(o, TAG, 0, 8, NULL);
	assert_non_null(t);
	*t = v;
}

static int plan_copy(void *conf, struct iog_plan *p, struct iog_err *err)
{
	(void)conf, (void)err;
	*p->out[0] = *p->in[0];
	p->need.out_max[0] = 16 * 8 + IOG_ALIGN + 8;
	p->need.out_blocks = 2;
	p->need.scratch = 64;
	return 0;
}
static enum iog_step run_copy(const struct iog_call *c)
{
	const struct iog_record *r = c->in[0];
	const struct iog_block *b = r->var[X].block;
	int64_t n = r->axis[0].extent, *x;
	if (r->var[X].n_blocks != 1 || b->count[0] != n || r->var[TAG].n_blocks != 1)
		return IOG_BAD_INPUT;
	if (first(r) >= 1000 && n > 0) /* an operator that answers what it is told to */
		return (enum iog_step)(first(r) - 1000);
	x = iog_out_dense(&c->out[0], X, 1, 8, &n);
	if (!x)
		return IOG_NO_SPACE;
	iog_block_gather((uint8_t *)x, b, 1, 8);
	for (int64_t i = 0; i < n; i++)
		x[i] = (int64_t)((double)x[i] * ((const struct conf *)c->conf)->factor);
	int64_t t;
	memcpy(&t, r->var[TAG].block[0].data, 8);
	put_tag(&c->out[0], t);
	for (unsigned v = 2; v < r->schema->n_vars; v++)
		iog_out_pass(&c->out[0], v, r, v);
	return IOG_OK;
}

static int plan_view(void *conf, struct iog_plan *p, struct iog_err *err)
{
	(void)conf, (void)err;
	*p->out[0] = *p->in[0];
	p->need.out_blocks = 1;
	return 0;
}
static enum iog_step run_view(const struct iog_call *c)
{
	for (unsigned v = 0; v < c->in[0]->schema->n_vars; v++)
		iog_out_pass(&c->out[0], v, c->in[0], v);
	return IOG_OK;
}

/* The first element of x: a view of 8 bytes. */
static enum iog_step run_one(const struct iog_call *c)
{
	struct iog_out *o = &c->out[0];
	struct iog_block *b = iog_out_blocks(o, X, 1);
	assert_non_null(b);
	*b = c->in[0]->var[X].block[0];
	b->count[0] = o->rec.axis[0].extent = 1;
	iog_out_pass(o, TAG, c->in[0], TAG);
	return IOG_OK;
}

static int plan_sum(void *conf, struct iog_plan *p, struct iog_err *err)
{
	plan_copy(conf, p, err);
	p->need.state = 8;
	return 0;
}
static enum iog_step run_sum(const struct iog_call *c)
{
	int64_t *sum = c->state;
	iog_out_pass(&c->out[0], X, c->in[0], X);
	*sum = (int64_t)((uint64_t)*sum * 3 + (uint64_t)first(c->in[0])); /* order matters */
	if (first(c->in[0]) % 5 == 4)
		return IOG_ELIDE;
	put_tag(&c->out[0], *sum);
	return IOG_OK;
}

/* TAG says which ports had a record, X comes from the first of them. */
static enum iog_step run_zip(const struct iog_call *c)
{
	int64_t mask = 0;
	const struct iog_record *r = NULL;
	for (uint32_t i = 0; i < c->n_in; i++)
		if (c->in[i]) {
			mask |= 1 << i;
			r = r ? r : c->in[i];
		}
	iog_out_pass(&c->out[0], X, r, X);
	put_tag(&c->out[0], mask);
	return IOG_OK;
}

/* Sends a record with x % 5 == 4 and up to three before it; TAG is what a running sum over all inputs was at that record. */
enum { BEFORE = 3 };
struct before {
	uint64_t seen;
	int64_t sum;
	bool any, pad[7];
};
static int plan_before(void *conf, struct iog_plan *p, struct iog_err *err)
{
	plan_copy(conf, p, err);
	p->need.state = sizeof(struct before);
	p->need.window = BEFORE;
	return 0;
}
static enum iog_step run_before(const struct iog_call *c)
{
	struct before *b = c->state;
	const struct iog_record *r = c->in[0];
	if (!b->any || b->seen != r->id.seq) /* it is called again for each record it sends */
		b->sum = (int64_t)((uint64_t)b->sum * 3 + (uint64_t)first(r)), b->seen = r->id.seq, b->any = true;
	if (first(r) >= 1000)
		return (enum iog_step)(first(r) - 1000);
	if (first(r) % 5 != 4)
		return IOG_HOLD;
	if (c->open < c->n_held) {
		iog_out_stand_for(c, &c->out[0], c->open);
		r = c->held[c->open];
	}
	iog_out_pass(&c->out[0], X, r, X);
	put_tag(&c->out[0], b->sum);
	return IOG_OK;
}
/* TAG is the sum of x over this record and the three before: a window that is only looked at. */
static int plan_mean(void *conf, struct iog_plan *p, struct iog_err *err)
{
	plan_copy(conf, p, err);
	p->need.window = BEFORE;
	return 0;
}
static enum iog_step run_mean(const struct iog_call *c)
{
	int64_t sum = first(c->in[0]);
	assert_int_equal(c->open, c->n_held);
	for (uint32_t i = 0; i < c->n_held; i++)
		sum += first(c->held[i]);
	iog_out_pass(&c->out[0], X, c->in[0], X);
	put_tag(&c->out[0], sum);
	return IOG_OK;
}

static const struct iog_op
	copy = { .name = "copy",
		.params = params,
		.conf_size = sizeof(struct conf),
		.flags = IOG_STATELESS | IOG_DETERMINISTIC,
		.in_min = 1,
		.in_max = 1,
		.outs = 1,
		.plan = plan_copy,
		.run = run_copy },
	view = { .name = "view",
		.flags = IOG_STATELESS | IOG_DETERMINISTIC,
		.in_min = 1,
		.in_max = 1,
		.outs = 1,
		.plan = plan_view,
		.run = run_view },
	element = { .name = "element", .flags = IOG_STATELESS, .in_min = 1, .in_max = 1, .outs = 1, .plan = plan_view, .run = run_one },
	sum = { .name = "sum", .flags = IOG_DETERMINISTIC, .in_min = 1, .in_max = 1, .outs = 1, .plan = plan_sum, .run = run_sum },
	zip = { .name = "zip",
		.flags = IOG_ZIP | IOG_DETERMINISTIC,
		.in_min = 1,
		.in_max = 3,
		.outs = 1,
		.plan = plan_copy,
		.run = run_zip },
	before = { .name = "before",
		.flags = IOG_DETERMINISTIC,
		.in_min = 1,
		.in_max = 1,
		.outs = 1,
		.plan = plan_before,
		.run = run_before },
	mean = { .name = "mean", .flags = IOG_DETERMINISTIC, .in_min = 1, .in_max = 1, .outs = 1, .plan = plan_mean, .run = run_mean };
const struct iog_op *const iog_ops[] = { &copy, &view, &sum, &zip, &before, &mean, &element, NULL };

static int describe(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	(void)conf;
	return iog_schema_parse(s, "x: i64[i<=16]; tag: i64", err);
}
static int describe_static(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	(void)conf;
	return iog_schema_parse(s, "x: i64[i<=16]; tag: i64; static mass: f64[i]", err);
}

/* ---- a worker between hand-driven ends ---- */

enum { CAPACITY = 8, SLOTS = CAPACITY + 1, PORTS = 3 };

struct end {
	struct iog_edge e;
	struct iog_arena ar;
	struct iog_outlet o; /* inputs: ours */
	struct iog_inlet in; /* output: ours */
	void *memory;
	const struct iog_schema *schema;
	uint64_t head_max;
};
struct rig {
	struct iog_graph *g;
	struct iog_cut cut;
	uint32_t unit;
	struct iog_stage *st;
	struct iog_worker_args a;
	struct iog_worker *w;
	void *memory;
	struct end in[PORTS], out;
	uint32_t n_in, incarnations;
	struct iog_block block[64];
	uint8_t head[8192];
};

static void *zeroed(uint64_t n)
{
	void *p = aligned_alloc(IOG_LINE, IOG_ROUND_UP(n + 1, IOG_LINE));
	assert_non_null(p);
	return memset(p, 0, IOG_ROUND_UP(n + 1, IOG_LINE));
}

static void no_wait(void *ctx, const struct iog_waitword *w, uint32_t n, uint64_t limit) { (void)ctx, (void)w, (void)n, (void)limit; }
static void no_wake(void *ctx, const _Atomic uint32_t *w) { (void)ctx, (void)w; }
static uint64_t clock_ns(void *ctx)
{
	static uint64_t t;
	(void)ctx;
	return t += 1000000;
}

static void end_new(struct end *e, const struct iog_unit *u, uint32_t port, const struct iog_schema *s, uint32_t id)
{
	e->e = (struct iog_edge){
		.down = zeroed(iog_down_bytes(CAPACITY)), .up = zeroed(iog_up_bytes(CAPACITY)), .capacity = CAPACITY, .policy = IOG_BLOCK
	};
	e->ar = (struct iog_arena){ .static_bytes = u->static_bytes[port], .slot_bytes = u->slot_bytes[port], .n_slots = SLOTS, .id = id };
	e->ar.base = zeroed(iog_arena_bytes(&e->ar));
	e->schema = s;
	e->head_max = u->head_max[port];
}
static void end_free(struct end *e)
{
	free(e->e.down);
	free(e->e.up);
	free(e->ar.base);
	free(e->memory);
	memset(e, 0, sizeof *e);
}

static struct iog_region region(const struct end *e)
{
	return (struct iog_region){ .base = e->ar.base, .size = iog_arena_bytes(&e->ar), .arena = e->ar.id };
}

static void input_new(struct rig *r, uint32_t p)
{
	struct end *e = &r->in[p];
	int from = r->cut.unit[r->unit].in_from[p].node;
	struct iog_gnode *n;
	iog_graph_nodes(r->g, &n);
	end_new(e, &r->cut.unit[n[from].unit], 0, &n[from].out[0], 1 + p + 10 * r->incarnations);
	e->memory = zeroed(iog_outlet_memory(SLOTS));
	iog_outlet_init(&e->o, &e->ar, e->memory);
	assert_int_equal(iog_outlet_add(&e->o, &e->e), 0);
}
static struct iog_worker_in input_of(const struct end *e)
{
	return (struct iog_worker_in){
		.edge = e->e, .n_slots = SLOTS, .slot_bytes = e->ar.slot_bytes, .region = { region(e) }, .n_regions = 1
	};
}

/* A worker for what is there; also the successor of one that died, on the same snapshots. */
static bool worker_new(struct rig *r, uint64_t most)
{
	for (uint32_t p = 0; p < r->n_in; p++)
		r->a.in[p] = input_of(&r->in[p]);
	r->a.out[0].arena = r->out.ar;
	r->a.out[0].edge[0] = r->out.e;
	r->a.out[0].n_edges = 1;
	free(r->memory);
	r->memory = NULL;
	uint64_t bytes = iog_worker_memory(&r->a);
	if (!bytes || bytes > most)
		return false;
	r->memory = zeroed(bytes);
	struct iog_err err = { "" };
	r->w = iog_worker_init(&r->a, r->memory, &err);
	return r->w != NULL;
}

static void output_new(struct rig *r)
{
	struct iog_gnode *n;
	struct iog_gref from = r->cut.unit[r->unit].out_from[0];
	iog_graph_nodes(r->g, &n);
	end_new(&r->out, &r->cut.unit[r->unit], 0, &n[from.node].out[from.port], 9 + 10 * r->incarnations);
	r->out.e.safe = r->st->safe;
	iog_inlet_init(&r->out.in, &r->out.e, SLOTS, r->out.ar.slot_bytes);
}

static uint32_t fused_views; /* that follow the operator in its stage */
static void rig_build(struct rig *r, const struct iog_op *op, uint32_t n_in, bool safe, bool statics)
{
	memset(r, 0, sizeof *r);
	r->n_in = n_in;
	r->g = iog_graph_new();
	int o = iog_graph_op(r->g, op);
	struct iog_gnode_end src = { .name = "src", .describe = statics ? describe_static : describe },
			     dst = { .name = "dst", .safe = true };
	for (uint32_t i = 0; i < n_in; i++)
		iog_graph_link(r->g, iog_graph_end(r->g, IOG_G_SOURCE, &src), 0, o);
	if (op == &copy) {
		iog_graph_live(r->g, "gain", 1, 0, 0);
		iog_graph_set(r->g, o, "factor", &(struct iog_value){ .kind = IOG_V_NUMBER, .n = 1 }, "gain");
	}
	int k = iog_graph_end(r->g, IOG_G_SINK, &dst);
	if (safe)
		iog_graph_option(r->g, k, "release", &(struct iog_value){ .kind = IOG_V_STRING, .s = "safe" });
	for (uint32_t i = 0; i < fused_views; i++) {
		int v = iog_graph_op(r->g, &view);
		iog_graph_link(r->g, o, 0, v);
		o = v;
	}
	iog_graph_link(r->g, o, 0, k);
	assert_int_equal(iog_graph_check(r->g), 0);
	assert_int_equal(iog_graph_cut(r->g, true, IOG_T_HOST, &r->cut), 0);
	for (uint32_t u = 0; u < r->cut.n_units; u++)
		if (r->cut.unit[u].kind == IOG_G_OP)
			r->unit = u;
	r->st = iog_stage_build(r->g, &r->cut, r->unit, &r->a.stage_bytes);
	assert_non_null(r->st);
	r->a.stage = r->st;
	r->a.status = zeroed(sizeof *r->a.status);
	r->a.env = (struct iog_env){ .wait = no_wait, .wake = no_wake, .now_ns = clock_ns };
	if (safe && r->st->state_bytes)
		r->a.snapshots = zeroed(r->a.snapshots_bytes = iog_snapshots_bytes(r->st->state_bytes));
	for (uint32_t p = 0; p < n_in; p++)
		input_new(r, p);
	output_new(r);
}
static void rig_new(struct rig *r, const struct iog_op *op, uint32_t n_in, bool safe, bool statics)
{
	rig_build(r, op, n_in, safe, statics);
	assert_true(worker_new(r, 1 << 24));
}
static void rig_free(struct rig *r)
{
	for (uint32_t p = 0; p < r->n_in; p++)
		end_free(&r->in[p]);
	end_free(&r->out);
	free(r->memory);
	free(r->st);
	free(r->a.status);
	free(r->a.snapshots);
	iog_cut_free(&r->cut);
	iog_graph_free(r->g);
}

struct sent {
	int64_t value;
	uint32_t version;
	double mass;
	int64_t n;
};

/* Puts a record on port p, not yet visible; its slot. */
static uint32_t put(struct rig *r, uint32_t p, uint32_t epoch, uint64_t seq, struct sent v)
{
	struct end *e = &r->in[p];
	assert_true(iog_outlet_ready(&e->o));
	uint32_t s = iog_outlet_take(&e->o);
	int64_t x[16], tag = v.value;
	double mass[16];
	struct iog_block b[3] = { { .data = (uint8_t *)x, .count = { v.n }, .stride = { 8 } }, { .data = (uint8_t *)&tag },
		{ .data = (uint8_t *)mass, .count = { v.n }, .stride = { 8 } } };
	struct iog_record rec = { .schema = e->schema,
		.id = { .stream = 7, .epoch = epoch, .seq = seq },
		.step = (int64_t)seq,
		.writers = 1,
		.param_version = v.version,
		.axis = { { v.n, 0, 1 } } };
	for (int i = 0; i < 16; i++)
		x[i] = v.value + i, mass[i] = v.mass;
	for (unsigned i = 0; i < e->schema->n_vars; i++)
		rec.var[i] = (struct iog_var){ .block = &b[i], .n_blocks = 1 };
	struct iog_region own = { .base = e->ar.base, .size = e->ar.static_bytes, .arena = e->ar.id };
	uint32_t viewed;
	if (e->schema->n_vars > 2)
		assert_int_equal(iog_outlet_static(&e->o, &rec), 0);
	int64_t len = iog_wire_put(iog_arena_slot(&e->ar, s), e->ar.slot_bytes, e->head_max, 0, &rec, &own, 1, &viewed);
	assert_true(len > 0);
	assert_true(iog_outlet_push(&e->o, s, &rec, (uint64_t)len));
	return s;
}
static uint32_t send(struct rig *r, uint32_t p, uint32_t epoch, uint64_t seq, int64_t value)
{
	uint32_t s = put(r, p, epoch, seq, (struct sent){ .value = value, .n = 4, .mass = 1 });
	iog_outlet_publish(&r->in[p].o);
	return s;
}
static void elide(struct rig *r, uint32_t p, uint32_t epoch, uint64_t seq)
{
	iog_outlet_pass(&r->in[p].o, epoch, seq);
	iog_outlet_publish(&r->in[p].o);
}
static void close_in(struct rig *r, uint32_t p) { iog_outlet_close(&r->in[p].o, IOG_EDGE_CLOSED); }

static void turns(struct rig *r)
{
	for (int i = 0; iog_worker_turn(r->w, 32); i++)
		assert_true(i < 1000);
}

struct got {
	uint32_t slot, gen, epoch;
	uint64_t seq;
	int64_t x, tag;
	double mass;
};
/* The next output record, held until release; false: none. */
static bool next(struct rig *r, struct got *g)
{
	struct end *e = &r->out;
	struct iog_region reg[1 + PORTS] = { region(e) };
	struct iog_record rec;
	for (uint32_t p = 0; p < r->n_in; p++)
		reg[1 + p] = region(&r->in[p]);
	if (iog_inlet_peek(&e->in) != IOG_FRONT_RECORD)
		return false;
	*g = (struct got){ .slot = e->in.front.slot, .gen = e->in.front.gen, .epoch = e->in.front.epoch, .seq = e->in.front.seq };
	assert_int_equal(iog_wire_open(&rec, iog_arena_slot(&e->ar, g->slot), e->in.front.length, e->schema, reg, 1 + r->n_in, r->block,
				 IOG_COUNT(r->block), r->head, sizeof r->head, 0, NULL),
		0);
	iog_inlet_take(&e->in);
	g->x = first(&rec);
	memcpy(&g->tag, rec.var[TAG].block[0].data, 8);
	if (rec.schema->n_vars > 2)
		memcpy(&g->mass, rec.var[2].block[0].data, 8);
	return true;
}
static void release(struct rig *r, const struct got *g)
{
	iog_inlet_release(&r->out.in, g->slot, g->gen);
	iog_inlet_publish(&r->out.in);
}
static void expect(struct rig *r, uint32_t epoch, uint64_t seq, int64_t x, int64_t tag)
{
	struct got g;
	assert_true(next(r, &g));
	assert_int_equal(g.epoch, epoch);
	assert_int_equal(g.seq, seq);
	assert_int_equal(g.x, x);
	assert_int_equal(g.tag, tag);
	release(r, &g);
}
static void expect_none(struct rig *r)
{
	struct got g;
	assert_false(next(r, &g));
}
static uint32_t returned(struct rig *r, uint32_t p, uint32_t *slots) { return iog_outlet_reap(&r->in[p].o, slots, SLOTS); }

/* ---- pairing ---- */

static void a_join_never_waits_for_what_was_elided(void **state)
{
	struct rig r;
	(void)state;
	rig_new(&r, &zip, 2, false, false);
	for (uint64_t s = 1; s <= 4; s++)
		send(&r, 0, 0, s, (int64_t)s);
	send(&r, 1, 0, 1, 10);
	turns(&r);
	expect(&r, 0, 1, 1, 3);
	expect_none(&r); /* 2 may still come on port 1 */
	elide(&r, 1, 0, 2);
	turns(&r);
	expect(&r, 0, 2, 2, 1);
	expect_none(&r);
	elide(&r, 1, 0, 4);
	turns(&r);
	expect(&r, 0, 3, 3, 1);
	expect(&r, 0, 4, 4, 1);
	/* Only port 1 has one; and an elision on both is passed on without a record. */
	send(&r, 1, 0, 6, 60);
	elide(&r, 0, 0, 9);
	turns(&r);
	expect(&r, 0, 6, 60, 2);
	elide(&r, 1, 0, 8);
	turns(&r);
	uint32_t epoch;
	uint64_t passed;
	iog_inlet_passed(&r.out.in, &epoch, &passed);
	assert_int_equal(passed, 9);
	rig_free(&r);
}

static void joins_go_across_epochs_and_early_ends(void **state)
{
	struct rig r;
	(void)state;
	rig_new(&r, &zip, 3, false, false);
	send(&r, 0, 1, 5, 5);
	send(&r, 0, 2, 1, 1);
	send(&r, 1, 1, 9, 9);
	send(&r, 1, 2, 1, 1);
	turns(&r);
	expect_none(&r); /* port 2 may still have (1, 5) */
	elide(&r, 2, 1, 5);
	turns(&r);
	expect(&r, 1, 5, 5, 1);
	expect_none(&r);
	send(&r, 2, 2, 1, 1); /* an epoch later: nothing of epoch 1 comes any more */
	turns(&r);
	expect(&r, 1, 9, 9, 2);
	expect(&r, 2, 1, 1, 7);
	/* A port that ends: the others go on without it. */
	close_in(&r, 1);
	send(&r, 0, 2, 3, 30);
	elide(&r, 2, 2, 3);
	turns(&r);
	expect(&r, 2, 3, 30, 1);
	close_in(&r, 2);
	send(&r, 0, 2, 4, 40);
	turns(&r);
	expect(&r, 2, 4, 40, 1);
	close_in(&r, 0);
	turns(&r); /* what was released comes back */
	assert_int_equal(iog_worker_run(r.w), IOG_W_DRAINED);
	assert_int_equal(iog_inlet_state(&r.out.in), IOG_EDGE_CLOSED);
	rig_free(&r);
}

/* ---- release ---- */

static void views_pin_inputs_as_long_as_outputs_are_held(void **state)
{
	struct rig r;
	struct got g[3];
	uint32_t slot[3], back[SLOTS];
	(void)state;
	rig_new(&r, &view, 1, false, false);
	for (uint64_t s = 0; s < 3; s++)
		slot[s] = send(&r, 0, 0, s + 1, (int64_t)s);
	turns(&r);
	for (int i = 0; i < 3; i++)
		assert_true(next(&r, &g[i]));
	assert_int_equal(returned(&r, 0, back), 0);
	release(&r, &g[1]); /* fast release: in any order */
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 1);
	assert_int_equal(back[0], slot[1]);
	release(&r, &g[2]);
	release(&r, &g[0]);
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 2);
	rig_free(&r);
	/* One that is much smaller than what it would pin is copied. */
	rig_new(&r, &element, 1, false, false);
	send(&r, 0, 0, 1, 1);
	turns(&r);
	assert_true(next(&r, &g[0]));
	assert_int_equal(g[0].x, 1);
	assert_int_equal(returned(&r, 0, back), 1);
	rig_free(&r);
	/* What is copied does not hold its input. */
	rig_new(&r, &copy, 1, false, false);
	send(&r, 0, 0, 1, 1);
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 1);
	rig_free(&r);
	/* On a safe path it does: the record may have to be made again. */
	rig_new(&r, &copy, 1, true, false);
	for (uint64_t s = 1; s <= 2; s++)
		send(&r, 0, 0, s, 1);
	turns(&r);
	assert_true(next(&r, &g[0]) && next(&r, &g[1]));
	release(&r, &g[1]);
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 0); /* and in order */
	release(&r, &g[0]);
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 2);
	rig_free(&r);
}

static void safe_inputs_wait_for_a_snapshot_that_covers_them(void **state)
{
	struct rig r;
	struct got g[4];
	uint32_t back[SLOTS];
	(void)state;
	rig_new(&r, &sum, 1, true, false);
	assert_non_null(r.a.snapshots);
	for (uint64_t s = 1; s <= 4; s++)
		send(&r, 0, 0, s, 1);
	for (uint32_t n = 0; n < 4;)
		n += iog_worker_turn(r.w, 4 - n);
	for (int i = 0; i < 4; i++)
		assert_true(next(&r, &g[i]));
	assert_int_equal(r.a.snapshots->base, 0);
	for (int i = 0; i < 3; i++)
		release(&r, &g[i]);
	turns(&r);
	/* A snapshot is named after record 4, whose output is still held; or after an earlier one, where a turn that took long ended there. */
	uint32_t base = r.a.snapshots->base, given = base ? (uint32_t)r.a.snapshots->name[base - 1].seq : 0;
	assert_true(given < 4);
	assert_int_equal(returned(&r, 0, back), given);
	release(&r, &g[3]);
	turns(&r);
	base = r.a.snapshots->base;
	assert_true(base == 1 || base == 2);
	assert_int_equal(r.a.snapshots->name[base - 1].seq, 4);
	assert_int_equal(returned(&r, 0, back), 4 - given);
	rig_free(&r);
}

static void snapshots_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	struct rig r;
	struct iog_err err = { "" };
	rig_build(&r, &sum, 1, true, false);
	uint64_t right = r.a.snapshots_bytes;
	static const uint64_t less[] = { 1, IOG_ALIGN, 1000000 };
	for (unsigned i = 0; i < IOG_COUNT(less); i++) {
		r.a.snapshots_bytes = right - IOG_MIN(less[i], right);
		assert_false(worker_new(&r, 1 << 24));
		assert_null(iog_worker_init(&r.a, r.memory, &err));
		assert_non_null(strstr(err.text, "bytes for snapshots, its state needs"));
	}
	r.a.snapshots_bytes = right;
	assert_true(worker_new(&r, 1 << 24));
	rig_free(&r);
}

static uint64_t random_state;
static uint32_t rnd(uint32_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

/* Dies at a step of the protocol: the rest of the call never happens. */
static struct {
	jmp_buf env;
	uint32_t point, count;
} death;
static void die(void *ctx, uint32_t point)
{
	(void)ctx;
	if (point == death.point && !--death.count)
		longjmp(death.env, 1);
}

static bool lives_through(struct iog_worker *w, uint32_t budget)
{
	if (setjmp(death.env))
		return false;
	iog_worker_turn(w, budget);
	return true;
}

/* As the runtime does it: new rings and a new output arena, what was not released is sent again. The consumer drains the old ring first. */
static void successor(struct rig *r, struct iog_edge *old_edges, void **old_memory, uint32_t *n_old)
{
	struct end *e = &r->in[0];
	old_memory[*n_old] = r->out.ar.base;
	old_edges[(*n_old)++] = e->e;
	old_memory[*n_old] = NULL;
	old_edges[(*n_old)++] = r->out.e;
	e->e.down = zeroed(iog_down_bytes(CAPACITY));
	e->e.up = zeroed(iog_up_bytes(CAPACITY));
	iog_outlet_replace(&e->o, 0, &e->e);
	iog_outlet_publish(&e->o);
	struct iog_inlet last = r->out.in;
	r->incarnations++;
	output_new(r);
	r->out.in.epoch = last.epoch, r->out.in.next_seq = last.next_seq, r->out.in.taken = last.taken;
	assert_true(worker_new(r, 1 << 24));
}

/* What an undisturbed worker gives for inputs 1 to n; the last seq that is sent. */
struct expected {
	bool sent;
	int64_t tag;
};
static int64_t x_of(uint64_t seq) { return (int64_t)((seq * 7 + 1) % 11); }
static uint64_t expected(const struct iog_op *op, struct expected *e, uint64_t n)
{
	int64_t s = 0;
	uint64_t last = 0;
	memset(e, 0, (n + 1) * sizeof *e);
	for (uint64_t k = 1; k <= n; k++) {
		const bool hit = x_of(k) % 5 == 4;
		s = (int64_t)((uint64_t)s * 3 + (uint64_t)x_of(k));
		if (op == &before) {
			for (uint64_t i = k > BEFORE ? k - BEFORE : 1; hit && i <= k; i++)
				if (!e[i].sent)
					e[i] = (struct expected){ true, s };
		} else if (op == &mean) {
			e[k].sent = true;
			for (uint64_t i = k > BEFORE ? k - BEFORE : 1; i <= k; i++)
				e[k].tag += x_of(i);
		} else {
			e[k] = (struct expected){ !hit, s };
		}
	}
	for (uint64_t k = 1; k <= n; k++)
		if (e[k].sent)
			last = k;
	return last;
}

static void drop_duplicates(struct rig *r)
{
	while (iog_inlet_peek(&r->out.in) == IOG_FRONT_DUPLICATE) {
		struct got g = { .slot = r->out.in.front.slot, .gen = r->out.in.front.gen };
		iog_inlet_take(&r->out.in);
		release(r, &g);
	}
}
static bool patience(void *ctx)
{
	uint32_t *left = ctx;
	return *left && --*left;
}

/* The worker dies at every step of the protocol, now and then, and its inputs come and its outputs go in random order. */
static void kill_anywhere(const struct iog_op *op, uint32_t trials)
{
	enum { RECORDS = 40 };
	struct expected exp[RECORDS + 1];
	const uint64_t last = expected(op, exp, RECORDS);
	random_state = 1;
	for (uint32_t trial = 0; trial < trials; trial++) {
		struct rig r;
		struct iog_edge old[64];
		void *old_memory[64];
		struct got held[SLOTS], g;
		uint32_t n_old = 0, n_held = 0, back[SLOTS];
		uint64_t sent = 0, seen = 0;
		uint32_t deaths = 0;
		bool given[RECORDS + 1] = { false };
		uint32_t slot_seq[SLOTS] = { 0 };
		fused_views = trial & 1;
		rig_new(&r, op, 1, true, false);
		uint32_t left = 5000;
		r.a.env.point = die, r.a.env.control = patience, r.a.env.ctx = &left;
		assert_true(worker_new(&r, 1 << 24));
		death.point = 1 + trial % (IOG_POINTS - 1);
		death.count = 1 + rnd(6);
		for (uint32_t round = 0; seen < last || sent < RECORDS; round++) {
			if (round > 3000)
				fail_msg("%s, trial %u: stands still after %llu of %d", op->name, trial, (unsigned long long)seen, RECORDS);
			uint32_t what = rnd(4);
			if (what == 0 && sent < RECORDS && iog_outlet_ready(&r.in[0].o)) {
				sent++;
				slot_seq[send(&r, 0, 0, sent, x_of(sent))] = (uint32_t)sent;
			}
			if (what == 1) {
				bool alive = lives_through(r.w, 1 + rnd(6));
				uint32_t n = returned(&r, 0, back); /* releases it had made visible count */
				for (uint32_t i = 0; i < n; i++)
					given[slot_seq[back[i]]] = true;
				if (!alive) {
					deaths++;
					n_held = 0; /* all of it was processed; the successor sends it again */
					successor(&r, old, old_memory, &n_old);
					death.point = 1 + rnd(IOG_POINTS - 1);
					death.count = deaths < 8 ? 1 + rnd(20) : UINT32_MAX;
				}
			}
			if (what == 3 && n_held) {
				release(&r, &held[0]);
				memmove(held, held + 1, --n_held * sizeof *held);
			}
			if (what != 2)
				continue;
			uint32_t epoch;
			uint64_t passed;
			iog_inlet_passed(&r.out.in, &epoch, &passed);
			drop_duplicates(&r);
			if (iog_inlet_peek(&r.out.in) == IOG_FRONT_NONE) /* then it means what it says */
				for (uint64_t k = seen + 1; k < passed; k++)
					if (exp[k].sent)
						fail_msg("%s, trial %u: %llu is passed and was not sent", op->name, trial,
							(unsigned long long)k);
			if (n_held < SLOTS && next(&r, &g)) {
				/* In order, and what lies between was elided by the operator. */
				for (uint64_t k = seen + 1; k < g.seq; k++)
					if (exp[k].sent)
						fail_msg("%s, trial %u: %llu is lost", op->name, trial, (unsigned long long)k);
				assert_true(g.seq > seen && g.seq <= RECORDS);
				assert_int_equal(g.x, x_of(g.seq));
				assert_true(exp[g.seq].sent);
				assert_int_equal(g.tag, exp[g.seq].tag);
				if (given[g.seq])
					fail_msg("%s, trial %u: input %llu was given back before its output was released", op->name, trial,
						(unsigned long long)g.seq);
				seen = g.seq;
				held[n_held++] = g;
			}
		}
		/* To the end: everything comes back. */
		while (n_held)
			release(&r, &held[--n_held]);
		for (int i = 0; i < 50; i++) {
			death.count = UINT32_MAX;
			iog_worker_turn(r.w, 8);
			drop_duplicates(&r);
			expect_none(&r);
		}
		close_in(&r, 0);
		assert_int_equal(iog_worker_run(r.w), IOG_W_DRAINED);
		while (returned(&r, 0, back))
			;
		assert_int_equal(iog_outlet_busy(&r.in[0].o), 0);
		for (uint32_t i = 0; i < n_old; i++) {
			free(old[i].down);
			free(old[i].up);
			free(old_memory[i]);
		}
		rig_free(&r);
	}
	fused_views = 0;
}

static void killed_anywhere_nothing_is_lost_or_changed(void **state)
{
	(void)state;
	kill_anywhere(&sum, 300);
}
static void killed_anywhere_a_window_is_what_it_was(void **state)
{
	(void)state;
	kill_anywhere(&before, 400);
	kill_anywhere(&mean, 300);
}

/* ---- windows ---- */

static void passed_is(struct rig *r, uint32_t epoch, uint64_t all_below)
{
	uint32_t e;
	uint64_t passed;
	iog_inlet_passed(&r->out.in, &e, &passed);
	assert_int_equal(e, epoch);
	assert_int_equal(passed, all_below);
}

static void a_window_sends_what_came_before(void **state)
{
	struct rig r;
	uint32_t back[SLOTS];
	(void)state;
	rig_new(&r, &before, 1, false, false);
	for (uint64_t k = 1; k <= 5; k++)
		send(&r, 0, 0, k, 1);
	turns(&r);
	expect_none(&r);
	passed_is(&r, 0, 3); /* 1 and 2 left the window, 3 to 5 may still be sent */
	assert_int_equal(returned(&r, 0, back), 2);
	assert_int_equal(r.a.status->node[0].elided, 2);
	send(&r, 0, 0, 6, 4);
	turns(&r);
	int64_t s = 4 + 3 * (1 + 3 * (1 + 3 * (1 + 3 * (1 + 3))));
	for (uint64_t k = 3; k <= 6; k++)
		expect(&r, 0, k, k == 6 ? 4 : 1, s);
	passed_is(&r, 0, 7);
	/* What was sent is not sent again; what is undecided ends with its epoch. */
	send(&r, 0, 0, 7, 4);
	turns(&r);
	expect(&r, 0, 7, 4, 3 * s + 4);
	send(&r, 0, 0, 8, 2);
	send(&r, 0, 1, 1, 9);
	turns(&r);
	expect(&r, 1, 1, 9, 9);
	expect_none(&r);
	assert_int_equal(r.a.status->node[0].elided, 3);
	/* So it does at the end, and everything is given back. */
	send(&r, 0, 1, 2, 2);
	turns(&r);
	passed_is(&r, 1, 2);
	close_in(&r, 0);
	assert_int_equal(iog_worker_run(r.w), IOG_W_DRAINED);
	passed_is(&r, 1, 3);
	while (returned(&r, 0, back))
		;
	assert_int_equal(iog_outlet_busy(&r.in[0].o), 0);
	const struct iog_node_count *c = &r.a.status->node[0];
	assert_int_equal(c->records, 10);
	assert_int_equal(c->out + c->elided, 10);
	rig_free(&r);
}

static void a_window_waits_for_credit_in_the_middle(void **state)
{
	struct rig r;
	struct got g[CAPACITY];
	(void)state;
	rig_new(&r, &before, 1, false, false);
	for (uint64_t k = 1; k <= CAPACITY - 2; k++)
		send(&r, 0, 0, k, 4);
	turns(&r);
	for (uint32_t i = 0; i < CAPACITY - 2; i++)
		assert_true(next(&r, &g[i]));
	uint32_t back[SLOTS];
	returned(&r, 0, back);
	for (uint64_t k = 10; k <= 13; k++)
		send(&r, 0, 0, k, k == 13 ? 4 : 1);
	turns(&r); /* credit for two of four */
	assert_true(next(&r, &g[6]) && next(&r, &g[7]));
	assert_int_equal(g[7].seq, 11);
	expect_none(&r);
	passed_is(&r, 0, 12);
	release(&r, &g[0]);
	turns(&r);
	assert_true(next(&r, &g[0]));
	assert_int_equal(g[0].seq, 12);
	release(&r, &g[1]);
	turns(&r);
	assert_true(next(&r, &g[1]));
	assert_int_equal(g[1].seq, 13);
	assert_int_equal(g[1].tag, g[7].tag);
	rig_free(&r);
}

static void a_window_that_is_answered_for_wrongly_ends_the_stage(void **state)
{
	struct rig r;
	(void)state;
	rig_new(&r, &before, 1, false, false);
	send(&r, 0, 0, 1, 1);
	send(&r, 0, 0, 2, 1000 + IOG_BAD_INPUT);
	send(&r, 0, 0, 3, 1000 + IOG_ELIDE);
	send(&r, 0, 0, 4, 4);
	turns(&r);
	for (uint64_t k = 1; k <= 4; k++) {
		struct got g;
		assert_true(next(&r, &g)); /* while something before it is undecided, nothing is */
		assert_int_equal(g.seq, k);
		release(&r, &g);
	}
	assert_int_equal(r.a.status->node[0].bad, 1);
	send(&r, 0, 0, 5, 1000 + IOG_FATAL);
	turns(&r);
	assert_int_equal(r.a.status->state, IOG_W_FAILED);
	rig_free(&r);
}

static void duplicates_are_given_back_with_their_original(void **state)
{
	struct rig r;
	struct got g;
	uint32_t back[SLOTS];
	(void)state;
	rig_new(&r, &view, 1, false, false);
	send(&r, 0, 0, 1, 11);
	turns(&r);
	assert_true(next(&r, &g)); /* holds record 1 */
	/* The producer's successor makes record 1 again, and 2. */
	struct end old = r.in[0];
	r.incarnations++;
	input_new(&r, 0);
	struct iog_worker_in in = input_of(&r.in[0]);
	in.region[1] = region(&old), in.n_regions = 2;
	iog_worker_replace_in(r.w, 0, &in);
	uint32_t one = send(&r, 0, 0, 1, 11), two = send(&r, 0, 0, 2, 22);
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 0); /* not before the original's */
	struct got h;
	assert_true(next(&r, &h));
	assert_int_equal(h.seq, 2);
	release(&r, &h);
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 1);
	assert_int_equal(back[0], two);
	release(&r, &g);
	turns(&r);
	assert_int_equal(returned(&r, 0, back), 1);
	assert_int_equal(back[0], one);
	end_free(&old);
	rig_free(&r);
}

/* ---- what goes wrong with one record ---- */

static void poison_is_elided(void **state)
{
	struct rig r;
	uint32_t back[SLOTS];
	(void)state;
	rig_build(&r, &copy, 1, false, false);
	r.a.poison[0] = (struct iog_poison){ .seq = 2, .epoch = 3 };
	r.a.poison[1] = (struct iog_poison){ .seq = 3, .epoch = 4 }; /* of another epoch */
	r.a.n_poison = 2;
	assert_true(worker_new(&r, 1 << 24));
	for (uint64_t s = 1; s <= 3; s++)
		send(&r, 0, 3, s, (int64_t)s);
	turns(&r);
	expect(&r, 3, 1, 1, 1);
	expect(&r, 3, 3, 3, 3);
	assert_int_equal(r.a.status->poisoned, 1);
	assert_int_equal(returned(&r, 0, back), 3);
	rig_free(&r);
}

static void answers_of_operators(void **state)
{
	struct rig r;
	(void)state;
	rig_new(&r, &copy, 1, false, false);
	send(&r, 0, 0, 1, 1000 + IOG_ELIDE);
	send(&r, 0, 0, 2, 1000 + IOG_BAD_INPUT);
	send(&r, 0, 0, 3, 1000 + IOG_FAILED);
	send(&r, 0, 0, 4, 4);
	turns(&r);
	expect(&r, 0, 4, 4, 4);
	const struct iog_node_count *c = &r.a.status->node[0];
	assert_int_equal(c->records, 4);
	assert_int_equal(c->out, 1);
	assert_int_equal(c->elided, 1);
	assert_int_equal(c->bad, 1);
	assert_int_equal(c->failed, 1);
	rig_free(&r);
	static const enum iog_step ends[] = { IOG_FATAL, IOG_NO_SPACE, IOG_HOLD };
	for (unsigned i = 0; i < IOG_COUNT(ends); i++) {
		rig_new(&r, &copy, 1, false, false);
		send(&r, 0, 0, 1, 1);
		send(&r, 0, 0, 2, 1000 + (int64_t)ends[i]);
		send(&r, 0, 0, 3, 3);
		assert_int_equal(iog_worker_run(r.w), IOG_W_FAILED);
		expect(&r, 0, 1, 1, 1); /* what was finished before is there */
		expect_none(&r);
		assert_int_equal(r.a.status->fail_node, 0);
		assert_int_equal(r.a.status->fail_step, ends[i]);
		assert_int_equal(r.a.status->fail_seq, 2);
		assert_int_equal(iog_inlet_state(&r.out.in), IOG_EDGE_FAILED);
		rig_free(&r);
	}
}

/* However early the end comes. */
static void what_is_dropped_is_counted(void **state)
{
	struct rig r;
	(void)state;
	rig_build(&r, &copy, 1, false, false);
	r.out.e.policy = IOG_DROP_NEW;
	r.out.e.capacity = 2;
	iog_inlet_init(&r.out.in, &r.out.e, SLOTS, r.out.ar.slot_bytes);
	assert_true(worker_new(&r, 1 << 24));
	for (int64_t i = 1; i <= 4; i++)
		send(&r, 0, 0, (uint64_t)i, i);
	send(&r, 0, 0, 5, 1000 + IOG_FATAL);
	assert_int_equal(iog_worker_run(r.w), IOG_W_FAILED);
	assert_int_equal(r.a.status->out_dropped[0], 2);
	expect(&r, 0, 1, 1, 1);
	expect(&r, 0, 2, 2, 2);
	expect_none(&r);
	rig_free(&r);
}

static void forged_descriptors_and_records_are_counted(void **state)
{
	struct rig r;
	(void)state;
	rig_new(&r, &copy, 1, false, false);
	struct end *e = &r.in[0];
	send(&r, 0, 0, 1, 1);
	e->e.down->ring[0].slot = SLOTS;
	send(&r, 0, 0, 2, 2);
	e->e.down->ring[1].length = e->ar.slot_bytes + 1;
	send(&r, 0, 0, 3, 3);
	e->e.down->ring[2].length = 8;
	uint32_t s = send(&r, 0, 0, 4, 4);
	iog_arena_slot(&e->ar, s)[offsetof(struct iog_wire, n_vars)] ^= 1;
	send(&r, 0, 0, 5, 5);
	e->e.down->ring[4].seq = 6; /* not what the record says */
	send(&r, 0, 0, 7, 7);
	turns(&r);
	expect(&r, 0, 7, 7, 7);
	assert_int_equal(r.a.status->in_forged[0], 3);
	assert_int_equal(r.a.status->in_bad[0], 2);
	rig_free(&r);
	/* A head that promises more than the ring can hold. */
	rig_new(&r, &copy, 1, false, false);
	send(&r, 0, 0, 1, 1);
	r.in[0].e.down->head = 1u << 31;
	turns(&r);
	expect_none(&r);
	rig_free(&r);
}

static void damage_never_crashes_the_worker(void **state)
{
	(void)state;
	random_state = 2;
	uint64_t bad = 0, good = 0;
	for (uint32_t trial = 0; trial < 1800; trial++) {
		const struct iog_op *op = iog_ops[trial % 6];
		uint32_t ports = op == &zip ? 3 : 1;
		struct rig r;
		rig_new(&r, op, ports, trial / 6 & 1, trial / 6 & 2 && (op == &copy || op == &view));
		for (uint64_t s = 1; s <= 6; s++)
			for (uint32_t p = 0; p < ports; p++) {
				struct end *e = &r.in[p];
				uint32_t slot = put(&r, p, 1, s, (struct sent){ .value = (int64_t)s, .n = rnd(17), .mass = 2 });
				uint8_t *at[4] = { iog_arena_slot(&e->ar, slot), (uint8_t *)&e->e.down->ring[s - 1], (uint8_t *)e->e.down,
					e->ar.base };
				uint64_t size[4] = { e->ar.slot_bytes, sizeof(struct iog_desc), sizeof(struct iog_down),
					e->ar.static_bytes + 1 };
				iog_outlet_publish(&e->o);
				uint32_t what = rnd(12);
				for (uint32_t k = 0; what < 5 && k <= rnd(4); k++)
					at[what % 4][rnd((uint32_t)IOG_MIN(size[what % 4], what == 0 ? 400u : 1u << 20))] ^=
						(uint8_t)(1 + rnd(255));
				if (what == 4) {
					const struct iog_wire *w = (const struct iog_wire *)at[0];
					uint32_t off = rnd(w->head_bytes & 0xffff ? IOG_MIN(w->head_bytes, 1024u) : 64);
					at[0][off] = (uint8_t)rnd(256);
				}
			}
		for (int i = 0; i < 50 && iog_worker_turn(r.w, 8); i++) {
			struct got g;
			while (iog_inlet_peek(&r.out.in) == IOG_FRONT_RECORD) {
				g = (struct got){ .slot = r.out.in.front.slot, .gen = r.out.in.front.gen };
				iog_inlet_take(&r.out.in);
				release(&r, &g);
				good++;
			}
		}
		for (uint32_t p = 0; p < ports; p++)
			bad += r.a.status->in_bad[p] + r.a.status->in_forged[p];
		rig_free(&r);
	}
	assert_true(bad > 300 && good > 1500);
}

static void a_damaged_image_is_refused_or_harmless(void **state)
{
	(void)state;
	random_state = 3;
	uint32_t refused = 0, ran = 0;
	static const struct iog_op *const tried[] = { &copy, &zip, &sum, &before };
	for (unsigned t = 0; t < IOG_COUNT(tried); t++) {
		struct rig r;
		rig_build(&r, tried[t], tried[t] == &zip ? 2 : 1, tried[t] == &sum || tried[t] == &before, false);
		struct iog_stage *right = r.st, *st = zeroed(r.a.stage_bytes);
		uint64_t header = offsetof(struct iog_stage, node) + sizeof(struct iog_stage_node), size = r.a.stage_bytes;
		free(r.a.snapshots);
		for (uint64_t at = 0; at < size; at += at < header ? 1 : 1 + rnd(16))
			for (int k = 0; k < 3; k++) {
				memcpy(st, right, size);
				((uint8_t *)st)[at] ^= (uint8_t)(k == 0 ? 1 : k == 1 ? 0x80 : 1 + rnd(255));
				uint64_t lie = rnd(8) ? 0 : rnd(64) * (uint64_t)rnd(1000);
				r.a.stage = st;
				r.a.stage_bytes = size - IOG_MIN(lie, size);
				r.a.snapshots_bytes = iog_snapshots_bytes(st->state_bytes);
				r.a.snapshots = st->safe && st->state_bytes < 1 << 20 ? zeroed(r.a.snapshots_bytes) : NULL;
				if (worker_new(&r, 1 << 22)) {
					ran++;
					for (uint64_t s = 1; s <= 2; s++)
						for (uint32_t p = 0; p < r.n_in; p++)
							send(&r, p, 1, s, (int64_t)s);
					for (int i = 0; i < 20 && iog_worker_turn(r.w, 8); i++)
						;
				} else {
					refused++;
				}
				free(r.a.snapshots);
				r.a.snapshots = NULL;
				for (uint32_t p = 0; p < r.n_in; p++) {
					end_free(&r.in[p]);
					input_new(&r, p);
				}
				end_free(&r.out);
				output_new(&r);
			}
		free(st);
		rig_free(&r);
	}
	print_message("# %u images refused, %u ran\n", refused, ran);
	assert_true(refused > 1000 && ran > 100);
}

/* ---- epochs and versions ---- */

static void state_is_zero_at_a_new_epoch(void **state)
{
	struct rig r;
	(void)state;
	rig_new(&r, &sum, 1, false, false);
	send(&r, 0, 1, 1, 1);
	send(&r, 0, 1, 2, 2);
	send(&r, 0, 2, 1, 5);
	send(&r, 0, 2, 2, 1);
	turns(&r);
	expect(&r, 1, 1, 1, 1);
	expect(&r, 1, 2, 2, 5);
	expect(&r, 2, 1, 5, 5);
	expect(&r, 2, 2, 1, 16);
	/* Also when the new epoch starts with an elision. */
	elide(&r, 0, 3, 4);
	turns(&r);
	send(&r, 0, 3, 5, 2);
	turns(&r);
	expect(&r, 3, 5, 2, 2);
	rig_free(&r);
}

static void statics_are_those_of_their_epoch(void **state)
{
	struct rig r;
	struct got g[2];
	(void)state;
	rig_new(&r, &copy, 1, false, true);
	for (uint32_t e = 1; e <= 2; e++) {
		put(&r, 0, e, 1, (struct sent){ .value = 1, .n = 4, .mass = e });
		iog_outlet_publish(&r.in[0].o);
	}
	turns(&r);
	assert_true(next(&r, &g[0]) && next(&r, &g[1]));
	assert_true(g[0].mass == 1 && g[1].mass == 2);
	uint32_t back[SLOTS];
	assert_int_equal(returned(&r, 0, back), 2);
	/* A third epoch takes the place of the first: not while a record of the first is held. */
	put(&r, 0, 3, 1, (struct sent){ .value = 1, .n = 4, .mass = 3 });
	iog_outlet_publish(&r.in[0].o);
	release(&r, &g[1]);
	turns(&r);
	struct got h;
	assert_false(next(&r, &h));
	release(&r, &g[0]);
	turns(&r);
	assert_true(next(&r, &h));
	assert_int_equal(h.epoch, 3);
	assert_true(h.mass == 3);
	rig_free(&r);
}

static void records_use_the_parameters_they_were_stamped_with(void **state)
{
	struct rig r;
	struct iog_err err;
	(void)state;
	rig_new(&r, &copy, 1, false, false);
	put(&r, 0, 0, 1, (struct sent){ .value = 7, .n = 4, .version = 0 });
	assert_int_equal(iog_graph_live_set(r.g, "gain", 3, &err), 0);
	iog_stage_conf(r.g, &r.cut.unit[r.unit], r.st, 1);
	put(&r, 0, 0, 2, (struct sent){ .value = 7, .n = 4, .version = 1 });
	assert_int_equal(iog_graph_live_set(r.g, "gain", 10, &err), 0);
	iog_stage_conf(r.g, &r.cut.unit[r.unit], r.st, 2);
	put(&r, 0, 0, 3, (struct sent){ .value = 7, .n = 4, .version = 2 });
	put(&r, 0, 0, 4, (struct sent){ .value = 7, .n = 4, .version = 1 });
	iog_outlet_publish(&r.in[0].o);
	turns(&r);
	expect(&r, 0, 1, 7, 7);
	expect(&r, 0, 2, 21, 7);
	expect(&r, 0, 3, 70, 7);
	expect(&r, 0, 4, 21, 7);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_join_never_waits_for_what_was_elided),
		cmocka_unit_test(joins_go_across_epochs_and_early_ends),
		cmocka_unit_test(views_pin_inputs_as_long_as_outputs_are_held),
		cmocka_unit_test(safe_inputs_wait_for_a_snapshot_that_covers_them),
		cmocka_unit_test(snapshots_that_do_not_fit_are_refused),
		cmocka_unit_test(killed_anywhere_nothing_is_lost_or_changed),
		cmocka_unit_test(killed_anywhere_a_window_is_what_it_was),
		cmocka_unit_test(a_window_sends_what_came_before),
		cmocka_unit_test(a_window_waits_for_credit_in_the_middle),
		cmocka_unit_test(a_window_that_is_answered_for_wrongly_ends_the_stage),
		cmocka_unit_test(duplicates_are_given_back_with_their_original),
		cmocka_unit_test(poison_is_elided),
		cmocka_unit_test(answers_of_operators),
		cmocka_unit_test(what_is_dropped_is_counted),
		cmocka_unit_test(forged_descriptors_and_records_are_counted),
		cmocka_unit_test(damage_never_crashes_the_worker),
		cmocka_unit_test(a_damaged_image_is_refused_or_harmless),
		cmocka_unit_test(state_is_zero_at_a_new_epoch),
		cmocka_unit_test(statics_are_those_of_their_epoch),
		cmocka_unit_test(records_use_the_parameters_they_were_stamped_with),
	};
	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
