/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An agent that comes with the program: iog_attach("graph.lua"). The first process on a node starts `iog agent` for this graph and this run, the others join
 * it; a lock on its log file decides who is first. It is started by posix_spawn and puts itself into the background (bindings/cli/cmd-agent.c): this process
 * forks nothing, starts no thread, and has no child left. Every wait has an end.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client-private.h"
#include "identity.h"
#include "runtime/host/wait.h"

extern char **environ;

static const uint64_t NAP_NS = 2000000, LOCK_NS = 7000000000u, START_NS = 5000000000u, CONNECT_NS = 2000000000u;

bool iog_client_is_graph(const char *where)
{
	const size_t n = where ? strlen(where) : 0;
	struct stat st;
	return n > 4 && !strcmp(where + n - 4, ".lua") && (stat(where, &st) || !S_ISSOCK(st.st_mode));
}

/* ---- the program ---- */

static bool runs(const char *path)
{
	struct stat st;
	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

/* Beside the library or up to three folders above it, there or in bin: in a tree that was built, and in one that was installed. */
static bool beside(const char *dir, char *program)
{
	static const char *const up[] = { "", "../", "../../", "../../../" };
	for (unsigned i = 0; i < IOG_COUNT(up); i++) {
		if (snprintf(program, PATH_MAX, "%s/%siog", dir, up[i]) < PATH_MAX && runs(program))
			return true;
		if (snprintf(program, PATH_MAX, "%s/%sbin/iog", dir, up[i]) < PATH_MAX && runs(program))
			return true;
	}
	return false;
}

static bool in_path(char *program)
{
	for (const char *p = getenv("PATH"); p && *p;) {
		const size_t n = strcspn(p, ":");
		if (n && snprintf(program, PATH_MAX, "%.*s/iog", (int)n, p) < PATH_MAX && runs(program))
			return true;
		p += n + (p[n] == ':');
	}
	return false;
}

static int find_program(char *program, struct iog_err *err)
{
	const char *given = getenv("IOG_PROGRAM");
	char library[PATH_MAX];
	Dl_info info;
	if (given && given[0]) {
		if (snprintf(program, PATH_MAX, "%s", given) < PATH_MAX && runs(program))
			return 0;
		return iog_fail(err, -ENOENT, "IOG_PROGRAM is %.200s, which is no program", given);
	}
	if (dladdr((const void *)iog_attach, &info) && info.dli_fname && realpath(info.dli_fname, library)) {
		*strrchr(library, '/') = 0;
		if (beside(library, program))
			return 0;
	}
	if (in_path(program))
		return 0;
	return iog_fail(err, -ENOENT,
		"the program iog, which is to run the graph, is neither beside libiograph nor in PATH; set IOG_PROGRAM to where it is");
}

/* ---- places ---- */

/* Socket and log of the agent for this graph, this run and this user. */
static int places(const char *graph, char *path, size_t size, char *log, struct iog_err *err)
{
	char usual[128], text[PATH_MAX + 200], name[128];
	struct iog_identity id;
	int rc = iog_attach_path(NULL, true, usual, sizeof usual, err);
	if (rc)
		return rc;
	iog_identity_get(&id);
	snprintf(text, sizeof text, "%s\n%s\n%u", graph, id.job, (unsigned)geteuid());
	char *slash = strrchr(usual, '/');
	if (slash)
		*slash = 0;
	snprintf(name, sizeof name, "%.90s/graph-%016llx", slash ? usual : ".", (unsigned long long)iog_hash(text, strlen(text), 0));
	rc = iog_attach_path(name, true, path, size, err);
	snprintf(log, PATH_MAX, "%s.log", name);
	return rc;
}

/* The lock; who has it starts the agent. It goes with the descriptor. */
static int lock(const char *log, struct iog_err *err)
{
	const uint64_t until = iog_now_ns() + LOCK_NS;
	int fd = open(log, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return iog_fail(err, -errno, "%s: %s", log, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (iog_now_ns() > until) {
			close(fd);
			return iog_fail(err, -ETIMEDOUT, "another process has been starting the agent for %d s; see %s",
				(int)(LOCK_NS / 1000000000u), log);
		}
		iog_wait_words(NULL, 0, NAP_NS);
	}
	return fd;
}

/* The last line of the log: what the agent had to say when it could not start. */
static void last_line(const char *log, char *line, size_t size)
{
	char text[1024];
	int fd = open(log, O_RDONLY | O_CLOEXEC);
	const off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	const ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, end > (off_t)sizeof text - 1 ? end - (off_t)sizeof text + 1 : 0);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	for (ssize_t i = n - 1; i >= 0 && text[i] == '\n'; i--)
		text[i] = 0;
	const char *from = strrchr(text, '\n');
	iog_strset(line, size, from ? from + 1 : text);
}

/* ---- starting it ---- */

/* The environment without what would be loaded into the agent as well. */
static char **environment(void)
{
	size_t n = 0, k = 0;
	while (environ && environ[n])
		n++;
	char **e = calloc(n + 1, sizeof *e);
	for (size_t i = 0; e && i < n; i++)
		if (strncmp(environ[i], "LD_PRELOAD=", 11))
			e[k++] = environ[i];
	return e;
}

/* No signal of ours is blocked, ignored or handled there; a session of its own, which no terminal and no launcher ends with ours. */
static int spawn(const char *program, char *const *argv, pid_t *pid)
{
	posix_spawnattr_t a;
	sigset_t none, all;
	char **env = environment();
	if (!env || posix_spawnattr_init(&a)) {
		free(env);
		return -ENOMEM;
	}
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&a, &none);
	posix_spawnattr_setsigdefault(&a, &all);
	posix_spawnattr_setflags(&a, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	const int rc = posix_spawn(pid, program, NULL, &a, argv, env);
	posix_spawnattr_destroy(&a);
	free(env);
	return -rc;
}

/* What was spawned ends as soon as the agent listens in the background, or cannot. */
static int start(const char *graph, const char *path, const char *log, struct iog_err *err)
{
	char program[PATH_MAX], why[300];
	int rc = find_program(program, err), status = 0;
	pid_t pid, got;
	if (rc)
		return rc;
	const char *const argv[] = { program, "agent", "--socket", path, "--load", graph, "--embedded", log, NULL };
	rc = spawn(program, (char *const *)argv, &pid);
	if (rc)
		return iog_fail(err, rc, "starting %s: %s", program, strerror(-rc));
	const uint64_t until = iog_now_ns() + START_NS;
	while (!(got = waitpid(pid, &status, WNOHANG)) || (got < 0 && errno == EINTR)) {
		if (iog_now_ns() > until) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return iog_fail(err, -ETIMEDOUT, "%s did not start an agent within %d s; see %s", program,
				(int)(START_NS / 1000000000u), log);
		}
		iog_wait_words(NULL, 0, NAP_NS);
	}
	/* Where somebody else has waited for it (ECHILD), its socket will tell. */
	if (got < 0 || (WIFEXITED(status) && !WEXITSTATUS(status)))
		return 0;
	last_line(log, why, sizeof why);
	return iog_fail(err, -EIO, "the agent for %s could not start: %s; see %s", graph, why[0] ? why : program, log);
}

/* A socket to the agent; -ENOENT when none listens there, and only then one is to be started. */
static int join(const char *path, struct iog_err *err)
{
	struct iog_err why = { "" };
	const int sock = iog_attach_connect(path, CONNECT_NS, &why);
	if (sock == -ENOENT || sock == -ECONNREFUSED)
		return -ENOENT;
	return sock < 0 ? iog_fail(err, sock, "%s", why.text) : sock;
}

int iog_client_embedded(const char *where, char *path, size_t size, struct iog_err *err)
{
	char graph[PATH_MAX], log[PATH_MAX];
	if (!realpath(where, graph))
		return iog_fail(err, -errno, "the graph %s: %s", where, strerror(errno));
	int rc = places(graph, path, size, log, err);
	if (rc)
		return rc;
	int sock = join(path, err);
	if (sock != -ENOENT)
		return sock;
	int fd = lock(log, err);
	if (fd < 0)
		return fd;
	/* Somebody may have been faster. */
	sock = join(path, err);
	if (sock == -ENOENT) {
		rc = start(graph, path, log, err);
		sock = rc ? rc : iog_attach_connect(path, CONNECT_NS, err);
	}
	close(fd);
	return sock;
}
