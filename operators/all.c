/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All operators, in plain sight. The hosted ones need a library that build/config.h says is there, and are not part of the guest image
 * of a sidecore VM (IOG_GUEST). Constant; any thread.
 */
#include "core/iog_op.h"

extern const struct iog_op iog_op_crop, iog_op_delta, iog_op_undelta, iog_op_merge, iog_op_filter, iog_op_stats, iog_op_render;
extern const struct iog_op iog_op_jpeg, iog_op_png, iog_op_compress, iog_op_decompress;

const struct iog_op *const iog_ops[] = {
	&iog_op_crop,
	&iog_op_delta,
	&iog_op_undelta,
	&iog_op_merge,
	&iog_op_filter,
	&iog_op_stats,
	&iog_op_render,
#if !defined(IOG_GUEST) && defined(IOG_HAVE_JPEG)
	&iog_op_jpeg,
#endif
#if !defined(IOG_GUEST) && defined(IOG_HAVE_PNG)
	&iog_op_png,
#endif
#if !defined(IOG_GUEST) && defined(IOG_HAVE_ZSTD)
	&iog_op_compress,
	&iog_op_decompress,
#endif
	NULL,
};
