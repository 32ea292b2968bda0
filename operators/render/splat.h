/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The arithmetic of render: balls, already in samples of the picture, are drawn into one tile at a time (16-bit depth, 16-bit colour and
 * light), and the finished tile becomes RGB. A tile and what is drawn into it stay in the first-level cache. Every function gives the
 * same bits at every vector width. Nothing is allocated; one thread per tile.
 */
#ifndef IOG_OPERATORS_RENDER_SPLAT_H
#define IOG_OPERATORS_RENDER_SPLAT_H

#include "core/iog_op.h"

enum {
	IOG_TILE_W = 128,
	IOG_TILE_H = 32,                                      /* samples */
	IOG_TILE_PAD = 64,                                    /* a sprite may hang over a tile by this much on either side */
	IOG_TILE_STRIDE = IOG_TILE_W + 2 * IOG_TILE_PAD + 16, /* not a power of two: rows would share cache sets */
	IOG_TILE_SAMPLES = IOG_TILE_H * IOG_TILE_STRIDE,
	IOG_CELL_W = 32,
	IOG_CELL_H = 8, /* depth is summed up per cell, so that hidden balls cost nothing */
	IOG_TILE_CELLS = IOG_TILE_W / IOG_CELL_W * (IOG_TILE_H / IOG_CELL_H),
	IOG_SPRITE_BYTES = 64 * 31 * 32 * 3, /* tables of one radius: 64 phases of 31 rows of 32, or 16 of 63 of 64 */
	IOG_LIGHT = 128,                     /* levels of light; the low 7 bits of a sample's ink, the colour is above */
	IOG_INKS = 256 * IOG_LIGHT,
	IOG_BALL_CLASSES = 16, /* different radii */
};

/* A particle on the picture. Depth grows towards the viewer; 0 is the background. */
struct iog_ball {
	int32_t x, y; /* centre in units of 1/8 pixel: the position is rounded to it, so that a few sprites serve all */
	float z;      /* depth of the centre, in samples */
	uint16_t top; /* depth of the point nearest to the viewer */
	uint8_t color, class;
};

/* One radius and its sprites: rows of [depth below the top: u16 x w][light: u8 x w], 2j+1 rows for each of phases*phases positions. */
struct iog_ball_class {
	float r, inv_r;  /* samples */
	float kz;        /* depth units per sample */
	int32_t j, w;    /* the sprite reaches j samples from its middle; w: row, padded */
	uint8_t *sprite; /* NULL: too large for a table, rows are made as they are drawn */
};

struct iog_tile {
	uint16_t *z, *ink;                   /* IOG_TILE_H rows of IOG_TILE_STRIDE */
	int32_t x, y;                        /* first sample */
	uint32_t shift;                      /* log2 of phases per sample: centre >> shift is its sample */
	uint16_t far[IOG_TILE_CELLS], least; /* no sample of the cell, of the tile, is farther than this */
	struct iog_ball_class class[IOG_BALL_CLASSES];
};

/* How a finished tile becomes RGB. */
struct iog_resolve {
	const uint32_t *rgb; /* [IOG_INKS] 0x00bbggrr; ink 0 is the background */
	uint32_t fade;       /* 0..256: how far the far end fades into the background */
	uint32_t smooth;     /* 1: a pixel is the mean of 2x2 samples */
};

static inline size_t iog_sprite_row(const struct iog_ball_class *c) { return (size_t)c->w * 3; }
static inline size_t iog_sprite_size(const struct iog_ball_class *c) { return iog_sprite_row(c) * (size_t)(2 * c->j + 1); }

/* Fills the sprites of class c for 2^shift phases in either direction. */
void iog_ball_sprites(const struct iog_ball_class *c, uint32_t shift, uint32_t isa);
/* Clears the tile. */
void iog_tile_clear(struct iog_tile *t);
/*
 * Draws balls list[0..n) into the tile, on top of what was drawn before; they come sorted by descending top, also over several calls.
 * Where two are equally near the earlier one stays. Once t->least reaches a ball's top, neither it nor any later one can show. A ball of
 * 20 samples across takes ~80 ns with AVX-512, a hidden one ~5 ns.
 */
void iog_tile_balls(struct iog_tile *t, const struct iog_ball *ball, const uint32_t *list, size_t n, uint32_t isa);
/* The tile's first `rows` rows of `cols` pixels to rgb, `stride` bytes a row. */
void iog_tile_resolve(
	const struct iog_tile *t, const struct iog_resolve *how, uint8_t *rgb, size_t stride, uint32_t cols, uint32_t rows, uint32_t isa);

#endif
