/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a sidecore process locks itself into before it touches a record: no files, no sockets but the one it was given, no new processes,
 * no code that was not there at the start, and no way back. A worker that is taken over can spoil its own outputs, and nothing else.
 *
 * Called once, by the only thread of a freshly exec'd process, after its libraries are loaded and initialized and its core is chosen.
 */
#ifndef IOG_RUNTIME_HOST_SANDBOX_H
#define IOG_RUNTIME_HOST_SANDBOX_H

#include "core/base.h"

IOG_C_BEGIN

enum { IOG_SANDBOX_FDS = 64 };

/* 1 when built with SANITIZE=..., whose run-time part makes calls and maps memory of its own. Such a process ends with SYS_exit_group
 * itself, because _exit() looks for leaks there, with calls that are forbidden. */
#ifndef IOG_SANITIZED
#define IOG_SANITIZED 0
#endif

enum iog_sandbox_ns {
	IOG_NS_USER = 1,
	IOG_NS_MOUNT = 2, /* an empty read-only root */
	IOG_NS_NET = 4,
	IOG_NS_IPC = 8,
	/* Has to be made by who starts the process (clone with CLONE_NEWPID); here it is only reported. */
	IOG_NS_PID = 16,
};

struct iog_sandbox_opts {
	/* Descriptors that stay open, besides the two below; every other one is closed, 0 to 2 as well. At most IOG_SANDBOX_FDS. */
	const int *keep;
	uint32_t n_keep;
	int control;     /* socket for recvmsg and sendmsg, -1: none */
	int status;      /* pipe, socket or terminal for write, -1: none */
	uint64_t memory; /* bytes of address space, at most, with what is mapped already; 0: no limit */
	uint32_t more;   /* descriptors that may come through `control` and be open at once */
	uint32_t wanted; /* enum iog_sandbox_ns: namespaces to try; what is not permitted is reported and not an error */
	bool hosted;     /* libraries that allocate memory run inside */
	int parent;      /* process id of the starter: when it is gone already, -ESRCH. 0: not checked */
};

struct iog_sandbox_report {
	uint32_t have; /* enum iog_sandbox_ns */
	char why[160]; /* the reason for the first one that is wanted and missing */
};

/*
 * On 0 the process is confined: a call that is not on the list (iog_sandbox_calls) kills it with SIGSYS. On -errno (message in err) it is
 * confined in part and must exit. The process is killed when the thread that started it ends. report may be NULL.
 */
int iog_sandbox_enter(const struct iog_sandbox_opts *opts, struct iog_sandbox_report *report, struct iog_err *err);

/* The list, for people: line i as "name: reason", NULL after the last. `text` has room for 128 bytes. */
const char *iog_sandbox_calls(uint32_t i, char text[128]);

IOG_C_END

#endif
