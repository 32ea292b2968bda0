/* SPDX-License-Identifier: BSD-3-Clause */
/* A graph file as the commands want it: loaded, checked, cut; every mistake printed with its place. One thread. */
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

void iog_cli_diags(const struct iog_graph *g)
{
	const struct iog_diag *d;
	uint32_t n = iog_graph_diags(g, &d);
	const struct iog_diag **order = calloc(n + 1, sizeof *order);
	bool colour = iog_cli_colour(stderr);
	if (!order)
		return;
	for (uint32_t i = 0; i < n; i++)
		order[i] = &d[i];
	qsort(order, n, sizeof *order, by_line);
	for (uint32_t i = 0; i < n; i++) {
		if (i && order[i]->line == order[i - 1]->line && !strcmp(order[i]->text, order[i - 1]->text))
			continue;
		fprintf(stderr, "%s%s:", colour ? "\033[1m" : "", order[i]->file);
		if (order[i]->line)
			fprintf(stderr, "%d:", order[i]->line);
		fprintf(stderr, "%s %s%s\n", colour ? "\033[0m" : "", order[i]->warning ? "warning: " : "", order[i]->text);
	}
	free(order);
}

int iog_cli_load(struct iog_cli_graph *cg, const char *path, struct iog_lua_set *set, uint32_t n_set, enum iog_target target)
{
	memset(cg, 0, sizeof *cg);
	cg->g = iog_lua_load(path, set, n_set);
	if (!cg->g) {
		fprintf(stderr, "%s: out of memory\n", path);
		return IOG_EXIT_FAILED;
	}
	int rc = iog_graph_check(cg->g);
	if (!rc)
		rc = iog_graph_cut(cg->g, true, target, &cg->cut);
	iog_cli_diags(cg->g);
	if (!rc)
		return IOG_EXIT_OK;
	const struct iog_diag *d;
	if (!iog_graph_diags(cg->g, &d))
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
