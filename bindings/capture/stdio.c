/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures what a program writes into files by open and write, or through streams of stdio, without MPI; preloaded (build/capture/stdio.so). Which
 * files, and what is published: files.h.
 *
 * libc calls its own write for a FILE, which nobody can interpose; so fopen of a captured file gives a stream of ours (fopencookie) over a descriptor,
 * and fileno knows that descriptor, because C++ streams write to it directly. Everything is written as without us first, and published
 * afterwards with the place where it went. Not seen: mmap, sendfile, descriptors copied by fcntl, renaming; nor what other processes write into
 * descriptors they have from this one.
 *
 * IOG_CAPTURE_FILE=drop: what was published is not written, only the position moves; files opened for appending are written all the same.
 *
 * Any thread of the program. errno is what the call of the program left.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bindings/capture/capture.h"
#include "bindings/capture/files.h"

enum { DESCRIPTORS = 65536 };

/* Captured files by descriptor. */
static struct iog_cfile *table[DESCRIPTORS];
static bool wanted;
static pid_t owner; /* a child of vfork() has our memory, but descriptors of its own */

static struct iog_cfile *file_of(int fd)
{
	return wanted && fd >= 0 && fd < DESCRIPTORS ? __atomic_load_n(&table[fd], __ATOMIC_ACQUIRE) : NULL;
}

/* Puts a file, or none, where another may have been. */
static void set(int fd, struct iog_cfile *f)
{
	if (fd >= 0 && fd < DESCRIPTORS && getpid() == owner)
		iog_cfile_close(__atomic_exchange_n(&table[fd], f, __ATOMIC_ACQ_REL));
	else
		iog_cfile_close(f);
}

/* ---- opening ---- */

static bool writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY && !(flags & (O_PATH | O_DIRECTORY)); }

/* The file of that name below a folder, if it is captured. */
static struct iog_cfile *named(int folder, const char *path)
{
	char here[PATH_MAX], link[64], whole[2 * PATH_MAX];
	if (folder == AT_FDCWD || !path || path[0] == '/')
		return iog_cfile_open(path, false);
	snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
	const ssize_t n = readlink(link, here, sizeof here - 1);
	if (n <= 0 || snprintf(whole, sizeof whole, "%.*s/%s", (int)n, here, path) >= (int)sizeof whole)
		return NULL;
	return iog_cfile_open(whole, false);
}

/*
 * Opens as openat does. Of several that create a file one has made it, and only that one says that it is new; so what another has written
 * there is not taken for gone.
 */
static int open_at(int folder, const char *path, int flags, mode_t mode)
{
	int (*const real)(int, const char *, int, ...) = IOG_CAPTURE_NEXT(openat);
	struct iog_cfile *f = wanted && writes(flags) ? named(folder, path) : NULL;
	bool fresh = flags & O_TRUNC;
	int fd = -1;
	if (!f)
		return real(folder, path, flags, mode);
	if (flags & O_CREAT && !(flags & O_EXCL)) {
		fd = real(folder, path, flags | O_EXCL, mode);
		fresh |= fd >= 0;
	}
	if (fd < 0)
		fd = real(folder, path, flags, mode);
	const int e = errno;
	struct stat st;
	if (fd < 0 || fd >= DESCRIPTORS || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		iog_cfile_close(f);
	} else {
		if (fresh || flags & O_EXCL)
			iog_cfile_resize(f, 0);
		set(fd, f);
	}
	errno = e;
	return fd;
}

#define MODE(flags)                                                                                                                        \
	({                                                                                                                                 \
		mode_t mode_ = 0;                                                                                                          \
		if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                                   \
			va_list ap_;                                                                                                       \
			va_start(ap_, flags);                                                                                              \
			mode_ = va_arg(ap_, mode_t);                                                                                       \
			va_end(ap_);                                                                                                       \
		}                                                                                                                          \
		mode_;                                                                                                                     \
	})

/* What fortified programs call. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);
int __openat64_2(int folder, const char *path, int flags);

int open(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, MODE(flags)); }
int openat(int folder, const char *path, int flags, ...) { return open_at(folder, path, flags, MODE(flags)); }
int openat64(int folder, const char *path, int flags, ...) { return open_at(folder, path, flags, MODE(flags)); }
int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __openat_2(int folder, const char *path, int flags) { return open_at(folder, path, flags, 0); }
int __openat64_2(int folder, const char *path, int flags) { return open_at(folder, path, flags, 0); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* ---- closing ---- */

int close(int fd)
{
	if (file_of(fd)) /* before somebody else may get the number */
		set(fd, NULL);
	return IOG_CAPTURE_NEXT(close)(fd);
}

static void forget(unsigned first, unsigned last)
{
	for (unsigned fd = first; wanted && fd <= last && fd < DESCRIPTORS; fd++)
		if (file_of((int)fd))
			set((int)fd, NULL);
}

int close_range(unsigned first, unsigned last, int flags)
{
	if (!((unsigned)flags & CLOSE_RANGE_CLOEXEC))
		forget(first, last);
	return IOG_CAPTURE_NEXT(close_range)(first, last, flags);
}

void closefrom(int first)
{
	forget(first < 0 ? 0 : (unsigned)first, UINT_MAX);
	IOG_CAPTURE_NEXT(closefrom)(first);
}

/* ---- writing ---- */

/* What was written of the buffers of a call, from `at` on, is published. */
static void publish(struct iog_cfile *f, int64_t at, const struct iovec *v, int n, ssize_t written)
{
	for (int i = 0; i < n && written > 0; i++) {
		const int64_t k = (int64_t)v[i].iov_len < written ? (int64_t)v[i].iov_len : written;
		const struct iog_piece piece = { at, k };
		if (k)
			iog_cfile_write(f, &piece, 1, v[i].iov_base);
		at += k;
		written -= k;
	}
}

/* False: it could not be published, and must be written. */
static bool instead(struct iog_cfile *f, int64_t at, const struct iovec *v, int n, ssize_t *bytes)
{
	*bytes = 0;
	for (int i = 0; i < n; i++) {
		const struct iog_piece piece = { at + *bytes, (int64_t)v[i].iov_len };
		if (v[i].iov_len && !iog_cfile_write(f, &piece, 1, v[i].iov_base))
			return false;
		*bytes += (ssize_t)v[i].iov_len;
	}
	return true;
}

static ssize_t real_write(int fd, const struct iovec *v, int n)
{
	return n == 1 ? IOG_CAPTURE_NEXT(write)(fd, v->iov_base, v->iov_len) : IOG_CAPTURE_NEXT(writev)(fd, v, n);
}

/* At the position of the descriptor. Positions of one file are looked at and moved by one thread at a time. */
static ssize_t write_here(int fd, const struct iovec *v, int n)
{
	struct iog_cfile *f = file_of(fd);
	ssize_t r;
	if (!f || iog_cfile_inside())
		return real_write(fd, v, n);
	iog_cfile_lock(f);
	const int flags = iog_cfile_drops() ? fcntl(fd, F_GETFL) : 0;
	const int64_t before = iog_cfile_drops() && flags >= 0 && !(flags & O_APPEND) ? lseek(fd, 0, SEEK_CUR) : -1;
	if (before >= 0 && instead(f, before, v, n, &r)) {
		lseek(fd, before + r, SEEK_SET);
	} else {
		r = real_write(fd, v, n);
		const int e = errno;
		if (r > 0)
			publish(f, lseek(fd, 0, SEEK_CUR) - r, v, n, r);
		errno = e;
	}
	iog_cfile_unlock(f);
	return r;
}

static ssize_t write_at(int fd, const struct iovec *v, int n, off_t at)
{
	struct iog_cfile *f = file_of(fd);
	ssize_t r;
	if (f && !iog_cfile_inside() && iog_cfile_drops() && at >= 0 && instead(f, at, v, n, &r))
		return r;
	r = n == 1 ? IOG_CAPTURE_NEXT(pwrite)(fd, v->iov_base, v->iov_len, at) : IOG_CAPTURE_NEXT(pwritev)(fd, v, n, at);
	const int e = errno;
	if (f && r > 0 && !iog_cfile_inside())
		publish(f, at, v, n, r);
	errno = e;
	return r;
}

#define ONE(data, n) (&(const struct iovec){ (void *)(uintptr_t)(data), n })
ssize_t write(int fd, const void *data, size_t n) { return write_here(fd, ONE(data, n), 1); }
ssize_t writev(int fd, const struct iovec *v, int n) { return write_here(fd, v, n); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return write_at(fd, ONE(data, n), 1, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { return write_at(fd, ONE(data, n), 1, at); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) { return write_at(fd, v, n, at); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) { return write_at(fd, v, n, at); }
ssize_t pwritev2(int fd, const struct iovec *v, int n, off_t at, int flags)
{
	if (!file_of(fd))
		return IOG_CAPTURE_NEXT(pwritev2)(fd, v, n, at, flags);
	return at == -1 ? write_here(fd, v, n) : write_at(fd, v, n, at); /* flags only make it faster or durable */
}
ssize_t pwritev64v2(int fd, const struct iovec *v, int n, off64_t at, int flags) { return pwritev2(fd, v, n, at, flags); }

/* The size is what it is now. */
static int resized(int fd, int rc)
{
	struct iog_cfile *f = file_of(fd);
	struct stat st;
	const int e = errno;
	if (f && !rc && !iog_cfile_inside() && !fstat(fd, &st))
		iog_cfile_resize(f, st.st_size);
	errno = e;
	return rc;
}

int ftruncate(int fd, off_t size) { return resized(fd, IOG_CAPTURE_NEXT(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { return resized(fd, IOG_CAPTURE_NEXT(ftruncate)(fd, size)); }
int posix_fallocate(int fd, off_t at, off_t n) { return resized(fd, IOG_CAPTURE_NEXT(posix_fallocate)(fd, at, n)); }
int posix_fallocate64(int fd, off64_t at, off64_t n) { return resized(fd, IOG_CAPTURE_NEXT(posix_fallocate)(fd, at, n)); }

/* ---- streams ---- */

struct stream {
	FILE *file;
	int fd;
	struct stream *next;
};
static struct stream *streams;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t stream_read(void *s, char *data, size_t n) { return read(((struct stream *)s)->fd, data, n); }

static ssize_t stream_write(void *s, const char *data, size_t n)
{
	for (size_t done = 0; done < n;) {
		const ssize_t r = write(((struct stream *)s)->fd, data + done, n - done);
		if (r <= 0)
			return (ssize_t)done; /* 0: an error */
		done += (size_t)r;
	}
	return (ssize_t)n;
}

static int stream_seek(void *s, off64_t *at, int from)
{
	const off_t r = lseek(((struct stream *)s)->fd, *at, from);
	if (r < 0)
		return -1;
	*at = r;
	return 0;
}

static void stream_forget(struct stream *s)
{
	pthread_mutex_lock(&lock);
	struct stream **at = &streams;
	while (*at && *at != s)
		at = &(*at)->next;
	if (*at)
		*at = s->next;
	pthread_mutex_unlock(&lock);
}

static int stream_close(void *self)
{
	struct stream *s = self;
	const int rc = close(s->fd), e = errno;
	stream_forget(s);
	free(s);
	errno = e;
	return rc;
}

static void lock_streams(void) { pthread_mutex_lock(&lock); }
static void unlock_streams(void) { pthread_mutex_unlock(&lock); }

static struct stream *stream_of(const FILE *file)
{
	if (!__atomic_load_n(&streams, __ATOMIC_RELAXED))
		return NULL;
	pthread_mutex_lock(&lock);
	struct stream *s = streams;
	while (s && s->file != file)
		s = s->next;
	pthread_mutex_unlock(&lock);
	return s;
}

static FILE *stream_new(int fd, const char *mode)
{
	static const cookie_io_functions_t calls = { stream_read, stream_write, stream_seek, stream_close };
	struct stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->fd = fd;
	s->file = fopencookie(s, mode, calls);
	if (!s->file) {
		free(s);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	s->next = streams;
	__atomic_store_n(&streams, s, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
	return s->file;
}

/* The flags of a mode of fopen; -1: one that is left to libc. */
static int flags_of(const char *mode)
{
	int flags = mode[0] == 'r' ? 0 : mode[0] == 'w' ? O_CREAT | O_TRUNC : mode[0] == 'a' ? O_CREAT | O_APPEND : -1;
	bool both = false;
	if (flags < 0 || strchr(mode, ','))
		return -1;
	for (const char *m = mode + 1; *m; m++) {
		both |= *m == '+';
		flags |= *m == 'x' ? O_EXCL : *m == 'e' ? O_CLOEXEC : 0;
	}
	return flags | (both ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY);
}

static FILE *stream_open(FILE *(*real)(const char *, const char *), const char *path, const char *mode)
{
	const int flags = wanted && path && mode ? flags_of(mode) : -1;
	struct iog_cfile *f = flags >= 0 && writes(flags) ? iog_cfile_open(path, false) : NULL;
	if (!f)
		return real(path, mode);
	iog_cfile_close(f); /* open asks again */
	const int fd = open(path, flags, 0666);
	if (fd < 0)
		return NULL;
	FILE *file = file_of(fd) ? stream_new(fd, mode) : NULL;
	return file ? file : IOG_CAPTURE_NEXT(fdopen)(fd, mode);
}

FILE *fopen(const char *path, const char *mode) { return stream_open(IOG_CAPTURE_NEXT(fopen), path, mode); }
FILE *fopen64(const char *path, const char *mode) { return stream_open(IOG_CAPTURE_NEXT(fopen64), path, mode); }

FILE *fdopen(int fd, const char *mode)
{
	FILE *file = file_of(fd) && mode && flags_of(mode) >= 0 ? stream_new(fd, mode) : NULL;
	return file ? file : IOG_CAPTURE_NEXT(fdopen)(fd, mode);
}

int fileno(FILE *file)
{
	const struct stream *s = stream_of(file);
	return s ? s->fd : IOG_CAPTURE_NEXT(fileno)(file);
}
int fileno_unlocked(FILE *file)
{
	const struct stream *s = stream_of(file);
	return s ? s->fd : IOG_CAPTURE_NEXT(fileno_unlocked)(file);
}

/* libc makes a usual stream of ours, and forgets what was in it. What it is from then on is not captured. */
static FILE *reopen(FILE *(*real)(const char *, const char *, FILE *), const char *path, const char *mode, FILE *file)
{
	struct stream *s = stream_of(file);
	char self[64];
	struct iog_cfile *f = wanted && path && mode && mode[0] != 'r' ? iog_cfile_open(path, false) : NULL;
	if (f) {
		iog_cfile_missed(f, "a file is opened by freopen, which cannot be followed");
		iog_cfile_close(f);
	}
	if (!s)
		return real(path, mode, file);
	fflush(file);
	if (!path) { /* the same file in another mode */
		snprintf(self, sizeof self, "/proc/self/fd/%d", s->fd);
		iog_cfile_missed(file_of(s->fd), "a file is opened by freopen, which cannot be followed");
		path = self;
	}
	FILE *now = real(path, mode, file);
	stream_close(s);
	return now;
}

FILE *freopen(const char *path, const char *mode, FILE *file) { return reopen(IOG_CAPTURE_NEXT(freopen), path, mode, file); }
FILE *freopen64(const char *path, const char *mode, FILE *file) { return reopen(IOG_CAPTURE_NEXT(freopen64), path, mode, file); }

/* ---- copying descriptors ---- */

/*
 * Who leads a standard stream to a file by dup2 writes to it by stdout, whose own writes nobody sees. So as long as its descriptor is that of a
 * captured file, stdout (or stderr) is a stream of ours.
 */
static FILE *usual[3];

static FILE **standard(int fd) { return fd == STDOUT_FILENO ? &stdout : fd == STDERR_FILENO ? &stderr : NULL; }

static void before_copy(int from, int to)
{
	FILE **std = standard(to);
	if (std && (file_of(from) || usual[to]) && getpid() == owner)
		fflush(*std);
}

static int copied(int from, int to)
{
	struct iog_cfile *f = file_of(from);
	FILE **std = standard(to), *ours;
	if (to < 0 || to == from || !(f || file_of(to)) || getpid() != owner)
		return to;
	if (f)
		iog_cfile_keep(f);
	set(to, f);
	if (std && !f && usual[to]) {
		*std = usual[to];
		usual[to] = NULL;
	} else if (std && f && !usual[to] && (ours = stream_new(to, "w"))) {
		usual[to] = *std;
		if (to == STDERR_FILENO)
			setvbuf(ours, NULL, _IONBF, 0);
		*std = ours;
	}
	return to;
}

int dup(int fd) { return copied(fd, IOG_CAPTURE_NEXT(dup)(fd)); }
int dup2(int fd, int to)
{
	before_copy(fd, to);
	return copied(fd, IOG_CAPTURE_NEXT(dup2)(fd, to));
}
int dup3(int fd, int to, int flags)
{
	before_copy(fd, to);
	return copied(fd, IOG_CAPTURE_NEXT(dup3)(fd, to, flags));
}

/* ---- the library ---- */

__attribute__((constructor)) static void begin(void)
{
	if (!iog_capture_wanted())
		return;
	iog_cfile_begin(NULL);
	pthread_atfork(lock_streams, unlock_streams, unlock_streams);
	owner = getpid();
	wanted = true;
}

/* libc writes what is left in streams after us. */
static void finish(void)
{
	FILE *left[256];
	unsigned n = 0;
	pthread_mutex_lock(&lock);
	for (struct stream *s = streams; s && n < sizeof left / sizeof *left; s = s->next)
		left[n++] = s->file;
	pthread_mutex_unlock(&lock);
	while (n-- > 0)
		if (!ftrylockfile(left[n])) {
			fflush_unlocked(left[n]);
			funlockfile(left[n]);
		}
	iog_cfile_finish();
}

const struct iog_capture_library iog_capture_library = { .kind = "stdio", .finish = finish };
