/* SPDX-License-Identifier: BSD-3-Clause */
/* op.png: the operator against libpng called by hand with the same settings. The bytes must be the same. Thread CPU time. */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench-op.h"

enum { WIDTH = 1920, HEIGHT = 1080, ROOM = WIDTH * HEIGHT * 4 };

struct png {
	struct bench_op b;
	uint8_t *rgb, *to;
	size_t bytes;
};

static void append(png_structp png, png_bytep data, png_size_t n)
{
	struct png *c = png_get_io_ptr(png);
	if (n > ROOM - c->bytes)
		png_error(png, "full");
	memcpy(c->to + c->bytes, data, n);
	c->bytes += n;
}
static void flush(png_structp png) { (void)png; }

static double ours(void *ctx)
{
	struct png *c = ctx;
	double t = bench_cpu();
	if (bench_op_run(&c->b) != IOG_OK)
		return -1;
	return bench_cpu() - t;
}
static double library(void *ctx)
{
	struct png *c = ctx;
	double t = bench_cpu();
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	if (!info || setjmp(png_jmpbuf(png)))
		return -1;
	c->bytes = 0;
	png_set_write_fn(png, c, append, flush);
	png_set_IHDR(
		png, info, WIDTH, HEIGHT, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_set_compression_level(png, 1);
	png_set_filter(png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
	png_write_info(png, info);
	for (size_t y = 0; y < HEIGHT; y++)
		png_write_row(png, c->rgb + y * WIDTH * 3);
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	return bench_cpu() - t;
}

void bench_op_png(struct bench_figure *f)
{
	static const struct bench_param param[] = { { "level", BENCH_NUMBER(1) }, { "filter", BENCH_STRING("sub") }, { 0 } };
	struct png *c = bench_alloc(sizeof *c);
	if (!bench_op_init(&c->b, f, "png", "image: u8[y<=1080,x<=1920,rgb]", param))
		return;
	c->rgb = bench_op_data(&c->b, "image");
	bench_picture(c->rgb, WIDTH, HEIGHT, 0);
	c->to = bench_alloc(ROOM);
	const struct iog_block *image;
	if (bench_op_run(&c->b) != IOG_OK || library(c) < 0 || !(image = bench_op_result(&c->b, "image")) || image->bytes != c->bytes ||
		memcmp(image->data, c->to, c->bytes)) {
		bench_skip(f, "the operator and the library alone do not write the same bytes");
		return;
	}
	bench_pairs(f, ours, library, c);
	f->value = f->ours * 1e3;
	snprintf(f->unit, sizeof f->unit, "ms/frame");
	bench_note(f, "%zu bytes, the same from both", c->bytes);
}
