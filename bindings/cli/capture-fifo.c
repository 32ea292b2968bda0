/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `iog capture --fifo`: reads a FIFO that the program writes into by its name, and publishes what comes (the records of bindings/capture/files.h).
 *
 * A program that writes into a FIFO without a reader is killed by SIGPIPE, and one whose reader does not read stands still. So the reader is a process
 * that the end of `iog capture` does not concern, and a second one, the keeper, has the FIFO open as well: should the reader die, it
 * reads on, into nowhere, until the program has ended. Both know that end by a pipe whose other end is open in the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bindings/capture/files.h"
#include "bindings/cli/cli.h"
/* after core/base.h, whose constants it would declare again */
#include "bindings/c/iograph.h"

enum { NAP_MS = 20, END_MS = 30000 };

struct fifo {
	const char *path, *name;
	int fd, life;
	iog *io;
	iog_stream *stream;
	int64_t at, first_ns;
	uint64_t published, lost;
	const char *why;
};

static void extent(iog_stream *s, const char *var, int64_t n)
{
	const int64_t zero = 0;
	iog_block(s, var, &n, &zero, &n);
}

/* At most IOG_CFILE_BYTES. What cannot be published is lost: nobody else has it. After the first time nothing is waited for. */
static void publish(struct fifo *f, const void *data, int64_t n)
{
	const int64_t size = f->at ? -1 : 0, zero = 0;
	int rc = IOG_TIMEOUT;
	if (!f->why) {
		extent(f->stream, "path", (int64_t)strlen(f->name));
		extent(f->stream, "offset", 1);
		extent(f->stream, "length", 1);
		extent(f->stream, "data", n);
		rc = iog_begin(f->stream, f->at, (double)f->at);
	}
	if (rc == IOG_OK) {
		iog_put(f->stream, "path", f->name, NULL);
		iog_put(f->stream, "size", &size, NULL);
		iog_put(f->stream, "offset", &f->at, &zero);
		iog_put(f->stream, "length", &n, &zero);
		iog_put(f->stream, "data", data, NULL);
		rc = iog_commit(f->stream);
	}
	if (rc == IOG_OK)
		f->published += (uint64_t)n;
	else
		f->lost += (uint64_t)n;
	if (rc != IOG_OK && !f->why && (rc != IOG_SKIP || f->published))
		f->why = rc == IOG_TIMEOUT ? "what takes it was too slow or stopped"
			 : rc == IOG_SKIP  ? "what took it is gone"
					   : iog_error(f->io);
	f->at += n;
}

/* Reads until the program has ended and nothing is left; without a stream into nowhere. */
static void read_all(struct fifo *f)
{
	static char data[IOG_CFILE_BYTES];
	for (bool ended = false;;) {
		const ssize_t n = read(f->fd, data, sizeof data);
		if (n > 0) {
			if (f->stream)
				publish(f, data, n);
			continue;
		}
		/* A writer that is there outlives the program, or does not know of the other pipe. */
		if (n ? errno != EAGAIN && errno != EINTR : ended)
			return;
		/* A FIFO without a writer is always ready: so it is not waited for then. */
		struct pollfd p[] = { { .fd = f->life }, { .fd = f->fd, .events = POLLIN } };
		poll(p, n ? 2 : 1, NAP_MS);
		ended = p[0].revents & (POLLHUP | POLLERR);
	}
}

static void be_reader(struct fifo *f, const char *socket, const char *stream, int ready)
{
	f->io = iog_attach(socket);
	f->stream = iog_open(f->io, stream, IOG_CFILE_SCHEMA, IOG_CFILE_MEMORY " timeout=10s", 0, 1);
	extent(f->stream, "path", IOG_CFILE_PATH);
	extent(f->stream, "offset", IOG_CFILE_PIECES);
	extent(f->stream, "length", IOG_CFILE_PIECES);
	extent(f->stream, "data", IOG_CFILE_BYTES);
	close(ready);
	read_all(f);
	if (f->lost)
		fprintf(stderr, "iog capture: %s: %llu bytes are published as stream %s, %llu are lost: %s\n", f->path,
			(unsigned long long)f->published, stream, (unsigned long long)f->lost, f->why ? f->why : "nobody wanted them");
	else
		fprintf(stderr, "iog capture: %s: %llu bytes are published as stream %s\n", f->path, (unsigned long long)f->published,
			stream);
	iog_close(f->stream, 10);
	iog_detach(f->io);
}

/* Has the reader do the work, and does the least of it should that die. */
static void be_keeper(struct fifo *f, const char *socket, const char *stream, int ready, bool made)
{
	int status = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	setsid(); /* Ctrl-C is for the program */
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	const pid_t reader = fork();
	if (!reader) {
		be_reader(f, socket, stream, ready);
		_exit(0);
	}
	close(ready);
	while (reader > 0 && waitpid(reader, &status, 0) < 0 && errno == EINTR)
		;
	if (reader < 0 || status) {
		fprintf(stderr, "iog capture: %s: its reader has died; what the program writes into it from now on is lost\n", f->path);
		read_all(f);
	}
	if (made)
		unlink(f->path);
}

int iog_cli_fifo_start(struct iog_cli_fifo *out, const char *path, const char *stream, const char *socket)
{
	struct stat st;
	struct fifo f = { .path = path, .name = path, .fd = -1 };
	int life[2], gone[2], ready[2];
	const bool made = !mkfifo(path, 0600);
	char c;
	while (*f.name == '/')
		f.name++;
	if (strlen(f.name) >= IOG_CFILE_PATH || (!made && errno != EEXIST) || (f.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0 ||
		fstat(f.fd, &st)) {
		fprintf(stderr, "iog capture: %s cannot be made: %s\n", path, strerror(errno));
		return IOG_EXIT_FAILED;
	}
	if (!S_ISFIFO(st.st_mode)) {
		fprintf(stderr, "iog capture: %s is there, and is no FIFO; remove it, or name another one\n", path);
		return IOG_EXIT_FAILED;
	}
	if (pipe(life) || pipe2(gone, O_CLOEXEC) || pipe2(ready, O_CLOEXEC)) {
		fprintf(stderr, "iog capture: no pipe: %s\n", strerror(errno));
		return IOG_EXIT_FAILED;
	}
	/* Not a child of the program, which may wait for its own. */
	const pid_t between = fork();
	if (!between) {
		if (!fork()) {
			f.life = life[0];
			close(life[1]);
			close(gone[0]);
			close(ready[0]);
			be_keeper(&f, socket, stream, ready[1], made);
		}
		_exit(0);
	}
	close(life[0]);
	close(gone[1]);
	close(ready[1]);
	close(f.fd);
	if (between > 0)
		waitpid(between, NULL, 0);
	while (read(ready[0], &c, 1) < 0 && errno == EINTR)
		;
	close(ready[0]);
	*out = (struct iog_cli_fifo){ .life = life[1], .gone = gone[0] };
	return between < 0 ? IOG_EXIT_FAILED : IOG_EXIT_OK;
}

void iog_cli_fifo_end(struct iog_cli_fifo *f)
{
	struct pollfd p = { .fd = f->gone };
	close(f->life);
	poll(&p, 1, END_MS);
	close(f->gone);
}
