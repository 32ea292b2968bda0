/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots of a stage in a file, so that they outlive this process: kill -9, not a power failure, since nothing is synced. The file is mapped and is
 * written like memory. Its last page says what it belongs to; the file is of this user alone, but an old one, or one of another graph, may be there, so it is
 * looked at before it is used. The engine's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/worker.h"
#include "engine-parts.h"

enum { SNAPSHOTS_MAGIC = 0x50534f49 /* "IOSP" */, SNAPSHOTS_VERSION = 1 };
struct mark {
	uint32_t magic, version;
	uint64_t bytes, key;
};

static struct mark *mark_of(const struct iog_region_map *r, uint64_t page) { return (struct mark *)((uint8_t *)r->map + r->bytes - page); }

/* It has the size and the mark, and what it names is one of the two there are. */
static bool belongs(const struct iog_region_map *r, uint64_t page, uint64_t key)
{
	struct mark m;
	memcpy(&m, mark_of(r, page), sizeof m);
	const struct iog_snapshots *s = r->map;
	return m.magic == SNAPSHOTS_MAGIC && m.version == SNAPSHOTS_VERSION && m.bytes == r->bytes && m.key == key &&
	       atomic_load(&s->base) <= 2;
}

int iog_snapshots_open(struct iog_region_map *r, const char *path, uint64_t bytes, uint64_t key, bool *kept, struct iog_err *err)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	const uint64_t all = IOG_ROUND_UP(bytes, page) + page;
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	*r = IOG_REGION_NONE;
	*kept = false;
	if (fd < 0 || fstat(fd, &st)) {
		const int rc = iog_fail(err, -errno, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	int rc = 0;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1 || st.st_mode & (S_IWGRP | S_IWOTH))
		rc = iog_fail(err, -EPERM, "%s is not a file of this user alone", path);
	/* Allocated now: no later access finds the disk full. */
	else if (((uint64_t)st.st_size != all && ftruncate(fd, 0)) || (rc = -posix_fallocate(fd, 0, (off_t)all)))
		rc = iog_fail(err, rc ? rc : -errno, "%s: %s", path, strerror(rc ? -rc : errno));
	if (rc) {
		close(fd);
		return rc;
	}
	rc = iog_region_open_file(r, fd, all, err); /* fd is given */
	if (rc)
		return rc;
	*kept = belongs(r, page, key);
	if (!*kept) {
		memset(r->map, 0, r->bytes);
		*mark_of(r, page) = (struct mark){ .magic = SNAPSHOTS_MAGIC, .version = SNAPSHOTS_VERSION, .bytes = r->bytes, .key = key };
	}
	return 0;
}
