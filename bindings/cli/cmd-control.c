/* SPDX-License-Identifier: BSD-3-Clause */
/* `iog ps`, `load`, `unload`, `set`: what one says to a running agent. One thread; every wait has an end. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli.h"
#include "control.h"

static const struct iog_cli_opt options[] = { IOG_CLI_SOCKET, { .name = NULL } };
static const struct iog_cli_opt ps_options[] = { IOG_CLI_SOCKET, { "json", 0, NULL, "the list as JSON" }, { .name = NULL } };
static const struct iog_cli_opt load_options[] = { IOG_CLI_SOCKET,
	{ "replace", 0, "NAME", "in the place of this graph, without losing a step" }, { .name = NULL } };

extern const struct iog_cli_cmd iog_cmd_ps, iog_cmd_load, iog_cmd_unload, iog_cmd_set;

/* A graph that is replaced must end first. */
static const uint64_t REPLACE_NS = 120000000000ull;

int iog_cli_agent(const char *where, struct iog_err *err)
{
	static struct iog_msg m;
	char path[128];
	int fds[1];
	uint32_t n = 1;
	int sock = iog_attach_path(where, false, path, sizeof path, err);
	if (!sock)
		sock = iog_attach_connect(path, IOG_CLI_LIMIT_NS, err);
	if (sock < 0)
		return -1;
	m = (struct iog_msg){
		.kind = IOG_MSG_HELLO, .a = IOG_ATTACH_MAJOR << 16 | IOG_ATTACH_MINOR, .b = (uint32_t)getpid(), .safe = 1, .text = "iog"
	};
	int rc = iog_msg_send(sock, &m, NULL, 0, IOG_CLI_LIMIT_NS, err);
	if (!rc)
		rc = iog_msg_recv(sock, &m, fds, &n, IOG_CLI_LIMIT_NS, err);
	if (rc == 1 && n)
		close(fds[0]);
	if (rc == 1 && m.kind == IOG_MSG_WELCOME)
		return sock;
	if (rc >= 0 || !err->text[0])
		iog_fail(err, -EPROTO, "%s", rc == 1 ? m.text : rc == 0 ? "the agent closed the connection" : "the agent does not answer");
	close(sock);
	return -1;
}

int iog_cli_answer(int sock, struct iog_msg *m, uint64_t limit_ns, struct iog_err *err)
{
	uint32_t n = 0;
	int rc = iog_msg_recv(sock, m, NULL, &n, limit_ns, err);
	if (rc == 1 && m->kind == IOG_MSG_RESULT)
		return 1;
	if (rc == 1 && m->kind == IOG_MSG_ERROR)
		iog_fail(err, -EINVAL, "%s", m->text);
	return 0;
}

bool iog_cli_list(int sock, uint32_t kind, bool (*each)(void *ctx, char *text), void *ctx, struct iog_err *err)
{
	static struct iog_msg m;
	m = (struct iog_msg){ .kind = kind };
	if (iog_msg_send(sock, &m, NULL, 0, IOG_CLI_LIMIT_NS, err))
		return false;
	while (iog_cli_answer(sock, &m, IOG_CLI_LIMIT_NS, err)) {
		if (!m.a)
			return true;
		if (!each(ctx, m.text))
			return false;
	}
	return false;
}

void iog_cli_complain(const struct iog_err *err)
{
	iog_cli_print(stderr, "iog: %s\n", err->text[0] ? err->text : "the agent does not answer");
}

static int ask(const char *where, struct iog_msg *m, uint64_t limit_ns)
{
	struct iog_err err = { "" };
	int sock = iog_cli_agent(where, &err), code = IOG_EXIT_FAILED;
	if (sock >= 0 && !iog_msg_send(sock, m, NULL, 0, IOG_CLI_LIMIT_NS, &err) && iog_cli_answer(sock, m, limit_ns, &err))
		code = IOG_EXIT_OK;
	if (code)
		iog_cli_complain(&err);
	if (sock >= 0)
		close(sock);
	return code;
}

/* The arguments of a command that wants `count` of them; false when there is nothing to do. */
static bool arguments(struct iog_cli_args *a, const char **where, const char **arg, uint32_t count, bool *json)
{
	uint32_t n = 0;
	for (int o; (o = iog_cli_next(a)) != IOG_ARG_END;) {
		if (o == 0) {
			*where = a->value;
		} else if (o == 1) {
			*json = true;
		} else if (n == count) {
			a->code = iog_cli_usage(a->cmd, "takes no more arguments, got \"%s\"", a->value);
			a->done = true;
		} else {
			arg[n++] = a->value;
		}
	}
	if (!a->done && n < count) {
		a->code = iog_cli_usage(a->cmd, "wants %s", a->cmd->args);
		a->done = true;
	}
	return !a->done;
}

/* ---- ps ---- */

enum { FIELDS = 6 };
static void split(char *line, char *field[FIELDS])
{
	for (int i = 0; i < FIELDS; i++) {
		field[i] = line;
		line += strcspn(line, i < FIELDS - 1 ? "\t" : "");
		if (*line)
			*line++ = 0;
	}
}

struct listing {
	struct iog_cli_table *graphs, *streams;
	json_t *gs, *ss;
};

static bool list_line(void *ctx, char *text)
{
	struct listing *l = ctx;
	char *f[FIELDS];
	split(text, f);
	const bool graph = !strcmp(f[0], "graph");
	for (int i = 1; i < (graph ? FIELDS - 1 : FIELDS); i++)
		iog_cli_table_cell(graph ? l->graphs : l->streams, f[i]);
	if (graph)
		json_array_append_new(l->gs, json_pack("{s:o,s:s,s:I,s:o}", "name", iog_cli_text(f[1]), "state", f[2], "delivered",
						     (json_int_t)atoll(f[3]), "text", iog_cli_text(f[4])));
	else
		json_array_append_new(l->ss, json_pack("{s:o,s:s,s:s,s:I,s:o}", "name", iog_cli_text(f[1]), "state", f[2], "ranks", f[3],
						     "readers", (json_int_t)atoll(f[4]), "job", iog_cli_text(f[5])));
	return true;
}

static int ps_run(int argc, char **argv)
{
	static const struct iog_cli_col graphs[] = { { "graph", false, false }, { "state", false, false }, { "delivered", true, false },
		{ "", false, true } };
	static const struct iog_cli_col streams[] = { { "stream", false, false }, { "state", false, false }, { "ranks", false, false },
		{ "readers", true, false }, { "job", false, true } };
	struct iog_cli_args a = { .cmd = &iog_cmd_ps, .argc = argc, .argv = argv };
	struct iog_err err = { "" };
	const char *where = NULL;
	bool json = false;
	if (!arguments(&a, &where, NULL, 0, &json))
		return a.code;
	int sock = iog_cli_agent(where, &err);
	if (sock < 0) {
		iog_cli_complain(&err);
		return IOG_EXIT_FAILED;
	}
	struct listing l = { .graphs = iog_cli_table_new(graphs, IOG_COUNT(graphs)),
		.streams = iog_cli_table_new(streams, IOG_COUNT(streams)),
		.gs = json_array(),
		.ss = json_array() };
	const bool ok = iog_cli_list(sock, IOG_MSG_PS, list_line, &l, &err);
	close(sock);
	if (!ok)
		iog_cli_complain(&err);
	iog_cli_table_print(l.graphs, json || !ok ? NULL : stdout, "");
	iog_cli_table_print(l.streams, json || !ok ? NULL : stdout, "");
	json_t *all = json_pack("{s:o,s:o}", "graphs", l.gs, "streams", l.ss);
	if (json && ok)
		return iog_cli_json(all);
	json_decref(all);
	return iog_cli_flush() && ok ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

static bool waits_line(void *waits, char *text)
{
	char *f[FIELDS];
	split(text, f);
	*(bool *)waits |= !strcmp(f[0], "graph") && !strcmp(f[2], "waits");
	return true;
}

bool iog_cli_graph_waits(const char *where)
{
	struct iog_err err = { "" };
	bool waits = false;
	int sock = iog_cli_agent(where, &err);
	if (sock < 0)
		return false;
	iog_cli_list(sock, IOG_MSG_PS, waits_line, &waits, &err);
	close(sock);
	return waits;
}

/* ---- load, unload, set ---- */

/* "dir/heat.lua" is the graph heat. */
void iog_cli_graph_name(const char *path, char *name, size_t size)
{
	const char *base = strrchr(path, '/');
	iog_strset(name, size, base ? base + 1 : path);
	char *dot = strrchr(name, '.');
	if (dot && dot != name)
		*dot = 0;
}

static int load_run(int argc, char **argv)
{
	enum { SOCKET, REPLACE };
	struct iog_cli_args a = { .cmd = &iog_cmd_load, .argc = argc, .argv = argv };
	static struct iog_msg m;
	const char *where = NULL, *old = NULL, *file = NULL, *name = NULL;
	for (int o; (o = iog_cli_next(&a)) != IOG_ARG_END;)
		switch (o) {
		case SOCKET: where = a.value; break;
		case REPLACE: old = a.value; break;
		default:
			if (name)
				return iog_cli_usage(a.cmd, "takes no more arguments, got \"%s\"", a.value);
			*(file ? &name : &file) = a.value;
		}
	if (a.done)
		return a.code;
	if (!file || (old && name))
		return iog_cli_usage(
			a.cmd, file ? "takes no name of its own with --replace, which keeps the one there is" : "wants FILE [NAME]");
	char full[4096];
	if (!realpath(file, full)) {
		fprintf(stderr, "iog: %s: there is no such file\n", file);
		return IOG_EXIT_FAILED;
	}
	m = (struct iog_msg){ .kind = IOG_MSG_LOAD, .a = old != NULL };
	iog_strset(m.text, sizeof m.text, full);
	if (old || name)
		iog_strset(m.name, sizeof m.name, old ? old : name);
	else
		iog_cli_graph_name(file, m.name, sizeof m.name);
	return ask(where, &m, old ? REPLACE_NS : IOG_CLI_LIMIT_NS);
}

static int unload_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_unload, .argc = argc, .argv = argv };
	static struct iog_msg m;
	const char *where = NULL, *arg[1] = { NULL };
	if (!arguments(&a, &where, arg, 1, NULL))
		return a.code;
	m = (struct iog_msg){ .kind = IOG_MSG_UNLOAD };
	iog_strset(m.name, sizeof m.name, arg[0]);
	return ask(where, &m, IOG_CLI_LIMIT_NS);
}

static int set_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_set, .argc = argc, .argv = argv };
	static struct iog_msg m;
	const char *where = NULL, *arg[1] = { NULL };
	if (!arguments(&a, &where, arg, 1, NULL))
		return a.code;
	const char *is = strchr(arg[0], '=');
	char *end = NULL;
	m = (struct iog_msg){ .kind = IOG_MSG_SET };
	if (is && is != arg[0] && (size_t)(is - arg[0]) < sizeof m.name)
		m.number = strtod(is + 1, &end);
	if (!end || *end || end == is + 1)
		return iog_cli_usage(a.cmd, "wants NAME=NUMBER, got \"%s\"", arg[0]);
	memcpy(m.name, arg[0], (size_t)(is - arg[0]));
	return ask(where, &m, IOG_CLI_LIMIT_NS);
}

const struct iog_cli_cmd iog_cmd_ps = { .name = "ps",
	.args = "",
	.summary = "what an agent has: graphs and streams",
	.about = "Lists the graphs of the agent and their states, and the streams that programs publish.",
	.examples = "iog ps\niog ps --json\n",
	.opt = ps_options,
	.run = ps_run };
const struct iog_cli_cmd iog_cmd_load = { .name = "load",
	.args = "FILE [NAME]",
	.summary = "loads a graph into an agent",
	.about = "The graph starts when all streams it takes are there. Its name is that of the file, unless another one is given.\n\n"
		 "With --replace it takes the place of a graph that is loaded. That one ends in order, all its files complete; then the "
		 "new one "
		 "starts with the very next step of each stream both take. Programs wait meanwhile as they do for a slow graph. If the new "
		 "one "
		 "cannot start, the former one starts again, and the command fails.",
	.examples = "iog load heat.lua\niog load --replace heat finer.lua\n",
	.opt = load_options,
	.run = load_run };
const struct iog_cli_cmd iog_cmd_unload = { .name = "unload",
	.args = "NAME",
	.summary = "ends a graph of an agent",
	.about = "In order: what is on its way arrives, sinks are flushed.",
	.examples = "iog unload heat\n",
	.opt = options,
	.run = unload_run };
const struct iog_cli_cmd iog_cmd_set = { .name = "set",
	.args = "NAME=VALUE",
	.summary = "sets a live parameter of an agent's graphs",
	.about = "From the next record on, in every graph that runs and has it.",
	.examples = "iog set cutoff=0.3\n",
	.opt = options,
	.run = set_run };
