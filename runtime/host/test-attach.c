/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the agent's socket is, who may listen and connect there, and messages that are not as they should be. */
#include "runtime/host/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
/* last: it wants the ones above */
#include <cmocka.h>

#include "runtime/host/region.h"
#include "runtime/host/wait.h"

static const uint64_t MS = 1000000;

struct place {
	char dir[64], sub[80], path[108];
};
static int place_new(void **state)
{
	static struct place p;
	p = (struct place){ .dir = "/tmp/iog-test-XXXXXX" };
	if (!mkdtemp(p.dir))
		return -1;
	snprintf(p.sub, sizeof p.sub, "%s/own", p.dir);
	snprintf(p.path, sizeof p.path, "%s/agent", p.sub);
	*state = &p;
	return 0;
}
static int place_free(void **state)
{
	const struct place *p = *state;
	unlink(p->path);
	rmdir(p->sub);
	return rmdir(p->dir);
}

static void where_it_is(void **state)
{
	const struct place *p = *state;
	struct iog_err err = { "" };
	char got[108], want[128];
	struct stat st;
	unsetenv("SLURM_JOB_ID");
	unsetenv("PBS_JOBID");
	unsetenv("LSB_JOBID");

	setenv("IOG_SOCKET", "/from/environment", 1);
	assert_int_equal(iog_attach_path("/given", false, got, sizeof got, &err), 0);
	assert_string_equal(got, "/given");
	assert_int_equal(iog_attach_path(NULL, false, got, sizeof got, &err), 0);
	assert_string_equal(got, "/from/environment");
	setenv("IOG_SOCKET", "", 1);

	setenv("XDG_RUNTIME_DIR", p->dir, 1);
	assert_int_equal(iog_attach_path(NULL, true, got, sizeof got, &err), 0);
	snprintf(want, sizeof want, "%s/iograph/agent", p->dir);
	assert_string_equal(got, want);
	snprintf(want, sizeof want, "%s/iograph", p->dir);
	assert_int_equal(stat(want, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(iog_attach_path(NULL, true, got, sizeof got, &err), 0); /* again */
	rmdir(want);

	setenv("XDG_RUNTIME_DIR", "/no/such/folder", 1);
	assert_int_equal(iog_attach_path(NULL, false, got, sizeof got, &err), 0);
	snprintf(want, sizeof want, "/tmp/iog-%u/agent", (unsigned)geteuid());
	assert_string_equal(got, want);
	setenv("PBS_JOBID", "12/../34[7]", 1);
	assert_int_equal(iog_attach_path(NULL, false, got, sizeof got, &err), 0);
	snprintf(want, sizeof want, "/tmp/iog-%u-12_.._34_7_/agent", (unsigned)geteuid());
	assert_string_equal(got, want);
	setenv("SLURM_JOB_ID", "99", 1);
	assert_int_equal(iog_attach_path(NULL, false, got, sizeof got, &err), 0);
	snprintf(want, sizeof want, "/tmp/iog-%u-99/agent", (unsigned)geteuid());
	assert_string_equal(got, want);
	unsetenv("SLURM_JOB_ID");
	unsetenv("PBS_JOBID");
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("IOG_SOCKET");
}

static void path_too_long(void **state)
{
	struct iog_err err = { "" };
	char got[256], path[256];
	(void)state;
	memset(path, 'x', sizeof path);
	path[0] = '/', path[107] = 0;
	assert_int_equal(iog_attach_path(path, false, got, sizeof got, &err), 0);
	path[107] = 'x', path[108] = 0;
	assert_int_equal(iog_attach_path(path, false, got, sizeof got, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "has 108 bytes, 107 are possible"));
	assert_int_equal(iog_attach_path("/tmp/agent", false, got, 5, &err), -ENAMETOOLONG);
	assert_int_equal(iog_attach_path("", false, got, sizeof got, &err), -EINVAL);
	assert_int_equal(iog_attach_listen(path, &err), -ENAMETOOLONG);
	assert_int_equal(iog_attach_connect(path, MS, &err), -ENAMETOOLONG);
}

static void folders_of_others(void **state)
{
	const struct place *p = *state;
	struct iog_err err = { "" };
	char got[108], link[128];
	assert_int_equal(iog_attach_path(p->path, true, got, sizeof got, &err), 0);
	assert_int_equal(chmod(p->sub, 0777), 0);
	assert_int_equal(iog_attach_path(p->path, true, got, sizeof got, &err), -EPERM);
	assert_non_null(strstr(err.text, "others may write to"));
	assert_int_equal(chmod(p->sub, 0770), 0);
	assert_int_equal(iog_attach_path(p->path, true, got, sizeof got, &err), -EPERM);
	assert_int_equal(chmod(p->sub, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(p->sub, 12345, 12345), 0);
		assert_int_equal(iog_attach_path(p->path, true, got, sizeof got, &err), -EPERM);
		assert_non_null(strstr(err.text, "belongs to user 12345"));
		/* A link of somebody else's is not followed; one's own is. */
		snprintf(link, sizeof link, "%s/link", p->dir);
		assert_int_equal(chown(p->sub, 0, 0), 0);
		assert_int_equal(symlink(p->sub, link), 0);
		strcat(link, "/agent");
		assert_int_equal(iog_attach_path(link, true, got, sizeof got, &err), 0);
		link[strlen(link) - 6] = 0;
		assert_int_equal(lchown(link, 12345, 12345), 0);
		strcat(link, "/agent");
		assert_int_equal(iog_attach_path(link, true, got, sizeof got, &err), -ENOTDIR);
		link[strlen(link) - 6] = 0;
		unlink(link);
	} else {
		print_message("not root: no folder of somebody else to try\n");
	}
	assert_int_equal(rmdir(p->sub), 0);
	int fd = open(p->sub, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(iog_attach_path(p->path, true, got, sizeof got, &err), -ENOTDIR);
	unlink(p->sub);
	assert_int_equal(iog_attach_path("/no/such/folder/agent", true, got, sizeof got, &err), -ENOENT);
}

static void listeners(void **state)
{
	const struct place *p = *state;
	struct iog_err err = { "" };
	struct stat st;
	uint32_t uid = 1;
	int pid = 0;
	assert_int_equal(mkdir(p->sub, 0700), 0);
	assert_int_equal(iog_attach_connect(p->path, 50 * MS, &err), -ENOENT);
	assert_non_null(strstr(err.text, "start one with \"iog agent\""));
	const mode_t mask = umask(0);
	int s = iog_attach_listen(p->path, &err);
	umask(mask);
	assert_true(s >= 0);
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(fcntl(s, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(iog_attach_listen(p->path, &err), -EADDRINUSE);
	int c = iog_attach_connect(p->path, 50 * MS, &err);
	assert_true(c >= 0);
	assert_int_equal(iog_attach_peer(c, &uid, &pid), 0);
	assert_int_equal(uid, geteuid());
	assert_int_equal(pid, getpid());
	close(c);
	/* Killed: its socket file stays, and is replaced. */
	close(s);
	assert_int_equal(iog_attach_connect(p->path, 50 * MS, &err), -ECONNREFUSED);
	s = iog_attach_listen(p->path, &err);
	assert_true(s >= 0);
	/* A queue that is full: waiting has an end. */
	int many[200];
	unsigned n = 0;
	const uint64_t t0 = iog_now_ns();
	while (n < IOG_COUNT(many) && (many[n] = iog_attach_connect(p->path, 20 * MS, &err)) >= 0)
		n++;
	assert_true(n < IOG_COUNT(many));
	assert_int_equal(many[n], -ETIMEDOUT);
	assert_true(iog_now_ns() - t0 < 2000 * MS);
	assert_int_equal(iog_attach_listen(p->path, &err), -EADDRINUSE);
	while (n)
		close(many[--n]);
	close(s);
	unlink(p->path);
	/* Never what is no socket. */
	int fd = open(p->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(iog_attach_listen(p->path, &err), -EEXIST);
	assert_int_equal(stat(p->path, &st), 0);
	unlink(p->path);
	assert_int_equal(iog_attach_listen("/no/such/folder/agent", &err), -ENOENT);
	/* Who has the folder's lock and keeps it does not hang us. */
	fd = open(p->sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(iog_attach_listen(p->path, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "keeps the folder"));
	close(fd);
	s = iog_attach_listen(p->path, &err);
	assert_true(s >= 0);
	close(s);
}

/* Many agents at once, beside the socket of a dead one: one of them gets it. */
static void one_agent_of_many(void **state)
{
	const struct place *p = *state;
	enum { N = 8 };
	assert_int_equal(mkdir(p->sub, 0700), 0);
	close(iog_attach_listen(p->path, NULL));
	pid_t pid[N];
	int go[2], got = 0;
	char c;
	assert_int_equal(pipe(go), 0);
	for (int i = 0; i < N; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			close(go[1]);
			while (read(go[0], &c, 1) > 0)
				;
			int s = iog_attach_listen(p->path, NULL);
			if (s >= 0)
				usleep(300000); /* listens until all others have tried */
			_exit(s >= 0 ? 1 : s == -EADDRINUSE ? 0 : 2);
		}
	}
	close(go[0]);
	close(go[1]);
	for (int i = 0; i < N; i++) {
		int st;
		assert_int_equal(waitpid(pid[i], &st, 0), pid[i]);
		assert_true(WIFEXITED(st) && WEXITSTATUS(st) < 2);
		got += WEXITSTATUS(st);
	}
	assert_int_equal(got, 1);
}

/* An agent of another user is refused. */
static void agent_of_another(void **state)
{
	const struct place *p = *state;
	struct iog_err err = { "" };
	int ready[2];
	char c;
	if (geteuid() != 0) {
		print_message("not root: no other user to listen\n");
		return;
	}
	/* Root attaches to nobody else's agent either. */
	assert_int_equal(chmod(p->dir, 0755), 0);
	assert_int_equal(mkdir(p->sub, 0700), 0);
	assert_int_equal(chown(p->sub, 12345, 12345), 0);
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (!pid) {
		int s = setresuid(12345, 12345, 12345) ? -1 : iog_attach_listen(p->path, NULL);
		if (write(ready[1], "x", s >= 0) != 1)
			_exit(1);
		pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	assert_int_equal(iog_attach_connect(p->path, 50 * MS, &err), -EPERM);
	assert_non_null(strstr(err.text, "belongs to user 12345"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- messages ---- */

static int count_fds(void)
{
	int n = 0;
	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void schema(struct iog_schema *s) { assert_int_equal(iog_schema_parse(s, "T: f64[z<=4,y<=6] K; dt: f32", NULL), 0); }

static void messages_cross(void **state)
{
	struct iog_err err = { "" };
	struct iog_msg *m = calloc(2, sizeof *m), *got = m + 1;
	int pair[2], fds[IOG_FDS];
	uint32_t n = IOG_FDS;
	(void)state;
	assert_int_equal(iog_fd_pair(pair, &err), 0);
	m->kind = IOG_MSG_ARENA, m->id = 7, m->blocks = 3, m->number = 2.5;
	m->arena = (struct iog_arena){ .base = (uint8_t *)16, .slot_bytes = 4096, .n_slots = 9, .id = 1 };
	iog_strset(m->name, sizeof m->name, "heat");
	schema(&m->schema);
	assert_int_equal(iog_msg_send(pair[0], m, pair, 2, MS, &err), 0);
	assert_int_equal(iog_msg_recv(pair[1], got, fds, &n, MS, &err), 1);
	assert_int_equal(n, 2);
	close(fds[0]);
	close(fds[1]);
	assert_ptr_equal(got->arena.base, NULL); /* no address of somebody else */
	m->arena.base = NULL;
	assert_memory_equal(m, got, sizeof *m);
	n = IOG_FDS;
	assert_int_equal(iog_msg_recv(pair[1], got, fds, &n, 0, &err), -EAGAIN);
	n = IOG_FDS;
	assert_int_equal(iog_msg_recv(pair[1], got, fds, &n, MS, &err), -EAGAIN);
	close(pair[0]);
	n = IOG_FDS;
	assert_int_equal(iog_msg_recv(pair[1], got, fds, &n, MS, &err), 0);
	assert_int_equal(iog_msg_send(pair[1], m, NULL, 0, MS, &err), -EPIPE);
	close(pair[1]);
	free(m);
}

/* Sends bytes that are no message of ours; the answer must be -EPROTO, with a reason, and no descriptor left behind. */
static void refused(const void *bytes, size_t size, uint32_t give, uint32_t room, const char *why)
{
	struct iog_err err = { "" };
	struct iog_msg *got = malloc(sizeof *got);
	const int before = count_fds();
	int pair[2], fds[IOG_FDS], many[IOG_FDS];
	uint32_t n = room;
	assert_int_equal(iog_fd_pair(pair, &err), 0);
	for (unsigned i = 0; i < IOG_FDS; i++)
		many[i] = pair[0];
	assert_int_equal(iog_fd_send(pair[0], bytes, size, many, give, MS, &err), 0);
	assert_int_equal(iog_msg_recv(pair[1], got, fds, &n, MS, &err), -EPROTO);
	if (!strstr(err.text, why))
		assert_string_equal(err.text, why);
	assert_int_equal(n, 0);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(count_fds(), before);
	free(got);
}

static void what_is_refused(void **state)
{
	const size_t size = sizeof(struct iog_msg);
	struct iog_msg *m = calloc(1, size + 8192);
	(void)state;
	m->magic = IOG_ATTACH_MAGIC, m->kind = IOG_MSG_OPEN;
	schema(&m->schema);
	const struct iog_msg good = *m;

	refused(m, size - 1, 1, IOG_FDS, "received a message of");
	refused(m, 1, 1, IOG_FDS, "received a message of 1 bytes");
	refused(m, size + 8192, 1, IOG_FDS, "received a message of more than");
	refused(m, size, 3, 2, "or 2 descriptors");
	refused(m, size, 16, 0, "or 0 descriptors");
	m->magic ^= 1;
	refused(m, size, 1, IOG_FDS, "does not begin like one of ours");
	*m = good, m->kind = 0;
	refused(m, size, 1, IOG_FDS, "kind 0");
	*m = good, m->policy = 3;
	refused(m, size, 1, IOG_FDS, "policy 3");
	*m = good, m->safe = 2;
	refused(m, size, 1, IOG_FDS, "no such thing");
	*m = good, memset(m->name, 'x', sizeof m->name);
	refused(m, size, 1, IOG_FDS, "text that does not end");
	*m = good, memset(m->text, 'x', sizeof m->text);
	refused(m, size, 1, IOG_FDS, "text that does not end");
	*m = good, m->schema.id ^= 1;
	refused(m, size, 1, IOG_FDS, "not what its id says");
	*m = good, m->schema.var[0].dtype = IOG_F32;
	refused(m, size, 1, IOG_FDS, "not what its id says");
	*m = good, m->schema.n_vars = 65;
	refused(m, size, 1, IOG_FDS, "65 variables");
	*m = good, m->schema.var[0].dim[1] = 200;
	refused(m, size, 1, IOG_FDS, "dimension number 200");
	*m = good, memset(m->schema.var[1].name, 'x', IOG_NAME);
	refused(m, size, 1, IOG_FDS, "variable number 1 has no valid name");
	*m = good, m->schema.n_vars = 0, m->schema.n_dims = 0;
	refused(m, size, 1, IOG_FDS, "not what its id says");
	free(m);
}

/* A later minor version may say more, and have kinds we do not know. */
static void later_versions(void **state)
{
	struct iog_err err = { "" };
	struct iog_msg *m = calloc(1, sizeof *m + 512), *got = calloc(1, sizeof *got);
	int pair[2];
	uint32_t n = 0;
	(void)state;
	assert_int_equal(iog_fd_pair(pair, &err), 0);
	m->magic = IOG_ATTACH_MAGIC, m->kind = IOG_MSG_KINDS + 3, m->id = 5;
	memset(m + 1, 0xff, 512);
	assert_int_equal(iog_fd_send(pair[0], m, sizeof *m + 512, NULL, 0, MS, &err), 0);
	assert_int_equal(iog_msg_recv(pair[1], got, NULL, &n, MS, &err), 1);
	assert_int_equal(got->id, 5);
	close(pair[0]);
	close(pair[1]);
	free(m);
	free(got);
}

/* Whatever single byte is wrong, it is refused or means something else, and what comes through is sound. */
static void any_byte(void **state)
{
	struct iog_err err = { "" };
	struct iog_msg *m = calloc(1, sizeof *m), *got = calloc(1, sizeof *got);
	int pair[2];
	uint32_t n, seed = 1;
	(void)state;
	assert_int_equal(iog_fd_pair(pair, &err), 0);
	m->magic = IOG_ATTACH_MAGIC, m->kind = IOG_MSG_OPEN;
	schema(&m->schema);
	for (size_t i = 0; i < sizeof *m; i++) {
		uint8_t *at = (uint8_t *)m + i, was = *at;
		seed = seed * 1664525u + 1013904223u;
		*at ^= (uint8_t)(1 + seed % 255);
		assert_int_equal(iog_fd_send(pair[0], m, sizeof *m, NULL, 0, MS, &err), 0);
		n = 0;
		int rc = iog_msg_recv(pair[1], got, NULL, &n, MS, &err);
		assert_true(rc == 1 || rc == -EPROTO);
		if (rc == 1) {
			assert_true(memchr(got->name, 0, sizeof got->name) && memchr(got->text, 0, sizeof got->text));
			const uint64_t id = got->schema.id;
			assert_int_equal(iog_schema_seal(&got->schema, NULL), 0);
			assert_int_equal(got->schema.id, id);
		}
		*at = was;
	}
	close(pair[0]);
	close(pair[1]);
	free(m);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(where_it_is, place_new, place_free),
		cmocka_unit_test(path_too_long),
		cmocka_unit_test_setup_teardown(folders_of_others, place_new, place_free),
		cmocka_unit_test_setup_teardown(listeners, place_new, place_free),
		cmocka_unit_test_setup_teardown(one_agent_of_many, place_new, place_free),
		cmocka_unit_test_setup_teardown(agent_of_another, place_new, place_free),
		cmocka_unit_test(messages_cross),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(later_versions),
		cmocka_unit_test(any_byte),
	};
	return cmocka_run_group_tests_name("attach", tests, NULL, NULL);
}
