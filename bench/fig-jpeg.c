/* SPDX-License-Identifier: BSD-3-Clause */
/* op.jpeg: the operator against libjpeg-turbo called by hand with the same settings. The bytes must be the same. Thread CPU time. */
#include <stdio.h>
#include <string.h>
#include <turbojpeg.h>

#include "bench/bench-op.h"

enum { WIDTH = 1920, HEIGHT = 1080, QUALITY = 85 };

struct jpeg {
	struct bench_op b;
	uint8_t *rgb;
	tjhandle tj;
	unsigned char *to;
	unsigned long bytes;
};

static double ours(void *ctx)
{
	struct jpeg *c = ctx;
	double t = bench_cpu();
	for (int i = 0; i < 3; i++)
		if (bench_op_run(&c->b) != IOG_OK)
			return -1;
	return (bench_cpu() - t) / 3;
}
static double library(void *ctx)
{
	struct jpeg *c = ctx;
	double t = bench_cpu();
	for (int i = 0; i < 3; i++) {
		c->bytes = tjBufSize(WIDTH, HEIGHT, TJSAMP_420);
		if (tjCompress2(
			    c->tj, c->rgb, WIDTH, WIDTH * 3, HEIGHT, TJPF_RGB, &c->to, &c->bytes, TJSAMP_420, QUALITY, TJFLAG_NOREALLOC))
			return -1;
	}
	return (bench_cpu() - t) / 3;
}

void bench_op_jpeg(struct bench_figure *f)
{
	static const struct bench_param param[] = { { "quality", BENCH_NUMBER(QUALITY) }, { "subsampling", BENCH_STRING("420") }, { 0 } };
	struct jpeg *c = bench_alloc(sizeof *c);
	if (!bench_op_init(&c->b, f, "jpeg", "image: u8[y<=1080,x<=1920,rgb]", param))
		return;
	c->rgb = bench_op_data(&c->b, "image");
	bench_picture(c->rgb, WIDTH, HEIGHT, 0);
	c->tj = tjInitCompress();
	c->to = bench_alloc(tjBufSize(WIDTH, HEIGHT, TJSAMP_444));
	const struct iog_block *image;
	if (bench_op_run(&c->b) != IOG_OK || library(c) < 0 || !(image = bench_op_result(&c->b, "image")) || image->bytes != c->bytes ||
		memcmp(image->data, c->to, c->bytes)) {
		bench_skip(f, "the operator and the library alone do not write the same bytes");
		return;
	}
	bench_pairs(f, ours, library, c);
	f->value = f->ours * 1e3;
	snprintf(f->unit, sizeof f->unit, "ms/frame");
	bench_note(f, "%lu bytes, the same from both", c->bytes);
}
