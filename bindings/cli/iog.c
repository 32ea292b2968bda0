/* SPDX-License-Identifier: BSD-3-Clause */
/* The program `iog`: finds the command and runs it. `iog --worker FD` is how a sidecore process starts (runtime/host/engine.h). */
#include <signal.h>
#include <stdlib.h>

#include "cli.h"
#include "runtime/host/engine.h"

extern const struct iog_cli_cmd iog_cmd_agent, iog_cmd_ps, iog_cmd_load, iog_cmd_unload, iog_cmd_set, iog_cmd_top, iog_cmd_capture,
	iog_cmd_check, iog_cmd_run, iog_cmd_ops, iog_cmd_graph, iog_cmd_dump, iog_cmd_targets, iog_cmd_bench, iog_cmd_version, iog_cmd_help;

const struct iog_cli_cmd *const iog_cli_cmds[] = {
	&iog_cmd_check,
	&iog_cmd_run,
	&iog_cmd_ops,
	&iog_cmd_graph,
	&iog_cmd_dump,
	&iog_cmd_agent,
	&iog_cmd_capture,
	&iog_cmd_ps,
	&iog_cmd_load,
	&iog_cmd_unload,
	&iog_cmd_set,
	&iog_cmd_top,
	&iog_cmd_targets,
	&iog_cmd_bench,
	&iog_cmd_version,
	&iog_cmd_help,
	NULL,
};

static const struct iog_cli_cmd *find(const char *name)
{
	for (const struct iog_cli_cmd *const *c = iog_cli_cmds; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

static int no_such_command(const char *name)
{
	const char *names[32];
	size_t n = 0;
	for (const struct iog_cli_cmd *const *c = iog_cli_cmds; *c && n < IOG_COUNT(names); c++)
		names[n++] = (*c)->name;
	const char *near = iog_nearest(name, names, n);
	fprintf(stderr, "iog: no command \"%s\"; %s%s%s\n", name, near ? "did you mean \"" : "", near ? near : "",
		near ? "\"?" : "`iog --help` lists them");
	return IOG_EXIT_USAGE;
}

static void overview(FILE *f)
{
	fprintf(f, "iog runs graphs that say what happens to a simulation's records on their way out.\n\n"
		   "usage: iog COMMAND [arguments]\n\n");
	for (const struct iog_cli_cmd *const *c = iog_cli_cmds; *c; c++)
		fprintf(f, "  %-8s %-22s %s\n", (*c)->name, (*c)->args, (*c)->summary);
	fprintf(f, "\nA first graph, in a file first.lua:\n\n"
		   "  local iog = require \"iog\"\n"
		   "  local md  = iog.source.synthetic { atoms = 1000, steps = 100 }\n"
		   "  md:filter \"zs > 0.4 and zs < 0.6\":stats {}:to(iog.sink.table \"slab.csv\")\n\n"
		   "  iog check first.lua     what its records hold, and the memory it takes\n"
		   "  iog run first.lua       writes slab.csv\n\n"
		   "`iog COMMAND --help` explains a command. `iog ops` lists what graphs are made of.\n");
}

static int version_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_version, .argc = argc, .argv = argv };
	if (iog_cli_next(&a) == IOG_ARG_POSITIONAL)
		return iog_cli_usage(a.cmd, "takes no argument, got \"%s\"", a.value);
	if (a.done)
		return a.code;
	printf("iog %s\n", IOG_VERSION);
	return iog_cli_flush() ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}
static const struct iog_cli_opt no_options[] = { { .name = NULL } };
const struct iog_cli_cmd iog_cmd_version = {
	.name = "version",
	.args = "",
	.summary = "prints the version",
	.about = "Prints the version of this program.",
	.examples = "iog version\n",
	.opt = no_options,
	.run = version_run,
};

static int help_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_help, .argc = argc, .argv = argv };
	const struct iog_cli_cmd *c = NULL;
	while (iog_cli_next(&a) != IOG_ARG_END) {
		if (c)
			return iog_cli_usage(a.cmd, "wants one command, got \"%s\" too", a.value);
		if (!(c = find(a.value)))
			return no_such_command(a.value);
	}
	if (a.done)
		return a.code;
	if (c)
		iog_cli_help(c);
	else
		overview(stdout);
	return iog_cli_flush() ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}
const struct iog_cli_cmd iog_cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "explains a command",
	.about = "Explains a command; without one, lists them.",
	.examples = "iog help run\n",
	.opt = no_options,
	.run = help_run,
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--worker")) {
		/* Ctrl-C reaches everybody on the terminal; ending in order is the parent's business, and its death is ours. */
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		return iog_worker_main(atoi(argv[2]));
	}
	if (argc < 2) {
		overview(stderr);
		return IOG_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help_run(1, argv);
	if (!strcmp(argv[1], "--version"))
		return version_run(1, argv);
	const struct iog_cli_cmd *c = find(argv[1]);
	return c ? c->run(argc - 1, argv + 1) : no_such_command(argv[1]);
}
