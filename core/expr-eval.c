/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Evaluation of compiled expressions: binds a program to a record, runs it block by block through the kernels of the instruction set
 * level, and the two services that share those kernels, folding (sums and extremes) and compaction. Never fails after a successful bind,
 * allocates nothing. Any thread; one thread per run.
 * Freestanding: yes
 */
#include "expr-private.h"
#include "math.h"

struct iog_expr_run {
	double reg[IOG_EXPR_REGS][IOG_EXPR_BLOCK] __attribute__((aligned(IOG_ALIGN)));
	double slot[IOG_EXPR_SLOTS][8] __attribute__((aligned(IOG_ALIGN)));
	double axis[2][IOG_EXPR_BLOCK] __attribute__((aligned(IOG_ALIGN))); /* parts of scaled coordinates */
	uint64_t truth[IOG_EXPR_REGS][EXPR_WORDS], slot_truth[IOG_EXPR_SLOTS][EXPR_WORDS];
	const struct iog_expr *e;
	const struct iog_record *r;
	const struct expr_kernels *kernels;
	uint32_t isa;
	int64_t n; /* elements of the bound block */
	int64_t start[IOG_RANK];
	struct iog_column col[IOG_EXPR_INPUTS][3];
	struct iog_box box;
};

uint64_t iog_expr_run_size(void) { return IOG_ROUND_UP(sizeof(struct iog_expr_run), IOG_ALIGN); }

/* ---- columns ---- */

/* Dimensions of the elements: all but the one of the component. */
static unsigned ranks(const struct iog_vardef *v, int component) { return v->rank - (component >= 0 ? 1u : 0u); }

/* The elements of b that lie in the box start, count. False when b does not hold them all. */
static bool column_of(struct iog_column *col, const struct iog_vardef *v, const struct iog_block *b, int component, int64_t extent,
	const int64_t *start, const int64_t *count)
{
	const unsigned n = ranks(v, component);
	col->dtype = v->dtype, col->base = b->data, col->n = 1, col->rank = 0;
	if (component >= 0) {
		if (b->start[n] != 0 || b->count[n] < extent || component >= b->count[n])
			return false;
		col->base += component * b->stride[n];
	}
	for (unsigned d = 0; d < n; d++) {
		int64_t skip = start[d] - b->start[d];
		if (skip < 0 || skip > b->count[d] || count[d] > b->count[d] - skip)
			return false;
		col->n *= count[d];
		if (count[d] > 0)
			col->base += skip * b->stride[d];
		if (count[d] == 1)
			continue;
		/* two loops that advance alike are one */
		if (col->rank && col->stride[col->rank - 1] == b->stride[d] * count[d]) {
			col->stride[col->rank - 1] = b->stride[d], col->count[col->rank - 1] *= count[d];
		} else {
			col->stride[col->rank] = b->stride[d], col->count[col->rank++] = count[d];
		}
	}
	return true;
}

enum iog_step iog_column_bind(struct iog_column *col, const struct iog_record *r, unsigned var, int component, uint32_t k)
{
	const struct iog_vardef *v = &r->schema->var[var];
	if (k >= r->var[var].n_blocks)
		return IOG_BAD_INPUT;
	const struct iog_block *b = &r->var[var].block[k];
	int64_t extent = component >= 0 ? r->axis[v->dim[v->rank - 1]].extent : 0;
	return column_of(col, v, b, component, extent, b->start, b->count) ? IOG_OK : IOG_BAD_INPUT;
}

/* n elements from first on, strided: into tmp. */
static void copy_run(const struct expr_kernels *kernels, uint8_t *tmp, const uint8_t *p, int64_t stride, uint32_t n, uint32_t size)
{
	if (stride == 3 * (int64_t)size) {
		uint32_t done = kernels->column3(tmp, p, size, n);
		tmp += done * size, p += done * stride, n -= done;
	}
	switch (size) {
	case 1:
		for (uint32_t i = 0; i < n; i++, p += stride)
			tmp[i] = *p;
		break;
	case 2:
		for (uint32_t i = 0; i < n; i++, p += stride)
			memcpy(tmp + i * 2, p, 2);
		break;
	case 4:
		for (uint32_t i = 0; i < n; i++, p += stride)
			memcpy(tmp + i * 4, p, 4);
		break;
	case 8:
		for (uint32_t i = 0; i < n; i++, p += stride)
			memcpy(tmp + i * 8, p, 8);
		break;
	default: break;
	}
}

/* A whole block of raw elements without gaps: in place where it can be, else in tmp with zeros behind the last one. */
static const void *fetch(const struct expr_kernels *kernels, const struct iog_column *col, int64_t first, uint32_t n, uint8_t *tmp)
{
	const uint32_t size = iog_dtype_size(col->dtype);
	int64_t at[IOG_RANK], rest = first;
	const uint8_t *p = col->base;
	for (unsigned d = col->rank; d-- > 0;) {
		at[d] = d ? rest % col->count[d] : rest;
		rest = d ? rest / col->count[d] : 0;
		p += at[d] * col->stride[d];
	}
	if (col->rank <= 1) {
		int64_t stride = col->rank ? col->stride[0] : size;
		if (stride == size && n == IOG_EXPR_BLOCK)
			return p;
		copy_run(kernels, tmp, p, stride, n, size);
	} else {
		const unsigned last = col->rank - 1u;
		for (uint32_t done = 0; done < n;) {
			uint32_t run = (uint32_t)IOG_MIN((int64_t)(n - done), col->count[last] - at[last]);
			copy_run(kernels, tmp + done * size, p, col->stride[last], run, size);
			done += run, at[last] += run, p += run * col->stride[last];
			for (unsigned d = last; d > 0 && at[d] == col->count[d]; d--) {
				p -= col->count[d] * col->stride[d];
				at[d] = 0, at[d - 1]++, p += col->stride[d - 1];
			}
		}
	}
	memset(tmp + (size_t)n * size, 0, (IOG_EXPR_BLOCK - (size_t)n) * size);
	return tmp;
}

void iog_column_load(const struct iog_column *col, int64_t first, uint32_t n, double *out, uint32_t isa)
{
	uint8_t tmp[IOG_EXPR_BLOCK * 8] __attribute__((aligned(IOG_ALIGN)));
	expr_kernels(isa)->load(out, fetch(expr_kernels(isa), col, first, n, tmp), col->dtype);
}

/* The block with elements that starts at `from` along the slowest dimension, looked for from block `at` on; n_blocks: none. */
static uint32_t block_from(const struct iog_var *v, int64_t from, uint32_t at)
{
	for (uint32_t i = 0; i < v->n_blocks; i++) {
		uint32_t k = at + i < v->n_blocks ? at + i : at + i - v->n_blocks;
		if (v->block[k].start[0] == from && v->block[k].count[0] > 0)
			return k;
	}
	return v->n_blocks;
}

void iog_walk_start(struct iog_walk *w, const struct iog_var *var)
{
	uint32_t k = 0, full = 0, found = 0;
	int64_t next = 0;
	*w = (struct iog_walk){ .var = var, .left = var->n_blocks };
	if (var->n_blocks <= 1)
		return;
	for (uint32_t i = 0; i < var->n_blocks; i++)
		full += var->block[i].count[0] > 0;
	while (found < full && (k = block_from(var, next, k)) < var->n_blocks)
		next += var->block[k].count[0], found++;
	if ((w->chained = found == full))
		w->left = full;
}

bool iog_walk_next(struct iog_walk *w, uint32_t *k)
{
	if (!w->left)
		return false;
	w->left--;
	if (w->chained) {
		w->at = block_from(w->var, w->next, w->at);
		w->next += w->var->block[w->at].count[0];
		*k = w->at;
	} else {
		*k = w->at++;
	}
	return true;
}

/* ---- programs ---- */

static const double *numbers(const struct iog_expr_run *run, unsigned operand, size_t *mask)
{
	*mask = operand < EXPR_SLOT ? ~(size_t)0 : 7;
	return operand < EXPR_SLOT ? run->reg[operand] : run->slot[operand - EXPR_SLOT];
}
static const uint64_t *truths(const struct iog_expr_run *run, unsigned operand)
{
	return operand < EXPR_SLOT ? run->truth[operand] : run->slot_truth[operand - EXPR_SLOT];
}
static void set_slot(struct iog_expr_run *run, unsigned slot, double v)
{
	for (int i = 0; i < 8; i++)
		run->slot[slot][i] = v;
}
static void set_slot_truth(struct iog_expr_run *run, unsigned slot, bool v)
{
	for (int i = 0; i < EXPR_WORDS; i++)
		run->slot_truth[slot][i] = v ? ~0ull : 0;
}

/* Operations that work on registers and on slots alike; n elements. */
static void exec_common(struct iog_expr_run *run, const struct iog_expr_code *c, double *d, uint64_t *dt, size_t n)
{
	size_t am, bm;
	if (c->op >= X_NOT) {
		const uint64_t *a = truths(run, c->a), *b = truths(run, c->b), *q = truths(run, c->c);
		for (int i = 0; i < EXPR_WORDS; i++)
			switch (c->op) {
			case X_NOT: dt[i] = ~a[i]; break;
			case X_AND: dt[i] = a[i] & b[i]; break;
			case X_OR: dt[i] = a[i] | b[i]; break;
			case X_SAME: dt[i] = ~(a[i] ^ b[i]); break;
			default: dt[i] = (q[i] & a[i]) | (~q[i] & b[i]); break;
			}
		return;
	}
	const double *a = numbers(run, c->a, &am), *b = numbers(run, c->b, &bm);
	if (c->op >= X_LT)
		run->kernels->compare(c->op, dt, a, am, b, bm, n);
	else
		run->kernels->number(c->op, d, a, am, b, bm, c->op == X_SELECT ? truths(run, c->c) : NULL, n);
}

static void load_scaled(struct iog_expr_run *run, const struct iog_expr_code *c, int64_t first, uint32_t n, size_t whole)
{
	const struct iog_expr_input *in = &run->e->input[c->a];
	double *sum = run->reg[c->dst], *part = run->axis[0], *k = run->axis[1];
	const int along = in->scaled - 1;
	bool any = false;
	for (int j = 0; j < 3; j++) {
		/* axes that do not matter do not bring in their infinities */
		if (run->box.inv[j][along] == 0 && j != along)
			continue;
		iog_column_load(&run->col[c->a][j], first, n, part, run->isa);
		for (int i = 0; i < 8; i++)
			k[i] = run->box.origin[j], k[i + 8] = run->box.inv[j][along];
		run->kernels->number(X_SUB, part, part, ~(size_t)0, k, 7, NULL, whole);
		run->kernels->number(X_MUL, any ? part : sum, part, ~(size_t)0, k + 8, 7, NULL, whole);
		if (any)
			run->kernels->number(X_ADD, sum, sum, ~(size_t)0, part, ~(size_t)0, NULL, whole);
		any = true;
	}
}

/* Element operations [from, to) for elements [first, first+n). */
static void exec_block(struct iog_expr_run *run, unsigned from, unsigned to, int64_t first, uint32_t n)
{
	uint8_t tmp[IOG_EXPR_BLOCK * 8] __attribute__((aligned(IOG_ALIGN)));
	const size_t whole = IOG_ROUND_UP(n, 8);
	for (unsigned i = from; i < to; i++) {
		const struct iog_expr_code *c = &run->e->code[i];
		if (c->op == X_RANGE) {
			const struct iog_column *col = &run->col[c->a][0];
			uint64_t *d = run->truth[c->dst];
			run->kernels->range(d, fetch(run->kernels, col, first, n, tmp), col->dtype, run->e->range[c->b]);
			if (c->c)
				for (int w = 0; w < EXPR_WORDS; w++)
					d[w] = ~d[w];
		} else if (c->op == X_LOAD) {
			if (run->e->input[c->a].scaled)
				load_scaled(run, c, first, n, whole);
			else
				run->kernels->load(
					run->reg[c->dst], fetch(run->kernels, &run->col[c->a][0], first, n, tmp), run->col[c->a][0].dtype);
		} else {
			exec_common(run, c, run->reg[c->dst], run->truth[c->dst], whole);
		}
	}
}

static uint32_t inputs_of(const struct iog_expr *e, unsigned from, unsigned to)
{
	uint32_t mask = 0;
	for (unsigned i = from; i < to; i++)
		if (e->code[i].op == X_LOAD || e->code[i].op == X_RANGE)
			mask |= 1u << e->code[i].a;
	return mask;
}

/* The input whose variable has most blocks. */
static int finest(const struct iog_expr *e, const struct iog_record *r, uint32_t inputs)
{
	int best = -1;
	for (int i = 0; i < e->n_inputs; i++)
		if (inputs & 1u << i && (best < 0 || r->var[e->input[i].var].n_blocks > r->var[e->input[best].var].n_blocks))
			best = i;
	return best;
}

/* Binds the inputs of operations [from, to) to block k of the finest of them. */
static enum iog_step bind_block(struct iog_expr_run *run, unsigned from, unsigned to, uint32_t k)
{
	const struct iog_expr *e = run->e;
	const struct iog_record *r = run->r;
	const uint32_t inputs = inputs_of(e, from, to);
	const int lead = finest(e, r, inputs);
	if (lead < 0 || k >= r->var[e->input[lead].var].n_blocks)
		return IOG_BAD_INPUT;
	const struct iog_block *ref = &r->var[e->input[lead].var].block[k];
	const unsigned n = ranks(&r->schema->var[e->input[lead].var], e->input[lead].component);
	run->n = iog_block_elems(ref, n);
	memcpy(run->start, ref->start, sizeof run->start);
	for (int i = 0; i < e->n_inputs; i++) {
		if (!(inputs & 1u << i))
			continue;
		const struct iog_expr_input *in = &e->input[i];
		const struct iog_vardef *v = &r->schema->var[in->var];
		const struct iog_var *var = &r->var[in->var];
		const int64_t extent = in->component >= 0 ? r->axis[v->dim[v->rank - 1]].extent : 0;
		for (int j = 0; j < (in->scaled ? 3 : 1); j++) {
			uint32_t b = 0;
			while (b < var->n_blocks && !column_of(&run->col[i][j], v, &var->block[b], in->scaled ? j : in->component, extent,
							    ref->start, ref->count))
				b++;
			if (b == var->n_blocks)
				return IOG_BAD_INPUT;
		}
	}
	return IOG_OK;
}

static enum iog_step reduce(struct iog_expr_run *run, unsigned pc)
{
	const struct iog_expr *e = run->e;
	const struct iog_expr_code *c = &e->code[pc];
	const unsigned from = pc + 1, to = pc + 1u + c->b;
	const bool of_truth = c->a >= R_COUNT && c->a <= R_ALL;
	const uint32_t inputs = inputs_of(e, from, to);
	const int lead = finest(e, run->r, inputs);
	struct iog_walk walk;
	struct iog_fold f;
	uint32_t k;
	int64_t seen = 0, hits = 0;
	size_t mask;
	if (lead < 0 || !run->r->var[e->input[lead].var].n_blocks)
		return IOG_BAD_INPUT;
	iog_fold_start(&f);
	iog_walk_start(&walk, &run->r->var[e->input[lead].var]);
	while (iog_walk_next(&walk, &k)) {
		if (bind_block(run, from, to, k) != IOG_OK)
			return IOG_BAD_INPUT;
		for (int64_t at = 0; at < run->n;) {
			uint32_t n = (uint32_t)IOG_MIN(run->n - at, IOG_EXPR_BLOCK - seen % IOG_EXPR_BLOCK);
			exec_block(run, from, to, at, n);
			if (of_truth) {
				const uint64_t *t = truths(run, c->c);
				for (uint32_t i = 0; i < n; i += 64)
					hits += __builtin_popcountll(n - i >= 64 ? t[i / 64] : t[i / 64] & ((1ull << (n - i)) - 1));
			} else if (c->a != R_ELEMS) {
				iog_fold_add(&f, numbers(run, c->c, &mask), n, run->isa);
			}
			at += n, seen += n;
		}
	}
	const double nan = __builtin_nan(""), sum = f.nan ? nan : iog_fold_sum(&f);
	double lo, hi, v = 0;
	iog_fold_range(&f, &lo, &hi);
	switch (c->a) {
	case R_MIN: v = lo; break;
	case R_MAX: v = hi; break;
	case R_SUM: v = sum; break;
	case R_MEAN: v = seen ? sum / (double)seen : nan; break;
	case R_COUNT: v = (double)hits; break;
	case R_FRACTION: v = seen ? (double)hits / (double)seen : nan; break;
	case R_ELEMS: v = (double)seen; break;
	default: break;
	}
	set_slot(run, c->dst, v);
	set_slot_truth(run, c->dst, c->a == R_ANY ? hits > 0 : hits == seen);
	return IOG_OK;
}

static double box_quantity(const struct iog_box *b, unsigned q)
{
	const double(*e)[3] = b->edge;
	switch (q) {
	case B_LX:
	case B_LY:
	case B_LZ: return e[q - B_LX][q - B_LX];
	case B_XLO:
	case B_YLO:
	case B_ZLO: return b->origin[q - B_XLO];
	case B_XHI:
	case B_YHI:
	case B_ZHI: return b->origin[q - B_XHI] + e[q - B_XHI][q - B_XHI];
	case B_XY: return e[1][0];
	case B_XZ: return e[2][0];
	case B_YZ: return e[2][1];
	default: break;
	}
	double v = e[0][0] * (e[1][1] * e[2][2] - e[1][2] * e[2][1]) - e[0][1] * (e[1][0] * e[2][2] - e[1][2] * e[2][0]) +
		   e[0][2] * (e[1][0] * e[2][1] - e[1][1] * e[2][0]);
	return v < 0 ? -v : v;
}

static bool scalar(const struct iog_record *r, const struct iog_expr_input *in, double *v)
{
	if (in->component < 0)
		return iog_record_scalar(r, in->var, v);
	const struct iog_var *var = &r->var[in->var];
	for (uint32_t k = 0; k < var->n_blocks; k++) {
		const struct iog_block *b = &var->block[k];
		int64_t at = in->component - b->start[0];
		if (at < 0 || at >= b->count[0])
			continue;
		*v = iog_load(b->data + at * b->stride[0], in->dtype);
		return true;
	}
	return false;
}

/* The operations before main_at. */
static enum iog_step exec_record(struct iog_expr_run *run)
{
	const struct iog_expr *e = run->e;
	for (unsigned pc = 0; pc < e->main_at; pc++) {
		const struct iog_expr_code *c = &e->code[pc];
		double v = c->k;
		switch (c->op) {
		case X_CONST: break;
		case X_TRUTH: set_slot_truth(run, c->dst, c->k != 0); continue;
		case X_SCALAR:
			if (!scalar(run->r, &e->input[c->a], &v))
				return IOG_BAD_INPUT;
			set_slot_truth(run, c->dst, v != 0); /* a condition when it is of type bool */
			break;
		case X_BOX: v = box_quantity(&run->box, c->a); break;
		case X_STEP: v = (double)run->r->step; break;
		case X_TIME: v = run->r->time; break;
		case X_REDUCE:
			if (reduce(run, pc) != IOG_OK)
				return IOG_BAD_INPUT;
			pc += c->b;
			continue;
		default:
			exec_common(run, c, run->slot[c->dst], run->slot_truth[c->dst], 8);
			if (expr_gives_truth(c->op))
				set_slot_truth(run, c->dst, run->slot_truth[c->dst][0] & 1);
			continue;
		}
		set_slot(run, c->dst, v);
	}
	return IOG_OK;
}

enum iog_step iog_expr_rebind(struct iog_expr_run *run, uint32_t k)
{
	run->n = 1;
	if (run->e->scope == IOG_SCOPE_RECORD)
		return k == 0 ? IOG_OK : IOG_BAD_INPUT;
	return bind_block(run, run->e->main_at, run->e->n_ops, k);
}

static void start_run(struct iog_expr_run *run, const struct iog_expr *e, const struct iog_record *r, uint32_t isa)
{
	run->e = e, run->r = r, run->isa = isa, run->kernels = expr_kernels(isa);
	memset(run->slot_truth, 0, sizeof run->slot_truth);
	memset(run->slot, 0, sizeof run->slot);
}

enum iog_step iog_expr_bind(struct iog_expr_run *run, const struct iog_expr *e, const struct iog_record *r, uint32_t k, uint32_t isa)
{
	start_run(run, e, r, isa);
	if (e->uses & IOG_EXPR_USES_BOX && !iog_record_box(r, &run->box))
		return IOG_BAD_INPUT;
	if (exec_record(run) != IOG_OK)
		return IOG_BAD_INPUT;
	return iog_expr_rebind(run, k);
}

void iog_expr_keep(const struct iog_expr_run *run, struct iog_expr_kept *kept)
{
	kept->truth = 0;
	for (unsigned i = 0; i < IOG_EXPR_SLOTS; i++) {
		kept->slot[i] = run->slot[i][0];
		kept->truth |= (run->slot_truth[i][0] & 1) << i;
	}
	kept->box = run->box;
}

enum iog_step iog_expr_resume(struct iog_expr_run *run, const struct iog_expr *e, const struct iog_record *r,
	const struct iog_expr_kept *kept, uint32_t k, uint32_t isa)
{
	start_run(run, e, r, isa);
	run->box = kept->box;
	for (unsigned i = 0; i < IOG_EXPR_SLOTS; i++) {
		set_slot(run, i, kept->slot[i]);
		set_slot_truth(run, i, kept->truth >> i & 1);
	}
	return iog_expr_rebind(run, k);
}

uint32_t iog_expr_blocks(const struct iog_expr *e, const struct iog_record *r)
{
	if (e->scope == IOG_SCOPE_RECORD)
		return 1;
	int lead = finest(e, r, inputs_of(e, e->main_at, e->n_ops));
	return lead < 0 ? 0 : r->var[e->input[lead].var].n_blocks;
}

int64_t iog_expr_start(const struct iog_expr_run *run, unsigned d) { return run->start[d]; }
int64_t iog_expr_elems(const struct iog_expr_run *run) { return run->n; }

void iog_expr_values(struct iog_expr_run *run, int64_t first, uint32_t n, double *out)
{
	const struct iog_expr *e = run->e;
	size_t mask;
	if (e->scope == IOG_SCOPE_ELEMENT)
		exec_block(run, e->main_at, e->n_ops, first, n);
	const double *v = numbers(run, e->result, &mask);
	const uint64_t *t = truths(run, e->result);
	for (uint32_t i = 0; i < n; i++)
		out[i] = e->is_bool ? (double)(t[i / 64] >> i % 64 & 1) : v[i & mask];
}

void iog_expr_bits(struct iog_expr_run *run, int64_t first, uint32_t n, uint64_t *bits)
{
	const struct iog_expr *e = run->e;
	if (e->scope == IOG_SCOPE_ELEMENT)
		exec_block(run, e->main_at, e->n_ops, first, n);
	memcpy(bits, truths(run, e->result), (n + 63) / 64 * sizeof *bits);
	if (n % 64)
		bits[n / 64] &= (1ull << n % 64) - 1;
}

void iog_expr_mask(struct iog_expr_run *run, int64_t first, uint32_t n, uint8_t *mask)
{
	uint64_t bits[EXPR_WORDS];
	iog_expr_bits(run, first, n, bits);
	for (uint32_t i = 0; i < n; i++)
		mask[i] = bits[i / 64] >> i % 64 & 1;
}

double iog_expr_value(const struct iog_expr_run *run)
{
	size_t mask;
	const unsigned at = run->e->result;
	return run->e->is_bool ? (double)(truths(run, at)[0] & 1) : numbers(run, at, &mask)[0];
}

/* ---- folding ---- */

void iog_fold_start(struct iog_fold *f)
{
	memset(f, 0, sizeof *f);
	for (int i = 0; i < 8; i++)
		f->min[i] = __builtin_inf(), f->max[i] = -__builtin_inf();
}

static double lanes_sum(const double *l) { return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])); }

void iog_fold_add(struct iog_fold *f, const double *v, uint32_t n, uint32_t isa)
{
	if (n == IOG_EXPR_BLOCK && f->n % IOG_EXPR_BLOCK == 0) {
		expr_kernels(isa)->fold(f, v);
	} else {
		for (uint32_t i = 0; i < n; i++) {
			const int j = (int)(f->n % 8);
			const bool nan = v[i] != v[i];
			f->lane[j] += nan ? 0 : v[i];
			f->min[j] = v[i] < f->min[j] ? v[i] : f->min[j];
			f->max[j] = v[i] > f->max[j] ? v[i] : f->max[j];
			f->nan += nan;
			if (++f->n % IOG_EXPR_BLOCK == 0 && i + 1 < n) {
				f->sum += lanes_sum(f->lane);
				memset(f->lane, 0, sizeof f->lane);
			}
		}
	}
	if (n && f->n % IOG_EXPR_BLOCK == 0) {
		f->sum += lanes_sum(f->lane);
		memset(f->lane, 0, sizeof f->lane);
	}
}

double iog_fold_sum(const struct iog_fold *f) { return f->n % IOG_EXPR_BLOCK ? f->sum + lanes_sum(f->lane) : f->sum; }

void iog_fold_range(const struct iog_fold *f, double *min, double *max)
{
	*min = f->min[0], *max = f->max[0];
	for (int i = 1; i < 8; i++) {
		*min = f->min[i] < *min ? f->min[i] : *min;
		*max = f->max[i] > *max ? f->max[i] : *max;
	}
	if (f->n == f->nan)
		*min = *max = __builtin_nan("");
}

/* ---- compaction ---- */

/* 64 bits from bit `at` on, of which the first n count. */
static uint64_t word_at(const uint64_t *bits, uint64_t at, uint64_t n)
{
	uint64_t w = bits[at / 64] >> at % 64;
	if (at % 64 && n > 64 - at % 64)
		w |= bits[at / 64 + 1] << (64 - at % 64);
	return n < 64 ? w & ((1ull << n) - 1) : w;
}

uint64_t iog_compact(uint8_t *dst, uint64_t room, const uint8_t *src, int64_t stride, uint64_t row, const uint64_t *bits, uint64_t at,
	uint64_t n, uint32_t isa)
{
	const struct expr_kernels *k = expr_kernels(isa);
	const bool dense = stride == (int64_t)row, kernel = dense && (row == 1 || row == 2 || row == 4 || row == 8 || row == 12);
	uint64_t rows = 0;
	for (uint64_t i = 0; i < n; i += 64) {
		uint64_t w = word_at(bits, at + i, n - i);
		const uint8_t *from = src + (int64_t)i * stride;
		uint8_t *to = dst + rows * row;
		if (!w)
			continue;
		if (w == ~0ull && dense) {
			memcpy(to, from, 64 * row);
			rows += 64;
		} else if (kernel && n - i >= 64 && room - rows * row >= (uint64_t)__builtin_popcountll(w) * row + 64) {
			rows += k->compact(to, from, row, w);
		} else {
			for (; w; w &= w - 1, to += row, rows++)
				memcpy(to, from + __builtin_ctzll(w) * stride, row);
		}
	}
	return rows;
}
