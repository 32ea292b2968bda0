/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog agent`: owns graphs and brings them together with programs that publish and read streams. The controlling thread of all its graphs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bindings/lua/lua-graph.h"
#include "cli.h"
#include "runtime/host/agent.h"
#include "runtime/host/wait.h"
#include "signals.h"

static const struct iog_cli_opt options[] = {
	{ "socket", 0, "PATH", "where to listen (default $IOG_SOCKET, else in $XDG_RUNTIME_DIR, else in /tmp)" },
	{ "load", 'l', "FILE", "loads a graph (repeatable); it starts when the streams it takes are there" },
	{ "set", 0, "NAME=VALUE", "value of a parameter the graphs declare (repeatable)" },
	{ "on", 0, "TARGET", "where stages without a wish of their own run: host, sidecore, vm (default host)" },
	{ "fresh", 0, NULL, "forgets the graphs of an agent that was killed at this socket" },
	{ "once", 0, NULL, "ends when all graphs have ended" },
	{ "embedded", 0, "LOG",
		"as programs start it that name a graph: in the background, with LOG for what it says; ends with the last of them" },
	{ "quiet", 'q', NULL, "says only what goes wrong" },
	{ .name = NULL },
};
enum { SOCKET, LOAD, SET, ON, FRESH, ONCE, EMBEDDED, QUIET };
enum { LOADS = 64 };
static const uint64_t NOBODY_NS = 30000000000u, CLOSE_NS = 1000000000u;

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
		iog_cli_print(stderr, "iog agent: %s\n", line);
}

static void show_diags(void *ctx, const struct iog_graph *g)
{
	(void)ctx;
	iog_cli_show_diags(g);
}

/* Only the standard descriptors, and those not as they were. */
static bool let_go_of_descriptors(const char *log)
{
	const int in = open("/dev/null", O_RDONLY | O_CLOEXEC),
		  out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (in < 0 || out < 0 || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0) {
		fprintf(stderr, "iog agent: %s: %s\n", log, strerror(errno));
		return false;
	}
	if (close_range(3, ~0u, 0))
		for (int fd = (int)sysconf(_SC_OPEN_MAX); fd-- > 3;)
			close(fd);
	return true;
}

/*
 * Into the background, before there are threads: whoever started us waits for this process, which ends when its child listens, or has said in the log why not.
 * Returns, in the child, where to say so; -1 after a mistake.
 */
static int background(const char *log)
{
	int ends[2];
	char c;
	if (!let_go_of_descriptors(log))
		return -1;
	setsid();
	if (pipe2(ends, O_CLOEXEC)) {
		fprintf(stderr, "iog agent: %s\n", strerror(errno));
		return -1;
	}
	const pid_t pid = fork();
	if (pid < 0) {
		fprintf(stderr, "iog agent: %s\n", strerror(errno));
		return -1;
	}
	close(ends[pid ? 1 : 0]);
	if (pid)
		_exit(read(ends[0], &c, 1) == 1 ? IOG_EXIT_OK : IOG_EXIT_FAILED); /* its end too ends that */
	return ends[1];
}

/* All programs have left, or none came. */
static bool all_left(const struct iog_agent *a, uint64_t started_ns)
{
	bool came;
	return !iog_agent_programs(a, &came) && (came || iog_now_ns() - started_ns > NOBODY_NS);
}

struct request {
	struct iog_agent_opts opts;
	const char *load[LOADS];
	uint32_t n_loads;
	bool once, quiet;
	const char *embedded; /* where to log; NULL: it is not */
};

static bool parse(struct iog_cli_args *a, struct request *r)
{
	enum iog_target target;
	for (int k; (k = iog_cli_next(a)) != IOG_ARG_END;)
		switch (k) {
		case SOCKET: r->opts.path = a->value; break;
		case LOAD:
			if (r->n_loads < LOADS) {
				r->load[r->n_loads++] = a->value;
				break;
			}
			a->code = iog_cli_usage(a->cmd, "loads at most %d graphs at the start", LOADS);
			return false;
		case SET: iog_cli_set(a, set, &n_set); break;
		case ON:
			if (iog_cli_target(a, &target))
				r->opts.engine.target = (uint8_t)target;
			break;
		case FRESH: r->opts.fresh = true; break;
		case ONCE: r->once = true; break;
		case EMBEDDED: r->embedded = a->value; break;
		case QUIET: r->quiet = true; break;
		default:
			a->code = iog_cli_usage(a->cmd, "takes no argument, got \"%s\"; --load FILE loads a graph", a->value);
			return false;
		}
	return !a->done;
}

/* With the graphs it begins with; NULL after a mistake. */
static struct iog_agent *begin(const struct request *r)
{
	struct iog_agent *agent;
	struct iog_err err = { "" };
	if (iog_agent_new(&agent, &r->opts, &err)) {
		iog_cli_print(stderr, "iog agent: %s\n", err.text);
		return NULL;
	}
	if (!r->quiet)
		fprintf(stderr, "iog agent: listens at %s\n", iog_agent_path(agent));
	for (uint32_t i = 0; i < r->n_loads; i++) {
		char name[IOG_STREAM_NAME];
		iog_cli_graph_name(r->load[i], name, sizeof name);
		err.text[0] = 0;
		if (iog_agent_load(agent, name, r->load[i], show_diags, &err)) {
			iog_cli_print(stderr, "iog agent: %s\n", err.text[0] ? err.text : "the graph was not loaded");
			iog_agent_free(agent);
			return NULL;
		}
	}
	iog_agent_resume(agent);
	return agent;
}

/* Until there is nothing more to do; how many signals came. */
static int attend(struct iog_agent *agent, const struct request *r)
{
	const uint64_t started_ns = iog_now_ns();
	uint64_t busy_ns = started_ns;
	bool ends = r->once && !r->embedded;
	for (int seen = 0;;) {
		const bool busy = iog_agent_poll(agent, 0.1);
		const int now = iog_cli_signals_seen();
		if (r->embedded && !ends && all_left(agent, started_ns)) {
			iog_agent_close(agent);
			iog_agent_end(agent, false);
			ends = true;
			continue;
		}
		if (now > seen && seen < 2) {
			iog_agent_end(agent, now > 1);
			seen = now;
			continue;
		}
		if (busy)
			busy_ns = iog_now_ns();
		/* A program whose last step was stored is about to say that it closes, and should be heard. */
		else if (seen || (ends && (!iog_agent_writing(agent) || iog_now_ns() - busy_ns > CLOSE_NS)))
			return seen;
	}
}

static int agent_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_agent, .argc = argc, .argv = argv };
	static struct request r;
	struct iog_err err = { "" };
	int ready = -1;
	r.opts = (struct iog_agent_opts){ .ctx = &r.quiet, .load = load_graph, .log = log_line };
	if (!parse(&a, &r))
		return a.code;
	r.opts.widen = r.embedded;
	if (r.embedded && (ready = background(r.embedded)) < 0)
		return IOG_EXIT_FAILED;
	iog_cli_signals_watch();
	iog_cli_allow_files();
	struct iog_agent *agent = begin(&r);
	if (!agent)
		return IOG_EXIT_FAILED;
	if (ready >= 0) {
		if (write(ready, "", 1) != 1)
			fprintf(stderr, "iog agent: who started this is gone\n");
		close(ready);
	}
	const int seen = attend(agent, &r);
	int rc = iog_agent_result(agent, &err);
	if (rc)
		iog_cli_print(stderr, "iog agent: %s\n", err.text);
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
		 "A program that attaches to \"heat.lua\" starts an agent of its own for this graph, with --embedded.\n\n"
		 "The first Ctrl-C (or SIGTERM) ends the graphs in order, the second one at once. After an agent that was killed, the next "
		 "one at the same socket has its graphs, and programs that are still running join it.",
	.examples = "iog agent --load heat.lua\niog agent --socket /tmp/my-agent --load heat.lua --once\n",
	.opt = options,
	.run = agent_run,
};
