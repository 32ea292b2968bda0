/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the IMD source against a peer in this process (versions 2 and 3, both byte orders, and every lie we could think of), and
 * against a real LAMMPS when it is installed. timeout: 120
 */
#include "runtime/host/endpoints/endpoint-test.h"
#include "runtime/host/endpoints/endpoint-util.h"
#include "runtime/host/endpoints/imd-stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmocka.h>

/* What the peer does, as one buffer to send after GO and how it goes on. */
struct peer {
	int listener;
	char address[32];
	uint8_t bytes[1 << 16];
	size_t n, before_go; /* the first before_go bytes go out at once */
	bool swap;
	enum { CLOSE, STALL, RESET } then;
	int sessions; /* how many clients, one after the other */
	uint32_t heard[8], n_heard;
	pthread_t thread;
};

static void put32(struct peer *p, uint32_t v)
{
	memcpy(p->bytes + p->n, &v, 4);
	p->n += 4;
}
static void put_native(struct peer *p, const void *data, size_t size, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < size; k++)
			p->bytes[p->n++] = ((const uint8_t *)data)[i * size + (p->swap ? size - 1 - k : k)];
}
static void head(struct peer *p, int32_t type, int32_t length)
{
	put32(p, htonl((uint32_t)type));
	put32(p, htonl((uint32_t)length));
}
static void shake(struct peer *p, uint32_t version)
{
	put32(p, htonl(IOG_IMD_HANDSHAKE));
	put_native(p, &version, 4, 1);
	p->before_go = p->n;
}
static void session(struct peer *p, const char *seven)
{
	head(p, IOG_IMD_SESSIONINFO, 7);
	for (int i = 0; i < 7; i++)
		p->bytes[p->n++] = (uint8_t)(seven[i] - '0');
	p->before_go = p->n;
}
static void vectors(struct peer *p, int32_t type, int32_t n, float from)
{
	head(p, type, n);
	for (int32_t i = 0; i < 3 * n; i++) {
		float v = from + (float)i;
		put_native(p, &v, 4, 1);
	}
}
static void energies(struct peer *p, int32_t step)
{
	head(p, IOG_IMD_ENERGIES, 1);
	put_native(p, &step, 4, 1);
	for (int i = 0; i < 9; i++) {
		float v = (float)(100 + i);
		put_native(p, &v, 4, 1);
	}
}
static void when(struct peer *p, double time, int64_t step)
{
	double dt = 0.5;
	head(p, IOG_IMD_TIME, 1);
	put_native(p, &dt, 8, 1);
	put_native(p, &time, 8, 1);
	put_native(p, &step, 8, 1);
}
static void cell(struct peer *p, float edge)
{
	const float b[9] = { edge, 0, 0, 1, edge, 0, 2, 3, edge };
	head(p, IOG_IMD_BOX, 1);
	put_native(p, b, 4, 9);
}

static void send_all(int fd, const uint8_t *b, size_t n)
{
	/* In odd pieces, so that every boundary is crossed somewhere. */
	for (size_t k = 0, piece = 1; k < n; k += piece, piece = piece % 13 + 1) {
		piece = IOG_MIN(piece, n - k);
		if (send(fd, b + k, piece, MSG_NOSIGNAL) < 0)
			return;
	}
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	for (int s = 0; s < p->sessions; s++) {
		int fd = accept(p->listener, NULL, NULL);
		if (fd < 0)
			return NULL;
		struct timeval limit = { .tv_sec = 10 };
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		send_all(fd, p->bytes, p->before_go);
		uint32_t h[2];
		if (p->n > p->before_go && recv(fd, h, 8, MSG_WAITALL) == 8) {
			p->heard[p->n_heard++ % 8] = ntohl(h[0]);
			send_all(fd, p->bytes + p->before_go, p->n - p->before_go);
		}
		if (p->then == STALL)
			while (recv(fd, h, 8, MSG_WAITALL) == 8)
				p->heard[p->n_heard++ % 8] = ntohl(h[0]);
		struct linger now = { .l_onoff = 1 };
		if (p->then == RESET)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
		close(fd);
	}
	return NULL;
}

static int listen_any(char address[32])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) < 0 || getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		abort();
	snprintf(address, 32, "127.0.0.1:%d", ntohs(a.sin_port));
	return fd;
}

static void peer_start(struct peer *p)
{
	p->sessions = p->sessions ? p->sessions : 1;
	p->listener = listen_any(p->address);
	if (listen(p->listener, 4) < 0 || pthread_create(&p->thread, NULL, serve, p))
		abort();
}
static void peer_stop(struct peer *p)
{
	shutdown(p->listener, SHUT_RDWR); /* ends an accept nobody will come for */
	pthread_join(p->thread, NULL);
	close(p->listener);
}

static const struct iog_source *imd;
static char topology[256];

static int setup(void **state)
{
	(void)state;
	static const char data[] = "two atoms\n\n2 atoms\n1 bonds\n2 atom types\n1 5 xlo xhi\n0 6 ylo yhi\n0 7 zlo zhi\n\n"
				   "Masses\n\n1 1\n2 16\n\nAtoms # bond\n\n2 1 1 0 0 0\n1 1 2 0 0 0\n\nBonds\n\n1 1 1 2\n";
	imd = test_source("imd");
	iog_strset(topology, sizeof topology, test_path("two.data"));
	test_write(topology, data, sizeof data - 1);
	return 0;
}

static float element(const struct test_feed *f, const char *name, int i)
{
	const uint8_t *p;
	float v;
	int var = iog_schema_var(&f->schema, name);
	assert_true(var >= 0 && iog_record_whole(&f->out.rec, (unsigned)var, &p));
	if (f->schema.var[var].dtype == IOG_F32)
		memcpy(&v, p + 4 * i, 4);
	else
		v = (float)iog_load(p + iog_dtype_size(f->schema.var[var].dtype) * (unsigned)i, f->schema.var[var].dtype);
	return v;
}

static enum iog_step next(struct test_feed *f)
{
	enum iog_step r;
	uint64_t end = iog_endpoint_clock() + 10 * TEST_SECOND;
	while ((r = test_feed_next(f, 50000000)) == IOG_HOLD && iog_endpoint_clock() < end)
		;
	return r;
}

static void version2(void **state)
{
	(void)state;
	for (unsigned swap = 0; swap < 2; swap++) {
		struct peer p = { .swap = swap };
		struct test_feed f;
		shake(&p, 2);
		vectors(&p, IOG_IMD_COORDINATES, 2, 0.5f);
		head(&p, IOG_IMD_PAUSE, 0);
		vectors(&p, IOG_IMD_COORDINATES, 2, 7);
		energies(&p, 40);
		vectors(&p, IOG_IMD_COORDINATES, 2, 9);
		head(&p, IOG_IMD_DISCONNECT, 0);
		peer_start(&p);
		assert_int_equal(test_feed_open(&f, imd,
					 TEST_SOURCE_CONF(imd, "address", p.address, "topology", topology, "every", "10", "dt", "0.5",
						 "energies", "true")),
			0);
		assert_int_equal(next(&f), IOG_OK);
		assert_int_equal(f.out.rec.step, 10);
		assert_true(f.out.rec.time == 5 && f.out.rec.id.seq == iog_seq_of_step(10));
		assert_true(element(&f, "position", 0) == 0.5f && element(&f, "position", 5) == 5.5f);
		assert_true(element(&f, "type", 0) == 2 && element(&f, "mass", 1) == 1 && element(&f, "bond", 1) == 1);
		assert_true(element(&f, "box", 0) == 4 && element(&f, "box_origin", 0) == 1);
		assert_int_equal(f.out.rec.var[iog_schema_var(&f.schema, "temperature")].n_blocks, 0);
		assert_int_equal(next(&f), IOG_OK);
		assert_int_equal(f.out.rec.step, 20);
		assert_int_equal(next(&f), IOG_OK);
		assert_int_equal(f.out.rec.step, 40);
		assert_true(element(&f, "position", 0) == 9 && element(&f, "temperature", 0) == 100 &&
			    element(&f, "improper_energy", 0) == 108);
		assert_int_equal(next(&f), IOG_FATAL);
		assert_string_equal(f.err.text, "");
		test_feed_close(&f);
		peer_stop(&p);
		assert_int_equal(p.heard[0], IOG_IMD_GO);
	}
}

static void version3(void **state)
{
	(void)state;
	for (unsigned swap = 0; swap < 2; swap++) {
		struct peer p = { .swap = swap };
		struct test_feed f;
		shake(&p, 3);
		session(&p, "1111011");
		for (int k = 0; k < 2; k++) {
			when(&p, 2.5 + k, 5 + 100 * k);
			energies(&p, 1);
			cell(&p, 10.0f + (float)k);
			vectors(&p, IOG_IMD_COORDINATES, 3, 1);
			vectors(&p, IOG_IMD_VELOCITIES, 3, 20);
			vectors(&p, IOG_IMD_FORCES, 3, 30);
		}
		peer_start(&p);
		assert_int_equal(test_feed_open(&f, imd,
					 TEST_SOURCE_CONF(imd, "address", p.address, "atoms", "10", "version", "3", "velocity", "true",
						 "force", "false")),
			0);
		assert_int_equal(iog_schema_var(&f.schema, "force"), -1);
		assert_int_equal(iog_schema_var(&f.schema, "type"), -1);
		assert_int_equal(next(&f), IOG_OK);
		assert_int_equal(f.out.rec.step, 5);
		assert_true(f.out.rec.time == 2.5);
		assert_int_equal(f.out.rec.axis[iog_schema_dim(&f.schema, "atom")].extent, 3);
		assert_true(element(&f, "velocity", 8) == 28 && element(&f, "box", 7) == 3 && element(&f, "box", 8) == 10);
		assert_int_equal(next(&f), IOG_OK);
		assert_int_equal(f.out.rec.step, 105);
		assert_true(element(&f, "box", 0) == 11);
		assert_int_equal(next(&f), IOG_FATAL);
		assert_string_equal(f.err.text, "");
		test_feed_close(&f);
		peer_stop(&p);
	}
}

/* What a peer does wrong, and the word that must be in the message; it comes from open or from the first or second record. */
static void lies(void **state)
{
	(void)state;
	enum {
		GARBAGE,
		NO_HANDSHAKE,
		VERSION9,
		WRONG_VERSION,
		HUGE,
		NEGATIVE,
		COUNT,
		CHANGED,
		LONG_ENERGY,
		UNKNOWN,
		TWICE,
		HALF,
		CUT_HANDSHAKE,
		NOT_SENT,
		UNANNOUNCED,
		BAD_SESSION,
		IO_ERROR,
		RESETS,
		LIES
	};
	static const char *const word[LIES] = { "handshake", "handshake", "version 9", "set version = 3", "more than \"atoms\"", "-5",
		"topology has 2", "must not change", "length other than 1", "unknown type", "twice", "middle of a frame", "before it said",
		"does not send velocities", "not announced", "SESSIONINFO", "I/O error", "" };
	for (int lie = 0; lie < LIES; lie++) {
		struct peer p = { .then = lie == RESETS ? RESET : CLOSE };
		struct test_feed f;
		bool three = lie == NOT_SENT || lie == UNANNOUNCED || lie == BAD_SESSION || lie == TWICE, topo = lie == COUNT;
		switch (lie) {
		case GARBAGE: iog_strset((char *)p.bytes, 64, "HTTP/1.1 400 Bad Request\r\n\r\n"), p.n = p.before_go = 28; break;
		case NO_HANDSHAKE: vectors(&p, IOG_IMD_COORDINATES, 2, 0), p.before_go = p.n; break;
		case VERSION9: shake(&p, 9); break;
		case WRONG_VERSION: shake(&p, 3); break;
		case HUGE: shake(&p, 2), head(&p, IOG_IMD_COORDINATES, INT32_MAX), vectors(&p, 77, 500, 0); break;
		case NEGATIVE: shake(&p, 2), head(&p, IOG_IMD_COORDINATES, -5); break;
		case COUNT: shake(&p, 2), vectors(&p, IOG_IMD_COORDINATES, 3, 0); break;
		case CHANGED: shake(&p, 2), vectors(&p, IOG_IMD_COORDINATES, 2, 0), vectors(&p, IOG_IMD_COORDINATES, 3, 0); break;
		case LONG_ENERGY: shake(&p, 2), head(&p, IOG_IMD_ENERGIES, 1 << 30); break;
		case UNKNOWN: shake(&p, 2), head(&p, 1000, 0); break;
		case TWICE: shake(&p, 3), session(&p, "1011000"), when(&p, 0, 0), when(&p, 0, 0); break;
		case HALF: shake(&p, 2), vectors(&p, IOG_IMD_COORDINATES, 2, 0), p.n -= 5; break;
		case CUT_HANDSHAKE: shake(&p, 2), p.before_go = p.n = 3; break;
		case NOT_SENT: shake(&p, 3), session(&p, "0011000"); break;
		case UNANNOUNCED: shake(&p, 3), session(&p, "0011010"), cell(&p, 1), when(&p, 0, 0); break;
		case BAD_SESSION: shake(&p, 3), head(&p, IOG_IMD_SESSIONINFO, 1 << 20), p.before_go = p.n; break;
		case IO_ERROR: shake(&p, 2), head(&p, IOG_IMD_IOERROR, 0); break;
		case RESETS: shake(&p, 2), vectors(&p, IOG_IMD_COORDINATES, 2, 0), p.n -= 5; break;
		}
		peer_start(&p);
		uint64_t from = iog_endpoint_clock();
		int r = test_feed_open(&f, imd,
			TEST_SOURCE_CONF(imd, "address", p.address, topo ? "topology" : "unit", topo ? topology : "Angstrom", "atoms",
				"100", "version", three ? "3" : "2", "velocity", three && lie != TWICE ? "true" : "false", "timeout",
				"5s"));
		for (int k = 0; r == 0 && k < 3; k++)
			if (next(&f) == IOG_FATAL)
				r = -1;
		assert_true(r < 0);
		if (!f.err.text[0] || !strstr(f.err.text, word[lie]))
			fprintf(stderr, "# lie %d (%s): %s\n", lie, word[lie], f.err.text);
		assert_true(f.err.text[0] && strstr(f.err.text, word[lie]));
		assert_true(iog_endpoint_clock() - from < 4 * TEST_SECOND);
		test_feed_close(&f);
		peer_stop(&p);
	}
}

static void stalls(void **state)
{
	(void)state;
	for (unsigned where = 0; where < 2; where++) {
		struct peer p = { .then = STALL };
		struct test_feed f;
		shake(&p, 2);
		vectors(&p, IOG_IMD_COORDINATES, 2, 0);
		p.n -= 5;
		if (where)
			p.n = p.before_go = 0;
		peer_start(&p);
		int r = test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "address", p.address, "atoms", "100", "timeout", "0.2s"));
		if (where) {
			assert_int_equal(r, -ETIMEDOUT);
			assert_non_null(strstr(f.err.text, "said nothing"));
		} else {
			assert_int_equal(r, 0);
			assert_int_equal(next(&f), IOG_FATAL);
			assert_non_null(strstr(f.err.text, "stopped in the middle"));
		}
		test_feed_close(&f);
		peer_stop(&p);
	}
}

static void *wake_soon(void *arg)
{
	struct test_feed *f = arg;
	usleep(30000);
	f->source->wake(f->self);
	return NULL;
}

/* A simulation that thinks between frames is not stalled; the thread can still be called back, and says good-bye. */
static void idles(void **state)
{
	(void)state;
	struct peer p = { .then = STALL };
	struct test_feed f;
	pthread_t t;
	shake(&p, 2);
	vectors(&p, IOG_IMD_COORDINATES, 2, 0);
	peer_start(&p);
	assert_int_equal(
		test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "address", p.address, "atoms", "100", "timeout", "0.1s", "rate", "20")), 0);
	assert_int_equal(next(&f), IOG_OK);
	assert_int_equal(f.out.rec.step, 20);
	uint64_t from = iog_endpoint_clock();
	assert_int_equal(test_feed_next(&f, TEST_SECOND / 4), IOG_HOLD);
	assert_true(iog_endpoint_clock() - from >= TEST_SECOND / 4);
	assert_int_equal(pthread_create(&t, NULL, wake_soon, &f), 0);
	assert_int_equal(test_feed_next(&f, 60 * TEST_SECOND), IOG_HOLD);
	assert_true(iog_endpoint_clock() - from < 20 * TEST_SECOND);
	pthread_join(t, NULL);
	test_feed_close(&f);
	peer_stop(&p);
	assert_int_equal(p.n_heard, 3);
	assert_int_equal(p.heard[1], IOG_IMD_TRATE);
	assert_int_equal(p.heard[2], IOG_IMD_DISCONNECT);
}

static void nobody(void **state)
{
	(void)state;
	char address[32];
	struct test_feed f;
	close(listen_any(address));
	uint64_t from = iog_endpoint_clock();
	assert_int_equal(
		test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "address", address, "atoms", "3", "timeout", "0.3s")), -ECONNREFUSED);
	assert_in_range(iog_endpoint_clock() - from, 200000000, 5 * TEST_SECOND);
	assert_non_null(strstr(f.err.text, address));
	test_feed_close(&f);
	assert_int_equal(test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "address", "nowhere", "atoms", "3")), -EINVAL);
	test_feed_close(&f);
	assert_int_equal(test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "atoms", "3", "velocity", "true")), -EINVAL);
	assert_non_null(strstr(f.err.text, "version"));
	test_feed_close(&f);
	/* Without topology or atoms nobody knows how many there are. */
	assert_int_equal(test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "timeout", "0.1s")), -EINVAL);
	assert_non_null(strstr(f.err.text, "how many atoms"));
	test_feed_close(&f);
}

static void comes_back(void **state)
{
	(void)state;
	struct peer p = { .sessions = 2 };
	struct test_feed f;
	shake(&p, 2);
	vectors(&p, IOG_IMD_COORDINATES, 2, 0);
	vectors(&p, IOG_IMD_COORDINATES, 2, 0);
	peer_start(&p);
	assert_int_equal(
		test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "address", p.address, "atoms", "2", "timeout", "0.5s", "reconnect", "true")),
		0);
	for (unsigned k = 0; k < 4; k++) {
		assert_int_equal(next(&f), IOG_OK);
		assert_int_equal(f.out.rec.step, 1 + k % 2);
		assert_int_equal(f.out.rec.id.epoch, k / 2);
	}
	assert_int_equal(next(&f), IOG_FATAL);
	test_feed_close(&f);
	peer_stop(&p);
}

/* ---- a real one ---- */

static const char melt[] =
	"units lj\natom_style atomic\nlattice fcc 0.85\nregion r block 0 4 0 4 0 4\ncreate_box 2 r\ncreate_atoms 1 box\n"
	"set group all type/fraction 2 0.3 4711\nmass 1 1.0\nmass 2 2.5\nvelocity all create 2.0 4711\npair_style lj/cut 2.5\n"
	"pair_coeff * * 1.0 1.0\nfix move all nve\nwrite_data %s\nfix view all imd %s trate 10\n"
	"dump d all custom 10 %s id type x y z\ndump_modify d sort id format float %%.17g\nrun 60\n";

static pid_t start_lammps(const char *input, const char *log)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
		dup2(fd, 1);
		dup2(fd, 2);
		setenv("OMP_NUM_THREADS", "1", 1);
		execlp("lmp", "lmp", "-in", input, "-log", "none", "-echo", "none", (char *)NULL);
		_exit(127);
	}
	return pid;
}

static bool have_program(const char *name)
{
	const char *path = getenv("PATH");
	char dir[512];
	while (path && *path) {
		size_t n = strcspn(path, ":");
		snprintf(dir, sizeof dir, "%.*s/%s", (int)n, path, name);
		if (access(dir, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

static void lammps(void **state)
{
	(void)state;
	if (!have_program("lmp")) {
		printf("# skip: lmp (package lammps) is not installed\n");
		skip();
	}
	char address[32], text[2048], data[256], dump[256], input[256];
	struct test_feed f;
	iog_strset(data, sizeof data, test_path("melt.data"));
	iog_strset(dump, sizeof dump, test_path("melt.dump"));
	iog_strset(input, sizeof input, test_path("melt.in"));
	close(listen_any(address));
	snprintf(text, sizeof text, melt, data, address + 10, dump);
	test_write(input, text, strlen(text));
	pid_t pid = start_lammps(input, test_path("melt.log"));
	for (int k = 0; k < 400 && access(data, R_OK); k++)
		usleep(50000);
	usleep(200000); /* the data file is written in pieces */
	int r = test_feed_open(&f, imd, TEST_SOURCE_CONF(imd, "address", address, "topology", data, "every", "10", "dt", "0.005"));
	if (r < 0)
		fprintf(stderr, "# %s\n", f.err.text);
	unsigned frames = 0, n = 0;
	static float x[16][256 * 3];
	static int64_t step[16];
	enum iog_step s = IOG_FATAL;
	while (r == 0 && (s = next(&f)) == IOG_OK && frames < 16) {
		const uint8_t *p;
		n = (unsigned)f.out.rec.axis[iog_schema_dim(&f.schema, "atom")].extent;
		if (n != 256 || !iog_record_whole(&f.out.rec, (unsigned)iog_schema_var(&f.schema, "position"), &p))
			break;
		memcpy(x[frames], p, sizeof x[0]);
		step[frames++] = f.out.rec.step;
	}
	int32_t type[256] = { 0 };
	if (frames)
		for (int i = 0; i < 256; i++)
			type[i] = (int32_t)element(&f, "type", i);
	char why[512];
	iog_strset(why, sizeof why, f.err.text);
	test_feed_close(&f);
	for (int k = 0; k < 200 && waitpid(pid, NULL, WNOHANG) == 0; k++) {
		usleep(50000);
		if (k == 199)
			kill(pid, SIGKILL);
	}
	assert_int_equal(r, 0);
	assert_int_equal(s, IOG_FATAL);
	assert_string_equal(why, "");
	assert_true(frames >= 5);
	/* Every frame equals what LAMMPS itself wrote down for that step. */
	FILE *d = fopen(dump, "r");
	assert_non_null(d);
	char line[256];
	unsigned compared = 0;
	long at = -1;
	while (fgets(line, sizeof line, d)) {
		if (!strncmp(line, "ITEM: TIMESTEP", 14) && fgets(line, sizeof line, d))
			at = strtol(line, NULL, 10);
		if (strncmp(line, "ITEM: ATOMS", 11))
			continue;
		unsigned k = 0;
		while (k < frames && step[k] != at)
			k++;
		for (int i = 0; i < 256; i++) {
			int id, t;
			double v[3];
			assert_non_null(fgets(line, sizeof line, d));
			assert_int_equal(sscanf(line, "%d %d %lf %lf %lf", &id, &t, &v[0], &v[1], &v[2]), 5);
			assert_int_equal(id, i + 1);
			assert_int_equal(t, type[i]);
			for (int c = 0; k < frames && c < 3; c++)
				assert_true(x[k][3 * i + c] == (float)v[c]);
		}
		compared += k < frames;
	}
	fclose(d);
	assert_int_equal(compared, frames);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(version2), cmocka_unit_test(version3), cmocka_unit_test(lies),
		cmocka_unit_test(stalls), cmocka_unit_test(idles), cmocka_unit_test(nobody), cmocka_unit_test(comes_back),
		cmocka_unit_test(lammps) };
	return cmocka_run_group_tests_name("imd", tests, setup, NULL);
}
