/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox from inside and outside: what a worker needs works, everything else ends it with SIGSYS, what it inherited is gone. Each
 * case runs in a child of its own; no other process is ever signalled.
 */
#include "runtime/host/region.h"
#include "runtime/host/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

enum { MEMORY_LIMITED = !IOG_SANITIZED }; /* a sanitizer maps terabytes */

static const uint64_t MS = 1000000;

/* What a case has in hand; the parent holds the other ends. */
static struct {
	int control, status;
	pid_t parent;
} in;
static struct {
	int control, status;
} out;
static char page[4096] __attribute__((aligned(4096)));

/* Not _exit(): a sanitizer would look for leaks there, with calls that are forbidden. */
static void leave(int rc)
{
	syscall(SYS_exit_group, rc);
	__builtin_unreachable();
}

static void child_start(bool hosted, uint32_t wanted)
{
	struct iog_sandbox_opts o = { .control = in.control,
		.status = in.status,
		.more = 4,
		.hosted = hosted,
		.wanted = wanted,
		.memory = MEMORY_LIMITED ? 256 << 20 : 0,
		.parent = in.parent };
	struct iog_err err = { "" };

	signal(SIGSEGV, SIG_DFL); /* cmocka catches them */
	signal(SIGSYS, SIG_DFL);
	if (iog_sandbox_enter(&o, NULL, &err)) {
		(void)!write(in.status, err.text, strlen(err.text));
		leave(99);
	}
}

static pid_t start(int (*f)(void), bool hosted, uint32_t wanted)
{
	int c[2], s[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, c), 0);
	assert_int_equal(pipe2(s, O_CLOEXEC), 0);
	in.parent = getpid();
	in.control = c[1];
	in.status = s[1];
	out.control = c[0];
	out.status = s[0];
	fflush(NULL);
	pid = fork();
	if (!pid) {
		child_start(hosted, wanted);
		leave(f());
	}
	assert_true(pid > 0);
	close(c[1]);
	close(s[1]);
	return pid;
}

/* Exit status, or minus the signal. Ends a child that does not end. */
static int finish(pid_t pid)
{
	char said[512];
	int status = 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	ssize_t n;

	assert_true(pidfd >= 0);
	if (poll(&p, 1, 10000) != 1)
		kill(pid, SIGKILL);
	close(pidfd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	n = read(out.status, said, sizeof(said) - 1);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99 && n > 0)
		print_error("%.*s\n", (int)n, said);
	close(out.control);
	close(out.status);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(int (*f)(void), bool hosted) { return finish(start(f, hosted, 0)); }

/* ---- forbidden ---- */

static int do_open(void) { return open("/etc/hostname", O_RDONLY) < 0; }
static int do_openat2(void) { return syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0) < 0; }
static int do_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0) < 0; }
static int do_socketpair(void)
{
	int s[2];
	return socketpair(AF_UNIX, SOCK_STREAM, 0, s) < 0;
}
static int do_execve(void) { return syscall(SYS_execve, "/bin/true", NULL, NULL) < 0; }
static int do_ptrace(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0; }
static int do_fork(void) { return syscall(SYS_fork) < 0; }
static int do_vfork(void) { return syscall(SYS_clone, (long)SIGCHLD, 0, 0, 0, 0) < 0; }
static int do_clone3(void) { return syscall(SYS_clone3, NULL, 0) < 0; }
static int do_mprotect_exec(void) { return mprotect(page, sizeof(page), PROT_READ | PROT_EXEC) < 0; }
static int do_mprotect(void) { return mprotect(page, sizeof(page), PROT_READ | PROT_WRITE) < 0; }
static int do_mmap_exec(void) { return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED; }
static int do_brk(void) { return syscall(SYS_brk, 0) == 0; }
static int do_write_elsewhere(void) { return write(in.control, "x", 1) < 0; }
static int do_recv_elsewhere(void)
{
	struct msghdr m = { 0 };
	return recvmsg(in.status, &m, 0) < 0;
}
static int do_read(void) { return read(in.control, page, 1) < 0; }
static int do_add_seals(void) { return fcntl(in.control, F_ADD_SEALS, F_SEAL_SEAL) < 0; }
static int do_memfd(void) { return memfd_create("x", 0) < 0; }
static int do_kill_other(void) { return kill(in.parent, 0) < 0; }
static int do_kill_group(void) { return kill(0, 0) < 0; }
static int do_tgkill_other(void) { return syscall(SYS_tgkill, in.parent, in.parent, 0) < 0; }
static int do_prctl(void) { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0; }
static int do_setrlimit(void)
{
	struct rlimit r = { 1, 1 };
	return setrlimit(RLIMIT_NOFILE, &r) < 0;
}
static int do_futex_requeue(void) { return syscall(SYS_futex, page, FUTEX_CMP_REQUEUE, 0, 0, page + 4, 0) < 0; }
static int do_io_uring(void) { return syscall(SYS_io_uring_setup, 1, NULL) < 0; }
static int do_x32(void) { return syscall(0x40000000L + SYS_getpid) < 0; }
static int do_process_vm(void) { return syscall(SYS_process_vm_readv, in.parent, NULL, 0, NULL, 0, 0) < 0; }

static void forbidden_calls_kill(void **state)
{
	static const struct {
		const char *name;
		int (*f)(void);
		bool even_hosted;
	} calls[] = {
		{ "open", do_open, true },
		{ "openat2", do_openat2, true },
		{ "socket", do_socket, true },
		{ "socketpair", do_socketpair, true },
		{ "execve", do_execve, true },
		{ "ptrace", do_ptrace, true },
		{ "fork", do_fork, true },
		{ "clone", do_vfork, true },
		{ "clone3", do_clone3, true },
		{ "mprotect exec", do_mprotect_exec, true },
		{ "mmap exec", do_mmap_exec, true },
		{ "mprotect", do_mprotect, false },
		{ "brk", do_brk, false },
		{ "write elsewhere", do_write_elsewhere, true },
		{ "recvmsg elsewhere", do_recv_elsewhere, true },
		{ "read", do_read, true },
		{ "fcntl F_ADD_SEALS", do_add_seals, true },
		{ "memfd_create", do_memfd, true },
		{ "kill another", do_kill_other, true },
		{ "kill the group", do_kill_group, true },
		{ "tgkill another", do_tgkill_other, true },
		{ "prctl", do_prctl, true },
		{ "setrlimit", do_setrlimit, true },
		{ "futex requeue", do_futex_requeue, true },
		{ "io_uring_setup", do_io_uring, true },
		{ "x32 call", do_x32, true },
		{ "process_vm_readv", do_process_vm, true },
	};
	(void)state;

	for (size_t i = 0; i < IOG_COUNT(calls); i++) {
		int rc = run(calls[i].f, calls[i].even_hosted);

		if (rc != -SIGSYS)
			fail_msg("%s: %d instead of death by SIGSYS", calls[i].name, rc);
		/* And it is the sandbox that makes the difference, where the two modes differ. */
		if (!calls[i].even_hosted)
			assert_int_equal(run(calls[i].f, true), 0);
	}
}

/* ---- allowed ---- */

static int worker_life(void)
{
	static _Atomic uint32_t word;
	struct timespec t = { 0, 1000000 }, now;
	struct iog_region_map r;
	struct iog_err err = { "" };
	uint32_t n = 1;
	char order;
	int fd, rc;
	char *m;

	if (syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t) != -1 || errno != ETIMEDOUT)
		return 1;
	if (syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1) != 0)
		return 2;
	/* An old kernel may not know it; the filter must not mind. */
	if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) != -1)
		return 3;
	sched_yield();
	if (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) || syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now))
		return 4;
	syscall(SYS_membarrier, 0, 0, 0);
	/* A region arrives, is checked and mapped, as in real life. */
	rc = iog_fd_recv(in.control, &order, 1, &fd, &n, 5000 * MS, &err);
	if (rc != 1 || n != 1)
		return 5;
	if (iog_region_open(&r, fd, 4096, 1 << 20, &err)) {
		(void)!write(in.status, err.text, strlen(err.text));
		return 99;
	}
	if (((char *)r.map)[100] != 'r')
		return 6;
	iog_region_close(&r);
	if (iog_fd_send(in.control, "ok", 2, NULL, 0, 0, &err))
		return 7;
	m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED || madvise(m, 1 << 20, MADV_DONTFORK) || munmap(m, 1 << 20))
		return 8;
	/* Limits hold: too much memory is an error, not a kill. */
	if (MEMORY_LIMITED && mmap(NULL, 512 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
		return 9;
	return write(in.status, "done", 4) == 4 ? 42 : 10;
}

static void a_worker_can_live(void **state)
{
	struct iog_region_map r;
	struct iog_err err = { "" };
	char answer[8];
	uint32_t none = 0;
	pid_t pid;
	(void)state;

	assert_int_equal(iog_region_create(&r, "iog-test", 8192, 0, &err), 0);
	((char *)r.map)[100] = 'r';
	for (int hosted = 0; hosted < 2; hosted++) {
		pid = start(worker_life, hosted, 0);
		assert_int_equal(iog_fd_send(out.control, "o", 1, &r.fd, 1, 5000 * MS, &err), 0);
		assert_int_equal(iog_fd_recv(out.control, answer, sizeof(answer), NULL, &none, 5000 * MS, &err), 2);
		assert_int_equal(finish(pid), 42);
	}
	iog_region_close(&r);
}

static int hosted_memory(void)
{
	char *p[64];
	size_t n = 16;

	/* Small ones by brk, large ones by mmap and mremap. */
	for (size_t i = 0; i < IOG_COUNT(p); i++, n = n < 8 << 20 ? n * 2 : 16) {
		p[i] = malloc(n);
		if (!p[i])
			return 1;
		memset(p[i], 1, n);
		p[i] = realloc(p[i], n + n / 2);
		if (!p[i] || p[i][n - 1] != 1)
			return 2;
		if (i % 2)
			free(p[i]), p[i] = NULL;
	}
	for (size_t i = 0; i < IOG_COUNT(p); i++)
		free(p[i]);
	return 42;
}

static void hosted_libraries_can_allocate(void **state)
{
	(void)state;
	assert_int_equal(run(hosted_memory, true), 42);
}

static int do_raise(void) { return raise(SIGUSR1); }
static int do_kill_self(void) { return kill(getpid(), SIGUSR2); }
static int do_handler(void)
{
	signal(SIGTERM, SIG_IGN);
	return 0;
}

static void it_may_end_itself(void **state)
{
	(void)state;
	assert_int_equal(run(do_raise, false), -SIGUSR1);
	assert_int_equal(run(do_kill_self, false), -SIGUSR2);
	/* Changing handlers is not on the list. */
	assert_int_equal(run(do_handler, false), -SIGSYS);
}

/* ---- from outside ---- */

static int stay(void)
{
	struct iog_err err = { "" };
	uint32_t none = 0;
	char c;

	if (write(in.status, "r", 1) != 1)
		return 1;
	/* Ends when the parent closes its end. */
	return iog_fd_recv(in.control, &c, 1, NULL, &none, 10000 * MS, &err) == 0 ? 42 : 2;
}

static long long field(pid_t pid, const char *file, const char *key, int base)
{
	char path[64], line[256];
	long long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "r");
	assert_non_null(f);
	while (v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			v = strtoll(line + strlen(key), NULL, base);
	fclose(f);
	return v;
}

static int fds_of(pid_t pid)
{
	char path[64], to[64];
	int n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		n += readlink(path, to, sizeof(to)) > 0;
	}
	return n;
}

static bool same_space(pid_t pid, const char *name)
{
	char a[64], b[64], ta[64] = "", tb[64] = "";

	snprintf(a, sizeof(a), "/proc/%d/ns/%s", pid, name);
	snprintf(b, sizeof(b), "/proc/self/ns/%s", name);
	assert_true(readlink(a, ta, sizeof(ta) - 1) > 0 && readlink(b, tb, sizeof(tb) - 1) > 0);
	return !strcmp(ta, tb);
}

static void seen_from_outside(void **state)
{
	int extra[2];
	pid_t pid;
	char c;
	(void)state;

	/* Two descriptors without CLOEXEC, to be inherited. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, extra), 0);
	assert_true(dup2(extra[0], 500) == 500);
	pid = start(stay, false, 0);
	assert_int_equal(read(out.status, &c, 1), 1);
	assert_int_equal(c, 'r');
	if (!geteuid() || field(pid, "status", "Uid:", 10) == geteuid()) {
		assert_int_equal(field(pid, "status", "NoNewPrivs:", 10), 1);
		assert_int_equal(field(pid, "status", "Seccomp:", 10), 2);
		assert_int_equal(field(pid, "status", "CapEff:", 16), 0);
		assert_int_equal(field(pid, "status", "CapPrm:", 16), 0);
		assert_int_equal(field(pid, "limits", "Max core file size", 10), 0);
		assert_int_equal(field(pid, "limits", "Max file size", 10), 0);
	}
	/* Only root sees into a process that is not dumpable. */
	if (!geteuid())
		assert_int_equal(fds_of(pid), 2);
	close(out.control);
	out.control = -1;
	assert_int_equal(finish(pid), 42);
	close(500);
	close(extra[0]);
	close(extra[1]);
}

/* Reports what the sandbox reported, then stays. */
static void namespaces_where_permitted(void **state)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} of[] = {
		{ IOG_NS_USER, "user" },
		{ IOG_NS_MOUNT, "mnt" },
		{ IOG_NS_NET, "net" },
		{ IOG_NS_IPC, "ipc" },
	};
	uint32_t all = IOG_NS_USER | IOG_NS_MOUNT | IOG_NS_NET | IOG_NS_IPC | IOG_NS_PID;
	struct iog_sandbox_report r;
	int c[2], s[2];
	pid_t pid;
	(void)state;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, c), 0);
	assert_int_equal(pipe(s), 0);
	pid = fork();
	if (!pid) {
		struct iog_sandbox_opts o = { .control = c[1], .status = s[1], .wanted = all, .more = 1 };
		struct iog_err err = { "" };

		in.control = c[1];
		in.status = s[1];
		if (iog_sandbox_enter(&o, &r, &err))
			leave(1);
		if (write(s[1], &r, sizeof(r)) != sizeof(r))
			leave(2);
		leave(stay());
	}
	close(c[1]);
	close(s[1]);
	out.control = c[0];
	out.status = s[0];
	assert_int_equal(read(s[0], &r, sizeof(r)), sizeof(r));
	assert_int_equal(r.have & ~all, 0);
	/* This child is not the first of a pid namespace, and is told why. */
	assert_false(r.have & IOG_NS_PID);
	assert_true(r.why[0]);
	print_message("# namespaces 0x%x; %s\n", r.have, r.why);
	if (!geteuid()) {
		for (size_t i = 0; i < IOG_COUNT(of); i++)
			/* A mount namespace whose root could not be emptied (in a changed root it cannot) is there, and counts for nothing. */
			if (of[i].bit != IOG_NS_MOUNT || r.have & IOG_NS_MOUNT)
				assert_int_equal(!same_space(pid, of[i].name), !!(r.have & of[i].bit));
		if (r.have & IOG_NS_MOUNT) {
			char path[64];

			/* Nothing of this machine's files is below its root. */
			snprintf(path, sizeof(path), "/proc/%d/root/etc", pid);
			assert_int_equal(access(path, F_OK), -1);
		}
	}
	close(out.control);
	out.control = -1;
	assert_int_equal(finish(pid), 42);
}

/* The starter dies: so does the one in the sandbox. */
static void it_dies_with_its_starter(void **state)
{
	int s[2], status;
	pid_t middle;
	char c;
	(void)state;

	assert_int_equal(pipe(s), 0);
	middle = fork();
	if (!middle) {
		pid_t p = fork();

		if (!p) {
			struct iog_sandbox_opts o = { .control = -1, .status = s[1], .parent = getppid() };
			struct timespec t = { 60, 0 };
			struct iog_err err = { "" };

			if (iog_sandbox_enter(&o, NULL, &err))
				leave(1);
			(void)!write(s[1], "r", 1);
			clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
			leave(0);
		}
		close(s[1]);
		/* Goes only when the inner one is confined. */
		leave(read(s[0], &c, 1) == 1 ? 0 : 1);
	}
	close(s[1]);
	assert_int_equal(waitpid(middle, &status, 0), middle);
	assert_int_equal(status, 0);
	/* The last writing end closes with the inner process. */
	{
		struct pollfd p = { .fd = s[0], .events = POLLIN };

		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(read(s[0], &c, 1), 0);
	}
	close(s[0]);
}

static void what_is_refused(void **state)
{
	int many[IOG_SANDBOX_FDS + 1] = { 0 }, status;
	struct iog_sandbox_opts o = { .control = -1, .status = -1, .keep = many, .n_keep = IOG_SANDBOX_FDS + 1 };
	struct iog_err err = { "" };
	char line[128];
	uint32_t n = 0;
	pid_t pid;
	(void)state;

	/* Before anything is done, so it may be called here. */
	assert_int_equal(iog_sandbox_enter(&o, NULL, &err), -EINVAL);
	pid = fork();
	if (!pid) {
		o.n_keep = 0;
		o.parent = getpid(); /* not its parent */
		leave(iog_sandbox_enter(&o, NULL, &err) != -ESRCH);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* Every line of the list has a reason. */
	while (iog_sandbox_calls(n, line)) {
		assert_non_null(strstr(line, ": "));
		assert_true(strlen(line) > 8);
		n++;
	}
	assert_true(n > 10 && n < 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forbidden_calls_kill),
		cmocka_unit_test(a_worker_can_live),
		cmocka_unit_test(hosted_libraries_can_allocate),
		cmocka_unit_test(it_may_end_itself),
		cmocka_unit_test(seen_from_outside),
		cmocka_unit_test(namespaces_where_permitted),
		cmocka_unit_test(it_dies_with_its_starter),
		cmocka_unit_test(what_is_refused),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
