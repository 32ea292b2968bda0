/* SPDX-License-Identifier: BSD-3-Clause */
/* A running stage on the caller's thread; see bench-stage.h. */
#include "bench/bench-stage.h"

#include <stdlib.h>
#include <time.h>

#include "core/wire.h"

static struct iog_schema described;

static int describe(const void *conf, struct iog_schema *s, struct iog_err *err)
{
	(void)conf, (void)err;
	*s = described;
	return 0;
}

static uint64_t now(void *ctx)
{
	(void)ctx;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static void no_wait(void *ctx, const struct iog_waitword *w, uint32_t n, uint64_t limit) { (void)ctx, (void)w, (void)n, (void)limit; }
static void no_wake(void *ctx, const _Atomic uint32_t *word) { (void)ctx, (void)word; }

static bool declare(struct bench_stage *s, const struct bench_stage_op *op, struct iog_err *err)
{
	const struct iog_gnode_end source = { .what = s, .name = "records", .describe = describe }, sink = { .what = s, .name = "end" };
	const struct iog_diag *d;
	s->g = iog_graph_new();
	int at = iog_graph_end(s->g, IOG_G_SOURCE, &source);
	for (; op->op; op++) {
		int next = iog_graph_op(s->g, op->op);
		for (const struct bench_param *p = op->param; p && p->name; p++)
			iog_graph_set(s->g, next, p->name, &p->v, NULL);
		iog_graph_link(s->g, at, 0, next);
		at = next;
	}
	iog_graph_link(s->g, at, 0, iog_graph_end(s->g, IOG_G_SINK, &sink));
	if (!iog_graph_check(s->g) && !iog_graph_cut(s->g, true, IOG_T_HOST, &s->cut) && s->cut.n_units == 3 &&
		s->cut.unit[1].kind == IOG_G_OP)
		return true;
	iog_fail(err, -1, "%s", iog_graph_diags(s->g, &d) ? d->text : "the operators do not fuse into one stage");
	return false;
}

static void ends(struct bench_stage *s)
{
	struct iog_edge edge[2];
	struct iog_arena arena[2];
	for (uint32_t k = 0; k < 2; k++) {
		const struct iog_unit *u = &s->cut.unit[k];
		uint32_t capacity = s->cut.edge[k].capacity;
		arena[k] = (struct iog_arena){
			.static_bytes = u->static_bytes[0], .slot_bytes = u->slot_bytes[0], .n_slots = u->n_slots[0], .id = k + 1
		};
		arena[k].base = bench_alloc(iog_arena_bytes(&arena[k]));
		edge[k] = (struct iog_edge){
			.down = bench_alloc(iog_down_bytes(capacity)), .up = bench_alloc(iog_up_bytes(capacity)), .capacity = capacity
		};
	}
	iog_outlet_init(&s->o, &arena[0], bench_alloc(iog_outlet_memory(arena[0].n_slots)));
	iog_outlet_add(&s->o, &edge[0]);
	iog_inlet_init(&s->in, &edge[1], arena[1].n_slots, arena[1].slot_bytes);
	s->args.in[0] =
		(struct iog_worker_in){ .edge = edge[0], .n_slots = arena[0].n_slots, .slot_bytes = arena[0].slot_bytes, .n_regions = 1 };
	s->args.in[0].region[0] = (struct iog_region){ .base = arena[0].base, .size = iog_arena_bytes(&arena[0]), .arena = arena[0].id };
	s->args.out[0] = (struct iog_worker_out){ .arena = arena[1], .edge = { edge[1] }, .n_edges = 1 };
}

bool bench_stage_init(struct bench_stage *s, struct bench_figure *f, const char *schema, const struct bench_stage_op *op)
{
	static const struct iog_op *ops[IOG_STAGE_NODES + 1];
	struct iog_err err = { "" };
	memset(s, 0, sizeof *s);
	if (iog_schema_parse(&described, schema, &err) || !declare(s, op, &err)) {
		bench_skip(f, "%s", err.text);
		return false;
	}
	s->in_schema = described;
	for (uint32_t i = 0; op[i].op && i < IOG_STAGE_NODES; i++)
		ops[i] = op[i].op;
	ends(s);
	s->image = iog_stage_build(s->g, &s->cut, 1, &s->args.stage_bytes);
	s->args.stage = s->image;
	s->args.status = s->status = bench_alloc(sizeof *s->status);
	s->args.ops = ops;
	s->args.isa = bench_isa();
	s->args.env = (struct iog_env){ .wait = no_wait, .wake = no_wake, .now_ns = now };
	for (uint32_t i = 0; op[i].op && i < IOG_STAGE_NODES; i++)
		if (op[i].op->open && op[i].op->open((const uint8_t *)s->image + s->image->node[i].conf, &s->args.lib[i], &err)) {
			bench_skip(f, "%s", err.text);
			return false;
		}
	s->w = iog_worker_init(&s->args, bench_alloc(iog_worker_memory(&s->args) + 64), &err);
	if (!s->w) {
		bench_skip(f, "%s", err.text);
		return false;
	}
	s->head_max = s->cut.unit[0].head_max[0];
	s->rec = (struct iog_record){ .schema = &s->in_schema, .writers = 1, .id = { .stream = 1, .epoch = 1, .seq = 1 } };
	for (uint32_t d = 0; d < s->in_schema.n_dims; d++)
		s->rec.axis[d] = (struct iog_axis){ .extent = s->in_schema.dim[d].max, .spacing = 1 };
	for (uint32_t v = 0; v < s->in_schema.n_vars; v++) {
		const struct iog_vardef *def = &s->in_schema.var[v];
		for (unsigned k = 0; k < def->rank; k++)
			s->block[v].count[k] = s->in_schema.dim[def->dim[k]].max;
		s->offset[v] = s->payload;
		s->payload += IOG_ROUND_UP(iog_block_set_dense(&s->block[v], def->rank, iog_dtype_size(def->dtype)), IOG_ALIGN);
		s->rec.var[v] = (struct iog_var){ .block = &s->block[v], .n_blocks = 1 };
	}
	return true;
}

void bench_stage_fill(struct bench_stage *s, const char *var, void (*fill)(void *data, uint64_t bytes))
{
	int v = iog_schema_var(&s->in_schema, var);
	const struct iog_vardef *def = &s->in_schema.var[v];
	uint64_t bytes = (uint64_t)iog_block_elems(&s->block[v], def->rank) * iog_dtype_size(def->dtype);
	for (uint32_t i = 0; i < s->o.arena.n_slots; i++)
		fill(iog_arena_slot(&s->o.arena, i) + s->head_max + s->offset[v], bytes);
}

static bool send(struct bench_stage *s)
{
	uint32_t freed[64];
	if (!iog_outlet_ready(&s->o))
		while (iog_outlet_reap(&s->o, freed, IOG_COUNT(freed)))
			;
	if (!iog_outlet_ready(&s->o))
		return false;
	uint32_t slot = iog_outlet_take(&s->o);
	uint8_t *at = iog_arena_slot(&s->o.arena, slot);
	for (uint32_t v = 0; v < s->in_schema.n_vars; v++)
		s->block[v].data = at + s->head_max + s->offset[v];
	s->rec.step++;
	s->rec.id.seq++;
	int64_t len = iog_wire_put(at, s->o.arena.slot_bytes, s->head_max, s->payload, &s->rec, NULL, 0, NULL);
	if (len < 0) {
		iog_outlet_put_back(&s->o, slot);
		return false;
	}
	iog_outlet_push(&s->o, slot, &s->rec, (uint64_t)len);
	return true;
}

bool bench_stage_pump(struct bench_stage *s, uint64_t n, uint32_t batch)
{
	uint64_t to_send = n, until = s->received + n, still = 0;
	while (s->received < until) {
		uint32_t k = 0;
		while (k < batch && to_send && send(s))
			k++, to_send--;
		s->sent += k;
		iog_outlet_publish(&s->o);
		uint32_t done = iog_worker_turn(s->w, batch);
		while (iog_inlet_peek(&s->in) == IOG_FRONT_RECORD) {
			struct iog_desc d = s->in.front;
			iog_inlet_take(&s->in);
			iog_inlet_release(&s->in, d.slot, d.gen);
			s->received++;
			s->bytes += d.length;
			s->last_slot = d.slot;
			done++;
		}
		iog_inlet_publish(&s->in);
		still = done || k ? 0 : still + 1;
		if (still > 1000)
			return false; /* an operator elides or fails */
	}
	return true;
}
