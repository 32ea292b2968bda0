/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program whose agent is not to be trusted: messages about a stream it reads and one it writes, with fields and descriptors the input chooses: memory that
 * is not sealed, too small, sealed and full of what the input says, pipes, sockets, files. Every call of iograph.h comes back, and touches nothing that is
 * not there.
 *
 * Input: a byte for the number of messages; each a byte for the kind, one for its descriptors and 24 for its fields; the rest is what the memory holds.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bindings/c/client-private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(x)                                                                                                                         \
	do {                                                                                                                               \
		if (!(x))                                                                                                                  \
			abort();                                                                                                           \
	} while (0)

enum { MESSAGES = 5, HEAD = 26, EDGE = 7, REGION = 1 << 16, SEALS = F_SEAL_SHRINK | F_SEAL_GROW };

static char path[100];
static struct iog_schema schema;
static struct iog_msg m, in;

static void leave_nothing(void) { unlink(path); }

/* Accepts, and answers the hello. */
static void *welcome(void *listener)
{
	static int s;
	struct iog_err err = { "" };
	struct iog_region_map page = IOG_REGION_NONE;
	uint32_t n = 0;
	s = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);
	REQUIRE(s >= 0 && iog_msg_recv(s, &in, NULL, &n, 1000000000, &err) == 1);
	REQUIRE(!iog_region_create(&page, "iog-attach", sizeof(struct iog_attach_page), 0, &err));
	m = (struct iog_msg){ .kind = IOG_MSG_WELCOME, .a = IOG_ATTACH_MAJOR << 16 };
	REQUIRE(!iog_msg_send(s, &m, &page.fd, 1, 0, &err));
	iog_region_close(&page);
	return &s;
}

static iog *attach(int *agent)
{
	static int listener = -1;
	struct iog_err err = { "" };
	pthread_t thread;
	void *s;
	if (listener < 0) {
		const char *tmp = getenv("TMPDIR");
		snprintf(path, sizeof path, "%.60s/iog-fuzz-%d", tmp ? tmp : "/tmp", (int)getpid());
		REQUIRE((listener = iog_attach_listen(path, &err)) >= 0 && !atexit(leave_nothing));
		REQUIRE(!iog_schema_parse(&schema, "T: f64[z<=4,y<=6]; dt: f32", &err));
	}
	REQUIRE(!pthread_create(&thread, NULL, welcome, &listener));
	iog *io = iog_attach(path);
	REQUIRE(!pthread_join(thread, &s));
	*agent = *(int *)s;
	return io;
}

static int memory(size_t size, int seals, const uint8_t *data, size_t n)
{
	int fd = memfd_create("fuzz", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	REQUIRE(fd >= 0 && !(seals & F_SEAL_GROW ? fallocate(fd, 0, 0, (off_t)size) : ftruncate(fd, (off_t)size)));
	/* What the input says, over and over from the start of each KiB, so that rings and slots begin with it. */
	for (size_t at = 0; n && at + n <= size && at < 16384; at += 1024)
		REQUIRE(pwrite(fd, data, n, (off_t)at) == (ssize_t)n);
	REQUIRE(!seals || !fcntl(fd, F_ADD_SEALS, seals));
	return fd;
}

static int descriptor(unsigned kind, const uint8_t *data, size_t n)
{
	int pair[2];
	switch (kind % 10) {
	case 0: return memory(REGION, 0, data, n);
	case 1: return memory(1, SEALS | F_SEAL_FUTURE_WRITE, NULL, 0);
	case 2: REQUIRE(!pipe2(pair, O_CLOEXEC)); break;
	case 3: REQUIRE(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)); break;
	case 4: return open("/dev/null", O_RDWR);
	case 5: return open("/", O_RDONLY);
	case 6: return memory(4096, SEALS, data, IOG_MIN(n, (size_t)4096)); /* a mailbox: both sides write it */
	default: return memory(REGION, SEALS | F_SEAL_FUTURE_WRITE, data, n);
	}
	close(pair[1]);
	return pair[0];
}

/* What the program has said. */
static void drain(int agent)
{
	int fds[IOG_FDS];
	for (uint32_t n = IOG_FDS; iog_msg_recv(agent, &in, fds, &n, 0, NULL) > 0; n = IOG_FDS)
		while (n)
			close(fds[--n]);
}

/* One message, if it is about the stream that is written, or not, as `written` says. */
static void say(int agent, const uint8_t *f, uint32_t reader, uint32_t writer, bool written, const uint8_t *rest, size_t n_rest)
{
	static const uint8_t kinds[] = { IOG_MSG_SUBSCRIBED, IOG_MSG_EDGE_WANTED, IOG_MSG_EDGE_MADE, IOG_MSG_WRITER_GONE, IOG_MSG_OPENED,
		IOG_MSG_EDGE, IOG_MSG_CUT, IOG_MSG_ERROR, IOG_MSG_RESULT, IOG_MSG_SUBSCRIBED, IOG_MSG_EDGE_WANTED, IOG_MSG_EDGE_MADE };
	int fds[3];
	const uint32_t n = f[1] & 3;
	m = (struct iog_msg){ .kind = kinds[f[0] % sizeof kinds], .edge = f[3] & 1 ? EDGE : f[3], .policy = f[4] % 3, .safe = f[4] & 1 };
	const bool about_writer = m.kind == IOG_MSG_OPENED || m.kind == IOG_MSG_EDGE || m.kind == IOG_MSG_CUT || m.kind == IOG_MSG_ERROR;
	if (about_writer != written)
		return;
	m.id = f[2] < 8 ? f[2] : about_writer ? writer : reader;
	m.a = f[5], m.b = f[6], m.blocks = f[7];
	m.capacity = f[8] & 1 ? 4 : f[8];
	m.arena = (struct iog_arena){
		.n_slots = f[9], .slot_bytes = (uint64_t)f[10] << (f[11] % 56), .static_bytes = (uint64_t)f[12] << (f[13] % 60)
	};
	if (f[14] & 1) /* as it fits what is given */
		m.arena = (struct iog_arena){ .n_slots = 16, .slot_bytes = 4096, .static_bytes = 0, .id = f[15] };
	memcpy(&m.epoch, f + 16, 4);
	m.want.vars = f[24];
	m.want.part = f[25] & 3;
	if (f[25] & 4)
		memcpy(&m.want.box, rest, IOG_MIN(n_rest, sizeof m.want.box));
	if (f[20] & 3)
		m.schema = schema;
	for (uint32_t k = 0; k < n; k++)
		fds[k] = descriptor(f[21 + k], rest, IOG_MIN(n_rest, (size_t)1024));
	iog_msg_send(agent, &m, fds, n, 0, NULL);
	for (uint32_t k = 0; k < n; k++)
		close(fds[k]);
}

static void read_some(iog_reader *r)
{
	iog_rec *rec[2] = { NULL, NULL };
	static uint8_t ends[2];
	for (unsigned i = 0; i < 6; i++) {
		iog_view v;
		if (iog_next(r, 0, &rec[i & 1]) != IOG_OK)
			continue;
		for (int k = 0; iog_rec_var(rec[i & 1], k); k++) {
			if (iog_get(rec[i & 1], iog_rec_var(rec[i & 1], k), &v))
				continue;
			int64_t n = 1, last = 0;
			for (int d = 0; d < v.rank; d++)
				n *= v.shape[d], last += (v.shape[d] - 1) * v.stride[d];
			REQUIRE(n >= 0 && n <= 24);
			if (n)
				memcpy(ends, v.data, 1), memcpy(ends + 1, (const uint8_t *)v.data + last, 1);
		}
		iog_release(rec[i & 1]);
	}
}

static void write_some(iog_stream *s)
{
	static const int64_t global[] = { 4, 6 }, zero[] = { 0, 0 };
	static const double T[24];
	iog_block(s, "T", global, zero, global);
	for (int64_t step = 0; step < 6; step++)
		if (iog_begin(s, step, 0) == IOG_OK) {
			iog_put(s, "T", T, NULL);
			iog_commit(s);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static iog *io;
	static int agent = -1;
	if (io && io->sock < 0) { /* it let us go */
		iog_detach(io);
		close(agent);
		io = NULL;
	}
	if (!io)
		io = attach(&agent);
	const uint32_t reader = io->next_id, writer = reader + 1;
	size_t n = size ? data[0] % (MESSAGES + 1u) : 0;
	if (size)
		data++, size--;
	n = IOG_MIN(size / HEAD, n);
	const uint8_t *rest = data + n * HEAD;
	for (size_t i = 0; i < n; i++)
		say(agent, data + i * HEAD, reader, writer, false, rest, size - n * HEAD);
	/* So that nobody waits for what does not come. */
	m = (struct iog_msg){ .kind = IOG_MSG_ERROR, .id = reader, .text = "no more" };
	iog_msg_send(agent, &m, NULL, 0, 0, NULL);
	iog_reader *r = iog_subscribe(io, "heat", NULL, "policy=block timeout=0s");
	m = (struct iog_msg){ .kind = IOG_MSG_OPENED, .id = writer };
	iog_msg_send(agent, &m, NULL, 0, 0, NULL);
	for (size_t i = 0; i < n; i++)
		say(agent, data + i * HEAD, reader, writer, true, rest, size - n * HEAD);
	m = (struct iog_msg){ .kind = IOG_MSG_READY, .id = writer };
	iog_msg_send(agent, &m, NULL, 0, 0, NULL);
	iog_stream *s = iog_open(io, "mine", "T: f64[z,y]; dt: f32", "policy=drop-new bytes=64KiB", 0, 1);
	drain(agent);
	read_some(r);
	write_some(s);
	read_some(r);
	iog_close(s, 0);
	iog_unsubscribe(r);
	drain(agent);
	return 0;
}
