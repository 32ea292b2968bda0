/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pipe.cropjpeg: a stage of crop and jpeg against GStreamer's `videocrop ! jpegenc`, both on this one thread, frames from memory to memory,
 * same quality, same subsampling, quantization tables compared. GStreamer is loaded while running, so nothing needs its headers; frames are
 * pushed into the first element's pad directly, without the queue and the thread of an appsrc. Thread CPU time.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench-stage.h"

enum { WIDTH = 1920, HEIGHT = 1080, LEFT = 640, TOP = 360, W = 640, H = 360, QUALITY = 85, FRAMES = 20, PICTURES = 4, ROOM = 1 << 20 };

/* The few functions of GStreamer 1.x that are needed; objects are never looked into. */
struct gst {
	void (*init)(int *, char ***);
	void *(*element_new)(const char *factory, const char *name);
	void (*set)(void *object, const char *first, ...);
	void *(*element_pad)(void *element, const char *name);
	int (*element_link)(void *from, void *to);
	int (*element_state)(void *element, int state);
	void *(*pad_new)(const char *name, int direction);
	int (*pad_link)(void *from, void *to);
	int (*pad_active)(void *pad, int on);
	void (*pad_chain)(void *pad, int (*chain)(void *, void *, void *), void *data, void (*notify)(void *));
	int (*pad_event)(void *pad, void *event);
	int (*pad_push)(void *pad, void *buffer);
	void *(*event_stream)(const char *id);
	void *(*event_caps)(void *caps);
	void *(*event_segment)(const void *segment);
	void *(*caps_parse)(const char *text);
	void *(*segment_new)(void);
	void (*segment_init)(void *segment, int format);
	void *(*buffer_wrap)(unsigned flags, void *data, size_t max, size_t offset, size_t size, void *user, void (*notify)(void *));
	size_t (*buffer_size)(void *buffer);
	size_t (*buffer_copy)(void *buffer, size_t offset, void *to, size_t size);
	void (*unref)(void *mini_object);
	char *(*version)(void);
};
enum { PAD_SRC = 1, PAD_SINK = 2, STATE_PLAYING = 4, FORMAT_TIME = 3, READONLY = 2 };

static bool gst_load(struct gst *g, char *why, size_t size)
{
	const struct { const char *name; void *to; } symbol[] = {
		{ "gst_init", &g->init }, { "gst_element_factory_make", &g->element_new }, { "g_object_set", &g->set },
		{ "gst_element_get_static_pad", &g->element_pad }, { "gst_element_link", &g->element_link }, { "gst_element_set_state", &g->element_state },
		{ "gst_pad_new", &g->pad_new }, { "gst_pad_link", &g->pad_link }, { "gst_pad_set_active", &g->pad_active },
		{ "gst_pad_set_chain_function_full", &g->pad_chain }, { "gst_pad_push_event", &g->pad_event }, { "gst_pad_push", &g->pad_push },
		{ "gst_event_new_stream_start", &g->event_stream }, { "gst_event_new_caps", &g->event_caps }, { "gst_event_new_segment", &g->event_segment },
		{ "gst_caps_from_string", &g->caps_parse }, { "gst_segment_new", &g->segment_new }, { "gst_segment_init", &g->segment_init },
		{ "gst_buffer_new_wrapped_full", &g->buffer_wrap }, { "gst_buffer_get_size", &g->buffer_size }, { "gst_buffer_extract", &g->buffer_copy },
		{ "gst_mini_object_unref", &g->unref }, { "gst_version_string", &g->version },
	};
	void *lib = dlopen("libgstreamer-1.0.so.0", RTLD_NOW | RTLD_GLOBAL);
	if (!lib) {
		snprintf(why, size, "GStreamer is not installed (gstreamer1.0-plugins-good): %s", dlerror());
		return false;
	}
	for (size_t i = 0; i < IOG_COUNT(symbol); i++) {
		void *p = dlsym(lib, symbol[i].name);
		if (!p) {
			snprintf(why, size, "GStreamer lacks %s", symbol[i].name);
			return false;
		}
		memcpy(symbol[i].to, &p, sizeof p);
	}
	return true;
}

struct pipe {
	struct gst g;
	void *out, *crop, *jpeg, *in; /* pads at the ends, elements between */
	uint8_t *picture[PICTURES], *theirs;
	size_t bytes;
	uint64_t arrived;
	struct bench_stage s;
};
static struct pipe *pipe_now; /* the chain function of a pad gets no pointer of ours */

static int arrived(void *pad, void *parent, void *buffer)
{
	struct pipe *c = pipe_now;
	(void)pad, (void)parent;
	if (!c->arrived++) {
		c->bytes = c->g.buffer_size(buffer);
		c->g.buffer_copy(buffer, 0, c->theirs, IOG_MIN(c->bytes, (size_t)ROOM));
	}
	c->g.unref(buffer);
	return 0;
}

static bool gst_start(struct pipe *c, char *why, size_t size)
{
	struct gst *g = &c->g;
	if (!gst_load(g, why, size))
		return false;
	g->init(NULL, NULL);
	c->crop = g->element_new("videocrop", NULL);
	c->jpeg = g->element_new("jpegenc", NULL);
	if (!c->crop || !c->jpeg) {
		snprintf(why, size, "GStreamer has no %s (gstreamer1.0-plugins-good)", c->crop ? "jpegenc" : "videocrop");
		return false;
	}
	g->set(c->crop, "left", LEFT, "top", TOP, "right", WIDTH - LEFT - W, "bottom", HEIGHT - TOP - H, NULL);
	g->set(c->jpeg, "quality", QUALITY, NULL);
	c->out = g->pad_new("out", PAD_SRC);
	c->in = g->pad_new("in", PAD_SINK);
	g->pad_chain(c->in, arrived, NULL, NULL);
	g->pad_active(c->out, 1);
	g->pad_active(c->in, 1);
	char caps[120];
	snprintf(caps, sizeof caps, "video/x-raw,format=RGB,width=%d,height=%d,framerate=30/1", WIDTH, HEIGHT);
	void *segment = g->segment_new();
	g->segment_init(segment, FORMAT_TIME);
	bool ok = g->element_link(c->crop, c->jpeg) && !g->pad_link(c->out, g->element_pad(c->crop, "sink")) &&
		  !g->pad_link(g->element_pad(c->jpeg, "src"), c->in) && g->element_state(c->jpeg, STATE_PLAYING) && g->element_state(c->crop, STATE_PLAYING) &&
		  g->pad_event(c->out, g->event_stream("bench")) && g->pad_event(c->out, g->event_caps(g->caps_parse(caps))) &&
		  g->pad_event(c->out, g->event_segment(segment));
	if (!ok)
		snprintf(why, size, "GStreamer does not link videocrop to jpegenc");
	return ok;
}

static double theirs(void *ctx)
{
	struct pipe *c = ctx;
	const size_t size = (size_t)WIDTH * HEIGHT * 3;
	uint64_t before = c->arrived;
	double t = bench_cpu();
	for (int i = 0; i < FRAMES; i++)
		if (c->g.pad_push(c->out, c->g.buffer_wrap(READONLY, c->picture[i % PICTURES], size, 0, size, NULL, NULL)))
			return -1;
	return c->arrived - before == FRAMES ? (bench_cpu() - t) / FRAMES : -1;
}
static double ours(void *ctx)
{
	struct pipe *c = ctx;
	double t = bench_cpu();
	if (!bench_stage_pump(&c->s, FRAMES, 1))
		return -1;
	return (bench_cpu() - t) / FRAMES;
}

/* The next segment of a JPEG file with this marker, from *at on; its bytes or NULL. */
static const uint8_t *segment(const uint8_t *jpeg, size_t n, uint8_t marker, size_t *at, size_t *bytes)
{
	size_t i = *at ? *at : 2;
	while (i + 4 <= n && jpeg[i] == 0xff && jpeg[i + 1] != 0xda) {
		size_t len = (size_t)jpeg[i + 2] << 8 | jpeg[i + 3];
		if (i + 2 + len > n)
			return NULL;
		if (jpeg[i + 1] == marker) {
			*at = i + 2 + len, *bytes = len - 2;
			return jpeg + i + 4;
		}
		i += 2 + len;
	}
	return NULL;
}
/* Sampling of the first component, 0xHV; 0: not found. */
static unsigned sampling(const uint8_t *jpeg, size_t n)
{
	size_t at = 0, bytes;
	const uint8_t *p = segment(jpeg, n, 0xc0, &at, &bytes);
	return p && bytes >= 15 ? p[7] : 0;
}
/* All quantization tables, one after the other. */
static size_t tables(const uint8_t *jpeg, size_t n, uint8_t *to, size_t size)
{
	size_t at = 0, bytes, sum = 0;
	for (const uint8_t *p; (p = segment(jpeg, n, 0xdb, &at, &bytes)) && sum + bytes <= size; sum += bytes)
		memcpy(to + sum, p, bytes);
	return sum;
}

static void fill(void *data, uint64_t bytes)
{
	static int shift;
	(void)bytes;
	bench_picture(data, WIDTH, HEIGHT, 7 * (shift++ % PICTURES));
}

void bench_pipe_cropjpeg(struct bench_figure *f)
{
	static const struct iog_value x[2] = { BENCH_NUMBER(LEFT), BENCH_NUMBER(LEFT + W) }, y[2] = { BENCH_NUMBER(TOP), BENCH_NUMBER(TOP + H) };
	static const struct iog_value list[2] = { { .kind = IOG_V_LIST, .item = x, .n_items = 2 }, { .kind = IOG_V_LIST, .item = y, .n_items = 2 } };
	static const struct bench_param box[] = { { "box", { .kind = IOG_V_LIST, .item = list, .n_items = 2 } }, { 0 } };
	struct pipe *c = pipe_now = bench_alloc(sizeof *c);
	uint8_t table[2][512];
	char why[200] = "";
	c->theirs = bench_alloc(ROOM);
	for (int i = 0; i < PICTURES; i++) {
		c->picture[i] = bench_alloc((uint64_t)WIDTH * HEIGHT * 3);
		bench_picture(c->picture[i], WIDTH, HEIGHT, 7 * i);
	}
	const struct bench_stage_op find[] = { { bench_find_op("crop"), box }, { bench_find_op("jpeg"), NULL } };
	if (!find[0].op || !find[1].op) {
		bench_skip(f, "crop or jpeg is not built in");
		return;
	}
	if (!gst_start(c, why, sizeof why)) {
		bench_skip(f, "%s", why);
		return;
	}
	if (theirs(c) < 0 || !c->bytes || c->bytes > ROOM) {
		bench_skip(f, "GStreamer does not encode the frames");
		return;
	}
	unsigned hv = sampling(c->theirs, c->bytes);
	const char *sub = hv == 0x22 ? "420" : hv == 0x21 ? "422" : hv == 0x11 ? "444" : NULL;
	if (!sub) {
		bench_skip(f, "GStreamer's subsampling 0x%02x is none of ours", hv);
		return;
	}
	const struct bench_param jpeg[] = { { "quality", BENCH_NUMBER(QUALITY) }, { "subsampling", { .kind = IOG_V_STRING, .s = sub } }, { 0 } };
	const struct bench_stage_op op[] = { { find[0].op, box }, { find[1].op, jpeg }, { 0 } };
	if (!bench_stage_init(&c->s, f, "image: u8[y<=1080,x<=1920,rgb]", op))
		return;
	bench_stage_fill(&c->s, "image", fill);
	if (!bench_stage_pump(&c->s, 1, 1)) {
		bench_skip(f, "the stage does not go on");
		return;
	}
	/* What came out last: its payload starts behind the head. */
	const struct iog_arena *a = &c->s.args.out[0].arena;
	const uint8_t *mine = iog_arena_slot(a, c->s.last_slot) + c->s.cut.unit[1].head_max[0];
	size_t n = tables(c->theirs, c->bytes, table[0], sizeof table[0]), m = tables(mine, a->slot_bytes - c->s.cut.unit[1].head_max[0], table[1], sizeof table[1]);
	if (!n || n != m || memcmp(table[0], table[1], n) || sampling(mine, a->slot_bytes - c->s.cut.unit[1].head_max[0]) != hv) {
		bench_skip(f, "the quantization tables or the subsampling are not the same (%zu and %zu bytes of tables)", n, m);
		return;
	}
	bench_pairs(f, ours, theirs, c);
	f->value = f->ours * 1e3;
	snprintf(f->unit, sizeof f->unit, "ms/frame");
	bench_note(f, "%s, which chooses subsampling %s from RGB; quality %d, quantization tables compared; their frame has %zu bytes, ours on average %.0f with its head",
		   c->g.version(), sub, QUALITY, c->bytes, (double)c->s.bytes / (double)c->s.received);
}
