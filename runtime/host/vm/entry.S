/* SPDX-License-Identifier: BSD-3-Clause
 * First bytes of the guest image (struct iog_guest_head) and the first instructions. The VMM has set the stack pointer to the
 * end of the stack and rdi to the argument. */
	.section .head, "ax"
	.globl	iog_guest_head
iog_guest_head:
	.quad	0x31474d4956474f49
	.quad	iog_guest_entry
	.quad	__ro
	.quad	__rw
	.quad	__data_end
	.quad	__rw_end
	.quad	__stack
	.quad	__stack_end

	.text
	.globl	iog_guest_entry
	.type	iog_guest_entry, @function
iog_guest_entry:
	xorl	%ebp, %ebp
	call	guest_enter
	ud2
	.size	iog_guest_entry, . - iog_guest_entry
	.section .note.GNU-stack, "", @progbits
