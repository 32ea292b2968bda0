/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture.lammps: what it costs a LAMMPS of 32,000 atoms to be captured every 10 steps. Processor time (user and system) of the whole program, from
 * exec to exit, with `iog capture` before it and without, in pairs. It has a core of its own; the agent, whose graph takes all positions, is on another one,
 * as docs/batch.md has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

enum { STEPS = 800, EVERY = 10, PAIRS = 20, CELLS = 20, WAIT_MS = 10000 };

static const char input[] =
	"units lj\nlattice fcc 0.8442\nregion box block 0 %d 0 %d 0 %d\ncreate_box 1 box\ncreate_atoms 1 box\nmass 1 1.0\n"
	"velocity all create 1.44 87287 loop geom\npair_style lj/cut 2.5\npair_coeff 1 1 1.0 1.0 2.5\nneighbor 0.3 bin\n"
	"neigh_modify delay 0 every 20 check no\nfix 1 all nve\nthermo 100\nrun %d\n";
static const char graph[] = "local iog = require \"iog\"\niog.source.stream \"md\":stats { \"position\" }:to(iog.sink.table { "
			    "\"%s/md.csv\", on_restart = \"truncate\" })\n";

struct side {
	struct bench_figure *f;
	char folder[64], input[96], graph[96], socket[96], csv[96], every[16], self[4096];
	unsigned cores[2]; /* of LAMMPS; of the agent */
};

static bool write_file(const char *path, const char *text)
{
	FILE *o = fopen(path, "w");
	return o && fputs(text, o) >= 0 && !fclose(o);
}

/* A child on this core, its output gone. */
static pid_t start(const struct side *s, unsigned core, const char *program, char *const *argv)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	sched_setaffinity(0, sizeof set, &set);
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (chdir(s->folder))
		_exit(127);
	execvp(program, argv);
	_exit(127);
}

/* Seconds of the processor that it took; negative: it failed. */
static double lasts(pid_t pid)
{
	struct rusage u;
	int status;
	if (pid < 0 || wait4(pid, &status, 0, &u) != pid || status)
		return -1;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double plain(void *ctx)
{
	const struct side *s = ctx;
	char *argv[] = { (char *)"lmp", (char *)"-in", (char *)s->input, (char *)"-log", (char *)"none", (char *)"-screen", (char *)"none",
		NULL };
	double t = lasts(start(s, s->cores[0], "lmp", argv));
	if (t < 0)
		bench_note(s->f, "lmp failed");
	return t;
}

static long rows(const char *path)
{
	long n = 0;
	FILE *i = fopen(path, "r");
	for (int c; i && (c = fgetc(i)) != EOF;)
		n += c == '\n';
	if (i)
		fclose(i);
	return n;
}

static double captured(void *ctx)
{
	struct side *s = ctx;
	char *agent[] = { (char *)"iog", (char *)"agent", (char *)"--quiet", (char *)"--once", (char *)"--socket", s->socket,
		(char *)"--load", s->graph, NULL };
	char *argv[] = { (char *)"iog", (char *)"capture", (char *)"--every", s->every, (char *)"--timeout", (char *)"30s",
		(char *)"--socket", s->socket, (char *)"--", (char *)"lmp", (char *)"-in", s->input, (char *)"-log", (char *)"none",
		(char *)"-screen", (char *)"none", NULL };
	struct stat st;
	unlink(s->csv);
	pid_t a = start(s, s->cores[1], s->self, agent);
	for (int ms = 0; stat(s->socket, &st) && ms < WAIT_MS; ms++)
		usleep(1000);
	double t = lasts(start(s, s->cores[0], s->self, argv));
	bool took = lasts(a) >= 0 && rows(s->csv) == 1 + 1 + STEPS / EVERY;
	if (t < 0 || !took) {
		bench_note(s->f, t < 0 ? "captured, lmp failed" : "the graph did not get every step");
		return -1;
	}
	return t;
}

static bool prepare(struct side *s)
{
	char text[sizeof input + 64];
	cpu_set_t set;
	int n = 0;
	sched_getaffinity(0, sizeof set, &set);
	for (unsigned c = 0; c < CPU_SETSIZE && n < 2; c++)
		if (CPU_ISSET(c, &set))
			s->cores[n++] = c;
	if (n < 2)
		s->cores[1] = s->cores[0];
	ssize_t len = readlink("/proc/self/exe", s->self, sizeof s->self - 1);
	snprintf(s->folder, sizeof s->folder, "/tmp/iog-bench-XXXXXX");
	if (len <= 0 || !mkdtemp(s->folder))
		return false;
	snprintf(s->input, sizeof s->input, "%s/in.melt", s->folder);
	snprintf(s->graph, sizeof s->graph, "%s/md.lua", s->folder);
	snprintf(s->socket, sizeof s->socket, "%s/agent", s->folder);
	snprintf(s->csv, sizeof s->csv, "%s/md.csv", s->folder);
	snprintf(s->every, sizeof s->every, "%d", EVERY);
	snprintf(text, sizeof text, input, CELLS, CELLS, CELLS, STEPS);
	bool ok = write_file(s->input, text);
	snprintf(text, sizeof text, graph, s->folder);
	return ok && write_file(s->graph, text);
}

void bench_capture_lammps(struct bench_figure *f)
{
	static struct side s;
	s.f = f;
	if (system("command -v lmp >/dev/null")) {
		bench_skip(f, "lmp is not installed (Debian package lammps)");
		return;
	}
	if (!prepare(&s)) {
		bench_skip(f, "no folder for its files: %s", strerror(errno));
		return;
	}
	f->pairs = f->pairs < PAIRS ? PAIRS : f->pairs;
	bench_pairs(f, captured, plain, &s);
	f->value = f->ours;
	snprintf(f->unit, sizeof f->unit, "s");
	if (f->measured)
		bench_note(f, "%d steps, %.3g s without; start and end included%s", STEPS, f->base,
			s.cores[0] == s.cores[1] ? "; only one core, shared with the agent" : "");
	unlink(s.input);
	unlink(s.graph);
	unlink(s.csv);
	rmdir(s.folder);
}
