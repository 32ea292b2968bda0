/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers that do not do as they should, for tests:
 *     attach-hostile version SOCKET MAJOR    says hello as one of that version, prints what is answered
 *     attach-hostile agent SOCKET MAJOR      answers the first hello as an agent of that version
 *     attach-hostile idle SOCKET N SECONDS   connects N times and says nothing; prints how many were refused in words
 *     attach-hostile clients SOCKET STREAM LIVES
 * clients: subscribes to the stream and never reads it as it should; then LIVES clients say anything in any order, with descriptors that are not what is
 * wanted: pipes, sockets, files, memory that can be taken away, memory that is sealed and full of noise that goes on changing; edges and streams of others.
 * Prints "opened N lives N". Noise comes from a fixed seed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/host/attach.h"
#include "runtime/host/region.h"

enum { NOISY = 8 };
static const uint64_t SECOND = 1000000000u;
static uint64_t seed = 11;

static uint32_t noise(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33);
}
static uint32_t one_of(const uint32_t *list, uint32_t n) { return list[noise() % n]; }
#define ONE_OF(...) one_of((const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)

static void fail(const char *what, const struct iog_err *err)
{
	printf("attach-hostile: %s: %s\n", what, err->text);
	exit(1);
}

static int join(const char *path)
{
	struct iog_err err = { "" };
	int s = iog_attach_connect(path, 5 * SECOND, &err);
	if (s < 0)
		fail("connecting", &err);
	return s;
}

/* The next message, without its descriptors; its kind, 0 when the peer has closed. */
static uint32_t hear(int s, struct iog_msg *m)
{
	struct iog_err err = { "" };
	int fds[IOG_FDS];
	uint32_t n = IOG_FDS;
	int rc = iog_msg_recv(s, m, fds, &n, 30 * SECOND, &err);
	while (rc > 0 && n)
		close(fds[--n]);
	return rc > 0 ? m->kind : 0;
}

static uint32_t hello(int s, uint32_t major, struct iog_msg *answer)
{
	static struct iog_msg m;
	m = (struct iog_msg){ .kind = IOG_MSG_HELLO, .a = major << 16, .text = "hostile" };
	iog_msg_send(s, &m, NULL, 0, SECOND, NULL);
	return hear(s, answer);
}

static int version(char **v)
{
	static struct iog_msg m;
	uint32_t kind = hello(join(v[0]), (uint32_t)atoi(v[1]), &m);
	printf("kind %u version %u: %s\n", kind, m.a >> 16, m.text);
	return 0;
}

static int agent(char **v)
{
	static struct iog_msg m;
	struct iog_err err = { "" };
	int l = iog_attach_listen(v[0], &err), s = l < 0 ? -1 : accept(l, NULL, NULL);
	if (s < 0 || hear(s, &m) != IOG_MSG_HELLO)
		fail("listening", &err);
	m = (struct iog_msg){ .kind = IOG_MSG_WELCOME, .a = (uint32_t)atoi(v[1]) << 16 };
	iog_msg_send(s, &m, NULL, 0, SECOND, NULL);
	while (hear(s, &m))
		;
	return 0;
}

static int idle(char **v)
{
	static struct iog_msg m;
	const int n = atoi(v[1]);
	int refused = 0, *s = calloc((size_t)n, sizeof *s);
	for (int i = 0; s && i < n; i++) {
		s[i] = join(v[0]);
		usleep(5000);
	}
	for (int i = 0; s && i < n; i++) {
		uint32_t none = 0;
		refused += iog_msg_recv(s[i], &m, NULL, &none, 0, NULL) == 1 && m.kind == IOG_MSG_ERROR;
	}
	printf("idle %d refused %d\n", n - refused, refused);
	fflush(stdout);
	sleep((unsigned)atoi(v[2]));
	free(s);
	return 0;
}

/* Memory we write as long as it lives, which the agent may have mapped meanwhile. */
static struct {
	uint8_t *at;
	size_t size;
} noisy[NOISY];

static void stir(void)
{
	for (unsigned i = 0; i < NOISY; i++)
		for (unsigned k = 0; noisy[i].at && k < 64; k++)
			memcpy(noisy[i].at + noise() % (noisy[i].size - 8), &(uint64_t){ noise() * 0x100000001ull }, 8);
}

static int memory(size_t size, int seals, bool noise_in_it)
{
	int fd = memfd_create("hostile", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		exit(2);
	if (noise_in_it) {
		const unsigned i = noise() % NOISY;
		if (noisy[i].at)
			munmap(noisy[i].at, noisy[i].size);
		noisy[i].at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		noisy[i].size = size;
		for (size_t k = 0; k < size; k++)
			noisy[i].at[k] = (uint8_t)(noise() >> 8);
	}
	if (seals)
		fcntl(fd, F_ADD_SEALS, seals);
	return fd;
}

static int descriptor(void)
{
	int pair[2];
	switch (noise() % 8) {
	case 0:
		if (pipe(pair))
			exit(2);
		close(pair[1]);
		return pair[0];
	case 1:
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			exit(2);
		close(pair[1]);
		return pair[0];
	case 2: return open("/dev/null", O_RDWR);
	case 3: return open("/proc/self/exe", O_RDONLY);
	case 4: return memory(ONE_OF(1, 4096, 1 << 20), 0, false);
	case 5: return memory(1 << 16, (int)ONE_OF(F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SHRINK | F_SEAL_GROW), false);
	default: return memory(ONE_OF(4096, 1 << 16, 1 << 20), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE, true);
	}
}

/* Any message, with any descriptors. False: the agent has hung up. */
static bool anything(int s, const char *stream, const struct iog_schema *schema, uint32_t edge)
{
	static struct iog_msg m;
	int fds[3];
	const uint32_t n = ONE_OF(0, 1, 1, 1, 2, 3);
	m = (struct iog_msg){ .kind = ONE_OF(IOG_MSG_OPEN, IOG_MSG_ARENA, IOG_MSG_ARENA, IOG_MSG_ARENA, IOG_MSG_EDGE, IOG_MSG_EDGE_MADE,
				      IOG_MSG_EDGE_MADE, IOG_MSG_CLOSE, IOG_MSG_CUT, IOG_MSG_SUBSCRIBE, IOG_MSG_UNSUBSCRIBE, IOG_MSG_READY),
		.id = ONE_OF(1, 1, 2),
		.edge = ONE_OF(edge, noise() % 40),
		.a = noise() % 70,
		.b = noise() % 70,
		.epoch = noise(),
		.blocks = ONE_OF(1, 2, 1 << 20),
		.capacity = ONE_OF(0, 2, 4, 8, 3, 1 << 20),
		.policy = (uint8_t)(noise() % 3),
		.schema = *schema };
	m.arena = (struct iog_arena){ .static_bytes = ONE_OF(0, 64, 1u << 31),
		.slot_bytes = ONE_OF(4096, 1u << 31, 0, 1 << 13, 64),
		.n_slots = ONE_OF(4, 1 << 30, 0, 8, 4096),
		.id = noise() % 3 };
	iog_strset(m.name, sizeof m.name, stream);
	for (uint32_t i = 0; i < n; i++)
		fds[i] = descriptor();
	const int rc = iog_msg_send(s, &m, fds, n, SECOND, NULL);
	for (uint32_t i = 0; i < n; i++)
		close(fds[i]);
	stir();
	return !rc;
}

static int clients(char **v)
{
	static const char *const streams[] = { NULL, "mine", "other" };
	static struct iog_msg m;
	struct iog_schema schema;
	const int lives = atoi(v[2]);
	int opened = 0, lived = 0, reader = join(v[0]);
	hello(reader, IOG_ATTACH_MAJOR, &m);
	m = (struct iog_msg){ .kind = IOG_MSG_SUBSCRIBE, .id = 1, .b = 20000 };
	iog_strset(m.name, sizeof m.name, v[1]);
	iog_msg_send(reader, &m, NULL, 0, SECOND, NULL);
	if (hear(reader, &m) != IOG_MSG_SUBSCRIBED) {
		printf("not subscribed: %s\n", m.text);
		return 1;
	}
	schema = m.schema; /* one that passes */
	if (hear(reader, &m) != IOG_MSG_EDGE_WANTED)
		return 1;
	const uint32_t edge = m.edge;
	for (int life = 0; life < lives; life++) {
		const char *stream = streams[noise() % 3] ? streams[1 + noise() % 2] : v[1];
		if (life == lives / 2)
			close(reader);
		int s = join(v[0]);
		if (hello(s, IOG_ATTACH_MAJOR, &m) != IOG_MSG_WELCOME)
			return 1;
		if (noise() % 4) {
			m = (struct iog_msg){ .kind = IOG_MSG_OPEN, .id = 1, .a = noise() % 2, .b = 1 + noise() % 2, .schema = schema };
			m.policy = (uint8_t)(noise() % 3);
			iog_strset(m.name, sizeof m.name, stream);
			iog_msg_send(s, &m, NULL, 0, SECOND, NULL);
			opened += hear(s, &m) == IOG_MSG_OPENED;
		}
		bool on = true;
		for (int k = 0; k < 6 && on; k++)
			on = anything(s, stream, &schema, edge);
		lived += on;
		close(s);
	}
	printf("opened %d lives %d\n", opened, lived);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "version"))
		return version(argv + 2);
	if (argc == 4 && !strcmp(argv[1], "agent"))
		return agent(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "idle"))
		return idle(argv + 2);
	if (argc == 5 && !strcmp(argv[1], "clients"))
		return clients(argv + 2);
	fprintf(stderr, "usage: attach-hostile version|agent SOCKET MAJOR | idle SOCKET N SECONDS | clients SOCKET STREAM LIVES\n");
	return 2;
}
