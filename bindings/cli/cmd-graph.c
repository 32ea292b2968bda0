/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog graph`: a graph as text or as a picture. One thread. */
#include <errno.h>
#include <stdlib.h>

#include "bindings/lua/lua-graph.h"
#include "cli.h"

extern const struct iog_cli_cmd iog_cmd_graph;

static const struct iog_cli_opt options[] = {
	{ "svg", 0, NULL, "a picture instead of text" },
	{ "output", 'o', "FILE", "where to, instead of the terminal; a name ending in .svg means --svg" },
	{ "set", 0, "NAME=VALUE", "value of a parameter the graph declares (repeatable)" },
	{ "on", 0, "TARGET", "where stages without a wish of their own run: host, sidecore, vm (default host)" },
	{ .name = NULL },
};
enum { SVG, OUTPUT, SET, ON };

static bool write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	bool ok = f && fputs(text, f) >= 0;
	int rc = errno;
	if (f && fclose(f)) {
		rc = errno;
		ok = false;
	}
	if (!ok)
		fprintf(stderr, "iog graph: cannot write %s: %s\n", path, strerror(rc));
	return ok;
}

static int graph_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_graph, .argc = argc, .argv = argv };
	struct iog_lua_set set[IOG_CLI_SETS];
	const char *file = NULL, *output = NULL;
	uint32_t n_set = 0;
	enum iog_target target = IOG_T_ANY;
	bool svg = false;
	for (int o; (o = iog_cli_next(&a)) != IOG_ARG_END;) {
		if (o == SVG)
			svg = true;
		else if (o == OUTPUT)
			output = a.value;
		else if (o == SET)
			iog_cli_set(&a, set, &n_set);
		else if (o == ON)
			iog_cli_target(&a, &target);
		else if (file)
			return iog_cli_usage(a.cmd, "wants one graph, got \"%s\" too", a.value);
		else
			file = a.value;
	}
	if (a.done)
		return a.code;
	if (!file)
		return iog_cli_usage(a.cmd, "wants a graph file");
	size_t len = output ? strlen(output) : 0;
	svg |= len > 4 && !strcmp(output + len - 4, ".svg");
	struct iog_cli_graph cg;
	if (iog_cli_load(&cg, file, set, n_set, target))
		return IOG_EXIT_FAILED;
	char *text = svg ? iog_graph_svg(cg.g, &cg.cut) : iog_graph_text(cg.g, &cg.cut);
	bool ok = text;
	if (!text)
		fprintf(stderr, "iog graph: out of memory\n");
	else if (output)
		ok = write_file(output, text);
	else
		ok = fputs(text, stdout) >= 0 && iog_cli_flush();
	free(text);
	iog_cli_unload(&cg);
	return ok ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

const struct iog_cli_cmd iog_cmd_graph = {
	.name = "graph",
	.args = "FILE",
	.summary = "draws a graph",
	.about = "Draws a graph: as a tree of text, or as a picture (SVG) with a frame around each stage. What an edge carries is written "
		 "beside it: the largest "
		 "extent and the bytes of a record.",
	.examples = "iog graph melt.lua\niog graph melt.lua -o melt.svg\niog graph melt.lua --svg --on vm >melt.svg\n",
	.opt = options,
	.run = graph_run,
};
