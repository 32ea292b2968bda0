/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog targets` and `iog bench`: two short commands. One thread; finding out about targets may take two seconds. */
#include <jansson.h>

#include "bench/bench.h"
#include "cli.h"
#include "runtime/host/engine.h"

extern const struct iog_cli_cmd iog_cmd_targets, iog_cmd_bench;

static const char *const WHAT[IOG_TARGETS] = { "", "a thread of this program", "a sandboxed process of its own",
	"a small virtual machine on /dev/kvm" };

static const struct iog_cli_opt targets_options[] = { { "json", 0, NULL, "the list as JSON" }, { .name = NULL } };

static int targets_run(int argc, char **argv)
{
	static const struct iog_cli_col col[] = { { "target", false, false }, { "a stage there is", false, false },
		{ "here", false, false } };
	struct iog_cli_args a = { .cmd = &iog_cmd_targets, .argc = argc, .argv = argv };
	bool json = false;
	for (int o; (o = iog_cli_next(&a)) != IOG_ARG_END; json = true)
		if (o == IOG_ARG_POSITIONAL)
			return iog_cli_usage(a.cmd, "takes no argument, got \"%s\"", a.value);
	if (a.done)
		return a.code;
	json_t *list = json_array();
	struct iog_cli_table *t = iog_cli_table_new(col, IOG_COUNT(col));
	for (unsigned i = IOG_T_HOST; i < IOG_TARGETS; i++) {
		const char *why = iog_target_reason((enum iog_target)i);
		char text[256];
		snprintf(text, sizeof text, why[0] ? "does not work: %s" : "works", why);
		iog_cli_table_cell(t, iog_target_name(i));
		iog_cli_table_cell(t, WHAT[i]);
		iog_cli_table_cell(t, text);
		json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "target", iog_target_name(i), "works", !why[0], "reason", why));
	}
	iog_cli_table_print(t, json ? NULL : stdout, "");
	if (json)
		return iog_cli_json(list);
	json_decref(list);
	return iog_cli_flush() ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

const struct iog_cli_cmd iog_cmd_targets = {
	.name = "targets",
	.args = "",
	.summary = "where stages can run on this machine",
	.about = "Tries each target, and says which of them work here and why the others do not. A stage that asks for one that does not "
		 "work runs on the next "
		 "best, and the summary of the run says so.",
	.examples = "iog targets\niog targets --json\n",
	.opt = targets_options,
	.run = targets_run,
};

/* Takes the place of the benches where a build has none. */
__attribute__((weak)) int iog_bench_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	fprintf(stderr, "iog bench: this program was built without the benches; build it from a complete tree with `make`\n");
	return IOG_EXIT_FAILED;
}

static const struct iog_cli_opt bench_options[] = {
	{ "json", 0, NULL, "one JSON object a figure" },
	{ "markdown", 0, "FILE", "writes the figures as a page, with date and machine" },
	{ "pairs", 0, "N", "measures so many pairs for each figure; 15 without it" },
	{ "seconds", 0, "S", "how long idle.cpu and mem.bound run; 10 and 600 without it" },
	{ "list", 0, NULL, "shows the figures and their targets, measures nothing" },
	{ .name = NULL },
};

static int bench_command(int argc, char **argv)
{
	/* Looked at here for help and misspelt options, then handed on as they are. */
	struct iog_cli_args a = { .cmd = &iog_cmd_bench, .argc = argc, .argv = argv };
	while (iog_cli_next(&a) != IOG_ARG_END)
		;
	return a.done ? a.code : iog_bench_main(argc, argv);
}

const struct iog_cli_cmd iog_cmd_bench = {
	.name = "bench",
	.args = "[PATTERN...]",
	.summary = "measures this program on this machine",
	.about = "Measures. Every figure is a ratio against a baseline that runs beside it in the same run, with the spread and whether "
		 "the target was met. A pattern "
		 "is a name, a part of one, or written with * and ?.",
	.examples = "iog bench edge --json\niog bench op.filter\niog bench --markdown RESULTS.md\n",
	.opt = bench_options,
	.run = bench_command,
};
