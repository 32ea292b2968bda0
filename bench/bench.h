/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `iog bench`: figures, each a ratio against a calibration or a peer measured in the same run. Every figure runs in a child process of its
 * own with a time limit, so that one cannot spoil another, and one that fails says so and never vanishes.
 *
 * A figure is a function that fills a struct bench_figure. Most do it with bench_pairs: ours and the baseline in turn, in random order
 * within each pair, one ratio per pair, and the bound of the median ratio decides.
 */
#ifndef IOG_BENCH_BENCH_H
#define IOG_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

/* argv[0] is the command's name, options and patterns follow. 0; 1: a figure failed; 2: wrong usage. One thread; forks. */
int iog_bench_main(int argc, char **argv);

enum bench_direction { BENCH_AT_LEAST, BENCH_AT_MOST, BENCH_WITHIN };
enum bench_ok { BENCH_NULL = -1, BENCH_MISSED, BENCH_OK };

struct bench_figure {
	/* given */
	char name[32], what[120], against[160]; /* against may be made more precise */
	uint8_t direction;                      /* enum bench_direction */
	double target, seconds;                 /* seconds: how long a figure without pairs measures */
	uint32_t pairs;
	/* filled */
	double value;
	char unit[24];
	double ratio, low, high, spread; /* median; its 95 % bounds; distance of the quartiles over the median */
	double ours, base;               /* medians of the two sides, as their functions returned them */
	uint32_t measured;               /* pairs */
	int8_t ok;                       /* enum bench_ok */
	char note[400];                  /* what else was measured, or why it could not be */
};

/* What one side costs: any unit, the same on both sides, smaller is better. Negative: it failed, and set the note. */
typedef double bench_side(void *ctx);
/*
 * Measures f->pairs pairs after one that does not count. Ratio: base / ours for IOG_AT_LEAST (how many times as fast we are), ours /
 * base otherwise. The bounds are those of bench_bounds.
 */
void bench_pairs(struct bench_figure *f, bench_side *ours, bench_side *base, void *ctx);
/* A figure that is one number; ok by the target. */
void bench_single(struct bench_figure *f, double ratio);
__attribute__((format(printf, 2, 3))) void bench_note(struct bench_figure *f, const char *fmt, ...);
/* It cannot be measured here, and why. */
__attribute__((format(printf, 2, 3))) void bench_skip(struct bench_figure *f, const char *fmt, ...);

/* This thread, on the core-th of those in `cores` (cpu_set_t), from 0. */
void bench_pin(const void *cores, unsigned core);
/* Sorts; a quantile of what is sorted. */
void bench_sort(double *t, uint32_t n);
double bench_quantile(const double *sorted, uint32_t n, double q);
/*
 * The median of short rounds; sorts them. Both sides must be on their cores at the same time, so on a machine with other work most of the time is
 * that of the scheduler: rounds that took three times the fastest or more were interrupted and do not count. *good: how many do.
 */
double bench_undisturbed(double *t, uint32_t n, uint32_t *good);
double bench_cpu(void);  /* seconds of this thread */
double bench_wall(void); /* seconds */
/* Counter-based hash to fill arrays: splitmix64's finalizer (Steele, Lea, Flood, OOPSLA 2014). */
static inline uint64_t bench_hash(uint64_t i)
{
	uint64_t z = i * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}
static inline float bench_unit(uint64_t i) { return (float)(bench_hash(i) >> 40) * 0x1p-24f; }
/* Zeroed, on pages of its own; exits with a message when there is none. */
void *bench_alloc(uint64_t bytes);
/* A picture that is neither flat nor noise: gradients and tiles. */
void bench_picture(uint8_t *rgb, int width, int height, int shift);

/* Weak, because a file whose library is missing is left out of the build. */
typedef void bench_run(struct bench_figure *f);
extern bench_run bench_edge_hop1 __attribute__((weak)), bench_edge_hop32 __attribute__((weak)), bench_call_fused __attribute__((weak)),
	bench_path_quiet __attribute__((weak)), bench_view_crop __attribute__((weak)), bench_op_filter __attribute__((weak)),
	bench_op_stats __attribute__((weak)), bench_op_jpeg __attribute__((weak)), bench_op_png __attribute__((weak)),
	bench_op_render __attribute__((weak)), bench_pipe_cropjpeg __attribute__((weak)), bench_sink_h5md __attribute__((weak)),
	bench_vm_filter __attribute__((weak)), bench_proc_filter __attribute__((weak)), bench_idle_cpu __attribute__((weak)),
	bench_capture_lammps __attribute__((weak)), bench_mem_bound __attribute__((weak)), bench_attach_blocked_64k __attribute__((weak)),
	bench_attach_blocked_1m __attribute__((weak)), bench_attach_blocked_16m __attribute__((weak)),
	bench_attach_parked __attribute__((weak)), bench_attach_put_64k __attribute__((weak)), bench_attach_put_1m __attribute__((weak)),
	bench_attach_put_16m __attribute__((weak)), bench_attach_latency_64k __attribute__((weak)),
	bench_attach_latency_1m __attribute__((weak)), bench_attach_latency_16m __attribute__((weak)),
	bench_attach_touch_64k __attribute__((weak)), bench_attach_touch_1m __attribute__((weak)),
	bench_attach_rate_64k __attribute__((weak)), bench_attach_rate_1m __attribute__((weak)),
	bench_attach_rate_16m __attribute__((weak)), bench_attach_zmq_rate __attribute__((weak)),
	bench_attach_zmq_latency __attribute__((weak)), bench_attach_nng_rate __attribute__((weak)),
	bench_attach_nng_latency __attribute__((weak)), bench_attach_cpu __attribute__((weak)), bench_attach_open __attribute__((weak)),
	bench_attach_mem __attribute__((weak));

#endif
