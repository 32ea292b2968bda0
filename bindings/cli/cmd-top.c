/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `iog top`: what an agent does now. On a terminal a view that is drawn anew each second until q or Ctrl-C; elsewhere what happened in one second, as
 * text or JSON. One thread; it leaves the terminal as it was, however it ends.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"
#include "control.h"
#include "core/param.h"
#include "runtime/host/wait.h"
#include "signals.h"
#include "top.h"

static const struct iog_cli_opt options[] = { IOG_CLI_SOCKET, { "once", 0, NULL, "one interval as text, also on a terminal" },
	{ "json", 0, NULL, "one interval as JSON" }, { "count", 0, "N", "ends after N intervals" },
	{ "interval", 0, "SECONDS", "between two looks, at least 0.1 (default 1)" }, { .name = NULL } };
enum { SOCKET, ONCE, JSON, COUNT, INTERVAL };
enum { TEXT_MAX = 4 << 20 };

extern const struct iog_cli_cmd iog_cmd_top;

struct request {
	const char *where;
	bool once, json, live;
	uint64_t count;
	double interval;
};

/* ---- asking ---- */

struct answer {
	char *text;
	size_t used;
	struct iog_err err;
};

static bool add(void *ctx, char *text)
{
	struct answer *a = ctx;
	const size_t n = strlen(text);
	char *more = a->used + n < TEXT_MAX ? realloc(a->text, a->used + n + 1) : NULL;
	if (!more) {
		iog_fail(&a->err, -ENOMEM, "out of memory for what the agent says");
		return false;
	}
	a->text = more;
	memcpy(a->text + a->used, text, n + 1);
	a->used += n;
	return true;
}

static bool look(int sock, struct iog_top *t)
{
	struct answer a = { .used = 0 };
	if (add(&a, (char[]){ "" }) && iog_cli_list(sock, IOG_MSG_TOP, add, &a, &a.err))
		return iog_top_parse(t, a.text);
	free(a.text);
	iog_cli_complain(&a.err);
	return false;
}

/* ---- the terminal ---- */

static struct termios before;
static bool raw;

static void terminal_restore(void)
{
	if (!raw)
		return;
	raw = false;
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
}

/* Keys come one by one and are not shown; the screen of before is kept. */
static void terminal_take(void)
{
	struct termios t;
	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before))
		return;
	t = before;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	t.c_cc[VMIN] = 0, t.c_cc[VTIME] = 0;
	raw = !tcsetattr(STDIN_FILENO, TCSANOW, &t);
	atexit(terminal_restore);
	fputs("\033[?1049h\033[?25l", stdout);
}

/* Columns that a line has; sequences of the terminal take none, a character of UTF-8 one. Returns the bytes that fit into `columns`. */
static size_t fits(const char *s, size_t length, unsigned columns)
{
	unsigned n = 0;
	size_t i = 0;
	while (i < length) {
		if (s[i] == '\033') {
			while (i < length && s[i] != 'm')
				i++;
			i += i < length;
			continue;
		}
		if (n == columns)
			break;
		n++;
		for (i++; i < length && (s[i] & 0xc0) == 0x80; i++)
			;
	}
	return i;
}

/* As much of the text as the window shows; the size is asked for each time, so a window that changes is filled at the next look. */
static void draw(const char *text)
{
	struct winsize w = { 0 };
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_row || !w.ws_col)
		w.ws_row = 24, w.ws_col = 80;
	fputs("\033[H", stdout);
	unsigned row = 1;
	for (; *text && row < w.ws_row; row++) {
		const size_t length = strcspn(text, "\n");
		fwrite(text, 1, fits(text, length, w.ws_col), stdout);
		fputs("\033[0m\033[K\n", stdout);
		text += length + (text[length] == '\n');
	}
	printf("\033[J%s", *text ? "... (more than the window shows)" : "");
	fflush(stdout);
}

/* Waits; true: the user wants to end. */
static bool pause_for(double seconds)
{
	const uint64_t until = iog_now_ns() + (uint64_t)(seconds * 1e9);
	for (uint64_t now; !iog_cli_signals_seen() && (now = iog_now_ns()) < until;) {
		struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
		const int ms = (int)IOG_MIN((until - now) / 1000000 + 1, (uint64_t)50);
		if (!raw) {
			poll(NULL, 0, ms);
			continue;
		}
		char key;
		if (poll(&p, 1, ms) > 0 && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
			return true;
	}
	return iog_cli_signals_seen();
}

/* ---- the command ---- */

static bool show(const struct request *r, const struct iog_top *old, const struct iog_top *now)
{
	if (r->json)
		return iog_cli_json(iog_top_json(old, now)) == IOG_EXIT_OK;
	if (!r->live) {
		iog_top_print(stdout, old, now);
		return iog_cli_flush();
	}
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	if (!f)
		return false;
	iog_top_print(f, old, now);
	if (!fclose(f))
		draw(text);
	free(text);
	return true;
}

static int watch(const struct request *r, int sock)
{
	struct iog_top old, now;
	int code = IOG_EXIT_OK;
	if (!look(sock, &old))
		return IOG_EXIT_FAILED;
	if (r->live) {
		terminal_take();
		show(r, &old, &old);
	}
	for (uint64_t n = 0; (!r->count || n < r->count) && !pause_for(r->interval); n++) {
		if (!look(sock, &now) || !show(r, &old, &now)) {
			code = IOG_EXIT_FAILED;
			break;
		}
		if (!r->live && !r->json && n + 1 < r->count)
			printf("\n");
		iog_top_free(&old);
		old = now;
	}
	iog_top_free(&old);
	terminal_restore();
	if (code && r->live) /* what was said is on the screen that is gone */
		fprintf(stderr, "iog: the agent has ended, or does not answer\n");
	return code;
}

static int top_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_top, .argc = argc, .argv = argv };
	struct request r = { .interval = 1 };
	for (int o; (o = iog_cli_next(&a)) != IOG_ARG_END;)
		switch (o) {
		case SOCKET: r.where = a.value; break;
		case ONCE: r.once = true; break;
		case JSON: r.json = true; break;
		case COUNT: iog_cli_number(&a, "count", 1, &r.count); break;
		case INTERVAL:
			if (!iog_parse_seconds(a.value, &r.interval) || !(r.interval >= 0.1 && r.interval <= 3600))
				return iog_cli_usage(a.cmd, "--interval wants 0.1 to 3600 seconds, got \"%s\"", a.value);
			break;
		default: return iog_cli_usage(a.cmd, "takes no argument, got \"%s\"", a.value);
		}
	if (a.done)
		return a.code;
	r.live = !r.once && !r.json && isatty(STDOUT_FILENO);
	if (!r.live && !r.count)
		r.count = 1;
	iog_cli_signals_watch();
	struct iog_err err = { "" };
	int sock = iog_cli_agent(r.where, &err);
	if (sock < 0) {
		iog_cli_complain(&err);
		return IOG_EXIT_FAILED;
	}
	int code = watch(&r, sock);
	close(sock);
	return code;
}

const struct iog_cli_cmd iog_cmd_top = { .name = "top",
	.args = "",
	.summary = "what an agent does now",
	.about = "Graphs with their nodes: records and bytes a second, how full the queues before them are, what was dropped, how long a "
		 "record took from "
		 "its source until it was stored (half of them at most p50, all but one in a hundred p99), CPU time. Streams with the "
		 "programs that write "
		 "them, and the share of time these were blocked, and those that read.\n\n"
		 "On a terminal it is drawn anew each second; q or Ctrl-C ends it. Elsewhere, and with --once or --json, it shows one "
		 "interval.",
	.examples = "iog top\niog top --once\niog top --json --count 10 --interval 0.5s\n",
	.opt = options,
	.run = top_run };
