/* SPDX-License-Identifier: BSD-3-Clause */
/* A graph file as the commands want it: loaded, checked, cut; every mistake printed with its place. One thread. */
#include <errno.h>
#include <stdlib.h>

#include "bindings/lua/lua-graph.h"
#include "cli.h"

static int by_line(const void *a, const void *b)
{
	const struct iog_diag *const *x = a, *const *y = b;
	int files = strcmp((*x)->file, (*y)->file);
	if (files)
		return files;
	if ((*x)->line != (*y)->line)
		return (*x)->line < (*y)->line ? -1 : 1;
	return *x < *y ? -1 : *x > *y;
}

const struct iog_diag **iog_cli_diags(const struct iog_graph *g, uint32_t *n)
{
	const struct iog_diag *d;
	uint32_t all = iog_graph_diags(g, &d), kept = 0;
	const struct iog_diag **order = calloc(all + 1, sizeof *order);
	*n = 0;
	if (!order)
		return NULL;
	for (uint32_t i = 0; i < all; i++)
		order[i] = &d[i];
	qsort(order, all, sizeof *order, by_line);
	for (uint32_t i = 0; i < all; i++)
		if (!kept || order[i]->line != order[kept - 1]->line || strcmp(order[i]->text, order[kept - 1]->text))
			order[kept++] = order[i];
	*n = kept;
	return order;
}

void iog_cli_show_diags(const struct iog_graph *g)
{
	uint32_t n;
	const struct iog_diag **d = iog_cli_diags(g, &n);
	bool colour = iog_cli_colour(stderr);
	for (uint32_t i = 0; i < n; i++) {
		fprintf(stderr, "%s%s:", colour ? "\033[1m" : "", d[i]->file);
		if (d[i]->line)
			fprintf(stderr, "%d:", d[i]->line);
		fprintf(stderr, "%s %s%s\n", colour ? "\033[0m" : "", d[i]->warning ? "warning: " : "", d[i]->text);
	}
	free(d);
}

int iog_cli_open(struct iog_cli_graph *cg, const char *path, struct iog_lua_set *set, uint32_t n_set, enum iog_target target)
{
	memset(cg, 0, sizeof *cg);
	cg->g = iog_lua_load(path, set, n_set);
	if (!cg->g)
		return -ENOMEM;
	int rc = iog_graph_check(cg->g);
	return rc ? rc : iog_graph_cut(cg->g, true, target, &cg->cut);
}

int iog_cli_load(struct iog_cli_graph *cg, const char *path, struct iog_lua_set *set, uint32_t n_set, enum iog_target target)
{
	const struct iog_diag *d;
	int rc = iog_cli_open(cg, path, set, n_set, target);
	if (cg->g)
		iog_cli_show_diags(cg->g);
	if (!rc)
		return IOG_EXIT_OK;
	if (!cg->g || !iog_graph_diags(cg->g, &d))
		fprintf(stderr, "%s: %s\n", path, strerror(-rc));
	iog_cli_unload(cg);
	return IOG_EXIT_FAILED;
}

void iog_cli_unload(struct iog_cli_graph *cg)
{
	iog_cut_free(&cg->cut);
	iog_graph_free(cg->g);
	cg->g = NULL;
}
