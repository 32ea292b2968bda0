/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What several endpoints need: a clock, pacing that another thread can interrupt, writes that are complete or fail, system errors as
 * text. Every function may be called from any thread; an object belongs to one endpoint, and only iog_pace_wake may come from elsewhere.
 */
#ifndef IOG_RUNTIME_HOST_ENDPOINTS_ENDPOINT_UTIL_H
#define IOG_RUNTIME_HOST_ENDPOINTS_ENDPOINT_UTIL_H

#include "core/iog_op.h"

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t iog_endpoint_clock(void);

/* Lets a source produce at most `rate` records a second (0: no limit), with waits that end at a limit or at a wake. */
struct iog_pace {
	double rate;
	uint64_t due; /* when the next record may leave; 0: at once */
	int fd;       /* eventfd, readable after a wake; -1 before init */
};
int iog_pace_init(struct iog_pace *p, double rate, struct iog_err *err);
/* True when a record is due now or within limit_ns (it waits until then); false when the limit or a wake came first. */
bool iog_pace_wait(struct iog_pace *p, uint64_t limit_ns);
/* A record left. */
void iog_pace_sent(struct iog_pace *p);
void iog_pace_wake(struct iog_pace *p);
/* Takes back a wake. */
void iog_pace_drain(struct iog_pace *p);
void iog_pace_finish(struct iog_pace *p);

/* Text of a positive errno value. */
const char *iog_errno_text(int e);
/* Writes or reads all of it at `at`; 0 or -errno (-ENODATA: the file ends before). */
int iog_write_at(int fd, const void *data, size_t n, uint64_t at);
int iog_read_at(int fd, void *data, size_t n, uint64_t at);
/* Makes the folders a file's path names, durably; those that are there are left alone. 0 or -errno with a message. */
int iog_make_folders(const char *path, struct iog_err *err);
/* Makes the directory entry of path durable; errors are ignored where the file system has no such thing. */
void iog_sync_parent(const char *path);
/* Fails with a message for a file that cannot be opened for writing, with advice where the cause suggests one. Returns code. */
int iog_fail_open(struct iog_err *err, int code, const char *path);
/*
 * Opens the file of a sink for reading and writing, made if it is not there, and locks it against other sinks, in this program or another;
 * readers are not kept out. `fresh`: its contents are dropped, once it is ours; `only_new`: one that exists is refused. *size: of what is
 * there. 0 or -errno with a message (*fd is -1 then); -EBUSY: another sink has it.
 */
int iog_open_alone(const char *path, bool fresh, bool only_new, int *fd, uint64_t *size, struct iog_err *err);
/* Fails with a message for a write error: a full disk gets advice. Returns code. */
int iog_fail_write(struct iog_err *err, int code, const char *path);

/* Variable v of a source's output is one dense block in memory the source keeps. False: the block table is full. */
static inline bool iog_out_kept(struct iog_out *o, int v, unsigned rank, uint32_t elem_size, int64_t n0, int64_t n1, const void *data)
{
	struct iog_block *b = iog_out_blocks(o, (unsigned)v, 1);
	if (!b)
		return false;
	*b = (struct iog_block){ .data = data, .count = { n0, n1 } };
	iog_block_set_dense(b, rank, elem_size);
	return true;
}

#endif
