/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places boxes of a directed graph without circles in layers from left to right, with few crossings and straight lines (after Sugiyama,
 * Tagawa, Toda: Methods for visual understanding of hierarchical system structures, 1981). Any thread, nothing shared.
 */
#ifndef IOG_CORE_LAYOUT_H
#define IOG_CORE_LAYOUT_H

#include "base.h"

IOG_C_BEGIN

struct iog_net_item {
	double w, h; /* given; a waypoint of a long edge has width 0 */
	double x, y; /* left edge, centre */
	uint32_t layer;
	double weight; /* how much it wants its lines straight */
};
/* From box a to box b, of any larger layer; da, db: where it leaves and enters, below the centres. */
struct iog_arc {
	uint32_t a, b;
	double da, db;
};
/* An edge with the waypoints that were made for it: boxes way .. way + n_way - 1. */
struct iog_route {
	uint32_t a, b, way, n_way;
	double da, db;
};

struct iog_net {
	struct iog_net_item *box;
	struct iog_arc *arc;
	struct iog_route *route;
	uint32_t n_boxes, n_arcs, n_routes, n_layers, cap_boxes, cap_arcs, cap_routes;
	double *left, *width, *gap, *curve; /* by layer: where it begins, widest box, room before it, part of that room for bending lines */
	bool failed;                        /* out of memory */
};

/* Index of the new box. */
uint32_t iog_net_add(struct iog_net *n, double w, double h, uint32_t layer);
/* Adds an edge, with waypoints on the layers it crosses (none when there are too many already). */
void iog_net_edge(struct iog_net *n, uint32_t a, uint32_t b, double da, double db);
/* Places everything; space: least distance between boxes of a layer; label[l]: room that edges into layer l want before it, NULL: none. */
void iog_net_place(struct iog_net *n, double space, const double *label, double least_curve, double most_curve);
void iog_net_free(struct iog_net *n);

IOG_C_END

#endif
