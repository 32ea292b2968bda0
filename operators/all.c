/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All operators, in plain sight. The hosted ones need a library that build/config.h says is there, and are not part of the guest image
 * of a sidecore VM. Constant; any thread.
 */
#include "core/iog_op.h"

extern const struct iog_op iog_op_crop, iog_op_merge;

const struct iog_op *const iog_ops[] = {
	&iog_op_crop,
	&iog_op_merge,
	NULL,
};
