/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sidecore VM: one virtual processor on /dev/kvm that runs a flat image in user mode (ring 3), on a thread and a core of its own, and sees
 * the memory it was given and nothing else. What it does wrong ends its run with a report; the process around it goes on, and the VM can
 * be reset and run again.
 *
 * The guest's addresses are guest-physical addresses. Below 1 GiB lie the image and what the VMM needs (page tables, which the guest cannot
 * see); callers map from IOG_GUEST_LOW up. Inputs are slots that KVM refuses to write, best on mappings that are read-only as well.
 *
 * Functions are called by one thread at a time, unless it says otherwise. Callbacks run on the VM's thread, unless they say otherwise.
 */
#ifndef IOG_RUNTIME_HOST_VM_H
#define IOG_RUNTIME_HOST_VM_H

#include "core/base.h"

IOG_C_BEGIN

struct iog_vm;

struct iog_vm_opts {
	void *ctx;
	/* The guest has nothing to do. Sleeps until it has, at most some 100 ms: stopping waits for it. NULL: a millisecond. */
	void (*park)(void *ctx);
	/* Optional, called by iog_vm_stop on its thread: makes a park that sleeps return soon. */
	void (*unpark)(void *ctx);
	/* The guest made something visible that others may sleep for; called once for one or for several such calls, on a thread of its
	 * own: the guest only rings a bell, which the kernel answers without leaving it for long (~5 us, a tenth of an exit to here).
	 * NULL: ignored. */
	void (*wake)(void *ctx);
	/* Of the thread a run has, as far as 15 characters go; kept. NULL: "iog-vm". */
	const char *name;
};

enum iog_vm_state {
	IOG_VM_IDLE, /* never started, or reset */
	IOG_VM_RUNNING,
	IOG_VM_DONE,    /* the guest said so; rc */
	IOG_VM_STOPPED, /* by iog_vm_stop */
	IOG_VM_FAILED,  /* the guest did what it must not, or said that it cannot go on; text */
};

struct iog_vm_status {
	enum iog_vm_state state;
	int32_t rc;           /* what guest_done said; the reason of guest_fault */
	uint32_t exit_reason; /* IOG_VM_FAILED: KVM_EXIT_*, 0 when KVM_RUN itself failed (-rc is the error) */
	uint64_t rip;         /* of the fault; some processors lose it */
	uint64_t address;     /* that was touched, when has_address */
	bool has_address;
	uint64_t exits, parks, wakes, cpu_ns; /* over all runs */
	char text[200];                       /* IOG_VM_FAILED: what happened, one sentence */
};

/* An empty VM. 0 or -errno with a message: -ENOENT, -EACCES (/dev/kvm), -ENOTSUP (this KVM lacks something). */
int iog_vm_create(struct iog_vm **vm, const struct iog_vm_opts *opts, struct iog_err *err);
/*
 * Gives the guest `bytes` at `host` under the address gpa; all in whole pages, gpa >= IOG_GUEST_LOW. Pages of 2 MiB where gpa allows. The
 * memory is kept until unmapped, and its pages are touched now. -EEXIST when it overlaps another one. Works while the guest runs.
 */
int iog_vm_map(struct iog_vm *vm, void *host, uint64_t bytes, uint64_t gpa, bool writable, struct iog_err *err);
/* Takes away what was mapped at gpa; on return the guest cannot reach it any more. Works while the guest runs. -ENOENT: nothing there. */
int iog_vm_unmap(struct iog_vm *vm, uint64_t gpa, struct iog_err *err);
/* The image (kept) and its private memory: code, constants, data, stack with a hole below it. Once. */
int iog_vm_load(struct iog_vm *vm, const void *image, uint64_t bytes, struct iog_err *err);
/* The widest vector instructions the guest can use: enum iog_isa. */
uint32_t iog_vm_isa(const struct iog_vm *vm);

/* Runs the image on a new thread, pinned on `core` unless negative; arg_gpa goes to iog_guest_main. After a run: reset first. */
int iog_vm_start(struct iog_vm *vm, int core, uint64_t arg_gpa, struct iog_err *err);
/* Readable from the end of a run until the next reset; for poll, not to be read or closed. */
int iog_vm_fd(const struct iog_vm *vm);
/* Waits for the end of a run: 0, or -ETIMEDOUT. */
int iog_vm_wait(struct iog_vm *vm, uint64_t limit_ns);
/* Ends the run wherever the guest is. 0 also when none is going on; -ETIMEDOUT when a callback did not return in time. Any thread. */
int iog_vm_stop(struct iog_vm *vm, uint64_t limit_ns);
/* Any thread, any time. */
void iog_vm_status(struct iog_vm *vm, struct iog_vm_status *status);
/* Image, registers and private memory as after iog_vm_load; what is mapped stays. -EBUSY while it runs. */
int iog_vm_reset(struct iog_vm *vm, struct iog_err *err);
/* Stops and frees; NULL is fine. -ETIMEDOUT after some seconds in a callback: then nothing is freed. */
int iog_vm_destroy(struct iog_vm *vm);

/* The image inside the library; iog_vm_image_bytes() is 0 when it was built without. */
extern const unsigned char iog_vm_image[], iog_vm_image_end[];
static inline uint64_t iog_vm_image_bytes(void) { return (uint64_t)(uintptr_t)iog_vm_image_end - (uint64_t)(uintptr_t)iog_vm_image; }

/*
 * Can VMs be used here? Runs the image in a child process under a watchdog (2 s). 0, or -errno with the reason in one sentence. Any thread;
 * expects that nobody else waits for all children.
 */
int iog_vm_probe(char *reason, size_t size);

IOG_C_END

#endif
