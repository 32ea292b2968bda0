/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `iog capture`: runs a program that knows nothing of IOgraphs so that its output is published as a stream. Finds out how, puts the settings into the
 * environment of the program (of its ranks, behind a launcher), and becomes the program; with --graph it stays as its parent, and runs an agent
 * meanwhile. One thread.
 */
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "control.h"
#include "core/param.h"
#include "runtime/host/attach.h"

/* ---- kinds ---- */

/* A way to capture. */
struct capture_kind {
	const char *name, *summary;
	const char *library;         /* preloaded, without .so; NULL: none */
	const char *const *programs; /* patterns: one of the words of the command line is such a program; NULL: only by --as */
	bool by_mpi;                 /* there is a library for each MPI: -openmpi, -mpich */
};

static const char *const lammps_programs[] = { "lmp", "lmp_*", "lammps", "lmp-*", NULL };

static const struct capture_kind kinds[] = {
	{ "lammps", "atoms of LAMMPS, at every step of run and minimize", "lammps", lammps_programs, false },
	{ "mpiio", "files written through MPI-IO, HDF5 on it among them", "mpiio", NULL, true },
	{ "stdio", "files written by other means (--files)", "stdio", NULL, false },
	{ "fifo", "what is written into a FIFO, by its name (--fifo)", NULL, NULL, false },
};

static bool is_program(const char *word, const char *const *programs)
{
	const char *base = strrchr(word, '/');
	for (base = base ? base + 1 : word; programs && *programs; programs++)
		if (!fnmatch(*programs, base, 0))
			return true;
	return false;
}

/* The first word of the command line that is a program we know says how. */
static const struct capture_kind *detect(char *const *argv)
{
	for (; *argv; argv++)
		for (unsigned i = 0; i < IOG_COUNT(kinds); i++)
			if (is_program(*argv, kinds[i].programs))
				return &kinds[i];
	return NULL;
}

static const struct capture_kind *kind_named(const char *name)
{
	for (unsigned i = 0; i < IOG_COUNT(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

static int list_kinds(void)
{
	static const struct iog_cli_col col[] = { { "kind", false, false }, { "what is captured", false, false },
		{ "picked for", false, false } };
	struct iog_cli_table *t = iog_cli_table_new(col, IOG_COUNT(col));
	for (unsigned i = 0; i < IOG_COUNT(kinds); i++) {
		char programs[256] = "only with --as";
		size_t n = 0;
		for (const char *const *p = kinds[i].programs; p && *p && n < sizeof programs; p++)
			n += (size_t)snprintf(programs + n, sizeof programs - n, "%s%s", n ? ", " : "", *p);
		iog_cli_table_cell(t, kinds[i].name);
		iog_cli_table_cell(t, kinds[i].summary);
		iog_cli_table_cell(t, programs);
	}
	iog_cli_table_print(t, stdout, "");
	return iog_cli_flush() ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

/* ---- launchers ---- */

enum launcher { NONE, OPEN_MPI, HYDRA, SRUN };

/* The beginning of what a program prints. */
static void output_of(char *const *argv, char *text, size_t size)
{
	int fd[2];
	text[0] = 0;
	if (pipe(fd))
		return;
	pid_t child = fork();
	if (!child) {
		dup2(fd[1], STDOUT_FILENO);
		dup2(fd[1], STDERR_FILENO);
		close(fd[0]);
		close(fd[1]);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(fd[1]);
	size_t n = 0;
	for (ssize_t got; n < size - 1 && (got = read(fd[0], text + n, size - 1 - n)) > 0;)
		n += (size_t)got;
	close(fd[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	text[n] = 0;
}

/* What `mpirun --version` says. */
static enum launcher which_mpi(const char *program)
{
	char text[512];
	output_of((char *[]){ (char *)program, (char *)"--version", NULL }, text, sizeof text);
	return strstr(text, "Open MPI") || strstr(text, "OpenRTE") || strstr(text, "PRRTE") ? OPEN_MPI
	       : strstr(text, "HYDRA")                                                      ? HYDRA
											    : NONE;
}

static enum launcher launcher(const char *program)
{
	static const char *const mpi[] = { "mpirun*", "mpiexec*", "orterun", "prterun", NULL }, *const slurm[] = { "srun", NULL };
	return is_program(program, slurm) ? SRUN : is_program(program, mpi) ? which_mpi(program) : NONE;
}

/* Which MPI the ranks of the command use, as its libraries are named: what the launcher says, or what a program among the words is linked with. */
static const char *mpi_of(char *const *argv)
{
	const enum launcher l = launcher(argv[0]);
	if (l == OPEN_MPI || l == HYDRA)
		return l == OPEN_MPI ? "-openmpi" : "-mpich";
	for (; *argv; argv++) {
		char text[16384];
		output_of((char *[]){ (char *)"sh", (char *)"-c", (char *)"ldd \"$(command -v -- \"$0\")\"", *argv, NULL }, text,
			sizeof text);
		if (strstr(text, "libmpich.so") || strstr(text, "libmpi.so.12"))
			return "-mpich";
		if (strstr(text, "libmpi.so.40") || strstr(text, "libopen-pal.so"))
			return "-openmpi";
	}
	return NULL;
}

/* ---- the environment of the program ---- */

enum { VARIABLES = 32, ARGUMENTS = 4096 };
struct plan {
	const struct capture_kind *kind;
	const char *variable[VARIABLES]; /* NAME=VALUE */
	unsigned n;
	char *argv[ARGUMENTS];
};

/* Kept until the program is replaced. */
__attribute__((format(printf, 2, 3))) static bool add(struct plan *p, const char *fmt, ...)
{
	va_list ap;
	char *text;
	va_start(ap, fmt);
	int n = p->n < VARIABLES ? vasprintf(&text, fmt, ap) : -1;
	va_end(ap);
	if (n >= 0)
		p->variable[p->n++] = text;
	return n >= 0;
}

/* Beside the program in a tree that was built; in lib/iograph of where it was installed. */
static bool library_folder(char *folder, size_t size)
{
	static const char *const places[] = { "capture", "../lib/iograph" };
	char self[PATH_MAX], full[PATH_MAX], there[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = 0;
	char *slash = strrchr(self, '/');
	if (!slash)
		return false;
	*slash = 0;
	for (unsigned i = 0; i < IOG_COUNT(places); i++) {
		if (snprintf(full, sizeof full, "%s/%s", self, places[i]) < (int)sizeof full && realpath(full, there) &&
			snprintf(folder, size, "%s", there) < (int)size)
			return true;
	}
	return false;
}

static int preload(struct plan *p, char *const *argv)
{
	char folder[PATH_MAX], path[PATH_MAX + 64];
	const char *mpi = p->kind->by_mpi ? mpi_of(argv) : "";
	if (!p->kind->library)
		return IOG_EXIT_OK;
	if (!library_folder(folder, sizeof folder)) {
		fprintf(stderr, "iog capture: the libraries for capturing are neither beside this program nor in lib/iograph; build or "
				"install them\n");
		return IOG_EXIT_FAILED;
	}
	if (!mpi) {
		fprintf(stderr,
			"iog capture: cannot tell which MPI \"%s\" uses; put `iog capture` before mpirun, or name its program here\n",
			argv[0]);
		return IOG_EXIT_FAILED;
	}
	snprintf(path, sizeof path, "%s/%s%s.so", folder, p->kind->library, mpi);
	if (access(path, R_OK)) {
		fprintf(stderr, "iog capture: %s: %s; this build cannot capture %s\n", path, strerror(errno), p->kind->name);
		return IOG_EXIT_FAILED;
	}
	if (strpbrk(path, ": ")) {
		fprintf(stderr, "iog capture: %s cannot be preloaded: the loader takes no path with a colon or a space\n", path);
		return IOG_EXIT_FAILED;
	}
	const char *others = getenv("LD_PRELOAD");
	return add(p, "LD_PRELOAD=%s%s%s", path, others && *others ? ":" : "", others ? others : "") ? IOG_EXIT_OK : IOG_EXIT_FAILED;
}

/*
 * The settings reach the ranks by options of the launcher where it has some, so that it is not captured itself; otherwise by its environment,
 * which is inherited.
 */
static int command(struct plan *p, char *const *argv)
{
	const enum launcher l = launcher(argv[0]);
	unsigned n = 0;
	p->argv[n++] = argv[0];
	for (unsigned i = 0; i < p->n; i++) {
		const char *v = p->variable[i], *is = strchr(v, '=');
		char name[128];
		snprintf(name, sizeof name, "%.*s", (int)(is - v), v);
		if (l == OPEN_MPI) {
			p->argv[n++] = (char *)"-x";
			p->argv[n++] = (char *)v;
		} else if (l == HYDRA) {
			p->argv[n++] = (char *)"-genv";
			p->argv[n++] = strdup(name);
			p->argv[n++] = (char *)is + 1;
		} else if (setenv(name, is + 1, 1)) {
			return IOG_EXIT_FAILED;
		}
	}
	while (*++argv) {
		if (n == ARGUMENTS - 1) {
			fprintf(stderr, "iog capture: a command has at most %d words\n", ARGUMENTS - 1);
			return IOG_EXIT_FAILED;
		}
		p->argv[n++] = *argv;
	}
	return IOG_EXIT_OK;
}

/* Our rank, when a launcher started `iog capture` for each; NULL: none did. A batch script and the shell of an allocation have Slurm's number of a rank too,
 * but are alone. */
static const char *rank_said(void)
{
	const char *open_mpi = getenv("OMPI_COMM_WORLD_RANK"), *pmi = getenv("PMI_RANK"), *tasks = getenv("SLURM_STEP_NUM_TASKS");
	return open_mpi ? open_mpi : pmi ? pmi : tasks && atoi(tasks) > 1 ? getenv("SLURM_PROCID") : NULL;
}

static int become(char *const *argv)
{
	execvp(argv[0], argv);
	const int e = errno;
	fprintf(stderr, "iog capture: %s: %s\n", argv[0], strerror(e));
	return e == ENOENT ? 127 : 126; /* as a shell has it */
}

/* What the command line says. */
struct wishes {
	const char *as, *stream, *graph, *socket, *policy, *timeout, *files, *fifo;
	uint64_t every;
	bool list, no_file;
	char **command;
};

/* ---- with an agent of its own ---- */

static volatile sig_atomic_t program_pid;

static void pass_on(int s)
{
	if (program_pid > 0)
		kill((pid_t)program_pid, s);
}

static void nap(void) { nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); }

/* 0 when it listens. What goes wrong it says itself. */
static int start_agent(const char *path, const char *graph, pid_t *pid)
{
	const pid_t parent = getpid();
	struct iog_err err = { "" };
	*pid = fork();
	if (!*pid) {
		/* Ctrl-C is for the program; when that has ended, we are ended in order. */
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(IOG_EXIT_FAILED);
		unsetenv("IOG_CAPTURE"); /* what it writes is not the program's */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execl("/proc/self/exe", "iog", "agent", "--quiet", "--once", "--socket", path, "--load", graph, (char *)NULL);
		_exit(IOG_EXIT_FAILED);
	}
	for (int sock; *pid > 0;) {
		if (waitpid(*pid, NULL, WNOHANG) != 0)
			break;
		sock = iog_attach_connect(path, 1000000000, &err);
		if (sock >= 0) {
			close(sock);
			return IOG_EXIT_OK;
		}
		nap();
	}
	fprintf(stderr, "iog capture: the agent for %s did not start; the program was not started\n", graph);
	return IOG_EXIT_FAILED;
}

/* Its graph ends when what was published has arrived; one that got no stream is ended. */
static void end_agent(pid_t agent, const char *path)
{
	int status;
	pid_t done;
	while (!(done = waitpid(agent, &status, WNOHANG)) && !iog_cli_graph_waits(path))
		nap();
	if (!done) {
		fprintf(stderr, "iog capture: the graph got nothing: a stream it takes was not published\n");
		kill(agent, SIGTERM);
		while ((done = waitpid(agent, &status, 0)) < 0 && errno == EINTR)
			;
	}
	if (done == agent && !(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 128 + SIGTERM)))
		fprintf(stderr, "iog capture: the graph did not end well; what its sinks have is in their files\n");
}

static int run_with_agent(struct plan *p, const char *path, const struct wishes *w)
{
	struct iog_cli_fifo fifo;
	int status = 0;
	pid_t agent;
	if (start_agent(path, w->graph, &agent))
		return IOG_EXIT_FAILED;
	if (w->fifo && iog_cli_fifo_start(&fifo, w->fifo, w->stream ? w->stream : "files", path)) {
		end_agent(agent, path);
		return IOG_EXIT_FAILED;
	}
	struct sigaction sa = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
	sigemptyset(&sa.sa_mask);
	const pid_t child = fork();
	if (!child)
		_exit(become(p->argv));
	program_pid = child;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGINT, SIG_IGN); /* a terminal sends it to the program as well */
	signal(SIGQUIT, SIG_IGN);
	if (child < 0)
		status = IOG_EXIT_FAILED << 8;
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	program_pid = 0;
	if (w->fifo)
		iog_cli_fifo_end(&fifo);
	end_agent(agent, path);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- the command ---- */

static const struct iog_cli_opt options[] = {
	{ "as", 0, "KIND", "how to capture (--list); without it the command line says" },
	{ "stream", 0, "NAME", "name of the stream (default: the kind's own)" },
	{ "every", 0, "N", "captures steps that are multiples of N (default 1)" },
	{ "graph", 'g', "FILE", "runs an agent with this graph for the time of the command" },
	IOG_CLI_SOCKET,
	{ "policy", 0, "POLICY", "block, drop-new or latest: when readers are behind (default block)" },
	{ "timeout", 0, "SECONDS", "block: how long a step waits before it is dropped (default 1s)" },
	{ "files", 0, "PATTERNS",
		"mpiio, stdio: which files, as \"dump.*:*.h5=fields\": patterns, each with a stream if it is to have its own" },
	{ "no-file", 0, NULL, "mpiio, stdio: what was published is not written to the files" },
	{ "fifo", 0, "PATH", "a FIFO the program writes into; it is made if there is none" },
	{ "list", 0, NULL, "lists what can be captured" },
	{ .name = NULL },
};
enum { AS, STREAM, EVERY, GRAPH, SOCKET, POLICY, TIMEOUT, FILES, NO_FILE, FIFO, LIST };

extern const struct iog_cli_cmd iog_cmd_capture;

/* Up to the first word that is no option, where the command begins; false after reporting. */
static bool parse(struct iog_cli_args *a, struct wishes *w)
{
	double seconds;
	for (int k; !w->command && (k = iog_cli_next(a)) != IOG_ARG_END;)
		switch (k) {
		case AS: w->as = a->value; break;
		case STREAM: w->stream = a->value; break;
		case EVERY: iog_cli_number(a, "every", 1, &w->every); break;
		case GRAPH: w->graph = a->value; break;
		case SOCKET: w->socket = a->value; break;
		case POLICY: w->policy = a->value; break;
		case TIMEOUT: w->timeout = a->value; break;
		case FILES: w->files = a->value; break;
		case NO_FILE: w->no_file = true; break;
		case FIFO: w->fifo = a->value; break;
		case LIST: w->list = true; break;
		default: w->command = a->argv + a->at; break;
		}
	if (a->done)
		return false;
	a->code = IOG_EXIT_USAGE;
	if (w->policy && strcmp(w->policy, "block") && strcmp(w->policy, "drop-new") && strcmp(w->policy, "latest"))
		iog_cli_usage(a->cmd, "--policy is block, drop-new or latest, got \"%s\"", w->policy);
	else if (w->timeout && !(iog_parse_seconds(w->timeout, &seconds) && seconds >= 0))
		iog_cli_usage(a->cmd, "--timeout wants seconds, as in 0.5s, got \"%s\"", w->timeout);
	else if (w->stream && !iog_name_valid(w->stream, true))
		iog_cli_usage(a->cmd, "--stream wants a name of letters, digits and _, got \"%s\"", w->stream);
	else if (w->as && !kind_named(w->as))
		iog_cli_usage(a->cmd, "there is no kind \"%s\" (--list)", w->as);
	else if (!w->list && !w->command)
		iog_cli_usage(a->cmd, "wants a command, as in iog capture -- mpirun -np 2 lmp -in in.melt");
	else
		return true;
	return false;
}

/* Of several ranks one speaks. Nobody may be reading: the program shall run all the same. */
static void announce(const struct capture_kind *kind)
{
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	const char *rank = rank_said();
	if (!rank || !atoi(rank))
		fprintf(stderr, "iog capture: as %s: %s\n", kind->name, kind->summary);
	signal(SIGPIPE, before);
}

/* The socket as ranks find it, wherever they are. An agent of our own has one of its own, unless it was told. */
static int resolve(const struct wishes *w, char *path, size_t size)
{
	struct iog_err err = { "" };
	char here[PATH_MAX] = "", full[128], own[32] = "";
	if (iog_attach_path(w->socket, w->graph != NULL, full, sizeof full, &err)) {
		fprintf(stderr, "iog capture: %s\n", err.text);
		return IOG_EXIT_FAILED;
	}
	if (w->graph && !w->socket) {
		char *slash = strrchr(full, '/');
		*(slash ? slash : strcpy(full, ".") + 1) = 0;
		snprintf(own, sizeof own, "/capture-%d", (int)getpid());
	}
	if (full[0] != '/' && !getcwd(here, sizeof here))
		return IOG_EXIT_FAILED;
	if (snprintf(path, size, "%s%s%s%s", here, here[0] ? "/" : "", full, own) >= (int)size) {
		fprintf(stderr, "iog capture: %s/%s is too long for a socket; --socket names a shorter path\n", here, full);
		return IOG_EXIT_FAILED;
	}
	return IOG_EXIT_OK;
}

static bool settings(struct plan *p, const struct wishes *w, const char *path)
{
	const char *socket = getenv("IOG_SOCKET");
	bool ok = add(p, "IOG_CAPTURE=%s", p->kind->name);
	/* The usual place each rank finds by itself; on other nodes it may be another one. */
	if (w->socket || w->graph || (socket && *socket))
		ok = ok && add(p, "IOG_SOCKET=%s", path);
	if (w->stream)
		ok = ok && add(p, "IOG_CAPTURE_STREAM=%s", w->stream);
	if (w->every)
		ok = ok && add(p, "IOG_CAPTURE_EVERY=%llu", (unsigned long long)w->every);
	if (w->policy)
		ok = ok && add(p, "IOG_CAPTURE_POLICY=%s", w->policy);
	if (w->timeout)
		ok = ok && add(p, "IOG_CAPTURE_TIMEOUT=%s", w->timeout);
	if (w->files)
		ok = ok && add(p, "IOG_CAPTURE_FILES=%s", w->files);
	if (w->no_file)
		ok = ok && add(p, "IOG_CAPTURE_FILE=drop");
	return ok;
}

static int capture_run(int argc, char **argv)
{
	struct iog_cli_args a = { .cmd = &iog_cmd_capture, .argc = argc, .argv = argv };
	static struct plan p;
	struct wishes w = { .as = NULL };
	char path[108];
	int code;
	if (!parse(&a, &w))
		return a.code;
	if (w.list)
		return list_kinds();
	p.kind = w.as ? kind_named(w.as) : w.fifo ? kind_named("fifo") : detect(w.command);
	if (!p.kind)
		return iog_cli_usage(&iog_cmd_capture, "cannot tell from \"%s\" how to capture it; --as KIND says (--list)", w.command[0]);
	if (!strcmp(p.kind->name, "fifo") != !!w.fifo)
		return iog_cli_usage(&iog_cmd_capture, "the kind fifo goes with --fifo, as in --fifo dump.fifo, and no other kind does");
	if (!strcmp(p.kind->name, "stdio") && !w.files)
		return iog_cli_usage(&iog_cmd_capture, "stdio wants --files, as in --files 'dump.*:log.*=log'");
	if (w.graph && rank_said())
		return iog_cli_usage(&iog_cmd_capture, "--graph would run an agent for each rank; put `iog capture --graph` before the "
						       "launcher, or start `iog agent` yourself");
	if ((code = resolve(&w, path, sizeof path)))
		return code;
	if (!settings(&p, &w, path))
		return IOG_EXIT_FAILED;
	if ((code = preload(&p, w.command)) || (code = command(&p, w.command)))
		return code;
	announce(p.kind);
	if (w.graph)
		return run_with_agent(&p, path, &w);
	struct iog_cli_fifo fifo; /* its reader outlives us */
	if (w.fifo && iog_cli_fifo_start(&fifo, w.fifo, w.stream ? w.stream : "files", path))
		return IOG_EXIT_FAILED;
	return become(p.argv);
}

const struct iog_cli_cmd iog_cmd_capture = {
	.name = "capture",
	.args = "-- CMD ARGUMENTS",
	.summary = "runs an unmodified program and publishes what it computes",
	.about = "Finds out how the command can be captured, says so, and runs it. What it computes is a stream that graphs and readers "
		 "take from an agent, which "
		 "must run already, or is run with --graph. The command may begin with mpirun, mpiexec or srun; or put `iog capture` "
		 "behind those, before the "
		 "program.\n\n"
		 "The program is as it would be without: the same output, the same exit code, also when there is no agent or it goes away. "
		 "One line at its end, on "
		 "stderr, says what was published.",
	.examples = "iog capture --every 10 -- mpirun -np 2 lmp -in in.melt\niog capture --graph slab.lua -- lmp -in in.melt\nsrun iog "
		    "capture -- lmp -in "
		    "in.melt\n",
	.opt = options,
	.run = capture_run,
};
