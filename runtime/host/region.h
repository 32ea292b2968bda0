/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared memory regions (sealed memfds) and the sockets that carry their descriptors from process to process.
 *
 * A region has one writing process. Its size is fixed and its pages are allocated before anyone else sees it, so no later access raises
 * SIGBUS; every other process can only map it read-only, and no pages can be taken away again (F_SEAL_SHRINK, F_SEAL_GROW,
 * F_SEAL_FUTURE_WRITE). Mappings are not inherited by fork. Functions are thread-safe as long as no two threads use the same object.
 *
 * Who writes decides the order of things:
 *   this process writes       iog_region_create                         (maps writable, then seals)
 *   another process writes    iog_region_create_for -> iog_fd_send -> there: iog_region_open_writer, answer -> here: iog_region_seal
 *   another process reads     iog_fd_send -> there: iog_region_open
 */
#ifndef IOG_RUNTIME_HOST_REGION_H
#define IOG_RUNTIME_HOST_REGION_H

#include "core/base.h"

IOG_C_BEGIN

/* A region as this process holds it. */
struct iog_region_map {
	int fd;         /* -1: none */
	void *map;      /* page-aligned; NULL: not mapped */
	uint64_t bytes; /* whole pages; as much as was asked for, or more */
	bool writable;  /* by this process, through map */
};
#define IOG_REGION_NONE ((struct iog_region_map){ .fd = -1 })

enum {
	IOG_REGION_HUGE = 1, /* 2 MiB pages of the hugetlb pool; -ENOMEM when the pool has not enough */
};

/*
 * A new region of at least `bytes` zero bytes that this process writes: allocated, touched, mapped writable, sealed. `name` shows in
 * /proc/PID/maps. Refused with -ENOMEM before anything is allocated when the machine, or the control group of this process, has not that
 * much available memory: shared memory that does not fit brings down other processes, not the one that asked. 0 or -errno with a message.
 */
int iog_region_create(struct iog_region_map *r, const char *name, uint64_t bytes, uint32_t flags, struct iog_err *err);
/* A new region that another process will write: allocated, its size sealed, mapped read-only here. Seal it when the writer has mapped it. */
int iog_region_create_for(struct iog_region_map *r, const char *name, uint64_t bytes, uint32_t flags, struct iog_err *err);
/* From now on nobody can map it writable any more; mappings that exist stay as they are. */
int iog_region_seal(struct iog_region_map *r, struct iog_err *err);

/*
 * Maps a received region read-only. fd is given (closed on failure too). Refused unless it is a memory file whose size and pages cannot
 * change, that nobody can map writable any more, and min <= size <= max. Makes only calls that a sandboxed process may make.
 */
int iog_region_open(struct iog_region_map *r, int fd, uint64_t min, uint64_t max, struct iog_err *err);
/* The writer's side of iog_region_create_for: likewise, but mapped writable and not yet sealed against that. */
int iog_region_open_writer(struct iog_region_map *r, int fd, uint64_t min, uint64_t max, struct iog_err *err);
/* A file of exactly `bytes` that another process keeps for this one to write, mapped writable. It is trusted not to change its size. fd is given. */
int iog_region_open_file(struct iog_region_map *r, int fd, uint64_t bytes, struct iog_err *err);

/*
 * Bytes that can be allocated without pushing anyone out: MemAvailable, or what is left in the control groups (v1 or v2) of this process
 * where that is less. UINT64_MAX when neither can be read.
 */
uint64_t iog_region_available(void);

/* Unmaps, closes, and leaves IOG_REGION_NONE. The memory goes when the last process has let go. */
void iog_region_close(struct iog_region_map *r);

/* ---- descriptors over a socket ---- */

enum { IOG_FDS = 16 }; /* descriptors in one message, at most */

/* A connected pair of SOCK_SEQPACKET sockets, closed on exec. */
int iog_fd_pair(int pair[2], struct iog_err *err);
/*
 * Sends one message of 1 <= bytes with n descriptors, which stay open here. Waits at most limit_ns for room; 0 makes no call but sendmsg.
 * 0, -EAGAIN when there was no room in time, -EPIPE when the peer is gone, or another -errno; all but -EAGAIN set err.
 */
int iog_fd_send(int sock, const void *data, size_t bytes, const int *fds, uint32_t n, uint64_t limit_ns, struct iog_err *err);
/*
 * Receives one message. *n: room in fds before, descriptors received after; they are closed on exec and belong to the caller. Waits at
 * most limit_ns; 0 makes no call but recvmsg. Returns its bytes, 0 when the peer has closed, -EAGAIN when nothing came in time, -EPROTO
 * when the message is larger than `size` or carries more than *n descriptors (none is kept), -EMFILE when this process has no number left for
 * them (nor then), or another -errno; all but -EAGAIN set err.
 */
int iog_fd_recv(int sock, void *data, size_t size, int *fds, uint32_t *n, uint64_t limit_ns, struct iog_err *err);

IOG_C_END

#endif
