/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VMM: a virtual machine without firmware, devices, interrupts or kernel. It starts in 64-bit user mode with the page tables made here,
 * so every instruction is one that hardware runs natively, and every exception, having no handler, is a shutdown. Only the thread of the
 * VM enters the guest; every other function leaves the guest's state alone while that runs.
 */
#include "runtime/host/vm.h"

#include <errno.h>
#include <stdio.h>

#ifdef IOG_HAVE_KVM
#include <cpuid.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/iog_op.h"
#include "runtime/host/vm/guest.h"
#include "runtime/host/wait.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* from Linux 5.14; before, there is no such advice and it does nothing */
#endif

enum {
	PAGE = 4096,
	SLOTS = 512, /* memory slots */
	SLOT_TABLES = 0,
	SLOT_IMAGE,
	SLOT_FIRST,
	IMAGE_MAX = 64 << 20, /* private memory of an image */
	TABLES = 16384,       /* pages of page tables, taken when needed: enough for 32 GiB in 4 KiB pages */
	CPUID_MAX = 256,
	KICK = SIGURG, /* blocked in the thread of a VM but for the time in the guest; never delivered, so it needs no handler */
};
#define HUGE_PAGE   (2ull << 20)
#define TABLES_GPA  0x10000000ull /* 256 MiB: behind the image */
#define KVM_TSS_GPA 0x20000000ull /* three pages that KVM keeps for itself on Intel, and one for its identity map */
#define TSS_GPA     (TABLES_GPA + (TABLES - 1) * (uint64_t)PAGE)
/* A 64-bit TSS, of which only the map of I/O ports matters: one bit per port, 0: allowed in user mode; and a byte of ones. */
enum { TSS_MAP_POINTER = 102, TSS_MAP = 104, TSS_MAP_BYTES = IOG_GUEST_PORTS_END / 8 + 1, TSS_BYTES = TSS_MAP + TSS_MAP_BYTES + 1 };

/* Page table entries. Accessed and dirty are set from the start, so that the processor never writes the tables. */
#define PT_PRESENT 0x1ull
#define PT_WRITE   0x2ull
#define PT_USER    0x4ull
#define PT_SEEN    0x60ull
#define PT_LARGE   0x80ull
#define PT_NX      (1ull << 63)
#define PT_ADDRESS 0x000ffffffffff000ull

struct slot {
	uint64_t gpa, bytes;
	void *host;
	bool used;
};

struct iog_vm {
	struct iog_vm_opts opts;
	int kvm, fd, vcpu, event;
	struct kvm_run *run;
	size_t run_bytes;
	uint32_t n_slots; /* usable */
	uint64_t gpa_end;
	struct slot slot[SLOTS];
	uint64_t *tables;
	uint32_t n_tables;
	const uint8_t *image; /* kept */
	uint64_t image_bytes;
	struct iog_guest_head head;
	uint8_t *ram;
	uint64_t ram_bytes;
	/* The processor at the start of a run. */
	struct kvm_sregs sregs;
	union {
		uint32_t region[1024];
		uint8_t bytes[4096];
	} xsave; /* a struct kvm_xsave without its open end */
	uint64_t xcr0;
	uint32_t isa, tsc_khz;
	uint64_t clock; /* latched for the high half */

	pthread_mutex_t lock; /* status, joined, stop requests against the end of the thread */
	pthread_cond_t ended;
	pthread_t thread;
	bool started, joined;
	pthread_t ringer; /* calls opts.wake when the guest, or a fallback, has written to `bell` */
	int bell;         /* -1: there is no opts.wake */
	bool ringing;
	atomic_bool stop, silence;
	struct iog_vm_status status;
	_Atomic uint64_t exits, parks, wakes;
	uint64_t cpu_ns; /* of runs that ended; with the lock */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- the processor ---- */

static uint64_t host_xcr0(void)
{
	uint32_t a, b, c, d, low, high;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function &&
			(!(c->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || c->entries[i].index == index))
			return &c->entries[i];
	return NULL;
}

/* What the guest's processor can do: no more than KVM supports and the host has switched on. */
static int set_cpuid(struct iog_vm *vm, struct iog_err *err)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUID_MAX * sizeof(c->entries[0]));
	const struct kvm_cpuid_entry2 *vector, *size;
	uint64_t x;
	int rc = 0;

	if (!c)
		return -ENOMEM;
	c->nent = CPUID_MAX;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, c) < 0 || ioctl(vm->vcpu, KVM_SET_CPUID2, c) < 0) {
		rc = iog_fail(err, -errno, "setting up the processor's features: %s", strerror(errno));
		goto out;
	}
	vector = leaf(c, 0xd, 0);
	size = leaf(c, 0x80000008, 0);
	vm->gpa_end = 1ull << IOG_MIN(size && (size->eax & 0xff) >= 32 ? size->eax & 0xff : 36, 39u);
	/* Vector state as on the host, without what needs permission or is no business of operators. */
	x = vector ? host_xcr0() & (vector->eax | (uint64_t)vector->edx << 32) & 0xe7 : 0;
	if ((x & 0xe0) != 0xe0 || !(x & 4))
		x &= ~0xe0ull;
	vm->xcr0 = x & 2 ? x | 1 : 0;
	/*
	 * Instructions of the host whose state is on work in user mode, whatever the guest's CPUID says: XCR0 is the only switch, and a KVM
	 * without hardware support does not list them.
	 */
	vm->isa = IOG_ISA_BASE;
	if ((vm->xcr0 & 6) == 6 && __builtin_cpu_supports("avx2"))
		vm->isa = IOG_ISA_AVX2;
	if (vm->isa == IOG_ISA_AVX2 && (vm->xcr0 & 0xe0) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		vm->isa = IOG_ISA_AVX512;
out:
	free(c);
	return rc;
}

/* 64-bit user mode. Valid for VMX as well, which wants a busy 64-bit TSS in TR and matching privilege levels in SS, CS and RIP's segment. */
static int set_mode(struct iog_vm *vm, struct iog_err *err)
{
	struct kvm_segment code = { .limit = 0xffffffff, .selector = 8 | 3, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 16 | 3, .type = 3, .present = 1, .dpl = 3, .db = 1, .s = 1, .g = 1 };
	struct kvm_segment tss = { .base = TSS_GPA, .limit = TSS_BYTES - 1, .selector = 24, .type = 11, .present = 1 };
	struct kvm_segment none = { .unusable = 1 };
	struct kvm_sregs *s = &vm->sregs;

	if (ioctl(vm->vcpu, KVM_GET_SREGS, s) < 0)
		return iog_fail(err, -errno, "KVM_GET_SREGS: %s", strerror(errno));
	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = tss;
	s->ldt = none;
	/* Segments are loaded here and never again: the guest has no descriptor tables. Without interrupt vectors each exception ends the run. */
	s->gdt = s->idt = (struct kvm_dtable){ 0 };
	s->cr0 = 0x80010033; /* PG WP NE ET MP PE */
	s->cr3 = TABLES_GPA;
	s->cr4 = 0x620 | (vm->xcr0 ? 1u << 18 : 0); /* PAE OSFXSR OSXMMEXCPT; OSXSAVE */
	s->efer = 0xd00;                            /* LME LMA NXE; no SCE: syscall is an invalid instruction */
	return 0;
}

/* Every register that a run can have changed. */
static int set_processor(struct iog_vm *vm, uint64_t arg, struct iog_err *err)
{
	struct kvm_regs regs = { .rip = vm->head.entry,
		.rsp = vm->head.stack_end,
		.rdi = arg,
		.rflags = 0x3002 /* IOPL 3: ports are hypercalls */ };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = vm->xcr0 } } };
	struct kvm_vcpu_events events = { 0 };
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	const char *what = "SREGS";

	/* A shutdown may have left the processor in another mode: system registers first. */
	if (ioctl(vm->vcpu, KVM_SET_SREGS, &vm->sregs) < 0)
		goto fail;
	what = "REGS";
	if (ioctl(vm->vcpu, KVM_SET_REGS, &regs) < 0)
		goto fail;
	what = "XCRS";
	if (vm->xcr0 && ioctl(vm->vcpu, KVM_SET_XCRS, &xcrs) < 0)
		goto fail;
	what = "XSAVE";
	if (ioctl(vm->vcpu, KVM_SET_XSAVE, &vm->xsave) < 0)
		goto fail;
	what = "VCPU_EVENTS";
	if (ioctl(vm->vcpu, KVM_SET_VCPU_EVENTS, &events) < 0)
		goto fail;
	/* Without an interrupt controller in the kernel the call may not exist, and the state is always this one. */
	(void)ioctl(vm->vcpu, KVM_SET_MP_STATE, &runnable);
	return 0;
fail:
	return iog_fail(err, -errno, "KVM_SET_%s: %s", what, strerror(errno));
}

/* Cycles of the time stamp counter per ms, when KVM does not say. */
static uint32_t measure_tsc(void)
{
	uint64_t t0 = now_ns(), c0 = __builtin_ia32_rdtsc(), t1;

	do
		t1 = now_ns();
	while (t1 - t0 < 5000000);
	return (uint32_t)((__builtin_ia32_rdtsc() - c0) * 1000000 / (t1 - t0));
}

/* ---- memory ---- */

static uint64_t *table_at(struct iog_vm *vm, uint64_t entry) { return vm->tables + ((entry & PT_ADDRESS) - TABLES_GPA) / sizeof(uint64_t); }

/* The guest may be running: an entry is complete before it is there. Absent entries are in no TLB. */
static void set_entry(uint64_t *e, uint64_t value) { __atomic_store_n(e, value, __ATOMIC_RELEASE); }

/* The table below entry *e, made when there is none; NULL when the tables are used up. */
static uint64_t *table_below(struct iog_vm *vm, uint64_t *e)
{
	if (!(*e & PT_PRESENT)) {
		if (vm->n_tables + 1 >= TABLES) /* the last page is the TSS */
			return NULL;
		set_entry(e, (TABLES_GPA + vm->n_tables++ * (uint64_t)PAGE) | PT_PRESENT | PT_WRITE | PT_USER | PT_SEEN);
	}
	return table_at(vm, *e);
}

static void clear_pages(struct iog_vm *vm, uint64_t gpa, uint64_t bytes)
{
	for (uint64_t at = gpa, n; at < gpa + bytes; at += n) {
		uint64_t *l3 = table_at(vm, vm->tables[0]), *l2, *e;

		n = PAGE;
		if (!(l3[at >> 30] & PT_PRESENT))
			continue;
		l2 = table_at(vm, l3[at >> 30]);
		e = &l2[(at >> 21) & 511];
		if (!(*e & PT_PRESENT))
			continue;
		if (*e & PT_LARGE)
			n = HUGE_PAGE;
		else
			e = &table_at(vm, *e)[(at >> 12) & 511];
		set_entry(e, 0);
	}
}

/* Makes [gpa, gpa + bytes) present. Identity: addresses are guest-physical. */
static int set_pages(struct iog_vm *vm, uint64_t gpa, uint64_t bytes, uint64_t rights, bool user)
{
	rights |= PT_PRESENT | PT_SEEN | (user ? PT_USER : 0);
	for (uint64_t at = gpa, n; at < gpa + bytes; at += n) {
		uint64_t *l3, *l2, *l1, *e;

		l3 = table_below(vm, &vm->tables[at >> 39]);
		l2 = l3 ? table_below(vm, &l3[(at >> 30) & 511]) : NULL;
		if (!l2)
			return -ENOMEM;
		e = &l2[(at >> 21) & 511];
		n = HUGE_PAGE;
		/* A table that small pages needed once stays. */
		if (!(at % HUGE_PAGE) && gpa + bytes - at >= HUGE_PAGE && !(*e & PT_PRESENT)) {
			set_entry(e, at | rights | PT_LARGE);
			continue;
		}
		n = PAGE;
		l1 = table_below(vm, e);
		if (!l1)
			return -ENOMEM;
		set_entry(&l1[(at >> 12) & 511], at | rights);
	}
	return 0;
}

static int set_slot(struct iog_vm *vm, uint32_t i, const struct slot *s, bool writable)
{
	struct kvm_userspace_memory_region r = {
		.slot = i,
		.flags = writable ? 0 : KVM_MEM_READONLY,
		.guest_phys_addr = s->gpa,
		.memory_size = s->used ? s->bytes : 0,
		.userspace_addr = (uint64_t)(uintptr_t)s->host,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return -errno;
	vm->slot[i] = *s;
	return 0;
}

static void *private_memory(uint64_t bytes, int flags)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, bytes, MADV_DONTFORK); /* a fork would make the guest's pages copy on write */
	return p;
}

/* User mode may use the ports of hypercalls. IOPL says so as well, but not every KVM looks at it (one without hardware support does not). */
static int allow_ports(struct iog_vm *vm)
{
	uint8_t *tss = (uint8_t *)(vm->tables + (TABLES - 1) * (size_t)(PAGE / sizeof(uint64_t)));
	uint16_t map = TSS_MAP;

	memcpy(tss + TSS_MAP_POINTER, &map, sizeof(map));
	memset(tss + TSS_MAP, 0xff, TSS_MAP_BYTES + 1);
	for (unsigned port = IOG_GUEST_PARK; port < IOG_GUEST_PORTS_END; port++)
		tss[TSS_MAP + port / 8] &= (uint8_t) ~(1u << port % 8);
	/* Present for the processor's own look at the map, not for the guest. */
	return set_pages(vm, TSS_GPA, PAGE, PT_NX, false);
}

int iog_vm_map(struct iog_vm *vm, void *host, uint64_t bytes, uint64_t gpa, bool writable, struct iog_err *err)
{
	struct slot s = { .gpa = gpa, .bytes = bytes, .host = host, .used = true };
	uint32_t i, at = 0;
	uint64_t end;
	int rc;

	if (!bytes || bytes % PAGE || gpa % PAGE || (uintptr_t)host % PAGE || gpa < IOG_GUEST_LOW || !iog_add(gpa, bytes, &end) ||
		end > vm->gpa_end)
		return iog_fail(err, -EINVAL, "cannot map %llu bytes at 0x%llx: whole pages between 0x%llx and 0x%llx are possible",
			(unsigned long long)bytes, (unsigned long long)gpa, IOG_GUEST_LOW, (unsigned long long)vm->gpa_end);
	for (i = SLOT_FIRST; i < vm->n_slots; i++) {
		const struct slot *o = &vm->slot[i];

		if (!o->used && !at)
			at = i;
		if (o->used && gpa < o->gpa + o->bytes && o->gpa < end)
			return iog_fail(err, -EEXIST, "0x%llx + %llu bytes overlaps what is mapped at 0x%llx", (unsigned long long)gpa,
				(unsigned long long)bytes, (unsigned long long)o->gpa);
	}
	if (!at)
		return iog_fail(err, -ENOSPC, "all %u memory slots are in use", vm->n_slots);
	/* Pages that are there cost the guest one translation at first touch, not an allocation. Others write this memory: no reading it here. */
	(void)madvise(host, bytes, MADV_POPULATE_READ);
	rc = set_slot(vm, at, &s, writable);
	if (rc)
		return iog_fail(
			err, rc, "mapping %llu bytes at 0x%llx: %s", (unsigned long long)bytes, (unsigned long long)gpa, strerror(-rc));
	/* Writable here for inputs too: the slot refuses, and the exit then names the address. */
	rc = set_pages(vm, gpa, bytes, PT_WRITE | PT_NX, true);
	if (rc) {
		iog_vm_unmap(vm, gpa, NULL);
		return iog_fail(err, rc, "no page tables left for %llu bytes; map at multiples of 2 MiB", (unsigned long long)bytes);
	}
	return 0;
}

int iog_vm_unmap(struct iog_vm *vm, uint64_t gpa, struct iog_err *err)
{
	for (uint32_t i = SLOT_FIRST; i < vm->n_slots; i++) {
		struct slot s = vm->slot[i];
		int rc;

		if (!s.used || s.gpa != gpa)
			continue;
		/* Deleting the slot throws away every translation of it, after the entries are gone. */
		clear_pages(vm, gpa, s.bytes);
		s.used = false;
		rc = set_slot(vm, i, &s, true);
		return rc ? iog_fail(err, rc, "unmapping 0x%llx: %s", (unsigned long long)gpa, strerror(-rc)) : 0;
	}
	return iog_fail(err, -ENOENT, "nothing is mapped at 0x%llx", (unsigned long long)gpa);
}

static void fill_image(struct iog_vm *vm)
{
	memcpy(vm->ram, vm->image, vm->image_bytes);
	memset(vm->ram + vm->image_bytes, 0, vm->ram_bytes - vm->image_bytes);
}

int iog_vm_load(struct iog_vm *vm, const void *image, uint64_t bytes, struct iog_err *err)
{
	struct iog_guest_head h;
	struct slot s = { .gpa = IOG_GUEST_BASE, .used = true };
	int rc;

	if (vm->ram)
		return iog_fail(err, -EBUSY, "an image is loaded already");
	if (bytes < sizeof(h))
		return iog_fail(err, -ENOEXEC, "the image has %llu bytes: the library was built without one", (unsigned long long)bytes);
	memcpy(&h, image, sizeof(h));
	if (h.magic != IOG_GUEST_MAGIC || h.entry < IOG_GUEST_BASE || h.entry >= h.ro || h.ro > h.rw || h.rw > h.data_end ||
		h.data_end > h.rw_end || h.rw_end >= h.stack || h.stack >= h.stack_end || h.stack_end > IOG_GUEST_BASE + IMAGE_MAX ||
		bytes > h.data_end - IOG_GUEST_BASE || (h.ro | h.rw | h.rw_end | h.stack | h.stack_end) % PAGE)
		return iog_fail(err, -ENOEXEC, "the image's header is not valid");
	vm->ram = private_memory(h.stack_end - IOG_GUEST_BASE, MAP_POPULATE);
	if (!vm->ram)
		return iog_fail(err, -ENOMEM, "no memory for the image");
	vm->ram_bytes = h.stack_end - IOG_GUEST_BASE;
	vm->image = image;
	vm->image_bytes = bytes;
	vm->head = h;
	fill_image(vm);
	s.host = vm->ram;
	s.bytes = vm->ram_bytes;
	rc = set_slot(vm, SLOT_IMAGE, &s, true);
	if (!rc)
		rc = set_pages(vm, IOG_GUEST_BASE, h.ro - IOG_GUEST_BASE, 0, true);
	if (!rc)
		rc = set_pages(vm, h.ro, h.rw - h.ro, PT_NX, true);
	if (!rc)
		rc = set_pages(vm, h.rw, h.rw_end - h.rw, PT_WRITE | PT_NX, true);
	if (!rc)
		rc = set_pages(vm, h.stack, h.stack_end - h.stack, PT_WRITE | PT_NX, true);
	return rc ? iog_fail(err, rc, "loading the image: %s", strerror(-rc)) : 0;
}

uint32_t iog_vm_isa(const struct iog_vm *vm) { return vm->isa; }

/* ---- a run ---- */

__attribute__((format(printf, 4, 5))) static void failed(struct iog_vm *vm, struct iog_vm_status *s, uint32_t reason, const char *fmt, ...)
{
	struct kvm_regs regs;
	va_list ap;
	int n;

	s->state = IOG_VM_FAILED;
	s->exit_reason = reason;
	if (!ioctl(vm->vcpu, KVM_GET_REGS, &regs))
		s->rip = regs.rip;
	va_start(ap, fmt);
	n = iog_vformat(s->text, sizeof(s->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && n < (int)sizeof(s->text))
		iog_format(s->text + n, sizeof(s->text) - (size_t)n, " (rip 0x%llx)", (unsigned long long)s->rip);
}

static void park(struct iog_vm *vm)
{
	struct timespec t = { 0, 1000000 };

	if (vm->opts.park)
		vm->opts.park(vm->opts.ctx);
	else
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* ---- the bell ---- */

/* Blocks all but the signals that faults raise; those must find their handlers. */
static void block_signals(sigset_t *old)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };
	sigset_t s;

	sigfillset(&s);
	for (size_t i = 0; i < IOG_COUNT(faults); i++)
		sigdelset(&s, faults[i]);
	pthread_sigmask(SIG_SETMASK, &s, old);
}

static void ring(struct iog_vm *vm)
{
	const uint64_t one = 1;

	if (vm->bell >= 0)
		(void)!write(vm->bell, &one, sizeof(one));
}

static void *ringer_thread(void *arg)
{
	struct iog_vm *vm = arg;
	uint64_t n;

	while (read(vm->bell, &n, sizeof(n)) == sizeof(n) && !atomic_load(&vm->silence)) {
		atomic_fetch_add_explicit(&vm->wakes, n, memory_order_relaxed);
		vm->opts.wake(vm->opts.ctx);
	}
	return NULL;
}

/* The kernel turns the guest's access to the port into a write to the eventfd. Where it does not, there is an exit, which does the same. */
static int make_bell(struct iog_vm *vm, struct iog_err *err)
{
	struct kvm_ioeventfd io = { .addr = IOG_GUEST_WAKE, .len = 4, .flags = KVM_IOEVENTFD_FLAG_PIO };
	sigset_t old;
	int rc;

	if (!vm->opts.wake)
		return 0;
	vm->bell = eventfd(0, EFD_CLOEXEC);
	if (vm->bell < 0)
		return iog_fail(err, -errno, "vm: eventfd: %s", strerror(errno));
	io.fd = vm->bell;
	(void)ioctl(vm->fd, KVM_IOEVENTFD, &io);
	block_signals(&old);
	rc = pthread_create(&vm->ringer, NULL, ringer_thread, vm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return iog_fail(err, -rc, "vm: a thread for wake-ups: %s", strerror(rc));
	pthread_setname_np(vm->ringer, "iog-vm-bell");
	vm->ringing = true;
	return 0;
}

static void silence_bell(struct iog_vm *vm)
{
	if (vm->ringing) {
		atomic_store(&vm->silence, true);
		ring(vm);
		pthread_join(vm->ringer, NULL);
	}
	if (vm->bell >= 0)
		close(vm->bell);
}

/* ---- what the guest asks for ---- */

/* One access to a port. true: the guest goes on. */
static bool hypercall(struct iog_vm *vm, struct iog_vm_status *s)
{
	struct kvm_run *r = vm->run;
	bool in = r->io.direction == KVM_EXIT_IO_IN;
	uint32_t value;
	uint8_t *data = (uint8_t *)r + r->io.data_offset;

	if (r->io.size != sizeof(value) || r->io.count != 1 || in != (r->io.port >= IOG_GUEST_CLOCK)) {
		failed(vm, s, r->exit_reason, "the guest made an I/O of %u x %u bytes at port 0x%x, which means nothing", r->io.count,
			r->io.size, r->io.port);
		return false;
	}
	memcpy(&value, data, sizeof(value));
	switch (r->io.port) {
	case IOG_GUEST_PARK:
		atomic_fetch_add_explicit(&vm->parks, 1, memory_order_relaxed);
		if (!atomic_load(&vm->stop))
			park(vm);
		return true;
	case IOG_GUEST_WAKE: /* only where the kernel does not do it */ ring(vm); return true;
	case IOG_GUEST_CLOCK:
		vm->clock = now_ns();
		value = (uint32_t)vm->clock;
		break;
	case IOG_GUEST_CLOCK_HIGH: value = (uint32_t)(vm->clock >> 32); break;
	case IOG_GUEST_TSC_KHZ: value = vm->tsc_khz; break;
	case IOG_GUEST_DONE:
		s->state = IOG_VM_DONE;
		s->rc = (int32_t)value;
		return false;
	case IOG_GUEST_FAULT:
		s->rc = (int32_t)value;
		failed(vm, s, r->exit_reason, "the guest gave up, reason %u", value);
		return false;
	default: failed(vm, s, r->exit_reason, "the guest used port 0x%x, which means nothing", r->io.port); return false;
	}
	memcpy(data, &value, sizeof(value));
	return true;
}

/* Anything that is neither a hypercall nor a signal. */
static void describe_exit(struct iog_vm *vm, struct iog_vm_status *s)
{
	struct kvm_run *r = vm->run;
	struct kvm_sregs sregs;

	switch (r->exit_reason) {
	case KVM_EXIT_MMIO:
		s->has_address = true;
		s->address = r->mmio.phys_addr;
		failed(vm, s, r->exit_reason, "the guest %s %u bytes at 0x%llx, which it may not", r->mmio.is_write ? "wrote" : "read",
			r->mmio.len, (unsigned long long)r->mmio.phys_addr);
		break;
	case KVM_EXIT_SHUTDOWN:
		/* CR2 is zero at the start of a run: not zero, it was a page fault or followed one. */
		if (!ioctl(vm->vcpu, KVM_GET_SREGS, &sregs) && sregs.cr2) {
			s->has_address = true;
			s->address = sregs.cr2;
			failed(vm, s, r->exit_reason, "the guest touched 0x%llx, where nothing is mapped or not for this",
				(unsigned long long)sregs.cr2);
		} else {
			failed(vm, s, r->exit_reason,
				"the guest executed an instruction that is not allowed, or touched memory that is not there");
		}
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		failed(vm, s, r->exit_reason, "KVM could not emulate an instruction of the guest (internal error %u)",
			r->internal.suberror);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		failed(vm, s, r->exit_reason, "the processor refused to enter the guest (0x%llx)",
			(unsigned long long)r->fail_entry.hardware_entry_failure_reason);
		break;
	default: failed(vm, s, r->exit_reason, "the guest left with KVM exit %u", r->exit_reason);
	}
}

/* Runs until something ends it; on the calling thread, which has KICK blocked. */
static void run_guest(struct iog_vm *vm, struct iog_vm_status *s)
{
	struct timespec zero = { 0, 0 };
	sigset_t kick;
	int rc;

	sigemptyset(&kick);
	sigaddset(&kick, KICK);
	for (;;) {
		/* A kick between this test and the guest stays pending, and KVM_RUN then returns at once: none is lost. */
		if (atomic_load(&vm->stop)) {
			s->state = IOG_VM_STOPPED;
			return;
		}
		rc = ioctl(vm->vcpu, KVM_RUN, 0);
		if (rc < 0 && (errno == EINTR || errno == EAGAIN)) {
			while (sigtimedwait(&kick, NULL, &zero) > 0)
				;
			continue;
		}
		if (rc < 0) {
			s->rc = -errno;
			failed(vm, s, 0, "KVM_RUN: %s", strerror(errno));
			return;
		}
		atomic_fetch_add_explicit(&vm->exits, 1, memory_order_relaxed);
		if (vm->run->exit_reason == KVM_EXIT_IO) {
			if (!hypercall(vm, s))
				return;
		} else if (vm->run->exit_reason != KVM_EXIT_INTR) {
			describe_exit(vm, s);
			return;
		}
	}
}

/* The signals that get through while the thread is in the guest. */
static int set_signals(struct iog_vm *vm, struct iog_err *err)
{
	union {
		struct kvm_signal_mask m;
		uint8_t space[sizeof(struct kvm_signal_mask) + 8];
	} u = { .m = { .len = 8 } };
	sigset_t s;

	/* All are blocked, faults of callbacks do not happen in there. */
	sigfillset(&s);
	sigdelset(&s, KICK);
	memcpy(u.space + offsetof(struct kvm_signal_mask, sigset), &s, 8); /* the kernel's set is the first 64 bits of libc's */
	if (ioctl(vm->vcpu, KVM_SET_SIGNAL_MASK, &u) < 0)
		return iog_fail(err, -errno, "KVM_SET_SIGNAL_MASK: %s", strerror(errno));
	return 0;
}

/* CPU time of the VM's thread, the guest's included; with the lock, before the thread ends. */
static uint64_t cpu_of(struct iog_vm *vm)
{
	struct timespec t;
	clockid_t clock;

	if (pthread_getcpuclockid(vm->thread, &clock) || clock_gettime(clock, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void *vm_thread(void *arg)
{
	struct iog_vm *vm = arg;
	struct iog_vm_status s = { .state = IOG_VM_RUNNING };
	uint64_t one = 1;

	run_guest(vm, &s);
	pthread_mutex_lock(&vm->lock);
	vm->status = s;
	vm->cpu_ns += cpu_of(vm);
	(void)!write(vm->event, &one, sizeof(one));
	pthread_cond_broadcast(&vm->ended);
	pthread_mutex_unlock(&vm->lock);
	return NULL;
}

static int ready(struct iog_vm *vm, uint64_t arg, struct iog_err *err)
{
	if (!vm->ram)
		return iog_fail(err, -ENOEXEC, "no image is loaded");
	if (vm->started || vm->status.state != IOG_VM_IDLE)
		return iog_fail(err, -EBUSY, "it runs, or ran and was not reset");
	atomic_store(&vm->stop, false);
	return set_processor(vm, arg, err);
}

int iog_vm_start(struct iog_vm *vm, int core, uint64_t arg_gpa, struct iog_err *err)
{
	pthread_attr_t attr;
	sigset_t old;
	int rc;

	/* iog_vm_stop sees a run that is being started before or after. */
	pthread_mutex_lock(&vm->lock);
	rc = ready(vm, arg_gpa, err);
	if (rc) {
		pthread_mutex_unlock(&vm->lock);
		return rc;
	}
	pthread_attr_init(&attr);
	if (core >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		if (core < CPU_SETSIZE)
			CPU_SET((size_t)core, &set);
		/* Before the thread exists: it never runs anywhere else. */
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	block_signals(&old);
	vm->status = (struct iog_vm_status){ .state = IOG_VM_RUNNING };
	vm->started = true;
	vm->joined = false;
	rc = pthread_create(&vm->thread, &attr, vm_thread, vm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc) {
		vm->started = false;
		vm->status.state = IOG_VM_IDLE;
		rc = iog_fail(err, -rc, "starting a thread on core %d: %s", core, strerror(rc));
	} else {
		char name[16];

		iog_format(name, sizeof(name), "%.15s", vm->opts.name ? vm->opts.name : "iog-vm");
		pthread_setname_np(vm->thread, name);
	}
	pthread_mutex_unlock(&vm->lock);
	return rc;
}

int iog_vm_fd(const struct iog_vm *vm) { return vm->event; }

/* With the lock held: waits until the run ended, at most until `until`. Takes the thread in. */
static int wait_ended(struct iog_vm *vm, uint64_t until)
{
	struct timespec t = { (time_t)(until / 1000000000), (long)(until % 1000000000) };

	while (vm->status.state == IOG_VM_RUNNING)
		if (pthread_cond_timedwait(&vm->ended, &vm->lock, &t) == ETIMEDOUT && vm->status.state == IOG_VM_RUNNING)
			return -ETIMEDOUT;
	if (vm->started && !vm->joined) {
		/* Its last act was to unlock. */
		vm->joined = true;
		pthread_join(vm->thread, NULL);
		vm->started = false;
	}
	return 0;
}

static uint64_t after(uint64_t limit_ns)
{
	uint64_t until;

	return iog_add(now_ns(), limit_ns, &until) && until < INT64_MAX ? until : INT64_MAX;
}

int iog_vm_wait(struct iog_vm *vm, uint64_t limit_ns)
{
	int rc;

	pthread_mutex_lock(&vm->lock);
	rc = wait_ended(vm, after(limit_ns));
	pthread_mutex_unlock(&vm->lock);
	return rc;
}

int iog_vm_stop(struct iog_vm *vm, uint64_t limit_ns)
{
	uint64_t until = after(limit_ns);
	int rc;

	pthread_mutex_lock(&vm->lock);
	atomic_store(&vm->stop, true);
	do {
		if (vm->status.state == IOG_VM_RUNNING) {
			pthread_kill(vm->thread, KICK);
			if (vm->opts.unpark)
				vm->opts.unpark(vm->opts.ctx);
		}
		/* Again after a while: the callback may have been about to sleep. */
		rc = wait_ended(vm, IOG_MIN(until, after(5000000)));
	} while (rc && now_ns() < until);
	pthread_mutex_unlock(&vm->lock);
	return rc;
}

void iog_vm_status(struct iog_vm *vm, struct iog_vm_status *status)
{
	pthread_mutex_lock(&vm->lock);
	*status = vm->status;
	status->cpu_ns = vm->cpu_ns + (vm->status.state == IOG_VM_RUNNING ? cpu_of(vm) : 0);
	pthread_mutex_unlock(&vm->lock);
	status->exits = atomic_load_explicit(&vm->exits, memory_order_relaxed);
	status->parks = atomic_load_explicit(&vm->parks, memory_order_relaxed);
	status->wakes = atomic_load_explicit(&vm->wakes, memory_order_relaxed);
}

int iog_vm_reset(struct iog_vm *vm, struct iog_err *err)
{
	uint64_t n;

	if (!vm->ram)
		return iog_fail(err, -ENOEXEC, "no image is loaded");
	if (iog_vm_wait(vm, 0))
		return iog_fail(err, -EBUSY, "it runs; stop it first");
	fill_image(vm);
	(void)!read(vm->event, &n, sizeof(n)); /* does not block; empty is fine */
	pthread_mutex_lock(&vm->lock);
	vm->status = (struct iog_vm_status){ .state = IOG_VM_IDLE };
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

/* ---- life ---- */

static void give_back(struct iog_vm *vm)
{
	silence_bell(vm);
	if (vm->run)
		munmap(vm->run, vm->run_bytes);
	if (vm->vcpu >= 0)
		close(vm->vcpu);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm >= 0)
		close(vm->kvm);
	if (vm->event >= 0)
		close(vm->event);
	if (vm->tables)
		munmap(vm->tables, (size_t)TABLES * PAGE);
	if (vm->ram)
		munmap(vm->ram, vm->ram_bytes);
	pthread_cond_destroy(&vm->ended);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

static int has(int fd, unsigned long cap)
{
	int n = ioctl(fd, KVM_CHECK_EXTENSION, cap);

	return n > 0 ? n : 0;
}

static int create(struct iog_vm *vm, struct iog_err *err)
{
	struct slot s = { .gpa = TABLES_GPA, .bytes = (uint64_t)TABLES * PAGE, .used = true };
	uint64_t identity = KVM_TSS_GPA + 3 * PAGE;
	const char *what = "open /dev/kvm";
	int n;

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		goto fail;
	what = "eventfd";
	vm->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->event < 0)
		goto fail;
	if (ioctl(vm->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return iog_fail(err, -ENOTSUP, "/dev/kvm speaks another version");
	if (!has(vm->kvm, KVM_CAP_READONLY_MEM) || !has(vm->kvm, KVM_CAP_XSAVE) || !has(vm->kvm, KVM_CAP_XCRS) ||
		!has(vm->kvm, KVM_CAP_EXT_CPUID))
		return iog_fail(err, -ENOTSUP, "this KVM has no read-only memory or no vector state");
	what = "KVM_CREATE_VM";
	do
		vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		goto fail;
	/* Intel processors that cannot run real mode want these places; elsewhere the calls are not known or do nothing. */
	(void)ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS_GPA);
	(void)ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	n = has(vm->fd, KVM_CAP_NR_MEMSLOTS);
	vm->n_slots = n > 0 ? IOG_MIN((uint32_t)n, (uint32_t)SLOTS) : 32;
	what = "page tables";
	vm->tables = private_memory(s.bytes, MAP_NORESERVE);
	if (!vm->tables)
		goto fail;
	vm->n_tables = 1;
	s.host = vm->tables;
	errno = -set_slot(vm, SLOT_TABLES, &s, true);
	if (!errno)
		errno = -allow_ports(vm);
	if (errno)
		goto fail;
	what = "KVM_CREATE_VCPU";
	vm->vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	if (vm->vcpu < 0)
		goto fail;
	what = "KVM_GET_VCPU_MMAP_SIZE";
	n = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof(*vm->run))
		goto fail;
	what = "mapping the state of the processor";
	vm->run_bytes = (size_t)n;
	vm->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu, 0);
	if (vm->run == MAP_FAILED) {
		vm->run = NULL;
		goto fail;
	}
	what = "KVM_GET_XSAVE";
	if (ioctl(vm->vcpu, KVM_GET_XSAVE, &vm->xsave) < 0)
		goto fail;
	n = has(vm->kvm, KVM_CAP_GET_TSC_KHZ) ? ioctl(vm->vcpu, KVM_GET_TSC_KHZ, 0) : 0;
	vm->tsc_khz = n > 0 ? (uint32_t)n : measure_tsc();
	n = set_cpuid(vm, err);
	if (!n)
		n = set_mode(vm, err);
	if (!n)
		n = set_signals(vm, err);
	return n ? n : make_bell(vm, err);
fail:
	return iog_fail(err, errno ? -errno : -EIO, "%s: %s", what, strerror(errno));
}

int iog_vm_create(struct iog_vm **out, const struct iog_vm_opts *opts, struct iog_err *err)
{
	struct iog_vm *vm = calloc(1, sizeof(*vm));
	pthread_condattr_t attr;
	int rc;

	*out = NULL;
	if (!vm)
		return iog_fail(err, -ENOMEM, "no memory");
	if (opts)
		vm->opts = *opts;
	vm->kvm = vm->fd = vm->vcpu = vm->event = vm->bell = -1;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->ended, &attr);
	pthread_condattr_destroy(&attr);
	rc = create(vm, err);
	if (rc)
		give_back(vm);
	else
		*out = vm;
	return rc;
}

int iog_vm_destroy(struct iog_vm *vm)
{
	int rc = vm ? iog_vm_stop(vm, 5000000000) : 0;

	/* Freeing memory that a guest still writes would be worse than keeping it. */
	if (vm && !rc)
		give_back(vm);
	return rc;
}

/* ---- the probe ---- */

enum { ROUNDS = 100 };
#define PROBE_GPA IOG_GUEST_LOW

/* The host's side of the echo, while the guest runs on the main thread. */
static void *probe_peer(void *arg)
{
	struct iog_guest_test *t = arg;

	for (uint64_t i = 1; i <= ROUNDS; i++) {
		t->request = i;
		while (t->reply != i + 1)
			sched_yield(); /* the watchdog ends it */
	}
	t->request = 0;
	return NULL;
}

static int probe_child(struct iog_err *err)
{
	struct iog_guest_test *t = private_memory(2 * PAGE, MAP_POPULATE);
	struct iog_vm_status s = { .state = IOG_VM_RUNNING };
	struct iog_vm *vm = NULL;
	pthread_t peer;
	sigset_t old;
	int rc;

	if (!t)
		return iog_fail(err, -ENOMEM, "no memory");
	block_signals(&old);
	rc = iog_vm_create(&vm, NULL, err);
	if (!rc)
		rc = iog_vm_load(vm, iog_vm_image, iog_vm_image_bytes(), err);
	if (!rc)
		rc = iog_vm_map(vm, t, 2 * PAGE, PROBE_GPA, true, err);
	if (!rc)
		rc = ready(vm, PROBE_GPA, err);
	if (rc)
		return rc;
	t->magic = IOG_GUEST_TEST;
	t->mode = IOG_GT_ECHO;
	rc = pthread_create(&peer, NULL, probe_peer, t);
	if (rc)
		return iog_fail(err, -rc, "pthread_create: %s", strerror(rc));
	run_guest(vm, &s);
	if (s.state != IOG_VM_DONE)
		return iog_fail(err, -EIO, "the test image failed: %s", s.text);
	if (t->reply != ROUNDS + 1)
		return iog_fail(err, -EIO, "the test image answered %llu instead of %d", (unsigned long long)t->reply, ROUNDS + 1);
	if (vm->isa < IOG_ISA_AVX512)
		return 0;
	/* The widest instructions that will be promised to operators. */
	t->mode = IOG_GT_SUM512;
	t->a = PROBE_GPA + PAGE;
	t->b = PAGE;
	for (uint64_t i = 0; i < PAGE / sizeof(uint64_t); i++)
		((uint64_t *)t)[PAGE / sizeof(uint64_t) + i] = i;
	rc = iog_vm_reset(vm, err);
	if (!rc)
		rc = ready(vm, PROBE_GPA, err);
	if (rc)
		return rc;
	run_guest(vm, &s);
	if (s.state != IOG_VM_DONE || t->result != 511 * 512 / 2)
		return iog_fail(err, -EIO, "AVX-512 does not work in the test image: %s", s.state == IOG_VM_DONE ? "wrong sum" : s.text);
	return 0;
}

int iog_vm_probe(char *reason, size_t size)
{
	struct {
		int rc;
		struct iog_err err;
	} said = { 0 };
	struct pollfd p = { .events = POLLIN };
	uint64_t until = after(2000000000);
	int pipe_fds[2], rc, status;
	uint64_t cpu;
	pid_t pid;

	if (!iog_vm_image_bytes()) {
		iog_format(reason, size, "the library was built without the image for VMs");
		return -ENOEXEC;
	}
	if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
		rc = -errno;
		iog_format(reason, size, "pipe: %s", strerror(-rc));
		return rc;
	}
	pid = fork();
	if (!pid) {
		said.rc = probe_child(&said.err);
		(void)!write(pipe_fds[1], &said, sizeof(said));
		/* No handlers of the parent's, and no wait for the peer. */
		syscall(SYS_exit_group, 0);
	}
	rc = pid < 0 ? -errno : 0;
	close(pipe_fds[1]);
	p.fd = pipe_fds[0];
	if (!rc) {
		uint64_t now;

		/* Readable with the answer, or with the end of the child. */
		while ((now = now_ns()) < until && (rc = poll(&p, 1, (int)((until - now) / 1000000) + 1)) < 0 && errno == EINTR)
			;
		if (rc <= 0) {
			rc = iog_fail(&said.err, -ETIMEDOUT, "the test image gave no answer within 2 s");
		} else if (read(pipe_fds[0], &said, sizeof(said)) == (ssize_t)sizeof(said)) {
			rc = said.rc;
		} else {
			rc = iog_fail(&said.err, -EIO, "the process that tried the test image died");
		}
		iog_child_end(pid, &status, &cpu);
	} else {
		iog_fail(&said.err, rc, "fork: %s", strerror(-rc));
	}
	close(pipe_fds[0]);
	iog_format(reason, size, "%s", rc ? said.err.text : "");
	return rc;
}

#else /* a machine whose headers know no KVM */

int iog_vm_create(struct iog_vm **vm, const struct iog_vm_opts *opts, struct iog_err *err)
{
	(void)opts;
	*vm = NULL;
	return iog_fail(err, -ENOTSUP, "built without KVM");
}
int iog_vm_probe(char *reason, size_t size)
{
	iog_format(reason, size, "built without KVM");
	return -ENOTSUP;
}
/* Nothing below is reached: there is no VM to call it with. */
/* User mode may use the ports of hypercalls. IOPL says so as well, but not every KVM looks at it (one without hardware support does not). */
static int allow_ports(struct iog_vm *vm)
{
	uint8_t *tss = (uint8_t *)(vm->tables + (TABLES - 1) * (size_t)(PAGE / sizeof(uint64_t)));
	uint16_t map = TSS_MAP;

	memcpy(tss + TSS_MAP_POINTER, &map, sizeof(map));
	memset(tss + TSS_MAP, 0xff, TSS_MAP_BYTES + 1);
	for (unsigned port = IOG_GUEST_PARK; port < IOG_GUEST_PORTS_END; port++)
		tss[TSS_MAP + port / 8] &= (uint8_t) ~(1u << port % 8);
	/* Present for the processor's own look at the map, not for the guest. */
	return set_pages(vm, TSS_GPA, PAGE, PT_NX, false);
}

int iog_vm_map(struct iog_vm *vm, void *host, uint64_t bytes, uint64_t gpa, bool writable, struct iog_err *err)
{
	(void)vm, (void)host, (void)bytes, (void)gpa, (void)writable;
	return iog_fail(err, -ENOTSUP, "built without KVM");
}
int iog_vm_unmap(struct iog_vm *vm, uint64_t gpa, struct iog_err *err)
{
	(void)gpa;
	return iog_vm_map(vm, NULL, 0, 0, false, err);
}
int iog_vm_load(struct iog_vm *vm, const void *image, uint64_t bytes, struct iog_err *err)
{
	(void)image, (void)bytes;
	return iog_vm_unmap(vm, 0, err);
}
uint32_t iog_vm_isa(const struct iog_vm *vm)
{
	(void)vm;
	return 0;
}
int iog_vm_start(struct iog_vm *vm, int core, uint64_t arg_gpa, struct iog_err *err)
{
	(void)core;
	return iog_vm_unmap(vm, arg_gpa, err);
}
int iog_vm_fd(const struct iog_vm *vm)
{
	(void)vm;
	return -1;
}
int iog_vm_wait(struct iog_vm *vm, uint64_t limit_ns) { return iog_vm_unmap(vm, limit_ns, NULL); }
int iog_vm_stop(struct iog_vm *vm, uint64_t limit_ns) { return iog_vm_unmap(vm, limit_ns, NULL); }
void iog_vm_status(struct iog_vm *vm, struct iog_vm_status *status)
{
	(void)vm;
	*status = (struct iog_vm_status){ .state = IOG_VM_IDLE };
}
int iog_vm_reset(struct iog_vm *vm, struct iog_err *err) { return iog_vm_unmap(vm, 0, err); }
int iog_vm_destroy(struct iog_vm *vm)
{
	(void)vm;
	return 0;
}
#endif
