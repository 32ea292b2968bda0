/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator contract: the only header an operator includes.
 *
 * An operator is a pure transformation of records: same inputs, same configuration, same state: same output, bit for bit, wherever it
 * runs. It does no I/O, keeps no globals, and on the hot path neither allocates nor locks nor calls libc. Everything it may touch comes
 * in struct iog_call. It runs on the worker's thread and is never entered twice at once with the same state.
 */
#ifndef IOG_CORE_IOG_OP_H
#define IOG_CORE_IOG_OP_H

#include "param.h"
#include "record.h"

IOG_C_BEGIN

enum {
	IOG_STATELESS = 1,     /* needs no state between records; any record may be processed alone */
	IOG_FREESTANDING = 2,  /* no undefined symbol but mem* and core's: runs in a VM and per packet */
	IOG_ZIP = 4,           /* one record per port, equal (epoch, seq); a port whose record was elided is NULL */
	IOG_DETERMINISTIC = 8, /* may stand on a `safe` path */
	IOG_SEGMENTS = 16,     /* set by the core when .segment is there */
};
enum { IOG_WINDOW_MAX = 1024 }; /* records an operator can hold */

/* What the runtime must provide. From the configuration, the input schema and its declared maxima; never from a record. */
struct iog_need {
	uint64_t state;              /* bytes, flat, zeroed at the start, no pointers: moving it is copying it */
	uint64_t scratch;            /* bytes, contents undefined at each call */
	uint64_t out_max[IOG_PORTS]; /* payload bytes written per output record, at most; 0 for pure views */
	uint32_t out_blocks;         /* blocks made per output record, at most (the core adds those passed through) */
	uint32_t window;             /* earlier inputs it wants to see again, at most IOG_WINDOW_MAX; one input port, .run */
};

/* Claimed cost, until measured. */
struct iog_cost {
	double cycles_record, cycles_kib; /* per record; per KiB of input payload */
	double out_ratio;                 /* output bytes / input bytes */
};

/* A live parameter in force, as expressions may name it. */
struct iog_live {
	char name[IOG_NAME];
	double value;
};

struct iog_plan {
	uint32_t n_in, n_out;
	const struct iog_schema *in[IOG_PORTS]; /* sealed */
	struct iog_schema *out[IOG_PORTS];      /* zeroed; plan fills them, the core seals them */
	struct iog_need need;                   /* zeroed */
	struct iog_cost cost;                   /* zeroed */
	const struct iog_live *live;            /* current values; a change plans again into a new version of conf */
	uint32_t n_live;
	uint64_t
		live_params; /* bit i: parameter i of the operator's table follows a live parameter; the output schemas must hold for all its values */
	/* Bit i: of all that comes out, variable i of in[port] reaches only the variable of the same name, if there is one; it need not come when nobody
	 * wants that. 0: it may matter to everything. */
	uint64_t carried[IOG_PORTS];
	uint32_t split[IOG_PORTS]; /* with .segment: dimension of in[port] along which records may be cut */
};

/*
 * The output side of a call, one per port. rec starts with the first input's head (identity, time, axes for dimensions that have the
 * same index in both schemas) and no variables; the operator sets axes that changed and every variable of its output schema.
 */
struct iog_out {
	struct iog_record rec;
	uint32_t of;    /* with a window: the held input it stands for, set by iog_out_stand_for; preset: the one in hand */
	uint8_t *space; /* IOG_ALIGN-aligned, need.out_max bytes */
	uint64_t size, used;
	struct iog_block *block; /* table to take blocks from */
	uint32_t n_blocks, max_blocks;
};

/* A piece of a record: the elements [first, first+count) of the split dimension, as a NIC or a wire sees them. The piece is itself a
 * record whose axis extent along that dimension is count. Pieces of a record come in order, without gaps. */
struct iog_seg {
	uint32_t dim; /* of the input schema */
	bool is_first, is_last;
	int64_t first, count;
	int64_t total; /* extent of the whole record; -1: open, not known yet */
};

struct iog_call {
	const void *conf; /* the version the record was stamped with */
	void *state, *scratch, *lib;
	const struct iog_record *in[IOG_PORTS]; /* NULL: elided at this step */
	uint32_t n_in, n_out;
	uint32_t isa; /* enum iog_isa: widest vector instructions this worker may use; must not change the result */
	/*
	 * With need.window: the inputs of this epoch before in[0], as many as fit the window, oldest first. Of those before `open` it is decided
	 * what came of them; one that leaves the window undecided is elided. Outputs come in the order of inputs: an output for the one in
	 * hand decides all before it.
	 */
	const struct iog_record *const *held;
	uint32_t n_held, open;
	struct iog_out *out;
	uint32_t split; /* iog_plan.split[0]: the dimension of in[0] that iog_op_run passes to an operator that has only .segment */
};

enum iog_isa { IOG_ISA_BASE, IOG_ISA_AVX2, IOG_ISA_AVX512 };

struct iog_op {
	const char *name, *summary; /* the summary is one line a scientist understands */
	const struct iog_param *params;
	uint32_t flags, conf_size; /* IOG_STATELESS...; bytes of the configuration struct: parameters, then whatever plan derives */
	uint8_t in_min, in_max, outs;
	/* Cold, hosted. Checks conf against the input schemas, fills the derived part of conf, the output schemas, need and cost.
	 * The same arguments give the same result. 0 or -errno with a message, which does not begin with the operator's name: the
	 * graph puts the node's in front. */
	int (*plan)(void *conf, struct iog_plan *p, struct iog_err *err);
	/* Hot: whole records. */
	enum iog_step (*run)(const struct iog_call *c);
	/* Hot, optional: pieces. c->in[0] is the piece; the output pieces joined along their split dimension equal run's output. Scalars
	 * that are only known at the end go into the last piece. */
	enum iog_step (*segment)(const struct iog_call *c, const struct iog_seg *s);
	/* Optional: merges the partial state `other` into state. */
	void (*combine)(const void *conf, void *state, const void *other);
	/* Hosted only: library handles; rebuilt after a move, never influence the output. */
	int (*open)(const void *conf, void **lib, struct iog_err *err);
	void (*close)(void *lib);
};

/* All operators, NULL-terminated, in operators/all.c. */
extern const struct iog_op *const iog_ops[];

/* ---- helpers for run(); inline, so that a freestanding operator needs nothing else ---- */

/* IOG_ALIGN-aligned room in the output payload, NULL when it does not fit: return IOG_NO_SPACE then. */
static inline void *iog_out_alloc(struct iog_out *o, uint64_t bytes)
{
	uint64_t at = IOG_ROUND_UP(o->used, IOG_ALIGN);
	if (at > o->size || bytes > o->size - at)
		return NULL;
	o->used = at + bytes;
	return o->space + at;
}

/* n blocks for variable v of the output, to be filled; NULL when the table is full. */
static inline struct iog_block *iog_out_blocks(struct iog_out *o, unsigned v, uint32_t n)
{
	if (n > o->max_blocks - o->n_blocks)
		return NULL;
	struct iog_block *b = o->block + o->n_blocks;
	o->n_blocks += n;
	o->rec.var[v] = (struct iog_var){ b, n, 0 };
	return b;
}

/*
 * The output is that of held[i], open <= i < n_held: it gets its identity, time and axes, and everything before it is decided. Return
 * IOG_OK; the operator is called again with the same input and a larger `open`. First thing in run, before axes and variables are set.
 */
static inline void iog_out_stand_for(const struct iog_call *c, struct iog_out *o, uint32_t i)
{
	const struct iog_schema *in = c->held[i]->schema;
	iog_record_head(&o->rec, c->held[i], IOG_MIN(in->n_dims, o->rec.schema->n_dims));
	o->of = i;
}

/* Output variable v is input variable i of record in, unchanged: nothing is copied. */
static inline void iog_out_pass(struct iog_out *o, unsigned v, const struct iog_record *in, unsigned i) { o->rec.var[v] = in->var[i]; }

/* A dense block of rank `rank` and the given counts at start 0, with room for its elements. NULL: no space. */
static inline void *iog_out_dense(struct iog_out *o, unsigned v, unsigned rank, uint32_t elem_size, const int64_t *count)
{
	struct iog_block *b = iog_out_blocks(o, v, 1);
	if (!b)
		return NULL;
	int64_t s = elem_size;
	for (unsigned d = rank; d-- > 0;) {
		b->start[d] = 0, b->count[d] = count[d], b->stride[d] = s;
		s *= count[d];
	}
	b->bytes = 0;
	void *p = iog_out_alloc(o, (uint64_t)s);
	b->data = (const uint8_t *)p;
	return p;
}

IOG_C_END

#endif
