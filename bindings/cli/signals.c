/* SPDX-License-Identifier: BSD-3-Clause */
/* Counting signals, and the limit of open files, for `iog run`, `agent` and `top`; see signals.h. Any thread may take a signal. */
#include "signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "cli.h"

static atomic_int seen, last;

static void on_signal(int s)
{
	last = s;
	if (++seen < 3)
		return;
	signal(s, SIG_DFL);
	raise(s); /* delivered on return */
}

void iog_cli_signals_watch(void)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, old;
	sigemptyset(&a.sa_mask);
	for (unsigned i = 0; i < IOG_COUNT(ends); i++)
		/* nohup and shells that start us in the background have their reasons to ignore some. */
		if (!sigaction(ends[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(ends[i], &a, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int iog_cli_signals_seen(void) { return seen; }
int iog_cli_signals_last(void) { return last; }

void iog_cli_allow_files(void)
{
	struct rlimit l;
	if (!getrlimit(RLIMIT_NOFILE, &l) && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}
