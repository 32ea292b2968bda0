/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Baseline of op.render, frozen: the same picture (oblique view, viridis, automatic radius and range, box edges, white background, fade
 * 0.4) by the loop one writes first: every ball in turn, every sample of its square, a depth buffer of the whole picture. Plain C, no
 * intrinsics, nothing shared with the operator; only the formulas are the same, so that pictures can be compared byte by byte. Caller's
 * thread; `work` is base_render_work() bytes.
 */
#include <math.h>
#include <string.h>

#include "bench/base.h"

static const uint32_t map[16] = {
	0x440154,
	0x481a6c,
	0x472f7d,
	0x414487,
	0x39568c,
	0x31688e,
	0x2a788e,
	0x23888e,
	0x1f988b,
	0x22a884,
	0x35b779,
	0x54c568,
	0x7ad151,
	0xa5db36,
	0xd2e21b,
	0xfde725,
};
static const double view[3][3] = {
	{ 0.86602540378443865, -0.5, 0 },
	{ 0.20336832153790019, 0.35224426506091405, 0.91354545764260090 },
	{ -0.45677272882130045, -0.79115357472941187, 0.40673664307580020 },
};
enum { BACK = 0xffffff, EDGE = 0x30281c };

struct camera {
	float m[3][3], mid[2];
	float far, kz;
	int w, h; /* samples */
};

size_t base_render_work(int width, int height, int smooth)
{
	return (size_t)width * (size_t)height * (smooth ? 4 : 1) * 2 * sizeof(uint32_t);
}

static int floor_of(float v)
{
	int i = (int)v;
	return i - ((float)i > v);
}

static int depth_of(const struct camera *c, float z)
{
	const float v = (z - c->far) * c->kz + 2.5f;
	return v < 1 ? 1 : v > 65535 ? 65535 : (int)v;
}

static void line(const struct camera *c, uint32_t *key, uint32_t *color, const float *a, const float *b, float half)
{
	const float dx = b[0] - a[0], dy = b[1] - a[1];
	const int steep = fabsf(dy) > fabsf(dx), u = steep, v = !steep;
	const float du = b[u] - a[u], dv = b[v] - a[v];
	if (fabsf(du) < 0.5f)
		return;
	const float slope = dv / du, across = half * (float)sqrt((double)(1 + slope * slope));
	const int size_u = steep ? c->h : c->w, size_v = steep ? c->w : c->h;
	const float lo = fminf(a[u], b[u]) - half, hi = fmaxf(a[u], b[u]) + half;
	const int i0 = lo < 0 ? 0 : (int)(lo + 0.5f), i1 = hi > (float)size_u ? size_u : (int)(hi + 0.5f);
	for (int i = i0; i < i1; i++) {
		float s = ((float)i + 0.5f - a[u]) / du;
		s = s < 0 ? 0 : s > 1 ? 1 : s;
		const float m = a[v] + s * dv;
		const uint32_t z = (uint32_t)depth_of(c, a[2] + s * (b[2] - a[2]));
		const int j0 = floor_of(m - across + 0.5f), j1 = floor_of(m + across + 0.5f);
		for (int j = j0 < 0 ? 0 : j0; j < j1 && j < size_v; j++) {
			const size_t at = steep ? (size_t)i * (size_t)c->w + (size_t)j : (size_t)j * (size_t)c->w + (size_t)i;
			if (z > key[at] >> 16) {
				key[at] = z << 16;
				color[at] = EDGE;
			}
		}
	}
}

void base_render(uint8_t *rgb, int width, int height, int smooth, const float *position, const float *value, int64_t n,
	const double edge[3][3], const double origin[3], void *work)
{
	const int s = smooth ? 2 : 1;
	struct camera c = { .w = width * s, .h = height * s };
	uint32_t *key = work, *color = key + (size_t)c.w * (size_t)c.h;
	uint32_t palette[253];
	for (int i = 0; i < 253; i++) {
		int at = i * 15, k = at / 252 < 14 ? at / 252 : 14, f = at - k * 252;
		palette[i] = 0;
		for (int ch = 0; ch < 24; ch += 8) {
			int a = map[k] >> ch & 0xff, b = map[k + 1] >> ch & 0xff;
			palette[i] |= (uint32_t)((a * (252 - f) + b * f + 126) / 252) << (16 - ch);
		}
	}

	/* The scene: centre, bounds, radius. */
	double centre[3], corner[8][3], size[3], volume = 1, margin, longest = 0;
	float lo[3], hi[3], vlo = INFINITY, vhi = -INFINITY;
	for (int d = 0; d < 3; d++) {
		centre[d] = origin[d] + (edge[0][d] + edge[1][d] + edge[2][d]) / 2;
		lo[d] = INFINITY, hi[d] = -INFINITY;
		double a = INFINITY, b = -INFINITY;
		for (int i = 0; i < 8; i++) {
			corner[i][d] = 0;
			for (int e = 0; e < 3; e++)
				corner[i][d] += (i >> e & 1 ? 0.5 : -0.5) * edge[e][d];
			a = fmin(a, corner[i][d]), b = fmax(b, corner[i][d]);
		}
		size[d] = b - a;
		longest = fmax(longest, size[d]);
	}
	for (int64_t i = 0; i < n; i++) {
		for (int d = 0; d < 3; d++) {
			const float p = (float)((double)position[3 * i + d] - centre[d]);
			lo[d] = p < lo[d] ? p : lo[d], hi[d] = p > hi[d] ? p : hi[d];
		}
		vlo = value[i] < vlo ? value[i] : vlo, vhi = value[i] > vhi ? value[i] : vhi;
	}
	for (int d = 0; d < 3; d++) {
		const double steps = (double)(int64_t)(fmin(((double)hi[d] - (double)lo[d]) / size[d], 1.0) * 20 + 0.999);
		volume *= size[d] * fmax(steps, 1.0) / 20;
	}
	const double det = edge[0][0] * (edge[1][1] * edge[2][2] - edge[1][2] * edge[2][1]) -
			   edge[0][1] * (edge[1][0] * edge[2][2] - edge[1][2] * edge[2][0]) +
			   edge[0][2] * (edge[1][0] * edge[2][1] - edge[1][1] * edge[2][0]);
	volume *= fabs(det) / (size[0] * size[1] * size[2]);
	const double radius = fmin(0.5 * cbrt(volume / (double)n), longest / 8);

	/* The camera. */
	double reach[3] = { 0 };
	for (int i = 0; i < 8; i++)
		for (int d = 0; d < 3; d++)
			reach[d] = fmax(reach[d], fabs(view[d][0] * corner[i][0] + view[d][1] * corner[i][1] + view[d][2] * corner[i][2]));
	margin = fmin(radius, sqrt(size[0] * size[0] + size[1] * size[1] + size[2] * size[2]) / 4);
	const double scale = fmin(0.92 * width / (2 * (reach[0] + margin)), 0.92 * height / (2 * (reach[1] + margin))) * s;
	for (int d = 0; d < 3; d++)
		for (int e = 0; e < 3; e++)
			c.m[d][e] = (float)((d == 1 ? -scale : scale) * view[d][e]);
	c.mid[0] = (float)(width * s) / 2, c.mid[1] = (float)(height * s) / 2;
	const float r = (float)fmax(radius * scale, 0.75 * s), inv_r = 1.0f / r, gain = vhi > vlo ? 252.0f / (vhi - vlo) : 0;
	const int phases = smooth ? 4 : 8, j = (int)(r + 0.5f);
	float near = (float)(1.1 * reach[2] * scale);
	c.far = -near;
	for (int64_t i = 0; i < n; i++) {
		float p[3];
		for (int d = 0; d < 3; d++)
			p[d] = (float)((double)position[3 * i + d] - centre[d]);
		const float z = c.m[2][0] * p[0] + c.m[2][1] * p[1] + c.m[2][2] * p[2];
		near = z > near ? z : near, c.far = z < c.far ? z : c.far;
	}
	near += r, c.far -= r;
	c.kz = 65000.0f / (near - c.far);

	/* The balls. The key of a sample: its depth, then that of the nearest point of its ball. */
	memset(key, 0, (size_t)c.w * (size_t)c.h * sizeof *key);
	for (size_t i = 0; i < (size_t)c.w * (size_t)c.h; i++)
		color[i] = BACK;
	for (int64_t i = 0; i < n; i++) {
		float p[3];
		for (int d = 0; d < 3; d++)
			p[d] = (float)((double)position[3 * i + d] - centre[d]);
		const float sx = c.mid[0] + c.m[0][0] * p[0] + c.m[0][1] * p[1] + c.m[0][2] * p[2];
		const float sy = c.mid[1] + c.m[1][0] * p[0] + c.m[1][1] * p[1] + c.m[1][2] * p[2];
		const float sz = c.m[2][0] * p[0] + c.m[2][1] * p[1] + c.m[2][2] * p[2];
		const float cx = (float)floor_of(sx * (float)phases + 0.5f) / (float)phases,
			    cy = (float)floor_of(sy * (float)phases + 0.5f) / (float)phases;
		const int top = depth_of(&c, sz + r), ix = floor_of(cx), iy = floor_of(cy);
		const float t = gain > 0 ? (value[i] - vlo) * gain + 0.5f : 126;
		const uint32_t hue = palette[t > 252 ? 252 : (int)t];
		for (int y = iy - j < 0 ? 0 : iy - j; y <= iy + j && y < c.h; y++)
			for (int x = ix - j < 0 ? 0 : ix - j; x <= ix + j && x < c.w; x++) {
				const float dx = (float)x + 0.5f - cx, dy = (float)y + 0.5f - cy, h2 = r * r - dy * dy - dx * dx;
				if (!(h2 > 0))
					continue;
				const float h = sqrtf(h2);
				const int z = top - (int)((r - h) * c.kz + 0.5f);
				const uint32_t k = (uint32_t)z << 16 | (uint32_t)top;
				const size_t at = (size_t)y * (size_t)c.w + (size_t)x;
				if (k <= key[at])
					continue;
				key[at] = k;
				const float nz = h * inv_r, slant = dx * inv_r * -0.36f + dy * inv_r * -0.48f + nz * 0.80f,
					    lambert = slant > 0 ? slant : 0;
				const float rim = 0.36f + (1.0f - 0.36f) * (nz * (2.0f - nz));
				const uint32_t light = (uint32_t)((0.46f + (1.0f - 0.46f) * lambert) * rim * 127.0f + 0.5f),
					       shine = light > 112 ? (light - 112) * 7 : 0;
				uint32_t lit = 0;
				for (int ch = 0; ch < 24; ch += 8) {
					const uint32_t e = (hue >> ch & 0xff) * light / 127;
					lit |= (e + (255 - e) * shine / 256) << ch;
				}
				color[at] = lit;
			}
	}

	for (int i = 0; i < 8; i++)
		for (int d = 0; d < 3; d++) {
			float end[2][3];
			if (i >> d & 1)
				continue;
			for (int e = 0; e < 2; e++) {
				const double *p = corner[e ? i | 1 << d : i];
				for (int k = 0; k < 3; k++)
					end[e][k] = c.m[k][0] * (float)p[0] + c.m[k][1] * (float)p[1] + c.m[k][2] * (float)p[2] +
						    (k < 2 ? c.mid[k] : 0);
			}
			line(&c, key, color, end[0], end[1], (float)s * fmaxf(1.0f, (float)height / 600.0f) / 2);
		}

	/* Mean of the samples of a pixel, faded by the nearest of them. */
	for (int y = 0; y < height; y++)
		for (int x = 0; x < width; x++, rgb += 3) {
			const size_t at = (size_t)(y * s) * (size_t)c.w + (size_t)(x * s);
			uint32_t z = key[at];
			for (int i = 1; i < s * s; i++) {
				const uint32_t k = key[at + (size_t)(i >> 1) * (size_t)c.w + (size_t)(i & 1)];
				z = k > z ? k : z;
			}
			const uint32_t fade = (255 - (z >> 24)) * 102 >> 8;
			for (int ch = 0; ch < 3; ch++) {
				uint32_t v = color[at] >> 8 * ch & 0xff;
				if (smooth) {
					const uint32_t *row = color + at, *below = row + c.w;
					const uint32_t even = ((row[0] >> 8 * ch & 0xff) + (below[0] >> 8 * ch & 0xff) + 1) / 2;
					const uint32_t odd = ((row[1] >> 8 * ch & 0xff) + (below[1] >> 8 * ch & 0xff) + 1) / 2;
					v = (even + odd + 1) / 2;
				}
				rgb[ch] = (uint8_t)((v * (256 - fade) + (uint32_t)(BACK >> 8 * ch & 0xff) * fade) >> 8);
			}
		}
}
