/* SPDX-License-Identifier: BSD-3-Clause */
/* See endpoint-util.h. Runs on the I/O thread of the endpoint that calls it; iog_pace_wake on any. */
#include "runtime/host/endpoints/endpoint-util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t iog_endpoint_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int iog_pace_init(struct iog_pace *p, double rate, struct iog_err *err)
{
	p->rate = rate;
	p->due = 0;
	p->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return p->fd >= 0 ? 0 : iog_fail(err, -errno, "cannot make an event descriptor: %s", iog_errno_text(errno));
}

void iog_pace_drain(struct iog_pace *p)
{
	uint64_t n;
	while (read(p->fd, &n, sizeof n) < 0 && errno == EINTR)
		;
}

bool iog_pace_wait(struct iog_pace *p, uint64_t limit_ns)
{
	if (!(p->rate > 0) || !p->due)
		return true;
	uint64_t now = iog_endpoint_clock();
	if (now >= p->due)
		return true;
	uint64_t ns = IOG_MIN(p->due - now, limit_ns);
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
	struct pollfd f = { .fd = p->fd, .events = POLLIN };
	if (ppoll(&f, 1, &t, NULL) > 0)
		iog_pace_drain(p);
	return iog_endpoint_clock() >= p->due;
}

void iog_pace_sent(struct iog_pace *p)
{
	if (!(p->rate > 0))
		return;
	uint64_t now = iog_endpoint_clock();
	uint64_t period = p->rate < 1e-9 ? UINT64_MAX / 4 : (uint64_t)(1e9 / p->rate);
	/* Late by more than one period: the missed ones are not made up for. */
	p->due = p->due && p->due + 2 * period > now ? p->due + period : now + period;
}

void iog_pace_wake(struct iog_pace *p)
{
	uint64_t one = 1;
	while (write(p->fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

void iog_pace_finish(struct iog_pace *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

const char *iog_errno_text(int e)
{
	const char *s = strerrordesc_np(e);
	return s ? s : "unknown error";
}

int iog_write_at(int fd, const void *data, size_t n, uint64_t at)
{
	const char *p = data;
	while (n) {
		ssize_t w = pwrite(fd, p, n, (off_t)at);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -EIO;
		p += w, n -= (size_t)w, at += (uint64_t)w;
	}
	return 0;
}

int iog_read_at(int fd, void *data, size_t n, uint64_t at)
{
	char *p = data;
	while (n) {
		ssize_t r = pread(fd, p, n, (off_t)at);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ENODATA;
		p += r, n -= (size_t)r, at += (uint64_t)r;
	}
	return 0;
}

int iog_make_folders(const char *path, struct iog_err *err)
{
	char dir[IOG_TEXT];
	iog_strset(dir, sizeof dir, path);
	for (char *p = dir + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			if (mkdir(dir, 0777) == 0)
				iog_sync_parent(dir);
			else if (errno != EEXIST)
				return iog_fail(err, -errno, "cannot make folder %s for %s: %s; make it, or use another path", dir, path,
					iog_errno_text(errno));
			*p = '/';
		}
	return 0;
}

void iog_sync_parent(const char *path)
{
	char dir[IOG_TEXT];
	iog_strset(dir, sizeof dir, path);
	char *slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

int iog_fail_open(struct iog_err *err, int code, const char *path)
{
	if (code == -EBUSY)
		return iog_fail(err, code, "another sink or program is writing %s; give each its own file", path);
	const char *advice = code == -EACCES || code == -EPERM    ? "; let this user write it and its folder, or use another path"
			     : code == -EROFS                     ? "; use a path on another file system"
			     : code == -EISDIR                    ? "; name a file in that folder"
			     : code == -ENOTDIR                   ? "; a part of the path is a file, not a folder: use another path"
			     : code == -ENOSPC || code == -EDQUOT ? "; free some space and run again"
			     : code == -EEXIST ? "; on_restart = \"new\" writes no file that is there: use another path or on_restart"
					       : "";
	return iog_fail(err, code, "cannot open %s: %s%s", path, iog_errno_text(-code), advice);
}

int iog_open_alone(const char *path, bool fresh, bool only_new, int *fd, uint64_t *size, struct iog_err *err)
{
	struct stat st;
	int r = 0;
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (only_new ? O_EXCL : 0), 0666);
	if (*fd < 0)
		return iog_fail_open(err, -errno, path);
	if (fstat(*fd, &st) == 0 && !S_ISREG(st.st_mode))
		r = iog_fail(err, -EINVAL, "%s is not a regular file", path);
	/* A file system without locks is no reason to fail. */
	else if (flock(*fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		r = iog_fail_open(err, -EBUSY, path);
	else if (fresh && ftruncate(*fd, 0) < 0)
		r = iog_fail_write(err, -errno, path);
	else if (fstat(*fd, &st) < 0) /* locked: it does not grow any more */
		r = iog_fail_open(err, -errno, path);
	if (r < 0) {
		close(*fd);
		*fd = -1;
		return r;
	}
	*size = (uint64_t)st.st_size;
	return 0;
}

int iog_fail_write(struct iog_err *err, int code, const char *path)
{
	if (code == -ENOSPC || code == -EDQUOT || code == -EFBIG)
		return iog_fail(err, code, "the disk is full (%s): %s keeps what was stored before; free some space and run again",
			iog_errno_text(-code), path);
	return iog_fail(err, code, "cannot write %s: %s", path, iog_errno_text(-code));
}
