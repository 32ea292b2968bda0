/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog agent`: owns graphs and brings them together with programs that publish and read streams. The controlling thread of all its graphs. */
#include <stdlib.h>

#include "bindings/lua/lua-graph.h"
#include "cli.h"
#include "runtime/host/agent.h"
#include "signals.h"

static const struct iog_cli_opt options[] = {
	{ "socket", 0, "PATH", "where to listen (default $IOG_SOCKET, else in $XDG_RUNTIME_DIR, else in /tmp)" },
	{ "load", 'l', "FILE", "loads a graph (repeatable); it starts when the streams it takes are there" },
	{ "set", 0, "NAME=VALUE", "value of a parameter the graphs declare (repeatable)" },
	{ "on", 0, "TARGET", "where stages without a wish of their own run: host, sidecore, vm (default host)" },
	{ "fresh", 0, NULL, "forgets the graphs of an agent that was killed at this socket" },
	{ "once", 0, NULL, "ends when all graphs have ended" },
	{ "quiet", 'q', NULL, "says only what goes wrong" },
	{ .name = NULL },
};
enum { SOCKET, LOAD, SET, ON, FRESH, ONCE, QUIET };
enum { LOADS = 64 };

extern const struct iog_cli_cmd iog_cmd_agent;

static struct iog_lua_set set[IOG_CLI_SETS];
static uint32_t n_set;

static struct iog_graph *load_graph(void *ctx, const char *path)
{
	(void)ctx;
	return iog_lua_load(path, set, n_set);
}

static void log_line(void *ctx, const char *line)
{
	if (!*(const bool *)ctx)
		fprintf(stderr, "iog agent: %s\n", line);
}

static void show_diags(void *ctx, const struct iog_graph *g)
{
	(void)ctx;
	iog_cli_show_diags(g);
}

static int agent_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_agent, .argc = argc, .argv = argv };
	static const char *loads[LOADS];
	uint32_t n_loads = 0;
	bool once = false, quiet = false;
	struct iog_agent_opts o = { .ctx = &quiet, .load = load_graph, .log = log_line };
	enum iog_target target;
	for (int k; (k = iog_cli_next(&a)) != IOG_ARG_END;)
		switch (k) {
		case SOCKET: o.path = a.value; break;
		case LOAD:
			if (n_loads == LOADS)
				return iog_cli_usage(a.cmd, "loads at most %d graphs at the start", LOADS);
			loads[n_loads++] = a.value;
			break;
		case SET: iog_cli_set(&a, set, &n_set); break;
		case ON:
			if (iog_cli_target(&a, &target))
				o.engine.target = (uint8_t)target;
			break;
		case FRESH: o.fresh = true; break;
		case ONCE: once = true; break;
		case QUIET: quiet = true; break;
		default: return iog_cli_usage(a.cmd, "takes no argument, got \"%s\"; --load FILE loads a graph", a.value);
		}
	if (a.done)
		return a.code;
	iog_cli_signals_watch();
	iog_cli_allow_files();

	struct iog_agent *agent;
	struct iog_err err = { "" };
	if (iog_agent_new(&agent, &o, &err)) {
		fprintf(stderr, "iog agent: %s\n", err.text);
		return IOG_EXIT_FAILED;
	}
	if (!quiet)
		fprintf(stderr, "iog agent: listens at %s\n", iog_agent_path(agent));
	for (uint32_t i = 0; i < n_loads; i++) {
		char name[IOG_STREAM_NAME];
		iog_cli_graph_name(loads[i], name, sizeof name);
		err.text[0] = 0;
		if (iog_agent_load(agent, name, loads[i], show_diags, &err)) {
			fprintf(stderr, "iog agent: %s\n", err.text[0] ? err.text : "the graph was not loaded");
			iog_agent_free(agent);
			return IOG_EXIT_FAILED;
		}
	}
	iog_agent_resume(agent);
	int seen = 0;
	for (;;) {
		uint32_t busy = iog_agent_poll(agent, 0.1);
		int now = iog_cli_signals_seen();
		if (now > seen && seen < 2) {
			iog_agent_end(agent, now > 1);
			seen = now;
		}
		if (!busy && (seen || once))
			break;
	}
	int rc = iog_agent_result(agent, &err);
	if (rc)
		fprintf(stderr, "iog agent: %s\n", err.text);
	iog_agent_free(agent);
	return rc ? IOG_EXIT_FAILED : seen ? 128 + iog_cli_signals_last() : IOG_EXIT_OK;
}

const struct iog_cli_cmd iog_cmd_agent = {
	.name = "agent",
	.args = "",
	.summary = "runs graphs for programs that publish streams",
	.about = "Listens on a Unix socket of this node. Programs attach to it with iograph.h; graphs whose sources are streams start when "
		 "all ranks of the "
		 "program have opened them. Steps go through shared memory and never through this process's hands.\n\n"
		 "The first Ctrl-C (or SIGTERM) ends the graphs in order, the second one at once. After an agent that was killed, the next "
		 "one at the same socket has its graphs, "
		 "and programs that are still running join it.",
	.examples = "iog agent --load heat.lua\niog agent --socket /tmp/my-agent --load heat.lua --once\n",
	.opt = options,
	.run = agent_run,
};
