/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sealed memory files, mapped by one writer and any number of readers, and their way over Unix sockets. Promises that what was accepted
 * stays accessible: size and pages of a region cannot change after it left its creator. Any thread; no state of its own.
 */
#include "runtime/host/region.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

/* STEP: memory is allocated in such pieces, with a look at what is left before each. */
enum { HUGE_PAGE = 2 << 20, STEP = 64 << 20, SEALS_SIZE = F_SEAL_SHRINK | F_SEAL_GROW };

static int map(struct iog_region_map *r, bool writable, struct iog_err *err)
{
	/* The pages exist: populating sets up the page tables, so that the data path takes no fault. */
	void *p = mmap(NULL, r->bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | MAP_POPULATE, r->fd, 0);

	if (p == MAP_FAILED)
		return iog_fail(err, -errno, "mapping a region of %llu bytes %s: %s", (unsigned long long)r->bytes,
			writable ? "writable" : "read-only", strerror(errno));
	r->map = p;
	r->writable = writable;
	/* A fork must not turn the one writer into two. */
	if (madvise(p, r->bytes, MADV_DONTFORK) < 0)
		return iog_fail(err, -errno, "marking a region as not inherited: %s", strerror(errno));
	return 0;
}

static int add_seals(const struct iog_region_map *r, int seals, struct iog_err *err)
{
	if (fcntl(r->fd, F_ADD_SEALS, seals) < 0)
		return iog_fail(err, -errno, "sealing a region: %s", strerror(errno));
	return 0;
}

/* ---- how much there is ---- */

/* The start of a small file, terminated; false when it cannot be read. */
static bool slurp(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0;
}

static uint64_t slurp_number(const char *dir, const char *file, uint64_t otherwise)
{
	char path[600], text[64], *end;
	unsigned long long v;

	/* A path that is cut names nothing, and is not read. */
	if (iog_format(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path) || !slurp(path, text, sizeof(text)))
		return otherwise;
	v = strtoull(text, &end, 10); /* "max" is no number */
	return end == text ? otherwise : v;
}

/* The number behind `key` in text of lines "key value ..."; `otherwise` when there is none. */
static uint64_t number_after(const char *text, const char *key, uint64_t otherwise)
{
	const char *line = text;
	size_t n = strlen(key);

	while (strncmp(line, key, n)) {
		line = strchr(line, '\n');
		if (!line)
			return otherwise;
		line++;
	}
	return strtoull(line + n, NULL, 10);
}

/* What is left in one control group and in all above it. Page cache that can be dropped counts as free. */
static uint64_t left_in_groups(const char *mount, const char *group, const char *limit, const char *usage)
{
	char dir[512], path[600], stat[4096];
	uint64_t left = UINT64_MAX;
	size_t root = strlen(mount);

	if (iog_format(dir, sizeof(dir), "%s%s", mount, group) >= (int)sizeof(dir))
		return left;
	for (;;) {
		uint64_t max = slurp_number(dir, limit, UINT64_MAX), used = slurp_number(dir, usage, 0), cache = 0;
		char *slash;

		iog_format(path, sizeof(path), "%s/memory.stat", dir);
		if (slurp(path, stat, sizeof(stat)))
			cache = number_after(stat, "inactive_file ", 0);
		used -= IOG_MIN(cache, used);
		left = IOG_MIN(left, max > used ? max - used : 0);
		slash = strrchr(dir, '/');
		if (strlen(dir) <= root || !slash || (size_t)(slash - dir) < root)
			return left;
		*slash = 0;
	}
}

uint64_t iog_region_available(void)
{
	char text[4096];
	uint64_t left = UINT64_MAX, kib;

	if (slurp("/proc/meminfo", text, sizeof(text))) {
		kib = number_after(text, "MemAvailable:", UINT64_MAX);
		if (kib < UINT64_MAX >> 10)
			left = kib << 10;
	}
	if (!slurp("/proc/self/cgroup", text, sizeof(text)))
		return left;
	/* Lines "id:controllers:path"; v2 has id 0 and no controllers. */
	for (char *line = text, *next; line && *line; line = next) {
		char *list = strchr(line, ':'), *group;

		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		group = list ? strchr(list + 1, ':') : NULL;
		if (!group)
			continue;
		*group++ = 0;
		if (!list[1]) {
			left = IOG_MIN(left, left_in_groups("/sys/fs/cgroup", group, "memory.max", "memory.current"));
			left = IOG_MIN(left, left_in_groups("/sys/fs/cgroup/unified", group, "memory.max", "memory.current"));
		} else if (strstr(list + 1, "memory")) {
			left = IOG_MIN(
				left, left_in_groups("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", "memory.usage_in_bytes"));
		}
	}
	return left;
}

/* Refuses what cannot be had before it is tried: the kernel would rather kill somebody than say no. */
static int fits(const char *name, uint64_t bytes, bool huge, struct iog_err *err)
{
	uint64_t left = iog_region_available();
	struct rlimit file;

	/* Past this limit a signal ends the process. */
	if (!getrlimit(RLIMIT_FSIZE, &file) && file.rlim_cur != RLIM_INFINITY && bytes > file.rlim_cur)
		return iog_fail(err, -EFBIG, "region %s: %llu bytes are more than the file size limit of %llu; raise it (ulimit -f)", name,
			(unsigned long long)bytes, (unsigned long long)file.rlim_cur);
	/* The rest is for everyone else. Huge pages come from a pool, which refuses by itself. */
	if (!huge && bytes > left - left / 16)
		return iog_fail(err, -ENOMEM, "region %s: %llu MiB wanted, %llu MiB of memory are available; declare less or free some",
			name, (unsigned long long)(bytes >> 20), (unsigned long long)(left >> 20));
	return 0;
}

static int allocate(struct iog_region_map *r, const char *name, bool huge, struct iog_err *err)
{
	uint64_t at, n;
	int rc;

	if (ftruncate(r->fd, (off_t)r->bytes) < 0)
		goto fail;
	for (at = 0; at < r->bytes; at += n) {
		n = IOG_MIN(r->bytes - at, (uint64_t)STEP);
		/* Others allocate too. */
		rc = at ? fits(name, r->bytes - at, huge, err) : 0;
		if (rc)
			return rc;
		do
			rc = fallocate(r->fd, 0, (off_t)at, (off_t)n);
		while (rc < 0 && errno == EINTR);
		if (rc < 0)
			goto fail;
	}
	return 0;
fail:
	rc = errno == ENOSPC ? -ENOMEM : -errno;
	return iog_fail(err, rc, "region %s: no memory for %llu bytes%s: %s", name, (unsigned long long)r->bytes,
		huge ? " of huge pages (see /proc/sys/vm/nr_hugepages)" : "", strerror(-rc));
}

static int make(struct iog_region_map *r, const char *name, uint64_t bytes, uint32_t flags, struct iog_err *err)
{
	bool huge = flags & IOG_REGION_HUGE;
	uint64_t page = huge ? HUGE_PAGE : (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned mode = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
	int rc;

	*r = IOG_REGION_NONE;
	if (!bytes || bytes > (uint64_t)INT64_MAX - page)
		return iog_fail(err, -EINVAL, "region %s: %llu bytes cannot be allocated", name, (unsigned long long)bytes);
	r->bytes = IOG_ROUND_UP(bytes, page);
	rc = fits(name, r->bytes, huge, err);
	if (rc)
		return rc;
	r->fd = memfd_create(name, mode | MFD_NOEXEC_SEAL);
	if (r->fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		r->fd = memfd_create(name, mode);
	if (r->fd < 0)
		return iog_fail(err, -errno, "region %s: memfd_create: %s", name, strerror(errno));
	rc = allocate(r, name, huge, err);
	if (rc)
		iog_region_close(r);
	return rc;
}

int iog_region_create(struct iog_region_map *r, const char *name, uint64_t bytes, uint32_t flags, struct iog_err *err)
{
	int rc = make(r, name, bytes, flags, err);

	if (rc)
		return rc;
	rc = map(r, true, err);
	/* After the mapping: this seal forbids all later writable ones. */
	if (!rc)
		rc = add_seals(r, SEALS_SIZE | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, err);
	if (rc)
		iog_region_close(r);
	return rc;
}

int iog_region_create_for(struct iog_region_map *r, const char *name, uint64_t bytes, uint32_t flags, struct iog_err *err)
{
	int rc = make(r, name, bytes, flags, err);

	if (rc)
		return rc;
	rc = add_seals(r, SEALS_SIZE, err);
	if (!rc)
		rc = map(r, false, err);
	if (rc)
		iog_region_close(r);
	return rc;
}

int iog_region_seal(struct iog_region_map *r, struct iog_err *err) { return add_seals(r, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, err); }

static int open_fd(struct iog_region_map *r, int fd, uint64_t min, uint64_t max, bool writable, struct iog_err *err)
{
	struct stat st;
	int seals, rc;
	const char *what = NULL;

	*r = IOG_REGION_NONE;
	r->fd = fd;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0) {
		rc = iog_fail(err, -EINVAL, "received descriptor %d is not a region: %s", fd, strerror(errno));
		goto fail;
	}
	/* Not fstat(): some C libraries make it a call that takes a path, which a sandbox forbids. */
	if (syscall(SYS_fstat, fd, &st) < 0) {
		rc = iog_fail(err, -errno, "received region: fstat: %s", strerror(errno));
		goto fail;
	}
	if ((seals & SEALS_SIZE) != SEALS_SIZE)
		what = "its size is not sealed";
	else if (!writable && !(seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE)))
		what = "it is not sealed against further writers";
	else if (st.st_size <= 0 || (uint64_t)st.st_size < min || (uint64_t)st.st_size > max)
		what = "its size is out of bounds";
	else if ((uint64_t)st.st_size % (uint64_t)sysconf(_SC_PAGESIZE))
		what = "its size is not whole pages";
	else if (((uint64_t)st.st_blocks << 9) < (uint64_t)st.st_size)
		/* A hole would be filled when it is read, and that may fail. A write seal forbids punching new ones. */
		what = "its memory is not all allocated";
	if (what) {
		rc = iog_fail(err, -EPROTO, "received region of %lld bytes (expected %llu to %llu) refused: %s", (long long)st.st_size,
			(unsigned long long)min, (unsigned long long)max, what);
		goto fail;
	}
	r->bytes = (uint64_t)st.st_size;
	rc = map(r, writable, err);
	if (!rc)
		return 0;
fail:
	iog_region_close(r);
	return rc;
}

int iog_region_open(struct iog_region_map *r, int fd, uint64_t min, uint64_t max, struct iog_err *err)
{
	return open_fd(r, fd, min, max, false, err);
}

int iog_region_open_writer(struct iog_region_map *r, int fd, uint64_t min, uint64_t max, struct iog_err *err)
{
	return open_fd(r, fd, min, max, true, err);
}

int iog_region_open_file(struct iog_region_map *r, int fd, uint64_t bytes, struct iog_err *err)
{
	struct stat st;
	*r = (struct iog_region_map){ .fd = fd, .bytes = bytes };
	int rc = syscall(SYS_fstat, fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes
			 ? iog_fail(err, -EPROTO, "received file refused: it has not %llu bytes", (unsigned long long)bytes)
			 : map(r, true, err);
	if (rc)
		iog_region_close(r);
	return rc;
}

void iog_region_close(struct iog_region_map *r)
{
	if (r->map)
		munmap(r->map, r->bytes);
	if (r->fd >= 0)
		close(r->fd);
	*r = IOG_REGION_NONE;
}

/* ---- descriptors over a socket ---- */

int iog_fd_pair(int pair[2], struct iog_err *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return iog_fail(err, -errno, "socketpair: %s", strerror(errno));
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Waits until the socket may be ready; false when the time is over. */
static bool ready(int sock, short events, uint64_t until)
{
	uint64_t now = now_ns();
	struct pollfd p = { .fd = sock, .events = events };

	if (now >= until)
		return false;
	/* Rounded up, in slices that fit an int; the caller's loop looks at the time again. */
	poll(&p, 1, (int)IOG_MIN((until - now + 999999) / 1000000, (uint64_t)1000));
	return true;
}

static uint64_t deadline(uint64_t limit_ns)
{
	uint64_t until;

	return limit_ns && !iog_add(now_ns(), limit_ns, &until) ? UINT64_MAX : limit_ns ? until : 0;
}

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(IOG_FDS * sizeof(int))];
};

int iog_fd_send(int sock, const void *data, size_t bytes, const int *fds, uint32_t n, uint64_t limit_ns, struct iog_err *err)
{
	uint64_t until = deadline(limit_ns);
	union control control;
	struct iovec io = { .iov_base = (void *)(uintptr_t)data, .iov_len = bytes };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };
	ssize_t sent;

	if (!bytes || n > IOG_FDS)
		return iog_fail(err, -EINVAL, "a message has 1 byte or more and at most %d descriptors, not %zu and %u", IOG_FDS, bytes, n);
	if (n) {
		memset(&control, 0, sizeof(control));
		m.msg_control = control.space;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, n * sizeof(int));
	}
	do {
		sent = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent == (ssize_t)bytes)
			return 0;
		if (sent >= 0)
			return iog_fail(err, -EIO, "the socket took %zd of %zu bytes of a message", sent, bytes);
		if (errno != EAGAIN && errno != EINTR)
			return iog_fail(err, -errno, "sending %zu bytes and %u descriptors: %s", bytes, n, strerror(errno));
	} while (errno == EINTR || (limit_ns && ready(sock, POLLOUT, until)));
	return -EAGAIN;
}

int iog_fd_recv(int sock, void *data, size_t size, int *fds, uint32_t *n, uint64_t limit_ns, struct iog_err *err)
{
	uint64_t until = deadline(limit_ns);
	union control control;
	struct iovec io = { .iov_base = data, .iov_len = size };
	struct msghdr m;
	struct cmsghdr *c;
	uint32_t room = *n, have = 0;
	bool bad = false, reset = false;
	ssize_t got;

	*n = 0;
	if (room > IOG_FDS || size > INT_MAX)
		return iog_fail(err, -EINVAL, "a message has at most %d descriptors and %d bytes", IOG_FDS, INT_MAX);
	for (;;) {
		m = (struct msghdr){
			.msg_iov = &io, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)
		};
		got = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (got >= 0)
			break;
		/* The peer closed with something of ours unread. That is said once, before what it had said itself. */
		if (errno == EINTR || (errno == ECONNRESET && !reset)) {
			reset |= errno == ECONNRESET;
			continue;
		}
		if (errno != EAGAIN)
			return iog_fail(err, -errno, "receiving: %s", strerror(errno));
		if (!limit_ns || !ready(sock, POLLIN, until))
			return -EAGAIN;
	}
	/* Every descriptor that arrived is ours now: kept in fds or closed. */
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		size_t i, count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (have < room) {
				fds[have++] = fd;
			} else {
				close(fd);
				bad = true;
			}
		}
	}
	if (!got && have) /* an empty message means the end to the caller, who then expects none */
		bad = true;
	if (bad || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		const uint32_t came = have;
		while (have)
			close(fds[--have]);
		/* Cut off though there was room: there was no number for them. */
		if (!bad && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == MSG_CTRUNC && came < IOG_FDS)
			return iog_fail(err, -EMFILE, "there is no descriptor left for one that was received (ulimit -n)");
		return iog_fail(err, -EPROTO, "received a message of more than %zu bytes or %u descriptors", size, room);
	}
	*n = have;
	return (int)got;
}
