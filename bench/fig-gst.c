/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pipe.cropjpeg: a stage of crop and jpeg against GStreamer's `videocrop ! jpegenc`, both on this one thread, frames from memory to memory,
 * same quality, same subsampling, quantization tables compared. From RGB, jpegenc makes a file whose components are red, green and blue at
 * full resolution, so ours is 4:4:4 then; the note has what it costs with the conversion to 4:2:0 on both sides. GStreamer is loaded while
 * running, so nothing needs its headers; frames are pushed into the first element's pad directly, without the queue and the thread of an
 * appsrc. Thread CPU time.
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
	const struct {
		const char *name;
		void *to;
	} symbol[] = {
		{ "gst_init", &g->init },
		{ "gst_element_factory_make", &g->element_new },
		{ "g_object_set", &g->set },
		{ "gst_element_get_static_pad", &g->element_pad },
		{ "gst_element_link", &g->element_link },
		{ "gst_element_set_state", &g->element_state },
		{ "gst_pad_new", &g->pad_new },
		{ "gst_pad_link", &g->pad_link },
		{ "gst_pad_set_active", &g->pad_active },
		{ "gst_pad_set_chain_function_full", &g->pad_chain },
		{ "gst_pad_push_event", &g->pad_event },
		{ "gst_pad_push", &g->pad_push },
		{ "gst_event_new_stream_start", &g->event_stream },
		{ "gst_event_new_caps", &g->event_caps },
		{ "gst_event_new_segment", &g->event_segment },
		{ "gst_caps_from_string", &g->caps_parse },
		{ "gst_segment_new", &g->segment_new },
		{ "gst_segment_init", &g->segment_init },
		{ "gst_buffer_new_wrapped_full", &g->buffer_wrap },
		{ "gst_buffer_get_size", &g->buffer_size },
		{ "gst_buffer_extract", &g->buffer_copy },
		{ "gst_mini_object_unref", &g->unref },
		{ "gst_version_string", &g->version },
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

/* One pipeline of theirs and the stage that does the same. */
struct pipe {
	struct gst *g;
	uint8_t *const *picture;
	bool convert;   /* to 4:2:0 before jpegenc */
	void *out, *in; /* pads at the ends */
	uint8_t *theirs;
	size_t bytes, our_bytes; /* of the first frame */
	uint64_t arrived;
	struct bench_stage s;
};
static struct pipe *pipe_now; /* the chain function of a pad gets no pointer of ours */

static int arrived(void *pad, void *parent, void *buffer)
{
	struct pipe *c = pipe_now;
	(void)pad, (void)parent;
	if (!c->arrived++) {
		c->bytes = c->g->buffer_size(buffer);
		c->g->buffer_copy(buffer, 0, c->theirs, IOG_MIN(c->bytes, (size_t)ROOM));
	}
	c->g->unref(buffer);
	return 0;
}

static bool gst_start(struct pipe *c, char *why, size_t size)
{
	static const char *const factory[] = { "videocrop", "videoconvert", "capsfilter", "jpegenc" };
	struct gst *g = c->g;
	void *element[4] = { NULL };
	char caps[120];
	bool ok = true;
	for (int i = 0; i < 4; i++)
		if ((i == 0 || i == 3 || c->convert) && !(element[i] = g->element_new(factory[i], NULL))) {
			snprintf(why, size, "GStreamer has no %s (gstreamer1.0-plugins-good, -base)", factory[i]);
			return false;
		}
	g->set(element[0], "left", LEFT, "top", TOP, "right", WIDTH - LEFT - W, "bottom", HEIGHT - TOP - H, NULL);
	g->set(element[3], "quality", QUALITY, NULL);
	if (c->convert)
		g->set(element[2], "caps", g->caps_parse("video/x-raw,format=I420"), NULL);
	for (int i = 1, last = 0; i < 4; i++)
		if (element[i])
			ok = ok && g->element_link(element[last], element[i]), last = i;
	c->out = g->pad_new("out", PAD_SRC);
	c->in = g->pad_new("in", PAD_SINK);
	g->pad_chain(c->in, arrived, NULL, NULL);
	g->pad_active(c->out, 1);
	g->pad_active(c->in, 1);
	snprintf(caps, sizeof caps, "video/x-raw,format=RGB,width=%d,height=%d,framerate=30/1", WIDTH, HEIGHT);
	void *time = g->segment_new();
	g->segment_init(time, FORMAT_TIME);
	ok = ok && !g->pad_link(c->out, g->element_pad(element[0], "sink")) && !g->pad_link(g->element_pad(element[3], "src"), c->in);
	for (int i = 3; i >= 0; i--)
		ok = ok && (!element[i] || g->element_state(element[i], STATE_PLAYING));
	ok = ok && g->pad_event(c->out, g->event_stream("bench")) && g->pad_event(c->out, g->event_caps(g->caps_parse(caps))) &&
	     g->pad_event(c->out, g->event_segment(time));
	if (!ok)
		snprintf(why, size, "GStreamer does not link videocrop to jpegenc");
	return ok;
}

static double theirs(void *ctx)
{
	struct pipe *c = ctx;
	const size_t size = (size_t)WIDTH * HEIGHT * 3;
	uint64_t before = c->arrived;
	pipe_now = c;
	double t = bench_cpu();
	for (int i = 0; i < FRAMES; i++)
		if (c->g->pad_push(c->out, c->g->buffer_wrap(READONLY, c->picture[i % PICTURES], size, 0, size, NULL, NULL)))
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

/* Of a JPEG file in a larger piece of memory: up to its end marker, which encoded data cannot hold. */
static size_t length(const uint8_t *jpeg, size_t n)
{
	const uint8_t *end = memmem(jpeg, n, "\xff\xd9", 2);
	return end ? (size_t)(end - jpeg) + 2 : 0;
}

static int fill_next; /* slots take the pictures in turn, as the other side does */
static void fill(void *data, uint64_t bytes)
{
	(void)bytes;
	bench_picture(data, WIDTH, HEIGHT, 7 * (fill_next++ % PICTURES));
}

/* Both sides of one comparison, and whether they do the same. */
static bool prepare(struct pipe *c, struct bench_figure *f, struct gst *g, uint8_t *const *picture, bool convert)
{
	static const struct iog_value x[2] = { BENCH_NUMBER(LEFT), BENCH_NUMBER(LEFT + W) },
				      y[2] = { BENCH_NUMBER(TOP), BENCH_NUMBER(TOP + H) };
	static const struct iog_value list[2] = { { .kind = IOG_V_LIST, .item = x, .n_items = 2 },
		{ .kind = IOG_V_LIST, .item = y, .n_items = 2 } };
	static const struct bench_param box[] = { { "box", { .kind = IOG_V_LIST, .item = list, .n_items = 2 } }, { 0 } };
	const struct bench_param jpeg[] = { { "quality", BENCH_NUMBER(QUALITY) },
		{ "subsampling", { .kind = IOG_V_STRING, .s = convert ? "420" : "444" } }, { 0 } };
	const struct bench_stage_op op[] = { { bench_find_op("crop"), box }, { bench_find_op("jpeg"), jpeg }, { 0 } };
	char why[200] = "";
	uint8_t table[2][512];
	*c = (struct pipe){ .g = g, .picture = picture, .convert = convert, .theirs = bench_alloc(ROOM) };
	if (!op[0].op || !op[1].op) {
		bench_skip(f, "crop or jpeg is not built in");
		return false;
	}
	if (!gst_start(c, why, sizeof why) || theirs(c) < 0 || !c->bytes || c->bytes > ROOM) {
		bench_skip(f, "%s", why[0] ? why : "GStreamer does not encode the frames");
		return false;
	}
	if (!bench_stage_init(&c->s, f, "image: u8[y<=1080,x<=1920,rgb]", op))
		return false;
	fill_next = 0;
	bench_stage_fill(&c->s, "image", fill);
	if (!bench_stage_pump(&c->s, 1, 1)) {
		bench_skip(f, "the stage does not go on");
		return false;
	}
	/* What came out last: its payload starts behind the head. RGB has one table where YCbCr has two. */
	const struct iog_arena *a = &c->s.args.out[0].arena;
	const uint64_t head = c->s.cut.unit[1].head_max[0];
	const uint8_t *mine = iog_arena_slot(a, c->s.last_slot) + head;
	size_t n = tables(c->theirs, c->bytes, table[0], sizeof table[0]),
	       m = tables(mine, a->slot_bytes - head, table[1], sizeof table[1]);
	unsigned hv = sampling(c->theirs, c->bytes);
	if (!n || m < n || memcmp(table[0], table[1], n) || sampling(mine, a->slot_bytes - head) != hv || hv != (convert ? 0x22 : 0x11)) {
		bench_skip(f, "not the same quality or subsampling: 0x%02x, %zu bytes of tables theirs, %zu ours", hv, n, m);
		return false;
	}
	c->our_bytes = length(mine, a->slot_bytes - head);
	return true;
}

void bench_pipe_cropjpeg(struct bench_figure *f)
{
	static struct gst g;
	static uint8_t *picture[PICTURES];
	struct pipe *rgb = bench_alloc(sizeof *rgb), *converted = bench_alloc(sizeof *converted);
	struct bench_figure second = *f;
	char why[200] = "";
	if (!gst_load(&g, why, sizeof why)) {
		bench_skip(f, "%s", why);
		return;
	}
	g.init(NULL, NULL);
	for (int i = 0; i < PICTURES; i++) {
		picture[i] = bench_alloc((uint64_t)WIDTH * HEIGHT * 3);
		bench_picture(picture[i], WIDTH, HEIGHT, 7 * i);
	}
	if (!prepare(rgb, f, &g, picture, false))
		return;
	bench_pairs(f, ours, theirs, rgb);
	f->value = f->ours * 1e3;
	snprintf(f->unit, sizeof f->unit, "ms/frame");
	bench_note(f, "%s; 4:4:4, their components are R, G, B (%zu bytes), ours Y, Cb, Cr (%zu)", g.version(), rgb->bytes, rgb->our_bytes);
	if (!prepare(converted, &second, &g, picture, true)) {
		bench_note(f, "4:2:0 not measured: %s", second.note);
		return;
	}
	bench_pairs(&second, ours, theirs, converted);
	bench_note(f, "4:2:0 against videocrop ! videoconvert ! jpegenc: ratio %.3g (bound %.3g), %.3g ms/frame, %zu bytes, ours %zu",
		second.ratio, second.low, second.ours * 1e3, converted->bytes, converted->our_bytes);
}
