/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of struct iog_graph; shared by graph*.c. */
#ifndef IOG_CORE_GRAPH_PARTS_H
#define IOG_CORE_GRAPH_PARTS_H

#include "graph.h"

enum { IOG_LIVES = 64 }; /* live parameters of a graph, at most */

/* A parameter as it was given. */
struct iog_gbind {
	char name[IOG_NAME];
	char live[IOG_NAME];     /* "" for constants */
	struct iog_value *value; /* owned, deep */
	char file[IOG_TEXT];
	int line;
};

struct iog_graph {
	struct iog_gnode *node;
	uint32_t n_nodes, cap_nodes;
	struct iog_diag *diag;
	uint32_t n_diags, cap_diags, n_errors;
	struct iog_glive *live;
	uint32_t n_lives;
	char file[IOG_TEXT];
	int line;
	int *order; /* topological, set by check */
};

/* The parameter table of a node; NULL: it has none. */
static inline const struct iog_param *iog_gnode_params(const struct iog_gnode *n)
{
	return n->kind == IOG_G_OP ? n->op->params : n->end.params;
}

/* Reports files that are written and also written or read elsewhere in the graph. */
void iog_graph_check_files(struct iog_graph *g);

/* Records a mistake at a place; warnings do not make the graph wrong. */
__attribute__((format(printf, 5, 6))) void iog_graph_diag(
	struct iog_graph *g, const char *file, int line, bool warning, const char *fmt, ...);

#endif
