/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where an agent's socket is, how to listen and connect there, and messages on it; see attach.h. Nothing that comes out of a socket is
 * believed before it was looked at. Control path, any thread, no state.
 */
#include "runtime/host/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/host/region.h"
#include "runtime/host/wait.h"

/* A message of a later minor version may be that much longer. */
enum { LATER = 4096, BACKLOG = 64 };
static const uint64_t NAP_NS = 1000000, LOCK_NS = 2000000000u;

/* ---- the place ---- */

/* The folder of a path, without the slash behind it. False: it does not fit. */
static bool folder_of(const char *path, char *dir, size_t size)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return iog_strset(dir, size, ".");
	size_t n = slash == path ? 1 : (size_t)(slash - path);
	if (n >= size)
		return false;
	memcpy(dir, path, n);
	dir[n] = 0;
	return true;
}

static bool usable_runtime_dir(const char *dir)
{
	struct stat st;
	return dir && dir[0] == '/' && !stat(dir, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !access(dir, W_OK | X_OK);
}

/* "-JOBID" of the batch system, with what cannot be in a file name replaced; "" outside of a job. */
static void job_suffix(char dst[64])
{
	static const char *const names[] = { "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID" };
	dst[0] = 0;
	for (unsigned i = 0; i < IOG_COUNT(names); i++) {
		const char *id = getenv(names[i]);
		if (!id || !id[0])
			continue;
		iog_format(dst, 64, "-%s", id);
		for (char *c = dst; *c; c++)
			if (!(*c >= '0' && *c <= '9') && !(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && *c != '.' && *c != '-')
				*c = '_';
		return;
	}
}

/* Whoever may write to the folder may put another socket there: it must be this user's alone. */
static int folder_make(const char *path, struct iog_err *err)
{
	char dir[PATH_MAX];
	struct stat st;
	if (!folder_of(path, dir, sizeof dir))
		return iog_fail(err, -ENAMETOOLONG, "the folder of %s has too long a name", path);
	if (mkdir(dir, 0700) && errno != EEXIST)
		return iog_fail(err, -errno, "making the folder %s for the agent's socket: %s", dir, strerror(errno));
	/* Not a link that somebody else left in /tmp. */
	if (lstat(dir, &st))
		return iog_fail(err, -errno, "%s: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode) && !(S_ISLNK(st.st_mode) && st.st_uid == geteuid() && !stat(dir, &st) && S_ISDIR(st.st_mode)))
		return iog_fail(err, -ENOTDIR, "%s is not a folder; set IOG_SOCKET to a path in a folder of your own", dir);
	if (st.st_uid != geteuid())
		return iog_fail(err, -EPERM, "%s belongs to user %u, not to you; set IOG_SOCKET to a path in a folder of your own", dir,
			(unsigned)st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return iog_fail(
			err, -EPERM, "others may write to %s: chmod go-w it, or set IOG_SOCKET to a path in a folder of your own", dir);
	return 0;
}

int iog_attach_path(const char *where, bool make, char *path, size_t size, struct iog_err *err)
{
	char job[64], text[PATH_MAX];
	const char *env = getenv("IOG_SOCKET"), *run = getenv("XDG_RUNTIME_DIR");
	int n, rc;

	if (!where && env && env[0])
		where = env;
	if (where) {
		n = iog_format(text, sizeof text, "%s", where);
	} else if (usable_runtime_dir(run)) {
		n = iog_format(text, sizeof text, "%s/iograph/agent", run);
	} else {
		job_suffix(job);
		n = iog_format(text, sizeof text, "/tmp/iog-%u%s/agent", (unsigned)geteuid(), job);
	}
	if (!n)
		return iog_fail(err, -EINVAL, "the path of the agent's socket is empty");
	if ((size_t)n >= sizeof((struct sockaddr_un *)0)->sun_path || (size_t)n >= size)
		return iog_fail(err, -ENAMETOOLONG,
			"the path of the agent's socket has %d bytes, 107 are possible: %.60s...; set IOG_SOCKET to a shorter one", n,
			where ? where : run);
	rc = make ? folder_make(text, err) : 0;
	if (!rc)
		memcpy(path, text, (size_t)n + 1);
	return rc;
}

/* ---- sockets ---- */

static int address(const char *path, struct sockaddr_un *a, struct iog_err *err)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!path[0] || !iog_strset(a->sun_path, sizeof a->sun_path, path))
		return iog_fail(err, -ENAMETOOLONG, "the path of a socket has 1 to 107 bytes, not %zu", iog_strlen(path));
	return 0;
}

/* Takes away a socket nobody listens at. */
static int replace_stale(const struct sockaddr_un *a, struct iog_err *err)
{
	struct stat st;
	if (lstat(a->sun_path, &st))
		return errno == ENOENT ? 0 : iog_fail(err, -errno, "%s: %s", a->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return iog_fail(err, -EEXIST, "%s exists and is not a socket; move it away, or choose another path", a->sun_path);
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return iog_fail(err, -errno, "socket: %s", strerror(errno));
	int rc = connect(s, (const struct sockaddr *)a, sizeof *a) ? errno : 0;
	/* A child that a killed agent was just about to start may have the socket a moment longer; nobody accepts there. */
	uint32_t uid;
	int pid = 0;
	if (!rc && !iog_attach_peer(s, &uid, &pid) && pid > 0 && kill(pid, 0) && errno == ESRCH)
		rc = ECONNREFUSED;
	close(s);
	/* EAGAIN: somebody listens, and many wait for an answer. */
	if (rc != ECONNREFUSED)
		return rc && rc != EAGAIN
			       ? iog_fail(err, -rc, "%s: %s", a->sun_path, strerror(rc))
			       : iog_fail(err, -EADDRINUSE, "an agent answers at %s already; use it, or end it first", a->sun_path);
	if (unlink(a->sun_path) && errno != ENOENT)
		return iog_fail(err, -errno, "removing the old socket %s: %s", a->sun_path, strerror(errno));
	return 0;
}

/*
 * Between finding a socket stale and replacing it no other agent may do the same; the lock goes with the descriptor. Agents have it for a moment, but
 * whoever may read the folder may take it for longer.
 */
static int folder_lock(const char *path, struct iog_err *err)
{
	const uint64_t until = iog_now_ns() + LOCK_NS;
	char dir[PATH_MAX];
	int lock = folder_of(path, dir, sizeof dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, no;
	if (lock < 0)
		return iog_fail(err, -errno, "the folder of %s: %s", path, strerror(errno));
	while ((no = flock(lock, LOCK_EX | LOCK_NB) ? errno : 0) == EWOULDBLOCK && iog_now_ns() < until)
		iog_wait_words(NULL, 0, NAP_NS);
	if (!no)
		return lock;
	close(lock);
	return no == EWOULDBLOCK ? iog_fail(err, -ETIMEDOUT, "another process keeps the folder %s locked", dir)
				 : iog_fail(err, -no, "locking the folder %s: %s", dir, strerror(no));
}

int iog_attach_listen(const char *path, struct iog_err *err)
{
	struct sockaddr_un a;
	int rc = address(path, &a, err), s = -1, lock;
	if (rc)
		return rc;
	if ((lock = folder_lock(path, err)) < 0)
		return lock;
	rc = replace_stale(&a, err);
	if (rc)
		goto out;
	s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	/* Before bind, so that there is no moment at which others may connect. */
	if (s < 0 || fchmod(s, 0600) || bind(s, (const struct sockaddr *)&a, sizeof a) || listen(s, BACKLOG))
		rc = iog_fail(err, -errno, "listening at %s: %s", path, strerror(errno));
out:
	close(lock);
	if (rc && s >= 0)
		close(s);
	return rc ? rc : s;
}

int iog_attach_peer(int sock, uint32_t *uid, int *pid)
{
	struct ucred c;
	socklen_t n = sizeof c;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &c, &n))
		return -errno;
	*uid = c.uid;
	*pid = c.pid;
	return 0;
}

int iog_attach_connect(const char *path, uint64_t limit_ns, struct iog_err *err)
{
	struct sockaddr_un a;
	const uint64_t t0 = iog_now_ns();
	uint32_t uid = 0;
	int pid = 0, rc = address(path, &a, err);
	if (rc)
		return rc;
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return iog_fail(err, -errno, "socket: %s", strerror(errno));
	/* EAGAIN: more wait to be accepted than the agent has room for. */
	while ((rc = connect(s, (const struct sockaddr *)&a, sizeof a) ? -errno : 0) == -EAGAIN || rc == -EINTR) {
		if (iog_now_ns() - t0 >= limit_ns) {
			rc = -ETIMEDOUT;
			break;
		}
		iog_wait_words(NULL, 0, NAP_NS);
	}
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		iog_fail(err, rc, "no agent answers at %s; start one with \"iog agent\", or set IOG_SOCKET to where it is", path);
	else if (rc)
		iog_fail(err, rc, "connecting to the agent at %s: %s", path, strerror(-rc));
	else if ((rc = iog_attach_peer(s, &uid, &pid)))
		iog_fail(err, rc, "who listens at %s: %s", path, strerror(-rc));
	else if (uid != geteuid() && uid != 0)
		rc = iog_fail(
			err, -EPERM, "the agent at %s belongs to user %u (process %d); set IOG_SOCKET to one of your own", path, uid, pid);
	if (!rc)
		return s;
	close(s);
	return rc;
}

/* ---- messages ---- */

int iog_msg_send(int sock, struct iog_msg *m, const int *fds, uint32_t n, uint64_t limit_ns, struct iog_err *err)
{
	m->magic = IOG_ATTACH_MAGIC;
	return iog_fd_send(sock, m, sizeof *m, fds, n, limit_ns, err);
}

static bool terminated(const char *s, size_t size) { return memchr(s, 0, size) != NULL; }

static int check(struct iog_msg *m, uint64_t got, struct iog_err *err)
{
	if (got < sizeof *m)
		return iog_fail(err, -EPROTO, "received a message of %llu bytes, not %zu or more", (unsigned long long)got, sizeof *m);
	if (m->magic != IOG_ATTACH_MAGIC)
		return iog_fail(err, -EPROTO, "received a message that does not begin like one of ours (0x%x)", m->magic);
	if (!m->kind || m->policy > IOG_DROP_NEW || m->safe > 1 || m->n_held > IOG_WRITERS)
		return iog_fail(err, -EPROTO, "received a message of kind %u with policy %u: no such thing", m->kind, m->policy);
	if (!terminated(m->name, sizeof m->name) || !terminated(m->text, sizeof m->text))
		return iog_fail(err, -EPROTO, "received a message of kind %u with text that does not end", m->kind);
	if (m->schema.n_vars || m->schema.n_dims || m->schema.id) {
		const uint64_t id = m->schema.id;
		if (iog_schema_seal(&m->schema, err))
			return -EPROTO;
		if (m->schema.id != id)
			return iog_fail(err, -EPROTO, "received a schema that is not what its id says");
	}
	m->arena.base = NULL; /* an address of somebody else */
	return 0;
}

/* A kind of a later version is not refused here: the receiver's switch does not know it, and so ignores it. */
int iog_msg_recv(int sock, struct iog_msg *m, int *fds, uint32_t *n, uint64_t limit_ns, struct iog_err *err)
{
	union {
		struct iog_msg m;
		uint8_t space[sizeof(struct iog_msg) + LATER];
	} in;
	int got = iog_fd_recv(sock, &in, sizeof in, fds, n, limit_ns, err);
	if (got <= 0)
		return got;
	int rc = check(&in.m, (uint64_t)got, err);
	if (rc) {
		while (*n)
			close(fds[--*n]);
		return rc;
	}
	memcpy(m, &in.m, sizeof *m);
	return 1;
}
