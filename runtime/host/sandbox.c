/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Confinement of a sidecore process. Promises that after a successful return only the system calls of the table below are left, in this
 * order of defence: nothing open that could be misused, no privilege, no way to more of either. Runs on the only thread of its process.
 */
#include "runtime/host/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* ---- the list ---- */

enum when { ALWAYS, HOSTED };
enum test { ANY, EQUAL /* argument = value */, MASKED /* argument & mask = value */, CONTROL, STATUS, SELF /* argument = that */ };

struct allowed {
	long nr;
	uint8_t when, arg, test;
	uint64_t mask, value;
	const char *name, *why;
};
#define CALL(name) SYS_##name
#define NAME(name) #name

static const struct allowed list[] = {
#define ALLOW(name, when, arg, test, mask, value, why)                                                                                     \
	{                                                                                                                                  \
		CALL(name), when, arg, test, mask, value, NAME(name), why                                                                  \
	}
	ALLOW(futex, ALWAYS, 1, MASKED, FUTEX_CMD_MASK & 0x7f, FUTEX_WAIT, "sleep on a ring"),
	ALLOW(futex, ALWAYS, 1, MASKED, FUTEX_CMD_MASK & 0x7f, FUTEX_WAKE, "wake the other side"),
	ALLOW(futex, ALWAYS, 1, MASKED, FUTEX_CMD_MASK & 0x7f, FUTEX_WAIT_BITSET, "sleep until a time"),
	ALLOW(futex_waitv, ALWAYS, 0, ANY, 0, 0, "sleep on several rings"),
	ALLOW(sched_yield, ALWAYS, 0, ANY, 0, 0, "spin politely on a shared core"),
	ALLOW(clock_nanosleep, ALWAYS, 0, ANY, 0, 0, "bounded waits without a word to wait on"),
	ALLOW(clock_gettime, ALWAYS, 0, ANY, 0, 0, "deadlines, where the vDSO cannot answer"),
	ALLOW(membarrier, ALWAYS, 0, ANY, 0, 0, "the waiting side's half of a fence"),
	ALLOW(restart_syscall, ALWAYS, 0, ANY, 0, 0, "waits that were stopped and continued"),
	ALLOW(recvmsg, ALWAYS, 0, CONTROL, 0, 0, "orders and new regions, from the control socket only"),
	ALLOW(sendmsg, ALWAYS, 0, CONTROL, 0, 0, "answers, to the control socket only"),
	ALLOW(poll, ALWAYS, 0, ANY, 0, 0, "wait for an order with a time limit"),
	ALLOW(write, ALWAYS, 0, STATUS, 0, 0, "last words, to the status descriptor only"),
	ALLOW(close, ALWAYS, 0, ANY, 0, 0, "descriptors of regions, once mapped"),
	ALLOW(fstat, ALWAYS, 0, ANY, 0, 0, "the size of a received region"),
	ALLOW(fcntl, ALWAYS, 1, EQUAL, 0, F_GET_SEALS, "the seals of a received region"),
	ALLOW(mmap, ALWAYS, 2, MASKED, PROT_EXEC, 0, "map received regions, never executable"),
	ALLOW(munmap, ALWAYS, 0, ANY, 0, 0, "regions of replaced edges"),
	ALLOW(madvise, ALWAYS, 0, ANY, 0, 0, "keep mappings out of forks; give memory back"),
	ALLOW(exit, ALWAYS, 0, ANY, 0, 0, "end"),
	ALLOW(exit_group, ALWAYS, 0, ANY, 0, 0, "end"),
	ALLOW(rt_sigreturn, ALWAYS, 0, ANY, 0, 0, "return from a handler of a fault"),
	ALLOW(rt_sigprocmask, ALWAYS, 0, ANY, 0, 0, "abort() and raise() use it"),
	ALLOW(getpid, ALWAYS, 0, ANY, 0, 0, "abort() and raise() use it"),
	ALLOW(gettid, ALWAYS, 0, ANY, 0, 0, "abort() and raise() use it"),
	ALLOW(kill, ALWAYS, 0, SELF, 0, 0, "end by a signal, itself only"),
	ALLOW(tgkill, ALWAYS, 0, SELF, 0, 0, "abort(), itself only"),
	ALLOW(brk, HOSTED, 0, ANY, 0, 0, "malloc in libraries"),
	ALLOW(mremap, HOSTED, 0, ANY, 0, 0, "realloc of large blocks in libraries; keeps the protection"),
	ALLOW(mprotect, HOSTED, 2, MASKED, PROT_EXEC, 0, "malloc grows a heap; never executable"),
#if IOG_SANITIZED
	ALLOW(sigaltstack, ALWAYS, 0, ANY, 0, 0, "the sanitizer, before functions that do not return"),
#endif
#undef ALLOW
};

const char *iog_sandbox_calls(uint32_t i, char text[128])
{
	if (i >= IOG_COUNT(list))
		return NULL;
	iog_format(text, 128, "%s: %s%s", list[i].name, list[i].why, list[i].when == HOSTED ? " (hosted operators)" : "");
	return text;
}

static int add(scmp_filter_ctx f, const struct allowed *a, const struct iog_sandbox_opts *o)
{
	struct scmp_arg_cmp c = { .arg = a->arg, .op = SCMP_CMP_EQ, .datum_a = a->value };
	int nr = (int)a->nr;

	switch ((enum test)a->test) {
	case ANY: return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, nr, 0, NULL);
	case EQUAL: break;
	case MASKED: c = (struct scmp_arg_cmp){ .arg = a->arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = a->mask, .datum_b = a->value }; break;
	case CONTROL:
	case STATUS:
		if ((a->test == CONTROL ? o->control : o->status) < 0)
			return 0;
		c.datum_a = (uint64_t)(a->test == CONTROL ? o->control : o->status);
		break;
	case SELF: c.datum_a = (uint64_t)getpid(); break;
	}
	return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, nr, 1, &c);
}

/* A foreign ABI (x32, i386) would give the numbers another meaning: SCMP_ACT_KILL_PROCESS as well. */
static int filter(const struct iog_sandbox_opts *o, struct iog_err *err)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	const char *what = "seccomp attributes";
	int rc = -ENOMEM;

	if (!f)
		goto out;
	rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!rc)
		rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_NNP, 1);
	/* A thread that a library started earlier is confined too; that of a sanitizer reads /proc. */
	if (!rc)
		rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, !IOG_SANITIZED);
	if (rc)
		goto out;
	/* Both make it faster and may be unknown to an older library: the search becomes a tree; no speculation penalty on our own code. */
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
	for (uint32_t i = 0; i < IOG_COUNT(list) && !rc; i++) {
		what = list[i].name;
		if (list[i].when == ALWAYS || o->hosted)
			rc = add(f, &list[i], o);
	}
	if (!rc) {
		what = "seccomp_load";
		rc = seccomp_load(f);
	}
out:
	/* Once loaded, it stays in memory: giving that back may take calls that are forbidden now. */
	if (f && rc)
		seccomp_release(f);
	return rc ? iog_fail(err, rc, "sandbox: %s: %s", what, strerror(-rc)) : 0;
}

/* ---- what is open ---- */

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* Closes all but those in use; *top is the highest that stays. */
static int close_others(const struct iog_sandbox_opts *o, int *top, struct iog_err *err)
{
	int keep[IOG_SANDBOX_FDS + 2];
	uint32_t n = 0;
	unsigned from = 0;

	if (o->n_keep > IOG_SANDBOX_FDS)
		return iog_fail(err, -EINVAL, "sandbox: at most %d descriptors can stay open, not %u", IOG_SANDBOX_FDS, o->n_keep);
	for (uint32_t i = 0; i < o->n_keep; i++)
		keep[n++] = o->keep[i];
	keep[n++] = o->control;
	keep[n++] = o->status;
	qsort(keep, n, sizeof(keep[0]), compare_ints);
	for (uint32_t i = 0; i <= n; i++) {
		unsigned to = i < n ? (unsigned)keep[i] : ~0u;

		if (i < n && keep[i] < 0)
			continue;
		/* A repeated descriptor leaves an empty range. */
		if (from < to && syscall(SYS_close_range, from, i < n ? to - 1 : to, 0u) < 0)
			return iog_fail(err, -errno, "sandbox: close_range: %s (Linux 5.9 is needed)", strerror(errno));
		if (i < n) {
			*top = keep[i];
			from = to + 1;
		}
	}
	return 0;
}

static int limit(int what, uint64_t value, const char *name, struct iog_err *err)
{
	struct rlimit r;

	if (getrlimit((__rlimit_resource_t)what, &r) < 0)
		return iog_fail(err, -errno, "sandbox: %s: %s", name, strerror(errno));
	/* Lower is fine: somebody was stricter. */
	r.rlim_cur = r.rlim_max = IOG_MIN((rlim_t)value, r.rlim_max);
	if (setrlimit((__rlimit_resource_t)what, &r) < 0)
		return iog_fail(err, -errno, "sandbox: %s: %s", name, strerror(errno));
	return 0;
}

/* ---- namespaces ---- */

static const struct {
	uint32_t bit;
	int flag;
	const char *name;
} spaces[] = {
	/* First: it gives the right to make the others. */
	{ IOG_NS_USER, CLONE_NEWUSER, "user" },
	{ IOG_NS_MOUNT, CLONE_NEWNS, "mount" },
	{ IOG_NS_NET, CLONE_NEWNET, "net" },
	{ IOG_NS_IPC, CLONE_NEWIPC, "ipc" },
};

/* An empty read-only root; the old one is detached. */
static int empty_root(void)
{
	const char *at = "/tmp";

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	if (mount("none", at, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "size=4k,mode=0555") < 0)
		return -errno;
	/* "." over "." : the old root ends up on top and is taken away (pivot_root(2), NOTES). */
	if (chdir(at) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static void separate(const struct iog_sandbox_opts *o, struct iog_sandbox_report *r)
{
	for (uint32_t i = 0; i < IOG_COUNT(spaces); i++) {
		const char *what = "unshare";
		int rc = 0;

		if (!(o->wanted & spaces[i].bit))
			continue;
		if (unshare(spaces[i].flag) < 0)
			rc = -errno;
		if (!rc && spaces[i].bit == IOG_NS_MOUNT) {
			what = "empty root";
			rc = empty_root();
		}
		if (!rc)
			r->have |= spaces[i].bit;
		else if (!r->why[0])
			iog_format(r->why, sizeof(r->why), "no %s namespace: %s: %s", spaces[i].name, what, strerror(-rc));
	}
	if (getpid() == 1)
		r->have |= IOG_NS_PID;
	else if ((o->wanted & IOG_NS_PID) && !r->why[0])
		iog_format(r->why, sizeof(r->why), "no pid namespace: the process was not started in one of its own");
}

static int drop_privileges(struct iog_err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0, 0, 0 } };

	/* Ends with EINVAL behind the last one; EPERM: there was nothing to drop. No exec can follow, so neither matters below. */
	for (int c = 0; c < 64; c++)
		(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	if (syscall(SYS_capset, &head, none) < 0)
		return iog_fail(err, -errno, "sandbox: capset: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return iog_fail(err, -errno, "sandbox: PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
	return 0;
}

int iog_sandbox_enter(const struct iog_sandbox_opts *opts, struct iog_sandbox_report *report, struct iog_err *err)
{
	struct iog_sandbox_report own;
	int rc, top = -1, persona;

	if (!report)
		report = &own;
	*report = (struct iog_sandbox_report){ 0 };
	rc = close_others(opts, &top, err);
	if (rc)
		return rc;
	separate(opts, report);
	rc = drop_privileges(err);
	/* After the last change of credentials, which would reset both. */
	if (!rc && (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0))
		rc = iog_fail(err, -errno, "sandbox: prctl: %s", strerror(errno));
	/* It may have died before the line above. From within a pid namespace it has no number; there the control socket says so. */
	if (!rc && opts->parent && getppid() && getppid() != opts->parent)
		rc = iog_fail(err, -ESRCH, "sandbox: process %d, which started this one, is gone", opts->parent);
	/* With this bit set (old binaries) every readable mapping would be executable. */
	persona = personality(0xffffffff);
	if (!rc && (persona & READ_IMPLIES_EXEC) && personality((unsigned long)(persona & ~READ_IMPLIES_EXEC)) < 0)
		rc = iog_fail(err, -errno, "sandbox: personality: %s", strerror(errno));
	if (!rc && opts->memory)
		rc = limit(RLIMIT_AS, opts->memory, "RLIMIT_AS", err);
	if (!rc)
		rc = limit(RLIMIT_NOFILE, (uint64_t)(top + 1) + opts->more, "RLIMIT_NOFILE", err);
	if (!rc)
		rc = limit(RLIMIT_CORE, 0, "RLIMIT_CORE", err);
	if (!rc)
		rc = limit(RLIMIT_FSIZE, 0, "RLIMIT_FSIZE", err);
	return rc ? rc : filter(opts, err);
}
