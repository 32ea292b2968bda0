/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings, attachment, streams and closing line of a captured program (capture.h). Runs on the thread of the program that publishes. */
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture.h"

enum { STREAMS = 16, LINE = 700 };
/* At the end: readers keep what was committed without us, so nothing is lost by not waiting longer. */
static const double CLOSE_S = 1;

static struct {
	iog_stream *stream;
	char name[64];
} open_streams[STREAMS];
static unsigned n_streams, n_opened;
static iog *io;
static pid_t owner; /* of io; a child of fork() is somebody else */
static int my_rank;
static char first_name[64];
static iog_stats total;
static uint64_t lost;
static char why_lost[LINE / 2], note[LINE / 2];

static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value && value[0] ? value : NULL;
}

bool iog_capture_wanted(void)
{
	static int wanted = -1;
	if (wanted < 0) {
		const char *kind = setting("IOG_CAPTURE");
		wanted = kind && !strcmp(kind, iog_capture_library.kind);
	}
	return wanted;
}

const char *iog_capture_name(const char *usual)
{
	const char *name = setting("IOG_CAPTURE_STREAM");
	return name ? name : usual;
}

int64_t iog_capture_every(void)
{
	static int64_t every;
	if (!every) {
		const char *text = setting("IOG_CAPTURE_EVERY");
		every = text ? strtoll(text, NULL, 10) : 1;
		if (every < 1)
			every = 1;
	}
	return every;
}

/* As the launcher has put it into the environment; without one we are the first. */
static bool is_first_rank(void)
{
	static const char *const names[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID" };
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (setting(names[i]))
			return !atoi(setting(names[i]));
	return true;
}

static void keep_first(char *text, const char *fmt, va_list ap)
{
	if (!text[0])
		vsnprintf(text, LINE / 2, fmt, ap);
}

void iog_capture_lost(const char *fmt, ...)
{
	va_list ap;
	lost++;
	va_start(ap, fmt);
	keep_first(why_lost, fmt, ap);
	va_end(ap);
}

void iog_capture_note(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	keep_first(note, fmt, ap);
	va_end(ap);
}

void *iog_capture_next(const char *symbol) { return dlsym(RTLD_NEXT, symbol); }

iog *iog_capture_io(void)
{
	if (!io) {
		io = iog_attach(NULL);
		owner = getpid();
	}
	return io;
}

iog_stream *iog_capture_open(const char *name, const char *schema, const char *usual, int rank, int nranks)
{
	const char *policy = setting("IOG_CAPTURE_POLICY"), *timeout = setting("IOG_CAPTURE_TIMEOUT");
	char options[256];
	/* What comes later counts. */
	snprintf(options, sizeof options, "timeout=1s patience=3 %s%s%s%s%s", usual ? usual : "", policy ? " policy=" : "",
		policy ? policy : "", timeout ? " timeout=" : "", timeout ? timeout : "");
	iog_stream *s = iog_open(iog_capture_io(), name, schema, options, rank, nranks);
	if (!n_opened++)
		snprintf(first_name, sizeof first_name, "%s", name);
	my_rank = rank;
	for (unsigned i = 0; i < STREAMS; i++)
		if (!open_streams[i].stream) {
			open_streams[i].stream = s;
			if (n_streams <= i)
				n_streams = i + 1;
			break;
		}
	return s;
}

void iog_capture_close(iog_stream *s)
{
	iog_stats x;
	for (unsigned i = 0; i < n_streams; i++)
		if (open_streams[i].stream == s)
			open_streams[i].stream = NULL;
	iog_stream_stats(s, &x);
	total.records += x.records;
	total.dropped += x.dropped;
	total.skipped += x.skipped;
	total.blocked_s += x.blocked_s;
	iog_close(s, CLOSE_S);
}

/* One line, written at once, so that those of several ranks do not mix. Nobody may be reading any more: that is no reason to die of. */
__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction before;
	char line[LINE];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof line) {
		n = sizeof line;
		line[n - 1] = '\n';
	}
	if (sigaction(SIGPIPE, &ignore, &before))
		return;
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		n = 0;
	sigaction(SIGPIPE, &before, NULL);
}

static void closing_line(void)
{
	char rank[32] = "", left_out[96] = "", waited[64] = "";
	const uint64_t dropped = total.dropped + lost;
	const char *error = iog_error(io), *why = why_lost[0] ? why_lost : error[0] ? error : note;
	/* All ranks of a node would say the same, but for what each has dropped. */
	if (my_rank && !dropped)
		return;
	if (my_rank)
		snprintf(rank, sizeof rank, "rank %d: ", my_rank);
	if (dropped)
		snprintf(left_out, sizeof left_out, ", %llu dropped", (unsigned long long)dropped);
	else if (total.skipped)
		snprintf(left_out, sizeof left_out, ", %llu that nobody wanted", (unsigned long long)total.skipped);
	if (total.blocked_s > 0.1)
		snprintf(waited, sizeof waited, ", %.1f s waited for readers", total.blocked_s);
	say("iograph capture: %s%llu steps of stream %s%s published%s%s%s%s\n", rank, (unsigned long long)total.records, first_name,
		n_opened > 1 ? " and others" : "", left_out, waited, why[0] ? "; " : "", why);
}

__attribute__((destructor)) static void finish(void)
{
	if (!iog_capture_wanted() || (owner && owner != getpid()))
		return;
	if (iog_capture_library.finish)
		iog_capture_library.finish();
	for (unsigned i = 0; i < n_streams; i++)
		if (open_streams[i].stream)
			iog_capture_close(open_streams[i].stream);
	if (n_opened)
		closing_line();
	else if (note[0] && is_first_rank())
		say("iograph capture: %s\n", note);
	iog_detach(io);
	io = NULL;
}
