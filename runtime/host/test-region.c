/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions and descriptor passing: what is promised about seals, sizes, allocation and forks; what is refused; messages that are too
 * large, carry too many descriptors, or never come.
 */
#include "runtime/host/region.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static const uint64_t MS = 1000000;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Runs f in a child; its exit status, or minus the signal that killed it. */
static int in_child(int (*f)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL); /* cmocka catches it */
		_exit(f(arg));
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int touch(void *p) { return *(volatile char *)p & 0; }

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void creator_writes_nobody_else(void **state)
{
	struct iog_region_map r, q;
	struct iog_err err = { "" };
	char path[64];
	int fd;
	(void)state;

	assert_int_equal(iog_region_create(&r, "iog-test", 100000, 0, &err), 0);
	assert_true(r.bytes >= 100000 && r.bytes % 4096 == 0 && r.writable);
	memset(r.map, 7, r.bytes);
	assert_true(fcntl(r.fd, F_GETFD) & FD_CLOEXEC);

	/* Neither this descriptor nor one reopened through /proc can be mapped writable, resized, written or punched. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", r.fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ptr_equal(mmap(NULL, r.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(ftruncate(fd, (off_t)r.bytes * 2), -1);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	assert_int_equal(madvise(r.map, 4096, MADV_REMOVE), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);

	/* A reader sees what is written later, and cannot make its mapping writable. */
	assert_int_equal(iog_region_open(&q, fd, 100000, r.bytes, &err), 0);
	assert_false(q.writable);
	((char *)r.map)[99999] = 42;
	assert_int_equal(((char *)q.map)[99999], 42);
	assert_int_equal(mprotect(q.map, q.bytes, PROT_READ | PROT_WRITE), -1);

	/* A child has neither mapping. */
	assert_int_equal(in_child(touch, r.map), -SIGSEGV);
	assert_int_equal(in_child(touch, q.map), -SIGSEGV);
	iog_region_close(&q);
	iog_region_close(&r);
	assert_int_equal(r.fd, -1);
	iog_region_close(&r);
}

struct writer {
	int sock;
	uint64_t bytes;
};

/* The process that writes: maps, says so, writes when told. */
static int write_there(void *arg)
{
	struct writer *w = arg;
	struct iog_region_map r;
	struct iog_err err = { "" };
	char c;
	int fd;
	uint32_t n = 1;

	if (iog_fd_recv(w->sock, &c, 1, &fd, &n, 2000 * MS, &err) != 1 || n != 1)
		return 1;
	if (iog_region_open_writer(&r, fd, w->bytes, w->bytes, &err))
		return 2;
	if (iog_fd_send(w->sock, "m", 1, NULL, 0, 2000 * MS, &err))
		return 3;
	n = 0;
	if (iog_fd_recv(w->sock, &c, 1, NULL, &n, 2000 * MS, &err) != 1)
		return 4;
	memset(r.map, 9, r.bytes);
	iog_region_close(&r);
	return iog_fd_send(w->sock, "w", 1, NULL, 0, 2000 * MS, &err) ? 5 : 0;
}

static void another_process_writes(void **state)
{
	struct iog_region_map r, q;
	struct iog_err err = { "" };
	int pair[2], status, fd;
	uint32_t none = 0;
	struct writer w;
	pid_t pid;
	char c;
	(void)state;

	assert_int_equal(iog_fd_pair(pair, &err), 0);
	assert_int_equal(iog_region_create_for(&r, "iog-test", 65536, 0, &err), 0);
	assert_false(r.writable);
	/* Not yet sealed: a reader must not accept it. */
	fd = dup(r.fd);
	assert_int_equal(iog_region_open(&q, fd, 1, 1 << 20, &err), -EPROTO);
	assert_non_null(strstr(err.text, "not sealed against further writers"));
	assert_int_equal(fcntl(fd, F_GETFD), -1);

	w = (struct writer){ pair[1], r.bytes };
	pid = fork();
	if (!pid)
		_exit(write_there(&w));
	close(pair[1]);
	assert_int_equal(iog_fd_send(pair[0], "r", 1, &r.fd, 1, 2000 * MS, &err), 0);
	assert_int_equal(iog_fd_recv(pair[0], &c, 1, NULL, &none, 2000 * MS, &err), 1);
	assert_int_equal(iog_region_seal(&r, &err), 0);
	fd = dup(r.fd);
	assert_int_not_equal(iog_region_open_writer(&q, fd, 1, 1 << 20, &err), 0);
	assert_int_equal(((char *)r.map)[65535], 0);
	assert_int_equal(iog_fd_send(pair[0], "g", 1, NULL, 0, 2000 * MS, &err), 0);
	assert_int_equal(iog_fd_recv(pair[0], &c, 1, NULL, &none, 2000 * MS, &err), 1);
	assert_int_equal(c, 'w');
	assert_int_equal(((char *)r.map)[65535], 9);
	fd = dup(r.fd);
	assert_int_equal(iog_region_open(&q, fd, r.bytes, r.bytes, &err), 0);
	assert_int_equal(((char *)q.map)[0], 9);
	iog_region_close(&q);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* The peer is gone: end of stream, then EPIPE, no signal. */
	assert_int_equal(iog_fd_recv(pair[0], &c, 1, NULL, &none, 2000 * MS, &err), 0);
	assert_int_equal(iog_fd_send(pair[0], "x", 1, NULL, 0, 2000 * MS, &err), -EPIPE);
	close(pair[0]);
	iog_region_close(&r);
}

static void what_is_refused(void **state)
{
	struct iog_region_map r;
	struct iog_err err = { "" };
	int fd, pair[2], before = count_fds();
	FILE *f;
	(void)state;

	/* Sizes that cannot be. */
	assert_int_equal(iog_region_create(&r, "iog-test", 0, 0, &err), -EINVAL);
	assert_int_equal(iog_region_create(&r, "iog-test", UINT64_MAX, 0, &err), -EINVAL);
	/* More than there is: said before anything is allocated. The first line makes the second one safe to try. */
	assert_true(iog_region_available() < (uint64_t)1 << 50);
	assert_int_equal(iog_region_create(&r, "iog-test", (uint64_t)1 << 60, 0, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "are available"));
	assert_int_equal(iog_region_create_for(&r, "iog-test", (uint64_t)1 << 60, 0, &err), -ENOMEM);
	assert_int_equal(r.fd, -1);

	/* Holes, although everything is sealed. */
	fd = memfd_create("iog-test", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, 65536), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE), 0);
	assert_int_equal(iog_region_open(&r, fd, 1, 1 << 20, &err), -EPROTO);
	assert_non_null(strstr(err.text, "not all allocated"));

	/* Size not sealed. */
	fd = memfd_create("iog-test", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	assert_int_equal(fallocate(fd, 0, 0, 65536), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_FUTURE_WRITE), 0);
	assert_int_equal(iog_region_open(&r, fd, 1, 1 << 20, &err), -EPROTO);
	assert_non_null(strstr(err.text, "size is not sealed"));

	/* Out of bounds, both ways; not whole pages. */
	for (int k = 0; k < 3; k++) {
		fd = memfd_create("iog-test", MFD_ALLOW_SEALING | MFD_CLOEXEC);
		assert_int_equal(fallocate(fd, 0, 0, k == 2 ? 65537 : 65536), 0);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE), 0);
		assert_int_equal(iog_region_open(&r, fd, k ? 1 : 65537, k == 1 ? 65535 : 1 << 20, &err), -EPROTO);
		assert_non_null(strstr(err.text, k == 2 ? "not whole pages" : "out of bounds"));
	}

	/* Not a memory file at all. */
	f = tmpfile();
	assert_non_null(f);
	assert_true(iog_region_open(&r, dup(fileno(f)), 1, 1 << 20, &err) < 0);
	fclose(f);
	assert_int_equal(iog_fd_pair(pair, &err), 0);
	assert_true(iog_region_open(&r, pair[0], 1, 1 << 20, &err) < 0);
	close(pair[1]);
	assert_true(iog_region_open(&r, -1, 1, 1 << 20, &err) < 0);
	assert_int_equal(count_fds(), before);
}

static void messages_are_bounded(void **state)
{
	int pair[2], fds[IOG_FDS], got[IOG_FDS], before = count_fds();
	uint32_t n, zero = 0;
	struct iog_err err = { "" };
	char data[64] = "hello", in[64];
	uint64_t t;
	(void)state;

	assert_int_equal(iog_fd_pair(pair, &err), 0);
	for (int i = 0; i < IOG_FDS; i++)
		fds[i] = pair[0];

	/* As many as are allowed, all usable, all closed on exec. */
	assert_int_equal(iog_fd_send(pair[0], data, 6, fds, IOG_FDS, 0, &err), 0);
	n = IOG_FDS;
	assert_int_equal(iog_fd_recv(pair[1], in, sizeof(in), got, &n, 0, &err), 6);
	assert_string_equal(in, "hello");
	assert_int_equal(n, IOG_FDS);
	for (uint32_t i = 0; i < n; i++) {
		assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
		close(got[i]);
	}

	/* More descriptors or bytes than expected: nothing is kept. */
	assert_int_equal(iog_fd_send(pair[0], data, 6, fds, 3, 0, &err), 0);
	n = 2;
	assert_int_equal(iog_fd_recv(pair[1], in, sizeof(in), got, &n, 0, &err), -EPROTO);
	assert_int_equal(n, 0);
	assert_int_equal(iog_fd_send(pair[0], data, 6, fds, 1, 0, &err), 0);
	n = 1;
	assert_int_equal(iog_fd_recv(pair[1], in, 5, got, &n, 0, &err), -EPROTO);
	assert_int_equal(n, 0);
	assert_int_equal(iog_fd_send(pair[0], data, 6, fds, IOG_FDS + 1, 0, &err), -EINVAL);
	assert_int_equal(iog_fd_send(pair[0], data, 0, fds, 1, 0, &err), -EINVAL);

	/* More than the control buffer can hold, from a peer that does not use our functions. */
	{
		char space[CMSG_SPACE(4 * IOG_FDS * sizeof(int))] = { 0 };
		struct iovec io = { data, 6 };
		struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(4 * IOG_FDS * sizeof(int));
		for (int i = 0; i < 4 * IOG_FDS; i++)
			((int *)(void *)CMSG_DATA(c))[i] = pair[0];
		assert_int_equal(sendmsg(pair[0], &m, 0), 6);
		n = IOG_FDS;
		assert_int_equal(iog_fd_recv(pair[1], in, sizeof(in), got, &n, 0, &err), -EPROTO);
	}
	assert_int_equal(count_fds(), before + 2);

	/* Waiting ends. */
	t = now_ns();
	assert_int_equal(iog_fd_recv(pair[1], in, sizeof(in), NULL, &zero, 30 * MS, &err), -EAGAIN);
	assert_true(now_ns() - t >= 30 * MS && now_ns() - t < 5000 * MS);
	assert_int_equal(iog_fd_recv(pair[1], in, sizeof(in), NULL, &zero, 0, &err), -EAGAIN);
	t = now_ns();
	for (n = 0; n < 100000 && !iog_fd_send(pair[0], data, sizeof(data), NULL, 0, 0, &err); n++)
		;
	assert_true(n > 0 && n < 100000);
	assert_int_equal(iog_fd_send(pair[0], data, sizeof(data), NULL, 0, 20 * MS, &err), -EAGAIN);
	assert_true(now_ns() - t >= 20 * MS);
	close(pair[0]);
	close(pair[1]);
}

static void huge_pages(void **state)
{
	struct iog_region_map r, q;
	struct iog_err err = { "" };
	int rc = iog_region_create(&r, "iog-test", 3 << 20, IOG_REGION_HUGE, &err);
	(void)state;

	if (rc == -ENOMEM) {
		/* The pool is empty: said in one sentence that names the cure. */
		assert_non_null(strstr(err.text, "nr_hugepages"));
		print_message("# no huge pages on this machine (/proc/sys/vm/nr_hugepages)\n");
		skip();
	}
	assert_int_equal(rc, 0);
	assert_int_equal(r.bytes, 4 << 20);
	((char *)r.map)[r.bytes - 1] = 3;
	assert_int_equal(iog_region_open(&q, dup(r.fd), r.bytes, r.bytes, &err), 0);
	assert_int_equal(((char *)q.map)[r.bytes - 1], 3);
	iog_region_close(&q);
	iog_region_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(creator_writes_nobody_else),
		cmocka_unit_test(another_process_writes),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(messages_are_bounded),
		cmocka_unit_test(huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
