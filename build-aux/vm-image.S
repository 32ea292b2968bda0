/* SPDX-License-Identifier: BSD-3-Clause
 * The image of the sidecore VM inside the library: const unsigned char iog_vm_image[], iog_vm_image_end[]. Empty where
 * the VM was not built. */
	.section .rodata
	.globl	iog_vm_image
	.globl	iog_vm_image_end
	.balign	4096
iog_vm_image:
	.incbin	"vm-image.bin"
iog_vm_image_end:
	.byte	0
	.section .note.GNU-stack,"",@progbits
