/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The graph: what was declared, checked and cut into units. Control path, hosted (allocates), one thread.
 *
 * Building never stops at the first mistake: every call records what is wrong with its file and line, and goes on with what can still be
 * checked, so that one run shows several mistakes. iog_graph_check infers the schema of every edge, asks operators and endpoints whether
 * they agree, finds cycles, unused nodes and capacities that could deadlock. iog_graph_cut fuses operators into stages.
 *
 * Endpoints are known here only by what the graph asks of them (struct iog_gnode_end), so that core includes nothing of the runtime.
 */
#ifndef IOG_CORE_GRAPH_H
#define IOG_CORE_GRAPH_H

#include "iog_op.h"
#include "worker.h"

IOG_C_BEGIN

enum iog_gkind { IOG_G_SOURCE, IOG_G_OP, IOG_G_SINK };
enum iog_target { IOG_T_ANY, IOG_T_HOST, IOG_T_SIDECORE, IOG_T_VM, IOG_TARGETS };
enum { IOG_NO_NODE = -1 };

/* One mistake. */
struct iog_diag {
	char file[IOG_TEXT];
	int line; /* 0: not known */
	bool warning;
	bool later; /* no mistake, but not known yet: a source answered -EAGAIN */
	char text[512];
};

/* What the graph must know of an endpoint; `what` is the struct iog_source or iog_sink it stands for. */
struct iog_gnode_end {
	const void *what;
	const char *name;
	const struct iog_param *params;
	uint32_t conf_size;
	bool safe;                                                                         /* a sink that can recover() */
	int (*describe)(const void *conf, struct iog_schema *schema, struct iog_err *err); /* sources; -EAGAIN: not known yet */
	int (*accept)(const void *conf, const struct iog_schema *in, struct iog_err *err); /* sinks; NULL: anything */
	int (*accept_safe)(const void *conf, struct iog_err *err);                         /* with release = "safe"; NULL: anything */
};

/* Options of the edge into a node; on sinks they say how the branch behaves. */
struct iog_gedge_opt {
	uint8_t policy; /* enum iog_policy */
	bool policy_set, safe;
	bool spill;               /* into a sink, which then has policy IOG_BLOCK: what it has not come to yet goes to a file */
	uint64_t bytes;           /* memory for records on this edge; 0: default */
	uint64_t spill_bytes;     /* of that file, at most; 0: default */
	char spill_dir[IOG_TEXT]; /* "": the usual one */
};

struct iog_gref {
	int node, port;
};

struct iog_gnode {
	uint8_t kind;          /* enum iog_gkind */
	uint8_t target, never; /* enum iog_target; bit mask of targets excluded */
	char name[IOG_NAME];   /* unique: "filter", "filter.2", or given */
	char file[IOG_TEXT];
	int line;
	const struct iog_op *op;  /* IOG_G_OP */
	struct iog_gnode_end end; /* sources and sinks */
	void *conf;               /* owned; conf_size bytes */
	uint32_t conf_size;
	struct iog_gref in[IOG_PORTS];
	uint32_t n_in, n_out, n_users;
	struct iog_gedge_opt opt;
	/* set by iog_graph_check */
	struct iog_schema *out; /* n_out, owned */
	struct iog_need need;
	struct iog_cost cost;
	uint32_t split;              /* of input 0 */
	uint64_t carried[IOG_PORTS]; /* of inputs: as in struct iog_plan */
	uint64_t needs[IOG_PORTS];   /* of outputs: the variables, by bit, that a sink or an operator needs */
	uint64_t bound[IOG_PORTS];   /* payload bytes of an output record, at most */
	uint32_t blocks[IOG_PORTS];
	uint64_t opaque_max[IOG_VARS]; /* of output 0's encoded variables */
	bool bad;                      /* a mistake was reported here: what depends on it is not checked */
	bool safe;                     /* a safe sink is below */
	int unit;                      /* iog_graph_cut */
	struct iog_gbind *bind;        /* parameters as given, to plan again when a live parameter changes */
	uint32_t n_bind;
};

/* A live parameter: a number (or a region, whose parts are NAME.lo1 ...) that may change while records flow. */
struct iog_glive {
	struct iog_live live;
	double min, max;
	bool bounded;
	char file[IOG_TEXT]; /* where it is declared */
	int line;
};

struct iog_graph;
struct iog_graph *iog_graph_new(void);
void iog_graph_free(struct iog_graph *g);

/* Where following calls come from, for messages. */
void iog_graph_at(struct iog_graph *g, const char *file, int line);
/* Node indices; never fail (a bad node is recorded and later calls on it are harmless). */
int iog_graph_op(struct iog_graph *g, const struct iog_op *op);
int iog_graph_end(struct iog_graph *g, enum iog_gkind kind, const struct iog_gnode_end *end);
/* A parameter of the node; v is copied deeply. `live` names the live parameter v stands for, NULL: a constant. */
void iog_graph_set(struct iog_graph *g, int node, const char *name, const struct iog_value *v, const char *live);
/* Edge and placement options by name: policy, bytes, release, spill_bytes, spill_dir; on, never; name. Returns false when it is not one of them. */
bool iog_graph_option(struct iog_graph *g, int node, const char *name, const struct iog_value *v);
/* True for the names iog_graph_option knows. */
bool iog_graph_is_option(const char *name);
/* from's output port feeds the next input of to. */
void iog_graph_link(struct iog_graph *g, int from, int port, int to);
void iog_graph_live(struct iog_graph *g, const char *name, double value, double min, double max);
/* Records a mistake at the current place, and something that is odd but not wrong. */
__attribute__((format(printf, 2, 3))) void iog_graph_error(struct iog_graph *g, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void iog_graph_warning(struct iog_graph *g, const char *fmt, ...);

/* Checks everything; 0, or -EINVAL when there are errors (warnings do not count). May be called again after changes. */
int iog_graph_check(struct iog_graph *g);
uint32_t iog_graph_diags(const struct iog_graph *g, const struct iog_diag **d);
uint32_t iog_graph_nodes(const struct iog_graph *g, struct iog_gnode **nodes);
uint32_t iog_graph_lives(const struct iog_graph *g, const struct iog_glive **lives);
/* Changes a live parameter: plans every node that uses it again. 0; -EINVAL with a message when the value is out of range, an operator
 * refuses it, or a schema would change. On failure nothing has changed. */
int iog_graph_live_set(struct iog_graph *g, const char *name, double value, struct iog_err *err);

/* ---- units ---- */

/* One thing that runs on its own: a source, a stage, a sink. */
struct iog_unit {
	uint8_t kind; /* enum iog_gkind; IOG_G_OP: a stage */
	uint8_t target;
	bool safe;
	uint32_t n_nodes;
	int node[IOG_STAGE_NODES]; /* in calling order; one for sources and sinks */
	uint32_t n_in, n_out;
	struct iog_gref out_from[IOG_PORTS]; /* graph node and port of each output */
	struct iog_gref in_from[IOG_PORTS];  /* likewise of each input: what it is fed with */
	/* the arena of each output */
	uint64_t slot_bytes[IOG_PORTS], static_bytes[IOG_PORTS], head_max[IOG_PORTS];
	uint32_t n_slots[IOG_PORTS];
	uint32_t window; /* inputs its first operator holds */
	bool views[IOG_PORTS];
	char name[IOG_TEXT]; /* "filter+crop" */
};
struct iog_uedge {
	int from, to; /* units */
	uint8_t from_port, to_port, policy;
	bool safe, spill;
	uint32_t capacity;
	uint32_t hold; /* records that may have to wait on it until others come; less than capacity */
};
struct iog_cut {
	struct iog_unit *unit;
	struct iog_uedge *edge;
	uint32_t n_units, n_edges;
};
/* Cuts a checked graph. `fuse` false: every operator its own stage. Stages without a wish of their own go to `target`. Reports capacity
 * mistakes as diags. 0 or -EINVAL, -ENOMEM. */
int iog_graph_cut(struct iog_graph *g, bool fuse, enum iog_target target, struct iog_cut *cut);
void iog_cut_free(struct iog_cut *cut);
/* Bytes all arenas and rings of the cut take: what the graph declares to use. */
uint64_t iog_cut_bytes(const struct iog_cut *cut);

/* The image of a stage unit, malloc'd; every configuration version is the current one. NULL: out of memory. */
struct iog_stage *iog_stage_build(const struct iog_graph *g, const struct iog_cut *cut, uint32_t unit, uint64_t *bytes);
/* Writes the current configuration of the unit's nodes as version v into an image. */
void iog_stage_conf(const struct iog_graph *g, const struct iog_unit *u, struct iog_stage *image, uint32_t version);

/* Text and SVG of the graph: nodes, schemas on edges, units and their targets. Malloc'd, NULL: out of memory. */
char *iog_graph_text(const struct iog_graph *g, const struct iog_cut *cut);
char *iog_graph_svg(const struct iog_graph *g, const struct iog_cut *cut);

const char *iog_target_name(unsigned target);
const char *iog_policy_name(unsigned policy);
/* The same of an edge, which may spill. */
const char *iog_uedge_policy(const struct iog_uedge *e);

IOG_C_END

#endif
